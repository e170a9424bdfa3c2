"""The other side of an adversarial run: discriminators, their optimiser, and whose turn it is to have gradients."""

from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor

from ..codecs.spec import TokenizerSpec
from .discriminators.base import DiscriminatorSet
from .finite import check_finite, clip
from .losses.base import Judgement
from .optim import build_optimizer, rate, set_rate

if TYPE_CHECKING:
    from .config import RunConfig
    from .losses.base import Loss


class Adversary:
    """All discriminators of a run.

    Args:
        config: the run.
        spec: of the media that are judged.
        losses: name -> loss; those with a `judge_loss` train the discriminators.
        accelerator: wraps them for several processes.

    Attributes:
        module: the bare discriminators.
    """

    def __init__(
        self, config: "RunConfig", spec: TokenizerSpec, losses: "dict[str, Loss]", accelerator: Accelerator
    ) -> None:
        self.config, self.losses, self.accelerator = config, losses, accelerator
        judges = {name: c.build(spec) for name, c in sorted(config.discriminators.items())}
        self.module = DiscriminatorSet(judges).to(accelerator.device).train()
        self.parameters = list(self.module.parameters())
        self.optimizer = build_optimizer(config.discriminator_optimizer, self.parameters)
        self.wrapped = accelerator.prepare_model(self.module)

    def prepare_step(self, step: int) -> None:
        """Clear gradients and set the learning rate, which is counted from `adversarial_start`."""
        c, start = self.config.discriminator_optimizer, self.config.adversarial_start
        set_rate(self.optimizer, rate(c.schedule, c.lr, max(0, step - start), self.config.steps - start))
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, x: Tensor, x_hat: Tensor, share: float, step: int) -> tuple[dict[str, Tensor], list[Judgement]]:
        """Add `share` times the gradients of the discriminators' losses.

        Args:
            x, x_hat: media and detached reconstructions.

        Returns:
            The detached losses by name, and the detached judgements of `x`.
        """
        self.module.requires_grad_(True)
        with self._autocast(x):
            real, fake = self.wrapped(x, x_hat)
        found = {f"discriminator/{name}": loss.judge_loss(real, fake) for name, loss in self.losses.items()}
        losses = {name: value for name, value in found.items() if value is not None}
        check_finite(losses, step)
        self.accelerator.backward(torch.stack([*losses.values()]).sum() * share)
        return {name: value.detach() for name, value in losses.items()}, [j.detach() for j in real]

    def judge(self, x_hat: Tensor) -> list[Judgement]:
        """Judge with frozen weights: gradients flow to `x_hat` only, so there is nothing to reduce over processes."""
        self.module.requires_grad_(False)
        with self._autocast(x_hat):
            return self.module(x_hat)[0]

    def step(self, step: int) -> Tensor:
        """Clip, update the weights, and return the norm of the gradient."""
        norm = clip(self.parameters, self.config.discriminator_grad_clip, step, "the discriminators")
        self.optimizer.step()
        return norm

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")
