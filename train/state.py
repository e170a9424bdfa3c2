"""Everything that a training run consists of, as one object: weights, optimisers, and the step reached.

    state = TrainState(config)                    # or TrainState(config, tokenizer=tok)
    values = train_step(state, x)                 # see step.py; the loop, checkpoints, validation and previews take it too
    torch.save(state.state_dict(), "state.pt")
    state.load_state_dict(torch.load("state.pt")) # resumes exactly there, random numbers included
"""

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..codecs.config import ConfigError, building
from ..codecs.tokenizer import Tokenizer
from ..codecs.wrapping import unwrap
from .adversary import Adversary
from .buffers import load_buffers, unsaved_buffers
from .config import RunConfig
from .data.media import noise
from .data.partners import PartnerBatch
from .ema import Ema
from .moving import Moving
from .objective import Objective
from .optim import build_optimizer
from .positions import StepIds
from .pretrained import Pretrained
from .processes import connect
from .randomness import random_state, seed_all, set_random_state
from .reading import check_reads, reading
from .recompute import recomputable_blocks
from .start import described, freeze, new_tokenizer, open_init, start_discriminators, start_losses
from .weight_norm import add_weight_norm, plain_copy

#: Parts of a state dict that differ between processes.
PER_PROCESS = ("random", "buffers", "broken", "rows")


class TrainState:
    """State of a training run between two steps.

    Args:
        config: the run.
        tokenizer: trained in place of a new one of `config.model`, which may be left out then.
        accelerator: devices and processes; None: made from `config`.
        init: what `config.init` names, where it is read already; its weights are released.

    Attributes:
        config: the run, with the tokenizer's family and whole config in `config.model`.
        tokenizer: the bare tokenizer; `generator` is the same, wrapped for several processes.
        objective: losses with their weights, their balance, and teachers.
        trained: all parameters that the optimiser moves: of the tokenizer, and of losses that own some.
        optimizer: of these; its learning rate is a function of `step` (`optim.rate`).
        scaler: scales the loss where networks run in float16; else it does nothing.
        ema: running mean of the tokenizer, or None.
        adversary: discriminators with their optimiser, or None.
        step: finished optimiser steps.
        rows: in streamed data, the rows that this process used up; else the position in the data is `step * batch_size`.
        broken: files that could not be used: name -> reason.
        normed: modules of the tokenizer that have weight norm while they are trained.
        moving: values that change with the step.
        recomputed: blocks that are computed again in the backward pass.
        positions: ids of the latest step, to see whether they depend on the input.

    Raises:
        ConfigError: settings that contradict each other, or `config.init` names nothing that can be loaded.
        CheckpointError: weights that do not fit.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        tokenizer: Tokenizer | nn.Module | None = None,
        accelerator: Accelerator | None = None,
        init: Pretrained | None = None,
    ) -> None:
        self.accelerator = accelerator or connect(config)
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.device = self.accelerator.device
        seed_all(config.seed)  # the same weights in every process
        init = init or open_init(config) if tokenizer is None else None
        if tokenizer is None:
            model, self.tokenizer = new_tokenizer(config, init)
        else:
            self.tokenizer = unwrap(tokenizer)
            model = described(config, self.tokenizer)
        self.config = config = dataclasses.replace(config, model=model)
        self.normed = add_weight_norm(self.tokenizer, model.weight_norm, self.tokenizer.layout)
        freeze(self.tokenizer, model.frozen)
        check_reads(self.tokenizer, model.ids)
        self._build(config)
        if self.adversary:
            start_discriminators(self.adversary.module, init, config.init_parts)
        start_losses(self.objective.losses, init, config.init_losses)
        if init is not None:
            init.release()
        self.step, self.rows = 0, 0
        self.broken: dict[str, str] = {}
        self.positions = StepIds(self.tokenizer.spec.num_codebooks)
        seed_all(config.seed * 1000 + 1 + self.rank)  # from here on each process draws other random numbers

    def _build(self, config: RunConfig) -> None:
        spec = self.tokenizer.spec
        widths = {}
        if any(c.needs_widths() for c in config.losses.values()):
            widths = feature_widths(self.tokenizer, config.data.media(spec).shape)
        self.objective = Objective(config, spec, self.device, widths)
        self.tokenizer.to(self.device).train()
        self.ema = Ema(config.ema, self.tokenizer) if config.ema.decay else None
        own = self.objective.losses.parameters()
        self.recomputed = recomputable_blocks(self.tokenizer) if config.recompute_blocks else []
        self.trained = [p for p in (*self.tokenizer.parameters(), *own) if p.requires_grad]
        rates = {p: c.rate for name, c in config.losses.items() for p in self.objective.losses[name].parameters()}
        self.optimizer = build_optimizer(config.optimizer, self.trained, rates=rates)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        # prepare_model only wraps: without several processes it returns the module itself. DDP refuses one with nothing to train.
        moves = any(p.requires_grad for p in self.tokenizer.parameters())
        self.generator = self.accelerator.prepare_model(self.tokenizer) if moves else self.tokenizer
        losses = self.objective.by_name
        self.adversary = Adversary(config, spec, losses, self.accelerator) if config.discriminators else None
        judges = dict(self.adversary.module.members.items()) if self.adversary else {}
        self.moving = Moving(config.moving, [self.objective.weights, self.objective.balancer.weights], self.tokenizer, judges)

    @property
    def losses(self) -> nn.ModuleDict:
        """The losses of the objective by name, as modules."""
        return self.objective.losses

    @property
    def position(self) -> int:
        """Crops of the training data that all processes together have used up."""
        return self.step * self.config.batch_size

    def best(self) -> Tokenizer:
        """The weights that are validated and published: the running mean, or the tokenizer itself without one.

        With weight norm it is a copy, in which the norms are folded.
        """
        best = self.ema.module if self.ema else self.tokenizer
        return plain_copy(best, self.normed) if self.normed else best

    def features(self, targets: Mapping[str, Tensor]) -> list[Tensor]:
        """Further arguments of the tokenizer's `forward`: those of the teachers' `targets` that `config.model.features` names."""
        return [targets[name] for name in self.config.model.features]

    def reading(self, model: Tokenizer, partners: PartnerBatch) -> AbstractContextManager[None]:
        """Context manager of a forward pass of `model`: its decoder reads the ids that `config.model.ids` names, if any."""
        return reading(model, self.config.model.ids, partners)

    # --- as plain data ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The whole state as tensors and plain containers; the parts that `PER_PROCESS` names differ between processes."""
        out: dict[str, Any] = {
            "tokenizer": self.tokenizer.state_dict(),
            "losses": self.objective.losses.state_dict(),
            "balancer": self.objective.balancer.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        if self.scaler.is_enabled():
            out["scaler"] = self.scaler.state_dict()
        if self.ema:
            out["ema"] = self.ema.module.state_dict()
        if self.adversary:
            out |= self.adversary.state_dict()
        own = {"random": random_state(), "buffers": unsaved_buffers(self.tokenizer), "broken": dict(self.broken), "rows": self.rows}
        return out | own

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Resume from a saved state; the random state of this process is set too.

        Raises:
            ConfigError: a part is missing: the other run had no running mean, discriminators or the like.
        """
        self._check_parts(saved)
        self.tokenizer.load_state_dict(saved["tokenizer"])
        self.objective.losses.load_state_dict(saved["losses"])
        self.objective.balancer.load_state_dict(saved.get("balancer", {}))  # missing in the oldest checkpoints
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["scaler"])
        if self.ema:
            self.ema.module.load_state_dict(saved["ema"])
        if self.adversary:
            self.adversary.load_state_dict(saved)
        load_buffers(self.tokenizer, saved["buffers"])
        self.step, self.rows = saved["step"], saved.get("rows", 0)
        self.broken = dict(saved["broken"])
        set_random_state(saved["random"])

    def _check_parts(self, saved: Mapping[str, Any]) -> None:
        needed = {"tokenizer", "losses", "optimizer", "step", "random", "buffers", "broken"}
        needed |= {"scaler"} if self.scaler.is_enabled() else set()
        needed |= {"ema"} if self.ema else set()
        needed |= set(Adversary.PARTS) if self.adversary else set()
        if missing := sorted(needed - saved.keys()):
            raise ConfigError(f"the saved state has no {', '.join(missing)}: it is that of a run with another config.")


@torch.no_grad()
def feature_widths(tokenizer: Tokenizer, shape: tuple[int, ...]) -> dict[str, int]:
    """Channels of the features that a tokenizer gives to losses, by name, from one run on noise of `shape`; leaves it in eval mode."""
    x = noise(tokenizer.spec, 1, shape)
    with building(f"a {tokenizer.family} tokenizer for media of {list(shape)}"):
        out = tokenizer.eval()(x.to(tokenizer.device))
    latents = {"z": out.z, "z_q": out.quantized.z_q}
    return {name: value.shape[1] for name, value in (latents | dict(out.features)).items() if value.ndim > 1}  # numbers have none
