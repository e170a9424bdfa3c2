"""The tokens of the text beside a picture, for tokenizers that have a text tower of their own (`model.features`; FDT)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from ..packages import transformers_package
from .base import Teacher, TeacherConfig

#: Name of the tokenizer that needs no files: the bytes of the text, 3 higher, and 1 at the end.
BYTES = "bytes"


@dataclass(frozen=True, kw_only=True)
class TextIdsConfig(TeacherConfig):
    """Tokens of a text as numbers.

    Attributes:
        partner: the text under `data.partners`.
        model: hub id or folder of a tokenizer of transformers; "bytes": the bytes of the text (259 tokens), without a download.
        length: number of tokens that texts are cut to.
    """

    kind: ClassVar[str] = "text_ids"
    partner_kinds: ClassVar[tuple[str, ...]] = ("text",)
    model: str = "openai/clip-vit-base-patch32"
    length: int = 77

    def __post_init__(self) -> None:
        if not self.partner or self.length < 2:
            raise ConfigError(
                f"the teacher {self.kind!r} has partner {self.partner!r} and length {self.length}; it needs a text under data.partners "
                "and at least 2 tokens."
            )

    def build(self, spec: TokenizerSpec) -> Teacher:
        return TextIds(self)


class TextIds(Teacher):
    """A tokenizer of texts; settings: `TextIdsConfig`."""

    here: Tensor

    def __init__(self, config: TextIdsConfig) -> None:
        super().__init__()
        package = transformers_package(f"the teacher {config.kind!r}")
        self.length = config.length
        auto: Any = package.AutoTokenizer
        self.tokenizer = package.ByT5Tokenizer(extra_ids=0) if config.model == BYTES else auto.from_pretrained(config.model)
        self.register_buffer("here", torch.zeros(()), persistent=False)  # knows the device
        self.eval()

    def targets(self, x: list[str]) -> Tensor:
        """B texts -> int64 `[B, N]` with N at most `length`, -1 where a text has ended."""
        rows = self.tokenizer(x, truncation=True, max_length=self.length)["input_ids"]
        tokens = [torch.tensor(row, device=self.here.device) for row in rows]
        return nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=-1)
