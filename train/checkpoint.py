"""Checkpoint folders that are whole or not there: written beside, flushed, then renamed.

    OUT/checkpoint-00001000/
        meta.json       step, run config, data fingerprint
        state.pt        what is the same in all processes (tensors and plain containers: `weights_only` loads it)
        rank-0.pt       state of each process (rank)
    OUT/model/          the tokenizer alone, always loadable

`state.py` defines what a state consists of; `resume.py` writes it and finds it again.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from ..codecs.files import PARTIAL, sync
from ..codecs.serialize import CheckpointError

_NAME = re.compile(r"checkpoint-(\d{8,})")
FORMAT = 1


def checkpoints(out: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    if not out.is_dir():
        return []
    found = [p for p in out.iterdir() if _NAME.fullmatch(p.name) and (p / "meta.json").is_file()]
    return sorted(found, key=lambda p: int(_NAME.fullmatch(p.name)[1]))  # type: ignore[index]


def folder_name(step: int) -> str:
    """Name of the checkpoint after `step` steps."""
    return f"checkpoint-{step:08d}"


def partial_name(final: Path) -> Path:
    """Where `final` is written before it is whole; the same in every process."""
    return final.with_name(f".{final.name}{PARTIAL}")


def publish(partial: Path, final: Path) -> None:
    """Flush everything in `partial` to the disk and give it its final name; `final` must not exist."""
    for path in [*partial.rglob("*")]:
        if path.is_file():
            sync(path)
    os.rename(partial, final)
    sync(final.parent)


def replace_files(partial: Path, final: Path) -> None:
    """Put the files of `partial` into `final`, each in one step, so that `final` never lacks one.

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


def read_meta(folder: Path) -> dict[str, Any]:
    """Return `meta.json`.

    Raises:
        CheckpointError: damaged, or written by a newer version of this file.
    """
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text())
        version = meta.get("format")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(_damaged(path, error)) from error
    if version != FORMAT:
        raise CheckpointError(f"{folder} has checkpoint format {version}; this version reads {FORMAT}.")
    return meta


def read_tensors(path: Path) -> dict[str, Any]:
    """Return what one of the `.pt` files holds, on the CPU.

    Raises:
        CheckpointError: missing, cut short or otherwise damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch may raise any exception
        raise CheckpointError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    older = [p for p in checkpoints(path.parent.parent) if p.name < path.parent.name]
    advice = f"Remove the folder {path.parent} to go on from {older[-1].name}." if older else "No older checkpoint is beside it."
    reason = (str(error).splitlines() or [""])[0][:200]
    return f"{path} is missing or damaged ({type(error).__name__}: {reason}). {advice}"
