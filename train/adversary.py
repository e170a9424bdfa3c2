"""Adversarial training: discriminators, their optimiser, and which side gets gradients."""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from torch import Tensor

from ..codecs.config import ConfigError, building
from ..codecs.spec import TokenizerSpec
from .config import RunConfig
from .discriminators.base import Beside, DiscriminatorSet
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
        of = {name: c.of for name, c in config.discriminators.items()}
        self.module = DiscriminatorSet(judges, of).to(accelerator.device).train()
        self._check_again(config)
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(config.discriminator_optimizer, self.parameters)
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=config.precision == "float16")
        self.wrapped = accelerator.prepare_model(self.module)

    def _check_again(self, config: RunConfig) -> None:
        """Raise ConfigError for terms that judge media once more, of discriminators that judge no media."""
        for name, loss in config.losses.items():
            judges = getattr(loss, "discriminators", ()) or config.discriminators
            again = [term for term in ("r1_weight", "consistency_weight") if getattr(loss, term, 0)]
            if again and (found := [judge for judge in judges if judge in self.module.of]):
                raise ConfigError(f"losses.{name}.{again[0]} judges media, but discriminators.{found[0]} judges features; set it to 0.")

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

    def turn(self, step: int) -> tuple[bool, bool]:
        """Whether the tokenizer, and whether the discriminators are updated at a step of the run."""
        return self.config.turns.trains(step - self.config.adversarial_start)

    def backward(
        self, x: Tensor, x_hat: Tensor, share: float, step: int, beside: Beside | None = None
    ) -> tuple[dict[str, Tensor], list[Judgement], list[Judgement]]:
        """Judge both batches, and add `share` times the gradients of the discriminators' losses to those of their weights.

        Both players' gradients are taken at the same weights, so one pass over `x_hat` serves both. For the second one, ask for the
        gradients of the tokenizer's weights alone (`backward(inputs=...)`, `autograd.grad`).

        Args:
            x, x_hat: media and reconstructions, `[B, C, T]` or `[B, C, H, W]`; `x_hat` with its graph, which is not walked here.
            share: of this part in the batch of the step, 0..1.
            step: of the run.
            beside: features and targets, for discriminators that read some.

        Returns:
            The detached losses by name, the detached judgements of `x`, and those of `x_hat` with their graph.
        """
        with self._autocast(x):
            real, fake = self.wrapped(x, x_hat, beside)
        found = {f"discriminator/{name}": loss.judge_loss(real, fake) for name, loss in self.losses.items()}
        update = self.config.turns.updates(step - self.config.adversarial_start)
        for name, loss in self.losses.items():
            again = functools.partial(self._again, beside=beside)
            found[f"discriminator/{name}_penalty"] = loss.judge_penalty(again, x, x_hat.detach(), real, fake, update)
        losses = {name: value for name, value in found.items() if value is not None}
        check_finite(losses, step)
        total = self.scaler.scale(torch.stack([*losses.values()]).sum() * share)
        self.accelerator.backward(total, inputs=self.parameters, retain_graph=True)
        return {name: value.detach() for name, value in losses.items()}, [j.detach() for j in real], fake

    def judge(self, x: Tensor, x_hat: Tensor, beside: Beside | None = None) -> tuple[list[Judgement], list[Judgement]]:
        """Judge both batches at a step that does not update the discriminators: `x` without, `x_hat` with its graph."""
        with self._autocast(x):
            with torch.no_grad():
                real = self.module(x, None, beside)[0]
            return real, self.module(None, x_hat, beside)[1]

    def _again(self, x: Tensor, *, beside: Beside | None = None) -> list[Judgement]:
        """Run the discriminators once more within a step, for a penalty: in float32, since R1 is a small gradient.

        Not through the wrapper: all weights are in the graph of the first run too, so their gradients are reduced once.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self.module(x.float(), None, beside)[0]

    def step(self, step: int) -> Tensor:
        """Clip, update the weights, and return the norm of the gradient."""
        return update(self.optimizer, self.scaler, self.parameters, self.config.discriminator_grad_clip, step, "the discriminators")

    def _autocast(self, x: Tensor) -> torch.autocast:
        return autocast(self.config.precision, x.device)
