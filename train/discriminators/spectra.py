"""Spectra that discriminators of sound look at. Letters: B batch, C channels, T samples, N frames, F frequencies."""

from typing import Literal

import torch
from torch import Tensor, nn


class ComplexSpectrogram(nn.Module):
    """Centred STFT with real and imaginary parts as channels."""

    window: Tensor

    def __init__(self, length: int, hop: int, *, normalized: bool) -> None:
        super().__init__()
        self.length, self.hop, self.normalized = length, hop, normalized
        self.register_buffer("window", torch.hann_window(length), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, 2C, N, F]`."""
        spec = torch.view_as_real(centred_stft(x, self.window, self.hop, normalized=self.normalized))  # [B, C, F, N, 2]
        return spec.permute(0, 1, 4, 3, 2).flatten(1, 2)  # [B, 2C, N, F]


class Magnitudes(nn.Module):
    """Magnitudes of a centred STFT.

    Args:
        length: of window and FFT, in samples.
        hop: in samples.
        window: its form; "box" is 1 throughout.
        normalized: divide by the root of `length`.
        bounds: smallest and largest square of a magnitude; between them gradients flow. None: magnitudes as they are.
    """

    window: Tensor

    def __init__(
        self,
        length: int,
        hop: int,
        *,
        window: Literal["hann", "box"] = "hann",
        normalized: bool = False,
        bounds: tuple[float, float | None] | None = None,
    ) -> None:
        super().__init__()
        self.hop, self.normalized, self.bounds = hop, normalized, bounds
        values = torch.hann_window(length) if window == "hann" else torch.ones(length)
        self.register_buffer("window", values, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, C, F, N]`."""
        spec = centred_stft(x, self.window, self.hop, normalized=self.normalized)
        if self.bounds is None:
            return spec.abs()
        return (spec.real.square() + spec.imag.square()).clamp(*self.bounds).sqrt()


def centred_stft(x: Tensor, window: Tensor, hop: int, *, normalized: bool) -> Tensor:
    """Complex STFT `[B, C, F, N]` of `[B, C, T]` in float32; the edges are reflected by half a window."""
    with torch.autocast(x.device.type, enabled=False):
        flat = torch.stft(
            x.float().flatten(0, 1), len(window), hop, window=window, normalized=normalized, return_complex=True
        )  # [B*C, F, N]
    return flat.unflatten(0, x.shape[:2])
