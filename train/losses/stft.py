"""Distance of magnitude spectra at several window lengths.

Sources: Parallel WaveGAN (Yamamoto et al. 2020, arXiv 1910.11480, eq. 6-7): spectral convergence and log magnitude;
DAC (Kumar et al. 2023, arXiv 2306.06546): magnitude and log10 magnitude at windows 2048 and 512.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs
from .lengths import check_length, fits, half_window


@dataclass(frozen=True, kw_only=True)
class StftConfig(LossConfig):
    """Sum over windows of the weighted terms.

    Attributes:
        windows: Hann window and FFT lengths in samples. The edges of a clip are reflected by half a window, so a window is left
            out for clips of at most half its length; if none is left, that is an error.
        hop_ratio: hop as a share of the window.
        magnitude_weight: of the L1 distance of magnitudes.
        log_weight: of the L1 distance of log magnitudes.
        convergence_weight: of `||M - M_hat||_F / ||M||_F`, computed for each item and averaged.
        log_base: of the logarithm ("10" as DAC, "e" as Parallel WaveGAN).
        floor: magnitudes are clamped to at least this before the logarithm.
    """

    kind: ClassVar[str] = "stft"
    windows: tuple[int, ...] = (2048, 512)
    hop_ratio: float = 0.25
    magnitude_weight: float = 1.0
    log_weight: float = 1.0
    convergence_weight: float = 0.0
    log_base: Literal["10", "e"] = "10"
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if not self.windows or min(self.windows) < 2 or not 0 < self.hop_ratio <= 1:
            raise ConfigError(f"windows are {self.windows} and hop_ratio is {self.hop_ratio}; need >= 2 and 0..1.")

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip that the shortest window takes."""
        return half_window(min(self.windows))

    def build(self, spec: TokenizerSpec) -> Loss:
        return MultiScaleStft(self)


class Spectrogram(nn.Module):
    """Magnitudes of an STFT with a periodic Hann window and reflected edges.

    Args:
        length: of window and FFT, in samples.
        hop: in samples.
        centred: the first window has its middle at the first sample, and a clip of T samples T // hop + 1 frames; False: at the middle
            of the first hop, and T // hop frames (Vocos' "same", HiFi-GAN).
    """

    window: Tensor

    def __init__(self, length: int, hop: int, *, centred: bool = True) -> None:
        super().__init__()
        self.length, self.hop, self.centred = length, hop, centred
        self.register_buffer("window", torch.hann_window(length), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> magnitudes `[B, C, F, frames]`, F = length // 2 + 1."""
        flat = x.flatten(0, 1)
        if not self.centred:
            edge = (self.length - self.hop) // 2
            flat = F.pad(flat, (edge, edge), mode="reflect")
        spec = torch.stft(flat, self.length, self.hop, window=self.window, center=self.centred, return_complex=True)  # [B*C, F, N]
        # The gradient of abs() at a complex zero is not finite in every torch version; here clamp() makes it 0.
        power = spec.real.square() + spec.imag.square()
        return power.clamp(min=1e-14).sqrt().unflatten(0, x.shape[:2])  # [B, C, F, N]


def log_magnitude(x: Tensor, floor: float, base: str) -> Tensor:
    """Logarithm of `max(x, floor)`, base "10" or "e"."""
    x = x.clamp(min=floor)
    return x.log10() if base == "10" else x.log()


class MultiScaleStft(Loss):
    """Distance of magnitude spectra, summed over windows; settings: `StftConfig`."""

    def __init__(self, config: StftConfig) -> None:
        super().__init__()
        self.config = config
        self.spectra = nn.ModuleList(Spectrogram(w, max(1, int(w * config.hop_ratio))) for w in config.windows)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the sum over windows, each a mean over the batch."""
        c = self.config
        check_length(f"the loss {c.kind!r}", inputs.x.shape[-1], c.least_samples)
        total = inputs.x.new_zeros(())
        for length, spectrum in zip(c.windows, self.spectra, strict=True):
            if not fits(length, inputs.x.shape[-1]):
                continue
            m, m_hat = spectrum(inputs.x), spectrum(inputs.x_hat)  # [B, C, F, N]
            if c.magnitude_weight:
                total = total + c.magnitude_weight * (m - m_hat).abs().mean()
            if c.log_weight:
                logs = (log_magnitude(v, c.floor, c.log_base) for v in (m, m_hat))
                a, b = logs
                total = total + c.log_weight * (a - b).abs().mean()
            if c.convergence_weight:
                gap = (m - m_hat).flatten(1).norm(dim=1) / m.flatten(1).norm(dim=1).clamp(min=1e-5)  # [B]
                total = total + c.convergence_weight * gap.mean()
        return total
