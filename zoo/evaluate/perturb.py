"""Wrong ids on purpose: how well a decoder bears the mistakes of a language model.

RobustTok (arXiv 2503.08354) measures pFID: the FID of pictures decoded from ids of which some are replaced by near ones.
Differs: near means near the code of the id, since tokens hold no latents (authors: near the latent).
"""

import dataclasses
from dataclasses import dataclass

import torch

from ...codecs.config import ConfigError
from ...codecs.quantizers.base import Quantizer
from ...codecs.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Perturb:
    """Which ids are replaced, and by what.

    Attributes:
        rate: share of ids that are drawn anew, 0..1.
        neighbours: an id is drawn among this many nearest ones, itself included.
        codebooks: only ids of the first codebooks, this many; 0: of all.
        seed: seed of the draws; each item has separate ones.
    """

    rate: float = 0.9
    neighbours: int = 100
    codebooks: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"rate is {self.rate}; it is a share, 0 to 1.")
        if self.neighbours < 1 or self.codebooks < 0 or self.seed < 0:
            raise ConfigError(
                f"neighbours is {self.neighbours}, codebooks {self.codebooks}, seed {self.seed}; allowed: 1 or more, 0 or more twice."
            )

    def __str__(self) -> str:
        books = f" of the first {self.codebooks} codebooks" if self.codebooks else ""
        return f"{self.rate:.0%} of ids{books} drawn among the {self.neighbours} nearest codes (seed {self.seed})"


def perturbed(tokens: Tokens, quantizer: Quantizer, how: Perturb, *, item: int) -> Tokens:
    """Tokens `[1, K, L]` with some ids replaced.

    Args:
        tokens: of one item.
        quantizer: that made them.
        how: which ids, and by what.
        item: number of the item, which with the seed determines the draws.

    Raises:
        ValueError: the tokens are not those of this quantizer alone.
    """
    sizes = tuple(quantizer.codebook_sizes)
    if tokens.vocab_sizes != sizes[: tokens.num_codebooks]:
        raise ValueError(
            f"perturb: the tokens have codebooks of {tokens.vocab_sizes} ids, the quantizer {sizes}; it cannot tell which ids are near."
        )
    generator, ids = torch.Generator().manual_seed(how.seed * 1_000_003 + item), tokens.ids.clone()
    strides = tokens.strides or (1,) * tokens.num_codebooks
    for k in range(min(how.codebooks or tokens.num_codebooks, tokens.num_codebooks)):
        mine = ids[0, k, :: strides[k]]  # [n], an id that is repeated changes once
        near = quantizer.neighbours(k, mine, how.neighbours)  # [n, neighbours]
        choice = torch.randint(near.shape[1], mine.shape, generator=generator).to(ids.device)
        drawn = torch.rand(mine.shape, generator=generator).to(ids.device) < how.rate
        new = torch.where(drawn, near.gather(1, choice[:, None])[:, 0], mine)
        ids[0, k] = new.repeat_interleave(strides[k])[: ids.shape[2]]
    return dataclasses.replace(tokens, ids=ids)
