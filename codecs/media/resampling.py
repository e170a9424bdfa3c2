"""Windowed-sinc resampling, the same for all code that reads sound. Letters: T samples."""

import math

import torch
from torch import Tensor

from .limits import check_samples

#: Number of zero crossings of the sinc on each side, and cutoff frequency as a share of the lower rate's Nyquist frequency.
_WIDTH, _ROLLOFF = 32, 0.99
#: torchaudio stores a filter for each phase of the two rates; filters of more values than this are computed one by one.
_MOST_VALUES = 1 << 23
#: Number of output samples for which filters are computed at a time in that case.
_AT_ONCE = 1 << 14


def resample(x: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Resample `[..., T]` to another rate: `ceil(T * to / from)` samples (torchaudio's kernel, width 32).

    Raises:
        MediaError: the result would have more than `limits.max_samples()` samples.
    """
    if from_hz == to_hz:
        return x
    import torchaudio.functional as F

    check_samples(x.numel() * to_hz / from_hz, f"the clip, resampled from {from_hz} to {to_hz} Hz,")
    step = math.gcd(from_hz, to_hz)
    old, new = from_hz // step, to_hz // step
    reach = math.ceil(_WIDTH * old / (min(old, new) * _ROLLOFF))
    if new * (2 * reach + old) <= _MOST_VALUES:
        return F.resample(x, from_hz, to_hz, lowpass_filter_width=_WIDTH, rolloff=_ROLLOFF)
    return _one_by_one(x, old, new, reach)


def resample_short(x: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Resample `[..., T]` with torchaudio's default filter of width 6, which the authors of codecs put before their speech models.

    Computed in float32; the dtype stays. `ceil(T * to / from)` samples.
    """
    if from_hz == to_hz:
        return x
    if torch.compiler.is_exporting():
        return _of_any_length(x.float(), from_hz, to_hz).to(x.dtype)
    import torchaudio.functional as F

    return F.resample(x.float(), from_hz, to_hz).to(x.dtype)


def _of_any_length(x: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """The same for a graph of any length: torchaudio takes the length from a tensor, which fixes it as a number."""
    import torchaudio.transforms as T

    step = math.gcd(from_hz, to_hz)
    old, new = from_hz // step, to_hz // step
    resampler = T.Resample(from_hz, to_hz, dtype=x.dtype)
    padded = torch.nn.functional.pad(x.reshape(-1, 1, x.shape[-1]), (resampler.width, resampler.width + old))
    y = torch.nn.functional.conv1d(padded, resampler.get_buffer("kernel"), stride=old).transpose(1, 2).flatten(1)
    return y[:, : -(-x.shape[-1] * new // old)].unflatten(0, x.shape[:-1])


def _one_by_one(x: Tensor, old: int, new: int, reach: int) -> Tensor:
    """The same resampling for rates with hardly any common divisor, whose filters would fill the memory.

    Args:
        x: `[..., T]`.
        old, new: the rates divided by their greatest common divisor.
        reach: number of input samples on each side of an output sample.
    """
    length = -(-x.shape[-1] * new // old)
    padded = torch.nn.functional.pad(x, (reach, reach + 1))
    taps = torch.arange(-reach, reach + 1, dtype=torch.float64, device=x.device)
    out = []
    for start in range(0, length, _AT_ONCE):
        n = torch.arange(start, min(length, start + _AT_ONCE), device=x.device)
        whole, rest = n * old // new, (n * old % new).double() / new  # position of the output sample among the input samples
        t = (taps - rest[:, None]) * (min(old, new) * _ROLLOFF / old)  # [n, taps], in zero crossings
        t = t.clamp(-_WIDTH, _WIDTH)
        kernel = torch.sinc(t) * torch.cos(t * (math.pi / _WIDTH / 2)).square() * (min(old, new) * _ROLLOFF / old)
        index = whole[:, None] + torch.arange(2 * reach + 1, device=x.device)  # into `padded`, which begins `reach` earlier
        out.append((padded[..., index] * kernel.to(x.dtype)).sum(-1))
    return torch.cat(out, dim=-1)
