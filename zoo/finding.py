"""Media files by name: files, folders, wildcards and lists, for every command that takes files. Imports no torch by itself."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: What tokenizers of a modality take, in words.
_MEDIA = {"audio": "sound", "image": "pictures"}


@dataclass(frozen=True)
class Found:
    """One file: its full path, and its path below the folder that was named (its name alone for a file that was named)."""

    path: Path
    inside: Path


def find(patterns: Sequence[str | os.PathLike[str]], endings: Collection[str]) -> list[Found]:
    """Files of names, folders, wildcards and `.txt` lists, in that order, each once.

    Args:
        patterns: a file is taken whatever its ending; of a folder, all files below it that end in one of `endings`; of a
            wildcard, all that match; of a `.txt` file that is named itself, the paths in its lines, relative to it. A name that
            is none of these is passed on as it is: reading it raises the error.
        endings: lower case, with the dot.

    Raises:
        FileNotFoundError: a folder without such files.
    """
    out: dict[Path, Found] = {}
    for found in (f for pattern in patterns for f in _of_pattern(Path(pattern).expanduser(), endings)):
        out.setdefault(found.path, found)
    return list(out.values())


def _of_pattern(path: Path, endings: Collection[str]) -> Iterator[Found]:
    if path.is_file() and path.suffix.lower() == ".txt":
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        yield from (Found(path.parent / line, Path(Path(line).name)) for line in lines)
        return
    from ..codecs.media.walk import matches

    found = [] if path.exists() else matches(str(path))
    for match in map(Path, found or [path]):
        yield from _of_path(match, endings)


def _of_path(path: Path, endings: Collection[str]) -> Iterator[Found]:
    from ..codecs.media.walk import walk

    if not path.is_dir():
        yield Found(path, Path(path.name))
        return
    below = [Path(name) for name in walk(str(path), tuple(endings))]
    if not below:
        raise FileNotFoundError(f"the folder {path} holds no file that ends in {', '.join(endings)}.")
    yield from (Found(p, p.relative_to(path)) for p in below)


def other_kind(path: Path, modality: str, name: str) -> str | None:
    """Why a tokenizer called `name`, of that modality, does not take a file, judged by its ending; None: it may."""
    from ..codecs.media.endings import ENDINGS

    other = {"audio": "image", "image": "audio"}.get(modality)
    if other is None or path.suffix.lower() not in ENDINGS[other]:
        return None
    return f"{name} takes {_MEDIA[modality]}, this is {'sound' if other == 'audio' else 'a picture'}."
