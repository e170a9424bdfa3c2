"""States of a CLIP text model on the text beside a picture, for tokenizers whose decoder takes a description (`model.features`).

Source: TA-TiTok (arXiv 2501.07730; bytedance/1d-tokenizer @ 942a96fbdd): the states of all 77 tokens after the last norm.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.image.titok.text import ClipText
from ...codecs.spec import TokenizerSpec
from ..packages import transformers_package
from .base import Teacher, TeacherConfig


@dataclass(frozen=True, kw_only=True)
class ClipTextConfig(TeacherConfig):
    """A state for each token of a text.

    Attributes:
        partner: the text under `data.partners`.
        model: hub id or folder of a CLIP model of transformers with its tokenizer.
        length: number of tokens that texts are cut or padded to.
        padding: "states": of padding too, which TA-TiTok's decoder reads; "zeros" in their place.
    """

    kind: ClassVar[str] = "clip_text"
    partner_kinds: ClassVar[tuple[str, ...]] = ("text",)
    model: str = "openai/clip-vit-large-patch14-336"
    length: int = 77
    padding: Literal["states", "zeros"] = "states"

    def __post_init__(self) -> None:
        if not self.partner:
            raise ConfigError(f"the teacher {self.kind!r} has no partner; name the text under data.partners that it reads.")

    def build(self, spec: TokenizerSpec) -> Teacher:
        return ClipTextStates(self)


class ClipTextStates(Teacher):
    """A frozen CLIP text model; settings: `ClipTextConfig`."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        transformers_package(f"the teacher {config.kind!r}")
        self.text = ClipText(config.model)
        self.model = self.text.model  # so that it goes to the device
        self.eval()

    def targets(self, x: list[str]) -> Tensor:
        """B texts -> `[B, D, length]`."""
        states = self.text(x, self.config.length)  # [B, length, D]
        if self.config.padding == "zeros":
            read = self.text.tokenizer(x, truncation=True, max_length=self.config.length)["input_ids"]
            counts = torch.tensor([len(row) for row in read], device=states.device)
            states = states * (torch.arange(self.config.length, device=states.device) < counts[:, None])[..., None]
        return states.transpose(1, 2)
