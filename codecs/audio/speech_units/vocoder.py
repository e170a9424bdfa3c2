"""The unit vocoder: an embedding of the units in front of HiFi-GAN's generator, and a predictor of durations.

Polyak et al. 2021, "Speech Resynthesis from Discrete Disentangled Self-Supervised Representations", arXiv 2104.00355; the durations
are those of Lee et al. 2022, "Direct speech-to-speech translation with discrete units", arXiv 2107.05604. Read from
facebookresearch/fairseq `fairseq/models/text_to_speech/codehifigan.py` (MIT). One voice: no speaker, no pitch.

    units without repeats -> embedding -> durations -> each repeated -> HiFi-GAN -> waveform

Letters: B batch, V units, D width, L positions, R runs of equal units.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..hificodec.model import LAST_SLOPE, HiFiDecoder


@dataclass(frozen=True, kw_only=True)
class UnitVocoderConfig:
    """Settings of `UnitVocoder`; the defaults are the published ones, 16 kHz and 50 units a second.

    Attributes:
        dim: D, width of the embedding.
        decoder_width: channels at the units' rate; each level halves them.
        strides: up-sampling of each level, from the waveform to the units.
        stride_kernels: kernels of the transposed convolutions, in the same order.
        unit_kernels: kernel of each of the parallel residual units of a level.
        unit_dilations: dilations of each one's convolutions.
        unit: "double" follows every dilated convolution by one without dilation, "single" does not.
        duration_width: channels of the predictor of durations; 0: there is none.
        duration_kernel: kernel of its convolutions, odd.
        duration_dropout: probability of dropout in it.
    """

    dim: int = 128
    decoder_width: int = 512
    strides: tuple[int, ...] = (2, 2, 4, 4, 5)
    stride_kernels: tuple[int, ...] = (4, 4, 8, 8, 11)
    unit_kernels: tuple[int, ...] = (3, 7, 11)
    unit_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    unit: Literal["double", "single"] = "double"
    duration_width: int = 128
    duration_kernel: int = 3
    duration_dropout: float = 0.5

    def __post_init__(self) -> None:
        if len(self.strides) != len(self.stride_kernels) or len(self.unit_kernels) != len(self.unit_dilations):
            raise ValueError("strides and stride_kernels, unit_kernels and unit_dilations must be of one length each.")
        if any(k % 2 == 0 for k in (*self.unit_kernels, self.duration_kernel)):
            raise ValueError(f"unit_kernels {self.unit_kernels} and duration_kernel {self.duration_kernel} must be odd.")

    @property
    def hop_samples(self) -> int:
        """Samples of one position."""
        return math.prod(self.strides)


class Runs(NamedTuple):
    """Runs of equal units of a batch, filled up at the end.

    Attributes:
        units: `[B, R]`.
        durations: positions of each run `[B, R]`; 0 where an item has fewer runs.
    """

    units: Tensor
    durations: Tensor


def runs_of(ids: Tensor) -> Runs:
    """The runs of units `[B, L]`."""
    first = F.pad(ids[:, 1:] != ids[:, :-1], (1, 0), value=True)
    run = first.long().cumsum(dim=1) - 1  # [B, L]
    units = ids.new_zeros(len(ids), int(run.max()) + 1)
    return Runs(units.scatter(1, run, ids), torch.zeros_like(units).scatter_add(1, run, torch.ones_like(ids)))


class DurationPredictor(nn.Module):
    """Twice (convolution, ReLU, LayerNorm, dropout), a linear map; `[B, R, D]` to log(duration + 1) `[B, R]`."""

    def __init__(self, c: UnitVocoderConfig) -> None:
        super().__init__()
        width, pad = c.duration_width, c.duration_kernel // 2
        self.conv_in = nn.Conv1d(c.dim, width, c.duration_kernel, padding=pad)
        self.norm_in = nn.LayerNorm(width)
        # the authors' second convolution has this padding whatever its kernel is
        self.conv_out = nn.Conv1d(width, width, c.duration_kernel, padding=1)
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)
        self.dropout = nn.Dropout(c.duration_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of durations plus one `[B, R]` of embeddings `[B, R, D]`."""
        for conv, norm in ((self.conv_in, self.norm_in), (self.conv_out, self.norm_out)):
            x = self.dropout(norm(conv(x.transpose(1, 2)).relu().transpose(1, 2)))
        return self.out(x)[..., 0]


class UnitVocoder(nn.Module):
    """Units `[B, L]` to waveforms `[B, 1, L * hop]`, in -1..1."""

    def __init__(self, units: int, config: UnitVocoderConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(units, config.dim)
        self.generator = HiFiDecoder(config, last_slope=LAST_SLOPE)
        self.predictor = DurationPredictor(config) if config.duration_width else None

    def forward(self, ids: Tensor) -> Tensor:
        """Waveforms `[B, 1, L * hop]` of units `[B, L]`, one for each position."""
        return self.generator(self.embed(ids).transpose(1, 2))

    def log_durations(self, units: Tensor) -> Tensor:
        """log(duration + 1) `[B, R]` of units without repeats `[B, R]`.

        Raises:
            ValueError: this vocoder has no predictor.
        """
        if self.predictor is None:
            raise ValueError("this vocoder predicts no durations (duration_width is 0): give it units with their repeats.")
        return self.predictor(self.embed(units))

    def durations(self, units: Tensor) -> Tensor:
        """Whole positions `[B, R]`, 1 or more, of units without repeats `[B, R]`."""
        return (self.log_durations(units).float().exp() - 1).round().long().clamp(min=1)
