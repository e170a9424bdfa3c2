"""A transformer over frames, each of which attends to a window on both sides; memory is linear in the length.

TAAE (Parker et al. 2024, arXiv 2411.19842, section 3.1): pre-norm blocks with a large epsilon, which keeps the norms from amplifying
silence; LayerNorm over each head's queries and keys; rotary positions on half of a head's channels; gated feed-forward networks;
LayerScale. Optionally a conformer's convolution (arXiv 2005.08100) between attention and feed-forward network.

Letters: B batch, D width, L positions, H heads, d width of a head.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import SignedInt
from ...layers.transformer1d import LayerScale, rotate
from ...layers.window_attention import window_attention
from ...recomputable import Recomputable

#: Epsilon of the norms of queries and keys.
QK_EPS = 1e-6
#: Base of the rotary frequencies.
ROPE_PERIOD = 10000.0
#: Kernel size of the conformer's depthwise convolution.
CONFORMER_KERNEL = 17


@dataclass(frozen=True, kw_only=True)
class WindowTransformerConfig:
    """Settings of `WindowTransformer`.

    Attributes:
        width: D, channels of the sequence.
        layers: number of blocks.
        head_dim: d, width of an attention head, a multiple of 4; if D is smaller, there is one head of width D.
        window: positions before and after its own that a position attends to; -1: all positions.
        expansion: hidden width of the feed-forward networks divided by D.
        norm_eps: epsilon of all norms except those of queries and keys.
        layer_scale: initial value of the learned factor of every branch; None: no factors, and the branches' last layers start at
            zero.
        conformer: a conformer convolution in every block.
    """

    width: int = 1024
    layers: int = 8
    head_dim: int = 128
    window: tuple[SignedInt, SignedInt] = (63, 64)
    expansion: int = 4
    norm_eps: float = 1e-2
    layer_scale: float | None = 1e-5
    conformer: bool = False

    def __post_init__(self) -> None:
        d = min(self.head_dim, self.width)
        if self.width % d or d % 4:
            raise ValueError(f"width is {self.width} and a head {d} wide; width must be a multiple of it, and it a multiple of 4.")
        if min(self.window) < -1:
            raise ValueError(f"window is {self.window}; give numbers of positions, or -1 for all.")


def rotary_angles(length: int, rotated: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[L, rotated / 2]` of the rotary angles for L = `length` positions, on the device of `like`."""
    steps = torch.arange(0, rotated, 2, device=like.device, dtype=torch.float32) / rotated
    at = torch.arange(length, device=like.device, dtype=torch.float32)
    angles = at[:, None] * (1.0 / ROPE_PERIOD**steps)
    return angles.cos(), angles.sin()


class WindowAttention(nn.Module):
    """Windowed self-attention over `[B, L, D]`; the rows of `qkv` are all queries, then all keys, then all values."""

    def __init__(self, config: WindowTransformerConfig) -> None:
        super().__init__()
        c = config
        self.head_dim, self.window = min(c.head_dim, c.width), c.window
        self.qkv = nn.Linear(c.width, 3 * c.width, bias=False)
        self.q_norm = nn.LayerNorm(self.head_dim, eps=QK_EPS)
        self.k_norm = nn.LayerNorm(self.head_dim, eps=QK_EPS)
        self.out = nn.Linear(c.width, c.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the attention to `[B, L, D]`; the shape stays."""
        heads = self.qkv(x).unflatten(2, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4)  # [3, B, H, L, d]
        q, k, v = heads.unbind(0)
        q, k = self._rotated(self.q_norm(q)), self._rotated(self.k_norm(k))
        return self.out(window_attention(q, k, v, self.window).transpose(1, 2).flatten(2))

    def _rotated(self, x: Tensor) -> Tensor:
        """Apply rotary positions to the first half of the channels of `[B, H, L, d]`."""
        half = self.head_dim // 2
        angles = rotary_angles(x.shape[2], half, x)
        return torch.cat([rotate(x[..., :half].float(), *angles).to(x.dtype), x[..., half:]], dim=-1)


class GatedLinear(nn.Module):
    """`value * silu(gate)`, both linear maps of the input; the rows of `proj` are the values, then the gates."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * out_width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., D]` to `[..., out_width]`."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.silu(gate)


class ConformerConv(nn.Module):
    """Norm, linear map, gate, depthwise convolution, norm, SiLU, linear map; `[B, L, D]` to the same shape."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(width, eps=eps, bias=False)
        self.map_in = nn.Linear(width, width, bias=False)
        self.gated = GatedLinear(width, width)
        self.conv = nn.Conv1d(width, width, CONFORMER_KERNEL, padding=CONFORMER_KERNEL // 2, groups=width, bias=False)
        self.norm_out = nn.LayerNorm(width, eps=eps, bias=False)
        self.map_out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `[B, L, D]`; the input is not added."""
        x = self.gated(self.map_in(self.norm_in(x)))
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return self.map_out(F.silu(self.norm_out(x)))


class WindowBlock(nn.Module, Recomputable):
    """Attention, optional convolution, feed-forward network; each output is scaled and added to its input; `[B, L, D]`."""

    def __init__(self, config: WindowTransformerConfig) -> None:
        super().__init__()
        c, width = config, config.width
        self.norm_attention = nn.LayerNorm(width, eps=c.norm_eps, bias=False)
        self.attention = WindowAttention(c)
        self.conformer = ConformerConv(width, c.norm_eps) if c.conformer else None
        self.norm_feed_forward = nn.LayerNorm(width, eps=c.norm_eps, bias=False)
        self.feed_forward = nn.Sequential(GatedLinear(width, c.expansion * width), nn.Linear(c.expansion * width, width))
        if c.layer_scale is None:
            for last in (self.attention.out, self.feed_forward[1]):
                for p in last.parameters():
                    nn.init.zeros_(p)

        def scale() -> nn.Module:
            return nn.Identity() if c.layer_scale is None else LayerScale(width, c.layer_scale)

        self.scale_attention, self.scale_feed_forward = scale(), scale()
        self.scale_conformer = scale() if c.conformer else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `[B, L, D]`; the shape stays."""
        x = x + self.scale_attention(self.attention(self.norm_attention(x)))
        if self.conformer is not None and self.scale_conformer is not None:
            x = x + self.scale_conformer(self.conformer(x))
        return x + self.scale_feed_forward(self.feed_forward(self.norm_feed_forward(x)))


class WindowTransformer(nn.Module):
    """A stack of blocks over `[B, D, L]`."""

    def __init__(self, config: WindowTransformerConfig) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(WindowBlock(config) for _ in range(config.layers)))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stack: `[B, D, L]` to the same shape."""
        return self.blocks(x.transpose(1, 2)).transpose(1, 2)
