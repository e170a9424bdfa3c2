"""Kanade and MioCodec: one id for the content of 40 or 80 ms of speech, and one vector a clip for the voice.

Kanade (frothywater/kanade-tokenizer @ 8e17729; no licence is stated: own code from the facts) and MioCodec, which decodes to waveforms
(Aratako/MioCodec @ 7747354, MIT; published without training code).

    clip -> WavLM -> mean of some layers, standardised over the clip -> transformer -> convolution -> FSQ -> ids [B, 1, L]
                  -> mean of others -> ConvNeXt -> weighted statistics ---------------------------> voice [B, E], a side vector
    ids, voice -> transformer -> stretched to the frames of a spectrum -> transformer that follows the voice -> waveform or mel

**Ids depend on the whole clip**: the features are standardised over all of its frames. A cut clip has other ids than the same part of
the whole clip; neither other clips of a batch nor padding matter. `with_voice(tokens, other)` puts another clip's voice beside the ids.

Clips get silence on both sides, so that the speech model returns a frame for each 20 ms begun; frames that do not fill a position get
no id. Kanade decodes to mel spectrograms, `mel(tokens)`, for a vocoder that is published apart (Vocos, HiFT): `decode` raises
NotDecodable.

Letters: B batch, T samples, C channels of the features, N their frames, D width of the content, L positions, E width of the voice.
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch, Coded, one_batch
from ...config import ConfigError
from ...layers.speech_features import CONV_KERNELS, CONV_STRIDES, FrozenModel, NamedModel
from ...media import Prepared, resample_short
from ...precision import widened
from ...quantizers.base import QuantizerConfig
from ...quantizers.fsq import FSQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..features import FeatureTokenizer
from .synthesis import MelConfig, MelSynthesis, WaveConfig, WaveSynthesis
from .transformer import WindowedConfig, WindowedTransformer
from .voice import VoiceConfig, VoiceEncoder

#: Name of the voice among the side vectors of tokens.
VOICE = "voice"
#: Added to the deviation by which features are divided.
_EPS = 1e-8


@dataclass(frozen=True, kw_only=True)
class KanadeConfig:
    """Settings of `Kanade`; the defaults are those of MioCodec at 24 kHz.

    Attributes:
        sample_rate_hz: of the clips.
        speech_rate_hz: rate to which they are resampled for the speech model.
        semantic_model: configuration of the speech model in the terms of transformers, whose weights are part of this model; empty: the
            published model `semantic_name` is loaded from the hub when it is first needed.
        semantic_name: name of the published speech model.
        features: C.
        content_layers, voice_layers: layers of the speech model, counted from 1, whose mean each branch takes.
        standardize: bring each channel of the content's features to mean 0 and deviation 1 over the clip.
        encoder: the content's transformer.
        stride: frames of the speech model in a position.
        down: how they become one: a "conv"olution, or their "mean".
        quantizer: settings of any quantizer; its `dim` is filled in.
        feature_decoder: transformer that reconstructs the content's features, for training; None, as in published files: none.
        voice: the voice's encoder.
        wave, mel: the decoder, exactly one of them.
    """

    sample_rate_hz: int = 24000
    speech_rate_hz: int = 16000
    semantic_model: Mapping[str, Any] = field(default_factory=dict)
    semantic_name: str = "microsoft/wavlm-base-plus"
    features: int = 768
    content_layers: tuple[int, ...] = (6, 9)
    voice_layers: tuple[int, ...] = (1, 2)
    standardize: bool = True
    encoder: WindowedConfig = WindowedConfig()
    stride: int = 2
    down: Literal["conv", "mean"] = "conv"
    quantizer: QuantizerConfig = FSQConfig(levels=(8, 8, 8, 5, 5), convention="nemo")
    feature_decoder: WindowedConfig | None = None
    voice: VoiceConfig = VoiceConfig()
    wave: WaveConfig | None = WaveConfig()
    mel: MelConfig | None = None

    def __post_init__(self) -> None:
        if (self.wave is None) == (self.mel is None):
            raise ConfigError("wave and mel are the two kinds of decoders; set one of them, and the other to null.")
        if not self.content_layers or not self.voice_layers or min(self.content_layers + self.voice_layers) < 1:
            raise ConfigError("content_layers and voice_layers name layers of the speech model, counted from 1.")
        if self.stride < 1 or self.sample_rate_hz * self.speech_hop % self.speech_rate_hz:
            raise ConfigError(
                f"stride is {self.stride} and sample_rate_hz {self.sample_rate_hz}; frames of the speech model, {self.speech_hop} "
                f"samples at {self.speech_rate_hz} Hz, must be whole samples there."
            )

    @property
    def _convs(self) -> list[tuple[int, int]]:
        model = self.semantic_model
        return list(zip(model.get("conv_kernel", CONV_KERNELS), model.get("conv_stride", CONV_STRIDES), strict=True))

    @property
    def speech_hop(self) -> int:
        """Samples at the speech model's rate from one of its frames to the next."""
        return math.prod(stride for _, stride in self._convs)

    @property
    def hop_samples(self) -> int:
        """Samples from one position to the next."""
        return self.stride * self.sample_rate_hz * self.speech_hop // self.speech_rate_hz

    @property
    def layers(self) -> tuple[int, ...]:
        """All layers of the speech model that are needed, in order."""
        return tuple(sorted({*self.content_layers, *self.voice_layers}))

    def samples_for(self, frames: int) -> int:
        """Fewest samples of a clip for which the speech model returns `frames` frames."""
        for kernel, stride in reversed(self._convs):
            frames = (frames - 1) * stride + kernel
        return math.ceil(frames / self.speech_rate_hz * self.sample_rate_hz)

    def silence(self, samples: int) -> int:
        """Samples of silence on each side of a clip of `samples` samples."""
        frames, needed = math.ceil(samples / self.sample_rate_hz * self.speech_rate_hz / self.speech_hop), 0
        for kernel, stride in reversed(self._convs):
            needed = ((needed or frames) - 1) * stride + kernel
        return math.ceil((needed / self.speech_rate_hz * self.sample_rate_hz - samples) / 2)


class Kanade(FeatureTokenizer):
    """Kanade and MioCodec; see the module's docstring. Clips are never cut into pieces.

    `features=` takes the hidden states `[B, n C, N]` of `config.layers`, one behind the other; clips are then not padded.
    """

    family: ClassVar[str] = "kanade"
    config_class: ClassVar[type] = KanadeConfig
    encoder_only = ("encoder", "down", "voice_encoder", "semantic_model", "feature_up", "feature_decoder")
    decoder_only = ("synthesis",)
    no_decoder: ClassVar[str] = "`mel(tokens)` returns spectrograms for a vocoder that is published apart"
    config: KanadeConfig

    def __init__(self, config: KanadeConfig) -> None:
        super().__init__()
        c = self.config = config
        width = c.encoder.width
        self.encoder = WindowedTransformer(c.encoder, in_channels=c.features if c.features != width else 0)
        self.down = nn.Conv1d(width, width, c.stride, stride=c.stride) if c.stride > 1 and c.down == "conv" else None
        self.quantizer = c.quantizer.build(dim=width)
        self.voice_encoder = VoiceEncoder(c.features, c.voice)
        if c.wave is not None:
            self.synthesis: nn.Module = WaveSynthesis(width, c.voice.dim, c.wave)
        else:
            assert c.mel is not None
            self.synthesis = MelSynthesis(width, c.voice.dim, c.mel)
        self.feature_up = self.feature_decoder = None
        if c.feature_decoder is not None:
            self.feature_up = nn.ConvTranspose1d(width, width, c.stride, stride=c.stride) if self.down is not None else None
            out = c.features if c.features != c.feature_decoder.width else 0
            self.feature_decoder = WindowedTransformer(c.feature_decoder, out_channels=out)
        self.semantic_model = FrozenModel(c.semantic_model) if c.semantic_model else None
        self._published = NamedModel(c.semantic_name, {"num_hidden_layers": max(c.layers)})
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.hop_samples,
            decodes=c.wave is not None,
            semantic_dim=width,
            side_vectors=(VOICE,),
        )

    # --- lengths ----------------------------------------------------------------------------------------------------

    def num_frames(self, samples: int) -> int:
        """L, the number of positions of a clip of `samples` samples that is encoded without `features=`."""
        frames = math.ceil(samples / self.config.sample_rate_hz * self.config.speech_rate_hz / self.config.speech_hop)
        return max(1, frames // self.config.stride)

    @property
    def side_shapes(self) -> dict[str, tuple[int, int]]:
        """One vector `[1, E]` of the voice."""
        return {VOICE: (1, self.config.voice.dim)}

    def _natural(self, positions: int) -> int:
        """Samples that as many positions come from."""
        return self.config.samples_for(positions * self.config.stride)

    def _wanted(self, item: Tokens) -> int:
        """Samples of an item's output: the original's at this codec's rate, or what as many positions come from."""
        if item.sizes is None:
            return self._natural(item.ids.shape[-1])
        whole = -(-int(item.sizes[0, 0]) * self.spec.sample_rate_hz // self._rate_in(item))
        kept = self._kept(item)
        return whole if kept is None else kept

    # --- features ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def speech_features(self, x: Tensor) -> Tensor:
        """The speech model's hidden states `[B, n C, N]` of clips `[B, 1, T]`: those of `config.layers`, one behind the other."""
        c = self.config
        x = F.pad(x, (0, max(0, c.hop_samples - x.shape[-1])))[:, 0]  # at least one position
        silence = c.silence(x.shape[-1])
        x = F.pad(x, (silence, silence))
        x = resample_short(x, c.sample_rate_hz, c.speech_rate_hz)
        model = self.semantic_model or self._published.get(self.device, self.dtype)
        return model.layers(x, c.layers)

    def _branches(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features `[B, C, N]` of the content and of the voice, from hidden states `[B, n C, N]`.

        Raises:
            ValueError: another number of channels, or too few frames for one position.
        """
        c = self.config
        if features.shape[1] != len(c.layers) * c.features or features.shape[-1] < max(2, c.stride):
            raise ValueError(
                f"features are {list(features.shape)}; give [B, {len(c.layers)} x {c.features}, N], the layers {c.layers} one behind "
                f"the other, with {max(2, c.stride)} frames or more."
            )
        by_layer = dict(zip(c.layers, features.to(self.dtype).chunk(len(c.layers), dim=1), strict=True))
        content, voice = (
            torch.stack([by_layer[i] for i in which]).mean(0) for which in (c.content_layers, c.voice_layers)
        )
        if c.standardize:
            wide = widened(content)  # in half precision the constant would be 0
            content = ((wide - wide.mean(2, keepdim=True)) / (wide.std(2, keepdim=True) + _EPS)).to(content.dtype)
        return content, voice

    # --- encode -----------------------------------------------------------------------------------------------------

    def _content(self, features: Tensor) -> Tensor:
        """Latents `[B, D, L]` of the content's features `[B, C, N]`."""
        z, c = self.encoder(features), self.config
        if self.down is not None:
            return self.down(z)
        return F.avg_pool1d(z, c.stride) if c.stride > 1 else z

    def encode_latents(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """The content's latents `[B, D, L]` of clips `[B, 1, T]` or, if they are given, of `features` `[B, n C, N]`."""
        return self._content(self._branches(self.speech_features(x) if features is None else features)[0])

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """The content's latents `[B, D, L]`; the voices `[B, 1, E]` go into `batch.notes`."""
        features = self.features_of(batch)
        content, voice = self._branches(self.speech_features(x) if features is None else features)
        batch.notes[VOICE] = self.voice_encoder(voice)[:, None]
        return self._content(content)

    def tokens_of_batch(self, coded: Coded, items: Sequence[Prepared], batch: Batch) -> Tokens:
        """Tokens of a batch, with the voice of each clip."""
        voices = tuple(v.float() for v in batch.notes[VOICE])
        return dataclasses.replace(super().tokens_of_batch(coded, items, batch), side_vectors={VOICE: voices})

    def with_voice(self, tokens: Tokens, other: Tokens) -> Tokens:
        """The ids of `tokens` with the voice of `other`, which has one item, or one for each.

        Raises:
            ValueError: another number of items.
        """
        voices = other.side_vectors[VOICE]
        if len(voices) not in (1, len(tokens)):
            raise ValueError(f"there are {len(voices)} voices for {len(tokens)} items; give one, or one for each.")
        voices = voices * len(tokens) if len(voices) == 1 else voices
        return dataclasses.replace(tokens, side_vectors={VOICE: tuple(v.to(tokens.ids.device) for v in voices)})

    # --- decode -----------------------------------------------------------------------------------------------------

    def decode_key(self, item: Tokens, options: Any) -> Hashable:
        """Items go through the decoder together where they have as many positions and samples."""
        return super().decode_key(item, options), self._wanted(item)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Waveforms `[B, 1, T]` of ids `[B, 1, L]`, or mel spectrograms `[B, M, F]` where that is what the decoder gives."""
        voice = batch.side(VOICE)
        if tuple(voice.shape[1:]) != (own := self.side_shapes[VOICE]):
            raise ValueError(f"the voice of an item is {list(voice.shape[1:])}; those of this tokenizer are {list(own)}.")
        samples = self._wanted(batch.tokens[0]) if batch.tokens else self._natural(ids.shape[-1])
        return self.synthesis(self.vectors_of(ids), voice[:, 0].to(self.device, self.dtype), samples)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, voice: Tensor | None = None) -> Tensor:
        """Waveforms `[B, 1, L * hop]`, or mel spectrograms, of quantized latents `[B, D, L]` and voices `[B, E]`.

        Raises:
            ValueError: no voice.
        """
        if voice is None:
            raise ValueError("content has no sound without a voice: pass voice=[B, E].")
        return self.synthesis(z_q, voice, z_q.shape[-1] * self.spec.hop_samples)

    @torch.no_grad()
    def mel(self, tokens: Tokens) -> Tensor | list[Tensor]:
        """Mel spectrograms of tokens, float32 `[B, M, F]`, or a list where F differs; for the vocoder that they were made for.

        Raises:
            ConfigError: this decoder gives waveforms.
        """
        if self.config.mel is None:
            raise ConfigError("this decoder gives waveforms: call decode.")
        tokens = self.check_ids(tokens)
        outs: list[Any] = [None] * len(tokens)
        for items, batch in self._groups(tokens, self.decode_options()):
            x = self.media_of(torch.cat([item.ids for item in items]).to(self.device), batch)
            for row, i in enumerate(batch.items):
                outs[i] = x[row].float()
        return one_batch(outs)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The content's code vectors `[B, D, L]`."""
        return self.vectors_of(ids)

    def decode_features(self, z_q: Tensor, frames: int) -> Tensor:
        """The content's features `[B, C, N]`, N at most `frames`, as reconstructed from quantized latents `[B, D, L]`.

        Only with `feature_decoder`; a transposed convolution gives whole positions, the mean of frames is stretched to all of them.
        """
        assert self.feature_decoder is not None
        if self.feature_up is not None:
            z_q = self.feature_up(z_q)
        elif self.config.stride > 1:
            z_q = F.interpolate(z_q, size=frames, mode="linear")
        return self.feature_decoder(z_q)

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients, except for the frozen speech model.

        `Reconstruction.features` holds, with `feature_decoder`, "semantic", the content's features `[B, C, N]` reconstructed from the
        ids, and "semantic_target", those features; with `mel`, "mel", the spectrogram `[B, M, F]`, which is `x_hat` as well.
        """
        content, voice = self._branches(self.speech_features(x) if features is None else features)
        z = self._content(content)
        quantized = self.quantizer(z)
        x_hat = self.synthesis(quantized.z_q, self.voice_encoder(voice), x.shape[-1])
        x_hat = x_hat if self.config.wave is None else self.to_length(x_hat, x.shape[-1])
        out = {}
        if self.feature_decoder is not None:
            semantic = self.decode_features(quantized.z_q, content.shape[-1])
            out = {"semantic": semantic, "semantic_target": content[..., : semantic.shape[-1]]}
        if self.config.mel is not None:
            out["mel"] = x_hat
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=out)
