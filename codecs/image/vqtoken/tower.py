"""Features of the frames: a frozen image model of timm, with its own weights or the published ones.

Letters: F frames, C width, h w grid of patches, H W pixels.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...config import ConfigError
from ...precision import float32_by_default
from ...timm_models import timm_model


class FrameTower(nn.Module):
    """Pictures `[F, 3, H, W]` in 0..1 to patch features `[F, C, h w]`, without gradients, always in eval mode.

    Args:
        name: name of a model of timm, with its tag.
        options: further arguments of `timm.create_model`.
        layer: block whose output is taken: 0 the first, -1 the last.
        pretrained: load the published weights.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, options: Mapping[str, Any], layer: int, *, pretrained: bool = False) -> None:
        super().__init__()
        from timm.data import resolve_model_data_config

        self.layer = layer
        try:
            with float32_by_default():
                arguments: dict[str, Any] = {"num_classes": 0, **options}
                self.model = timm_model(name, pretrained=pretrained, **arguments)
            facts = self.model.feature_info[layer]
        except (RuntimeError, TypeError, IndexError, AttributeError, AssertionError) as error:
            raise ConfigError(f"model {name!r:.100}, layer {layer}: timm cannot build it: {error!s:.300}") from error
        data = resolve_model_data_config(self.model)
        self.width, self.stride, self.image_size = facts["num_chs"], facts["reduction"], self._image_size(options, data)
        self.register_buffer("mean", torch.tensor(data["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(data["std"]).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    @staticmethod
    def _image_size(options: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[int, int]:
        size = options.get("img_size", data["input_size"][1:])
        height, width = (size, size) if isinstance(size, int) else size
        return int(height), int(width)

    def train(self, mode: bool = True) -> "FrameTower":
        """Stay in eval mode: features must not depend on the mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        y = (x - self.mean.to(x.dtype)) / self.deviation.to(x.dtype)
        maps = self.model.forward_intermediates(y, indices=[self.layer], norm=True, output_fmt="NCHW", intermediates_only=True)
        return maps[0].flatten(2)


class PublishedTower:
    """A `FrameTower` with published weights, which are loaded when it is first used.

    It is no `nn.Module`, so that its weights are not in the state dict of the tokenizer that uses it.
    """

    def __init__(self, name: str, options: Mapping[str, Any], layer: int) -> None:
        self.arguments = (name, options, layer)
        self._tower: FrameTower | None = None

    def get(self, device: torch.device, dtype: torch.dtype) -> FrameTower:
        """The tower, on `device` and in `dtype`; loaded at the first call."""
        if self._tower is None:
            self._tower = FrameTower(*self.arguments, pretrained=True)
        return self._tower.to(device, dtype)
