"""Lists of encoded items: files of folders, members of tar files, rows of hub data sets.

Every source is a list of blobs (items that are not decoded yet) in a fixed order with random access, so that the order of
training is a function of the seed alone. Streamed hub data sets are the exception; see `stream.py`.
"""

import os
import tarfile
from collections.abc import Sequence

from ...codecs.config import ConfigError
from ...codecs.media import (
    Blob,
    BrokenBlob,
    FileBlob,
    HubDataset,
    RowBlob,
    Seen,
    TarBlob,
    expand_braces,
    load_hub,
    open_regular,
    shown,
    walk,
)
from .config import Entries


def as_list(entries: Entries) -> tuple[str | HubDataset, ...]:
    """Return `entries` as a tuple, also if it is a single one."""
    return entries if isinstance(entries, tuple) else (entries,)


def collect(entries: Entries, suffixes: Sequence[str], *, columns: Sequence[str] = ()) -> list[Blob]:
    """List all items of `entries` whose name ends in one of `suffixes`; of hub data sets, all rows.

    Args:
        entries: where items come from.
        suffixes: lower-case ends of their names.
        columns: further columns of hub data sets that are kept.

    Raises:
        ConfigError: an entry that does not exist, or holds no such item.
    """
    blobs: list[Blob] = []
    for entry in as_list(entries):
        seen = Seen()  # a repeated entry is drawn more often
        if isinstance(entry, HubDataset):
            found: list[Blob] = list(_hub_rows(entry, columns))
        else:
            found = [b for path in expand_braces(entry) for b in _from_path(path, suffixes, seen)]
        if not found:
            raise ConfigError(f"{entry!r} holds no file that ends in {', '.join(suffixes)}.")
        blobs += found
    return blobs


def _from_path(path: str, suffixes: Sequence[str], seen: Seen) -> list[Blob]:
    if "://" in path or path.startswith("pipe:"):
        raise ConfigError(
            f"{path!r} is not on this machine; use a hub entry "
            "{hub: webdataset, data_files: [URL], column: ..., streaming: true}."
        )
    expanded = os.path.expanduser(path)
    if os.path.isdir(expanded):
        found = walk(expanded, (*suffixes, ".tar"), seen=seen)
        return [blob for file in found for blob in (from_tar(file, suffixes) if _is_tar(file) else [FileBlob(file)])]
    if not os.path.exists(expanded):
        raise ConfigError(f"{path!r} is neither a folder nor a file. data.train=FOLDER and data.valid=FOLDER name media of yours.")
    if not seen.first(expanded):
        return []
    return from_tar(expanded, suffixes) if _is_tar(expanded) else [FileBlob(expanded)]


def _is_tar(path: str) -> bool:
    return path.lower().endswith(".tar")


def from_tar(path: str, suffixes: Sequence[str]) -> list[Blob]:
    """Members of a tar file with one of the endings; of a broken one those before the damage, and an item that raises the error."""
    blobs: list[Blob] = []
    try:
        with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for m in tar:
                if m.isfile() and m.name.lower().endswith(tuple(suffixes)):
                    blobs.append(TarBlob(path, m.name, m.offset_data, m.size))
    except (tarfile.TarError, OSError, ValueError) as error:
        blobs.append(BrokenBlob(path, f"{shown(path)} is no plain tar file, or broken: {error}"))
    return blobs


def _hub_rows(entry: HubDataset, columns: Sequence[str]) -> list[Blob]:
    if entry.streaming:
        raise ConfigError(f"the data set {entry.hub!r} is streamed; it cannot be mixed with other entries.")
    rows = load_hub(entry, also=columns)
    return [RowBlob(entry.hub, rows, i, entry.column, entry.allow_paths) for i in range(len(rows))]
