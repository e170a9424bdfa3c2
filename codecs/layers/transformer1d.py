"""A transformer over frames; causal with a sliding window it streams exactly, in memory linear in the length.

Pre-norm blocks with rotary positions (Su et al. 2021, arXiv 2104.09864) and LayerScale (Touvron et al. 2021, arXiv
2103.17239), as in Moshi's Mimi (arXiv 2410.00037), MOSS-Audio-Tokenizer and Qwen3-TTS.

Letters: B batch, D width, L positions, H heads, d width of a head, S keys.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import LSTM
from .causal import State, Streaming

#: Queries that look at the keys at once: bounds the memory of long inputs.
QUERY_BLOCK = 512

Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]
_ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
}


class RingState(State):
    """A stream's state whose attention keeps `context` keys in all, the new ones included, before it looks.

    The authors of Mimi and of MOSS-Audio-Tokenizer stream through ring buffers that overwrite the oldest keys first, so
    that with several new positions at once the earlier ones see fewer old keys than offline. With an ordinary
    `State` a stream equals the whole; with this one it equals theirs.
    """


@dataclass(frozen=True, kw_only=True)
class Transformer1dConfig:
    """Settings of `Transformer1d`.

    Attributes:
        width: D.
        layers: blocks.
        heads: query heads.
        kv_heads: key and value heads, which groups of query heads share; 0: as many as `heads`.
        head_dim: d; 0: `width / heads`.
        feed_forward: hidden width of the two-layer network.
        gated: three matrices, `down(act(gate(x)) * up(x))`, instead of two.
        activation: of that network.
        context: positions that a position sees, itself included; None: all earlier ones.
        causal: False: every position sees all others, and nothing streams; `context` is then None.
        norm: LayerNorm, or RMSNorm (no mean, no bias).
        norm_eps: added to the variance.
        layer_scale: start value of the learned factor of every branch; None: no factors.
        rope_period: longest period of the rotary angles; None: no rotary positions.
        sin_period: longest period of sinusoids added to the input; None: none are added.
        bias: whether the attention's linear maps have one.
        out_bias: whether its last one has; None: as `bias`.
        recurrent: an LSTM as wide as the input stands before queries, keys and values (H-Codec).
        final_norm: one more norm at the end.
    """

    width: int = 512
    layers: int = 8
    heads: int = 8
    kv_heads: int = 0
    head_dim: int = 0
    feed_forward: int = 2048
    gated: bool = False
    activation: Activation = "gelu"
    context: int | None = 250
    causal: bool = True
    norm: Literal["layer", "rms"] = "layer"
    norm_eps: float = 1e-5
    layer_scale: float | None = 0.01
    rope_period: float | None = 10000.0
    sin_period: float | None = None
    bias: bool = False
    out_bias: bool | None = None
    recurrent: bool = False
    final_norm: bool = False

    def __post_init__(self) -> None:
        if not self.head_dim and self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads}), or set head_dim.")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads}).")
        if self.context is not None and self.context < 1:
            raise ValueError(f"context is {self.context}; a position sees at least itself.")
        if not self.causal and self.context is not None:
            raise ValueError("context belongs to causal transformers; set it to null.")


class LayerScale(nn.Module):
    """A learned factor for each channel of the last axis."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return x * self.scale


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + d/2) of `[B, H, L, d]` by the angles of `[L, d/2]`."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, context: int | None) -> Tensor:
    """Causal attention of queries `[B, H, L, d]`, the last L of the S positions of keys and values `[B, H, S, d]`."""
    length, keys = q.shape[2], k.shape[2]
    out = []
    for start in range(0, length, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, length)
        last = keys - length + stop
        first = 0 if context is None else max(0, keys - length + start - context + 1)
        at = torch.arange(keys - length + start, last, device=q.device)[:, None]
        delta = at - torch.arange(first, last, device=q.device)
        mask = delta >= 0 if context is None else (delta >= 0) & (delta < context)
        out.append(F.scaled_dot_product_attention(q[:, :, start:stop], k[:, :, first:last], v[:, :, first:last], mask))
    return torch.cat(out, dim=2) if len(out) > 1 else out[0]


class Attention1d(nn.Module):
    """Sliding-window self-attention; rows of `qkv` hold all query heads, then all keys, then all values."""

    def __init__(self, config: Transformer1dConfig) -> None:
        super().__init__()
        c = config
        self.heads, self.kv_heads = c.heads, c.kv_heads or c.heads
        self.head_dim = c.head_dim or c.width // c.heads
        self.context, self.causal = c.context, c.causal
        self.qkv = nn.Linear(c.width, (self.heads + 2 * self.kv_heads) * self.head_dim, bias=c.bias)
        out_bias = c.bias if c.out_bias is None else c.out_bias
        self.out = nn.Linear(self.heads * self.head_dim, c.width, bias=out_bias)
        self.lstm = LSTM(c.width, c.width, batch_first=True) if c.recurrent else None

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None, state: State | None = None) -> Tensor:
        """`[B, L, D]` to the same; `angles` are the cosines and sines `[L, d/2]` of these positions."""
        batch, length = x.shape[:2]
        if self.lstm is not None:
            x, last = self.lstm(x, None if state is None else state.get(self.lstm))
            if state is not None:
                state[self.lstm] = last
        sizes = [self.heads, self.kv_heads, self.kv_heads]
        heads = self.qkv(x).view(batch, length, -1, self.head_dim).transpose(1, 2)  # [B, H + 2 Hkv, L, d]
        q, k, v = heads.split(sizes, dim=1)
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        if state is not None:
            k, v = self._remember(k, v, state)
        groups = self.heads // self.kv_heads
        if groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        y = attend(q, k, v, self.context) if self.causal else F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))

    def _remember(self, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, Tensor]:
        if self in state:
            k, v = (torch.cat(pair, dim=2) for pair in zip(state[self], (k, v), strict=True))
        if self.context is None:
            state[self] = torch.stack([k, v])
        elif isinstance(state, RingState):
            k, v = k[:, :, -self.context :], v[:, :, -self.context :]
            state[self] = torch.stack([k, v])
        else:
            keep = max(0, k.shape[2] - self.context + 1)  # what the next position still sees
            state[self] = torch.stack([k[:, :, keep:], v[:, :, keep:]])
        return k, v


class FeedForward(nn.Module):
    """`down(act(up(x)))`, or with a gate `down(act(gate(x)) * up(x))`, where `up` holds the rows of both."""

    def __init__(self, config: Transformer1dConfig) -> None:
        super().__init__()
        self.gated, self.activation = config.gated, _ACTIVATIONS[config.activation]
        self.up = nn.Linear(config.width, config.feed_forward * (2 if config.gated else 1), bias=False)
        self.down = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `[..., D]`."""
        y = self.up(x)
        if not self.gated:
            return self.down(self.activation(y))
        gate, value = y.chunk(2, dim=-1)
        return self.down(self.activation(gate) * value)


def _norm(config: Transformer1dConfig) -> nn.Module:
    kind = nn.LayerNorm if config.norm == "layer" else nn.RMSNorm
    return kind(config.width, eps=config.norm_eps)


class TransformerBlock1d(nn.Module):
    """Attention and feed-forward network, each normed before, scaled after, and added."""

    def __init__(self, config: Transformer1dConfig) -> None:
        super().__init__()
        self.norm_attention = _norm(config)
        self.attention = Attention1d(config)
        self.norm_feed_forward = _norm(config)
        self.feed_forward = FeedForward(config)
        start = config.layer_scale
        self.scale_attention = nn.Identity() if start is None else LayerScale(config.width, start)
        self.scale_feed_forward = nn.Identity() if start is None else LayerScale(config.width, start)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None, state: State | None = None) -> Tensor:
        """`[B, L, D]` to the same."""
        x = x + self.scale_attention(self.attention(self.norm_attention(x), angles, state))
        return x + self.scale_feed_forward(self.feed_forward(self.norm_feed_forward(x)))


class Transformer1d(Streaming):
    """A stack of blocks over `[B, C, L]`, with linear maps to and from its width where C differs.

    Args:
        config: the stack.
        in_channels, out_channels: C before and after; None: the width.
        proj_bias: whether the linear maps have a bias.
    """

    def __init__(
        self,
        config: Transformer1dConfig,
        *,
        in_channels: int | None = None,
        out_channels: int | None = None,
        proj_bias: bool = False,
        always_project: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        in_channels, out_channels = in_channels or config.width, out_channels or config.width
        self.in_proj = self.out_proj = None
        if always_project or in_channels != config.width:
            self.in_proj = nn.Linear(in_channels, config.width, bias=proj_bias)
        self.blocks = nn.ModuleList(TransformerBlock1d(config) for _ in range(config.layers))
        self.norm = _norm(config) if config.final_norm else None
        if always_project or out_channels != config.width:
            self.out_proj = nn.Linear(config.width, out_channels, bias=proj_bias)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the stack; with `state` the piece `x` continues where the last one ended."""
        c, length = self.config, x.shape[2]
        start = 0
        if state is not None:
            if not c.causal:
                raise ValueError("only causal layers stream.")
            start = state.get(self, 0)
            state[self] = start + length
        x = x.transpose(1, 2)  # [B, L, C]
        x = x if self.in_proj is None else self.in_proj(x)
        if c.sin_period is not None:
            x = x + _sinusoids(start, length, c.width, c.sin_period, x)
        angles = None if c.rope_period is None else self._angles(start, length, x)
        for block in self.blocks:
            x = block(x, angles, state)
        x = x if self.norm is None else self.norm(x)
        x = x if self.out_proj is None else self.out_proj(x)
        return x.transpose(1, 2)

    def _angles(self, start: int, length: int, x: Tensor) -> tuple[Tensor, Tensor]:
        c = self.config
        half = (c.head_dim or c.width // c.heads) // 2
        steps = torch.arange(half, device=x.device, dtype=torch.float32) / half
        at = torch.arange(start, start + length, device=x.device, dtype=torch.float32)
        angles = at[:, None] * (1.0 / c.rope_period**steps)  # type: ignore[operator]
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


def _sinusoids(start: int, length: int, width: int, period: float, like: Tensor) -> Tensor:
    """Cosines, then sines, `[L, D]`, of the positions from `start` on."""
    half = width // 2
    at = torch.arange(start, start + length, device=like.device, dtype=like.dtype)[:, None]
    steps = torch.arange(half, device=like.device, dtype=like.dtype)
    phase = at / (torch.full((), period, device=like.device, dtype=like.dtype) ** (steps / (half - 1)))
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def interleaved_to_halves(qkv: Tensor, *, heads: int, kv_heads: int = 0) -> Tensor:
    """Reorder query and key rows of a fused weight from rotary pairs (2i, 2i+1) to pairs (i, i + d/2).

    The scores do not change: both sides are reordered alike.
    """
    kv_heads = kv_heads or heads
    dim = qkv.shape[0] // (heads + 2 * kv_heads)
    rows = qkv.unflatten(0, (heads + 2 * kv_heads, dim)).clone()
    turned = rows[: heads + kv_heads]
    rows[: heads + kv_heads] = torch.cat([turned[:, 0::2], turned[:, 1::2]], dim=1)
    return rows.flatten(0, 1)
