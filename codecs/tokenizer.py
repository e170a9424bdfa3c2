"""`Tokenizer`: the contract that every family meets. Audio and images add their own intake in `audio/base.py`, `image/base.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .quantizers.base import Quantized, Quantizer
from .spec import TokenizerSpec
from .tokens import Tokens


@dataclass(frozen=True)
class Reconstruction:
    """What `Tokenizer.forward` returns to the training loop.

    Attributes:
        x_hat: reconstruction, shape of the input.
        z: latents before the quantizer, `[B, D, L]`.
        quantized: the quantizer's result.
        features: further outputs that a loss may ask for by name (e.g. a semantic head), empty for most families.
    """

    x_hat: Tensor
    z: Tensor
    quantized: Quantized
    features: Mapping[str, Tensor] = field(default_factory=dict)


class NotDecodable(ValueError):
    """Ids cannot be turned back into media: the tokenizer only encodes (`spec.decodes` is False)."""


class Tokenizer(nn.Module):
    """Media to integers and back.

    A family sets `family`, `config_class`, `config`, `spec` and `quantizer`, and writes `encode_latents` and
    `decode_latents`. `encode` and `decode` come from `AudioTokenizer` or `ImageTokenizer`.
    """

    family: ClassVar[str] = ""
    config_class: ClassVar[type] = object
    #: names of the parts that only encoding, and only decoding, needs; what `load(part=...)` leaves out.
    encoder_only: ClassVar[tuple[str, ...]] = ("encoder",)
    decoder_only: ClassVar[tuple[str, ...]] = ("decoder",)
    config: Any
    spec: TokenizerSpec
    quantizer: Quantizer
    #: filled in by `load`: where the weights came from.
    source: str = ""
    #: the authors' layout that it was read from; "": this library's own.
    layout: str = ""
    #: "encoder" or "decoder" where `load(part=...)` left the other half out.
    part: str = ""

    def encode(self, media: Any) -> Tokens:
        """Turn media into tokens, without gradients; see the modality's base class for what may be passed."""
        raise NotImplementedError

    def decode(self, tokens: Tokens) -> Any:
        """Turn tokens back into media of exactly the original size, without gradients."""
        raise NotImplementedError

    def encode_latents(self, x: Tensor) -> Tensor:
        """Return latents `[B, D, L]` of a batch of one size, with gradients."""
        raise NotImplementedError

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Return media from quantized latents `[B, D, L]`, with gradients."""
        raise NotImplementedError

    def grid_of(self, x: Tensor) -> tuple[int, ...] | None:
        """The shape that L unrolls from for a batch `x`; None: a plain sequence."""
        return None

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode, quantize and decode a training batch; the values equal `encode` followed by `decode`."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the weights."""
        return next(self.parameters()).dtype

    def compile(self, **options: Any) -> "Tokenizer":  # type: ignore[override]
        """Compile encoder and decoder with `torch.compile`; ids are unchanged. `options` go to `torch.compile`."""
        self.encode_latents = torch.compile(self.encode_latents, **options)  # type: ignore[method-assign]
        self.decode_latents = torch.compile(self.decode_latents, **options)  # type: ignore[method-assign]
        return self

    def check_decodes(self) -> None:
        """Raise `NotDecodable` where this tokenizer has no decoder."""
        if not self.spec.decodes:
            raise NotDecodable(f"this {self.family} tokenizer only encodes: its authors published no decoder with these weights.")

    def check_tokens(self, tokens: Tokens) -> None:
        """Raise ValueError where `tokens` cannot be decoded by this tokenizer: other K, V, or a cut it does not allow.

        Raises:
            NotDecodable: this tokenizer only encodes.
        """
        spec, k = self.spec, tokens.num_codebooks
        self.check_decodes()
        if k != spec.num_codebooks and ("codebooks" not in spec.prefix or k > spec.num_codebooks):
            allowed = f"1 to {spec.num_codebooks}" if "codebooks" in spec.prefix else f"{spec.num_codebooks}"
            raise ValueError(f"the tokens have {k} codebooks; {self.family} decodes {allowed}.")
        if tokens.vocab_sizes != spec.vocab_sizes[:k]:
            raise ValueError(
                f"the tokens have vocabularies {tokens.vocab_sizes}, this tokenizer {spec.vocab_sizes[:k]}: "
                "they come from another tokenizer. Decode them with the one that made them."
            )
        if tokens.ids.numel():
            high = tokens.ids.amax(dim=(0, 2)).tolist()
            for i, (top, v) in enumerate(zip(high, tokens.vocab_sizes, strict=True)):
                if top >= v or int(tokens.ids.min()) < 0:
                    low = int(tokens.ids[:, i].min())
                    raise ValueError(f"ids of codebook {i} lie in {low}..{top}, outside its vocabulary 0..{v - 1}.")


def group_by_shape(items: list[Tensor]) -> list[list[int]]:
    """Indices of items of equal shape, in order of first appearance: each group runs as one exact batch."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(tuple(item.shape), []).append(i)
    return list(groups.values())
