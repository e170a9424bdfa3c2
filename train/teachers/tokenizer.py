"""The ids of another, frozen tokenizer, which a decoder learns to predict (loss `codes`).

Source: TiTok's first stage (arXiv 2406.07550, section 3.3): the "proxy codes" of a MaskGIT-VQGAN.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.image.base import ImageTokenizer
from ...codecs.serialize import load_folder
from ...codecs.spec import ImageSpec, TokenizerSpec
from .base import Teacher, TeacherConfig


@dataclass(frozen=True, kw_only=True)
class TokenizerTeacherConfig(TeacherConfig):
    """Ids `[B, L]` of the first codebook.

    Attributes:
        model: folder of a saved tokenizer of pictures; `tokenzoo.load("org/repo").save_pretrained(FOLDER)` makes one of any
            published checkpoint.
    """

    kind: ClassVar[str] = "tokenizer"
    model: str

    def build(self, spec: TokenizerSpec) -> Teacher:
        if not isinstance(spec, ImageSpec):
            raise ConfigError(f"the teacher {self.kind!r} looks at pictures; this tokenizer's modality is {spec.modality!r}.")
        return TokenizerTeacher(self, spec.value_range)


class TokenizerTeacher(Teacher):
    """See `TokenizerTeacherConfig`."""

    def __init__(self, config: TokenizerTeacherConfig, value_range: tuple[float, float]) -> None:
        super().__init__()
        folder = Path(config.model).expanduser()
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"the teacher's model {config.model!r} is no folder of a saved tokenizer (config.json, model.safetensors)."
            )
        tokenizer = load_folder(folder)
        if not isinstance(tokenizer, ImageTokenizer):
            raise ConfigError(f"the teacher's model {config.model!r} is of family {tokenizer.family!r}, which takes no pictures.")
        self.tokenizer, self.value_range = tokenizer.requires_grad_(False), value_range
        self.eval()

    def targets(self, x: Tensor) -> Tensor:
        """`[B, 3, H, W]` -> int64 `[B, L]`."""
        (low, high), (bottom, top) = self.value_range, self.tokenizer.spec.value_range
        with torch.autocast(x.device.type, enabled=False):
            y = (x.float() - low) / (high - low) * (top - bottom) + bottom
            return self.tokenizer.encode_batch(y)[0][:, 0]
