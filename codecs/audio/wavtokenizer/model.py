"""WavTokenizer: one codebook over SEANet's frames, and a decoder at frame rate with an inverse Fourier transform.

Ji et al. 2024, "WavTokenizer: an Efficient Acoustic Discrete Codec Tokenizer for Audio Language Modeling", arXiv 2408.16532.
Parity was checked against jishengpeng/WavTokenizer @ 5cf440d (MIT) and transformers 5.24 (Apache-2.0).

UniCodec (Jiang et al. 2025, arXiv 2502.20067; Jiang-Yidi/UniCodec @ 8f90335, no licence is stated: own code from the facts) has a
transformer with experts in the LSTM's place, and a table of which each kind of sound has its own part: `encode(x, domain="speech")`.

SEANet encodes `[B, 1, T]` to latents `[B, D, L]`, one for every hop (320 samples: 75 a second at 24 kHz), and the nearest vector of
one codebook replaces each: ids `[B, 1, L]`. The decoder never leaves frame rate: residual blocks with attention, ConvNeXt blocks,
and a head that predicts magnitude and phase of each frame for the inverse short-time Fourier transform, `[B, 1, L * hop]`.

Letters: B batch, T samples, D latent width, L positions (frames), N conditions.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...config import ConfigError
from ...layers.seanet import SEANetConfig, SEANetEncoder
from ...layers.vocos import FourierHead, FrameAttention, FrameResBlock, VocosBlock, make_norm
from ...options import EncodeOptions
from ...quantizers.base import QuantizerConfig
from ...quantizers.simvq import SimVQ
from ...quantizers.vq import VQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import AudioTokenizer
from ..start import start_sound
from .experts import ExpertsConfig, expert_transformer
from .span_mask import SpanMask, SpanMaskConfig


@dataclass(frozen=True, kw_only=True)
class WavTokenizerConfig:
    """Settings of `WavTokenizer`; the defaults are the 75-token models'.

    Attributes:
        sample_rate_hz: rate of the waveform.
        encoder: settings of the SEANet encoder, which may be causal; the decoder never is.
        quantizer: settings of any quantizer; its `dim` is filled in. Published: one codebook, Euclidean distance, EMA updates.
        width: channels of the decoder, a multiple of `groups`.
        hidden: width between the pointwise layers of a ConvNeXt block.
        blocks: number of ConvNeXt blocks.
        conditions: number of scale and shift pairs of the decoder's norms, of which `condition` selects one (a remainder of a
            model with several bit rates); 0: plain norms.
        layer_scale: initial value of the learned factor of every ConvNeXt block; 0: 1 / blocks.
        groups: number of groups of the decoder's group norms.
        eps: epsilon of all norms of the decoder.
        window_samples: length of the inverse transform's window.
        dropout: probability of dropout in the decoder's residual blocks.
        experts: a transformer behind the encoder (UniCodec); None: none.
        domains: `encode` takes `domain`: "speech" searches the first quarter of the codebook, "music" the second, "sound" the rest.
        masking: spans of the encoder's frames that are hidden from the transformer in training (UniCodec's second stage); None: none.
    """

    sample_rate_hz: int = 24000
    encoder: SEANetConfig = SEANetConfig(latent_dim=512)
    quantizer: QuantizerConfig = VQConfig(codebook_size=4096, kmeans_iterations=200, commitment_weight=1.0)
    width: int = 768
    hidden: int = 2304
    blocks: int = 12
    conditions: int = 4
    layer_scale: float = 0.0
    groups: int = 32
    eps: float = 1e-6
    window_samples: int = 1280
    dropout: float = 0.1
    experts: ExpertsConfig | None = None
    domains: bool = False
    masking: SpanMaskConfig | None = None

    def __post_init__(self) -> None:
        if self.masking is not None and self.experts is None:
            raise ConfigError("masking hides frames from the transformer, which experts describes; set experts, or masking to null.")
        if self.groups < 1 or self.width % self.groups:
            raise ValueError(f"width is {self.width}; the group norms need a multiple of groups = {self.groups}.")


class WavTokenizerDecoder(nn.Module):
    """Decoder at frame rate: latents `[B, D, L]` to waveforms `[B, 1, L * hop]`."""

    def __init__(self, c: WavTokenizerConfig) -> None:
        super().__init__()
        width, scale, norm = c.width, c.layer_scale or 1 / c.blocks, {"groups": c.groups, "eps": c.eps}
        self.embed = nn.Conv1d(c.encoder.latent_dim, width, 7, padding=3)
        self.prior = nn.Sequential(
            FrameResBlock(width, dropout=c.dropout, **norm),
            FrameResBlock(width, dropout=c.dropout, **norm),
            FrameAttention(width, **norm),
            FrameResBlock(width, dropout=c.dropout, **norm),
            FrameResBlock(width, dropout=c.dropout, **norm),
            nn.GroupNorm(c.groups, width, eps=c.eps),
        )
        self.norm_in = make_norm(width, c.conditions, eps=c.eps)
        self.blocks = nn.ModuleList(
            VocosBlock(width, c.hidden, layer_scale=scale, conditions=c.conditions, eps=c.eps) for _ in range(c.blocks)
        )
        self.norm_out = nn.LayerNorm(width, eps=c.eps)
        self.head = FourierHead(width, window_samples=c.window_samples, hop_samples=c.encoder.hop_samples)

    def features(self, z: Tensor, condition: int) -> Tensor:
        """Input of the head, `[B, L, width]`, from latents `[B, D, L]`; `condition` is the index of the norms' scale and shift."""
        x = self.norm_in(self.prior(self.embed(z)).transpose(1, 2), condition).transpose(1, 2)
        for block in self.blocks:
            x = block(x, condition)
        return self.norm_out(x.transpose(1, 2))

    def forward(self, z: Tensor, condition: int = 0) -> Tensor:
        """Decode: `[B, D, L]` to `[B, 1, L * hop]`."""
        return self.head(self.features(z, condition))[:, None]


@dataclass(frozen=True, kw_only=True)
class DomainEncodeOptions(EncodeOptions):
    """Options of `WavTokenizer.encode` where each kind of sound has its part of the codebook.

    Attributes:
        domain: "speech", "music" or "sound", where it is known: only that part is searched. None: all of it.
    """

    domain: Literal["speech", "music", "sound"] | None = None


#: Part of the codebook of each domain, in the order of their numbers in training.
DOMAINS = {"speech": (0.0, 0.25), "music": (0.25, 0.5), "sound": (0.5, 1.0)}


class WavTokenizer(AudioTokenizer):
    """WavTokenizer; see the module's docstring. Not causal: the decoder attends to all frames."""

    family: ClassVar[str] = "wavtokenizer"
    config_class: ClassVar[type] = WavTokenizerConfig

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SEANetEncoder(config.encoder)
        start_sound(self.encoder)
        self.transformer = None if config.experts is None else expert_transformer(config.encoder.latent_dim, config.experts)
        self.masking = None if config.masking is None else SpanMask(config.encoder.latent_dim, config.masking)
        self.quantizer = config.quantizer.build(dim=config.encoder.latent_dim)
        self.decoder = WavTokenizerDecoder(config)
        self.decoder.apply(_init)
        if config.domains:
            if not isinstance(self.quantizer, SimVQ):
                raise ConfigError(f"domains are parts of the table of a simvq quantizer, not of {config.quantizer.kind!r}.")
            self.encode_options: type[EncodeOptions] = DomainEncodeOptions
        self.spec = AudioSpec.of(
            self.quantizer,
            channels=config.encoder.channels,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=config.encoder.hop_samples,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of `[B, 1, T]`."""
        z = self.encoder(x)
        return z if self.transformer is None else self.transformer(z)

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids `[B, 1, L]`: of the nearest codes, among those of the options' domain, if it names one."""
        domain = getattr(batch.options, "domain", None)
        if domain is None:
            return super().ids_of(z, batch)
        assert isinstance(self.quantizer, SimVQ)
        return Coded(self.quantizer.search_within(z, *self._parts(torch.full((len(z),), list(DOMAINS).index(domain)))))

    def _parts(self, domain: Tensor) -> tuple[Tensor, Tensor]:
        """Where the codes of domains begin and end, `[B]` each; -1 stands for the whole table.

        Raises:
            ValueError: numbers that are no domains.
        """
        domain = domain.flatten().cpu()
        if bool(((domain < -1) | (domain >= len(DOMAINS))).any()):
            raise ValueError(f"domains are {domain.tolist()}; allowed: 0 to {len(DOMAINS) - 1} for {', '.join(DOMAINS)}, -1 for any.")
        size = self.quantizer.codebook_sizes[0]
        bounds = torch.tensor([[round(part * size) for part in DOMAINS[name]] for name in DOMAINS] + [[0, size]])[domain]  # [B, 2]
        return bounds[:, 0].to(self.device), bounds[:, 1].to(self.device)

    def forward(self, x: Tensor, domain: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, C, T]` with gradients.

        `Reconstruction.features` holds, with `masking`, "frames", the encoder's `[B, D, L]`, and in training "hidden", bool `[B, L]`,
        where the transformer did not see them.

        Args:
            x: clips.
            domain: int64 `[B]`, the number of each clip's domain, whose codes alone are searched; -1, and None: all codes.

        Raises:
            ConfigError: a domain, where the codebook has no parts.
        """
        frames, features = self.encoder(x), {}
        if self.masking is not None:
            features["frames"] = frames
            if self.training:
                frames, features["hidden"] = self.masking(frames)
        z = frames if self.transformer is None else self.transformer(frames)
        if domain is None:
            quantized = self.quantizer(z)
        elif self.config.domains:
            assert isinstance(self.quantizer, SimVQ)
            quantized = self.quantizer.forward_within(z, *self._parts(domain))
        else:
            raise ConfigError("this codebook has no parts for domains: set domains to true, or give no domain.")
        x_hat = self.to_length(self.decode_latents(quantized.z_q), x.shape[-1])
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, condition: int = 0) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`; the published models are meant for `condition` 0."""
        if not 0 <= condition < max(1, self.config.conditions):
            raise ValueError(f"condition is {condition}; allowed: 0 to {max(1, self.config.conditions) - 1}.")
        return self.decoder(z_q, condition)


def _init(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv1d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            torch.nn.init.zeros_(module.bias)
