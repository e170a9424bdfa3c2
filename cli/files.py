"""Runs a subcommand on many files: gives each result its own name, and goes on to the next file after an error."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from ..zoo.finding import Found
from ..zoo.progress import Bar
from ..zoo.tables import counted
from .errors import message, show_trace

#: Errors of the output disk, which the next file would raise too.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def name_outputs(found: Sequence[Found], out: Path, ending: str, *, drop: str = "", whole: bool = False) -> list[Path]:
    """Return a path below `out` for the result of each file, no two the same, also on case-insensitive file systems.

    Files of a given folder keep their sub-folders. Where two results would have the same name, both take more of their origin:
    `cat.jpg` and `cat.png` become `cat.jpg.wav` and `cat.png.wav`; equal names get their folders in front; names that differ in case
    alone, such as `Cat.png` and `cat.png`, are numbered. The result depends neither on the order of the files nor on the current
    folder.

    Args:
        found: the files, as `find` returns them.
        out: the folder to write to.
        ending: of the results, with the dot.
        drop: an ending to remove from the files' names first.
        whole: always keep the file's own ending before `ending`.
    """
    names = [_Name(f, ending, drop, int(whole)) for f in found]
    while True:
        paths = [n.path() for n in names]
        places: dict[str, list[_Name]] = {}
        for name, path in zip(names, paths, strict=True):
            places.setdefault(str(path).casefold(), []).append(name)
        folders = {str(folder).casefold() for path in paths for folder in path.parents}
        clashes = {place: group for place, group in places.items() if len(group) > 1 or place in folders}
        if not clashes:
            return [out / path for path in paths]
        for place, group in clashes.items():
            _part(group, place in folders)


class _Name:
    """The name of one result, which takes as much of its origin as makes it unique.

    `more` is 0: the file's name without its ending, if that is one of media (`take.1` has none); 1: the whole name; above: one more
    of its folders each. `number` is added if that is not enough.
    """

    def __init__(self, found: Found, ending: str, drop: str, more: int) -> None:
        self.inside = found.inside.with_name(found.inside.name.removesuffix(drop)) if drop else found.inside
        self.origin = os.path.abspath(found.path)
        self.folders = Path(self.origin).parts[1 : -len(found.inside.parts)]
        self.ending, self.more, self.number = ending, more, 0

    @property
    def most(self) -> int:
        return 1 + len(self.folders)

    def path(self) -> Path:
        """Where the result goes, below the folder of results."""
        from ..codecs.media.endings import ENDINGS

        known = any(self.inside.suffix.lower() in endings for endings in ENDINGS.values())
        stem, suffix = (self.inside.stem, self.inside.suffix) if known else (self.inside.name, "")
        before = self.folders[max(0, self.most - self.more) :] if self.more > 1 else ()
        mark = f"-{self.number + 1}" if self.number else ""
        return self.inside.with_name("_".join([*before, stem]) + mark + (suffix if self.more else "") + self.ending)


def _part(group: list[_Name], is_folder: bool) -> None:
    """Lengthen or number names that clash; `is_folder`: they are also the name of a folder of another result."""
    same_file = len({n.origin.casefold() for n in group}) == 1 and len(group) > 1
    beside = len({os.path.dirname(n.origin).casefold() for n in group}) == 1 and all(n.more for n in group)
    able = [n for n in group if n.more < n.most]
    if same_file or beside or not able:
        for rank, name in enumerate(sorted(group, key=lambda n: n.origin)):
            name.number += rank + is_folder
    else:
        for name in able:
            name.more += 1


def each(
    found: Sequence[Found],
    out: Path,
    name: Callable[[Sequence[Found]], list[Path]],
    one: Callable[[Path, Path], str],
    *,
    what: str,
    refuse: Callable[[Path], str | None],
) -> None:
    """Run `one(path, target)` for every file and print what it returns; failed files are listed at the end.

    Args:
        found: the files to read.
        out: the folder to write to; made if missing.
        name: returns the path of each file's result, see `name_outputs`.
        one: makes the file `target` of the file `path`, and returns a line about it.
        what: the word before the progress bar, e.g. "encoding".
        refuse: returns why the subcommand cannot take a file, judged by its name; None if it may.

    Raises:
        typer.Exit: 1, if a file failed.
        NotADirectoryError: `out` is a file.
        OSError: `out` cannot be made.
    """
    failed = {f.path: why for f in found if (why := _missing(f.path) or refuse(f.path))}
    rest = [f for f in found if f.path not in failed]
    inputs = {f.path.resolve() for f in found}
    if rest:
        _make(out)
    with Bar(len(rest), what) as bar:
        for number, (f, target) in enumerate(zip(rest, name(rest), strict=True), 1):
            try:
                if target.resolve() in inputs:
                    raise ValueError(f"its result {target} would overwrite a file that is read; choose another folder with --out.")
                target.parent.mkdir(parents=True, exist_ok=True)
                line = one(f.path, target)
            except Exception as error:  # any error of one file; the others are still processed
                show_trace(error)
                failed[f.path] = message(error)
                if isinstance(error, OSError) and error.errno in _NO_ROOM:
                    failed |= {later.path: "not reached." for later in rest[number:]}
                    break
            else:
                print(f"{f.path}: {line}", flush=True)
            bar.step()
    if failed:
        print(f"{len(failed)} of {counted(len(found), 'file')} failed:", file=sys.stderr)
        for f in (f for f in found if f.path in failed):
            reason = failed[f.path].replace(f"cannot read {f.path}:", "cannot read:").removeprefix(f"{f.path} ")
            print(f"  {f.path}: {reason}", file=sys.stderr)
        raise typer.Exit(1)


def _make(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out is {out}, which is a file; name a folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the folder {out} cannot be made: {message(error)}.") from error


def _missing(path: Path) -> str | None:
    return None if path.exists() else "no such file or folder."
