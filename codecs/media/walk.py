"""Listing of the files below a folder, for bulk jobs, training and evaluation.

Symbolic links are followed, but each real folder is entered once and each real file listed once: a link to a parent folder does
not multiply the data, and a file and a link to it are one item.
"""

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence


class Seen:
    """Set of visited files and folders, identified by device and inode, not by name."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int] | str] = set()

    def first(self, path: str) -> bool:
        """Mark the target of `path` as visited; True if it was not visited before, or does not exist."""
        try:
            facts = os.stat(path)
        except (OSError, ValueError):
            return True  # a dangling link, a zero byte in the name: reading it raises the error
        identity = (facts.st_dev, facts.st_ino) if facts.st_ino else os.path.realpath(path)
        new = identity not in self._seen
        self._seen.add(identity)
        return new


def walk(
    root: str, endings: Sequence[str], *, seen: Seen | None = None, on_error: Callable[[OSError], None] | None = None
) -> Iterator[str]:
    """Yield the paths of the files below `root`, folder by folder, in each folder in the order of names.

    Names that begin with a dot are left out. FIFOs and devices are listed like files: reading them raises the error.

    Args:
        root: a folder.
        endings: lower-case endings with the dot; files with others are left out.
        seen: files and folders that earlier walks have visited, which are left out; None: none.
        on_error: called with the error of each folder that cannot be listed; None: such folders are left out.
    """
    for folder, _, files in _folders(root, seen or Seen(), on_error):
        yield from (os.path.join(folder, name) for name in files if name.lower().endswith(tuple(endings)))


def _folders(
    root: str, seen: Seen, on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield (path, names of folders, names of files) of each real folder once, without files and folders visited before."""
    if not seen.first(root):
        return
    for folder, folders, files in os.walk(root, followlinks=True, onerror=on_error):
        names = (sorted(n for n in given if not n.startswith(".")) for given in (files, folders))
        files, folders[:] = ([n for n in given if seen.first(os.path.join(folder, n))] for given in names)
        yield folder, folders, files  # `os.walk` enters `folders` in this order: of two names of one folder the first is used


def matches(pattern: str) -> list[str]:
    """Paths that match a wildcard, sorted: as `glob.glob` with a recursive `**`, but each real folder is entered once.

    `glob` follows links up to some forty times, and so lists a huge number of names for folders that link to each other.
    """
    parts = pattern.split("/")
    if "**" not in parts:
        return sorted(glob.glob(pattern))
    at = parts.index("**")
    head, tail = "/".join(parts[:at]), parts[at:]
    out = []
    for root in glob.glob(head) if head else ["/" if pattern.startswith("/") else "."]:
        for folder, folders, files in _folders(root, Seen()):
            inside = [] if folder == root else os.path.relpath(folder, root).split("/")
            found = (n for n in (*folders, *files) if _fits([*inside, n], tail))
            out += [os.path.join(root if head or pattern.startswith("/") else "", *inside, n) for n in found]
    return sorted(out)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path, split at its slashes, matches a wildcard, split likewise."""
    if not pattern or not parts:
        return not parts and all(p == "**" for p in pattern)
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def expand_braces(pattern: str) -> list[str]:
    """Expand `name-{000..017}.tar` and `{a,b}/c` as WebDataset does; other text is returned as it is."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if span:
        low, high, width = int(span[1]), int(span[2]), len(span[1])
        options = [f"{i:0{width}d}" for i in range(low, high + 1)]
    else:
        options = match[1].split(",")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [head + option + rest for option in options for rest in expand_braces(tail)]
