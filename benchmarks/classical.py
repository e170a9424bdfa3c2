"""The classical codecs that every table of tokenizers is read against.

    python benchmarks/classical.py images --corpus data/photos --cache cache
    python benchmarks/classical.py speech --corpus data/speech
    python benchmarks/classical.py music --corpus data/music

The corpora come from `tokenzoo data build`, the weights of LPIPS-HED from
`python -m tokenzoo.zoo.evaluate.perceptual`. A table is printed and results are written to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Measure one family of codecs, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("images", "speech", "music"))
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the photo, speech or music corpus")
    parser.add_argument("--cache", type=Path, help="folder with the weights of LPIPS-HED (images)")
    parser.add_argument("--crops", default="test256", help="folder of crops inside the photo corpus")
    parser.add_argument("--limit", type=int, help="measure at most this many images or clips")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of LPIPS-HED's layers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file; benchmarks/results/classical_<what>.json when left out")
    given = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(given.threads)
    start = time.time()
    about, parts = {"images": _images, "speech": _speech, "music": _music}[given.what](given)
    about |= {
        "command": " ".join(["python benchmarks/classical.py", *(arguments or sys.argv[1:])[:1], "--corpus ..."]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {given.threads} thread(s)",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    out = given.out or RESULTS / f"classical_{given.what}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for rows in parts:  # a long run that is stopped leaves what it has measured
        about["minutes"] = round((time.time() - start) / 60, 1)
        out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
        _log(f"{about['minutes']} minutes: {rows[-1]}")
    print(table(rows))
    return 0


def _images(given: argparse.Namespace) -> tuple[dict[str, object], Iterator[list[dict[str, object]]]]:
    import classical_images
    import torch
    from tokenzoo.zoo.evaluate.perceptual import LpipsHed

    if given.cache is None:
        raise SystemExit("images need --cache, the folder with the weights of LPIPS-HED")
    crops = classical_images.in_balanced_order(list((given.corpus / given.crops).glob("*.png")))[: given.limit]
    if not crops:
        raise SystemExit(f"no crops in {given.corpus / given.crops}: build the corpus photos first")
    metric = LpipsHed.from_cache(given.cache, dtype=getattr(torch, given.dtype))
    rows = classical_images.run(crops, metric)
    about: dict[str, object] = {
        "set": f"photos/{given.crops}",
        "rule": "quality bisected for each image to the file nearest to the target; bytes of the whole file",
        "lpips_hed": given.dtype,
        "settings": {codec.name: dict(codec.options) for codec in classical_images.CODECS},
        "libraries": classical_images.versions(),
    }
    return about, rows


def _speech(given: argparse.Namespace) -> tuple[dict[str, object], Iterator[list[dict[str, object]]]]:
    import classical_speech
    from tokenzoo.zoo.bench.command_codecs import PACKAGES

    names = (given.corpus / "test_list.txt").read_text(encoding="utf-8").split()[: given.limit]
    rows = classical_speech.run([given.corpus / name for name in names])
    packages = sorted(PACKAGES.values())
    shown = subprocess.run(["dpkg-query", "-W", *packages], capture_output=True, text=True).stdout.split("\n")
    settings = {name: commands.encode for name, commands in classical_speech.CODECS.items()}
    rule = "bits of the packets without Ogg pages; codec delay removed; mel_l1 = natural log, 80 bands, hop 256"
    return {"set": "speech/test_list", "rule": rule, "settings": settings, "libraries": shown[:-1]}, rows


def _music(given: argparse.Namespace) -> tuple[dict[str, object], Iterator[list[dict[str, object]]]]:
    import classical_music
    from tokenzoo.zoo.evaluate.run import versions

    names = (given.corpus / "test_list.txt").read_text(encoding="utf-8").split()[: given.limit]
    rows = classical_music.run([given.corpus / name for name in names])
    rule = "24 kHz mono; bits of the packets; libopus with application=audio, vbr=constrained, frames of 20 ms; codec delay removed"
    return {"set": "music/test_list", "rule": rule, "libraries": versions()}, rows


def table(rows: list[dict[str, object]]) -> str:
    """Rows with the same keys as a Markdown table."""
    keys = list(rows[0])
    lines = [keys, ["---"] * len(keys), *([str(row[key]) for key in keys] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
