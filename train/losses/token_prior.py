"""A small autoregressive model of the codes that is trained along with the tokenizer, and whose loss reaches the encoder.

UniWeTok ("An Unified Binary Tokenizer with Codebook Size 2^128", arXiv 2602.14178) trains its codes with a "generative-aware prior", so
that a generator finds them easier to predict. The paper's pages that are public name it and no more, and its training code is not
public: the model, its size and its loss are this library's own choice.

A causal transformer reads the codes of the positions before, row by row, and predicts those of the next one. Its inputs and its targets
are the quantized latents, whose straight-through gradient leads to the encoder: codes move to where they can be foretold.

Letters: B batch, D width of the feature, L positions, W width of the transformer.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import TokenizerSpec
from .base import Loss, LossConfig, LossInputs, features_named, width_of


@dataclass(frozen=True, kw_only=True)
class TokenPriorConfig(LossConfig):
    """The codes are predicted from those before them.

    Attributes:
        feature: quantized latents of the tokenizer, `[B, D, L]`.
        codes: "bits": each channel is one bit, +a or -a (kinds `sign`, `lfq`, `bsq`, `bernoulli`, ...), and the loss its cross-entropy
            in nats a bit. "vectors": any codes; the loss is the squared error as a share of their variance.
        width, layers, heads: of the transformer, whose blocks are four times as wide inside.
    """

    kind: ClassVar[str] = "token_prior"
    feature: str = "z_q"
    codes: Literal["bits", "vectors"] = "bits"
    width: int = 256
    layers: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads) < 1 or self.width % self.heads or self.width % 2:
            rule = "all must be above 0, width even and a multiple of heads"
            raise ConfigError(f"width is {self.width}, layers {self.layers}, heads {self.heads}; {rule}.")

    def needs_widths(self) -> bool:
        return True

    def build(self, spec: TokenizerSpec) -> Loss:
        return TokenPrior(self)


class TokenPrior(Loss):
    """How badly codes are foretold by those before them; settings: `TokenPriorConfig`."""

    on_output = False

    def __init__(self, config: TokenPriorConfig) -> None:
        super().__init__()
        self.config = config
        self.reads = (config.feature,)
        self.begin = nn.Parameter(torch.zeros(config.width))
        block = nn.TransformerEncoderLayer(
            config.width, config.heads, 4 * config.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, config.layers, nn.LayerNorm(config.width), enable_nested_tensor=False)
        self.enter: nn.Module = nn.Identity()
        self.leave: nn.Module = nn.Identity()

    def prepare(self, widths: dict[str, int]) -> None:
        """Make the layers before and after the transformer; `widths` gives the number of channels of each feature by name."""
        width = width_of(widths, self.config.feature)
        self.enter, self.leave = nn.Linear(width, self.config.width), nn.Linear(self.config.width, width)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean cross-entropy of a bit in nats, or the share of the vectors' variance that is not foretold; a scalar."""
        codes = features_named(inputs, self.config.feature)[0].float().transpose(1, 2)  # [B, L, D]
        foretold = self.predicted(codes)
        if self.config.codes == "bits":
            return F.binary_cross_entropy_with_logits(foretold, self._bits(codes))
        return (foretold - codes).square().mean() / codes.detach().var(unbiased=False).clamp(min=1e-8)

    def predicted(self, codes: Tensor) -> Tensor:
        """What is foretold of each position of codes `[B, L, D]` from those before it, in its shape: logits of bits, or vectors."""
        begin = self.begin.expand(len(codes), 1, -1)
        x = torch.cat([begin, self.enter(codes[:, :-1])], dim=1)  # [B, L, W]
        x = x + _places(x.shape[1], x.shape[2], x.device)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        return self.leave(self.blocks(x, mask=mask, is_causal=True))

    def _bits(self, codes: Tensor) -> Tensor:
        """Codes of +a and -a as 1 and 0, with their gradient."""
        size = codes.detach().abs()
        if not torch.allclose(size, size.mean()):
            raise ConfigError(
                f"the feature {self.config.feature!r} has values other than +a and -a, so its channels are no bits. Set codes to "
                "'vectors'."
            )
        return (codes / size + 1) / 2


def _places(length: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of the positions, `[L, W]` (Vaswani et al. 2017)."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
