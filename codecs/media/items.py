"""The forms that media take on their way in. Letters: C channels, T samples, H W pixels."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Waveform:
    """One clip that was read: float32 `[C, T]` around -1..1, and its own rate."""

    samples: Tensor
    sample_rate_hz: int


@dataclass(frozen=True)
class Picture:
    """One picture that was read: float32 `[3, H, W]` in 0..1."""

    pixels: Tensor


@dataclass(frozen=True)
class Prepared:
    """One item as `tokenizer.prepare` gives it: read, checked, and in the form that the network takes.

    Attributes:
        x: `[C, T]` at the tokenizer's rate, or `[3, H, W]` in its range and of a size that it takes.
        size: `(T,)` or `(H, W)` of what `decode` gives back: the original's or, of a crop, that of the part kept; `x` may be
            resampled, resized or padded.
        sample_rate_hz: of the original audio; None for pictures.
    """

    x: Tensor
    size: tuple[int, ...]
    sample_rate_hz: int | None = None
