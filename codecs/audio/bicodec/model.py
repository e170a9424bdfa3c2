"""BiCodec, the tokenizer of Spark-TTS: ids of the content at 50 Hz, behind 32 ids of the voice.

Wang et al. 2025, "Spark-TTS: An Efficient LLM-Based Text-to-Speech Model with Single-Stream Decoupled Speech Tokens", arXiv 2503.01710.
Parity was checked against SparkAudio/Spark-TTS @ 2f1ea90 (`BiCodec`, Apache-2.0). Its weights are CC-BY-NC-SA-4.0.

    clip -> wav2vec 2.0 XLSR, mean of layers 11, 14, 16 -> ConvNeXt -> factorised VQ --------------> content ids, 50 a second
    its first 6 s -> mel, no logarithm -> ECAPA-TDNN -> perceiver -> FSQ of 4^6 -------------------> 32 voice ids
    content -> ConvNeXt that follows the voice -> plus the voice -> DAC-like decoder -> waveform

**One sequence holds both**, `ids [B, 1, P + L]`: first the P = 32 ids of the voice, each below 4096, then those of the content, below
8192, in the order in which Spark-TTS's language model reads them. `with_voice(tokens, other)` puts another clip's voice in front.

Clips are brought to a common loudness first, as in the authors' pipeline; `decode` restores it. Content ids see the speech model's
attention, so they depend on the whole clip. Its features end up to a frame before the clip does: `decode` fills up with zeros.

Letters: B batch, T samples, C channels of the features, N their frames, D width of the content, P voice ids, L content ids, E width of
the voice.
"""

import dataclasses
import functools
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...config import ConfigError
from ...layers.causal import ConvTranspose1d
from ...layers.frame_backbone import FrameBackbone
from ...layers.speech_features import FrozenModel, NamedModel, conv_frames
from ...precision import float32_by_default, widened
from ...quantizers.base import QuantizerConfig
from ...quantizers.fsq import FSQConfig
from ...quantizers.parts.nearest import row_sum, wide
from ...quantizers.vq import VQConfig
from ...spec import AudioSpec
from ...token_fields import TokenError
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import to_length
from ..dac.model import DACDecoder
from ..features import FeatureTokenizer
from .voice import VoiceConfig, VoiceEncoder, VoiceGuide

#: The authors' loudness: the mean of the upper tenth of amplitudes above `_FLOOR`, its loudest hundredth left out, becomes `_LEVEL`.
_LEVEL, _FLOOR, _QUIET = 0.2, 0.01, 0.1


@dataclass(frozen=True, kw_only=True)
class FrameNetConfig:
    """Settings of a `FrameNet`.

    Attributes:
        width, hidden: channels of the blocks, and inside of them.
        layers: number of blocks of the main backbone.
        ratios: factor of each sampling block, which has a backbone of 2 blocks behind it.
    """

    width: int = 384
    hidden: int = 2048
    layers: int = 12
    ratios: tuple[int, ...] = (1, 1)


@dataclass(frozen=True, kw_only=True)
class BiCodecConfig:
    """Settings of `BiCodec`.

    Attributes:
        sample_rate_hz: of clips and of the speech model.
        semantic_model: configuration of the speech model in the terms of transformers, whose weights are part of this model; empty: the
            published model `semantic_name` is loaded from the hub when it is first needed.
        semantic_name: name of the published speech model.
        semantic_layers: its layers whose mean is taken; 0 is the input of the first.
        features: C.
        level: bring clips to the authors' loudness.
        reference_seconds: length of the clip's beginning from which the voice is taken; shorter clips are repeated.
        mel_fft, mel_window, mel_hop: sizes of the mel spectrogram's transform in samples.
        mel_low_hz, mel_high_hz: its range; None: up to half the sampling rate.
        encoder, prenet: the networks on either side of the content's quantizer; `prenet` follows the voice.
        postnet: the network that predicts the features, for training.
        prenet_tanh, postnet_tanh: their outputs pass tanh.
        dim: D.
        quantizer: settings of the content's quantizer, of any kind with one codebook; its `dim` is filled in.
        voice: settings of the voice's encoder.
        voice_quantizer: settings of its quantizer, of any kind with one codebook.
        out_dim: E, channels of the prenet's output, to which the decoder adds the voice.
        voice_guide: for training, a second vector of the voice that is not quantized (`VoiceGuide`).
        guided: the share of that vector in what the decoder follows while training; the rest is the quantized one's. The authors begin
            with 1 and go over to 0 (`moving.model.guided`), and pull the quantized vector to the other one meanwhile.
        strides, kernels: of the decoder's transposed convolutions; kernel minus stride is even.
        decoder_width: channels of the decoder's first layer.
    """

    sample_rate_hz: int = 16000
    semantic_model: Mapping[str, Any] = field(default_factory=dict)
    semantic_name: str = "facebook/wav2vec2-large-xlsr-53"
    semantic_layers: tuple[int, ...] = (11, 14, 16)
    features: int = 1024
    level: bool = True
    reference_seconds: float = 6.0
    mel_fft: int = 1024
    mel_window: int = 640
    mel_hop: int = 320
    mel_low_hz: float = 10.0
    mel_high_hz: float | None = None
    encoder: FrameNetConfig = FrameNetConfig()
    prenet: FrameNetConfig = FrameNetConfig()
    postnet: FrameNetConfig = FrameNetConfig(layers=6)
    prenet_tanh: bool = False
    postnet_tanh: bool = False
    dim: int = 1024
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=8192, codebook_dim=8, normalize=True, update="gradient", kmeans_init=False, codebook_weight=2.0
    )
    voice: VoiceConfig = VoiceConfig()
    voice_quantizer: QuantizerConfig = FSQConfig(levels=(4,) * 6)
    out_dim: int = 1024
    voice_guide: bool = False
    guided: float = 0.0
    strides: tuple[int, ...] = (8, 5, 4, 2)
    kernels: tuple[int, ...] = (16, 11, 8, 4)
    decoder_width: int = 1536

    moving: ClassVar[tuple[str, ...]] = ("guided",)

    def __post_init__(self) -> None:
        surplus = [k - s for k, s in zip(self.kernels, self.strides, strict=False)]
        if len(self.kernels) != len(self.strides) or any(n < 0 or n % 2 for n in surplus):
            raise ConfigError(f"kernels is {self.kernels}; give one for each of strides, {self.strides}, longer by an even number.")
        if not 0 < self.mel_window <= self.mel_fft:
            raise ConfigError(f"mel_window is {self.mel_window}; allowed: 1 to mel_fft, {self.mel_fft}.")
        if self.reference_seconds <= 0:
            raise ConfigError(f"reference_seconds is {self.reference_seconds}; it must be positive.")
        if not 0 <= self.guided <= 1 or (self.guided and not self.voice_guide):
            raise ConfigError(f"guided is {self.guided}; allowed: 0 to 1, and only 0 without voice_guide.")

    @property
    def down(self) -> int:
        """Frames of the features in a content id."""
        return math.prod(self.encoder.ratios)

    @property
    def hop_samples(self) -> int:
        """Output samples of a content id."""
        return math.prod(self.strides) * math.prod(self.prenet.ratios)


class Sampling(nn.Module):
    """Down- or upsampling by a strided convolution of each channel, to which plain means or repetitions are added twice; `[B, C, L]`.

    With the ratio 1 there is no convolution, and the three branches are the input: it comes out threefold, as published.
    """

    def __init__(self, channels: int, ratio: int, *, up: bool) -> None:
        super().__init__()
        self.ratio, self.up = ratio, up
        size, pad, self.conv = 2 * ratio, ratio // 2 + ratio % 2, None
        if ratio > 1 and up:
            self.conv = nn.ConvTranspose1d(channels, channels, size, ratio, pad, output_padding=ratio % 2, groups=channels)
        elif ratio > 1:
            self.conv = nn.Conv1d(channels, channels, size, ratio, pad, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Sample `[B, C, L]`."""
        if self.conv is None:
            return x + x + x
        y = self.conv(F.leaky_relu(x, 0.2))
        if self.up:
            plain = x.repeat_interleave(self.ratio, dim=2)
            return (plain + y) + plain + (plain + y)
        plain = F.avg_pool1d(x, self.ratio)
        return y + plain + plain


class FrameNet(nn.Module):
    """Backbone and sampling stages, `[B, C, L]` to `[B, C', L']`: sampling first where it goes `up`, last where it goes down."""

    def __init__(self, channels: int, out_channels: int, config: FrameNetConfig, *, up: bool, condition: int = 0) -> None:
        super().__init__()
        c = config
        self.up = up
        self.stem = nn.Linear(channels, c.width) if up else nn.Identity()
        self.main = FrameBackbone(c.width if up else channels, c.width, c.hidden, c.layers, condition=condition)
        self.stages = nn.Sequential(*(
            nn.Sequential(Sampling(c.width, r, up=up), FrameBackbone(c.width, c.width, c.hidden, 2)) for r in c.ratios
        ))  # fmt: skip
        self.head = nn.Linear(c.width, out_channels)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Apply the network, with a vector `[B, E]` for each item where it takes one."""
        if self.up:
            x = self.main(self.stages(self.stem(x.transpose(1, 2)).transpose(1, 2)), condition)
        else:
            x = self.stages(self.main(x))
        return self.head(x.transpose(1, 2)).transpose(1, 2)


class BiCodec(FeatureTokenizer):
    """BiCodec; see the module's docstring. Clips are never cut into pieces; `features=` takes the speech model's `[B, C, N]`."""

    family: ClassVar[str] = "bicodec"
    config_class: ClassVar[type] = BiCodecConfig
    encoder_only = ("encoder", "voice_encoder", "voice_guide", "semantic_model")
    decoder_only = ("voice_proj", "prenet", "postnet", "decoder")
    config: BiCodecConfig

    def __init__(self, config: BiCodecConfig) -> None:
        super().__init__()
        c = self.config = config
        self.encoder = FrameNet(c.features, c.dim, c.encoder, up=False)
        self.quantizer = c.quantizer.build(dim=c.dim)
        self.voice_encoder = VoiceEncoder(c.voice)
        self.voice_quantizer = c.voice_quantizer.build(dim=c.voice.dim)
        if self.quantizer.num_codebooks != 1 or self.voice_quantizer.num_codebooks != 1:
            raise ConfigError("quantizer and voice_quantizer must have one codebook each.")
        self.voice_proj = nn.Linear(c.voice.dim * c.voice.count, c.out_dim)
        self.voice_guide = VoiceGuide(c.voice.out_channels, c.out_dim) if c.voice_guide else None
        self.prenet = FrameNet(c.dim, c.out_dim, c.prenet, up=True, condition=c.out_dim)
        self.postnet = FrameNet(c.out_dim, c.features, c.postnet, up=True)
        self.decoder = DACDecoder(c.out_dim, c.decoder_width, c.strides)
        for level, kernel, stride in zip(self.decoder.levels, c.kernels, c.strides, strict=True):
            own, cut = cast(ConvTranspose1d, level.conv), (kernel - stride) // 2
            level.conv = ConvTranspose1d(own.in_channels, own.out_channels, kernel, stride=stride, cuts=(cut, cut))
        self.semantic_model = FrozenModel(c.semantic_model) if c.semantic_model else None
        self._published = NamedModel(c.semantic_name, {"num_hidden_layers": max(c.semantic_layers) + 1})
        spec = AudioSpec.of(self.quantizer, sample_rate_hz=c.sample_rate_hz, hop_samples=c.hop_samples, semantic_dim=c.dim)
        self.spec = dataclasses.replace(spec, vocab_sizes=(max(*self.quantizer.codebook_sizes, *self.voice_quantizer.codebook_sizes),))

    # --- lengths and loudness ---------------------------------------------------------------------------------------

    def num_frames(self, samples: int) -> int:
        """P + L, the positions of a clip of `samples` samples that is encoded without `features=`."""
        return self.config.voice.count + max(1, conv_frames(samples, self.config.semantic_model) // self.config.down)

    def normalize(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Clips `[B, 1, T]` at the authors' loudness, and the factors `[B, 1]` that undo this."""
        if not self.config.level:
            return x, None
        factors = _loudness_factors(x[:, 0].float()).to(x)
        return x * factors[:, None, None], 1 / factors[:, None]

    # --- encode -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def speech_features(self, x: Tensor) -> Tensor:
        """The speech model's features `[B, C, N]` of clips `[B, 1, T]`: each clip at mean 0 and variance 1, the mean of some layers."""
        c, x = self.config, x[:, 0]
        while conv_frames(x.shape[-1], c.semantic_model) < c.down:
            x = F.pad(x, (0, c.hop_samples))
        wide = widened(x)
        wide = (wide - wide.mean(1, keepdim=True)) / (wide.var(1, keepdim=True, unbiased=False) + 1e-7).sqrt()
        model = self.semantic_model or self._published.get(self.device, self.dtype)
        return model.layers(wide.to(x.dtype), c.semantic_layers).unflatten(1, (len(c.semantic_layers), -1)).mean(1)

    def voice_latents(self, x: Tensor) -> Tensor:
        """Vectors `[B, D', P]` of the voice in clips `[B, 1, T]`."""
        return self.voice_encoder.read(self._voice_frames(x))

    def _voice_frames(self, x: Tensor) -> Tensor:
        """The voice encoder's frames `[B, C', N]` of clips `[B, 1, T]`: of their beginning, or repeated to its length."""
        c, clip = self.config, x[:, 0]
        length = int(c.sample_rate_hz * c.reference_seconds) // c.hop_samples * c.hop_samples
        clip = clip.repeat(1, -(-length // clip.shape[-1]))[:, :length] if clip.shape[-1] < length else clip[:, :length]
        return self.voice_encoder.frames(self.mel(clip).to(self.dtype))

    def mel(self, x: Tensor) -> Tensor:
        """Mel spectrograms, float32 `[B, M, N]`, of clips `[B, T]`: amplitudes, without a logarithm."""
        c = self.config
        with float32_by_default(), torch.autocast(x.device.type, enabled=False):
            window = torch.hann_window(c.mel_window, device=x.device)
            spectrum = torch.stft(x.float(), c.mel_fft, c.mel_hop, c.mel_window, window, return_complex=True).abs()
            high = float(c.sample_rate_hz // 2) if c.mel_high_hz is None else c.mel_high_hz
            bank = _mel_bank(c.mel_fft // 2 + 1, c.mel_low_hz, high, c.voice.bands, c.sample_rate_hz)
            return bank.t().to(x.device) @ spectrum

    def encode_latents(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """The content's latents `[B, D, L]` of clips `[B, 1, T]`, or of their `features` `[B, C, N]`."""
        return self.encoder((self.speech_features(x) if features is None else features).to(self.dtype))

    def encode_batch(self, x: Tensor, batch: Batch) -> Coded:
        """Ids `[B, 1, P + L]` of clips `[B, 1, T]`."""
        x, scale = self.normalize(x)
        content = self.ids_of(self.latents_of(x, batch), batch).ids
        return Coded(torch.cat([self.voice_quantizer.encode(self.voice_latents(x)), content], dim=-1), scale=scale)

    def with_voice(self, tokens: Tokens, other: Tokens) -> Tokens:
        """The content of `tokens` in the voice of `other`, which has one item, or one for each.

        Raises:
            ValueError: another number of items.
        """
        if len(other) not in (1, len(tokens)):
            raise ValueError(f"there are {len(other)} voices for {len(tokens)} items; give one, or one for each.")
        ids, count = tokens.ids.clone(), self.config.voice.count
        ids[..., :count] = other.ids[..., :count].to(ids.device)
        return dataclasses.replace(tokens, ids=ids)

    # --- decode -----------------------------------------------------------------------------------------------------

    @property
    def ids_everywhere(self) -> int:
        """Ids below this number are allowed at every position, of the voice and of the content."""
        return min(self.voice_quantizer.codebook_sizes[0], self.quantizer.codebook_sizes[0])

    def _parts(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids of the voice `[B, 1, P]` and of the content `[B, 1, L]`.

        Raises:
            TokenError: no content, or ids outside their own codebook.
        """
        count = self.config.voice.count
        voice, content = ids[..., :count], ids[..., count:]
        if not content.shape[-1]:
            raise TokenError(f"there are {ids.shape[-1]} positions; the first {count} are the voice, and content follows them.")
        for name, part, books in (("voice", voice, self.voice_quantizer), ("content", content, self.quantizer)):
            if not torch.compiler.is_compiling() and int(part.max()) >= books.codebook_sizes[0]:
                raise TokenError(f"a {name} id is {int(part.max())}; those of the {name} are below {books.codebook_sizes[0]}.")
        return voice, content

    def _wave(self, content: Tensor, voice: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms `[B, 1, T]` of content `[B, D, L]` and the voice's vectors `[B, D', P]`, and the prenet's output."""
        return self._sound(content, self.voice_proj(voice.flatten(1)))

    def _sound(self, content: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """As `_wave`, of content and the voice as one vector `[B, E]`."""
        x = self.prenet(content, vector)
        x = x.tanh() if self.config.prenet_tanh else x
        return self.decoder(x + vector[..., None]), x

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Waveforms `[B, 1, L * hop]` of ids `[B, 1, P + L]`, loudness restored."""
        voice, content = self._parts(ids)
        x, _ = self._wave(self.vectors_of(content), self.voice_quantizer.decode(voice).to(self.dtype))
        return x if batch.scale is None else x * batch.scale[:, None, :1]

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, voice: Tensor | None = None) -> Tensor:
        """Waveforms `[B, 1, L * hop]` of content `[B, D, L]` and the voice's quantized vectors `[B, D', P]`.

        Raises:
            ValueError: no voice.
        """
        if voice is None:
            raise ValueError("content has no sound without a voice: pass voice=[B, D, P].")
        return self._wave(z_q, voice)[0]

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The content's code vectors `[B, D, L]`."""
        return self.vectors_of(self._parts(ids)[1])

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients, except for the frozen speech model.

        `Reconstruction.features` holds "semantic", the features `[B, C, N]` predicted from content and voice, and "semantic_target";
        with `voice_guide` also "voice" and "voice_guide", the quantized and the other vector of the voice, `[B, E, 1]`.
        """
        y, scale = self.normalize(x)
        features = self.speech_features(y) if features is None else features
        z = self.encode_latents(y, features)
        frames = self._voice_frames(y)
        content, voice = self.quantizer(z), self.voice_quantizer(self.voice_encoder.read(frames))
        vector, out = self.voice_proj(voice.z_q.flatten(1)), {}
        if self.voice_guide is not None:
            guide = self.voice_guide(frames)
            out = {"voice": vector[..., None], "voice_guide": guide[..., None]}
            vector = torch.lerp(vector, guide, self.config.guided)
        x_hat, state = self._sound(content.z_q, vector)
        x_hat = to_length(x_hat, x.shape[-1])
        x_hat = x_hat if scale is None else x_hat * scale[:, None]
        semantic = self.postnet(state)
        semantic = semantic.tanh() if self.config.postnet_tanh else semantic
        length = min(semantic.shape[-1], features.shape[-1])
        quantized = dataclasses.replace(content, ids=torch.cat([voice.ids, content.ids], dim=-1), loss=content.loss + voice.loss)
        out |= {"semantic": semantic[..., :length], "semantic_target": features[..., :length]}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=out)


@functools.cache
def _mel_bank(frequencies: int, low_hz: float, high_hz: float, bands: int, rate_hz: int) -> Tensor:
    """Triangular filters of Slaney's scale and area, `[frequencies, bands]`."""
    import torchaudio.functional as AF

    with warnings.catch_warnings(), torch.device("cpu"):
        warnings.simplefilter("ignore")  # bands without a frequency
        return AF.melscale_fbanks(frequencies, low_hz, high_hz, bands, rate_hz, norm="slaney", mel_scale="slaney")


def _loudness_factors(x: Tensor) -> Tensor:
    """The factors `[B]` that bring clips `[B, T]` to the authors' loudness, as their `audio_volume_normalize`."""
    amplitudes = x.abs().sort(dim=1).values
    peak, above = amplitudes[:, -1], (amplitudes > _FLOOR).sum(dim=1)  # of the clips as they came
    factor = torch.where(peak < _QUIET, _QUIET / peak.clamp(min=1e-3), 1.0)
    rank = torch.arange(x.shape[1], device=x.device) - (x.shape[1] - above)[:, None]
    first, end = ((wide(above) * share).long()[:, None] for share in (0.9, 0.99))
    loud = (rank >= first) & (rank < end)
    volume = (row_sum(wide(amplitudes) * loud) / loud.sum(dim=1)).float()
    levelled = factor * (_LEVEL / volume).clamp(0.1, 10.0)
    return torch.where(above > 10, levelled / (peak * levelled).clamp(min=1.0), factor)
