"""States of a frozen CLIP text model, for decoders that are also conditioned on a description."""

import functools

import torch
from torch import Tensor


class ClipText:
    """Texts to the last hidden states of a CLIP text model, which is loaded by hub id at first use."""

    def __init__(self, model: str) -> None:
        from transformers import CLIPTextModel, CLIPTokenizer

        self.tokenizer = CLIPTokenizer.from_pretrained(model)
        self.model = CLIPTextModel.from_pretrained(model).eval().requires_grad_(False)

    @classmethod
    @functools.lru_cache(maxsize=2)
    def named(cls, model: str) -> "ClipText":
        """The text model with this hub id, kept for the next call."""
        return cls(model)

    @torch.no_grad()
    def __call__(self, texts: list[str], length: int) -> Tensor:
        """States `[B, length, dim]` of B texts, which are cut to `length` tokens or padded with token 0, as in open_clip."""
        rows = self.tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows], device=self.model.device)
        # open_clip has a causal mask only; the tokenizer's padding token and attention mask would change the states.
        return self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
