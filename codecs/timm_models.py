"""Models of timm, with the attributes that this library uses: `timm.create_model` returns any `Module`, for type checkers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn


class TimmModel(nn.Module):
    """What such a model has; no model derives from this class, it is for type checkers.

    Attributes:
        blocks: of a transformer.
        feature_info: facts of the output of each block: `num_chs`, `reduction`.
        num_features: width of the features.
        num_classes: outputs of the head; 0: none.
        forward_features: pictures `[B, 3, H, W]` to the last features.
        forward_head: the last features to logits or, with `pre_logits`, to what the head's last layer takes, `[B, D]`.
        forward_intermediates: pictures to the features of the blocks `indices`.
    """

    blocks: nn.Sequential
    feature_info: Sequence[Mapping[str, Any]]
    num_features: int
    num_classes: int
    forward_features: Callable[[Tensor], Tensor]
    forward_head: Callable[..., Tensor]
    forward_intermediates: Callable[..., list[Tensor]]


def timm_model(name: str, **options: Any) -> TimmModel:
    """As `timm.create_model`."""
    import timm

    return cast(TimmModel, timm.create_model(name, **options))
