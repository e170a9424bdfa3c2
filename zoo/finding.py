"""Finds the media files that a command is given: files, folders, wildcards and lists. Imports no torch by itself."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Modality -> the word for its media in messages.
_MEDIA = {"audio": "sound", "image": "pictures"}


@dataclass(frozen=True)
class Found:
    """A file that was found: its full path, and its path below the given folder (for a given file, its name alone)."""

    path: Path
    inside: Path


@dataclass(frozen=True)
class Results:
    """Files that a command writes. `find` leaves them out where they are below a given folder or wildcard, so that the command
    finds the same inputs when it runs again.

    Attributes:
        folder: where the results are written.
        ending: ending of their file names; other files in the folder are read.
    """

    folder: Path
    ending: str

    def holds(self, path: Path, below: str) -> bool:
        """Whether `path` is a result to leave out of the files below the folder `below`; never if that is in the folder of results."""
        folder, below = os.path.abspath(self.folder), os.path.abspath(below)
        if not path.name.lower().endswith(self.ending) or below == folder or _inside(below, folder):
            return False
        return _inside(os.path.abspath(path), folder)

    def is_folder(self, path: Path) -> bool:
        """Whether `path` is the folder of results itself."""
        return os.path.abspath(path) == os.path.abspath(self.folder)


def _inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def find(
    patterns: Sequence[str | os.PathLike[str]], endings: Collection[str], *, results: Results | None = None
) -> list[Found]:
    """Return the files that names, folders, wildcards and `.txt` lists stand for, in the order of `patterns`, each file once.

    Args:
        patterns: a file is taken whatever its ending; of a folder, all files below it that end in one of `endings`; of a
            wildcard, all that match; of a `.txt` file given by name, the paths in its lines, relative to the file. A name that
            is none of these is passed on as it is: reading it raises the error.
        endings: lower case, with the dot. A folder without such files is left out where a wildcard matches it.
        results: what the command writes, if it writes files. If the folder of results is one of several patterns, as when the shell
            expands `pics/*`, the results in it are left out too.

    Raises:
        FileNotFoundError: a folder without such files.
    """
    out: dict[str, Found] = {}
    named = [Path(pattern).expanduser() for pattern in patterns]
    for path in named:
        for found in _of_pattern(path, endings, results, alone=len(named) == 1):
            out.setdefault(os.path.abspath(found.path), found)
    return list(out.values())


def _of_pattern(path: Path, endings: Collection[str], results: Results | None, *, alone: bool) -> Iterator[Found]:
    if path.is_file() and path.suffix.lower() == ".txt":
        lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
        yield from (Found(path.parent / line, Path(Path(line).name)) for line in lines)
        return
    from ..codecs.media.walk import matches

    found = [] if path.exists() else [Path(m) for m in matches(str(path))]
    start = _fixed(path)
    if not found:
        yield from _of_path(path, endings, results, alone=alone)
    for match in found:
        if (results is None or not results.holds(match, start)) and not (match.is_dir() and _is_empty(match, endings)):
            yield from _of_path(match, endings, results, alone=False)


def _is_empty(folder: Path, endings: Collection[str]) -> bool:
    from ..codecs.media.walk import walk

    return next(iter(walk(str(folder), tuple(endings))), None) is None


def _fixed(path: Path) -> str:
    """The folders before the first wildcard."""
    parts = path.parts
    first = next((i for i, part in enumerate(parts) if any(sign in part for sign in "*?[")), len(parts))
    return str(Path(*parts[:first]))


def _text(path: Path) -> str:
    """A list of names; those of old file systems may be any bytes."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _of_path(path: Path, endings: Collection[str], results: Results | None, *, alone: bool) -> Iterator[Found]:
    from ..codecs.media.walk import walk

    if not path.is_dir():
        yield Found(path, Path(path.name))
        return
    below = [Path(name) for name in walk(str(path), tuple(endings))]
    if results is not None and results.is_folder(path) and not alone:
        below = [p for p in below if not p.name.lower().endswith(results.ending)]
        if not below:
            return
    elif results is not None:
        below = [p for p in below if not results.holds(p, str(path))]
    if not below:
        raise FileNotFoundError(f"the folder {path} holds no file that ends in {', '.join(endings)}.")
    yield from (Found(p, p.relative_to(path)) for p in below)


def other_kind(path: Path, modality: str, name: str, *, films: bool = True) -> str | None:
    """Reason why the tokenizer `name`, of this modality, cannot take a file, judged by the file's ending; None if it may.

    `films`: it takes films too.
    """
    from ..codecs.media.endings import ENDINGS, is_film

    if path.suffix.lower() == ".tok":
        return f"this holds tokens; to get media of them: tokenzoo decode {name} {path}"
    if modality == "image" and not films and is_film(path.name):
        from .registry import cards

        families = sorted({c.family for c in cards().values() if c.facts.clips})
        return f"{name} takes pictures, this is a film. Clips are taken by the tokenizers of the families {', '.join(families)}."
    other = {"audio": "image", "image": "audio"}.get(modality)
    if other is None or path.suffix.lower() not in ENDINGS[other]:
        return None
    return f"{name} takes {_MEDIA[modality]}, this is {'sound' if other == 'audio' else 'a picture'}."
