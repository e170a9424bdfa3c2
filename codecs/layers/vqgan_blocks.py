"""Blocks of the VQGAN line: residual and attention blocks, norms under a condition, resampling by two.

Origin: Esser et al. 2021, arXiv 2012.09841 (CompVis/taming-transformers, itself after DDPM's U-Net). What later systems
changed stands here as named options; who uses which is in the docstrings.

Letters: B batch, C channels, H W positions, D width of the code that conditions a norm.
"""

import math
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels.conv2d import Conv2d
from ..kernels.norm import GroupNorm, lean
from ..kernels.winograd import convolve3x3

EPS = 1e-6

Activation = Literal["silu", "gelu", "relu", "mish"]
NarrowGroups = Literal["none", "24", "quarter"]

_ACTIVATIONS = {"silu": F.silu, "gelu": F.gelu, "relu": F.relu, "mish": F.mish}


def activate(x: Tensor, name: Activation | Literal["none"], *, own: bool = False) -> Tensor:
    """Apply the named activation; with `own`, `x` is nobody else's and may be overwritten."""
    if name == "silu" and own and lean(x):
        return F.silu(x, inplace=True)
    return x if name == "none" else _ACTIVATIONS[name](x)


def group_norm(channels: int, groups: int = 32, narrow: NarrowGroups = "none") -> GroupNorm:
    """GroupNorm; `narrow` says what happens where `groups` does not divide C.

    "none": that is an error. "24": 24 groups (Infinity). "quarter": C // 4 groups below `groups` channels (ITER).
    """
    if narrow == "quarter" and channels < groups:
        groups = channels // 4
    elif narrow == "24" and channels % groups:
        groups = 24
    if channels % groups:
        raise ValueError(f"GroupNorm with {groups} groups cannot split {channels} channels; use multiples of {groups}.")
    return GroupNorm(groups, channels, eps=EPS)


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
        gain, shift = (F.interpolate(map(code), size=x.shape[-2:], mode="nearest") for map in (self.gain, self.shift))
        return self.norm(x) * gain + shift  # a 1x1 convolution before the resize gives what one behind it gives


class AdaptiveNorm(nn.Module):
    """GroupNorm without own gain; gain and shift come from the code's deviation and mean over the picture.

    Open-MAGVIT2, arXiv 2409.04410, section 3.1. The deviation is the unbiased one.
    """

    def __init__(self, channels: int, code_dim: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=EPS, affine=False)
        self.gain = nn.Linear(code_dim, channels)
        self.shift = nn.Linear(code_dim, channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """`[B, C, H, W]` under the code `[B, D, h, w]`."""
        flat = code.flatten(2)  # [B, D, h w]
        correction = min(1, flat.shape[2] - 1)  # of one position: 0, where the authors' formula gives NaN
        deviation = (flat.var(dim=2, correction=correction) + EPS).sqrt()
        gain, shift = self.gain(deviation), self.shift(flat.mean(dim=2))
        return self.norm(x) * gain[..., None, None] + shift[..., None, None]


def normalise(norm: nn.Module, x: Tensor, code: Tensor | None, *, own: bool = False) -> Tensor:
    """Apply `norm`, handing `code` to those that are conditioned on one; with `own`, `x` may be overwritten."""
    if isinstance(norm, SpatialNorm):
        return norm(x, code)
    return norm(x, own=own) if isinstance(norm, GroupNorm) else norm(x)


def norm_conv(
    norm: nn.Module,
    activation: Activation | Literal["none"],
    conv: nn.Conv2d,
    x: Tensor,
    code: Tensor | None = None,
    *,
    add: Tensor | None = None,
    dropout: float = 0.0,
    own: bool = False,
    over: bool = False,
) -> Tensor:
    """`conv(dropout(activation(norm(x)))) + add`: half a residual block, in as few buffers as may be.

    Args:
        norm, activation, conv: the layers.
        x: `[B, C, H, W]`.
        code: that conditions the norm.
        add: `[B, C', H, W]`; None: nothing.
        dropout: its rate, applied only where gradients are recorded.
        own: `x` is nobody else's and may be overwritten.
        over: `add` is nobody else's and may be overwritten.
    """
    if isinstance(norm, GroupNorm) and isinstance(conv, Conv2d) and conv.quick(x):
        pointwise = partial(activate, name=activation, own=True)
        return convolve3x3(x, conv.weight, conv.bias, norm=norm.gain_shift(x), activation=pointwise, add=add, over=over)
    y = activate(normalise(norm, x, code, own=own), activation, own=True)
    if dropout and torch.is_grad_enabled():
        y = F.dropout(y, dropout)
    y = conv(y)
    if add is None:
        return y
    return y.add_(add) if lean(y) else add + y


class ResBlock(nn.Module):
    """(norm, activation, 3x3 convolution) twice, and the input added; `[B, C, H, W]` to `[B, C', H, W]`.

    Args:
        in_channels, out_channels: C and C'; a 1x1 convolution brings the input to C' where they differ.
        norm1, norm2: over C and C'.
        bias: whether the convolutions have one (MaskGIT, Open-MAGVIT2: no).
        shortcut: what the 1x1 convolution acts on: the block's "input", or its "output" (MaskGIT's quirk: the input
            then plays no part in the sum).
        dropout: before the second convolution, only where gradients are recorded in train mode.
        first_kernel: side of the first convolution.
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
        first_kernel: Literal[1, 3] = 3,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.dropout, self.on_output = dropout, shortcut == "output"
        self.norm1, self.norm2 = norm1, norm2
        self.conv1 = Conv2d(in_channels, out_channels, first_kernel, padding=first_kernel // 2, bias=bias)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.shortcut = None
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(out_channels if self.on_output else in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor, code: Tensor | None = None, *, own: bool = False) -> Tensor:
        """Apply the block; with `own`, `x` is nobody else's and may be overwritten."""
        y = norm_conv(self.norm1, self.activation, self.conv1, x, code)
        dropout = self.dropout if self.training else 0.0  # encode runs without gradients: the same ids in train mode
        if self.shortcut is not None and self.on_output:
            y = norm_conv(self.norm2, self.activation, self.conv2, y, code, dropout=dropout, own=True)
            return y + self.shortcut(y)
        if self.shortcut is not None:
            x, own = self.shortcut(x), True
        return norm_conv(self.norm2, self.activation, self.conv2, y, code, add=x, dropout=dropout, own=True, over=own)


class AttentionBlock(nn.Module):
    """Attention over all positions, and the input added; `[B, C, H, W]`. The line's own has one head."""

    def __init__(self, channels: int, norm: nn.Module, *, heads: int = 1) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not split into {heads} attention heads.")
        self.norm, self.heads = norm, heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Apply the block."""
        qkv = self.qkv(normalise(self.norm, x, code)).flatten(2).transpose(1, 2)  # [B, H W, 3 C]
        qkv = qkv.contiguous()  # otherwise all H W x H W weights are held
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=2))  # [B, heads, H W, C / heads]
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).transpose(1, 2)  # [B, C, H W]
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
            (Open-MAGVIT2). "average": mean of 2x2, no weights (MaskGIT). "residual": that mean, plus a 3x3 convolution
            to C / 4 channels whose 2x2 positions become channels (DC-AE, arXiv 2410.10733; ILLUME+).
    """

    def __init__(self, channels: int, kind: Literal["conv", "conv_centred", "average", "residual"]) -> None:
        super().__init__()
        self.kind = kind
        if kind == "residual":
            self.conv = Conv2d(channels, channels // 4, 3, padding=1)
        elif kind != "average":
            self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if kind == "conv_centred" else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Halve."""
        if self.kind == "average":
            return F.avg_pool2d(x, 2)
        if self.kind == "residual":
            return F.pixel_unshuffle(self.conv(x), 2) + F.avg_pool2d(x, 2)
        return halve_conv(x, self.conv) if self.kind == "conv" else self.conv(x)


def halve_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """`conv`, 3x3 of stride 2, over `x [B, C, H, W]` with a row and a column of zeros behind it, `[B, C', H / 2, W / 2]`.

    Only the last outputs see the zeros, so that on a CPU no copy of the picture is made for them.
    """
    height, width = x.shape[-2:]
    if not lean(x) or height % 2 or width % 2 or min(height, width) < 4:
        return conv(F.pad(x, (0, 1, 0, 1)))
    shape = (len(x), conv.out_channels, height // 2, width // 2)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    y[..., :-1, :-1] = conv(x)
    y[..., -1:, :] = conv(F.pad(x[..., -2:, :], (0, 1, 0, 1)))
    y[..., :-1, -1:] = conv(F.pad(x[..., :-1, -2:], (0, 1, 0, 0)))
    return y


class Upsample(nn.Module):
    """Double height and width; `[B, C, H, W]` to `[B, C, 2 H, 2 W]`.

    Args:
        kind: "nearest_conv": repeat, then a 3x3 convolution (taming). "nearest": repeat only. "depth_to_space": a 3x3
            convolution to 4 C channels, which are laid out as (row, column, C) (Open-MAGVIT2; TensorFlow's order).
            "pixel_shuffle": the same laid out as (C, row, column) (PyTorch's order). "residual": that, plus the repeated
            input (DC-AE; ILLUME+).
    """

    def __init__(self, channels: int, kind: Literal["nearest_conv", "nearest", "depth_to_space", "pixel_shuffle", "residual"]) -> None:
        super().__init__()
        self.kind = kind
        if kind == "nearest_conv":
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        elif kind != "nearest":
            self.conv = Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Double."""
        if self.kind == "nearest":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        if self.kind == "nearest_conv":
            return double_conv(x, self.conv)
        y = self.conv(x)
        if self.kind == "depth_to_space":
            y = y.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)  # [B, C 4, H, W], C slowest
        y = F.pixel_shuffle(y, 2)
        return y + F.interpolate(x, scale_factor=2.0, mode="nearest") if self.kind == "residual" else y


def double_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """`conv` over `x [B, C, H, W]` doubled by nearest neighbour, `[B, C', 2 H, 2 W]`.

    Of the nine inputs of an output many are the same pixel. With their weights added up, the outputs of one parity are a
    2x2 convolution of `x` itself: 4 products where there were 9.

        row of x               i-1         i         i+1
        output row 2 i         k0       k1 + k2
        output row 2 i + 1            k0 + k1        k2
    """
    if not lean(x):
        return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    taps = x.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])  # [parity, row of x, row of the kernel]
    kernels = torch.einsum("aiy,bjx,ocyx->abocij", taps, taps, conv.weight)
    height, width = x.shape[-2:]
    shape = (len(x), conv.out_channels, 2 * height, 2 * width)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for a in (0, 1):
        for b in (0, 1):
            part = F.conv2d(x, kernels[a, b], conv.bias, padding=1)  # a row and a column more than there are
            y[..., a::2, b::2] = part[..., a : a + height, b : b + width]
    return y


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
