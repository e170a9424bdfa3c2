"""Saves the state of a run to its folder, and resumes from it unless the run's config or data changed."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from ..codecs.config import ConfigError, to_mapping
from ..codecs.files import remove_partial, write_text
from ..codecs.serialize import CheckpointError, save_folder
from . import checkpoint
from .config import RunConfig, differences
from .files import parse_run
from .pretrained import whole_config
from .randomness import randomness_kept
from .state import PER_PROCESS, TrainState


@dataclass(frozen=True)
class Resumed:
    """The checkpoint that a run resumes from, the seconds that the run had taken, and a message about newer ones that are damaged."""

    folder: Path
    seconds: float
    damaged: str = ""


def prepare_folder(state: TrainState, out: Path) -> None:
    """Make the output folder, without leftovers of an interrupted write; every process calls this."""
    if state.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        remove_partial(out)
    state.accelerator.wait_for_everyone()


def save(state: TrainState, out: Path, *, data: str, seconds: float) -> Path:
    """Write a checkpoint and `OUT/model`, unless this step has a checkpoint; every process calls this.

    If it fails, earlier checkpoints stay as they were, and no partial files are left.

    Args:
        state: the run.
        out: its folder.
        data: fingerprint of the training data.
        seconds: time that the run took so far.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    final = out / checkpoint.folder_name(state.step)
    try:
        _write(state, final, data, seconds)
    except BaseException:
        if state.rank == 0:
            for path in (final, out / "model"):
                shutil.rmtree(checkpoint.partial_name(path), ignore_errors=True)
        raise
    return final


def _write(state: TrainState, final: Path, data: str, seconds: float) -> None:
    out, partial = final.parent, checkpoint.partial_name(final)
    if state.rank == 0 and not final.exists():
        partial.mkdir()
    state.accelerator.wait_for_everyone()
    saved = state.state_dict() if partial.is_dir() else {}
    if saved:
        checkpoint.write_tensors({name: saved.pop(name) for name in PER_PROCESS}, partial / f"rank-{state.rank}.pt")
    state.accelerator.wait_for_everyone()
    if state.rank == 0 and saved:
        checkpoint.write_tensors(saved, partial / "state.pt")
        meta = {
            "step": state.step,
            "seconds": seconds,
            "world": state.world,
            "data": data,
            "config": to_mapping(state.config),
            "layout": state.tokenizer.layout,
            "weight_norm": state.normed,
        }
        checkpoint.write_meta(partial, meta)
        publish_model(state, out)  # first, so that where there is a checkpoint there is a model, whenever it is killed
        checkpoint.publish(partial, final)
        checkpoint.prune(out, state.config.every.keep)
    state.accelerator.wait_for_everyone()


def publish_model(state: TrainState, out: Path, name: str = "model") -> None:
    """Write the tokenizer with the weights that are published (`state.best()`) to `OUT/model`, or to another folder in OUT.

    Random generators keep their state, so that a run ends with the same weights however often it is saved.
    """
    final = out / name
    partial = checkpoint.partial_name(final)
    shutil.rmtree(partial, ignore_errors=True)
    with randomness_kept():  # some modules draw their first weights again when they are copied
        save_folder(state.best(), partial)
    checkpoint.replace_files(partial, final)


def resume(state: TrainState, out: Path, *, data: str) -> Resumed | None:
    """Load the newest undamaged checkpoint of the output folder into the state, and write the config into the folder.

    Newer checkpoints that are damaged are renamed, so that this run can write their steps again.

    Returns:
        What was loaded; None if there are no checkpoints.

    Raises:
        ConfigError: the run's config or data are not those of the checkpoint.
        CheckpointError: there are checkpoints, but all are damaged; the message names the files.
    """
    folder, meta, damaged = _newest_whole(state, out)
    resumed = _load(state, folder, meta, data) if folder else None
    if resumed and damaged:
        resumed = dataclasses.replace(resumed, damaged=_set_aside(damaged) if state.rank == 0 else "")
    if state.rank == 0:
        _write_config(state.config, out)
        if resumed and not (out / "model").is_dir():
            publish_model(state, out)
        checkpoint.prune(out, state.config.every.keep)  # a run killed after its last checkpoint would keep one more
    return resumed


_Found = tuple[Path | None, dict[str, Any], dict[Path, str]]


def _newest_whole(state: TrainState, out: Path) -> _Found:
    """The checkpoint to resume from, its meta, and newer damaged ones with the reason; the first process finds them for all."""
    outcome: list[Any] = [None, None]
    if state.rank == 0:
        try:
            outcome[0] = _look_for_whole(out)
        except CheckpointError as error:
            outcome[1] = str(error)
    broadcast_object_list(outcome)
    if outcome[1]:
        raise CheckpointError(outcome[1])
    return outcome[0]


def _look_for_whole(out: Path) -> _Found:
    damaged: dict[Path, str] = {}
    for folder in reversed(checkpoint.checkpoints(out)):
        try:
            return folder, checkpoint.read_meta(folder), damaged
        except checkpoint.Damaged as error:
            damaged[folder] = str(error)
    if damaged:
        raise CheckpointError(
            f"no checkpoint in {out} is whole. {' '.join(damaged.values())} Copy one back, or give another `output` to begin anew."
        )
    return None, {}, {}


def _set_aside(damaged: dict[Path, str]) -> str:
    return " ".join(f"{reason} The checkpoint is now {checkpoint.set_aside(path).name}." for path, reason in damaged.items())


def _load(state: TrainState, folder: Path, meta: dict[str, Any], data: str) -> Resumed:
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
            f"{folder} belongs to a run with another config (its value -> yours). Give another `output`, or set back:\n  "
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
