"""Small heads over the features of a frozen DINO: a discriminator that starts with knowledge of pictures.

Sources: StyleGAN-T (Sauer et al. 2023, arXiv 2301.09515, section 3.2), in the form of VAR (arXiv 2404.02905), ImageFolder
(arXiv 2410.01756, lxa9867/ImageFolder @ 76ddfb9a65, tokenizer/tokenizer_image/discriminator_dino.py), UniTok (arXiv 2502.20321,
models/discrim.py) and RAE (arXiv 2510.11690, src/disc/dinodisc.py).
Differs: timm's model with the exact GELU (VAR's copy: its tanh form).
Letters: B batch, D width of DINO, L patches, C channels, H W pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from ...codecs.timm_models import timm_model
from ..losses.base import Judgement
from .augment import AugmentConfig, augment
from .base import Discriminator, DiscriminatorConfig, pictures
from .hidden import Hidden


@dataclass(frozen=True, kw_only=True)
class DinoConfig(DiscriminatorConfig):
    """One head for each depth at which features are taken.

    Attributes:
        model: a ViT of timm, as in `teachers.*.model`: VAR `vit_small_patch16_224.dino`, RAE `vit_small_patch8_224.dino`, UniTok
            `vit_small_patch14_dinov2.lvd142m`.
        image_size: side in pixels of what DINO sees; larger pictures are cropped or resized to it, smaller ones resized.
        crop: probability that a batch of larger pictures is cropped, at one random place, not resized.
        resize: how larger pictures are resized: mean of areas, or "bilinear".
        blocks: features are the outputs of these blocks, 0 the first.
        embedding: and the input of the first one.
        last_heads: heads over the output of the last of these blocks (RAE: 2, since its code takes the network's output beside it).
        class_token: add the class token to each patch.
        kernel: of the convolution over patches, row by row, in each head; it wraps around.
        norm: in the heads: "batch": over the patches of `group` pictures; "group": 32 groups of channels of one picture.
        group: pictures whose statistics are taken together; a smaller last group is one too.
        spectral: spectral norm of all convolutions of the heads.
        gain: convolutions start from Xavier's normal distribution with this gain and no bias (UniTok: 0.5); 0: as torch's do.
        augment: of everything that is judged.
        pretrained: False leaves DINO's weights random, for a run that only checks that everything works.
    """

    kind: ClassVar[str] = "dino"
    model: str = "vit_small_patch16_224.dino"
    image_size: int = 224
    crop: float = 0.5
    resize: Literal["area", "bilinear"] = "area"
    blocks: tuple[int, ...] = (2, 5, 8, 11)
    embedding: bool = True
    last_heads: int = 1
    class_token: bool = True
    kernel: int = 9
    norm: Literal["batch", "group"] = "batch"
    group: int = 8
    spectral: bool = True
    gain: float = 0.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    pretrained: bool = True

    def __post_init__(self) -> None:
        if not self.blocks or list(self.blocks) != sorted(set(self.blocks)):
            raise ConfigError(f"blocks is {list(self.blocks)}; name at least one, each once, in their order.")
        if self.last_heads < 1:
            raise ConfigError(f"last_heads is {self.last_heads}; it must be at least 1.")
        if self.kernel % 2 == 0 or self.group < 1 or self.crop > 1:
            raise ConfigError(f"kernel is {self.kernel}, group {self.group}, crop {self.crop}: odd, at least 1, and at most 1.")

    def build(self, spec: TokenizerSpec) -> Discriminator:
        spec = pictures(self, spec)
        if spec.channels != 3:
            raise ConfigError(f"the discriminator 'dino' looks at colour pictures; this tokenizer's have {spec.channels} channels.")
        return Dino(self, spec.value_range)


class Dino(Discriminator):
    """Heads over a frozen ViT for pictures `[B, 3, H, W]`; logits `[B, 1, L]` of each head.

    Args:
        config: settings.
        value_range: of the pictures.

    Raises:
        ConfigError: the model has no such blocks.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: DinoConfig, value_range: tuple[float, float]) -> None:
        super().__init__()
        from timm.data import resolve_model_data_config

        self.config, self.value_range = config, value_range
        trunk = timm_model(config.model, pretrained=config.pretrained, num_classes=0, img_size=config.image_size)
        depth = len(trunk.blocks)
        if max(config.blocks) >= depth:
            raise ConfigError(f"blocks is {list(config.blocks)}, but {config.model} has the blocks 0 to {depth - 1}.")
        self.trunk = Hidden(trunk)
        data = resolve_model_data_config(trunk)
        self.register_buffer("mean", torch.tensor(data["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(data["std"]).view(1, 3, 1, 1), persistent=False)
        heads = len(config.blocks) + config.embedding + config.last_heads - 1
        self.heads = nn.ModuleList(Head(config, int(trunk.num_features)) for _ in range(heads))

    def forward(self, x: Tensor) -> list[Judgement]:
        """Judge pictures `[B, 3, H, W]` of any size."""
        low, high = self.value_range
        y = augment(self.config.augment, 2 * (x.float() - low) / (high - low) - 1)
        y = ((self._fit(y) + 1) / 2 - self.mean) / self.deviation
        with torch.autocast(y.device.type, enabled=False):
            features = self._features(y)
        return [head(f) for head, f in zip(self.heads, features, strict=True)]

    def _fit(self, x: Tensor) -> Tensor:
        """Bring pictures to `image_size`."""
        size = self.config.image_size
        larger = min(x.shape[2:]) > size
        if larger and float(torch.rand(())) < self.config.crop:
            top, left = (int(torch.randint(side - size + 1, ())) for side in x.shape[2:])
            return x[..., top : top + size, left : left + size]
        if tuple(x.shape[2:]) == (size, size):
            return x
        return F.interpolate(x, size=(size, size), mode=self.config.resize if larger else "bicubic")

    def _features(self, y: Tensor) -> list[Tensor]:
        """`[B, D, L]` at each depth."""
        trunk, config = self.trunk.network, self.config
        tokens = trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(y)))  # [B, 1 + L, D]
        taken = [tokens] if config.embedding else []
        for i, block in enumerate(trunk.blocks[: max(config.blocks) + 1]):
            tokens = block(tokens)
            taken += [tokens] if i in config.blocks else []
        taken += [tokens] * (config.last_heads - 1)
        first = trunk.num_prefix_tokens
        return [(t[:, first:] + (t[:, :1] if config.class_token else 0)).transpose(1, 2) for t in taken]


class Head(nn.Module):
    """A pointwise layer, one over neighbouring patches beside a shortcut, and the logits."""

    def __init__(self, config: DinoConfig, width: int) -> None:
        super().__init__()
        norm: Callable[[nn.Module], nn.Module] = (lambda m: spectral_norm(m)) if config.spectral else (lambda m: m)

        def convolution(out: int, kernel: int) -> nn.Module:
            conv = nn.Conv1d(width, out, kernel, padding=kernel // 2, padding_mode="circular")
            if config.gain:
                nn.init.xavier_normal_(conv.weight, config.gain)
                assert conv.bias is not None
                nn.init.zeros_(conv.bias)
            return norm(conv)

        self.first = nn.Sequential(convolution(width, 1), _norm(config, width), nn.LeakyReLU(0.2))
        self.second = nn.Sequential(convolution(width, config.kernel), _norm(config, width), nn.LeakyReLU(0.2))
        self.out = convolution(1, 1)

    def forward(self, x: Tensor) -> Judgement:
        """Logits `[B, 1, L]` and features of `[B, D, L]`."""
        first = self.first(x)
        second = (self.second(first) + first) / math.sqrt(2)
        return Judgement(self.out(second), (first, second))


def _norm(config: DinoConfig, width: int) -> nn.Module:
    return nn.GroupNorm(32, width, eps=1e-6) if config.norm == "group" else GroupedBatchNorm(width, config.group)


class GroupedBatchNorm(nn.Module):
    """Batch norm over `group` items at a time, with their own statistics in train and eval mode."""

    def __init__(self, width: int, group: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.group, self.eps = group, eps
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, D, L]` -> the same shape."""
        parts = [F.batch_norm(p, None, None, self.weight, self.bias, True, 0.0, self.eps) for p in x.float().split(self.group)]
        return torch.cat(parts)
