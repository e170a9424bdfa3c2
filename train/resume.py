"""Writing the state of a run to its folder, finding it again, and refusing it if the run's config or data changed."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..codecs.config import ConfigError, to_mapping
from ..codecs.files import remove_partial, write_text
from ..codecs.serialize import save_folder
from . import checkpoint
from .config import RunConfig, differences
from .files import parse_run
from .pretrained import whole_config
from .state import PER_PROCESS, TrainState


@dataclass(frozen=True)
class Resumed:
    """The checkpoint that a run resumes from, and the seconds trained until then."""

    folder: Path
    seconds: float


def prepare_folder(state: TrainState, out: Path) -> None:
    """Make the output folder, without leftovers of an interrupted write; every process calls this."""
    if state.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        remove_partial(out)
    state.accelerator.wait_for_everyone()


def save(state: TrainState, out: Path, *, data: str, seconds: float) -> Path:
    """Write a checkpoint and the loadable folder, unless this step has them; every process calls this.

    Args:
        state: the run.
        out: its folder.
        data: fingerprint of the training data.
        seconds: that the run took until now.

    Returns:
        The checkpoint's folder.
    """
    final = out / checkpoint.folder_name(state.step)
    partial = checkpoint.partial_name(final)
    if state.rank == 0 and not final.exists():
        partial.mkdir()
    state.accelerator.wait_for_everyone()
    saved = state.state_dict() if partial.is_dir() else {}
    if saved:
        torch.save({name: saved.pop(name) for name in PER_PROCESS}, partial / f"rank-{state.rank}.pt")
    state.accelerator.wait_for_everyone()
    if state.rank == 0 and saved:
        torch.save(saved, partial / "state.pt")
        meta = {
            "format": checkpoint.FORMAT,
            "step": state.step,
            "seconds": seconds,
            "world": state.world,
            "data": data,
            "config": to_mapping(state.config),
        }
        (partial / "meta.json").write_text(json.dumps(meta, indent=1))
        publish_model(state, out)  # first, so that where there is a checkpoint there is a model, whenever it is killed
        checkpoint.publish(partial, final)
        checkpoint.prune(out, state.config.every.keep)
    state.accelerator.wait_for_everyone()
    return final


def publish_model(state: TrainState, out: Path) -> None:
    """Write the weights that ship to `OUT/model`."""
    final = out / "model"
    partial = checkpoint.partial_name(final)
    shutil.rmtree(partial, ignore_errors=True)
    save_folder(state.best(), partial)
    checkpoint.replace_files(partial, final)


def resume(state: TrainState, out: Path, *, data: str) -> Resumed | None:
    """Load the newest checkpoint of the output folder into the state; None if there is none. Writes the config into the folder.

    Raises:
        ConfigError: the run's config or data are not those of the checkpoint.
        CheckpointError: the checkpoint is damaged.
    """
    found = checkpoint.checkpoints(out)
    resumed = _load(state, found[-1], data) if found else None
    if state.rank == 0:
        _write_config(state.config, out)
        if resumed and not (out / "model").is_dir():
            publish_model(state, out)
    return resumed


def _load(state: TrainState, folder: Path, data: str) -> Resumed:
    meta = checkpoint.read_meta(folder)
    refuse_other_run(state, folder, meta, data)
    shared = checkpoint.read_tensors(folder / "state.pt")
    own = checkpoint.read_tensors(folder / f"rank-{state.rank}.pt")
    state.load_state_dict({"step": meta["step"], **shared, **own})  # the first checkpoints have the step in `meta` alone
    return Resumed(folder, meta.get("seconds", 0.0))


def refuse_other_run(state: TrainState, folder: Path, meta: dict[str, Any], data: str) -> None:
    """Raise ConfigError, naming what differs, if resuming from `folder` would mix two runs."""
    problems = differences(_whole(meta["config"]), to_mapping(state.config))
    if meta["world"] != state.world:
        problems.append(f"number of processes: {meta['world']} -> {state.world}")
    if meta["data"] != data:
        problems.append("the files of data.train: some were added, removed or renamed")
    if problems:
        raise ConfigError(
            f"{folder} belongs to a run with another config. Give another `output`, or set back:\n  "
            + "\n  ".join(problems)
        )


def _whole(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a checkpoint, newer keys added with their defaults; unchanged if this library can no longer read it."""
    try:
        whole = to_mapping(parse_run(config))
        whole["model"]["config"] = whole_config(whole["model"]["family"], whole["model"]["config"])
        return whole
    except ConfigError:
        return config


def _write_config(config: RunConfig, out: Path) -> None:
    """Write the full config beside the results; `tokenzoo train OUT/config.yaml` repeats the run."""
    from omegaconf import OmegaConf

    write_text(out / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(to_mapping(config))))
