"""SNAC, the Multi-Scale Neural Audio Codec: DAC's body, and residual levels of quantization at different rates.

Siuzdak et al. 2024, arXiv 2410.14411. Parity was checked against hubertsiuzdak/snac @ f49016a (MIT).

Token layout: `ids [B, K, L]` at the rate of the fastest level; level k holds one id for every `spec.strides[k]`
positions, repeated to fill them. `ids[:, k, :: strides[k]]` are the authors' codes of level k. L is a multiple of all
strides (and of the attention window): clips are padded with zeros to that many frames.

Noise: the decoder was trained with noise added after every up-sampling. `decode` adds none, which is the mean
of all draws before the next non-linearity; `decode(tokens, seed=0)` draws it.

Letters: B batch, T samples, D latent width, K codebooks, L positions (frames), W window, H heads, d width of a head.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.time_tiles import decoder_in_tiles, encoder_in_tiles
from ...layers.causal import Chain, Conv1d, State
from ...layers.dac import DACDown, DACUp, dac_context_frames
from ...layers.snake import Snake
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import AudioTokenizer, pad_to_hop, spans, to_length

#: Width of an attention head, fixed in the authors' class.
HEAD_DIM = 64


@dataclass(frozen=True, kw_only=True)
class SNACConfig:
    """Settings of `SNAC`; the defaults are the 24 kHz model's.

    Attributes:
        sample_rate_hz: rate of the waveform.
        strides: down-sampling of each level of the encoder, from the waveform to the frames.
        decoder_strides: up-sampling of each level of the decoder, from the frames; empty: the encoder's backwards.
        encoder_width: channels at the waveform's rate; each level doubles them; D is what comes out.
        decoder_width: channels at frame rate; each level halves them.
        window: frames that attend to each other at frame rate; 0: no attention.
        depthwise: the dilated convolutions work on each channel alone.
        noise: noise blocks in the decoder.
        quantizer: residual, with `strides` for the rates of its levels; its `dim` is filled in.
    """

    sample_rate_hz: int = 24000
    strides: tuple[int, ...] = (2, 4, 8, 8)
    decoder_strides: tuple[int, ...] = ()
    encoder_width: int = 48
    decoder_width: int = 1024
    window: int = 0
    depthwise: bool = True
    noise: bool = True
    quantizer: QuantizerConfig = ResidualVQConfig(
        num_codebooks=3,
        codebook_size=4096,
        codebook_dim=8,
        strides=(4, 2, 1),
        normalize=True,
        update="gradient",
        kmeans_init=False,
        replace_below=0.0,
    )

    def __post_init__(self) -> None:
        if math.prod(self.ups) != math.prod(self.strides):
            raise ValueError(f"decoder_strides {self.decoder_strides} and strides {self.strides} give other hops.")
        if self.decoder_width % 2 ** len(self.ups):
            raise ValueError(f"decoder_width is {self.decoder_width}; it is halved {len(self.ups)} times.")
        if self.window and (self.dim % HEAD_DIM or self.decoder_width % HEAD_DIM):
            raise ValueError(f"attention needs multiples of {HEAD_DIM} channels: {self.dim}, {self.decoder_width}.")

    @property
    def ups(self) -> tuple[int, ...]:
        """Strides of the decoder."""
        return self.decoder_strides or self.strides[::-1]

    @property
    def dim(self) -> int:
        """D."""
        return self.encoder_width * 2 ** len(self.strides)

    @property
    def frame_multiple(self) -> int:
        """L is a multiple of this."""
        strides = getattr(self.quantizer, "strides", ()) or (1,)
        return math.lcm(*strides, self.window or 1)


class WindowAttention(nn.Module):
    """Self-attention inside windows of W positions, rotary positions counted from the window's start, input added."""

    frequencies: Tensor

    def __init__(self, dim: int, window: int) -> None:
        super().__init__()
        self.window, self.heads = window, dim // HEAD_DIM
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        frequencies = 1 / 10000 ** (torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend in `[B, D, L]`, L a multiple of W."""
        batch, dim, length = x.shape
        y = self.qkv(self.norm(x.transpose(1, 2)))  # [B, L, 3D]
        y = y.view(batch, length // self.window, self.window, 3, self.heads, HEAD_DIM)
        q, k, v = y.permute(3, 0, 4, 1, 2, 5)  # [B, H, L / W, W, d] each
        angles = torch.arange(self.window, device=x.device, dtype=torch.float32)[:, None] * self.frequencies
        angles = torch.cat([angles, angles], dim=-1)  # [W, d]
        out = F.scaled_dot_product_attention(_rotate(q, angles), _rotate(k, angles), v)
        out = out.permute(0, 2, 3, 1, 4).reshape(batch, length, dim)
        return x + self.out(out).transpose(1, 2)


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return (x * angles.cos() + torch.cat([-b, a], dim=-1) * angles.sin()).to(x.dtype)


class SNACEncoder(nn.Module):
    """`[B, 1, T]` to `[B, D, T / hop]`."""

    def __init__(self, c: SNACConfig) -> None:
        super().__init__()
        width, top = c.encoder_width, c.dim
        self.stem = Conv1d(1, width, 7)
        self.levels = nn.ModuleList(
            DACDown(width * 2**i, width * 2 ** (i + 1), s, depthwise=c.depthwise) for i, s in enumerate(c.strides)
        )
        self.attention = WindowAttention(top, c.window) if c.window else nn.Identity()
        self.head = Conv1d(top, top, 7, groups=top if c.depthwise else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        return self.head(self.attention(encoder_in_tiles(self.stem, self.levels, x, None)))


class SNACDecoder(nn.Module):
    """`[B, D, L]` to `[B, 1, L * hop]`, in -1..1."""

    def __init__(self, c: SNACConfig) -> None:
        super().__init__()
        width, low = c.decoder_width, c.decoder_width // 2 ** len(c.ups)
        if c.depthwise:
            self.stem: nn.Module = Chain(Conv1d(c.dim, c.dim, 7, groups=c.dim), Conv1d(c.dim, width, 1))
        else:
            self.stem = Conv1d(c.dim, width, 7)
        self.attention = WindowAttention(width, c.window) if c.window else nn.Identity()
        self.levels = nn.ModuleList(
            DACUp(width // 2**i, width // 2 ** (i + 1), s, depthwise=c.depthwise, whole=True, noise=c.noise)
            for i, s in enumerate(c.ups)
        )
        self.act = Snake(low)
        self.head = Conv1d(low, 1, 7)

    def forward(self, z: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Decode, with `noise` of one `[B, 1, T]` for each level's noise block."""
        return decoder_in_tiles(self.levels, self._last, self.attention(self.stem(z)), None, noise)

    def _last(self, x: Tensor, state: State | None) -> Tensor:
        return torch.tanh(self.head(self.act(x), state))


class SNAC(AudioTokenizer):
    """SNAC; see the module's docstring."""

    family: ClassVar[str] = "snac"
    config_class: ClassVar[type] = SNACConfig

    def __init__(self, config: SNACConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SNACEncoder(config)
        self.decoder = SNACDecoder(config)
        self.quantizer = config.quantizer.build(dim=config.dim)
        reach = max(dac_context_frames(config.strides, edge=3), dac_context_frames(config.ups[::-1], edge=3))
        step = config.frame_multiple  # pieces must begin where windows do
        self.context_frames = -(-(reach + config.window) // step) * step
        self.spec = AudioSpec(
            vocab_sizes=self.quantizer.codebook_sizes,
            prefix=("codebooks",) if self.quantizer.prefix_decodable else (),
            channels=1,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=math.prod(config.strides),
            strides=tuple(getattr(config.quantizer, "strides", ())),
        )

    @property
    def piece_frames(self) -> int:
        """Pieces of long audio begin where windows do."""
        return -(-self.chunk_frames // self.config.frame_multiple) * self.config.frame_multiple

    def num_frames(self, samples: int) -> int:
        """L of a clip of `samples`: whole windows, whole positions of the slowest level."""
        step = self.config.frame_multiple
        return -(-samples // (self.spec.hop_samples * step)) * step

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of `[B, 1, T]`."""
        return self.encoder(self._padded(x))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`; `noise` as `draw_noise` gives it."""
        return self.decoder(z_q, noise)

    def draw_noise(self, frames: int, *, batch: int = 1, generator: torch.Generator | None = None) -> list[Tensor]:
        """Standard normal noise for `frames` positions: one `[B, 1, T]` for each level of the decoder, in its order."""
        out, length = [], frames
        for stride in self.config.ups:
            length *= stride
            out.append(torch.randn(batch, 1, length, generator=generator).to(self.device, self.dtype))
        return out

    @torch.no_grad()
    def decode(
        self, tokens: Tokens, *, original: bool = True, seed: int | None = None, noise: Sequence[Tensor] | None = None
    ) -> Tensor | list[Tensor]:
        """As `AudioTokenizer.decode`, without noise unless one of these is given.

        Args:
            tokens, original: see there.
            seed: draw noise; every item gets the same as it would alone.
            noise: this noise, as `draw_noise` gives it for all items and positions.
        """
        if (seed is None and noise is None) or not self.config.noise:
            return super().decode(tokens, original=original)
        self.check_tokens(tokens)
        outs = []
        for i, item in enumerate(tokens):
            z_q = self.quantizer.decode(item.ids.to(self.device)).to(self.dtype)
            if noise is None:
                drawn = self.draw_noise(z_q.shape[-1], generator=torch.Generator().manual_seed(seed or 0))
            else:
                drawn = [n[i : i + 1].to(self.device, self.dtype) for n in noise]
            outs.append(self._fit(self._noisy(z_q, drawn)[0], item, original))
        return torch.stack(outs) if len({o.shape for o in outs}) == 1 else outs

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients; in train mode with noise, in eval mode as `decode` does."""
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        noise = self.draw_noise(z.shape[-1], batch=len(x)) if self.training and self.config.noise else None
        x_hat = to_length(self.decode_latents(quantized.z_q, noise=noise), x.shape[-1])
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized)

    def _padded(self, x: Tensor) -> Tensor:
        return pad_to_hop(x, self.spec.hop_samples * self.config.frame_multiple)

    def _latents(self, x: Tensor) -> Iterator[Tensor]:
        return super()._latents(self._padded(x))

    def _noisy(self, z_q: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """`decode_latents` with noise, in the same pieces as without."""
        frames, context, hop = z_q.shape[-1], self.context_frames or 0, self.spec.hop_samples
        if frames <= self.piece_frames + 2 * context:
            return self.decode_latents(z_q, noise=noise)
        out = []
        for start, stop, left, right in spans(frames, self.piece_frames, context):
            part = [n[..., left * n.shape[-1] // frames : right * n.shape[-1] // frames] for n in noise]
            y = self.decode_latents(z_q[..., left:right], noise=part)
            out.append(y[..., (start - left) * hop : (stop - left) * hop])
        return torch.cat(out, dim=-1)
