"""Checkpoints that are whole or not there: written beside, flushed, then renamed.

    OUT/checkpoint-00001000/
        meta.json       step, run config, data fingerprint, broken files
        state.pt        weights, running mean, both optimisers (tensors and plain containers: `weights_only` loads it)
        rank-0.pt       random states and unsaved buffers of each process
    OUT/model/          the tokenizer alone, always loadable
"""

import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

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


def sweep(out: Path) -> None:
    """Remove what an interrupted write left behind."""
    for leftover in out.glob(".*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def publish(partial: Path, final: Path) -> None:
    """Flush everything in `partial` to the disk and give it its final name; `final` must not exist."""
    for path in [*partial.rglob("*")]:
        if path.is_file():
            flush(path)
    os.rename(partial, final)
    flush(final.parent)


def replace_files(partial: Path, final: Path) -> None:
    """Put the files of `partial` into `final`, each in one step, so that `final` never lacks one.

    Within a run only the weights differ from one checkpoint to the next, so no mixture can arise.
    """
    if not final.exists():
        publish(partial, final)
        return
    for path in partial.iterdir():
        flush(path)
        os.replace(path, final / path.name)
    flush(final)
    partial.rmdir()


def flush(path: Path) -> None:
    """fsync a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def prune(out: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for old in checkpoints(out)[: -max(1, keep)]:
        gone = old.with_name(f".{old.name}.partial")  # renamed first: a half-deleted one must not look complete
        os.rename(old, gone)
        shutil.rmtree(gone, ignore_errors=True)


def read_meta(folder: Path) -> dict[str, Any]:
    """Return `meta.json`.

    Raises:
        ValueError: written by a newer version of this file.
    """
    meta = json.loads((folder / "meta.json").read_text())
    if meta.get("format") != FORMAT:
        raise ValueError(f"{folder} has checkpoint format {meta.get('format')}; this version reads {FORMAT}.")
    return meta


def random_state() -> dict[str, Any]:
    """Return the states of all random generators of this process, as tensors and plain containers."""
    name, keys, *rest = np.random.get_state()  # type: ignore[misc]
    version, internal, gauss = random.getstate()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *(x for x in rest)],
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def unsaved_buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers that `state_dict` leaves out (usage windows and the like): they steer training too."""
    saved = module.state_dict().keys()
    return {name: value.detach().clone() for name, value in module.named_buffers() if name not in saved}


def load_buffers(module: nn.Module, buffers: dict[str, torch.Tensor]) -> None:
    """Put back what `unsaved_buffers` returned; buffers that grew during training grow again."""
    devices = {name: value.device for name, value in module.named_buffers()}
    for name, value in buffers.items():
        owner, _, leaf = name.rpartition(".")
        if name in devices:
            setattr(module.get_submodule(owner), leaf, value.to(devices[name]))
