"""What a verb does with files: name the results so that no two meet, and do one after the other to the end."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from ..zoo.finding import Found
from ..zoo.progress import Bar
from ..zoo.tables import counted
from .errors import message, show_trace


def name_outputs(found: Sequence[Found], out: Path, ending: str, *, drop: str = "", whole: bool = False) -> list[Path]:
    """A path below `out` for every file, no two the same, also on case-insensitive file systems.

    Folders that were named keep their inner folders. Where two results would have one name, both take more of where they came
    from: `cat.jpg` and `cat.png` become `cat.jpg.wav` and `cat.png.wav`; equal names get their folders in front.

    Args:
        found: what `find` gave.
        out: the folder to write to.
        ending: of the results, with the dot.
        drop: an ending to take off the names first.
        whole: keep the ending of the file's name before `ending` in any case.
    """
    more = [int(whole)] * len(found)
    while True:
        paths = [out / _longer(f, n, ending, drop, i) for i, (f, n) in enumerate(zip(found, more, strict=True))]
        places: dict[str, list[int]] = {}
        for i, path in enumerate(paths):
            places.setdefault(str(path).casefold(), []).append(i)
        twice = [i for group in places.values() if len(group) > 1 for i in group]
        if not twice:
            return paths
        for i in twice:
            more[i] += 1


def _longer(found: Found, more: int, ending: str, drop: str, number: int) -> Path:
    """The name of a result with `more` parts of its origin: 0: the name without its ending, if that is one of media (`take.1` has
    none); 1: the whole name; then a folder more each time.
    """
    from ..codecs.media.endings import ENDINGS

    inside = found.inside.with_name(found.inside.name.removesuffix(drop)) if drop else found.inside
    if more == 0:
        has_ending = any(inside.suffix.lower() in endings for endings in ENDINGS.values())
        return inside.with_name((inside.stem if has_ending else inside.name) + ending)
    folders = found.path.absolute().parent.parts[1:]
    before = folders[max(0, len(folders) - more + 1) :] if more > 1 else ()
    mark = f"-{number}" if more - 1 > len(folders) else ""  # folders `a_b/c` and `a/b_c` read the same
    return inside.with_name("_".join([*before, inside.name]) + mark + ending)


def each(
    found: Sequence[Found],
    name: Callable[[Sequence[Found]], list[Path]],
    one: Callable[[Path, Path], str],
    *,
    what: str,
    refuse: Callable[[Path], str | None],
) -> None:
    """Run `one(path, target)` for every file and print what it returns; what fails is listed at the end.

    Args:
        found: what is read.
        name: gives each of some files the path of its result, see `name_outputs`.
        one: does the work.
        what: the word before the bar, e.g. "encoding".
        refuse: returns why this verb does not take a file, judged by its name; None: it may.

    Raises:
        typer.Exit: 1, where a file failed.
    """
    failed = {f.path: why for f in found if (why := _missing(f.path) or refuse(f.path))}
    rest = [f for f in found if f.path not in failed]
    inputs = {f.path.resolve() for f in found}
    with Bar(len(rest), what) as bar:
        for f, target in zip(rest, name(rest), strict=True):
            try:
                if target.resolve() in inputs:
                    raise ValueError(f"its result {target} would overwrite a file that is read; choose another folder with --out.")
                target.parent.mkdir(parents=True, exist_ok=True)
                print(f"{f.path}: {one(f.path, target)}", flush=True)
            except Exception as error:  # any error of one file; the others are still processed
                show_trace(error)
                failed[f.path] = message(error)
            bar.step()
    if failed:
        print(f"{len(failed)} of {counted(len(found), 'file')} failed:", file=sys.stderr)
        for f in (f for f in found if f.path in failed):
            print(f"  {f.path}: {failed[f.path].replace(f'cannot read {f.path}:', 'cannot read:')}", file=sys.stderr)
        raise typer.Exit(1)


def _missing(path: Path) -> str | None:
    return None if path.exists() else "no such file or folder."
