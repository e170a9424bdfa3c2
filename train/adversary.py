"""Adversarial training: discriminators, their optimiser, and which side gets gradients."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from torch import Tensor

from ..codecs.config import building
from ..codecs.spec import TokenizerSpec
from .config import RunConfig
from .discriminators.base import DiscriminatorSet
from .finite import check_finite
from .losses.base import Judgement, Loss
from .optim import autocast, build_optimizer, rate, set_rate, update


class Adversary:
    """All discriminators of a run, with their optimiser.

    Args:
        config: the run.
        spec: of the media that the discriminators take.
        losses: name -> loss; those with a `judge_loss` train the discriminators.
        accelerator: wraps them for several processes.

    Attributes:
        module: the bare discriminators.
    """

    #: keys of `state_dict`
    PARTS: ClassVar[tuple[str, ...]] = ("discriminators", "judge_optimizer")

    def __init__(self, config: RunConfig, spec: TokenizerSpec, losses: Mapping[str, Loss], accelerator: Accelerator) -> None:
        self.config, self.losses, self.accelerator = config, losses, accelerator
        judges: dict[str, Any] = {}
        for name, c in sorted(config.discriminators.items()):
            with building(f"discriminators.{name}"):
                judges[name] = c.build(spec)
        self.module = DiscriminatorSet(judges).to(accelerator.device).train()
        self.parameters = list(self.module.parameters())
        self.optimizer = build_optimizer(config.discriminator_optimizer, self.parameters)
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=config.precision == "float16")
        self.wrapped = accelerator.prepare_model(self.module)

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser as plain data."""
        out = {"discriminators": self.module.state_dict(), "judge_optimizer": self.optimizer.state_dict()}
        return out | ({"judge_scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {})

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        self.module.load_state_dict(saved["discriminators"])
        self.optimizer.load_state_dict(saved["judge_optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["judge_scaler"])

    def prepare_step(self, step: int) -> None:
        """Clear gradients and set the learning rate, which is counted from `adversarial_start`."""
        c, start = self.config.discriminator_optimizer, self.config.adversarial_start
        set_rate(self.optimizer, rate(c.schedule, c.lr, max(0, step - start), self.config.steps - start))
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, x: Tensor, x_hat: Tensor, share: float, step: int) -> tuple[dict[str, Tensor], list[Judgement]]:
        """Add `share` times the gradients of the discriminators' losses to those of their weights.

        Args:
            x, x_hat: media and detached reconstructions, `[B, C, T]` or `[B, C, H, W]`.
            share: of this part in the batch of the step, 0..1.
            step: for messages.

        Returns:
            The detached losses by name, and the detached judgements of `x`.
        """
        self.module.requires_grad_(True)
        with self._autocast(x):
            real, fake = self.wrapped(x, x_hat)
        found = {f"discriminator/{name}": loss.judge_loss(real, fake) for name, loss in self.losses.items()}
        losses = {name: value for name, value in found.items() if value is not None}
        check_finite(losses, step)
        self.accelerator.backward(self.scaler.scale(torch.stack([*losses.values()]).sum() * share))
        return {name: value.detach() for name, value in losses.items()}, [j.detach() for j in real]

    def judge(self, x_hat: Tensor) -> list[Judgement]:
        """Run the discriminators with frozen weights: gradients flow to `x_hat` only, so none are reduced over processes."""
        self.module.requires_grad_(False)
        with self._autocast(x_hat):
            return self.module(x_hat)[0]

    def step(self, step: int) -> Tensor:
        """Clip, update the weights, and return the norm of the gradient."""
        return update(self.optimizer, self.scaler, self.parameters, self.config.discriminator_grad_clip, step, "the discriminators")

    def _autocast(self, x: Tensor) -> torch.autocast:
        return autocast(self.config.precision, x.device)
