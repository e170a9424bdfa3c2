"""Atomic checkpoint folders: written under a temporary name, flushed, then renamed.

    OUT/checkpoint-00001000/
        meta.json       step, run config, data fingerprint; checksums of the files beside it and of itself
        state.pt        the state that all processes share (tensors and plain containers: `weights_only` loads it)
        rank-0.pt       state of each process (rank)
    OUT/model/          the tokenizer alone, always loadable

`state.py` defines what a state consists of; `resume.py` saves it and resumes from it.
"""

import itertools
import json
import os
import re
import shutil
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from ..codecs.files import PARTIAL, sync
from ..codecs.sealing import BLANK, is_whole, sealed, sha256_of
from ..codecs.serialize import CheckpointError


class Damaged(CheckpointError):
    """A file of a checkpoint is missing, or not as it was written."""


META = "meta.json"
FORMAT = 2
_NAME = re.compile(r"checkpoint-(\d{8,})")
#: Key of the checksums in `meta.json`.
_SEAL = "sha256"


def checkpoints(out: Path) -> list[Path]:
    """Return the checkpoint folders of a run, oldest first; `read_meta` checks whether one is damaged."""
    if not out.is_dir():
        return []
    found = [(int(name[1]), p) for p in out.iterdir() if (name := _NAME.fullmatch(p.name)) and p.is_dir()]
    return [p for _, p in sorted(found)]


def folder_name(step: int) -> str:
    """Name of the checkpoint after `step` steps."""
    return f"checkpoint-{step:08d}"


def partial_name(final: Path) -> Path:
    """Temporary name under which `final` is written; the same in every process."""
    return final.with_name(f".{final.name}{PARTIAL}")


def publish(partial: Path, final: Path) -> None:
    """Flush everything in `partial` to the disk and give it its final name; `final` must not exist."""
    for path in [*partial.rglob("*")]:
        if path.is_file():
            sync(path)
    os.rename(partial, final)
    sync(final.parent)


def replace_files(partial: Path, final: Path) -> None:
    """Move the files of `partial` into `final`, each atomically, so that `final` never lacks one.

    Within a run only the weights differ from one checkpoint to the next, so no mixture can arise.
    """
    if not final.exists():
        publish(partial, final)
        return
    for path in partial.iterdir():
        sync(path)
        os.replace(path, final / path.name)
    sync(final)
    partial.rmdir()


def prune(out: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for old in checkpoints(out)[: -max(1, keep)]:
        gone = partial_name(old)  # renamed first: a half-deleted one must not look complete
        os.rename(old, gone)
        shutil.rmtree(gone, ignore_errors=True)


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write `meta.json`, the last file of a checkpoint, with the checksums of all other files in `folder` and of itself."""
    files = {p.name: {"bytes": p.stat().st_size, _SEAL: sha256_of(p)} for p in sorted(folder.iterdir())}
    text = json.dumps({"format": FORMAT, **meta, "files": files, _SEAL: BLANK}, indent=1)
    (folder / META).write_bytes(sealed(text.encode()))


def read_meta(folder: Path, *, files: Collection[str] = ()) -> dict[str, Any]:
    """Check the files of a checkpoint and return its `meta.json`.

    A checkpoint of format 1 has no checksums: its files are loaded instead, with a warning.

    Args:
        folder: of the checkpoint.
        files: names of the files to check; empty: all.

    Raises:
        Damaged: a file is missing or not as it was written; the message names it.
        CheckpointError: written by a newer version of this file.
    """
    path = folder / META
    try:
        data = path.read_bytes()
        meta = json.loads(data)
        version, seal = meta.get("format"), meta.get(_SEAL)
        if version == 1 and seal is None and "files" not in meta:
            names = ["state.pt", *(f"rank-{i}.pt" for i in range(meta["world"]))]
        elif not is_whole(data, seal):
            raise ValueError("its checksum does not match")
        else:
            names = []
        facts = meta.get("files", {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if version not in (1, FORMAT):
        raise CheckpointError(f"{folder} has checkpoint format {version}; this version reads {FORMAT}.")
    if names:
        warnings.warn(f"{folder} has no checksums (newer versions write them): damage that still loads goes unnoticed.", stacklevel=2)
    for name in files or names or facts:
        if names:
            read_tensors(folder / name)
        else:
            _compare(folder / name, facts[name])
    return meta


def _compare(path: Path, facts: Mapping[str, Any]) -> None:
    """Raise `Damaged` where the file is not as it was written."""
    try:
        size = path.stat().st_size
        if size != facts["bytes"]:
            raise ValueError(f"{size} bytes instead of {facts['bytes']}")
        if sha256_of(path) != facts[_SEAL]:
            raise ValueError("its checksum does not match")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint, so that the run can write one of its step again; returns the new path."""
    numbers = itertools.count(2)
    aside = folder.with_name(f"{folder.name}.damaged")
    while aside.exists():
        aside = folder.with_name(f"{folder.name}.damaged-{next(numbers)}")
    os.rename(folder, aside)
    sync(folder.parent)
    return aside


def write_tensors(value: Any, path: Path) -> None:
    """Write one of the `.pt` files.

    Raises:
        OSError: the disk is full or cannot be written; torch alone makes a RuntimeError of that.
    """
    with path.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            cause: BaseException | None = error
            while cause and not isinstance(cause, OSError):
                cause = cause.__context__
            raise (cause or error) from None


def read_tensors(path: Path) -> dict[str, Any]:
    """Return what one of the `.pt` files holds, on the CPU.

    Raises:
        Damaged: the file is missing, cut short or the like; only the checksums detect an altered number.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch may raise any exception
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> Damaged:
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else (str(error).splitlines() or [""])[0][:200]
    return Damaged(f"{path} is missing or damaged: {reason or type(error).__name__}.")
