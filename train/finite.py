"""Stop at the first number that is not finite, before it reaches the weights."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class NonFiniteLoss(ArithmeticError):
    """A loss or gradient became infinite or not a number; the message names it and the step."""


def check_finite(values: Mapping[str, Tensor], step: int) -> None:
    """Raise `NonFiniteLoss` naming every value that is not finite; one transfer from the device for all of them."""
    finite = torch.stack([v.detach().float() for v in values.values()]).isfinite()
    if not bool(finite.all()):
        names = [name for name, ok in zip(values, finite.tolist(), strict=True) if not ok]
        raise NonFiniteLoss(
            f"step {step}: {', '.join(names)} is not finite. Nothing of this step was used; the last checkpoint is "
            "good. Lower the learning rate, or look at the data of this step."
        )


def clip(parameters: Sequence[nn.Parameter], limit: float, step: int, what: str, *, finite: bool = True) -> Tensor:
    """Scale the gradient of `parameters` down to the norm `limit` (0: leave it) and return the norm before.

    Raises:
        NonFiniteLoss: the norm is not finite, unless `finite` is False (the caller then handles it).
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if limit:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    if finite and not bool(norm.isfinite()):
        raise NonFiniteLoss(f"step {step}: the gradient of {what} is not finite. Lower the learning rate.")
    return norm.detach()
