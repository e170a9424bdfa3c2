"""USTokenizer of DualSpeechLM: understanding-driven speech tokens, one codebook over Whisper's features, 25 a second.

Wang et al. 2025, "DualSpeechLM: Towards Unified Speech Understanding and Generation via Dual Speech Token Modeling with Large
Language Models", arXiv 2508.08961. Written from lavendery/UUG @ b259503 (no licence is stated; its RepCodec files state CC
BY-NC): `USTokenizer/models/USTokenizer.py`, `models/modules3`. Weights are announced, none are public.

    speech 16 kHz -> Whisper encoder (50 Hz) -> stride 2 -> RepCodec encoder -> VQ -> RepCodec decoder -> stride 2 -> features

Whisper's features `[B, C, N]` become latents `[B, D, L]`, 25 a second, and ids `[B, K, L]` with K = 1. There is no waveform decoder:
the authors' system generates audio with tokens of another codec (WavTokenizer). So this family encodes features: `encode` takes
`[C, N]`, `extract_features` computes them from audio, `decode` reconstructs them.

Differs: `decode` returns N features for N features; the authors' transposed convolution returns N - 1 if N is even.
Differs: audio longer than 30 s is processed in pieces of 30 s; the authors truncate it.

Differs: the authors' training adds the cross-entropy of a frozen language model that takes the tokens as input; the training loop
here has no such loss, so `configs/audio/ustokenizer-*.yaml` use only the commitment and reconstruction losses.

Letters: B batch, T samples, C feature width, N features (50 a second), L = ceil(N / 2), D latent width, K codebooks.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...config import ConfigError
from ...latent import LatentSpec, LatentTokenizer
from ...layers.feature_conv import FeatureConvConfig, FeatureDecoder, FeatureEncoder
from ...layers.speech_features import FrozenModel, NamedModel
from ...media import as_waveform, resample, to_channels
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...tokenizer import Reconstruction
from ...tokens import Tokens

#: Whisper's input sampling rate, its hop (samples from one feature to the next), and the shortest clip in samples.
SPEECH_RATE_HZ, SPEECH_HOP, SHORTEST = 16000, 320, 16000


def _plain(**settings: Any) -> FeatureConvConfig:
    return FeatureConvConfig(**{"features": 1024, "width": 1024, "strides": (1, 1), **settings})


@dataclass(frozen=True, kw_only=True)
class USTokenizerConfig:
    """Settings of `USTokenizer`; the defaults are the authors' over Whisper-medium.

    Attributes:
        encoder, decoder: settings of the convolutions before and after the quantizer; the `features` of both must be C.
        latent_dim: D, channels of the latents.
        whisper_model: configuration of the speech model in the terms of transformers, whose encoder is then part of this
            model's weights; empty: the published model `whisper_name` is loaded from the hub when it is first needed.
        whisper_name: name of the published speech model.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    encoder: FeatureConvConfig = _plain()
    decoder: FeatureConvConfig = _plain()
    latent_dim: int = 1024
    whisper_model: Mapping[str, Any] = field(default_factory=dict)
    whisper_name: str = "openai/whisper-medium"
    quantizer: QuantizerConfig = ResidualVQConfig(
        num_codebooks=1, codebook_size=1024, decay=0.8, commitment_weight=1.0, kmeans_init=False, replace_below=0.0
    )

    def __post_init__(self) -> None:
        if self.encoder.features != self.decoder.features:
            raise ConfigError(f"encoder.features {self.encoder.features} and decoder.features {self.decoder.features} differ.")
        if set(self.encoder.strides) | set(self.decoder.strides) != {1}:
            raise ConfigError("strides of encoder and decoder must be 1: the only stride of 2 is outside of them (`down`, `up`).")


class USTokenizer(LatentTokenizer):
    """Tokens of Whisper's features; see the module's docstring. The first k codebooks alone can be decoded."""

    family: ClassVar[str] = "ustokenizer"
    config_class: ClassVar[type] = USTokenizerConfig
    encoder_only = ("down", "encoder", "to_latent", "whisper")
    decoder_only = ("decoder", "up")
    features_advice = "`extract_features(clip)` computes them from audio, `tokenize(clip)` goes from audio to tokens."
    config: USTokenizerConfig

    def __init__(self, config: USTokenizerConfig) -> None:
        super().__init__()
        self.config = c = config
        width = c.encoder.features
        self.down = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.encoder = FeatureEncoder(None, c.encoder)
        self.to_latent = nn.Conv1d(c.encoder.channels(-1), c.latent_dim, 3, padding=1, bias=False)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.decoder = FeatureDecoder(c.latent_dim, c.decoder)
        self.up = nn.ConvTranspose1d(width, width, 3, stride=2, padding=1, output_padding=1)
        self.whisper = FrozenModel(c.whisper_model, part="encoder") if c.whisper_model else None
        self._published = NamedModel(c.whisper_name, {"part": "encoder"})
        self.spec = LatentSpec.of(
            self.quantizer,
            channels=width,
            semantic_dim=width,
        )

    # --- speech to features -----------------------------------------------------------------------------------------

    def tokenize(self, media: Any) -> Tokens:
        """Tokens of one clip: `extract_features`, then `encode`."""
        return self.encode(self.extract_features(media))

    @torch.no_grad()
    def extract_features(self, media: Any) -> Tensor:
        """Whisper's features `[1, C, N]` of a clip, N = T // 320 at 16 kHz.

        Args:
            media: a path, `(waveform, sample_rate)`, or `[T]` or `[1, T]` at 16 kHz. Clips under a second are padded with silence.
        """
        from transformers import WhisperFeatureExtractor

        clip = as_waveform(media, default_rate_hz=SPEECH_RATE_HZ, channels=1)
        x = to_channels(resample(clip.samples, clip.sample_rate_hz, SPEECH_RATE_HZ), 1)[0]
        x = nn.functional.pad(x, (0, max(0, SHORTEST - len(x))))
        whisper = self.whisper or self._published.get(self.device, self.dtype)
        c = whisper.model.config
        seconds = 2 * c.max_source_positions // 100  # a hundred spectra a second, two of them a feature
        spectra = WhisperFeatureExtractor(feature_size=c.num_mel_bins, chunk_length=seconds)
        parts = []
        for piece in x.split(seconds * SPEECH_RATE_HZ):
            mel = spectra(piece.numpy(), sampling_rate=SPEECH_RATE_HZ, return_tensors="pt")["input_features"]
            parts.append(whisper(mel.to(self.device, self.dtype))[..., : len(piece) // SPEECH_HOP])
        return torch.cat(parts, dim=-1)

    # --- contract ---------------------------------------------------------------------------------------------------

    def kept_size(self, x: Tensor) -> tuple[int, ...]:
        """N of features `[C, N]`; `decode` returns the same number."""
        return (x.shape[-1],)

    def fit_out(self, x: Tensor, item: Tokens, options: Any) -> Tensor:
        """Cut decoded features `[C, 2 L]` to the N of the original; without `sizes` they stay as they are."""
        return x if item.sizes is None or not options.original else x[..., : int(item.sizes[0, 0])]

    def items_of(self, media: Any) -> list[Tensor]:
        """Checked features `[C, N]` of the media passed."""
        items = super().items_of(media)
        if any(x.ndim != 2 for x in items):
            raise ValueError(f"{self.family} takes sequences of features [C={self.spec.channels}, N], not grids.")
        return items

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of features `[B, C, N]`."""
        return self.to_latent(self.encoder(self.down(x)))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Features `[B, C, 2 L]` of latents `[B, D, L]`."""
        return self.up(self.decoder(z_q))

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct features `[B, C, N]` with gradients."""
        out = super().forward(x)
        return dataclasses.replace(out, x_hat=out.x_hat[..., : x.shape[-1]])
