"""How far STOI, the short-time objective intelligibility of speech, is from its best value.

Source: Taal et al. 2011 ("An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech", IEEE Transactions on
Audio, Speech, and Language Processing 19): sample rate, frames, bands, segments, clipping and the range of silent frames.
Fu et al. 2018 (arXiv 1709.03658) train with it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torchaudio.functional as AF
from torch import Tensor

from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, rate_of
from .lengths import check_length

RATE_HZ, WINDOW, HOP, BINS = 10_000, 256, 128, 512
#: Third octaves, and the centre of the lowest.
BANDS, LOWEST_HZ = 15, 150.0
#: Frames of a segment, and the samples that they take.
FRAMES = 30
SAMPLES = (FRAMES - 1) * HOP + WINDOW
#: A frame so much below the loudest one is silent. A clip whose loudest frame is below this level is silent as a whole.
RANGE_DB, SILENCE_DB = 40.0, -100.0
#: What a band of the reconstruction has beyond so much above the original's does not count.
CLIP_DB = 15.0


@dataclass(frozen=True, kw_only=True)
class IntelligibilityConfig(LossConfig):
    """1 - STOI, a mean over the clips of a batch; clips of other rates are resampled to 10 kHz.

    The correlation of envelopes in third octaves from 130 to 4300 Hz, in segments of 0.4 s. Frames that are silent in the original do
    not count, nor does a clip with less than one segment of others; the level of clips does not count either.
    """

    kind: ClassVar[str] = "intelligibility"

    @property
    def least_samples(self) -> int:
        """Length of the shortest clip at 10 kHz."""
        return SAMPLES

    def build(self, spec: TokenizerSpec) -> Loss:
        return Intelligibility(rate_of(spec, self.kind))


class Intelligibility(Loss):
    """1 - STOI; see `IntelligibilityConfig`."""

    window: Tensor
    bands: Tensor

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.rate_hz = sample_rate_hz
        self.register_buffer("window", _window(), persistent=False)
        self.register_buffer("bands", _third_octaves(), persistent=False)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the loss, a scalar."""
        check_length("the loss 'intelligibility'", inputs.x.shape[-1] * RATE_HZ // self.rate_hz, SAMPLES)
        scores, defined = self.scores(inputs.x, inputs.x_hat)
        return ((1 - scores) * defined).sum() / defined.sum().clamp(min=1)

    def scores(self, x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
        """STOI `[B * C]` of clips `[B, C, T]`, and whether it is defined for each."""
        envelopes, levels = self._envelopes(x)
        loudest = levels.amax(1, keepdim=True)
        loud = levels > loudest - RANGE_DB  # [B C, frames]
        order = (~loud).long().argsort(dim=1, stable=True)  # frames that count first, in their order
        count = loud.sum(1)
        a, b = (_segments(e, order) for e in (envelopes, self._envelopes(x_hat)[0]))  # [B C, 15, segments, 30]
        b = b * (a.norm(dim=3, keepdim=True) / b.norm(dim=3, keepdim=True).clamp(min=1e-8))
        b = torch.minimum(b, a * (1 + 10 ** (CLIP_DB / 20)))
        a, b = (v - v.mean(3, keepdim=True) for v in (a, b))
        similar = (a * b).sum(3) / (a.square().sum(3) * b.square().sum(3)).clamp(min=1e-16).sqrt()
        whole = torch.arange(similar.shape[2], device=x.device) + FRAMES <= count[:, None]  # [B C, segments]
        defined = whole.any(1) & (loudest[:, 0] > SILENCE_DB)
        return (similar.mean(1) * whole).sum(1) / whole.sum(1).clamp(min=1), defined

    def _envelopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Amplitudes `[B C, 15, frames]` in third octaves of clips `[B, C, T]`, and the level of each frame in dB `[B C, frames]`."""
        x = AF.resample(x.flatten(0, 1), self.rate_hz, RATE_HZ)
        frames = x.unfold(1, WINDOW, HOP) * self.window  # [B C, frames, 256]
        spectrum = torch.fft.rfft(frames, BINS)
        powers = spectrum.real.square() + spectrum.imag.square()
        levels = 10 * frames.detach().square().sum(2).clamp(min=1e-20).log10()
        return (self.bands @ powers.mT).clamp(min=1e-16).sqrt(), levels


def _window() -> Tensor:
    """A Hann window without its two zeros, `[256]`."""
    return torch.hann_window(WINDOW + 2, periodic=False)[1:-1]


def _segments(envelopes: Tensor, order: Tensor) -> Tensor:
    """Every 30 neighbours `[N, 15, segments, 30]` of envelopes `[N, 15, frames]` whose frames stand in this order `[N, frames]`."""
    return envelopes.gather(2, order[:, None].expand_as(envelopes)).unfold(2, FRAMES, 1)


def _third_octaves() -> Tensor:
    """The bins `[15, 257]` of each band: from the bin next to its lower edge to the one before that next to its upper edge."""
    frequencies = torch.linspace(0, RATE_HZ / 2, BINS // 2 + 1, dtype=torch.float64)
    edges = LOWEST_HZ * 2 ** ((2 * torch.arange(BANDS + 1, dtype=torch.float64) - 1) / 6)
    at = (frequencies - edges[:, None]).abs().argmin(1)
    bins = torch.arange(len(frequencies))
    return ((bins >= at[:-1, None]) & (bins < at[1:, None])).float()
