"""Contrastive loss (CLIP's) between media and the texts that belong to them, with a text tower that is trained along or frozen.

Sources: CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3), UniTok (arXiv 2502.20321: the tokenizer's embedding of the picture
against that of its caption), FDT (arXiv 2303.14865: two mixtures of one dictionary), SEED (arXiv 2307.08041: the last causal
embedding against a BERT's state; AILab-CVC/SEED @ 93b3cf4081, blip2_qformer_casual.py).
Letters: B batch of all processes, D width of the feature, E width of the space that both share.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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
        model: a CLIP model of transformers with its tokenizer, by hub id or folder, whose text half is used; with a `width` an
            encoder such as BERT, whose state at the first token is used.
        target: in place of a `model`, the feature in which the tokenizer itself gives the text's vectors (`text_mixture` of FDT).
        partner: the text under `data.partners`; "": the only partner.
        feature: of the tokenizer.
        pool: what of it is compared: the mean over its positions, or the last one, which knows the others where positions are causal.
        project: learn a linear layer from the feature to the width of the text's vectors; else both have one width.
        width: E, to which a linear layer leads from the states of an encoder; 0 for a CLIP model, which has such a layer.
        max_text_tokens: longer texts are cut off; 0: where the model's positions end.
        frozen: keep the text tower as it is. A frozen tower is not saved in checkpoints.
        pretrained: False begins with random weights for the config of `model`, always the same ones.
        scale, largest_scale: factor on cosines before the softmax, where it begins and what it may grow to; it is learned.
        smoothing: share of the target that is spread over all items of the batch.
    """

    kind: ClassVar[str] = "text_contrast"
    partner_kinds: ClassVar[tuple[str, ...]] = ("text",)
    model: str = ""
    target: str = ""
    partner: str = ""
    feature: str = "embedding"
    pool: Literal["mean", "last"] = "mean"
    project: bool = False
    width: int = 0
    max_text_tokens: int = 0
    frozen: bool = False
    pretrained: bool = True
    scale: float = 1 / 0.07
    largest_scale: float = 100.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale <= self.largest_scale:
            raise ConfigError(f"scale is {self.scale}, largest_scale {self.largest_scale}; need 0 < scale <= largest_scale.")
        if bool(self.model) == bool(self.target) or (self.target and (self.project or self.partner or self.width)):
            raise ConfigError(
                f"the loss {self.kind!r} has model {self.model!r} and target {self.target!r}; it needs one of them, and project, width "
                "and partner with a model only."
            )
        if not 0 <= self.smoothing < 1 or min(self.width, self.max_text_tokens) < 0:
            raise ConfigError(
                f"smoothing is {self.smoothing}, width {self.width}, max_text_tokens {self.max_text_tokens}; need 0 <= smoothing < 1, "
                "and the others 0 or more."
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
        if config.width:
            self.text_projection = nn.Linear(self.text_width, config.width)

    def _load(self, config: TextContrastConfig) -> None:
        package = transformers_package(f"the loss {config.kind!r}")
        self.tokenizer = package.AutoTokenizer.from_pretrained(config.model)
        tower = _tower(package, config).eval()  # without dropout: the loss is the same in training and validation
        self.text_width = int(tower.config.hidden_size)
        self.width = config.width or int(tower.config.projection_dim)
        self.length = config.max_text_tokens or int(tower.config.max_position_embeddings)
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
        ours = self.projection(self._pooled(inputs, self.config.feature))  # [b, E] of this process
        if self.config.target:
            theirs = self._pooled(inputs, self.config.target)
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
        there = F.cross_entropy(scale * ours @ all_theirs.t(), own, label_smoothing=self.config.smoothing)
        return (there + F.cross_entropy(scale * theirs @ all_ours.t(), own, label_smoothing=self.config.smoothing)) / 2

    def _pooled(self, inputs: LossInputs, name: str) -> Tensor:
        """One vector `[b, C]` of each item's feature `[b, C, N]`."""
        feature = features_named(inputs, name)[0].float()
        return feature.mean(2) if self.config.pool == "mean" else feature[:, :, -1]

    def embed(self, texts: list[str], device: torch.device) -> Tensor:
        """Vectors `[b, E]` of texts, not normalised."""
        tower: Any = self.trained if self.trained is not None else self._frozen[0].to(device)
        read = self.tokenizer(texts, padding=True, truncation=True, max_length=self.length, return_tensors="pt").to(device)
        out = tower(input_ids=read["input_ids"], attention_mask=read["attention_mask"])
        return self.text_projection(out.last_hidden_state[:, 0].float()) if self.config.width else out.text_embeds.float()


def _tower(package: Any, config: TextContrastConfig) -> Any:
    """The text half of a CLIP model, or an encoder, with its own weights or random ones.

    Raises:
        ConfigError: `width` is set for a CLIP model, or is not for another one.
    """
    settings = package.AutoConfig.from_pretrained(config.model)
    if settings.model_type.startswith("clip") == bool(config.width):
        raise ConfigError(
            f"{config.model!r} is a model of type {settings.model_type!r}, and width is {config.width}; a CLIP model has a width of "
            "its own (0), another encoder needs one."
        )
    clip, auto = package.CLIPTextModelWithProjection, package.AutoModel
    if config.pretrained:
        tower = (auto if config.width else clip).from_pretrained(config.model, dtype=torch.float32)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            tower = auto.from_config(settings) if config.width else clip(package.CLIPTextConfig.from_pretrained(config.model))
    if config.width:
        tower.pooler = None  # a layer of BERT's that is not read
    return tower


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
