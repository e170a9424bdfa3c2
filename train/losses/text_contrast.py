"""Contrastive loss (CLIP's) between media and the texts that belong to them, with a text tower that is trained along or frozen.

Sources: CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3), UniTok (arXiv 2502.20321: the tokenizer's embedding of the picture
against that of its caption), FDT (arXiv 2303.14865: two mixtures of one dictionary).
Letters: B batch of all processes, D width of the feature, E width of the space that both share.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from ..packages import transformers_package
from .base import Loss, LossConfig, LossInputs, features_named, texts_named, width_of


@dataclass(frozen=True, kw_only=True)
class TextContrastConfig(LossConfig):
    """Each medium's vector is matched with that of its text, against those of the batch.

    Attributes:
        model: a CLIP model of transformers with its tokenizer, by hub id or folder; its text half is used.
        target: in place of a `model`, the feature in which the tokenizer itself gives the text's vectors (`text_mixture` of FDT).
        partner: the text under `data.partners`; "": the only partner.
        feature: of the tokenizer; the mean over its positions is compared.
        project: learn a linear layer from the feature to the width of the text's vectors; else both have one width.
        frozen: keep the text tower as it is. A frozen tower is not saved in checkpoints.
        pretrained: False begins with random weights for the config of `model`, always the same ones.
        scale, largest_scale: factor on cosines before the softmax, where it begins and what it may grow to; it is learned.
    """

    kind: ClassVar[str] = "text_contrast"
    partner_kinds: ClassVar[tuple[str, ...]] = ("text",)
    model: str = ""
    target: str = ""
    partner: str = ""
    feature: str = "embedding"
    project: bool = False
    frozen: bool = False
    pretrained: bool = True
    scale: float = 1 / 0.07
    largest_scale: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.scale <= self.largest_scale:
            raise ConfigError(f"scale is {self.scale}, largest_scale {self.largest_scale}; need 0 < scale <= largest_scale.")
        if bool(self.model) == bool(self.target) or (self.target and (self.project or self.partner)):
            raise ConfigError(
                f"the loss {self.kind!r} has model {self.model!r} and target {self.target!r}; it needs one of them, and project and "
                "partner with a model only."
            )

    def needs_widths(self) -> bool:
        return self.project

    def build(self, spec: TokenizerSpec) -> Loss:
        return TextContrast(self)


class TextContrast(Loss):
    """Contrastive loss between media and texts; settings: `TextContrastConfig`."""

    on_output = False

    def __init__(self, config: TextContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.reads = (config.feature, *((config.target,) if config.target else ()))
        self.trained: nn.Module | None = None
        self._frozen: list[Any] = []
        if config.model:
            self._load(config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.projection: nn.Module = nn.Identity()

    def _load(self, config: TextContrastConfig) -> None:
        package = transformers_package(f"the loss {config.kind!r}")
        self.tokenizer = package.AutoTokenizer.from_pretrained(config.model)
        tower = _tower(package, config).eval()  # without dropout: the loss is the same in training and validation
        self.width, self.length = int(tower.config.projection_dim), int(tower.config.max_position_embeddings)
        if config.frozen:  # in a list, so that it is neither a parameter of the loss nor saved with it
            self._frozen = [tower.requires_grad_(False)]
        else:
            self.trained = tower

    def prepare(self, widths: dict[str, int]) -> None:
        """Make the projection; `widths` gives the number of channels of each feature by name."""
        if self.config.project:
            self.projection = nn.Linear(width_of(widths, self.config.feature), self.width)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean of the cross-entropies from media to texts and back, a scalar; in training over all processes' items."""
        ours = self.projection(features_named(inputs, self.config.feature)[0].float().mean(2))  # [b, E] of this process
        if self.config.target:
            theirs = features_named(inputs, self.config.target)[0].float().mean(2)
        else:
            theirs = self.embed(texts_named(inputs.partners, self.config.partner), ours.device)
        if ours.shape[1] != theirs.shape[1]:
            of = self.config.model or self.config.target
            raise ConfigError(
                f"the feature {self.config.feature!r} has {ours.shape[1]} channels, the texts of {of!r} {theirs.shape[1]}; set project "
                "to true."
            )
        ours, theirs = F.normalize(ours, dim=1), F.normalize(theirs, dim=1)
        all_ours, all_theirs, first = _of_all(ours), _of_all(theirs), _first_row(len(ours))  # [B, E]
        scale = self.log_scale.exp().clamp(max=self.config.largest_scale)
        own = torch.arange(first, first + len(ours), device=ours.device)
        there = F.cross_entropy(scale * ours @ all_theirs.t(), own)
        return (there + F.cross_entropy(scale * theirs @ all_ours.t(), own)) / 2

    def embed(self, texts: list[str], device: torch.device) -> Tensor:
        """Vectors `[b, E]` of texts, not normalised."""
        tower: Any = self.trained if self.trained is not None else self._frozen[0].to(device)
        read = self.tokenizer(texts, padding=True, truncation=True, max_length=self.length, return_tensors="pt").to(device)
        return tower(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).text_embeds.float()


def _tower(package: Any, config: TextContrastConfig) -> Any:
    """The text half of a CLIP model, with its own weights or random ones."""
    kind = package.CLIPTextModelWithProjection
    if config.pretrained:
        return kind.from_pretrained(config.model, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(package.CLIPTextConfig.from_pretrained(config.model))


def _shared() -> bool:
    """Whether other processes compute the same step: not in validation, which the first process does alone."""
    return torch.is_grad_enabled() and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _of_all(x: Tensor) -> Tensor:
    """Rows `[B, E]` of all processes, from those `[b, E]` of each; gradients go back to the process that a row is from."""
    if not _shared():
        return x
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(x)))


def _first_row(rows: int) -> int:
    """Where the rows of this process begin among those of all."""
    return dist.get_rank() * rows if _shared() else 0
