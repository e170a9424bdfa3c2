"""MagiCodec: 16 kHz speech in one codebook of 131072 entries at 50 Hz (850 bit/s); transformers over plain patches of samples.

Song et al. 2025, "MagiCodec: Simple Masked Gaussian-Injected Codec for High-Fidelity Reconstruction and Generation", arXiv
2506.00385. Read from Ereboas/MagiCodec @ 5bd431a (MIT).

A clip `[B, 1, T]` is cut into patches of `hop` samples; two linear maps and a transformer give latents `[B, D, L]` of 16 channels. The
codes are a table that one linear map transforms (SimVQ); the nearest one's number is the id, `[B, 1, L]`. The decoder mirrors the
encoder and returns `[B, 1, L * hop]`. A position of the encoder attends to 32 earlier ones, and a position of the decoder to two later
ones as well. The look-ahead of the decoder's layers adds up: with 8 layers a sample depends on ids up to 16 positions later.

Differs: ids are those of float32. The authors' `infer` runs in bfloat16, the distances to the codes included, and their `infer_nobf16`
still rounds inside of the transformers; both give other ids at close codes.
Differs in training: the table keeps its first values and only its map learns, by squared distances (authors: both learn, by absolute
ones). They published no training code; the paper's Gaussian noise in place of masked frames is not part of this model.

Letters: B batch, T samples, L positions, D latent width, W width, d width of a head.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.rotary_vit import RotaryBlock
from ...layers.transformer1d import rotary_angles
from ...quantizers.base import QuantizerConfig
from ...quantizers.simvq import SimVQConfig
from ...spec import AudioSpec
from ..base import AudioTokenizer, pad_to_hop
from ..start import LEVEL


@dataclass(frozen=True, kw_only=True)
class MagiCodecConfig:
    """Settings of `MagiCodec`; the defaults are those of the published 50 Hz model.

    Attributes:
        sample_rate_hz: rate of the waveform.
        hop_samples: samples of a patch, from one position to the next.
        width: W, of both transformers.
        inner: width between the two linear maps at the waveform's ends.
        layers, heads: of each transformer.
        feed_forward: hidden width of its gated feed-forward networks.
        encoder_window, decoder_window: positions before and behind it that a position attends to.
        latent_dim: D.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    sample_rate_hz: int = 16000
    hop_samples: int = 320
    width: int = 1024
    inner: int = 768
    layers: int = 8
    heads: int = 16
    feed_forward: int = 2816
    encoder_window: tuple[int, int] = (32, 0)
    decoder_window: tuple[int, int] = (32, 2)
    latent_dim: int = 16
    quantizer: QuantizerConfig = SimVQConfig(codebook_size=131072, bias=True)

    def __post_init__(self) -> None:
        if self.hop_samples < 1:
            raise ConfigError(f"hop_samples is {self.hop_samples}; it must be at least 1.")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ConfigError(f"width is {self.width}; it must divide into {self.heads} heads, an even number of channels each.")
        for name in ("encoder_window", "decoder_window"):
            if min(getattr(self, name)) < 0:
                raise ConfigError(f"{name} is {list(getattr(self, name))}; its two numbers of positions are at least 0.")


class WindowStack(nn.Module):
    """The blocks of one side over `[B, L, W]`, and a norm behind them."""

    def __init__(self, config: MagiCodecConfig, window: tuple[int, int]) -> None:
        super().__init__()
        c = config
        self.head_dim = c.width // c.heads
        self.blocks = nn.ModuleList(
            RotaryBlock(c.width, c.heads, hidden=c.feed_forward, rotation="pairs", qk_norm=True, qk_eps=1e-8, window=window)
            for _ in range(c.layers)
        )
        self.norm = nn.RMSNorm(c.width, eps=1e-6)
        for name, module in self.named_modules():  # as the authors start it
            if isinstance(module, nn.Linear):
                branch_end = name.endswith((".out", ".down"))
                nn.init.normal_(module.weight, std=0.02 / math.sqrt(2 * c.layers) if branch_end else 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stack to `[B, L, W]`."""
        cos, sin = (a.repeat_interleave(2, dim=-1) for a in rotary_angles(x.shape[1], self.head_dim, 10000.0, x))
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)


class PatchEncoder(nn.Module):
    """Patches of samples `[B, L, hop]` to latents `[B, L, D]`."""

    def __init__(self, config: MagiCodecConfig) -> None:
        super().__init__()
        c = config
        self.patch = nn.Linear(c.hop_samples, c.inner, bias=False)
        self.widen = nn.Linear(c.inner, c.width)
        self.transformer = WindowStack(c, c.encoder_window)
        self.out = nn.Linear(c.width, c.latent_dim)
        _start(self.patch, self.widen, self.out)
        with torch.no_grad():
            self.patch.weight.div_(LEVEL)

    def forward(self, x: Tensor) -> Tensor:
        """Encode `[B, L, hop]` to `[B, L, D]`."""
        return self.out(self.transformer(self.widen(self.patch(x))))


class PatchDecoder(nn.Module):
    """Latents `[B, L, D]` to patches of samples `[B, L, hop]`."""

    def __init__(self, config: MagiCodecConfig) -> None:
        super().__init__()
        c = config
        self.widen = nn.Linear(c.latent_dim, c.width)
        self.transformer = WindowStack(c, c.decoder_window)
        self.narrow = nn.Linear(c.width, c.inner)
        self.patch = nn.Linear(c.inner, c.hop_samples, bias=False)
        _start(self.widen, self.narrow, self.patch)
        with torch.no_grad():
            self.patch.weight.mul_(LEVEL)

    def forward(self, z: Tensor) -> Tensor:
        """Decode `[B, L, D]` to `[B, L, hop]`."""
        return self.patch(self.narrow(self.transformer(self.widen(z))))


@torch.no_grad()
def _start(*layers: nn.Linear) -> None:
    """Linear maps that pass on as much as they get. Differs: the authors' are torch's own, whose biases outweigh quiet recordings."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class MagiCodec(AudioTokenizer):
    """MagiCodec; see the module's docstring. Not causal: the decoder looks ahead."""

    family: ClassVar[str] = "magicodec"
    config_class: ClassVar[type] = MagiCodecConfig

    def __init__(self, config: MagiCodecConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = PatchEncoder(c)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.decoder = PatchDecoder(c)
        self.encoder_context_frames = c.layers * max(c.encoder_window)
        self.context_frames = c.layers * max(*c.encoder_window, *c.decoder_window)
        self.spec = AudioSpec.of(self.quantizer, sample_rate_hz=c.sample_rate_hz, hop_samples=c.hop_samples)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of `[B, 1, T]`."""
        patches = pad_to_hop(x, self.spec.hop_samples).unflatten(-1, (-1, self.spec.hop_samples))  # [B, 1, L, hop]
        return self.encoder(patches[:, 0]).transpose(1, 2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`."""
        return self.decoder(z_q.transpose(1, 2)).flatten(1)[:, None]
