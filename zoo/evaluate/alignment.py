"""The delay of a reconstruction behind its original, by the peak of their cross-correlation.

A decoder that is late by a few samples, or a classical codec with a look-ahead, gets a very low SI-SDR though it sounds the same.
"""

import torch
from torch import Tensor

#: Longest delay that is looked for, in seconds, in both directions.
LONGEST_SECONDS = 0.1


def delay_of(x: Tensor, y: Tensor, longest: int) -> int:
    """Samples by which `y` comes later than `x`, `[C, T]` each; negative where it is early; 0 where either is silent.

    Args:
        longest: largest delay that is looked for, in samples, in both directions.
    """
    a, b = x.double().mean(0), y.double().mean(0)
    length = max(a.shape[-1], b.shape[-1])
    longest = min(longest, length - 1)
    if longest < 1 or not a.any() or not b.any():
        return 0
    size = 2 * length  # zeros behind, so that the correlation does not wrap
    products = torch.fft.irfft(torch.fft.rfft(b, size) * torch.fft.rfft(a, size).conj(), size)
    shifts = torch.cat([products[-longest:], products[: longest + 1]])  # -longest .. longest
    return int(shifts.argmax()) - longest


def aligned(x: Tensor, y: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """The parts of `x` and of `y`, `[C, T]` each, that belong together once the delay is taken out."""
    delay = delay_of(x, y, longest)
    x, y = (x, y[..., delay:]) if delay >= 0 else (x[..., -delay:], y)
    both = min(x.shape[-1], y.shape[-1])
    return x[..., :both], y[..., :both]
