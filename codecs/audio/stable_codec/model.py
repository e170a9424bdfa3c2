"""Stable Codec (TAAE): patches of samples, few strided convolutions, long chains of transformer blocks, FSQ.

Parker et al. 2024, "Scaling Transformers for Low-Bitrate High-Quality Speech Coding", arXiv 2411.19842. Written after
Stability-AI/stable-codec @ 8535544 and Stability-AI/stable-audio-tools @ 50049e3 (both MIT; weights: community licence).

    waveform -> patches -> convolution -> (strided convolution, transformer) x levels -> convolution -> FSQ
    FSQ -> convolution -> (transformer, transposed convolution) x levels -> convolution -> patches -> waveform

Patches of P samples become channels, `[B, C, T]` to `[B, C P, T / P]`; strided convolutions and windowed transformers encode them to
latents `[B, D, L]`, one for every hop (640 samples: 25 a second at 16 kHz). Finite scalar quantization rounds each channel: ids
`[B, K, L]`. The decoder mirrors the encoder and returns `[B, C, L * hop]`.

Parity: the quantizers' ids equal those of the authors' classes. Encoder and decoder were NOT checked against the authors' own run,
which needs FlashAttention on a GPU: its sliding window is a mask over `scaled_dot_product_attention` here. With their
kernel replaced by that mask in float32, their classes gave equal ids and close waveforms for random weights (every option;
snake only where a level does not change its width).

Differs: the authors' code rounds queries, keys and values to float16, so that ids close to a rounding edge may differ.
Differs: the authors normalise files to -20 LUFS before they encode and keep that loudness; here (`normalize` "lufs") the gain is
stored with the tokens and undone by `decode`.

Letters: B batch, C channels, T samples, P samples of a patch, D latent width, L positions, K codebooks.
"""

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...config import SignedInt
from ...kernels.snake import SnakeBeta
from ...layers.dac import DILATIONS, DACUnit
from ...quantizers.base import QuantizerConfig
from ...quantizers.fsq import FSQConfig
from ...quantizers.residual_fsq import ResidualFSQConfig
from ...spec import AudioSpec
from ..base import AudioTokenizer, pad_to_hop
from .window_transformer import WindowTransformer, WindowTransformerConfig

#: Quantizers that can replace the trained one without further training, by the authors' names.
POSTHOC: dict[str, QuantizerConfig] = {
    "1x46656_400bps": ResidualFSQConfig(levels=(6,) * 6, num_codebooks=1, scales=(1.0,)),
    "2x15625_700bps": ResidualFSQConfig(levels=(5,) * 6, num_codebooks=2, scales=(1.0, 0.25)),
    "4x729_1000bps": ResidualFSQConfig(levels=(3,) * 6, num_codebooks=4, scales=(1.0, 0.5, 0.25, 0.125)),
}
#: Target of `normalize` "lufs", and the mean square under which a clip counts as silence and keeps its level.
LOUDNESS_LUFS, SILENCE = -20.0, 1e-6
#: Shortest clip whose loudness can be measured, in seconds (one block of ITU-R BS.1770).
LOUDNESS_SECONDS = 0.4


@dataclass(frozen=True, kw_only=True)
class TAAEConfig:
    """Settings of the encoder or of the decoder; every list runs from the waveform to the latents, also in the decoder.

    Attributes:
        width: channels that `multiples` multiply.
        multiples: channels of each level as multiples of `width`; the patches are mapped to the channels of the first level.
        strides: stride of each level's convolution; 1: no convolution.
        depths: number of transformer blocks of each level.
        window: positions before and after its own that a position attends to, at its level's rate; -1: all positions.
        head_dim: width of an attention head; a level with fewer channels has one head.
        snake: Snake activations before the convolutions; False: no activations.
        units: three dilated residual units at the finer end of each level.
        conformer: a conformer convolution in every transformer block.
        layer_scale: initial value of the learned factor of every branch; None: no factors.
    """

    width: int = 1024
    multiples: tuple[int, ...] = (1,)
    strides: tuple[int, ...] = (2,)
    depths: tuple[int, ...] = (8,)
    window: tuple[SignedInt, SignedInt] = (63, 64)
    head_dim: int = 128
    snake: bool = False
    units: bool = False
    conformer: bool = False
    layer_scale: float | None = 1e-5

    def __post_init__(self) -> None:
        if not len(self.multiples) == len(self.strides) == len(self.depths) > 0:
            raise ValueError(
                f"multiples is {self.multiples}, strides {self.strides}, depths {self.depths}; give each one entry for each level."
            )
        for i, stride in enumerate(self.strides):
            if stride == 1 and self.widths[i] != self.widths[i + 1]:
                raise ValueError(
                    f"level {i} has stride 1 and therefore no convolution: its channels cannot change, got {self.widths[i : i + 2]}."
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels before the first level and after each."""
        return tuple(self.width * m for m in (self.multiples[0], *self.multiples))

    def transformer(self, level: int) -> WindowTransformer:
        """The transformer of a level, with the channels of the level's coarser end."""
        return WindowTransformer(
            WindowTransformerConfig(
                width=self.widths[level + 1],
                layers=self.depths[level],
                head_dim=self.head_dim,
                window=self.window,
                layer_scale=self.layer_scale,
                conformer=self.conformer,
            )
        )

    def activation(self, channels: int) -> nn.Module:
        """The activation before a convolution between levels."""
        return SnakeBeta(channels) if self.snake else nn.Identity()

    def residual_units(self, channels: int) -> nn.Sequential:
        """The dilated residual units of one level; empty if `units` is False."""
        act = SnakeBeta if self.snake else (lambda channels: nn.ELU())
        return nn.Sequential(*(DACUnit(channels, d, activation=act) for d in (DILATIONS if self.units else ())))


@dataclass(frozen=True, kw_only=True)
class StableCodecConfig:
    """Settings of `StableCodec`. The sizes of the published models are only in their gated repositories.

    Attributes:
        sample_rate_hz: rate of the waveform.
        channels: channels of the waveform.
        patch_samples: P, samples of each channel in a patch.
        encoder, decoder: settings of both, whose strides must have the same product.
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer; its `dim` is filled in. `POSTHOC` has quantizers that need no training.
        normalize: "lufs" brings every clip of 0.4 s or more to -20 LUFS and keeps the factor in `Tokens.scale`.
        soft_clip: limit the waveform to -1..1 by tanh.
    """

    sample_rate_hz: int = 16000
    channels: int = 1
    patch_samples: int = 320
    encoder: TAAEConfig = TAAEConfig()
    decoder: TAAEConfig = TAAEConfig()
    latent_dim: int = 6
    quantizer: QuantizerConfig = FSQConfig(levels=(17,) * 6, convention="stable", noise_dropout=0.5)
    normalize: Literal["none", "lufs"] = "none"
    soft_clip: bool = False

    def __post_init__(self) -> None:
        if math.prod(self.encoder.strides) != math.prod(self.decoder.strides):
            raise ValueError(f"the encoder's strides {self.encoder.strides} and {self.decoder.strides} give other hops.")

    @property
    def hop_samples(self) -> int:
        """Samples from one token position to the next."""
        return self.patch_samples * math.prod(self.encoder.strides)


class TAAEDown(nn.Module):
    """One level of the encoder: residual units, activation, strided convolution, transformer."""

    def __init__(self, config: TAAEConfig, level: int) -> None:
        super().__init__()
        c, s = config, config.strides[level]
        fine, coarse = c.widths[level : level + 2]
        self.units = c.residual_units(fine)
        self.act = c.activation(fine)
        self.conv = nn.Conv1d(fine, coarse, 2 * s, stride=s, padding=math.ceil(s / 2)) if s > 1 else nn.Identity()
        self.transformer = c.transformer(level)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the level: `[B, C, T]` to `[B, C', T / s]`."""
        return self.transformer(self.conv(self.act(self.units(x))))


class TAAEUp(nn.Module):
    """One level of the decoder: transformer, activation, transposed convolution, residual units."""

    def __init__(self, config: TAAEConfig, level: int) -> None:
        super().__init__()
        c, s = config, config.strides[level]
        fine, coarse = c.widths[level : level + 2]
        self.transformer = c.transformer(level)
        self.act = c.activation(coarse)
        self.conv: nn.Module = nn.Identity()
        if s > 1:
            self.conv = nn.ConvTranspose1d(coarse, fine, 2 * s, stride=s, padding=math.ceil(s / 2))
        self.units = c.residual_units(fine)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the level: `[B, C', L]` to `[B, C, L * s]`, one step less if s is odd."""
        return self.units(self.conv(self.act(self.transformer(x))))


class TAAEEncoder(nn.Module):
    """Patches `[B, C, T]` to latents `[B, D, L]`."""

    def __init__(self, config: TAAEConfig, channels: int, dim: int) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.Conv1d(channels, widths[0], 7, padding=3)
        self.levels = nn.Sequential(*(TAAEDown(config, i) for i in range(len(config.strides))))
        self.act = config.activation(widths[-1])
        self.head = nn.Conv1d(widths[-1], dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: `[B, C, T]` to `[B, D, L]`."""
        return self.head(self.act(self.levels(self.stem(x))))


class TAAEDecoder(nn.Module):
    """Latents `[B, D, L]` to patches `[B, C, T]`."""

    def __init__(self, config: TAAEConfig, channels: int, dim: int) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.Conv1d(dim, widths[-1], 3, padding=1)
        self.levels = nn.Sequential(*(TAAEUp(config, i) for i in reversed(range(len(config.strides)))))
        self.act = config.activation(widths[0])
        self.head = nn.Conv1d(widths[0], channels, 7, padding=3, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Decode: `[B, D, L]` to `[B, C, T]`."""
        return self.head(self.act(self.levels(self.stem(z))))


class StableCodec(AudioTokenizer):
    """Stable Codec; see the module's docstring. Clips are never cut into pieces; memory grows linearly with their length."""

    family: ClassVar[str] = "stable_codec"
    config_class: ClassVar[type] = StableCodecConfig
    config: StableCodecConfig

    def __init__(self, config: StableCodecConfig) -> None:
        super().__init__()
        self.config = c = config
        patch = c.channels * c.patch_samples
        self.encoder = TAAEEncoder(c.encoder, patch, c.latent_dim)
        self.decoder = TAAEDecoder(c.decoder, patch, c.latent_dim)
        self._quantize_with(c.quantizer)

    def _quantize_with(self, quantizer: QuantizerConfig) -> None:
        c = self.config
        self.quantizer = quantizer.build(dim=c.latent_dim)
        self.spec = AudioSpec.of(
            self.quantizer,
            channels=c.channels,
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.hop_samples,
        )

    def posthoc(self, quantizer: str | QuantizerConfig) -> "StableCodec":
        """The same network with another quantizer, sharing all weights: ids of other sizes without training.

        Args:
            quantizer: a name of `POSTHOC`, or a config of a quantizer without weights (`fsq`, `residual_fsq`).

        Raises:
            ValueError: an unknown name.
        """
        if isinstance(quantizer, str):
            if quantizer not in POSTHOC:
                raise ValueError(f"no post-hoc quantizer is called {quantizer!r}; there are {', '.join(POSTHOC)}.")
            quantizer = POSTHOC[quantizer]
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.config = dataclasses.replace(self.config, quantizer=quantizer)
        other._quantize_with(quantizer)
        other.quantizer.to(self.device)
        return other.train(self.training)

    def normalize(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Bring clips `[B, C, T]` to -20 LUFS, or to a peak of 0.95 if that would clip; returns the factors `[B, 1]` that undo it."""
        if self.config.normalize == "none":
            return x, None
        return normalize_lufs(x, self.config.sample_rate_hz)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of `[B, C, T]`."""
        x = pad_to_hop(x, self.spec.hop_samples).unflatten(2, (-1, self.config.patch_samples))  # [B, C, T / P, P]
        return self.encoder(x.transpose(2, 3).flatten(1, 2))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, C, L * hop]` of latents `[B, D, L]`; each odd stride shortens it a little, and `decode` pads it with zeros."""
        y = self.decoder(z_q).unflatten(1, (self.config.channels, -1))  # [B, C, P, T / P]
        x = y.transpose(2, 3).flatten(2)
        return torch.tanh(x) if self.config.soft_clip else x


def normalize_lufs(x: Tensor, sample_rate_hz: int) -> tuple[Tensor, Tensor]:
    """Bring clips `[B, C, T]` to -20 LUFS (ITU-R BS.1770), or to a peak of 0.95 if they would clip.

    Silence and clips under 0.4 s keep their level. Returns the clips, and the factors `[B, 1]` that undo the change.
    """
    import torchaudio.functional as AF

    gain = torch.ones(len(x), device=x.device, dtype=torch.float64)
    if x.shape[-1] >= round(LOUDNESS_SECONDS * sample_rate_hz):
        for i, clip in enumerate(x.float()):  # one by one: a clip's level must not depend on its neighbours
            if clip.square().mean() < SILENCE:
                continue
            level = float(AF.loudness(clip, sample_rate_hz))
            if math.isfinite(level):  # not finite if every block lies under the gate
                loud = 10 ** ((LOUDNESS_LUFS - level) / 20)
                peak = float(clip.abs().max()) * loud
                gain[i] = loud * (0.95 / peak if peak > 1 else 1.0)
    scale = gain.reciprocal().float()
    return (x / scale[:, None, None]).to(x.dtype), scale[:, None]
