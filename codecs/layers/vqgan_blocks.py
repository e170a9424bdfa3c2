"""Blocks of the VQGAN line: residual and attention blocks, norms under a condition, resampling by two.

Origin: Esser et al. 2021, arXiv 2012.09841 (CompVis/taming-transformers, itself after DDPM's U-Net). What later systems
changed stands here as named options; who uses which is in the docstrings.

Letters: B batch, C channels, H W positions, D width of the code that conditions a norm.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6

Activation = Literal["silu", "gelu", "relu", "mish"]
NarrowGroups = Literal["none", "24", "quarter"]

_ACTIVATIONS = {"silu": F.silu, "gelu": F.gelu, "relu": F.relu, "mish": F.mish}


def activate(x: Tensor, name: Activation | Literal["none"]) -> Tensor:
    """Apply the named activation."""
    return x if name == "none" else _ACTIVATIONS[name](x)


def group_norm(channels: int, groups: int = 32, narrow: NarrowGroups = "none") -> nn.GroupNorm:
    """GroupNorm; `narrow` says what happens where `groups` does not divide C.

    "none": that is an error. "24": 24 groups (Infinity). "quarter": C // 4 groups below `groups` channels (ITER).
    """
    if narrow == "quarter" and channels < groups:
        groups = channels // 4
    elif narrow == "24" and channels % groups:
        groups = 24
    if channels % groups:
        raise ValueError(f"GroupNorm with {groups} groups cannot split {channels} channels; use multiples of {groups}.")
    return nn.GroupNorm(groups, channels, eps=EPS)


class SpatialNorm(nn.Module):
    """GroupNorm whose gain and shift are read off the code at each position (MoVQ, arXiv 2209.09002; Emu3, ILLUME+).

    Args:
        channels: C.
        code_dim: D of the code, which is resized to the features by nearest neighbour.
        groups: of the GroupNorm.
    """

    def __init__(self, channels: int, code_dim: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.gain = nn.Conv2d(code_dim, channels, 1)
        self.shift = nn.Conv2d(code_dim, channels, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """`[B, C, H, W]` under the code `[B, D, h, w]`."""
        code = F.interpolate(code, size=x.shape[-2:], mode="nearest")
        return self.norm(x) * self.gain(code) + self.shift(code)


class AdaptiveNorm(nn.Module):
    """GroupNorm without own gain; gain and shift come from the code's deviation and mean over the picture.

    Open-MAGVIT2, arXiv 2409.04410, section 3.1. The deviation is the unbiased one.
    """

    def __init__(self, channels: int, code_dim: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=EPS, affine=False)
        self.gain = nn.Linear(code_dim, channels)
        self.shift = nn.Linear(code_dim, channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """`[B, C, H, W]` under the code `[B, D, h, w]`."""
        flat = code.flatten(2)  # [B, D, h w]
        correction = min(1, flat.shape[2] - 1)  # of one position: 0, where the authors' formula gives NaN
        deviation = (flat.var(dim=2, correction=correction) + EPS).sqrt()
        gain, shift = self.gain(deviation), self.shift(flat.mean(dim=2))
        return self.norm(x) * gain[..., None, None] + shift[..., None, None]


def normalise(norm: nn.Module, x: Tensor, code: Tensor | None) -> Tensor:
    """Apply `norm`, handing `code` to those that are conditioned on one."""
    return norm(x, code) if isinstance(norm, SpatialNorm) else norm(x)


class ResBlock(nn.Module):
    """(norm, activation, 3x3 convolution) twice, and the input added; `[B, C, H, W]` to `[B, C', H, W]`.

    Args:
        in_channels, out_channels: C and C'; a 1x1 convolution brings the input to C' where they differ.
        norm1, norm2: over C and C'.
        bias: whether the convolutions have one (MaskGIT, Open-MAGVIT2: no).
        shortcut: what the 1x1 convolution acts on: the block's "input", or its "output" (MaskGIT's quirk: the input
            then plays no part in the sum).
        dropout: before the second convolution, only where gradients are recorded in train mode.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm1: nn.Module,
        norm2: nn.Module,
        *,
        bias: bool = True,
        shortcut: Literal["input", "output"] = "input",
        activation: Activation = "silu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation, self.dropout, self.on_output = activation, dropout, shortcut == "output"
        self.norm1, self.norm2 = norm1, norm2
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.shortcut = None
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(out_channels if self.on_output else in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Apply the block."""
        y = self.conv1(activate(normalise(self.norm1, x, code), self.activation))
        y = activate(normalise(self.norm2, y, code), self.activation)
        if self.dropout:  # encode runs without gradients: the ids are the same in train mode
            y = F.dropout(y, self.dropout, self.training and torch.is_grad_enabled())
        y = self.conv2(y)
        if self.shortcut is None:
            return x + y
        return y + self.shortcut(y if self.on_output else x)


class AttentionBlock(nn.Module):
    """One-headed attention over all positions, and the input added; `[B, C, H, W]`."""

    def __init__(self, channels: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Apply the block."""
        qkv = self.qkv(normalise(self.norm, x, code)).flatten(2).transpose(1, 2)  # [B, H W, 3 C]
        q, k, v = (part.unsqueeze(1) for part in qkv.chunk(3, dim=2))  # each [B, 1, H W, C]
        y = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)  # [B, C, H W]
        return x + self.out(y.reshape(x.shape))


class HeadAttentionBlock(nn.Module):
    """ITER's "mhsa": attention among the heads of each position, never between positions; `[B, C, H, W]`.

    The authors hand (batch, position, head, width) to a function that attends over the last axis but one, so that the
    heads are what is mixed. Kept, since the weights were trained so.
    """

    def __init__(self, channels: int, *, heads: int = 8, head_width: int = 64, groups: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels, groups)
        self.qkv = nn.Conv2d(channels, 3 * heads * head_width, 1)
        self.out = nn.Conv2d(heads * head_width, channels, 1)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Apply the block; `code` is not used."""
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)  # [B, H W, 3 heads width]
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).unbind(2)  # each [B, H W, heads, width]
        y = F.scaled_dot_product_attention(q, k, v).flatten(2).transpose(1, 2)
        return x + self.out(y.reshape(x.shape[0], -1, *x.shape[2:]))


class Downsample(nn.Module):
    """Halve height and width, both even; `[B, C, H, W]` to `[B, C, H / 2, W / 2]`.

    Args:
        kind: "conv": 3x3, stride 2, zeros on the right and below (taming). "conv_centred": zeros on all sides
            (Open-MAGVIT2). "average": mean of 2x2, no weights (MaskGIT).
    """

    def __init__(self, channels: int, kind: Literal["conv", "conv_centred", "average"]) -> None:
        super().__init__()
        self.kind = kind
        if kind != "average":
            self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if kind == "conv_centred" else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Halve."""
        if self.kind == "average":
            return F.avg_pool2d(x, 2)
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.kind == "conv" else x)


class Upsample(nn.Module):
    """Double height and width; `[B, C, H, W]` to `[B, C, 2 H, 2 W]`.

    Args:
        kind: "nearest_conv": repeat, then a 3x3 convolution (taming). "nearest": repeat only. "depth_to_space": a 3x3
            convolution to 4 C channels, which are laid out as (row, column, C) (Open-MAGVIT2; TensorFlow's order).
            "pixel_shuffle": the same laid out as (C, row, column) (PyTorch's order).
    """

    def __init__(
        self, channels: int, kind: Literal["nearest_conv", "nearest", "depth_to_space", "pixel_shuffle"]
    ) -> None:
        super().__init__()
        self.kind = kind
        if kind == "nearest_conv":
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        elif kind != "nearest":
            self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Double."""
        if self.kind == "nearest":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        if self.kind == "nearest_conv":
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.conv(x)
        if self.kind == "depth_to_space":
            x = x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)  # [B, C 4, H, W], C slowest
        return F.pixel_shuffle(x, 2)


class HaarPatches(nn.Module):
    """2-D Haar transform, log2 p times on all bands: `[B, C, H, W]` to `[B, C p^2, H / p, W / p]`; no weights.

    A 2x2 block (a b / c d) becomes (a+b+c+d, a+b-c-d, a-b+c-d, a-b-c+d) / 4, band by band; Cosmos-Tokenizer.
    """

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.steps = int(math.log2(patch_size))
        if 2**self.steps != patch_size:
            raise ValueError(f"patch_size is {patch_size}; Haar patches need a power of two.")

    def forward(self, x: Tensor) -> Tensor:
        """Fold."""
        for _ in range(self.steps):
            a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
            top, bottom, top_edge, bottom_edge = a + b, c + d, a - b, c - d
            bands = (top + bottom, top - bottom, top_edge + bottom_edge, top_edge - bottom_edge)
            x = torch.cat(bands, dim=1) / 4
        return x

    def inverse(self, x: Tensor) -> Tensor:
        """Unfold."""
        for _ in range(self.steps):
            mean, rows, columns, cross = x.chunk(4, dim=1)
            left_top, left_bottom = mean + rows, mean - rows
            right_top, right_bottom = columns + cross, columns - cross
            pixels = (
                left_top + right_top,
                left_top - right_top,
                left_bottom + right_bottom,
                left_bottom - right_bottom,
            )
            x = F.pixel_shuffle(torch.stack(pixels, dim=2).flatten(1, 2), 2)
        return x


class FoldPatches(nn.Module):
    """Fold p x p pixels into channels, laid out as (C, row, column), and back; no weights."""

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, C p^2, H / p, W / p]`."""
        return F.pixel_unshuffle(x, self.patch_size)

    def inverse(self, x: Tensor) -> Tensor:
        """Back again."""
        return F.pixel_shuffle(x, self.patch_size)
