"""Distance of mel spectra at several window lengths.

Source: DAC (Kumar et al. 2023, arXiv 2306.06546, section 3.4): seven windows of 32 to 2048 samples with 5 to 320 mel
bands, L1 of log10; these are the defaults. Vocos and WavTokenizer: `windows: [1024], bands: [100],
log_base: e, floor: 1e-7`. AudioCraft adds plain magnitudes: `magnitude_weight: 1`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torchaudio.functional as AF
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, rate_of
from .lengths import check_length, fits, half_window
from .stft import Spectrogram, log_magnitude


@dataclass(frozen=True, kw_only=True)
class MelConfig(LossConfig):
    """Sum over windows of `log_weight * d(log M, log M_hat) + magnitude_weight * d(M, M_hat)`.

    Attributes:
        windows: Hann window and FFT lengths in samples. The edges of a clip are reflected by half a window, so a window is left
            out for clips of at most half its length; if none is left, that is an error.
        bands: mel bands for each window.
        hop_ratio: hop as a share of the window.
        power: exponent of the magnitude before the filters (1 magnitude, 2 power).
        log_weight, magnitude_weight: weights of the two terms.
        distance: "l1" or "l2" (mean square).
        log_base: of the logarithm.
        floor: band values are clamped to at least this before the logarithm.
        f_min_hz, f_max_hz: ends of the filter bank; `f_max_hz` 0: half the sample rate.
        scale: mel formula and area normalisation: "slaney" (librosa, DAC) or "htk" without
            normalisation (torchaudio's default).
    """

    kind: ClassVar[str] = "mel"
    windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)
    bands: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320)
    hop_ratio: float = 0.25
    power: float = 1.0
    log_weight: float = 1.0
    magnitude_weight: float = 0.0
    distance: Literal["l1", "l2"] = "l1"
    log_base: Literal["10", "e"] = "10"
    floor: float = 1e-5
    f_min_hz: float = 0.0
    f_max_hz: float = 0.0
    scale: Literal["slaney", "htk"] = "slaney"

    def __post_init__(self) -> None:
        if len(self.windows) != len(self.bands) or not self.windows:
            raise ConfigError(f"mel needs as many bands as windows; got {len(self.bands)} and {len(self.windows)}.")
        if min(self.windows) < 2 or min(self.bands) < 1 or not 0 < self.hop_ratio <= 1:
            ranges = f"windows are {self.windows}, bands {self.bands}, hop_ratio is {self.hop_ratio}"
            raise ConfigError(f"{ranges}; need >= 2, >= 1 and a ratio above 0, at most 1.")

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip that the shortest window takes."""
        return half_window(min(self.windows))

    def build(self, spec: TokenizerSpec) -> Loss:
        return MultiScaleMel(self, rate_of(spec, self.kind))


class MelSpectrogram(nn.Module):
    """Mel spectrogram of one window length."""

    filters: Tensor

    def __init__(self, config: MelConfig, length: int, bands: int, sample_rate_hz: int, *, centred: bool = True) -> None:
        super().__init__()
        self.power = config.power
        self.spectrum = Spectrogram(length, max(1, int(length * config.hop_ratio)), centred=centred)
        top = config.f_max_hz or sample_rate_hz / 2
        filters = mel_filters(length // 2 + 1, bands, sample_rate_hz, config.f_min_hz, top, config.scale)
        self.register_buffer("filters", filters.T.contiguous(), persistent=False)  # [bands, F]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, C, bands, frames]`."""
        magnitude = self.spectrum(x)
        return self.filters @ (magnitude if self.power == 1 else magnitude**self.power)


def mel_filters(bins: int, bands: int, rate_hz: int, low_hz: float, high_hz: float, scale: str) -> Tensor:
    """Triangular mel filters `[bins, bands]`. Narrow bands of short windows may hold no bin at all: they stay 0."""
    import warnings

    with warnings.catch_warnings(), torch.device("cpu"):  # torchaudio looks at the values
        warnings.simplefilter("ignore", UserWarning)  # "at least one mel filterbank has all zero values": as in DAC
        norm = "slaney" if scale == "slaney" else None
        return AF.melscale_fbanks(bins, low_hz, high_hz, bands, rate_hz, norm=norm, mel_scale=scale)


class MultiScaleMel(Loss):
    """Distance of mel spectra, summed over windows; settings: `MelConfig`."""

    def __init__(self, config: MelConfig, sample_rate_hz: int) -> None:
        super().__init__()
        self.config = config
        pairs = zip(config.windows, config.bands, strict=True)
        self.spectra = nn.ModuleList(MelSpectrogram(config, w, n, sample_rate_hz) for w, n in pairs)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the sum over windows, each a mean over the batch."""
        c = self.config
        check_length(f"the loss {c.kind!r}", inputs.x.shape[-1], c.least_samples)
        total = inputs.x.new_zeros(())
        for length, spectrum in zip(c.windows, self.spectra, strict=True):
            if not fits(length, inputs.x.shape[-1]):
                continue
            m, m_hat = spectrum(inputs.x), spectrum(inputs.x_hat)  # [B, C, bands, frames]
            if c.log_weight:
                a, b = log_magnitude(m, c.floor, c.log_base), log_magnitude(m_hat, c.floor, c.log_base)
                total = total + c.log_weight * self._distance(a, b)
            if c.magnitude_weight:
                total = total + c.magnitude_weight * self._distance(m, m_hat)
        return total

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean() if self.config.distance == "l1" else (a - b).square().mean()
