"""The whole state of a run: writing it, finding it again, and refusing it when the run has become another one."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..codecs.config import ConfigError, to_mapping
from ..codecs.serialize import save_folder
from . import checkpoint
from .config import differences
from .files import parse_run

if TYPE_CHECKING:
    from .loop import Trainer


def prepare_folder(trainer: "Trainer") -> None:
    """Make the output folder and note the config of the run in it."""
    if trainer.rank == 0:
        trainer.out.mkdir(parents=True, exist_ok=True)
        checkpoint.sweep(trainer.out)
    trainer.accelerator.wait_for_everyone()


def save(trainer: "Trainer") -> None:
    """Write a checkpoint and the loadable folder; every process calls this."""
    final = trainer.out / checkpoint.folder_name(trainer.step)
    partial = trainer.out / f".{final.name}.partial"
    if trainer.rank == 0 and not final.exists():
        partial.mkdir()
    trainer.accelerator.wait_for_everyone()
    if partial.is_dir():
        mine = {
            "random": checkpoint.random_state(),
            "buffers": checkpoint.unsaved_buffers(trainer.tokenizer),
            "broken": dict(trainer.broken),
            "rows": trainer.rows,
        }
        torch.save(mine, partial / f"rank-{trainer.rank}.pt")
    trainer.accelerator.wait_for_everyone()
    if trainer.rank == 0 and partial.is_dir():
        torch.save(_shared(trainer), partial / "state.pt")
        meta = {
            "format": checkpoint.FORMAT,
            "step": trainer.step,
            "seconds": trainer.log.seconds(),
            "world": trainer.world,
            "data": trainer.clips.fingerprint,
            "config": to_mapping(trainer.config),
        }
        (partial / "meta.json").write_text(json.dumps(meta, indent=1))
        publish_model(trainer)  # first, so that where there is a checkpoint there is a model, whenever it is killed
        checkpoint.publish(partial, final)
        checkpoint.prune(trainer.out, trainer.config.every.keep)
    trainer.accelerator.wait_for_everyone()


def publish_model(trainer: "Trainer") -> None:
    """Write the weights that ship to `OUT/model`."""
    partial = trainer.out / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    save_folder(trainer.best(), partial)
    checkpoint.replace_files(partial, trainer.out / "model")


def resume(trainer: "Trainer") -> Path | None:
    """Load the newest checkpoint of the output folder into the trainer and return it; None when there is none.

    The random states are left in `trainer.random_state`, to be set when everything else is ready.

    Raises:
        ConfigError: the run's config or data are not those of the checkpoint.
    """
    found = checkpoint.checkpoints(trainer.out)
    if not found:
        if trainer.rank == 0:
            _write_config(trainer)
        return None
    folder = found[-1]
    meta = checkpoint.read_meta(folder)
    refuse_other_run(trainer, folder, meta)
    shared = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    trainer.tokenizer.load_state_dict(shared["tokenizer"])
    trainer.losses.load_state_dict(shared["losses"])
    trainer.balancer.load_state_dict(shared.get("balancer", {}))
    trainer.optimizer.load_state_dict(shared["optimizer"])
    if trainer.ema:
        trainer.ema.module.load_state_dict(shared["ema"])
    if trainer.adversary:
        trainer.adversary.module.load_state_dict(shared["discriminators"])
        trainer.adversary.optimizer.load_state_dict(shared["judge_optimizer"])
    mine = torch.load(folder / f"rank-{trainer.rank}.pt", map_location="cpu", weights_only=True)
    checkpoint.load_buffers(trainer.tokenizer, mine["buffers"])
    trainer.broken |= mine["broken"]
    trainer.rows = mine.get("rows", 0)
    trainer.step, trainer.seconds = meta["step"], meta.get("seconds", 0.0)
    if trainer.rank == 0:
        _write_config(trainer)
        if not (trainer.out / "model").is_dir():
            publish_model(trainer)
    trainer.random_state = mine["random"]
    return folder


def refuse_other_run(trainer: "Trainer", folder: Path, meta: dict[str, Any]) -> None:
    """Raise ConfigError, naming what differs, when going on from `folder` would mix two runs."""
    try:
        old = to_mapping(parse_run(meta["config"]))  # fills in keys that are newer than the checkpoint
    except ConfigError:
        old = meta["config"]
    problems = differences(old, to_mapping(trainer.config))
    if meta["world"] != trainer.world:
        problems.append(f"number of processes: {meta['world']} -> {trainer.world}")
    if meta["data"] != trainer.clips.fingerprint:
        problems.append("the files of data.train: some were added, removed or renamed")
    if problems:
        raise ConfigError(
            f"{folder} belongs to a run with another config. Give another `output`, or set back:\n  "
            + "\n  ".join(problems)
        )


def _shared(trainer: "Trainer") -> dict[str, Any]:
    """Everything that is the same in all processes."""
    out: dict[str, Any] = {
        "tokenizer": trainer.tokenizer.state_dict(),
        "losses": trainer.losses.state_dict(),
        "balancer": trainer.balancer.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
    }
    if trainer.ema:
        out["ema"] = trainer.ema.module.state_dict()
    if trainer.adversary:
        out["discriminators"] = trainer.adversary.module.state_dict()
        out["judge_optimizer"] = trainer.adversary.optimizer.state_dict()
    return out


def _write_config(trainer: "Trainer") -> None:
    """Note the full config beside the results; `tokenzoo train OUT/config.yaml` repeats the run."""
    from omegaconf import OmegaConf

    path = trainer.out / "config.yaml"
    part = path.with_name(f".{path.name}.part")
    part.write_text(OmegaConf.to_yaml(OmegaConf.create(to_mapping(trainer.config))))
    os.replace(part, path)
