"""Helpers of both corpora: tab-separated manifests, splits by hash, and folders that are replaced atomically."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...codecs.files import replacing_folder

MANIFEST = "manifest.tsv"


def split_by_hash(hashes: Iterable[str], *, valid: float, test: float) -> dict[str, str]:
    """Split of each hash: of the sorted hashes the first share `test` (0..1), the next share `valid`, the rest "train".

    The result depends neither on the order of the input nor on file names. Call it for each source separately, so that
    every source has its share in every split.
    """
    order = sorted(set(hashes))
    tests, valids = round(test * len(order)), round(valid * len(order))
    return {
        value: "test" if rank < tests else "valid" if rank < tests + valids else "train" for rank, value in enumerate(order)
    }


def safe_name(text: str) -> str:
    """`text` with all characters but letters, digits, dot, plus and minus replaced by underscores."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_.") or "x"


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a tab-separated table with a header line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n", extrasaction="raise")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table written by `write_rows`."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Context manager: a temporary folder to fill, which replaces `folder` when the block ends without an error.

    Raises:
        FileExistsError: `folder` exists and is no corpus of ours (no manifest inside), so it is not replaced.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise FileExistsError(f"{folder} exists and holds no {MANIFEST}: name another folder, or empty this one")
    with replacing_folder(folder) as side:
        yield side
