"""What a corpus of 10^9 pictures or of 10^6 hours costs, from measured figures: writes the tables of `docs/scaling.md`.

    python benchmarks/estimate.py              write the tables again, from benchmarks/results/{corpus,corpus_sizes,scaling}.json
    python benchmarks/estimate.py --measure    measure corpus_sizes.json first: bytes and memory, which no load of the machine changes

Sizes are measured on small jobs of the shipped tokenizers: 64 photographs of 256 x 256, 64 clips of 2 s, a folder of 20,000
files that is listed only.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenzoo
from measure import RESULTS, head_lines, header, resident, table_lines, watched, write

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
LISTED = 20_000
#: Seconds of a clip where items of a corpus of sound are counted.
CLIP_SECONDS = 10
#: corpus -> tokenizer, case of `corpus.json`, items, extent of an item in the unit of that case (Mpx, s).
CORPORA = {
    "10^9 pictures, 256 x 256": ("photo-f16-rvq7", "photographs, 256 x 256", 1e9, 256 * 256 / 1e6),
    "10^6 hours of speech": ("speech-16khz-4kbps", "speech", 1e6 * 3600 / CLIP_SECONDS, float(CLIP_SECONDS)),
}


# --- sizes ----------------------------------------------------------------------------------------------------------------------


def measure(folder: Path) -> list[dict[str, Any]]:
    """Bytes an item of each shipped tokenizer's corpora, and of the list of items."""
    from tokenzoo.zoo.corpus.ledger import WORK, begin
    from tokenzoo.zoo.corpus.sources import list_source

    found = [
        _shards("photo-f16-rvq7", _photographs(folder / "photographs"), folder),
        _shards("speech-16khz-4kbps", _clips(folder / "clips"), folder),
    ]
    for i in range(LISTED):
        path = folder / f"listed/{i // 1000:03d}/{i:08d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    before = resident()
    with watched() as peak:
        listing = list_source(str(folder / "listed"), "image")
    head = {"options": {}, "layout": {"modality": "image", "vocab_sizes": [2]}}
    begin(folder / "job", head, listing)
    arrow = (folder / "job" / WORK / "items.arrow").stat().st_size
    return [*found, {"case": "list", "items": LISTED, "memory_bytes": peak.bytes - before, "file_bytes": arrow}]


def _shards(name: str, source: Path, folder: Path) -> dict[str, Any]:
    """Bytes of the shards of a job, and of its manifest for each shard."""
    from tokenzoo.zoo.corpus import Options, Pace, tokenize

    totals, bytes_of, manifests = {}, {}, {}
    for most in (0, 1):  # items a shard; 0: no limit
        pace, out = Pace(workers=0, progress=False), folder / f"{name}-{most}"
        result = tokenize(tokenzoo.load(name), str(source), out, options=Options(shard_items=most), pace=pace)
        totals[most], manifests[most] = result.manifest["totals"], (out / "manifest.json").stat().st_size
        bytes_of[most] = sum(p.stat().st_size for p in out.glob("*.parquet"))
    a_shard = (manifests[1] - manifests[0]) / (totals[1]["shards"] - totals[0]["shards"])
    facts = {"items": totals[0]["items"], "ids": totals[0]["tokens"], "shard_bytes": bytes_of[0]}
    return {"case": name, **facts, "manifest_bytes_a_shard": round(a_shard)}


def _photographs(folder: Path) -> Path:
    from PIL import Image

    folder.mkdir()
    with Image.open(Path(tokenzoo.__file__).parent / "zoo/demo/media/chelsea.png") as opened:
        whole = opened.convert("RGB")
    for i in range(64):
        left, top = (37 * i) % (whole.width - 256), (13 * i) % (whole.height - 256)
        whole.crop((left, top, left + 256, top + 256)).save(folder / f"{i:03d}.jpg")
    return folder


def _clips(folder: Path) -> Path:
    import soundfile

    folder.mkdir()
    samples, rate_hz = soundfile.read(Path(tokenzoo.__file__).parent / "zoo/demo/media/speech.flac")
    for i in range(64):
        start = (i * 700) % (len(samples) - 2 * rate_hz)
        soundfile.write(folder / f"{i:03d}.flac", samples[start : start + 2 * rate_hz], rate_hz)
    return folder


# --- estimates ------------------------------------------------------------------------------------------------------------------


def results(name: str) -> dict[str, dict[str, Any]]:
    """Case -> its figures."""
    return {r["case"]: r for r in json.loads((RESULTS / f"{name}.json").read_text())["results"]}


def costs() -> Iterator[list[str]]:
    """Time and storage of each corpus."""
    cases, sizes = results("corpus"), results("corpus_sizes")
    for corpus, (name, case, items, extent) in CORPORA.items():
        r, s = cases[case], sizes[name]
        (card,) = tokenzoo.list_models(name)
        spec = card.facts.spec()
        each = r["whole_cpu_ms"] / 1e3 / r["extent"] * extent  # seconds of one core
        ids = items * ids_of_item(name, extent)
        bits = ids / spec.num_codebooks * spec.bits_per_position
        yield [
            corpus, name, f"{each * 1e3:.1f} ms", f"{items * each / 3600:,.0f} h", f"{items * each / 3600 / 64:,.0f} h",
            f"{ids:.3g}", size(2 * ids), size(bits / 8), size(ids * s["shard_bytes"] / s["ids"]),
        ]  # fmt: skip


def ids_of_item(name: str, extent: float) -> int:
    """Ids of one item of `extent` Mpx or s."""
    (card,) = tokenzoo.list_models(name)
    spec: Any = card.facts.spec()
    if card.modality == "image":
        side = round(math.sqrt(extent * 1e6))
        return spec.tokens_per_image(side, side)
    return round(spec.tokens_per_second * extent)


def parts() -> Iterator[list[str]]:
    """What a job holds, and how much of it there would be."""
    from tokenzoo.zoo.corpus import Options

    sizes, options = results("corpus_sizes"), Options()
    listed = sizes["list"]
    rows: dict[str, list[str]] = {
        "memory while the source is listed": [f"{listed['memory_bytes'] / listed['items']:.0f} B an item"],
        "`items.arrow`, which every worker checks when it starts": [f"{listed['file_bytes'] / listed['items']:.0f} B an item"],
        "units of work": [f"{options.unit_items} items each"],
        "shards": [f"{options.shard_mb:.0f} MiB of ids each"],
        "`manifest.json`": [""],
        "units that wait for their shard": ["files in `.work/units`"],
    }
    for name, _, items, extent in CORPORA.values():
        ids_mib = ids_of_item(name, extent) * 2 / 2**20
        shards = math.ceil(items * ids_mib / options.shard_mb)
        numbers = [
            size(items * listed["memory_bytes"] / listed["items"]), size(items * listed["file_bytes"] / listed["items"]),
            f"{items / options.unit_items:,.0f}", f"{shards:,}", size(shards * sizes[name]["manifest_bytes_a_shard"]),
            f"{options.shard_mb / ids_mib / options.unit_items:,.0f}",
        ]  # fmt: skip
        for row, number in zip(rows.values(), numbers, strict=True):
            row.append(number)
    each = sorted({f"{sizes[name]['manifest_bytes_a_shard']} B a shard" for name, *_ in CORPORA.values()})
    rows["`manifest.json`"][0] = " or ".join(each)
    return ([part, *row] for part, row in rows.items())


def size(number: float) -> str:
    """Bytes with a unit and three digits."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= one:
            return f"{number / one:.3g} {unit}"
    return f"{number:.0f} B"


def growth() -> list[str]:
    """Exponents of the curves, where `scaling.json` is there."""
    path = RESULTS / "scaling.json"
    if not path.is_file():
        return ["`benchmarks/results/scaling.json` has not been measured; `python benchmarks/scaling.py` does it."]
    import scaling

    known = json.loads(path.read_text())["results"]
    rows = [[name, *row] for name in scaling.SECTIONS for row in scaling.rows_of_section(known, name)]
    return table_lines(("against", *scaling.COLUMNS), rows)


def tables() -> dict[str, list[str]]:
    """Name of a block of the page -> its lines."""
    head = ("corpus", "tokenizer", "processor time an item", "one core", "64 cores", "ids", "as 16 bits", "packed bits", "as Parquet")
    return {
        "costs": table_lines(head, list(costs())),
        "parts": table_lines(("part", "measured or set", *CORPORA), list(parts())),
        "growth": growth(),
    }


def filled(text: str) -> str:
    """The page with its tables as the results have them.

    Raises:
        ValueError: a block without its two marks.
    """
    for name, lines in tables().items():
        first, last = f"<!-- {name}: python benchmarks/estimate.py -->\n", f"<!-- end of {name} -->"
        if text.count(first) != 1 or text.count(last) != 1:
            raise ValueError(f"the page needs the marks {first.strip()} and {last}, once each.")
        before, rest = text.split(first)
        text = before + first + "\n" + "\n".join(lines) + "\n\n" + last + rest.split(last)[1]
    return text


def main() -> int:
    """Measure if asked to, and write the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure the sizes first")
    if parser.parse_args().measure:
        head = header(__file__, threads=1, packages=("torch", "pyarrow", "pillow", "soundfile"))
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder))
        rows = [[r["case"], *(f"{k}: {v:,}" for k, v in r.items() if k != "case")] for r in found]
        columns = ("case", *("" for _ in range(max(map(len, rows)) - 1)))
        rows = [row + [""] * (len(columns) - len(row)) for row in rows]
        about = (__doc__ or "").split("\n\n")[-1]
        write("corpus_sizes", head, found, head_lines("Sizes of corpora", about, head) + table_lines(columns, rows))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
