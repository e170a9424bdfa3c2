"""CAT, the causal audio tokenizer with transformers alone: patches of samples, windowed attention, residual codes.

Gong et al. 2026, "MOSS-Audio-Tokenizer: Scaling Audio Tokenizers for Future Audio Foundation Models", arXiv 2602.10934. Parity was
checked against OpenMOSS/MOSS-Audio-Tokenizer @ 56df9ee (Apache-2.0).

Encoder and decoder alternate between patching (p neighbouring steps become channels, or the reverse) and causal transformers with
a sliding attention window: `[B, C, T]` to latents `[B, D, L]`, 12.5 a second in the 24 kHz model. A residual quantizer with cosine
lookup in 8 channels returns ids `[B, K, L]`; the decoder returns `[B, C, L * hop]`. Stereo is encoded as one stream of alternating
left and right samples (the 48 kHz models).

Letters: B batch, C channels, T samples, L frames, D latent width, K codebooks, p patch.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...layers.causal import State
from ...layers.transformer1d import Transformer1d, Transformer1dConfig
from ...quantizers.base import QuantizerConfig
from ...quantizers.parts.rows import RowQuantizer
from ...quantizers.residual_vq import ResidualVQ, ResidualVQConfig
from ...spec import AudioSpec
from ..base import AudioTokenizer
from ..stream import Streamable


@dataclass(frozen=True, kw_only=True)
class CATStage:
    """Settings of one stage: in the encoder patching, then a transformer; in the decoder the transformer, then unpatching.

    Attributes:
        patch: p, number of steps in a patch; 1: no patching.
        transformer: settings of the transformer; None: the stage only patches.
        out_channels: output channels of the transformer; 0: its width.
    """

    patch: int = 1
    transformer: Transformer1dConfig | None = None
    out_channels: int = 0


def _stage(patch: int, width: int, layers: int, out: int, context: int) -> CATStage:
    transformer = Transformer1dConfig(
        width=width, layers=layers, heads=width // 64, feed_forward=4 * width, context=context
    )
    return CATStage(patch=patch, transformer=transformer, out_channels=out)


# The published 24 kHz model: a window is 10 seconds at each rate.
_ENCODER = (
    _stage(240, 768, 12, 384, 1000),
    _stage(2, 768, 12, 384, 500),
    _stage(2, 768, 12, 640, 250),
    _stage(2, 1280, 32, 768, 125),
)
_DECODER = (
    _stage(2, 1280, 32, 1280, 125),
    _stage(2, 768, 12, 768, 250),
    _stage(2, 768, 12, 768, 500),
    _stage(240, 768, 12, 240, 1000),
)
_QUANTIZER = ResidualVQConfig(
    num_codebooks=32,
    codebook_dim=8,
    stack_dim=512,
    normalize=True,
    update="gradient",
    kmeans_init=False,
    dropout=1.0,
)


@dataclass(frozen=True, kw_only=True)
class CATConfig:
    """Settings of `CAT`; the defaults are the published 24 kHz model (1.6 billion parameters).

    Attributes:
        sample_rate_hz: rate of the waveform.
        channels: 1, or 2, which are encoded as one stream of alternating samples.
        encoder, decoder: stages, in the order in which they run; the product of the encoder's patches is the hop times the
            number of channels, and the product of the decoder's must equal it.
        latent_dim: D, output channels of the last encoder stage and input channels of the first decoder stage.
        quantizer: settings of any quantizer; its `dim` is filled in.
        mask_partial: a partial last frame gets the ids of a zero residual, as in the authors' class, which counts only whole
            frames; otherwise the frame is padded with zero samples and encoded.
    """

    sample_rate_hz: int = 24000
    channels: int = 1
    encoder: tuple[CATStage, ...] = _ENCODER
    decoder: tuple[CATStage, ...] = _DECODER
    latent_dim: int = 768
    quantizer: QuantizerConfig = _QUANTIZER
    mask_partial: bool = False

    def __post_init__(self) -> None:
        stream_hop = math.prod(s.patch for s in self.encoder)
        if stream_hop != math.prod(s.patch for s in self.decoder):
            raise ValueError("the patches of the encoder's stages and those of the decoder's must have the same product.")
        if stream_hop % self.channels:
            raise ValueError(f"a frame of {stream_hop} values does not divide into {self.channels} channels.")
        if self.mask_partial and not isinstance(self.quantizer, ResidualVQConfig):
            raise ValueError("mask_partial needs a quantizer of kind residual_vq.")

    @property
    def hop_samples(self) -> int:
        """Samples of each channel from one frame to the next."""
        return math.prod(s.patch for s in self.encoder) // self.channels


def fold(x: Tensor, patch: int) -> Tensor:
    """Turn p neighbouring steps into channels: `[B, C, L]` to `[B, C p, L / p]`."""
    b, c, length = x.shape
    return x.view(b, c, length // patch, patch).transpose(2, 3).reshape(b, c * patch, length // patch)


def unfold(x: Tensor, patch: int) -> Tensor:
    """The inverse of `fold`: `[B, C p, L]` to `[B, C, L p]`."""
    b, c, length = x.shape
    return x.view(b, c // patch, patch, length).transpose(2, 3).reshape(b, c // patch, length * patch)


def _transformer(stage: CATStage, channels: int) -> nn.Module | None:
    if stage.transformer is None:
        return None
    return Transformer1d(stage.transformer, in_channels=channels, out_channels=stage.out_channels or None)


class CATEncoder(nn.Module):
    """The merged stream of samples `[B, 1, L * hop * C]` to latents `[B, D, L]`."""

    def __init__(self, config: CATConfig) -> None:
        super().__init__()
        self.patches = [s.patch for s in config.encoder]
        self.stages, channels = nn.ModuleList(), 1
        for stage in config.encoder:
            channels *= stage.patch
            self.stages.append(_transformer(stage, channels) or nn.Identity())
            if stage.transformer is not None:
                channels = stage.out_channels or stage.transformer.width
        if channels != config.latent_dim:
            raise ValueError(f"the encoder gives {channels} channels, but latent_dim is {config.latent_dim}.")

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Encode `[B, 1, L * hop * C]` to `[B, D, L]`; with `state` the piece `x` continues where the last one ended."""
        for patch, stage in zip(self.patches, self.stages, strict=True):
            x = fold(x, patch)
            x = stage(x, state) if isinstance(stage, Transformer1d) else x
        return x


class CATDecoder(nn.Module):
    """Latents `[B, D, L]` to the merged stream of samples `[B, 1, L * hop * C]`."""

    def __init__(self, config: CATConfig) -> None:
        super().__init__()
        self.patches = [s.patch for s in config.decoder]
        self.stages, channels = nn.ModuleList(), config.latent_dim
        for stage in config.decoder:
            self.stages.append(_transformer(stage, channels) or nn.Identity())
            if stage.transformer is not None:
                channels = stage.out_channels or stage.transformer.width
            if channels % stage.patch:
                raise ValueError(f"a decoder stage has {channels} channels for a patch of {stage.patch}.")
            channels //= stage.patch
        if channels != 1:
            raise ValueError(f"the decoder ends with {channels} channels; the last stages must leave one.")

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        """Decode `[B, D, L]` to `[B, 1, L * hop * C]`; with `state` the piece `z` continues where the last one ended."""
        for patch, stage in zip(self.patches, self.stages, strict=True):
            z = stage(z, state) if isinstance(stage, Transformer1d) else z
            z = unfold(z, patch)
        return z


class CAT(Streamable, AudioTokenizer):
    """Causal transformer codec; see the module's docstring. The first k codebooks alone can be decoded."""

    family: ClassVar[str] = "moss"
    config_class: ClassVar[type] = CATConfig
    encoder_only = ("encoder", "quantizer.in_proj")
    decoder_only = ("decoder", "quantizer.out_proj")

    def __init__(self, config: CATConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = CATEncoder(config)
        self.quantizer = config.quantizer.build(dim=config.latent_dim)
        self.decoder = CATDecoder(config)
        self.spec = AudioSpec.of(
            self.quantizer,
            channels=config.channels,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=config.hop_samples,
            causal=True,
            latency_samples=config.hop_samples - 1,
        )

    def encode_piece(self, x: Tensor, state: State | None = None) -> Tensor:
        """Latents `[B, D, L]` of samples `[B, C, T]`, continuing where `state` ends."""
        return self.encoder(x.transpose(1, 2).reshape(x.shape[0], 1, -1), state)

    def decode_piece(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Waveform `[B, C, L * hop]` of latents `[B, D, L]`, continuing where `state` ends."""
        x = self.decoder(z_q, state)  # [B, 1, L * hop * C]
        return x.view(x.shape[0], -1, self.config.channels).transpose(1, 2)

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids `[B, K, L]` of latents `[B, D, L]`; see `CATConfig.mask_partial` for a partial last frame."""
        coded = super().ids_of(z, batch)
        if self.config.mask_partial and batch.samples % self.spec.hop_samples:
            coded.ids[:, :, -1] = self._empty_ids()[: coded.ids.shape[1]]
        return coded

    def _empty_ids(self) -> Tensor:
        """Ids `[K]` of a frame whose residual is zero at every level."""
        assert isinstance(self.quantizer, ResidualVQ)
        levels = cast("list[RowQuantizer]", list(self.quantizer.levels))
        row = torch.zeros(1, levels[0].dim, device=self.device)
        return torch.cat([level.search_rows(row) for level in levels])
