"""Media after reading, and after preparation for a tokenizer. Letters: C channels, T samples, H W pixels."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Waveform:
    """One clip that was read: float32 `[C, T]`, about -1..1, and its sampling rate."""

    samples: Tensor
    sample_rate_hz: int


@dataclass(frozen=True)
class Picture:
    """One picture that was read: float32 `[3, H, W]` in 0..1."""

    pixels: Tensor


@dataclass(frozen=True)
class Prepared:
    """One item, as returned by `tokenizer.prepare`: read, checked, and ready as input of the network.

    Attributes:
        x: `[C, T]` at the tokenizer's rate, or `[3, H, W]` (a clip of pictures: `[T, 3, H, W]`) in its value range and of a size that
            it takes.
        size: `(T,)`, `(H, W)` or `(T, H, W)` of the output of `decode`: the size of the original, or of the part that was kept of a
            cropped picture. `x` may differ, as it may be resampled, resized or padded.
        sample_rate_hz: sampling rate of the original audio; None for pictures.
    """

    x: Tensor
    size: tuple[int, ...]
    sample_rate_hz: int | None = None
