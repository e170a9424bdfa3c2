"""Waveform decoder of LeVo's separate tokens: a flow transformer in the latent space of a 1-D VAE, and the VAE's decoder.

tencent-ailab/SongGeneration @ b1b03ec (own licence: academic use only): `model_septoken.py`, `generate_septoken.py`,
`models_gpt/models/gpt2_rope2_time_new_correct_mask_noncasual_reflow.py`. The VAE is stable-audio-tools' Oobleck
(Evans et al. 2024, arXiv 2404.10301; MIT).

    vectors of both tracks, latents known from the window before, their mask, noise -> velocity, ten Euler steps -> latents
    latents [64, L] -> transposed convolutions -> stereo at 48 kHz

Letters: B batch, L frames of a window, Z latent width, W width of the transformer, C vectors' width over all tracks.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.snake import SnakeBeta
from ...precision import KeepsDtype, widened
from ...recomputable import Recomputable

#: Noise left at time 1 (lowest deviation of the flow's path).
SIGMA_MIN = 1e-4
#: Mask values: no condition, latent known, latent to be generated.
KNOWN, WANTED = 1, 2


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Settings of `FlowDecoder`; the defaults are the published model's.

    Attributes:
        layers, heads, hidden: number of layers, of attention heads, and hidden width of the transformer's MLPs; the transformer's
            width W is the sum of its inputs' widths.
        latent_dim: Z, channels of the VAE's latents.
        mask_dim: width of the mask's embedding.
        time_dim: number of sines and cosines that encode the flow's time.
        window_frames: L, frames generated at once; longer songs are generated window by window, each overlapping the last by a quarter.
        eps: epsilon of the norms.
    """

    layers: int = 16
    heads: int = 20
    hidden: int = 4400
    latent_dim: int = 64
    mask_dim: int = 24
    time_dim: int = 512
    window_frames: int = 1000
    eps: float = 1e-5

    @property
    def overlap_frames(self) -> int:
        """Frames that a window shares with the one before."""
        return self.window_frames - self.window_frames // 4 * 3


class FlowBlock(nn.Module, Recomputable):
    """Attention over all frames and an MLP, both shifted, scaled and gated by the time."""

    def __init__(self, width: int, config: FlowConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=config.eps), nn.LayerNorm(width, eps=config.eps)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(self, x: Tensor, time: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Apply the block to `[B, L, W]`; `time` is `[B, 6, W]`, `cos`, `sin` of the rotary angles are `[L, d / 2]`."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.table + time).unsqueeze(2).unbind(1)  # each [B, 1, W]
        qkv = self.qkv(self.norm1(x) * (1 + scale1) + shift1).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, L, d]
        y = F.scaled_dot_product_attention(rotated(q, cos, sin), rotated(k, cos, sin), v)
        x = x + gate1 * self.out(y.transpose(1, 2).flatten(2))
        return x + gate2 * self.down(F.gelu(self.up(self.norm2(x) * (1 + scale2) + shift2), approximate="tanh"))


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (2 i, 2 i + 1) of `[B, H, L, d]` by the angles of `[L, d / 2]`."""
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)


class FlowDecoder(KeepsDtype):
    """Vectors of all tracks `[B, C, L]` to latents `[B, Z, L]`."""

    exact = ("mean", "deviation")
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: FlowConfig, channels: int) -> None:
        super().__init__()
        self.config = c = config
        self.width = c.mask_dim + 2 * c.latent_dim + channels
        if self.width % (2 * c.heads):
            raise ValueError(f"the inputs are {self.width} wide, which does not divide into {c.heads} heads of even width.")
        self.mask = nn.Embedding(3, c.mask_dim)
        self.positions = nn.Parameter(torch.randn(c.window_frames, self.width) * 0.02)
        self.time_in, self.time_out = nn.Linear(c.time_dim, self.width), nn.Linear(self.width, self.width)
        self.modulation = nn.Linear(self.width, 6 * self.width)
        self.blocks = nn.ModuleList(FlowBlock(self.width, c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(self.width, eps=c.eps)
        self.table = nn.Parameter(torch.randn(2, self.width) / self.width**0.5)
        self.head = nn.Linear(self.width, self.width)
        self.register_buffer("mean", torch.zeros(c.latent_dim))
        self.register_buffer("deviation", torch.ones(c.latent_dim))

    def velocity(self, fixed: Tensor, x: Tensor, t: float) -> Tensor:
        """Velocity `[B, L, Z]` of latents `[B, L, Z]` at time t in 0..1; `fixed` `[B, L, W - Z]` is mask, known latents, vectors."""
        h = torch.cat([fixed, x], dim=-1)
        h = h + self.positions[: h.shape[1]]
        half = self.config.time_dim // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half, device=x.device, dtype=torch.float32) / half)
        angles = 1000 * t * rates
        time = self.time_out(F.silu(self.time_in(torch.cat([angles.cos(), angles.sin()])[None].to(h.dtype))))  # [1, W]
        modulation = self.modulation(F.silu(time)).unflatten(-1, (6, -1))  # [1, 6, W]
        d = self.width // self.config.heads
        turns = 1.0 / 10000.0 ** (torch.arange(0, d, 2, device=x.device, dtype=torch.float32) / d)
        turns = torch.arange(h.shape[1], device=x.device)[:, None] * turns  # [L, d / 2]
        for block in self.blocks:
            h = block(h, modulation, turns.cos().to(h.dtype), turns.sin().to(h.dtype))
        shift, scale = (self.table + time[:, None]).unsqueeze(2).unbind(1)
        return self.head(self.norm(h) * (1 + scale) + shift)[..., -self.config.latent_dim :]

    def window(self, vectors: Tensor, known: Tensor, noise: Tensor, *, steps: int, guidance: float) -> Tensor:
        """Latents `[B, Z, L]` of one window.

        Args:
            vectors: quantized features of the window, `[B, C, L]`.
            known: latents of its first n frames, `[B, Z, n]`, n may be 0.
            noise: start of the flow, `[B, L, Z]`.
            steps: number of Euler steps, from noise at time 0 to latents at time 1.
            guidance: classifier-free guidance scale (unconditional: zero vectors); 1: no guidance.
        """
        n, length = known.shape[-1], vectors.shape[-1]
        start = ((known - self.mean[:, None]) / self.deviation.clamp(min=1e-12)[:, None]).transpose(1, 2)  # [B, n, Z]
        mask = torch.full((len(vectors), length), WANTED, device=vectors.device)
        mask[:, :n] = KNOWN
        left = [self.mask(mask), F.pad(start, (0, 0, 0, length - n)).to(vectors.dtype)]
        rows = vectors.transpose(1, 2)
        fixed, free = torch.cat([*left, rows], dim=-1), torch.cat([*left, torch.zeros_like(rows)], dim=-1)
        x = widened(noise).clone()  # between the network's steps all values are float32
        for i in range(steps):
            t = i / steps
            x[:, :n] = (1 - (1 - SIGMA_MIN) * t) * noise[:, :n] + t * start
            v = self.velocity(fixed, x.to(fixed.dtype), t).to(x.dtype)
            if guidance != 1:
                without = self.velocity(free, x.to(free.dtype), t).to(x.dtype)
                v = without + guidance * (v - without)
            x = x + v / steps
        x[:, :n] = start
        return (x.transpose(1, 2) * self.deviation[:, None] + self.mean[:, None]).to(vectors.dtype)

    def forward(self, vectors: Tensor, *, steps: int, guidance: float, generator: torch.Generator) -> list[Tensor]:
        """Latents `[B, Z, L]` of overlapping windows over vectors `[B, C, N]`; short inputs are repeated to fill a window."""
        c = self.config
        size, overlap = c.window_frames, c.overlap_frames
        count = max(1, -(-(vectors.shape[-1] - overlap) // (size - overlap)))
        whole = size + (count - 1) * (size - overlap)
        vectors = vectors.repeat(1, 1, -(-whole // vectors.shape[-1]))[..., :whole]
        found: list[Tensor] = []
        for i in range(count):
            part = vectors[..., i * (size - overlap) :][..., :size]
            known = found[-1][..., -overlap:] if found else part.new_zeros(len(part), c.latent_dim, 0)
            noise = torch.randn(len(part), size, c.latent_dim, generator=generator).to(part)
            found.append(self.window(part, known, noise, steps=steps, guidance=guidance))
        return found


@dataclass(frozen=True, kw_only=True)
class OobleckConfig:
    """Settings of `OobleckDecoder`; the defaults are those of the published VAE (hop 1920).

    Attributes:
        width: channels at the waveform's rate.
        multiples: channels of each level as multiples of `width`, from the waveform to the latents.
        strides: up-sampling factor of each level, from the waveform to the latents.
        channels: channels of the waveform.
    """

    width: int = 128
    multiples: tuple[int, ...] = (1, 2, 4, 8, 16)
    strides: tuple[int, ...] = (2, 4, 4, 6, 10)
    channels: int = 2

    def __post_init__(self) -> None:
        if len(self.multiples) != len(self.strides):
            raise ValueError(f"multiples {self.multiples} and strides {self.strides} must be of one length.")

    @property
    def hop_samples(self) -> int:
        """Hop: number of samples for each latent."""
        return math.prod(self.strides)


def _unit(width: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        SnakeBeta(width),
        nn.Conv1d(width, width, 7, dilation=dilation, padding=3 * dilation),
        SnakeBeta(width),
        nn.Conv1d(width, width, 1),
    )


class OobleckLevel(nn.Module):
    """Snake, transposed convolution, three residual units."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)
        self.up = nn.ConvTranspose1d(channels, width, 2 * stride, stride=stride, padding=math.ceil(stride / 2))
        self.units = nn.ModuleList(_unit(width, d) for d in (1, 3, 9))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the level: `[B, C, L]` to `[B, width, L * stride]`."""
        x = self.up(self.act(x))
        for unit in self.units:
            x = x + unit(x)
        return x


class OobleckDecoder(nn.Module):
    """Latents `[B, Z, L]` to waveforms `[B, channels, L * hop]`."""

    def __init__(self, config: OobleckConfig, latent_dim: int) -> None:
        super().__init__()
        widths = [config.width * m for m in (1, *config.multiples)]
        self.config = config
        self.stem = nn.Conv1d(latent_dim, widths[-1], 7, padding=3)
        self.levels = nn.Sequential(
            *(OobleckLevel(widths[i + 1], widths[i], config.strides[i]) for i in reversed(range(len(config.strides))))
        )
        self.act = SnakeBeta(config.width)
        self.head = nn.Conv1d(config.width, config.channels, 7, padding=3, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Decode: `[B, Z, L]` to `[B, channels, L * hop]`."""
        return self.head(self.act(self.levels(self.stem(z))))


def joined(pieces: list[Tensor], overlap: int) -> Tensor:
    """Join pieces `[B, C, T]` with a linear cross-fade of `overlap` samples from each piece to the next."""
    out = pieces[0]
    for piece in pieces[1:]:
        rise = torch.linspace(0, 1, overlap, device=out.device, dtype=out.dtype)
        middle = out[..., -overlap:] * (1 - rise) + piece[..., :overlap] * rise
        out = torch.cat([out[..., :-overlap], middle, piece[..., overlap:]], dim=-1)
    return out
