"""Blocks of VQGAN and its descendants: residual and attention blocks, norms conditioned on the code.

Origin: Esser et al. 2021, arXiv 2012.09841 (CompVis/taming-transformers, itself after DDPM's U-Net). Changes of later systems
are named options; the docstrings say which system uses which.

Letters: B batch, C channels, H W positions, D width of the code that conditions a norm.
"""

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels.conv2d import Conv2d
from ..kernels.mode import Layer2d
from ..kernels.norm import GroupNorm
from ..kernels.residual2d import Residual2d, sequence
from ..kernels.stream import Layer
from ..kernels.tiles import beside
from ..recomputable import Recomputable

EPS = 1e-6

Activation = Literal["silu", "gelu", "relu", "mish"]
NarrowGroups = Literal["none", "24", "quarter"]

#: Classes of activations by their names in configs.
ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU, "mish": nn.Mish, "none": nn.Identity}


def group_norm(channels: int, groups: int = 32, narrow: NarrowGroups = "none") -> GroupNorm:
    """GroupNorm over `[B, C, H, W]`; `narrow` chooses the number of groups where `groups` does not divide C.

    "none": ValueError. "24": 24 groups (Infinity). "quarter": C // 4 groups where C is below `groups` (ITER).
    """
    if narrow == "quarter" and channels < groups:
        groups = channels // 4
    elif narrow == "24" and channels % groups:
        groups = 24
    if channels % groups:
        raise ValueError(f"GroupNorm with {groups} groups cannot split {channels} channels; use multiples of {groups}.")
    return GroupNorm(groups, channels, eps=EPS)


class SpatialNorm(Layer2d):
    """GroupNorm with gain and shift computed from the code at each position (MoVQ, arXiv 2209.09002; Emu3, ILLUME+).

    Args:
        channels: C.
        code_dim: D of the code, which is resized to the features by nearest neighbour.
        groups: number of groups of the GroupNorm.
    """

    def __init__(self, channels: int, code_dim: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.gain = nn.Conv2d(code_dim, channels, 1)
        self.shift = nn.Conv2d(code_dim, channels, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`, conditioned on the code `[B, D, h, w]`."""
        code = beside(code)
        gain, shift = (F.interpolate(map(code), size=x.shape[-2:], mode="nearest") for map in (self.gain, self.shift))
        return self.norm(x) * gain + shift  # a 1x1 convolution before the resize equals one after it


class AdaptiveNorm(Layer2d):
    """GroupNorm with gain and shift computed from the code's standard deviation and mean over the picture.

    Open-MAGVIT2, arXiv 2409.04410, section 3.1. The standard deviation is the unbiased one.

    Args:
        channels: C.
        code_dim: D of the code.
        groups: number of groups of the GroupNorm.
    """

    def __init__(self, channels: int, code_dim: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=EPS, affine=False)
        self.gain = nn.Linear(code_dim, channels)
        self.shift = nn.Linear(code_dim, channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`, conditioned on the code `[B, D, h, w]`."""
        flat = code.flatten(2)  # [B, D, h w]
        # Differs: for a code of one position the authors' formula gives NaN; here its deviation is 0
        correction = min(1, flat.shape[2] - 1)
        deviation = (flat.var(dim=2, correction=correction) + EPS).sqrt()
        gain, shift = self.gain(deviation), self.shift(flat.mean(dim=2))
        return self.norm(x) * gain[..., None, None] + shift[..., None, None]


def under(norm: nn.Module, code: Tensor | None) -> Layer:
    """`norm` as a function of the features alone: a `SpatialNorm` is bound to `code`, others are returned unchanged."""
    return partial(norm, code=code) if isinstance(norm, SpatialNorm) else norm


class ResBlock(Residual2d):
    """(norm, activation, 3x3 convolution) twice, plus the input; `[B, C, H, W]` to `[B, C', H, W]`.

    Args:
        in_channels, out_channels: C and C'; where they differ, a 1x1 convolution maps the input to C'.
        norm1, norm2: norms over C and C' channels.
        bias: whether the convolutions have a bias (MaskGIT, Open-MAGVIT2: no).
        shortcut: input of the 1x1 convolution: the "input" of the block, or the "output" of its branch (MaskGIT; the input is
            then not added at all).
        activation: activation before each convolution.
        dropout: dropout probability before the second convolution, only in train mode with gradients.
        first_kernel: side of the first convolution's kernel.
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
        self.act, self.dropout = ACTIVATIONS[activation](), nn.Dropout(dropout)
        self.norm1, self.norm2 = norm1, norm2
        self.conv1 = Conv2d(in_channels, out_channels, first_kernel, padding=first_kernel // 2, bias=bias)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.on_output = shortcut == "output" and in_channels != out_channels
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(out_channels if self.on_output else in_channels, out_channels, 1, bias=bias)

    def branch(self, code: Tensor | None = None) -> list[Layer]:
        """Layers of the residual branch, whose output is added to the input; its norms are conditioned on `code`."""
        # without gradients there is no dropout in train mode either, so that `encode` returns the same ids in both modes
        dropout = [self.dropout] if self.dropout.p and torch.is_grad_enabled() else []
        norm1, norm2 = under(self.norm1, code), under(self.norm2, code)
        return [norm1, self.act, self.conv1, norm2, self.act, *dropout, self.conv2]

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Map `[B, C, H, W]` to `[B, C', H, W]`; the norms may be conditioned on `code` `[B, D, h, w]`."""
        if not self.on_output:
            return super().forward(x, code)
        assert self.shortcut is not None
        y = sequence(x, *self.branch(code))
        return y + self.shortcut(y)


class AttentionBlock(Layer2d, Recomputable):
    """Self-attention over all positions, plus the input; `[B, C, H, W]`. VQGAN has one head."""

    def __init__(self, channels: int, norm: nn.Module, *, heads: int = 1) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not split into {heads} attention heads.")
        self.norm, self.heads = norm, heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Apply the block to `[B, C, H, W]`; its norm may be conditioned on `code` `[B, D, h, w]`."""
        qkv = self.qkv(under(self.norm, code)(x)).flatten(2).transpose(1, 2)  # [B, H W, 3 C]
        qkv = qkv.contiguous()  # else attention falls back to an implementation that stores all H W x H W weights
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=2))  # [B, heads, H W, C / heads]
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).transpose(1, 2)  # [B, C, H W]
        return x + self.out(y.reshape(x.shape))


class HeadAttentionBlock(Layer2d, Recomputable):
    """ITER's "mhsa": attention among the heads of each position, never between positions; `[B, C, H, W]`.

    The authors pass (batch, position, head, width) to a function that attends over the last axis but one, so that heads are mixed
    instead of positions. Kept here, since the published weights were trained like this.
    """

    def __init__(self, channels: int, *, heads: int = 8, head_width: int = 64, groups: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels, groups)
        self.qkv = nn.Conv2d(channels, 3 * heads * head_width, 1)
        self.out = nn.Conv2d(heads * head_width, channels, 1)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Apply the block to `[B, C, H, W]`; `code` is not used."""
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)  # [B, H W, 3 heads width]
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).unbind(2)  # each [B, H W, heads, width]
        y = F.scaled_dot_product_attention(q, k, v).flatten(2).transpose(1, 2)
        return x + self.out(y.reshape(x.shape[0], -1, *x.shape[2:]))
