"""Distance of loudness in Bark bands, as PESQ weighs it for wideband speech.

Source: ITU-T P.862 (2001) and P.862.2 (2007): bands, thresholds, exponents and weights are those of the recommendation for
16 kHz. Martin-Donas et al. 2018 ("A Deep Learning Loss Function Based on the Perceptual Evaluation of the Speech Quality", IEEE Signal
Processing Letters 25) train with the same two disturbances.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, rate_of
from .lengths import check_length

RATE_HZ, WINDOW, HOP = 16_000, 512, 256
#: Mean power of the speech between these frequencies after the level is set.
SPEECH_HZ, SPEECH_POWER = (325.0, 3250.0), 1e7
#: The filter of wideband listening, as coefficients of 1, z^-1 and z^-2: what there is below 100 Hz is taken away.
ZEROS, POLES = (2.740826, -5.4816519, 2.740826), (1.0, -1.9444777, 0.94597794)
#: A frame counts at most so much.
MOST = 45.0
POWER_SCALE, LOUDNESS_SCALE = 6.910853e-6, 0.1866055
#: Of each of 49 bands: the bins of the spectrum, the width in Bark, the factor of its power, and the least audible power.
BINS = (
    1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2,
    3, 3, 3, 3, 4, 3, 4, 5, 4, 5, 6, 6, 7, 8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20,
)  # fmt: skip
WIDTHS = (
    0.157344, 0.317994, 0.322441, 0.326934, 0.331474, 0.336061, 0.340697, 0.345381, 0.350114, 0.354897, 0.359729, 0.364611, 0.369544,
    0.374529, 0.379565, 0.384653, 0.389794, 0.394989, 0.400236, 0.405538, 0.410894, 0.416306, 0.421773, 0.427297, 0.432877, 0.438514,
    0.444209, 0.449962, 0.455774, 0.461645, 0.467577, 0.473569, 0.479621, 0.485736, 0.491912, 0.498151, 0.504454, 0.510819, 0.517250,
    0.523745, 0.530308, 0.536934, 0.543629, 0.550390, 0.557220, 0.564119, 0.571085, 0.578125, 0.585232,
)  # fmt: skip
FACTORS = (
    100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 50.0, 100.0, 100.0, 100.0, 100.0, 100.0, 53.047077, 110.000046, 117.991989,
    65.0, 68.760147, 69.999931, 71.428818, 75.000038, 76.843384, 80.968781, 88.646126, 63.864388, 68.155350, 72.547775, 75.584831,
    58.379192, 80.950836, 64.135651, 54.384785, 73.821884, 64.437073, 59.176456, 65.521278, 61.399822, 58.144047, 57.004543, 64.126297,
    54.311001, 61.114979, 55.077751, 56.849335, 55.628868, 53.137054, 54.985844, 79.546974,
)  # fmt: skip
THRESHOLDS = (
    51286152.0, 2454709.5, 70794.59375, 4897.788574, 1174.897705, 389.045166, 104.712860, 45.708820, 17.782795, 9.772372, 4.897789,
    3.090296, 1.905461, 1.258925, 0.977237, 0.724436, 0.562341, 0.457088, 0.389045, 0.331131, 0.295121, 0.269153, 0.257040, 0.251189,
    0.251189, 0.251189, 0.251189, 0.263027, 0.288403, 0.309030, 0.338844, 0.371535, 0.398107, 0.436516, 0.467735, 0.489779, 0.501187,
    0.501187, 0.512861, 0.524807, 0.524807, 0.524807, 0.512861, 0.478630, 0.426580, 0.371535, 0.363078, 0.416869, 0.537032,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LoudnessConfig(LossConfig):
    """`symmetric_weight * d + asymmetric_weight * d_asymmetric`; clips of other rates are resampled to 16 kHz.

    The level of clips does not count, nor a colour that stays the same for the whole clip. Both distances are taken in groups of 20
    frames of 32 ms, in which the worst frames weigh most; a frame that is beyond all measure counts like another one of its kind, and
    has no gradient. With the default weights, PESQ-WB is about
    `0.999 + 4 / (1 + exp(1.3669 * loss - 2.3287))`: 4.64 at a loss of 0, 2.8 at 1.85, 2 at 2.5.

    Attributes:
        symmetric_weight: of the distance of loudness.
        asymmetric_weight: of the distance in bands that are much louder in the reconstruction: noise is worse than a gap.
    """

    kind: ClassVar[str] = "loudness"
    symmetric_weight: float = 0.1
    asymmetric_weight: float = 0.0309

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip at 16 kHz."""
        return WINDOW

    def build(self, spec: TokenizerSpec) -> Loss:
        return Loudness(self, rate_of(spec, self.kind))


class Loudness(Loss):
    """Distance of loudness in Bark bands; settings: `LoudnessConfig`."""

    window: Tensor
    bands: Tensor
    widths: Tensor
    thresholds: Tensor
    exponents: Tensor
    speech: Tensor

    def __init__(self, config: LoudnessConfig, sample_rate_hz: int) -> None:
        super().__init__()
        self.config, self.rate_hz = config, sample_rate_hz
        frequencies = torch.arange(WINDOW // 2) * RATE_HZ / WINDOW
        centres = torch.tensor(WIDTHS).cumsum(0) - torch.tensor(WIDTHS) / 2
        bands = torch.zeros(len(BINS), WINDOW // 2)
        first = 0
        for band, (count, factor) in enumerate(zip(BINS, FACTORS, strict=True)):
            bands[band, first : first + count] = factor * POWER_SCALE
            first += count
        bands[:, 0] = 0.0  # a constant is no sound
        low, high = SPEECH_HZ
        buffers = {
            "window": torch.hann_window(WINDOW),
            "bands": bands * _response(frequencies),  # [49, F]
            "widths": torch.tensor(WIDTHS)[1:],
            "thresholds": torch.tensor(THRESHOLDS)[:, None],
            "exponents": (0.23 * (6 / (centres + 2)).clamp(1, 2) ** 0.15)[:, None],
            "speech": ((frequencies >= low) & (frequencies <= high)).float(),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the weighted distances, a mean over the batch."""
        check_length("the loss 'loudness'", inputs.x.shape[-1] * RATE_HZ // self.rate_hz, WINDOW)
        symmetric, asymmetric = self.disturbances(inputs.x, inputs.x_hat)
        return (self.config.symmetric_weight * symmetric + self.config.asymmetric_weight * asymmetric).mean()

    def disturbances(self, x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
        """The two distances `[B * C]` of clips `[B, C, T]`."""
        m, m_hat = self._bark_powers(x), self._bark_powers(x_hat)  # [B C, 49, frames]
        spoken = self._audible(m, 100.0).sum(1, keepdim=True) >= 1e7
        mean, mean_hat = ((self._audible(p, 100.0) * spoken).mean(2, keepdim=True) for p in (m, m_hat))
        m = m * ((mean_hat + 1000) / (mean + 1000)).clamp(0.01, 100)
        power, power_hat = (self._audible(p).sum(1, keepdim=True) for p in (m, m_hat))
        gain = (power + 5e3) / (power_hat + 5e3)
        gain = torch.cat([gain[..., :1], 0.2 * gain[..., :-1] + 0.8 * gain[..., 1:]], dim=2)
        m_hat = m_hat * gain.clamp(3e-4, 5)
        a, a_hat = self._loudness(m), self._loudness(m_hat)
        masked = 0.25 * torch.minimum(a, a_hat)
        difference = F.relu((a_hat - a).abs() - masked)[:, 1:]
        added = ((m_hat + 50) / (m + 50))[:, 1:] ** 1.2
        added = torch.where(added < 3, 0.0, added.clamp(max=12))
        weight = ((power[:, 0] + 1e5) / 1e7) ** -0.04
        total = self.widths.sum()
        weighted = difference * self.widths[:, None]
        symmetric = total.sqrt() * weighted.square().sum(1).clamp(min=1e-20).sqrt()
        return _over_time(symmetric * weight), _over_time((weighted * added).sum(1) * weight)

    def _bark_powers(self, x: Tensor) -> Tensor:
        """Powers `[B C, 49, frames]` of clips `[B, C, T]` at the level of loud speech."""
        x = AF.resample(x.flatten(0, 1), self.rate_hz, RATE_HZ)
        spectrum = torch.stft(x, WINDOW, HOP, window=self.window, center=False, return_complex=True)[:, :-1]
        powers = spectrum.real.square() + spectrum.imag.square()  # [B C, F, frames]
        level = 2 * (self.speech @ powers).mean(1) / (WINDOW * self.window.square().sum())
        return self.bands @ (powers * (SPEECH_POWER / level.clamp(min=1e-10))[:, None, None])

    def _audible(self, powers: Tensor, factor: float = 1.0) -> Tensor:
        """The powers `[B C, 49, frames]` above `factor` times the threshold, 0 elsewhere; the lowest band does not count."""
        audible = powers > factor * self.thresholds
        audible[:, 0] = False
        return powers * audible

    def _loudness(self, powers: Tensor) -> Tensor:
        """Loudness by Zwicker's law, `[B C, 49, frames]`."""
        t, e = self.thresholds, self.exponents
        return LOUDNESS_SCALE * (2 * t) ** e * F.relu((0.5 + 0.5 * powers / t) ** e - 1)


def _response(frequencies_hz: Tensor) -> Tensor:
    """Power response of the listening filter at each frequency."""
    delays = torch.exp(-2j * torch.pi * frequencies_hz.double()[:, None] / RATE_HZ * torch.arange(3))
    zeros, poles = (delays @ torch.tensor(c, dtype=torch.complex128) for c in (ZEROS, POLES))
    return (zeros / poles).abs().square().float()


def _over_time(disturbance: Tensor) -> Tensor:
    """Distances of clips `[B C]` from those of their frames `[B C, frames]`: norm 6 in groups of 20 frames, norm 2 over groups."""
    count = disturbance.shape[1]
    padded = F.pad(disturbance.clamp(max=MOST), (0, 10 * (-(-count // 10) + 1) - count))
    groups = padded.unfold(1, 20, 10)  # [B C, groups, 20]
    largest = groups.detach().amax(2, keepdim=True).clamp(min=1e-10)
    worst = largest[..., 0] * ((groups / largest) ** 6).mean(2).clamp(min=1e-20) ** (1 / 6)
    return worst.square().mean(1).clamp(min=1e-20).sqrt()
