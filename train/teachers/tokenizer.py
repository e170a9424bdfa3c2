"""The ids of another, frozen tokenizer, which a decoder learns to predict (loss `codes`).

Source: TiTok's first stage (arXiv 2406.07550, section 3.3): the "proxy codes" of a MaskGIT-VQGAN.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.image.base import ImageTokenizer
from ...codecs.media import Prepared
from ...codecs.spec import ImageSpec, TokenizerSpec
from ..pretrained import load_tokenizer
from .base import Teacher, TeacherConfig


@dataclass(frozen=True, kw_only=True)
class TokenizerTeacherConfig(TeacherConfig):
    """Ids `[B, L]` of the first codebook.

    Attributes:
        model: a tokenizer of pictures: whatever `tokenzoo.load` takes, or the output folder of a run.
    """

    kind: ClassVar[str] = "tokenizer"
    of_pictures: ClassVar[bool] = True
    model: str

    def build(self, spec: TokenizerSpec) -> Teacher:
        if not isinstance(spec, ImageSpec):
            raise ConfigError(f"the teacher {self.kind!r} looks at pictures; this tokenizer's modality is {spec.modality!r}.")
        return TokenizerTeacher(self, spec.value_range)


class TokenizerTeacher(Teacher):
    """A frozen tokenizer of pictures; settings: `TokenizerTeacherConfig`."""

    def __init__(self, config: TokenizerTeacherConfig, value_range: tuple[float, float]) -> None:
        super().__init__()
        tokenizer = load_tokenizer(config.model)
        if not isinstance(tokenizer, ImageTokenizer):
            raise ConfigError(f"the teacher's model {config.model!r} is of family {tokenizer.family!r}, which takes no pictures.")
        self.tokenizer, self.value_range = tokenizer.requires_grad_(False), value_range
        self.eval()

    def targets(self, x: Tensor) -> Tensor:
        """`[B, 3, H, W]` -> int64 `[B, L]`."""
        (low, high), (bottom, top) = self.value_range, self.tokenizer.spec.value_range
        with torch.autocast(x.device.type, enabled=False):
            y = (x.float() - low) / (high - low) * (top - bottom) + bottom
            items = [Prepared(one, (one.shape[-2], one.shape[-1])) for one in y]
            return self.tokenizer.encode_prepared(items).ids[:, 0]
