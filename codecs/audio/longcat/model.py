"""LongCat-Audio-Codec: semantic ids of a speech tokenizer, DAC's encoder with product codebooks, a decoder with LSTMs.

Zhao et al. 2025, "LongCat-Audio-Codec: An Audio Tokenizer and Detokenizer Solution Designed for Speech Large Language Models",
arXiv 2510.15227. Parity was checked against meituan-longcat/LongCat-Audio-Codec @ 98dd5e4 (MIT).

DAC's encoder turns `[B, 1, T]` into acoustic latents `[B, D, L]`, 16.67 a second. Ids are `[B, K, L]`. Codebook 0 is semantic: its ids
come from the speech tokenizer (`speech.py`: filter banks, a transformer of 26 layers, k-means), or are passed as `features=`. The
other codebooks are residual levels of the acoustic latents, each with all pairs of codes of two small tables. Semantic vectors
`[B, S, L]` and acoustic vectors are concatenated; two LSTMs and a convolutional decoder return `[B, 1, L * hop_out]`.

Differs: the authors require clips of at most 30 s; here longer clips are encoded whole.

Letters: B batch, T samples, L positions, S width of the semantic table, D acoustic width, C channels, s stride.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...kernels.residual1d import Residual1d
from ...kernels.snake import Snake
from ...kernels.stream import Layer
from ...layers.causal import Chain, Conv1d, ConvTranspose1d, State, Streaming
from ...layers.dac import DILATIONS
from ...options import EncodeOptions, FeatureEncodeOptions
from ...precision import LSTM
from ...quantizers.base import Quantizer, QuantizerConfig
from ...quantizers.dual import Dual, DualConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...quantizers.vq import VQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import pad_to_hop
from ..dac.model import DACDecoder, DACEncoder
from ..features import FeatureTokenizer
from ..start import start_sound
from .speech import SpeechIds, SpeechIdsConfig


@dataclass(frozen=True, kw_only=True)
class LongCatConfig:
    """Settings of `LongCat`; the defaults are those of the 16 kHz decoder with three acoustic codebooks.

    Attributes:
        sample_rate_hz: sampling rate of the input waveform.
        strides: down-sampling of each level of the encoder, from the waveform to the frames.
        encoder_width: channels at the waveform's rate; each level doubles them.
        latent_dim: D, channels of the latents.
        semantic_size: number of ids of the speech tokenizer; 0: no semantic codebook (not published).
        semantic_dim: S, channels of the semantic vectors.
        speech: settings of the speech tokenizer, whose weights are then part of this model; None: its ids are always passed by the
            caller.
        decoder_strides: up-sampling of each level of the decoder; another product than that of `strides`
            changes the rate.
        decoder_width: channels at frame rate; each level halves them, rounded down.
        output_rate_hz: sampling rate of decoded audio; 0: the rate at which its duration equals the input's.
        causal_decoder: all layers after the first convolution (3 frames of lookahead) are causal (24 kHz).
        quantizer: settings of the acoustic latents' quantizer, of any kind that decodes prefixes; its `dim` is filled in.
    """

    sample_rate_hz: int = 16000
    strides: tuple[int, ...] = (4, 5, 6, 8)
    encoder_width: int = 64
    latent_dim: int = 1024
    semantic_size: int = 8192
    semantic_dim: int = 1280
    speech: SpeechIdsConfig | None = None
    decoder_strides: tuple[int, ...] = (8, 6, 5, 4)
    decoder_width: int = 1536
    causal_decoder: bool = False
    output_rate_hz: int = 0
    quantizer: QuantizerConfig = ResidualVQConfig(
        num_codebooks=3,
        codebook_size=90,
        codebook_dim=8,
        product=2,
        normalize=True,
        update="gradient",
        kmeans_init=False,
        replace_below=0.0,
    )

    def __post_init__(self) -> None:
        if self.decoder_width < 2 ** len(self.decoder_strides):
            raise ValueError(f"decoder_width is {self.decoder_width}; it is halved {len(self.decoder_strides)} times.")
        if not self.output_rate_hz and self.sample_rate_hz * self.hop_out_samples % self.hop_samples:
            raise ValueError(
                f"the output rate {self.sample_rate_hz} * {self.hop_out_samples} / {self.hop_samples} Hz is not a whole number; "
                "set output_rate_hz."
            )
        if self.speech and not self.semantic_size:
            raise ValueError("semantic_size is 0, but there is a speech tokenizer: set semantic_size to its number of cluster centres.")

    @property
    def hop_samples(self) -> int:
        """Input samples from one position to the next."""
        return math.prod(self.strides)

    @property
    def hop_out_samples(self) -> int:
        """Output samples of each position."""
        return math.prod(self.decoder_strides)


class Memory(nn.Module):
    """Twice (LSTM, LayerNorm) over the positions of `[B, C, L]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm1, self.norm1 = LSTM(width, width, batch_first=True), nn.LayerNorm(width)
        self.lstm2, self.norm2 = LSTM(width, width, batch_first=True), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, L]` to `[B, C, L]`: LSTM and LayerNorm, twice."""
        x = self.norm1(self.lstm1(x.transpose(1, 2))[0])
        return self.norm2(self.lstm2(x)[0]).transpose(1, 2)


class CausalUnit(Residual1d):
    """DAC's residual unit with causal convolutions; `[B, C, T]`."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.act_in = Snake(channels)
        self.conv_in = Conv1d(channels, channels, 7, dilation=dilation, causal=True)
        self.act_out = Snake(channels)
        self.conv_out = Conv1d(channels, channels, 1, causal=True)

    def branch(self) -> list[Layer]:
        """The layers whose output is added to the input."""
        return [self.act_in, self.conv_in, self.act_out, self.conv_out]


class CausalUp(Streaming):
    """Snake, transposed convolution without overlap (kernel = stride), residual units; `[B, C, T]` to `[B, C / 2, T * s]`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.act = Snake(channels)
        self.conv = ConvTranspose1d(channels, channels // 2, stride, stride=stride, causal=True)
        self.units = Chain(*(CausalUnit(channels // 2, d) for d in DILATIONS))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Map `[B, C, T]` to `[B, C / 2, T * s]`, continuing a stream where `state` ends."""
        return self.units(self.conv(self.act(x), state), state)


class CausalDecoder(nn.Module):
    """`[B, D, L]` to `[B, 1, L * hop]`, in -1..1; only the first convolution looks ahead, by three frames."""

    def __init__(self, dim: int, width: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv1d(dim, width, 7, padding=3)
        self.levels = Chain(*(CausalUp(width // 2**i, s) for i, s in enumerate(strides)))
        low = width // 2 ** len(strides)
        self.act = Snake(low)
        self.head = Conv1d(low, 1, 7, causal=True)

    def forward(self, z: Tensor) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`."""
        return torch.tanh(self.head(self.act(self.levels(self.stem(z)))))


class LongCat(FeatureTokenizer):
    """LongCat-Audio-Codec; see the module's docstring. The first k codebooks alone can be decoded; the LSTMs run over the whole clip.

    `encode` takes semantic ids as `features`, `[B, 1, L]`; if they are not given, the speech tokenizer computes them. If there is
    one position more or less of them than of the audio, the longer of the two is cut.
    """

    family: ClassVar[str] = "longcat"
    config_class: ClassVar[type] = LongCatConfig
    encoder_only = ("encoder", "speech")
    decoder_only = ("memory", "decoder")

    def __init__(self, config: LongCatConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.semantic_dim = c.semantic_dim if c.semantic_size else 0
        self.speech = SpeechIds(c.speech, c.semantic_size) if c.speech else None
        self.encoder = DACEncoder(c.encoder_width, c.strides, c.latent_dim)
        acoustic = dataclasses.replace(c.quantizer, dim=c.latent_dim)
        if c.semantic_size:
            table = VQConfig(
                dim=c.semantic_dim,
                codebook_size=c.semantic_size,
                update="gradient",
                kmeans_init=False,
                replace_below=0.0,
            )
            both = DualConfig(dim=c.semantic_dim + c.latent_dim, first=table, second=acoustic, prefix=True)
            self.quantizer = Dual(both)
        else:
            self.quantizer = acoustic.build()
        dim = self.semantic_dim + c.latent_dim
        self.memory = Memory(dim)
        if c.causal_decoder:
            self.decoder: nn.Module = CausalDecoder(dim, c.decoder_width, c.decoder_strides)
        else:
            self.decoder = DACDecoder(dim, c.decoder_width, c.decoder_strides, whole=True)
        start_sound(self.encoder, self.decoder)
        first = ("semantic",) if c.semantic_size else ()
        rate = c.output_rate_hz or c.sample_rate_hz * c.hop_out_samples // c.hop_samples
        self.encode_options = FeatureEncodeOptions if c.semantic_size else EncodeOptions
        self.spec = AudioSpec.of(
            self.quantizer,
            names=(*first, *(f"acoustic {k}" for k in range(1, self.quantizer.num_codebooks - len(first) + 1))),
            sample_rate_hz=c.sample_rate_hz,
            output_rate_hz=rate if rate != c.sample_rate_hz else 0,
            hop_samples=c.hop_samples,
            semantic_dim=self.semantic_dim,
        )

    def encode_latents(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """Latents `[B, S + D, L]` of clips `[B, 1, T]` and semantic ids `[B, 1, L]`, which are computed if they are not given."""
        z = self.encoder(pad_to_hop(x, self.spec.hop_samples))
        if not self.config.semantic_size:
            if features is not None:
                raise ValueError("this tokenizer has no semantic codebook; leave features out.")
            return z
        ids = self._semantic_ids(self.extract_features(x) if features is None else features, z.shape[-1])
        z = z[..., : ids.shape[-1]]
        return torch.cat([self._table().decode(ids[..., : z.shape[-1]]).to(z.dtype), z], dim=1)

    def extract_features(self, x: Tensor) -> Tensor:
        """Semantic ids `[B, 1, L]` of clips `[B, 1, T]`.

        Raises:
            ValueError: this model has no speech tokenizer.
        """
        if self.speech is None:
            raise ValueError(
                "the semantic ids come from LongCat's own speech tokenizer, which is not part of this model (config.speech): "
                "pass them as `features=`, [B, 1, L]."
            )
        return self.speech(pad_to_hop(x, self.spec.hop_samples))

    def _semantic_ids(self, features: Tensor, length: int) -> Tensor:
        if features.ndim != 3 or features.shape[1] != 1 or features.is_floating_point():
            got = f"{features.dtype} {list(features.shape)}"
            raise ValueError(f"features must be integer semantic ids [B, 1, L]; got {got}.")
        if abs(features.shape[-1] - length) > 1:
            raise ValueError(
                f"{features.shape[-1]} semantic ids for {length} positions of audio: they do not belong together."
            )
        return features.long()

    def _table(self) -> Quantizer:
        assert isinstance(self.quantizer, Dual)
        return self.quantizer.first

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents `[B, S + D, L]` of clips `[B, 1, T]`; `ids_of` reuses the semantic ids unchanged."""
        features = self.features_of(batch)
        if self.config.semantic_size and features is None:
            features = self.extract_features(x)
        batch.notes["semantic"] = features
        return self.encode_latents(x, features)

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids `[B, K, L]`, the semantic ones first."""
        features: Tensor | None = batch.notes.get("semantic")
        if features is None:
            return super().ids_of(z, batch)
        assert isinstance(self.quantizer, Dual)
        semantic, requested = features[..., : z.shape[-1]].long(), batch.options.num_codebooks
        if requested == 1:
            return Coded(semantic)
        acoustic = self.quantizer.second.encode(z[:, self.semantic_dim :], num_codebooks=requested and requested - 1)
        return Coded(torch.cat([semantic, acoustic], dim=1))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Vectors `[B, S, L]` of the semantic ids."""
        return self._table().decode(ids[:, :1]).to(self.dtype)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop_out]` of latents `[B, S + D, L]`."""
        return self.decoder(self.memory(z_q))

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients; `features` are semantic ids `[B, 1, L]`."""
        z = self.encode_latents(x, features)
        quantized = self.quantizer(z)
        x_hat = self.to_length(self.decode_latents(quantized.z_q), self._samples_out(x.shape[-1]))
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized)

    # --- lengths ----------------------------------------------------------------------------------------------------

    def _samples_out(self, samples: int) -> int:
        """Decoded samples for `samples` input samples."""
        return -(-samples * self.config.hop_out_samples // self.config.hop_samples)

    @property
    def hop_out_samples(self) -> int:
        """Output samples of the decoder for each frame."""
        return self.config.hop_out_samples

    def fit_out(self, x: Tensor, item: Tokens, options: Any) -> Tensor:
        """One decoded clip `[C, T]` cut to the length of the original at the output rate."""
        c, rate = self.config, self.spec.sample_rate_hz
        if item.sizes is None or self.spec.decoded_rate_hz * c.hop_samples == rate * c.hop_out_samples:
            return super().fit_out(x, item, options)
        # the decoded clip has another duration than the input, so the original's own rate cannot be restored
        whole = -(-int(item.sizes[0, 0]) * rate // (rate if item.sample_rate_hz is None else int(item.sample_rate_hz)))
        return self.to_length(x, self._samples_out(min(whole, item.ids.shape[-1] * c.hop_samples)))
