"""The lower part of WavLM (Chen et al. 2021, arXiv 2110.13900): strided convolutions and gated relative attention.

Bidirectional, or causal in chunks: then convolutions are causal, and a position attends to its whole chunk and a window
of the past (FocalCodec-Stream, Della Libera et al. 2025, arXiv 2509.16195).

Letters: B batch, D width, T samples, L frames, H heads, c frames of a chunk, k kernel, s stride.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.causal import Conv1d, State, Streaming


@dataclass(frozen=True, kw_only=True)
class WavLMConfig:
    """Settings of `WavLM`.

    Attributes:
        conv_widths, conv_kernels, conv_strides: channels, kernel sizes and strides of the convolutions from samples to frames.
        layers: number of transformer blocks.
        width: D, channels of the transformer.
        feed_forward: hidden width of its MLPs.
        heads: H, number of attention heads.
        buckets: number of distances with a separate attention bias, half of them for each direction.
        max_distance: in frames; all larger distances share the last bucket.
        position_kernel, position_groups: kernel size and groups of the convolution that computes position embeddings.
        causal: causal in chunks, see the module's docstring.
        window: number of frames that a position attends to if causal, its chunk included.
        chunk_frames: c, frames of a chunk if causal.
    """

    conv_widths: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    layers: int = 6
    width: int = 1024
    feed_forward: int = 4096
    heads: int = 16
    buckets: int = 320
    max_distance: int = 800
    position_kernel: int = 128
    position_groups: int = 16
    causal: bool = False
    window: int = 512
    chunk_frames: int = 4

    @property
    def hop(self) -> int:
        """Hop: number of samples for each frame."""
        return math.prod(self.conv_strides)

    def num_frames(self, samples: int) -> int:
        """Number of frames of a clip of `samples` samples."""
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            samples = -(-samples // stride) if self.causal else (max(samples, kernel) - kernel) // stride + 1
        return samples


class EarlyConv1d(nn.Conv1d):
    """Causal convolution whose output n depends on input n s and the k - 1 before it, `[B, C, T]` to `[B, C', ceil(T / s)]`.

    The signal is padded in front with its first value. A stream may be cut at multiples of s only.
    """

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Convolve; with `state` the piece `x` continues where the last one ended."""
        left = self.kernel_size[0] - 1
        if state is None or self not in state:
            x = F.pad(x, (left, 0), mode="replicate")
        else:
            x = torch.cat([state[self], x], dim=-1)
        if state is not None:
            state[self] = x[..., x.shape[-1] - left :]
        return super().forward(x)


class FrameConv(Streaming):
    """Strided convolution without bias, LayerNorm over channels, GELU: `[B, C, T]` to `[B, C', T / s]`."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, *, causal: bool) -> None:
        super().__init__()
        kind = EarlyConv1d if causal else nn.Conv1d
        self.conv = kind(in_channels, out_channels, kernel_size, stride, bias=False)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the layer to `[B, C, T]`."""
        if isinstance(self.conv, EarlyConv1d):
            x = self.conv(x, state)
        else:  # a clip shorter than the kernel still gives a frame
            x = self.conv(F.pad(x, (0, max(0, self.conv.kernel_size[0] - x.shape[-1]))))
        return F.gelu(self.norm(x.transpose(1, 2))).transpose(1, 2)


class RelativeAttention(nn.Module):
    """Attention whose relative bias two gates of the input scale, for each query and head (arXiv 2110.13900, 3.1)."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.keep = config.window  # more than any later position attends to
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.gate = nn.Linear(config.width // config.heads, 8)
        self.gate_scale = nn.Parameter(torch.ones(1, config.heads, 1, 1))

    def forward(self, x: Tensor, bias: Tensor, mask: Tensor | None, state: State | None = None) -> Tensor:
        """Apply the attention to `[B, L, D]`; the shape stays.

        Args:
            x: the last L of the S positions that are attended to.
            bias: `[H, L, S]`, added to the attention scores.
            mask: `[L, S]`, True where a query may attend; None: no mask.
            state: holds keys and values of the S - L positions before `x`.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2).chunk(3, dim=1)  # [B, H, L, d] each
        if state is not None:
            if self in state:
                k, v = (torch.cat(pair, dim=2) for pair in zip(state[self], (k, v), strict=True))
            state[self] = (k[:, :, -self.keep :].clone(), v[:, :, -self.keep :].clone())
        gates = self.gate(x.unflatten(-1, (self.heads, -1)).transpose(1, 2))  # [B, H, L, 8]
        a, b = gates.unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, dim=-1)
        bias = (a * (b * self.gate_scale - 1.0) + 2.0) * bias  # [B, H, L, S]
        if mask is not None:
            bias = bias.masked_fill(~mask, -torch.inf)
        y = F.scaled_dot_product_attention(q, k, v, bias)
        return self.out(y.transpose(1, 2).flatten(2))


class WavLMBlock(nn.Module):
    """Attention, then an MLP, each after a LayerNorm and added to its input; `[B, L, D]`."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = RelativeAttention(config)
        self.norm_feed_forward = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, config.width)

    def forward(self, x: Tensor, bias: Tensor, mask: Tensor | None, state: State | None = None) -> Tensor:
        """Apply the block to `[B, L, D]`; `bias`, `mask` and `state` as in `RelativeAttention`."""
        x = x + self.attention(self.norm_attention(x), bias, mask, state)
        return x + self.down(F.gelu(self.up(self.norm_feed_forward(x))))


class WavLM(Streaming):
    """Waveforms `[B, 1, T]` to features `[B, D, L]`. A causal stream is passed in pieces of whole chunks, except for the last one."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        widths = (1, *c.conv_widths)
        self.convs = nn.ModuleList(
            FrameConv(widths[i], widths[i + 1], k, s, causal=c.causal)
            for i, (k, s) in enumerate(zip(c.conv_kernels, c.conv_strides, strict=True))
        )
        self.norm = nn.LayerNorm(widths[-1])
        self.proj = nn.Linear(widths[-1], c.width)
        if c.causal:
            self.positions: nn.Module = Conv1d(
                c.width, c.width, c.position_kernel, groups=c.position_groups, causal=True, edge="replicate"
            )
        else:
            half = c.position_kernel // 2
            self.positions = nn.Conv1d(c.width, c.width, c.position_kernel, padding=half, groups=c.position_groups)
        self.distances = nn.Embedding(c.buckets, c.heads)
        self.blocks = nn.ModuleList(WavLMBlock(c) for _ in range(c.layers))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Features `[B, D, L]` of `[B, 1, T]`; with `state` (causal only) the piece `x` continues where the last one ended."""
        if state is not None and not self.config.causal:
            raise ValueError("this WavLM is not causal and cannot stream; use a config with causal = true, or encode whole clips.")
        for conv in self.convs:
            x = conv(x, state)
        x = self.proj(self.norm(x.transpose(1, 2)))  # [B, L, D]
        channels_first = x.transpose(1, 2)
        if self.config.causal:
            added = self.positions(channels_first, state)
        else:
            added = self.positions(channels_first)[..., : x.shape[1]]  # an even kernel gives one frame too many
        x = x + F.gelu(added).transpose(1, 2)
        bias, mask = self._bias(x.shape[1], state)
        for block in self.blocks:
            x = block(x, bias, mask, state)
        return x.transpose(1, 2)

    def _bias(self, length: int, state: State | None) -> tuple[Tensor, Tensor | None]:
        """Attention bias `[H, L, S]` and mask `[L, S]` of the next `length` positions."""
        c, device = self.config, self.distances.weight.device
        start = 0 if state is None else state.get(self, 0)
        stop = start + length
        if state is not None:
            state[self] = stop
        first = max(0, start - c.window) if state is not None else 0
        queries, keys = torch.arange(start, stop, device=device)[:, None], torch.arange(first, stop, device=device)
        bias = self.distances(self._bucket(keys - queries)).permute(2, 0, 1)
        if not c.causal:
            return bias, None
        ends = ((queries + c.chunk_frames) // c.chunk_frames * c.chunk_frames).clamp(max=stop)
        return bias, (keys < ends) & (keys >= (ends - c.window).clamp(min=0))

    def _bucket(self, offset: Tensor) -> Tensor:
        """Bucket of key position minus query position: exact when near, logarithmic beyond (T5, arXiv 1910.10683)."""
        half = self.config.buckets // 2
        exact = half // 2
        distance = offset.abs()
        # The same operations in the same order as the authors': a bucket's edge must not move by a rounding error.
        far = (distance.float() / exact).log() / math.log(self.config.max_distance / exact) * (half - exact) + exact
        far = far.clamp(min=0).long().clamp(max=half - 1)
        return (offset > 0).long() * half + torch.where(distance < exact, distance, far)
