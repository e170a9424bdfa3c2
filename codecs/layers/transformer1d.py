"""A transformer over frames; if causal it streams exactly, with a sliding window in memory linear in the length.

Pre-norm blocks with rotary positions (Su et al. 2021, arXiv 2104.09864) and LayerScale (Touvron et al. 2021, arXiv
2103.17239), as in Moshi's Mimi (arXiv 2410.00037), MOSS-Audio-Tokenizer and Qwen3-TTS.

Letters: B batch, D width, L positions, H heads, d width of a head, S keys.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels.stream import StepState, layers_first, rows_first
from ..precision import LSTM
from ..recomputable import Recomputable
from .causal import State, Streaming
from .window_attention import window_attention

Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]
_ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
}


class RingState(State):
    """State of a stream that keeps only the last `context` keys, the new ones included, before it computes attention.

    Differs: Mimi's and MOSS-Audio-Tokenizer's code always streams like this, through ring buffers that overwrite the oldest keys
    first; with several new positions at once, the earlier ones then attend to fewer old keys than offline. Here a stream with an
    ordinary `State` equals the whole signal; with this state it equals the authors' stream.
    """


@dataclass(frozen=True, kw_only=True)
class Transformer1dConfig:
    """Settings of `Transformer1d`.

    Attributes:
        width: D.
        layers: number of blocks.
        heads: number of query heads.
        kv_heads: number of key and value heads, each shared by a group of query heads; 0: the same as `heads`.
        head_dim: d; 0: `width / heads`.
        feed_forward: hidden width of the feed-forward network.
        gated: gated feed-forward network, `down(act(gate(x)) * up(x))`, instead of `down(act(up(x)))`.
        activation: activation of the feed-forward network.
        context: number of positions that a position attends to, itself included; None: all earlier ones.
        causal: False: every position attends to all others, and nothing streams; `context` must then be None.
        norm: "layer": LayerNorm; "rms": RMSNorm (no mean, no bias).
        norm_eps: epsilon added to the variance.
        layer_scale: initial value of the LayerScale of every branch; None: no LayerScale.
        rope_period: base b of the rotary frequencies b^(-2i/d), in radians a position; None: no rotary positions.
        rope_rounded: cosines and sines are rounded to bfloat16, as Fish Audio's code stores them.
        sin_period: the same base for sinusoidal position embeddings that are added to the input; None: none are added.
        bias: whether the linear maps of the attention have a bias.
        out_bias: whether its output map has a bias; None: as `bias`.
        recurrent: an LSTM of width D before the map to queries, keys and values (H-Codec).
        final_norm: one more norm after the last block.
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
    rope_rounded: bool = False
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
            raise ValueError(f"context is {self.context}; it must be at least 1, the position itself.")
        if not self.causal and self.context is not None:
            raise ValueError("context belongs to causal transformers; set it to null.")


class LayerScale(nn.Module):
    """A learned factor for each channel of the last axis."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `[..., D]` by the factors `[D]`."""
        return x * self.scale


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs of channels (i, i + d/2) of `[B, H, L, d]` by the angles with the cosines and sines `[L, d/2]`."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Attention1d(nn.Module):
    """Self-attention, `[B, L, D]`, causal with a sliding window; rows of `qkv`: all query heads, then keys, then values."""

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

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor] | None, state: State | None = None, keys: Tensor | None = None
    ) -> Tensor:
        """Attention over `[B, L, D]`; `angles`: cosines and sines `[L, d/2]` of these positions; `keys` as in `Transformer1d`."""
        batch, length = x.shape[:2]
        if self.lstm is not None:
            x, last = self.lstm(x, None if state is None else layers_first(state.get(self.lstm)))
            if state is not None:
                state[self.lstm] = rows_first(last)
        sizes = [self.heads, self.kv_heads, self.kv_heads]
        heads = self.qkv(x).view(batch, length, -1, self.head_dim).transpose(1, 2)  # [B, H + 2 Hkv, L, d]
        q, k, v = heads.split(sizes, dim=1)
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        if isinstance(state, StepState):
            return self._step(q, k, v, state)
        if state is not None:
            k, v = self._remember(k, v, state)
        k, v = self._for_all_heads(k, v)
        mask = None if keys is None else keys[:, None, None]
        earlier = -1 if self.context is None else self.context - 1
        y = window_attention(q, k, v, (earlier, 0)) if self.causal else F.scaled_dot_product_attention(q, k, v, mask)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))

    def _for_all_heads(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        groups = self.heads // self.kv_heads
        return (k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)) if groups > 1 else (k, v)

    def _step(self, q: Tensor, k: Tensor, v: Tensor, state: StepState) -> Tensor:
        """Attention where the state has a fixed shape: the last `context - 1` keys and values, and how many of them there are."""
        if self.context is None:
            raise ValueError("attention to all earlier positions has no state of fixed shape.")
        (batch, _, length), held = q.shape[:3], self.context - 1
        empty = k.new_zeros(batch, self.kv_heads, held, self.head_dim)
        old_k, old_v, count = state.get(self, (empty, empty, k.new_zeros(batch)))
        k, v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)  # [B, H, context - 1 + L, d]
        at = torch.arange(held + length, device=k.device)
        delta = at[held:, None] - at
        known = at >= held - count[:, None]  # [B, context - 1 + L]
        mask = (delta >= 0) & (delta <= held) & known[:, None, None]
        state[self] = (k[:, :, length:].clone(), v[:, :, length:].clone(), (count + length).clamp(max=held))
        y = F.scaled_dot_product_attention(q, *self._for_all_heads(k, v), mask)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))

    def _remember(self, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, Tensor]:
        if self in state:
            k, v = (torch.cat(pair, dim=2) for pair in zip(state[self], (k, v), strict=True))
        keep = 0  # positions that no later one attends to
        if isinstance(state, RingState) and self.context is not None:
            k, v = k[:, :, -self.context :], v[:, :, -self.context :]
        elif self.context is not None:
            keep = max(0, k.shape[2] - self.context + 1)
        state[self] = (k[:, :, keep:].clone(), v[:, :, keep:].clone())
        return k, v


class FeedForward(nn.Module):
    """`down(act(up(x)))`, or gated `down(act(gate(x)) * up(x))`, where the weight `up` has the rows of the gate first; `[..., D]`."""

    def __init__(self, config: Transformer1dConfig) -> None:
        super().__init__()
        self.gated, self.activation = config.gated, _ACTIVATIONS[config.activation]
        self.up = nn.Linear(config.width, config.feed_forward * (2 if config.gated else 1), bias=False)
        self.down = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to `[..., D]`; the shape stays."""
        y = self.up(x)
        if not self.gated:
            return self.down(self.activation(y))
        gate, value = y.chunk(2, dim=-1)
        return self.down(self.activation(gate) * value)


def _norm(config: Transformer1dConfig) -> nn.Module:
    kind = nn.LayerNorm if config.norm == "layer" else nn.RMSNorm
    return kind(config.width, eps=config.norm_eps)


class TransformerBlock1d(nn.Module, Recomputable):
    """Attention and feed-forward network, each pre-norm, with LayerScale and a residual connection; `[B, L, D]`."""

    def __init__(self, config: Transformer1dConfig) -> None:
        super().__init__()
        self.norm_attention = _norm(config)
        self.attention = Attention1d(config)
        self.norm_feed_forward = _norm(config)
        self.feed_forward = FeedForward(config)
        start = config.layer_scale
        self.scale_attention = nn.Identity() if start is None else LayerScale(config.width, start)
        self.scale_feed_forward = nn.Identity() if start is None else LayerScale(config.width, start)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor] | None, state: State | None = None, keys: Tensor | None = None
    ) -> Tensor:
        """Apply the block to `[B, L, D]`; `angles`, `keys` as in `Attention1d`; with `state`, to the next piece of a stream."""
        x = x + self.scale_attention(self.attention(self.norm_attention(x), angles, state, keys))
        return x + self.scale_feed_forward(self.feed_forward(self.norm_feed_forward(x)))


class Transformer1d(Streaming):
    """A stack of blocks over `[B, C, L]`, with linear maps to and from its width where C differs.

    Args:
        config: settings of the stack.
        in_channels, out_channels: C of the input and of the output; None: the width.
        proj_bias: whether the linear maps to and from the width have a bias.
        always_project: have these maps even where C is the width.
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

    def forward(self, x: Tensor, state: State | None = None, *, keys: Tensor | None = None) -> Tensor:
        """Apply the stack to `[B, C, L]`; with `state`, to the next piece of a stream (ValueError if not causal).

        `keys` `[B, L]` is False at positions that fill up an item at its end: if not causal, no position attends to these.
        """
        c, length = self.config, x.shape[2]
        start = 0
        if state is not None:
            if not c.causal:
                raise ValueError("only causal layers stream.")
            start = state.get(self, x.new_zeros(x.shape[0], dtype=torch.int64) if isinstance(state, StepState) else 0)
            state[self] = start + length
        x = x.transpose(1, 2)  # [B, L, C]
        x = x if self.in_proj is None else self.in_proj(x)
        if c.sin_period is not None:
            x = x + _sinusoids(start, length, c.width, c.sin_period, x)
        angles = None if c.rope_period is None else self._angles(start, length, x)
        for block in self.blocks:
            x = block(x, angles, state, keys)
        x = x if self.norm is None else self.norm(x)
        x = x if self.out_proj is None else self.out_proj(x)
        return x.transpose(1, 2)

    def _angles(self, start: int | Tensor, length: int, x: Tensor) -> tuple[Tensor, Tensor]:
        c = self.config
        assert c.rope_period is not None
        angles = rotary_angles(length, c.head_dim or c.width // c.heads, c.rope_period, x, start=start)
        return (angles[0].bfloat16().to(x.dtype), angles[1].bfloat16().to(x.dtype)) if c.rope_rounded else angles


def rotary_angles(length: int, dim: int, period: float, like: Tensor, *, start: int | Tensor = 0) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[length, dim / 2]` for `rotate` of the positions from `start` on, with dtype and device of `like`.

    Where each row has its own start `[B]`, they are `[B, 1, length, dim / 2]`.
    """
    half = dim // 2
    steps = torch.arange(half, device=like.device, dtype=torch.float32) / half
    angles = _positions(start, length, like)[..., None] * (1.0 / period**steps)
    angles = angles if isinstance(start, int) else angles[:, None]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _positions(start: int | Tensor, length: int, like: Tensor) -> Tensor:
    """The positions `[L]` from `start` on, or `[B, L]` where each row has its own start `[B]`; float32."""
    if isinstance(start, int):
        return torch.arange(start, start + length, device=like.device, dtype=torch.float32)
    return start.float()[:, None] + torch.arange(length, device=like.device, dtype=torch.float32)


def _sinusoids(start: int | Tensor, length: int, width: int, period: float, like: Tensor) -> Tensor:
    """Sinusoidal embeddings `[L, D]`, cosines first, of `length` positions from `start` on; `[B, L, D]` of starts `[B]`."""
    half = width // 2
    at = _positions(start, length, like).to(like.dtype)[..., None]
    steps = torch.arange(half, device=like.device, dtype=like.dtype)
    phase = at / (torch.full((), period, device=like.device, dtype=like.dtype) ** (steps / (half - 1)))
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def interleaved_to_halves(qkv: Tensor, *, heads: int, kv_heads: int = 0) -> Tensor:
    """Reorder query and key rows of a fused weight from rotary pairs (2i, 2i+1) to pairs (i, i + d/2).

    The attention scores do not change, since queries and keys are reordered in the same way.
    """
    kv_heads = kv_heads or heads
    dim = qkv.shape[0] // (heads + 2 * kv_heads)
    rows = qkv.unflatten(0, (heads + 2 * kv_heads, dim)).clone()
    rotary = rows[: heads + kv_heads]
    rows[: heads + kv_heads] = torch.cat([rotary[:, 0::2], rotary[:, 1::2]], dim=1)
    return rows.flatten(0, 1)
