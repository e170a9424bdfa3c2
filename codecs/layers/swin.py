"""Residual stacks of shifted-window attention, as used in ITER's VQGAN.

Swin (Liu et al. 2021, arXiv 2103.14030) in SwinIR's residual form (Liang et al. 2021, arXiv 2108.10257); ITER adds a
squeeze-and-excitation gain to the MLP, whose mean runs over all positions of the picture.

Letters: B batch, C channels of the picture, D width, h w grid, W window side, N windows.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ConfigError
from ..recomputable import Recomputable


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    """Settings of `SwinBlock`.

    Attributes:
        width: D.
        stacks: number of residual stacks, one after the other.
        depth: number of attention layers in a stack; every second one has shifted windows.
        window: W; height and width of the grid must be multiples of it.
        shifted: False: no windows are shifted, for windows as large as the whole training grid.
        heads: number of attention heads.
        mlp_ratio: hidden width of the MLP as a multiple of D.
    """

    width: int = 256
    stacks: int = 1
    depth: int = 6
    window: int = 8
    shifted: bool = True
    heads: int = 8
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"swin.width is {self.width}; it must be a multiple of heads ({self.heads}).")


class WindowAttention(nn.Module):
    """Attention inside windows with a learned bias for every relative offset; `[N, W^2, D]`."""

    offsets: Tensor

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.offset_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.offset_bias, std=0.02)
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        places = torch.stack([rows.flatten(), columns.flatten()])  # [2, W^2]
        difference = places[:, :, None] - places[:, None, :] + window - 1  # [2, W^2, W^2], 0..2W-2
        self.register_buffer("offsets", difference[0] * (2 * window - 1) + difference[1], persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attention in each window of `[N, W^2, D]`; `mask` `[windows of one picture, W^2, W^2]` is added to the logits."""
        n, length, _ = x.shape
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [N, heads, W^2, d]
        bias = self.offset_bias[self.offsets.flatten()].view(length, length, -1).permute(2, 0, 1)[None]
        if mask is not None:
            bias = bias + mask.repeat(n // len(mask), 1, 1)[:, None]  # [N, heads, W^2, W^2]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(n, -1, -1, -1))
        return self.out(y.transpose(1, 2).flatten(2))


class GatedMLP(nn.Module):
    """Linear, GELU, a gain for each hidden channel from its mean over the picture, linear; `[B, L, D]`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.squeeze = nn.Linear(hidden, hidden // 16)
        self.excite = nn.Linear(hidden // 16, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the MLP to `[B, L, D]`, L all positions of a picture; the shape stays."""
        x = F.gelu(self.up(x))
        gain = torch.sigmoid(self.excite(F.silu(self.squeeze(x.mean(dim=1, keepdim=True)))))
        return self.down(x * gain)


class SwinLayer(nn.Module, Recomputable):
    """Windowed attention and MLP, each pre-norm and with a residual connection; `[B, h, w, D]`."""

    def __init__(self, config: SwinConfig, *, shift: int) -> None:
        super().__init__()
        self.window, self.shift = config.window, shift
        self.norm1, self.norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.attention = WindowAttention(config.width, config.window, config.heads)
        self.mlp = GatedMLP(config.width, int(config.width * config.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to `[B, h, w, D]`, h and w multiples of the window; the shape stays."""
        _, h, w, _ = x.shape
        y, mask = self.norm1(x), None
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), dims=(1, 2))
            mask = _seams(h, w, self.window, self.shift).to(x.dtype).to(x.device, non_blocking=True)
        y = _join(self.attention(_split(y, self.window), mask), self.window, h, w)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), dims=(1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x).flatten(1, 2)).view_as(x)


class SwinBlock(nn.Module):
    """Convolution to the width D, residual stacks of layers, convolution back to C, plus the input; `[B, C, h, w]`."""

    def __init__(self, channels: int, config: SwinConfig) -> None:
        super().__init__()
        self.window = config.window
        self.conv_in = nn.Conv2d(channels, config.width, 3, padding=1)
        shifts = [config.window // 2 if i % 2 and config.shifted else 0 for i in range(config.depth)]
        self.stacks = nn.ModuleList(nn.ModuleList(SwinLayer(config, shift=s) for s in shifts) for _ in range(config.stacks))
        self.convs = nn.ModuleList(nn.Conv2d(config.width, config.width, 3, padding=1) for _ in range(config.stacks))
        self.conv_out = nn.Conv2d(config.width, channels, 3, padding=1)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Apply the block to `[B, C, h, w]`, h and w multiples of the window; `code` is not used."""
        if x.shape[2] % self.window or x.shape[3] % self.window:
            raise ValueError(f"the grid is {list(x.shape[2:])}; both sides must be multiples of the window {self.window}.")
        y = self.conv_in(x)
        for stack, conv in zip(self.stacks, self.convs, strict=True):
            assert isinstance(stack, nn.ModuleList)
            inner = y.permute(0, 2, 3, 1)  # [B, h, w, D]
            for layer in stack:
                inner = layer(inner)
            y = y + conv(inner.permute(0, 3, 1, 2))
        return x + self.conv_out(y)


def _split(x: Tensor, window: int) -> Tensor:
    """`[B, h, w, D]` to windows `[B N, W^2, D]`, row by row."""
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # [B, h / W, W, w / W, W, D]
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def _join(x: Tensor, window: int, h: int, w: int) -> Tensor:
    """Windows `[B N, W^2, D]` to `[B, h, w, D]`, the inverse of `_split`."""
    x = x.unflatten(1, (window, window)).unflatten(0, (-1, h // window, w // window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _seams(h: int, w: int, window: int, shift: int) -> Tensor:
    """Attention mask `[N, W^2, W^2]`: -100 between positions of one window that the shift brought together, else 0."""

    def parts(size: int) -> Tensor:
        index = torch.arange(size)
        return (index >= size - window).int() + (index >= size - shift).int()

    region = (parts(h)[:, None] * 3 + parts(w)[None]).float()  # [h, w]
    windows = _split(region[None, :, :, None], window)[..., 0]  # [N, W^2]
    return -100.0 * (windows[:, None, :] != windows[:, :, None]).float()
