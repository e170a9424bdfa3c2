"""Cross-entropy of a causal language model that reads the tokens and has to write the text that belongs to the medium.

Sources: DualSpeechLM's USTokenizer (arXiv 2508.08961; lavendery/UUG @ b259503: a frozen Phi-3.5 or LLaMA 3.2), ETT (arXiv 2505.10562:
captions, the language model trained along), MOSS Audio Tokenizer's text head. Its gradient makes the codes say what the text says.

    [ prompt | latents z_q, projected | prompt | text ]  ->  the text, token by token

Letters: B batch, D width of the latents, L positions, C width of the language model, N tokens of text, V its vocabulary.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from ..packages import transformers_package
from .base import Loss, LossConfig, LossInputs, features_named, texts_named, width_of

#: Place of the latents in a prompt.
LATENTS = "{latents}"
#: Name of the language model for debug runs.
BYTES = "bytes"


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(LossConfig):
    """A language model that reads the tokenizer's latents through a projection of two linear layers.

    Attributes:
        model: a causal language model of transformers with its tokenizer, by hub id or folder. "bytes": a LLaMA of 32 channels and
            two layers over the bytes of the text, always with the same random weights; for debug runs, without a download.
        partner: the text under `data.partners`; "": the only partner.
        feature: what it reads, for each position: "z_q", "z" or one of the tokenizer's features.
        frozen: keep the language model as it is; the projection is trained always. A frozen model is not saved in checkpoints. To
            train it slower than the tokenizer, set `rate`.
        prompt: text between latents and text, with the marks of a chat model if it needs some. What stands before `{latents}` in it
            comes before the latents. Its very first token is that with which the model's sequences begin, if there is one.
        max_text_tokens: longer texts are cut off.
        pretrained: False takes random weights for the config of `model`, always the same ones.
        dtype: of a frozen model, to save memory; one that is trained is float32.
    """

    kind: ClassVar[str] = "language_model"
    partner_kinds: ClassVar[tuple[str, ...]] = ("text",)
    model: str
    partner: str = ""
    feature: str = "z_q"
    frozen: bool = True
    prompt: str = ""
    max_text_tokens: int = 128
    pretrained: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.max_text_tokens < 1:
            raise ConfigError(f"max_text_tokens is {self.max_text_tokens}; it must be at least 1.")
        if not self.frozen and self.dtype != "float32":
            raise ConfigError(f"dtype is {self.dtype!r}, but frozen is false; a language model that is trained is float32.")

    def needs_widths(self) -> bool:
        return True

    def build(self, spec: TokenizerSpec) -> Loss:
        return LanguageModel(self)


class LanguageModel(Loss):
    """A text's cross-entropy given the latents; settings: `LanguageModelConfig`.

    Differs: the mean is over items, of each item's mean over its tokens, so that parts of a batch and processes give the gradient of
    the whole; transformers takes the mean over all tokens of a batch.
    """

    on_output = False

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.reads = (config.feature,)
        package = transformers_package(f"the loss {config.kind!r}")
        auto = package.AutoTokenizer
        self.tokenizer = package.ByT5Tokenizer(extra_ids=0) if config.model == BYTES else auto.from_pretrained(config.model)
        model = _model(package, config).eval()  # without dropout: the loss is the same in training and validation
        self.width: int = model.get_input_embeddings().embedding_dim
        self.longest: int | None = getattr(model.config, "max_position_embeddings", None)
        # A frozen model is in a list, so that it is neither a parameter of the loss nor saved with it.
        self._frozen = [model.requires_grad_(False)] if config.frozen else []
        self.trained: nn.Module | None = None if config.frozen else model
        before, _, after = config.prompt.rpartition(LATENTS)
        begin = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        self.before, self.after = begin + self._ids(before), self._ids(after)
        self.projection: nn.Module = nn.Identity()

    def prepare(self, widths: dict[str, int]) -> None:
        """Make the projection; `widths` gives the number of channels of each feature by name."""
        width = width_of(widths, self.config.feature)
        self.projection = nn.Sequential(nn.Linear(width, self.width), nn.GELU(), nn.Linear(self.width, self.width))

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean cross-entropy of a text token in nats, a scalar."""
        latents = features_named(inputs, self.config.feature)[0].float()  # [B, D, L]
        ids, wanted = self.tokens(texts_named(inputs.partners, self.config.partner), latents.device)  # [B, N]
        logits = self.logits(latents, ids, wanted)  # [B, N, V]
        each = F.cross_entropy(logits.transpose(1, 2), ids, reduction="none") * wanted  # [B, N]
        return (each.sum(1) / wanted.sum(1)).mean()

    def tokens(self, texts: list[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """Token ids `[B, N]` of texts, each with the end token if there is one, and bool `[B, N]`, False for padding.

        Raises:
            ConfigError: a text without tokens.
        """
        end = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        rows = [(self._ids(t) + end)[: self.config.max_text_tokens] for t in texts]
        if not all(rows):
            raise ConfigError(f"the tokenizer of {self.config.model!r} gives no tokens for the text {texts[rows.index([])]!r:.100}.")
        ids = nn.utils.rnn.pad_sequence([torch.tensor(row, device=device) for row in rows], batch_first=True)
        counts = torch.tensor([len(row) for row in rows], device=device)
        return ids, torch.arange(ids.shape[1], device=device) < counts[:, None]

    def logits(self, latents: Tensor, ids: Tensor, wanted: Tensor) -> Tensor:
        """Logits `[B, N, V]` of each text token given the latents `[B, D, L]`, the prompt and the tokens before; float32.

        Raises:
            ConfigError: more positions and tokens than the language model takes.
        """
        model: Any = self.trained if self.trained is not None else self._frozen[0].to(latents.device)
        embed = model.get_input_embeddings()
        before, after = (torch.tensor(p, dtype=torch.int64, device=ids.device).expand(len(ids), -1) for p in (self.before, self.after))
        read = self.projection(latents.transpose(1, 2)).to(embed.weight.dtype)  # [B, L, C]
        whole = torch.cat([embed(before), read, embed(torch.cat([after, ids], dim=1))], dim=1)  # [B, all of these, C]
        if self.longest and whole.shape[1] > self.longest:
            tokens = len(self.before) + len(self.after)
            raise ConfigError(
                f"{read.shape[1]} positions, {tokens} tokens of the prompt and {ids.shape[1]} of the text are more than the "
                f"{self.longest} that {self.config.model!r} takes; use smaller crops, or a lower max_text_tokens."
            )
        given = torch.ones(len(ids), whole.shape[1] - ids.shape[1], dtype=torch.bool, device=ids.device)
        mask = torch.cat([given, wanted], dim=1).long()
        out = model(inputs_embeds=whole, attention_mask=mask, use_cache=False, logits_to_keep=ids.shape[1] + 1)
        return out.logits[:, :-1].float()  # the logits at a token are those of the next one

    def _ids(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens around it."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def _model(package: Any, config: LanguageModelConfig) -> Any:
    """The language model, with its own weights or random ones."""
    if config.pretrained and config.model != BYTES:
        return package.AutoModelForCausalLM.from_pretrained(config.model, dtype=getattr(torch, config.dtype))
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 3 + 256}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        of_bytes = package.LlamaConfig(**small, pad_token_id=0, bos_token_id=None, eos_token_id=1) if config.model == BYTES else None
        model = package.AutoModelForCausalLM.from_config(of_bytes or package.AutoConfig.from_pretrained(config.model))
    return model.to(getattr(torch, config.dtype))
