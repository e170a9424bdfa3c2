"""H-Codec (QuarkAudio, UniTok-Audio): two parallel residual quantizers, on waveform and on a speech model's features.

Liu et al. 2025, "UniTok-Audio: A Unified Audio Generation Framework via Generative Modeling on Discrete Codec Tokens", arXiv
2510.26372 (1.0), and the QuarkAudio report, arXiv 2512.20151 (1.5, 2.0). Parity was checked against alibaba/unified-audio @ 7afa7ab,
QuarkAudio-HCodec/HCodec-{1.0,1.5,2.0} (Apache-2.0).

    waveform -> encoder ------> (groups) -> residual VQ -> first half of the ids  \\
    features -> convolutions -> (groups) -> residual VQ -> second half of the ids -> joined -> (smoother) -> decoder -> waveform

Both paths encode a clip `[B, 1, T]` to D channels. The latents `[B, 2 D, L]` are their concatenation, the ids `[B, K, L]` those of
both quantizers. The decoder raises the frame rate and ends in an inverse short-time Fourier transform: `[B, 1, L * hop]`.

- 1.0: 16 kHz, 25 Hz; SEANet, a transformer and a convolution of stride 2; mean of HuBERT-base's layers.
- 1.5: the same, at an adaptive rate (`merging`): frames whose encoded features (wav2vec 2.0 XLSR-53) resemble those before them share
  one vector. Tokens keep 25 positions a second, and the positions of a group have the same ids; `run_lengths.collapse(tokens,
  longest=8)` gives the short form, a codebook of durations beside the others, and `expand` leads back. The authors' ids hold the
  duration d of their group, too: `id + (d - 1) * codebook_size`.
- 2.0: 48 kHz, 12.5 Hz; spectra, ConvNeXt blocks and a transformer (`spectra`) in place of SEANet; each latent is repeated four
  times in front of the decoder.

Differs: 1.5 trains its quantizers on groups, each once; here each counts once for each of its frames. Two neighbouring groups with
equal ids in all codebooks are one run in the short form; they decode to the same waveform.

Letters: B batch, T samples, L positions, D width of each latent, C channels of the features, N their frames.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch
from ...layers.convnext1d import ConvNeXtBlock1d
from ...layers.feature_conv import FeatureConvConfig, FeatureDecoder, FeatureEncoder
from ...layers.frame_groups import GroupVectors, check_threshold, expand_groups, group_frames
from ...layers.seanet import SEANetConfig, SEANetConv1d, SEANetDown, make_activation
from ...layers.speech_features import FrozenModel, NamedModel
from ...layers.transformer1d import Transformer1d
from ...layers.vocos import FourierHead, FrameResBlock
from ...media import resample_short
from ...options import EncodeOptions, FeatureEncodeOptions
from ...quantizers.base import QuantizerConfig
from ...quantizers.dual import Dual, DualConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import pad_to_hop
from ..features import FeatureTokenizer
from ..start import start_sound
from .merging import MergingConfig
from .spectra import SpectraConfig, SpectraEncoder
from .transformer import frame_transformer

#: Rate of the speech model's input; samples of silence on both sides of it, and from one of the model's frames to the next.
SPEECH_RATE_HZ, SPEECH_PAD, SPEECH_HOP = 16000, 160, 320
#: Magnitudes of the features are raised to this power before they are encoded.
SPEECH_POWER = 0.3
#: Stride of the convolution after the transformer of the encoder with SEANet.
LAST_STRIDE = 2

_QUANTIZER = ResidualVQConfig(
    num_codebooks=4, codebook_size=1024, commitment_weight=1.0, kmeans_iterations=50, replace_below=0.0, dropout=1.0
)


@dataclass(frozen=True, kw_only=True)
class HCodecConfig:
    """Settings of `HCodec`; the defaults are the 16 kHz, 25 Hz model's.

    Attributes:
        sample_rate_hz: rate of the waveform.
        seanet: settings of the convolutional encoder; its `latent_dim` is D, the width of its last level, and it has no LSTM.
        spectra: settings of the encoder over spectra, which takes the place of SEANet (2.0); None: SEANet.
        merging: settings of the adaptive frame rate (1.5); None: a fixed rate.
        heads: number of attention heads of the transformers behind SEANet and in the decoder.
        layers: number of layers of each of these transformers.
        semantic: settings of the features' encoder and decoder.
        semantic_model: configuration of the speech model in the terms of transformers, whose weights are part of this
            model; empty: the published model `semantic_name` is loaded from the hub when it is first needed.
        semantic_name: name of the published speech model.
        semantic_layers: the hidden states whose mean is the features: 0 the input of the first layer, 1 its output, ...; empty: all.
        quantizer: settings of the quantizer of the waveform's latents; its `dim` is filled in.
        semantic_quantizer: settings of the quantizer of the features' latents; its `dim` is filled in.
        decoder_dim: width of the decoder, a multiple of 32.
        decoder_hidden: inner width of its ConvNeXt blocks.
        decoder_blocks: number of these blocks.
        decoder_feed_forward: inner width of its transformer's feed-forward networks; 0: 4 * decoder_dim.
        upsampling: "learned": a convolution gives each position's frames at once; "repeat": each latent is repeated.
        decoder_stride: frames of the decoder for each position.
        window_samples: window length of the inverse Fourier transform.
        dropout: probability of dropout in the decoder's residual blocks.
    """

    sample_rate_hz: int = 16000
    seanet: SEANetConfig = SEANetConfig(latent_dim=512, lstm_layers=0)
    spectra: SpectraConfig | None = None
    merging: MergingConfig | None = None
    heads: int = 8
    layers: int = 2
    semantic: FeatureConvConfig = FeatureConvConfig()
    semantic_model: Mapping[str, Any] = field(default_factory=dict)
    semantic_name: str = "bosonai/hubert_base"
    semantic_layers: tuple[int, ...] = ()
    quantizer: QuantizerConfig = _QUANTIZER
    semantic_quantizer: QuantizerConfig = _QUANTIZER
    decoder_dim: int = 768
    decoder_hidden: int = 2304
    decoder_blocks: int = 12
    decoder_feed_forward: int = 0
    upsampling: Literal["learned", "repeat"] = "learned"
    decoder_stride: int = 2
    window_samples: int = 1280
    dropout: float = 0.1

    def __post_init__(self) -> None:
        c = self.seanet
        if c.latent_dim != c.width * 2 ** len(c.strides):
            raise ValueError(f"seanet.latent_dim is {c.latent_dim}; it must be its last level's width.")
        if c.lstm_layers or c.channels != 1 or c.norm != "none" or c.causal:
            raise ValueError('seanet must have lstm_layers = 0, channels = 1, norm = "none" and causal = false.')
        if self.decoder_dim % 32:
            raise ValueError(f"decoder_dim is {self.decoder_dim}; the group norms need a multiple of 32.")
        if self.decoder_stride < 1 or self.hop_samples % self.decoder_stride:
            raise ValueError(f"decoder_stride is {self.decoder_stride}; it must divide the hop, {self.hop_samples} samples.")
        if self.upsampling == "repeat" and self.decoder_stride % 2:
            raise ValueError(f"decoder_stride is {self.decoder_stride}; latents are repeated an even number of times.")
        if any(i < 0 for i in self.semantic_layers):
            raise ValueError(f"semantic_layers are {self.semantic_layers}; they count from 0, the input of the first layer.")

    @property
    def latent_dim(self) -> int:
        """D, width of each of the two latents."""
        return self.seanet.latent_dim if self.spectra is None else self.spectra.latent_dim

    @property
    def hop_samples(self) -> int:
        """Samples from one token position to the next."""
        s = self.spectra
        return self.seanet.hop_samples * LAST_STRIDE if s is None else s.hop_samples * s.stride


@dataclass(frozen=True, kw_only=True)
class HCodecEncodeOptions(FeatureEncodeOptions):
    """Options of `HCodec.encode` of models with an adaptive frame rate.

    Attributes:
        threshold: frames whose features have a cosine similarity above this to the frame before share its ids; higher keeps more
            frames apart. None: the model's own.
    """

    threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None:
            check_threshold("threshold", self.threshold)


class HCodecEncoder(nn.Module):
    """Waveforms `[B, 1, T]`, any T, to latents `[B, D, ceil(T / hop)]`."""

    def __init__(self, config: HCodecConfig) -> None:
        super().__init__()
        s, dim = config.seanet, config.seanet.latent_dim
        self.stem = SEANetConv1d(1, s.width, s.kernel_size, s)
        self.levels = nn.Sequential(*(SEANetDown(level, s) for level in range(len(s.strides))))
        self.transformer = frame_transformer(dim, heads=config.heads, layers=config.layers, feed_forward=4 * dim)
        self.act = make_activation(s, dim)
        self.head = SEANetConv1d(dim, dim, 2 * LAST_STRIDE, s, stride=LAST_STRIDE)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: `[B, 1, T]` to `[B, D, ceil(T / hop)]`."""
        return self.head(self.act(self.transformer(self.levels(self.stem(x)))))


class HCodecDecoder(nn.Module):
    """`[B, 2 D, L]` to `[B, 1, L * hop]`: more frames, transformer, ConvNeXt blocks, inverse Fourier transform."""

    def __init__(self, config: HCodecConfig) -> None:
        super().__init__()
        c, dim = config, config.decoder_dim
        self.stride, inputs = c.decoder_stride, 2 * c.latent_dim
        learned = c.upsampling == "learned"
        self.up = nn.Conv1d(inputs, c.decoder_stride * dim, 1) if learned else _centred(inputs, dim, c.decoder_stride + 1)
        self.smooth = nn.Conv1d(dim, dim, 5, padding=2, groups=dim) if learned else None
        self.before = nn.Sequential(*(FrameResBlock(dim, dropout=c.dropout) for _ in range(2)))
        self.transformer: Transformer1d = frame_transformer(
            dim, heads=c.heads, layers=c.layers, feed_forward=c.decoder_feed_forward or 4 * dim
        )
        self.after = nn.Sequential(*(FrameResBlock(dim, dropout=c.dropout) for _ in range(2)))
        self.norm_after = nn.GroupNorm(32, dim, eps=1e-6)
        self.norm_in = nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.Sequential(
            *(
                ConvNeXtBlock1d(dim, kernel_size=7, layer_scale=1 / c.decoder_blocks, causal=False, hidden=c.decoder_hidden)
                for _ in range(c.decoder_blocks)
            )
        )
        self.norm_out = nn.LayerNorm(dim, eps=1e-6)
        self.head = FourierHead(dim, window_samples=c.window_samples, hop_samples=c.hop_samples // c.decoder_stride)

    def forward(self, z: Tensor) -> Tensor:
        """Decode: `[B, 2 D, L]` to `[B, 1, L * hop]`."""
        if self.smooth is None:
            x = self.up(z.repeat_interleave(self.stride, dim=2))  # [B, D', s L]
        else:
            x = self.up(z).unflatten(1, (self.stride, -1))  # [B, s, D', L]: the frames that one position becomes
            x = self.smooth(x.permute(0, 2, 3, 1).flatten(2))  # [B, D', s L]
        x = self.norm_after(self.after(self.transformer(self.before(x))))
        x = self.blocks(self.norm_in(x.transpose(1, 2)).transpose(1, 2))
        return self.head(self.norm_out(x.transpose(1, 2)))[:, None]


def _centred(channels: int, out_channels: int, kernel: int) -> nn.Conv1d:
    return nn.Conv1d(channels, out_channels, kernel, padding=kernel // 2)


class HCodec(FeatureTokenizer):
    """H-Codec; see the module's docstring. Ids depend on the whole clip, so clips are never cut into pieces.

    `features=` takes the speech model's features `[B, C, N]` with compressed magnitudes, the product of `semantic.strides` frames for
    each position. SEANet then pads a partial last frame by reflection, not with zeros.
    """

    family: ClassVar[str] = "hcodec"
    config_class: ClassVar[type] = HCodecConfig
    encoder_only = ("encoder", "semantic_encoder", "semantic_model", "acoustic_groups", "semantic_groups")
    decoder_only = ("decoder", "semantic_decoder", "smoother")
    config: HCodecConfig

    def __init__(self, config: HCodecConfig) -> None:
        super().__init__()
        c, dim = config, config.latent_dim
        self.config = config
        self.encoder = HCodecEncoder(c) if c.spectra is None else SpectraEncoder(c.spectra)
        if c.spectra is None:
            start_sound(self.encoder)
        self.semantic_encoder = FeatureEncoder(dim, c.semantic)
        self.quantizer: Dual = Dual(
            DualConfig(
                dim=2 * dim,
                first=dataclasses.replace(c.quantizer, dim=dim),
                second=dataclasses.replace(c.semantic_quantizer, dim=dim),
            )
        )
        self.decoder = HCodecDecoder(c)
        self.semantic_decoder = FeatureDecoder(dim, c.semantic)
        self.semantic_model = FrozenModel(c.semantic_model) if c.semantic_model else None
        # of a published model no layers are loaded that are not needed; one more than that, for a LayerNorm may follow the last one
        self._published = NamedModel(c.semantic_name, {"num_hidden_layers": max(c.semantic_layers) + 1} if c.semantic_layers else {})
        self._add_merging(c)
        acoustic, semantic = self.quantizer.first.num_codebooks, self.quantizer.second.num_codebooks
        self.spec = AudioSpec.of(
            self.quantizer,
            names=(*(f"acoustic {k}" for k in range(acoustic)), *(f"semantic {k}" for k in range(semantic))),
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.hop_samples,
            semantic_dim=c.semantic.features,
        )

    def _add_merging(self, c: HCodecConfig) -> None:
        m, dim = c.merging, c.latent_dim
        self.acoustic_groups = self.semantic_groups = self.smoother = None
        if m is None:
            return
        self.encode_options: type[EncodeOptions] = HCodecEncodeOptions
        self.acoustic_groups = GroupVectors(dim, m.acoustic, m.query)
        self.semantic_groups = GroupVectors(dim, m.semantic, m.query)
        if m.smoother is not None:
            self.smoother = Transformer1d(m.smoother, in_channels=2 * dim, out_channels=2 * dim)

    @torch.no_grad()
    def speech_features(self, x: Tensor) -> Tensor:
        """The speech model's features `[B, C, N]`, magnitudes compressed, of clips `[B, 1, T]`, T a multiple of the hop."""
        c = self.config
        if c.hop_samples * SPEECH_RATE_HZ != c.sample_rate_hz * SPEECH_HOP * math.prod(c.semantic.strides):
            raise ValueError(
                f"the speech model takes 16000 Hz and gives a frame every {SPEECH_HOP} samples; this codec has "
                f"{c.sample_rate_hz} Hz and positions of {c.hop_samples} samples. Pass `features=` to encode."
            )
        speech = x[:, 0]
        speech = resample_short(speech, c.sample_rate_hz, SPEECH_RATE_HZ)
        model, wave = self.semantic_model or self._published.get(self.device, self.dtype), F.pad(speech, (SPEECH_PAD, SPEECH_PAD))
        if c.semantic_layers:
            mean = model.layers(wave, c.semantic_layers).unflatten(1, (len(c.semantic_layers), -1)).mean(1)
        else:
            mean = model.mean_of_layers(wave)
        return mean.sign() * mean.abs() ** SPEECH_POWER

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents `[B, 2 D, L]` of clips `[B, 1, T]`, with the features and the threshold that were passed to `encode`, if any."""
        return self.encode_latents(x, self.features_of(batch), threshold=getattr(batch.options, "threshold", None))

    def encode_latents(self, x: Tensor, features: Tensor | None = None, *, threshold: float | None = None) -> Tensor:
        """Latents `[B, 2 D, L]` of clips `[B, 1, T]`; if `features` `[B, C, N]` are given, clips are not padded with zeros.

        At an adaptive rate the latents of a group are equal; `threshold` as in `HCodecEncodeOptions`.
        """
        if features is None:
            x = pad_to_hop(x, self.spec.hop_samples)
            features = self.speech_features(x)
        acoustic, semantic = self.encoder(x), self.semantic_encoder(features.to(self.dtype))
        if acoustic.shape[-1] != semantic.shape[-1]:
            raise ValueError(
                f"{acoustic.shape[-1]} positions of audio and {semantic.shape[-1]} of features: they do not belong together."
            )
        if self.config.merging is not None:
            acoustic, semantic = self._merged(acoustic, semantic, self.config.merging, threshold)
        return torch.cat([acoustic, semantic], dim=1)

    def _merged(self, acoustic: Tensor, semantic: Tensor, m: MergingConfig, threshold: float | None) -> tuple[Tensor, Tensor]:
        """Both latents `[B, D, L]` with one vector for each group of frames, repeated for all its frames."""
        assert self.acoustic_groups is not None and self.semantic_groups is not None
        groups = group_frames(semantic, threshold=m.threshold if threshold is None else threshold, longest=m.longest)
        z, s = self.acoustic_groups(acoustic, groups), self.semantic_groups(semantic, groups)
        return expand_groups(z, groups), expand_groups(s, groups)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, 2 D, L]`."""
        return self.decoder(z_q if self.smoother is None else self.smoother(z_q))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The speech model's compressed features `[B, C, N]` as reconstructed from the semantic ids."""
        return self.semantic_decoder(self.vectors_of(ids)[:, self.config.latent_dim :])

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients, except for the frozen speech model.

        `Reconstruction.features` holds "semantic", the features `[B, C, N]` reconstructed from the semantic codebooks, and
        "semantic_target", the speech model's features.
        """
        given = x
        if features is None:
            given = pad_to_hop(x, self.spec.hop_samples)
            features = self.speech_features(given)
        m = self.config.merging
        drawn = m.draw_threshold if m is not None and self.training else None
        threshold = None if drawn is None else float(torch.empty(()).uniform_(*drawn))
        z = self.encode_latents(given, features, threshold=threshold)
        quantized = self.quantizer(z)
        x_hat = self.to_length(self.decode_latents(quantized.z_q), x.shape[-1])
        decoded = self.semantic_decoder(quantized.z_q[:, self.config.latent_dim :])
        out = {"semantic": decoded, "semantic_target": features}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=out)
