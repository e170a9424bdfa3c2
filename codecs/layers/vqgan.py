"""The convolutional encoder and decoder of VQGAN and its descendants, whose changes are named options.

Architecture: Esser et al. 2021, arXiv 2012.09841; for the blocks and the papers that changed them see `vqgan_blocks.py`.

Levels are numbered from fine (0) to coarse, in the encoder and in the decoder.
Letters: B batch, C channels, H W pixels, h w grid, D width of the code.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ..config import ConfigError
from ..kernels.conv_stack import ConvStack, Stage
from ..kernels.stream import Layer
from .swin import SwinBlock, SwinConfig
from .vqgan_blocks import (
    ACTIVATIONS,
    Activation,
    AdaptiveNorm,
    AttentionBlock,
    HeadAttentionBlock,
    NarrowGroups,
    ResBlock,
    SpatialNorm,
    group_norm,
    under,
)
from .vqgan_resampling import Downsample, FoldPatches, HaarPatches, Upsample

MiddleBlock = Literal["residual", "attention", "swin", "head_attention"]


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Settings that encoder and decoder share.

    Attributes:
        widths: C of each level, fine to coarse.
        blocks: residual blocks at each level (taming's decoder has one more than its encoder); several numbers: one a level, fine to
            coarse (Show-o).
        attention_levels: levels where an attention block follows each residual block.
        attention_heads: number of heads of these blocks and of those in `middle` (transformers' Emu3 allows several).
        middle: blocks at the coarsest grid, between encoder levels and head, or stem and decoder levels.
        swin: settings of the "swin" blocks in `middle` (ITER).
        groups: number of groups of every GroupNorm.
        narrow_groups: number of groups for widths that `groups` does not divide; see `vqgan_blocks.group_norm`.
        bias: whether the convolutions of residual blocks (and the encoder's stem) have a bias.
        shortcut: see `vqgan_blocks.ResBlock`.
        activation: activation of all blocks.
        final_activation: activation between the last norm and the last convolution (ELM, ITER: "none").
        dropout: dropout probability inside residual blocks, in training.
        patching: how pixels are folded into channels before the stem, and back after the head: "fold" or "haar" (Cosmos).
        patch_size: side in pixels of the patches that are folded; 1: no folding.
    """

    widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    blocks: int | tuple[int, ...] = 2
    attention_levels: tuple[int, ...] = ()
    attention_heads: int = 1
    middle: tuple[MiddleBlock, ...] = ("residual", "attention", "residual")
    swin: SwinConfig = field(default_factory=SwinConfig)
    groups: int = 32
    narrow_groups: NarrowGroups = "none"
    bias: bool = True
    shortcut: Literal["input", "output"] = "input"
    activation: Activation = "silu"
    final_activation: Activation | Literal["none"] = "silu"
    dropout: float = 0.0
    patching: Literal["fold", "haar"] = "fold"
    patch_size: int = 1

    def __post_init__(self) -> None:
        if not self.widths:
            raise ConfigError("widths is empty; give the channels of each level, fine to coarse.")
        for name in ("attention_levels", "resample_levels"):
            levels = getattr(self, name, None) or ()
            if any(not 0 <= i < len(self.widths) for i in levels):
                raise ConfigError(f"{name} is {levels}; levels run from 0 to {len(self.widths) - 1}.")
        if not isinstance(self.blocks, int) and (len(self.blocks) != len(self.widths) or min(self.blocks) < 1):
            raise ConfigError(f"blocks is {self.blocks}; give one number for all levels, or one (at least 1) for each level.")

    def blocks_at(self, level: int) -> int:
        """Number of residual blocks of a level."""
        return self.blocks if isinstance(self.blocks, int) else self.blocks[level]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(StackConfig):
    """Settings of `VQGANEncoder`.

    Attributes:
        stem_width: output channels of the first convolution.
        resample: see `vqgan_resampling.Downsample`.
        resample_levels: levels at whose end the grid is halved; None: all but the coarsest.
        head_kernel: side of the last convolution's kernel (3; MaskGIT and Open-MAGVIT2: 1).
        head_shortcut: add the means of equal groups of input channels to the output of that convolution (ILLUME+).
    """

    stem_width: int = 128
    resample: Literal["conv", "conv_centred", "average", "residual"] = "conv"
    resample_levels: tuple[int, ...] | None = None
    head_kernel: Literal[1, 3] = 3
    head_shortcut: bool = False

    @property
    def halvings(self) -> tuple[int, ...]:
        """`resample_levels` with the default filled in."""
        return tuple(range(len(self.widths) - 1)) if self.resample_levels is None else self.resample_levels

    @property
    def stride(self) -> int:
        """Pixels from one position to the next."""
        return self.patch_size * 2 ** len(self.halvings)


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(StackConfig):
    """Settings of `VQGANDecoder`.

    Attributes:
        blocks: as in `StackConfig`.
        resample: see `vqgan_resampling.Upsample`.
        resample_levels: levels at whose end the grid is doubled; None: all but the finest.
        norm_first: whether a GroupNorm comes before the stem (ELM).
        condition: how norms are conditioned on the code. "spatial": gain and shift of every norm are computed from the code at
            each position (MoVQ); "adaptive": each level begins with a norm whose gain and shift are computed from the code's
            statistics (Open-MAGVIT2).
        noise: concatenate Gaussian noise to the code at the stem, with the same number of channels (WeTok's and BitDance's
            generative decoder).
        stem_shortcut: add the repeated input channels to the output of the stem (ILLUME+).
    """

    blocks: int | tuple[int, ...] = 3
    resample: Literal["nearest_conv", "nearest", "depth_to_space", "pixel_shuffle", "residual"] = "nearest_conv"
    resample_levels: tuple[int, ...] | None = None
    norm_first: bool = False
    condition: Literal["none", "spatial", "adaptive"] = "none"
    noise: bool = False
    stem_shortcut: bool = False

    @property
    def doublings(self) -> tuple[int, ...]:
        """`resample_levels` with the default filled in."""
        return tuple(range(1, len(self.widths))) if self.resample_levels is None else self.resample_levels

    @property
    def stride(self) -> int:
        """Pixels from one position to the next."""
        return self.patch_size * 2 ** len(self.doublings)


class _Parts:
    """Builds the blocks that one config describes."""

    def __init__(self, config: StackConfig, spatial_dim: int | None = None) -> None:
        self.config, self.spatial_dim = config, spatial_dim

    def norm(self, channels: int) -> nn.Module:
        if self.spatial_dim is not None:
            return SpatialNorm(channels, self.spatial_dim, self.config.groups)
        return group_norm(channels, self.config.groups, self.config.narrow_groups)

    def residual(self, in_channels: int, out_channels: int) -> ResBlock:
        c = self.config
        norms = self.norm(in_channels), self.norm(out_channels)
        return ResBlock(
            in_channels,
            out_channels,
            *norms,
            bias=c.bias,
            shortcut=c.shortcut,
            activation=c.activation,
            dropout=c.dropout,
        )

    def attention(self, channels: int) -> AttentionBlock:
        return AttentionBlock(channels, self.norm(channels), heads=self.config.attention_heads)

    def middle(self, channels: int) -> nn.ModuleList:
        make = {
            "residual": lambda: self.residual(channels, channels),
            "attention": lambda: self.attention(channels),
            "swin": lambda: SwinBlock(channels, self.config.swin),
            "head_attention": lambda: HeadAttentionBlock(channels),
        }
        return nn.ModuleList(make[kind]() for kind in self.config.middle)

    def patches(self) -> HaarPatches | FoldPatches:
        kind = HaarPatches if self.config.patching == "haar" else FoldPatches
        return kind(self.config.patch_size)


class Level(nn.Module):
    """One level: optional adaptive norm, residual blocks each followed by optional attention, resampling."""

    def __init__(self, parts: _Parts, index: int, in_channels: int, *, adaptive_dim: int | None = None) -> None:
        super().__init__()
        self.width = width = parts.config.widths[index]
        self.adaptive = None if adaptive_dim is None else AdaptiveNorm(in_channels, adaptive_dim, parts.config.groups)
        count = parts.config.blocks_at(index)
        self.blocks = nn.ModuleList(parts.residual(in_channels if i == 0 else width, width) for i in range(count))
        attended = count if index in parts.config.attention_levels else 0
        self.attentions = nn.ModuleList(parts.attention(width) for _ in range(attended))
        self.resample: nn.Module | None = None

    def body(self, code: Tensor | None = None) -> list[Layer]:
        """All layers but the resampling, in order; with `code`, as functions that pass it to layers conditioned on it."""
        layers: list[nn.Module] = [] if self.adaptive is None else [self.adaptive]
        for i, block in enumerate(self.blocks):
            layers += [block, self.attentions[i]] if self.attentions else [block]
        return [layer if code is None else partial(layer, code=code) for layer in layers]

    @property
    def stage_width(self) -> int:
        """Number of channels of its feature maps; 0 if attention needs the whole map at once."""
        return 0 if self.attentions else self.width

    @property
    def reach(self) -> int:
        """Number of positions on each side that an output of `body` depends on, if there is no attention."""
        return 2 * len(self.blocks)


class _LevelStack(ConvStack):
    """Base of encoder and decoder: a stack of levels."""

    levels: nn.ModuleList

    def level(self, index: int) -> Level:
        """The level with this index, 0 the finest."""
        return cast(Level, self.levels[index])


class VQGANEncoder(_LevelStack):
    """Pictures `[B, 3, H, W]` to `[B, out_channels, h, w]`: stem, levels fine to coarse, middle, head."""

    def __init__(self, config: EncoderConfig, out_channels: int, *, in_channels: int = 3) -> None:
        super().__init__()
        self.config = config
        parts = _Parts(config)
        self.patches = parts.patches()
        self.stem = nn.Conv2d(in_channels * config.patch_size**2, config.stem_width, 3, padding=1, bias=config.bias)
        ins = (config.stem_width, *config.widths)
        self.levels = nn.ModuleList(Level(parts, i, ins[i]) for i in range(len(config.widths)))
        for i in config.halvings:
            self.levels[i].resample = Downsample(config.widths[i], config.resample)
        last = config.widths[-1]
        self.middle = parts.middle(last)
        self.norm, self.act = parts.norm(last), ACTIVATIONS[config.final_activation]()
        self.head = nn.Conv2d(last, out_channels, config.head_kernel, padding=config.head_kernel // 2)
        if config.head_shortcut and last % out_channels:
            raise ConfigError(f"head_shortcut: the last width, {last}, must be a multiple of the {out_channels} channels.")

    def run(self, x: Tensor) -> Tensor:
        """Encode pictures `[B, 3, H, W]` to `[B, out_channels, h, w]`."""
        for index in range(len(self.levels)):
            x = self.through(x, self._stage(index))
        for block in self.middle:
            x = block(x)
        x = self.act(self.norm(x))
        y = self.head(x)
        return y + x.unflatten(1, (y.shape[1], -1)).mean(2) if self.config.head_shortcut else y

    def _stage(self, index: int) -> Stage:
        """One level with its resampling and, for the first, patches and stem before it."""
        level, fold = self.level(index), 1 if index else self.config.patch_size
        before = [] if index else [self.patches, self.stem]
        after = [] if level.resample is None else [level.resample]
        layers = [*before, *level.body(), *after]
        reach = level.reach + 2  # stem and resampling depend on one position more, each
        return Stage(layers=layers, width=level.stage_width, reach=reach, grid=1 / fold, down=fold * 2 ** len(after))


class VQGANDecoder(_LevelStack):
    """`[B, in_channels, h, w]` to pictures `[B, 3, H, W]`: stem, middle, levels coarse to fine, head.

    Args:
        config: settings.
        in_channels: number of channels of the input `z`.
        code_dim: D of the input `code`, for `condition`; 0: the same as `in_channels`.
        out_channels: number of channels of the picture.
    """

    def __init__(self, config: DecoderConfig, in_channels: int, *, code_dim: int = 0, out_channels: int = 3) -> None:
        super().__init__()
        self.config, self.in_channels = config, in_channels
        code_dim = code_dim or in_channels
        parts = _Parts(config, code_dim if config.condition == "spatial" else None)
        adaptive_dim = code_dim if config.condition == "adaptive" else None
        last = config.widths[-1]
        if config.stem_shortcut and (config.noise or last % in_channels):
            raise ConfigError(f"stem_shortcut: the last width, {last}, must be a multiple of {in_channels}; without noise.")
        self.norm_first = group_norm(in_channels, config.groups, config.narrow_groups) if config.norm_first else None
        self.stem: nn.Module = nn.Conv2d(in_channels * (2 if config.noise else 1), last, 3, padding=1)
        self.middle = parts.middle(last)
        ins = (*config.widths[1:], last)
        self.levels = nn.ModuleList(Level(parts, i, ins[i], adaptive_dim=adaptive_dim) for i in range(len(config.widths)))
        for i in config.doublings:
            self.levels[i].resample = Upsample(config.widths[i], config.resample)
        self.norm, self.act = parts.norm(config.widths[0]), ACTIVATIONS[config.final_activation]()
        self.head = nn.Conv2d(config.widths[0], out_channels * config.patch_size**2, 3, padding=1)
        self.patches = parts.patches()

    def run(self, z: Tensor, code: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Decode a grid of latents to pictures `[B, 3, H, W]`.

        Args:
            z: `[B, in_channels, h, w]`.
            code: `[B, D, h, w]` that the norms are conditioned on; None: `z` itself.
            noise: standard normal, of the shape of `z`; needed with `config.noise`.
        """
        code = z if code is None else code
        if self.config.noise:
            if noise is None or noise.shape != z.shape:
                raise ValueError(f"this decoder needs noise of shape {list(z.shape)}.")
            z = torch.cat([z, noise], dim=1)
        middle = [partial(block, code=code) for block in self.middle]
        x = self.through(z, Stage(layers=[self._start, *middle], width=0, reach=0))
        for index in reversed(range(len(self.levels))):
            x = self.through(x, self._stage(index, x, code))
        return x

    def _start(self, z: Tensor) -> Tensor:
        x = self.stem(z if self.norm_first is None else self.norm_first(z))
        return x + z.repeat_interleave(x.shape[1] // z.shape[1], dim=1) if self.config.stem_shortcut else x

    def _stage(self, index: int, x: Tensor, code: Tensor) -> Stage:
        """The upsampling of the coarser level before, this level and, for the finest, all layers up to the pixels."""
        level, coarser = self.level(index), self.level(index + 1) if index + 1 < len(self.levels) else None
        before = [] if coarser is None or coarser.resample is None else [coarser.resample]
        layers, grid = [*before, *level.body(code)], 2 ** len(before)
        up = grid
        if not index:
            after = [] if level.resample is None else [level.resample]
            layers += [*after, under(self.norm, code), self.act, self.head, self.patches.inverse]
            up = grid * 2 ** len(after) * self.config.patch_size
        reach = level.reach + 3  # upsampling depends on up to two positions more, the head on one
        align = x.shape[-2] // code.shape[-2] if self.config.condition == "spatial" else 1
        return Stage(layers=layers, width=level.stage_width, reach=reach, grid=grid, up=up, align=align)
