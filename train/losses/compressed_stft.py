"""Distance of complex spectra whose magnitudes are compressed by a power law, near the loudness that PESQ compares.

Sources: Ephrat et al. 2018 (arXiv 1804.03619: power-law compressed spectra), Braun & Tashev 2020 (arXiv 2009.12286,
eq. 9: magnitude and complex term mixed by alpha, exponent 0.3).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs
from .lengths import check_length, fits, half_window


@dataclass(frozen=True, kw_only=True)
class CompressedStftConfig(LossConfig):
    """Sum over windows of `(1 - alpha) * |m - m_hat|^2 + alpha * |s - s_hat|^2`, s = m * direction, m = |S|^exponent.

    Attributes:
        windows: Hann window and FFT lengths in samples. The edges of a clip are reflected by half a window, so a window is left
            out for clips of at most half its length; if none is left, that is an error.
        hop_ratio: hop as a share of the window.
        exponent: of the magnitudes.
        alpha: share of the complex term, which depends on phases.
        floor: magnitudes are at least this (as a share of full scale times the window's sum).
    """

    kind: ClassVar[str] = "compressed_stft"
    windows: tuple[int, ...] = (256, 512, 1024)
    hop_ratio: float = 0.25
    exponent: float = 0.3
    alpha: float = 0.3
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if not self.windows or min(self.windows) < 2:
            raise ConfigError(f"windows are {self.windows}; give one or more of at least 2 samples.")
        if not 0 <= self.alpha <= 1 or not 0 < self.exponent <= 1:
            raise ConfigError(f"alpha is {self.alpha} and exponent {self.exponent}; both lie in 0..1.")

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip that the shortest window takes."""
        return half_window(min(self.windows))

    def build(self, spec: TokenizerSpec) -> Loss:
        return CompressedStft(self)


class CompressedStft(Loss):
    """Distance of compressed complex spectra, summed over windows; settings: `CompressedStftConfig`."""

    def __init__(self, config: CompressedStftConfig) -> None:
        super().__init__()
        self.config = config
        for n in config.windows:
            self.register_buffer(f"window_{n}", torch.hann_window(n), persistent=False)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the sum over windows, each a mean over the batch."""
        c, total = self.config, inputs.x.new_zeros(())
        check_length(f"the loss {c.kind!r}", inputs.x.shape[-1], c.least_samples)
        for n in c.windows:
            if not fits(n, inputs.x.shape[-1]):
                continue
            s, m = self._compress(inputs.x, n)
            s_hat, m_hat = self._compress(inputs.x_hat, n)
            complex_term = torch.view_as_real(s - s_hat).square().sum(-1).mean()
            total = total + (1 - c.alpha) * (m - m_hat).square().mean() + c.alpha * complex_term
        return total

    def _compress(self, x: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Compressed spectrum (complex) and its magnitude, `[B * C, F, frames]`; a full-scale sine is about 1."""
        window = getattr(self, f"window_{n}")
        hop = max(1, int(n * self.config.hop_ratio))
        spec = torch.stft(x.flatten(0, 1), n, hop, window=window / window.sum(), return_complex=True)
        power = (spec.real.square() + spec.imag.square()).clamp(min=self.config.floor**2)
        return spec * power ** ((self.config.exponent - 1) / 2), power ** (self.config.exponent / 2)
