"""Bulk tokenization end to end against the model alone, with the shipped checkpoints.

    python benchmarks/corpus.py                    all cases, about 10 minutes on an idle core for the model
    python benchmarks/corpus.py --only speech      one case, printed only

"Model alone": the same batches, decoded, resampled and stacked beforehand in memory, through the network and the quantizer,
in one process, nothing else. "End to end": `tokenize` of the folder into a fresh one, from listing the files to the
manifest: reading, decoding, batching, the network, Parquet shards, checksums; one process, its readers as threads. Both
take turns. The readers need a core beside the model's; without a free core, processor time shows their cost.
"One by one" is a loop of `tokenizer.encode(path)`, once.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenzoo
import torch
from measure import head_lines, header, show, table_lines, take_turns, write
from tokenzoo.zoo.corpus import Options, Pace, tokenize
from tokenzoo.zoo.corpus.batches import Batches, encode
from tokenzoo.zoo.corpus.intake import Failure, Intake
from tokenzoo.zoo.corpus.sources import list_source, units

#: case -> tokenizer, folder below --data
CASES = {
    "photographs, whole": ("photo-f16-rvq7", "photos/valid"),
    "photographs, 256 x 256": ("photo-f16-rvq7", "photos/test256"),
    "speech": ("speech-16khz-4kbps", "speech/test"),
}
COLUMNS = ("case", "items", "media", "model alone", "end to end", "ratio", "ratio (CPU)", "one by one")


def measure(name: str, source: Path, scratch: Path, seconds: float) -> dict[str, Any]:
    """Times of one case."""
    tokenizer, options = tokenzoo.load(name), Options()
    batches = preload(tokenizer, source, options)
    items = [item for batch in batches for item in batch]
    audio = tokenizer.spec.modality == "audio"
    extent = sum(p.size[0] / p.sample_rate_hz if audio else p.size[0] * p.size[1] / 1e6 for _, p in items)

    def model() -> None:
        for batch in batches:
            encode(tokenizer, batch, None)

    def whole() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        result = tokenize(tokenizer, source, scratch, options=options, pace=Pace(workers=0, progress=False))
        assert not result.failures and result.manifest["totals"]["items"] == len(items)

    times = take_turns({"model": model, "whole": whole}, seconds=seconds)
    return times | {"items": len(items), "extent": extent, "unit": "s" if audio else "Mpx"} | alone(tokenizer, source)


def preload(tokenizer: Any, source: Path, options: Options) -> list[Any]:
    """The batches that `tokenize` makes, in memory."""
    listing = list_source(str(source), tokenizer.spec.modality)
    intake = Intake(listing, tokenizer, options)
    out: list[Any] = []
    for start, stop in units(listing.items, options.unit_items, options.unit_mb * 2**20):
        pool = Batches(tokenizer, options.batch_elements)
        for item in intake.items(start, stop):
            prepared = intake.decode(item)
            assert not isinstance(prepared, Failure), prepared.reason
            out += pool.add(item, prepared)
        out += pool.rest()
    return out


def alone(tokenizer: Any, source: Path) -> dict[str, float]:
    """The loop that people write first."""
    listing = list_source(str(source), tokenizer.spec.modality)
    start = time.perf_counter()
    for path in listing.items["place"].to_pylist():
        tokenizer.encode(path)
    return {"loop_ms": (time.perf_counter() - start) * 1e3}


def row(name: str, r: dict[str, Any]) -> list[str]:
    """One line of the table."""
    rate: Callable[[str], str] = lambda key: f"{r['extent'] / r[key] * 1e3:.2f} {r['unit']}/s"  # noqa: E731
    ratio, cpu = r["model_ms"] / r["whole_ms"], r["model_cpu_ms"] / r["whole_cpu_ms"]
    return [
        name, f"{r['items']:,}", f"{r['extent']:,.0f} {r['unit']}", rate("model_ms"), rate("whole_ms"),
        f"{ratio:.1%}", f"{cpu:.1%}", rate("loop_ms"),
    ]  # fmt: skip


def main() -> int:
    """Measure, print, and write the committed table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--only", help="a case, by a part of its name; nothing is written")
    parser.add_argument("--seconds", type=float, default=60.0, help="a case, at least three rounds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    head = header(__file__, threads=1, packages=("torch", "pyarrow", "pillow", "soundfile"))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (tokenizer, source) in CASES.items():
            if given.only and given.only not in name:
                continue
            results.append({"case": name, "tokenizer": tokenizer})
            results[-1] |= measure(tokenizer, given.data / source, Path(folder) / "out", given.seconds)
            print(row(name, results[-1]), file=sys.stderr, flush=True)
    rows = [row(r["case"], r) for r in results]
    show(COLUMNS, rows)
    if not given.only:
        about = (__doc__ or "").split("\n\n")[-1]
        write("corpus", head, results, head_lines("Bulk tokenization", about, head) + table_lines(COLUMNS, rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
