"""SNAC, the Multi-Scale Neural Audio Codec: DAC's body, and residual levels of quantization at different rates.

Siuzdak et al. 2024, "SNAC: Multi-Scale Neural Audio Codec", arXiv 2410.14411. Parity was checked against
hubertsiuzdak/snac @ f49016a (MIT).

Strided convolutions encode `[B, 1, T]` to latents `[B, D, L]`. Each level of the residual quantizer averages the remaining error
over its stride, quantizes the means, and repeats their vectors; slow levels come first. The decoder adds the vectors of all
levels and returns `[B, 1, L * hop]`.

Token layout: `ids [B, K, L]` at the rate of the fastest level; level k holds one id for every `spec.strides[k]`
positions, repeated to fill them. `ids[:, k, :: strides[k]]` are the authors' codes of level k. L is a multiple of all
strides (and of the attention window): clips are padded with zeros to that many frames.

Noise: the decoder was trained with zero-mean noise added after every up-sampling. `decode` adds none, so that its output does not
vary; `decode(tokens, seed=0)` draws the noise from a seed.

Letters: B batch, T samples, D latent width, K codebooks, L positions (frames), W window, H heads, d width of a head.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch
from ...kernels.snake import Snake
from ...kernels.time_tiles import in_turn
from ...layers.causal import Chain, Conv1d
from ...layers.dac import DACDown, DACUp, dac_context_frames
from ...layers.strided import StridedConfig
from ...options import DecodeOptions, check_at_least
from ...pieces import along
from ...precision import KeepsDtype
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import AudioTokenizer, pad_to_hop, to_length
from ..start import start_sound

#: Width of an attention head, fixed in the authors' class.
HEAD_DIM = 64


@dataclass(frozen=True, kw_only=True)
class SNACConfig(StridedConfig):
    """Settings of `SNAC`; the defaults are the 24 kHz model's. What is not listed here is in `StridedConfig`.

    Attributes:
        window: frames in each window of the local attention; 0: no attention.
        depthwise: the dilated convolutions are depthwise (each channel alone).
        noise: whether the decoder has noise blocks.
        quantizer: residual, with `strides` for the rates of its levels; its `dim` is filled in.
    """

    sample_rate_hz: int = 24000
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
        super().__post_init__()
        if self.window and (self.dim % HEAD_DIM or self.decoder_width % HEAD_DIM):
            raise ValueError(
                f"with attention, the channels at frame rate must be multiples of {HEAD_DIM}: the encoder has {self.dim}, "
                f"the decoder {self.decoder_width} (decoder_width)."
            )

    @property
    def dim(self) -> int:
        """D, number of channels of the latents."""
        return self.encoder_top

    @property
    def frame_multiple(self) -> int:
        """The number of frames that L is a multiple of: whole attention windows, whole positions of the slowest level."""
        strides = getattr(self.quantizer, "strides", ()) or (1,)
        return math.lcm(*strides, self.window or 1)


class WindowAttention(KeepsDtype):
    """Self-attention inside windows of W positions, with a residual connection; rotary positions count from the window's start."""

    exact = ("frequencies",)
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
        """Apply the attention to `[B, D, L]`, L a multiple of W; the shape stays."""
        batch, dim, length = x.shape
        y = self.qkv(self.norm(x.transpose(1, 2)))  # [B, L, 3D]
        y = y.view(batch, length // self.window, self.window, 3, self.heads, HEAD_DIM)
        q, k, v = y.permute(3, 0, 1, 4, 2, 5).flatten(1, 2)  # [B L / W, H, W, d] each
        angles = torch.arange(self.window, device=x.device, dtype=torch.float32)[:, None] * self.frequencies
        angles = torch.cat([angles, angles], dim=-1)  # [W, d]
        out = F.scaled_dot_product_attention(_rotate(q, angles), _rotate(k, angles), v)
        out = out.transpose(1, 2).reshape(batch, length, dim)
        return x + self.out(out).transpose(1, 2)


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return (x * angles.cos() + torch.cat([-b, a], dim=-1) * angles.sin()).to(x.dtype)


class SNACEncoder(nn.Module):
    """Convolutional encoder: waveforms `[B, 1, T]` to latents `[B, D, T / hop]`."""

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
        """Encode: `[B, 1, T]` to `[B, D, T / hop]`."""
        return self.head(self.attention(in_turn([self.stem, *self.levels], x)))


class SNACDecoder(nn.Module):
    """Convolutional decoder: latents `[B, D, L]` to waveforms `[B, 1, L * hop]`, in -1..1."""

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
        """Decode `[B, D, L]` to `[B, 1, L * hop]`; `noise`: one `[B, 1, T]` at the rate of each level, None: no noise."""
        levels = self.levels if noise is None else [partial(level, noise=n) for level, n in zip(self.levels, noise, strict=True)]
        return in_turn([*levels, self.act, self.head, torch.tanh], self.attention(self.stem(z)))


@dataclass(frozen=True, kw_only=True)
class SNACDecodeOptions(DecodeOptions):
    """Options of `SNAC.decode` for models whose decoder has noise blocks; if neither is given, no noise is added.

    Attributes:
        seed: draw noise from this seed, 0 or more; an item's noise does not depend on the other items of the batch.
        noise: use this noise, one `[B, 1, T]` for each level of the decoder, as `draw_noise` returns it.
    """

    seed: int | None = None
    noise: tuple[Tensor, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("seed", self.seed, 0)


class SNAC(AudioTokenizer):
    """SNAC; see the module's docstring."""

    family: ClassVar[str] = "snac"
    config_class: ClassVar[type] = SNACConfig
    decode_options: type[DecodeOptions] = SNACDecodeOptions

    def __init__(self, config: SNACConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SNACEncoder(config)
        self.decoder = SNACDecoder(config)
        start_sound(self.encoder, self.decoder)
        self.quantizer = config.quantizer.build(dim=config.dim)
        reach = max(dac_context_frames(config.strides, edge=3), dac_context_frames(config.ups[::-1], edge=3))
        step = config.frame_multiple  # pieces must begin where windows do
        self.context_frames = -(-(reach + config.window) // step) * step
        self.piece_multiple = self.position_multiple = step
        self.decode_options = SNACDecodeOptions if config.noise else DecodeOptions
        self.spec = AudioSpec.of(self.quantizer, sample_rate_hz=config.sample_rate_hz, hop_samples=config.hop_samples)

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples, rounded up to a multiple of `frame_multiple`."""
        step = self.config.frame_multiple
        return -(-samples // (self.spec.hop_samples * step)) * step

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, 1, T]`."""
        return self.encoder(self.fill(x))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`; `noise` as `draw_noise` returns it, None: no noise."""
        return self.decoder(z_q, noise)

    def draw_noise(self, frames: int, *, batch: int = 1, generator: torch.Generator | None = None) -> list[Tensor]:
        """Standard normal noise for `frames` positions: one `[B, 1, T]` for each level of the decoder, in order, at its rate."""
        out, length = [], frames
        for stride in self.config.ups:
            length *= stride
            out.append(torch.randn(batch, 1, length, generator=generator).to(self.device, self.dtype))
        return out

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Waveforms `[B, 1, L * hop]` of ids `[B, K', L]`, without noise unless `seed` or `noise` is given."""
        noise = self._noise_of(batch, ids.shape[-1]) if isinstance(batch.options, SNACDecodeOptions) else None
        if noise is None:
            return super().media_of(ids, batch)
        z_q, frames = self.vectors_of(ids), ids.shape[-1]

        def cut(a: int, b: int) -> tuple[Tensor, list[Tensor]]:
            return z_q[..., a:b], [n[..., a * n.shape[-1] // frames : b * n.shape[-1] // frames] for n in noise]

        def run(part: tuple[Tensor, list[Tensor]]) -> Tensor:
            return self.decode_latents(part[0], noise=part[1])

        return torch.cat(list(along(self._plan(frames), cut, run, self.hop_out_samples)), dim=-1)

    def _noise_of(self, batch: Batch, frames: int) -> list[Tensor] | None:
        """The noise that `batch.options` specify: one `[B, 1, T]` for each level of the decoder; None: no noise."""
        o: SNACDecodeOptions = batch.options
        if o.noise is not None:
            if any(len(n) != batch.total for n in o.noise) or len(o.noise) != len(self.config.ups):
                shapes = [list(n.shape) for n in o.noise]
                raise ValueError(f"noise is {shapes}; give {len(self.config.ups)} x [{batch.total}, 1, T], as `draw_noise` does.")
            return [n[list(batch.items)].to(self.device, self.dtype) for n in o.noise]
        if o.seed is None:
            return None
        drawn = self.draw_noise(frames, generator=torch.Generator().manual_seed(o.seed))
        return [n.expand(len(batch.items), -1, -1) for n in drawn]  # one draw: no item depends on the batch

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients; in train mode with noise, in eval mode as `decode` does."""
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        noise = self.draw_noise(z.shape[-1], batch=len(x)) if self.training and self.config.noise else None
        x_hat = to_length(self.decode_latents(quantized.z_q, noise=noise), x.shape[-1])
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized)

    def fill(self, x: Tensor) -> Tensor:
        """Pad clips `[B, 1, T]` with zeros to a multiple of `frame_multiple` frames."""
        return pad_to_hop(x, self.spec.hop_samples * self.config.frame_multiple)
