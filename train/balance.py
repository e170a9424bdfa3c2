"""Loss balancing: weights from gradient norms instead of loss values.

Sources: "gradients" is EnCodec's balancer (Défossez et al. 2022, arXiv 2210.13438, section 3.4, eq. 5); "adaptive" is
VQGAN's weight of the adversary (Esser et al. 2020, arXiv 2012.09841, eq. 7).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..codecs.config import ConfigError
from .losses.base import Loss


@dataclass(frozen=True, kw_only=True)
class BalanceConfig:
    """How the losses on the reconstruction are weighted against each other; losses on latents keep their weights.

    Attributes:
        kind: "none": `sum(w * loss)`. "gradients": each loss's gradient at `x_hat` is scaled to the norm `w / sum(w)`.
            "adaptive": adversarial losses are multiplied, besides their weight, by the ratio of the gradient norm of the other
            losses (with their weights) to their own (without).
        decay: of the running mean of gradient norms ("gradients"; EnCodec 0.999).
        bounds: smallest and largest ratio of the adaptive kind (VQGAN 0 to 10 000; DualToken 0.3 to 10).
    """

    kind: Literal["none", "gradients", "adaptive"] = "none"
    decay: float = 0.999
    bounds: tuple[float, float] = (0.0, 1e4)

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ConfigError(f"balance.decay is {self.decay}; it must be at least 0 and below 1.")
        low, high = self.bounds
        if not (0 <= low <= high < math.inf and high > 0):
            raise ConfigError(f"balance.bounds is [{low}, {high}]; need two finite numbers with 0 <= low <= high and high > 0.")


class Balancer(nn.Module):
    """Turns losses by name into the one scalar whose gradient trains the tokenizer.

    Differs: VQGAN measures gradients at the decoder's last weight; here, as in EnCodec, at `x_hat`, which every tokenizer has.
    """

    norms: Tensor
    filled: Tensor

    def __init__(self, config: BalanceConfig, losses: Mapping[str, Loss], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.config, self.weights = config, dict(weights)
        self.on_output = [name for name, loss in losses.items() if loss.on_output]
        self.judged = [name for name, loss in losses.items() if loss.adversarial]
        if config.kind != "none" and not self.on_output:
            raise ConfigError(
                f'balance.kind is "{config.kind}", which weighs losses on the reconstruction, but none of the losses '
                f"({', '.join(losses) or 'there are none'}) looks at it; add one, such as adversarial, or leave balance out."
            )
        if config.kind == "gradients":
            # For each loss a running mean that starts at 0, and the sum of its weights, by which it is divided (as in Adam).
            self.register_buffer("norms", torch.zeros(len(self.on_output)))
            self.register_buffer("filled", torch.zeros(len(self.on_output)))
        self._seen: dict[str, list[Tensor]] = {}  # gradient norms of the parts of the step, by loss

    def forward(self, losses: Mapping[str, Tensor], x_hat: Tensor, share: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar to differentiate, and the factor of each balanced loss as a metric.

        Running norms are updated in `end_step`. If a step has several parts, the factors of "gradients" use all parts so far, those
        of "adaptive" the current part alone.

        Args:
            losses: unweighted scalars by name, without those that do not count at this step.
            x_hat: `[B, ...]`, part of the graph of every loss with `on_output`.
            share: of this part in the batch of the step, 0..1; the caller multiplies the scalar by it.
        """
        if self.config.kind == "none":
            return sum((self.weights[name] * value for name, value in losses.items()), x_hat.new_zeros(())), {}
        names = [n for n in self.on_output if n in losses and self.weights[n] > 0]
        gradients = {n: torch.autograd.grad(losses[n], x_hat, retain_graph=True, allow_unused=True)[0] for n in names}
        gradients = {n: torch.zeros_like(x_hat) if g is None else g for n, g in gradients.items()}
        if not names:  # a step before the first of them counts
            factors = {}
        elif self.config.kind == "gradients":  # norms of the gradients that the whole batch would have
            factors = self._by_norm({n: share * g for n, g in gradients.items()})
        else:
            factors = self._adaptive(gradients)
        pull = torch.stack([factors[n] * gradients[n] for n in names]).sum(0) if names else torch.zeros_like(x_hat)
        # A surrogate: its gradient at x_hat is `pull`; the graphs of the losses need not be walked a second time.
        total = (x_hat * pull.detach()).sum()
        total = total + sum(self.weights[n] * v for n, v in losses.items() if n not in self.on_output)
        return total, {f"balance/{n}": f for n, f in factors.items()}

    @torch.no_grad()
    def _by_norm(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        total = sum(self.weights[n] for n in gradients)
        now = _mean_over_processes(torch.stack([_batch_norm(g) for g in gradients.values()]))
        out = {}
        for value, name in zip(now, gradients, strict=True):
            self._seen.setdefault(name, []).append(value)
            norm, filled = self._after(name)
            out[name] = self.weights[name] / total / (norm / filled).clamp(min=1e-12)
        return out

    def _after(self, name: str) -> tuple[Tensor, Tensor]:
        """Running norm of a loss and the sum of its weights, with the parts of this step so far."""
        i, d = self.on_output.index(name), self.config.decay
        value = torch.stack(self._seen[name]).mean()
        return d * self.norms[i] + (1 - d) * value, d * self.filled[i] + (1 - d)

    @torch.no_grad()
    def end_step(self, *, moved: bool = True) -> None:
        """Update the running norms with the parts of the step; `moved` False: the step failed, discard its parts."""
        for name in self._seen if moved else ():
            i = self.on_output.index(name)
            self.norms[i], self.filled[i] = self._after(name)
        self._seen = {}

    @torch.no_grad()
    def _adaptive(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = {n: torch.tensor(self.weights[n], device=g.device) for n, g in gradients.items()}
        plain = [self.weights[n] * g for n, g in gradients.items() if n not in self.judged]
        judged = [g for n, g in gradients.items() if n in self.judged]
        if plain and judged:
            pair = torch.stack([torch.stack(plain).sum(0).norm(), torch.stack(judged).sum(0).norm()])
            pair = _mean_over_processes(pair)
            ratio = (pair[0] / (pair[1] + 1e-12)).clamp(*self.config.bounds)
            out |= {n: out[n] * ratio for n in out if n in self.judged}
        return out


def _batch_norm(gradient: Tensor) -> Tensor:
    """Mean over the batch of each item's gradient norm, as in EnCodec."""
    return gradient.flatten(1).norm(dim=1).mean()


def _mean_over_processes(values: Tensor) -> Tensor:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
        values /= torch.distributed.get_world_size()
    return values
