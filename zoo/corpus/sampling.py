"""Tokens drawn from a language model over shards: one step at a time, or several a pass by speculative Jacobi decoding.

Speculative Jacobi decoding (Teng et al. 2024, arXiv 2410.01699): a pass of the model judges a window of guessed ids at once. The guess
x at a step, drawn from q, is kept with probability min(1, p(x) / q(x)), p being the model's distribution after the kept ids; at the
first one that is not kept an id is drawn from max(p - q, 0), and later steps are guessed anew from the pass's distributions. The ids
are distributed as those drawn one by one.

Grouped (GSD, So et al. 2025, arXiv 2508.07747): a guess is judged by the probability of a group of ids that stand near it in the
order of probabilities and decode to nearly the same. More guesses are kept; the distribution is then only nearly the model's.

Letters: K codebooks, V ids of a codebook, w width of the window.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.tokens import Tokens
from .packing.base import Packing
from .packing.per_dimension import PerDimensionPacking


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How ids are drawn.

    Attributes:
        temperature: 0 takes the likeliest id.
        top_k: draw among this many likeliest ids.
        draft: guessed steps that one pass of the model judges; 0: one step a pass.
        group_ranks: an id's group are ids at most this many places away in the order of probabilities ...
        group_probability: ... whose probability differs by less than this ...
        group_distance: ... and whose code vectors are less than this apart, in root mean squares of all vectors; 0: each id alone,
            which is exact. Needs the tokenizer's code vectors.
        passes: passes of a masked model in which all ids of an item are drawn; 0: one for each id, which is exact.
        reveal: the ids that a pass of a masked model keeps: "random" ones, or those drawn with the most "confidence".
    """

    temperature: float = 0.9
    top_k: int = 50
    draft: int = 0
    group_ranks: int = 7
    group_probability: float = 0.15
    group_distance: float = 0.0
    passes: int = 0
    reveal: Literal["random", "confidence"] = "random"

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ConfigError(f"top_k is {self.top_k}; it must be at least 1.")
        if self.group_distance and not self.draft:
            raise ConfigError("group_distance concerns guessed steps: set draft to their number.")


class Drawn(NamedTuple):
    """Result of a sampler: the tokens, and how many passes of the model and how many drawn ids they took."""

    tokens: Tokens
    passes: int
    steps: int


class _Steps:
    """The distribution over the vocabulary at each step of a packing that takes the K codebooks of a position in turn."""

    def __init__(self, packing: Packing, config: SamplerConfig) -> None:
        self.packing, self.config = packing, config
        self._allowed: dict[tuple[int, bool], Tensor] = {}
        self.offsets, self.sizes = packing.vocabulary.offsets(packing.config.tokenizer), packing.vocab_sizes
        self.order = packing.order if isinstance(packing, PerDimensionPacking) else tuple(range(len(self.sizes)))

    def turn(self, step: int) -> int:
        """Codebook of step 0, 1, ... after the begin token."""
        return self.order[step % len(self.order)]

    def allowed(self, step: int) -> Tensor:
        """Ids that may stand at a step: those of its codebook, and the end token where a position begins."""
        k = self.turn(step)
        ends = step % len(self.order) == 0 and step > 0
        if (k, ends) not in self._allowed:
            ids = list(range(self.offsets[k], self.offsets[k] + self.sizes[k]))
            self._allowed[k, ends] = torch.tensor(ids + [self.packing.end_id] * ends)
        return self._allowed[k, ends]

    def uniform(self, step: int, size: int) -> Tensor:
        """Equal probabilities of all ids of the step's codebook, `[V]`."""
        p, k = torch.zeros(size, dtype=torch.float64), self.turn(step)
        p[self.offsets[k] : self.offsets[k] + self.sizes[k]] = 1 / self.sizes[k]
        return p

    def probabilities(self, logits: Tensor, step: int) -> Tensor:
        """Probabilities `[V]` of the step's id, from logits `[V]`: only allowed ids, `temperature` and `top_k` applied."""
        ids, p = self.allowed(step), torch.zeros(len(logits), dtype=torch.float64)
        p[ids] = weights(logits[ids], self.config)
        return p


@torch.no_grad()
def sample(
    model: Any,
    packing: Packing,
    positions: int,
    prompt: Tokens | None = None,
    *,
    config: SamplerConfig,
    seed: int,
    codes: Sequence[Tensor] = (),
) -> Drawn:
    """Tokens that a causal model of transformers generates after `prompt` (or after the begin token), up to its end token.

    Args:
        model: takes `input_ids` and a cache of keys and values, and returns `logits` and the cache.
        packing: interleaved, or another of one id a step that takes all codebooks of a position in turn. At each step only
            ids of the codebook whose turn it is can be drawn, and the end token where a position begins.
        positions: of prompt and continuation together, at most.
        prompt: tokens to continue.
        config: how ids are drawn.
        seed: of the draws.
        codes: code vectors `[V, width]` of each codebook (`tokenizer.quantizer.code_vectors(k)`), for `group_distance`.

    Raises:
        ValueError: `group_distance` without the code vectors of all codebooks.
    """
    steps, generator = _Steps(packing, config), torch.Generator().manual_seed(seed)
    ids = [packing.begin_id] if prompt is None else packing.pack(prompt).input_ids[0, :-1].tolist()
    first, last = len(ids), positions * len(packing.vocab_sizes) + 1  # the begin token is no step
    groups = _Groups(config, steps, codes) if config.group_distance else None
    name = cache_name(model)
    cache, passes = None, 0
    guesses: list[int] = []
    drafts: list[Tensor] = []  # the distribution that each guess was drawn from
    while len(ids) < last and ids[-1] != packing.end_id:
        known = 0 if cache is None else cache.get_seq_length()
        result = model(input_ids=torch.tensor([[*ids, *guesses][known:]]), use_cache=True, **{name: cache})
        cache, passes = getattr(result, name), passes + 1
        logits = result.logits[0, len(ids) - 1 - known :].float()  # of the steps after ids, guesses + 1 of them
        at = len(ids) - 1  # number of the next step
        p = [steps.probabilities(row, at + i) for i, row in enumerate(logits)]
        kept = 0
        for guess, q in zip(guesses, drafts, strict=True):
            ratio = groups.ratio(guess, p[kept], q, steps.turn(at + kept)) if groups else p[kept][guess] / q[guess]
            if torch.rand((), generator=generator, dtype=torch.float64) >= ratio:
                break
            ids.append(guess)
            kept += 1
            if guess == packing.end_id:
                break
        if ids[-1] != packing.end_id and len(ids) < last:
            rest = (p[kept] - drafts[kept]).clamp(min=0) if kept < len(guesses) else p[kept]
            ids.append(int(draw(rest if float(rest.sum()) > 0 else p[kept], generator)))
        if (more := cache.get_seq_length() - len(ids) + 1) > 0:
            cache.crop(-more)
        # later steps are guessed from this pass; those beyond its window from equal probabilities
        begin, number = len(ids) - 1, max(0, min(config.draft, last - len(ids)))
        drafts = [p[s - at] if s - at < len(p) else steps.uniform(s, len(logits[0])) for s in range(begin, begin + number)]
        guesses = [int(draw(q, generator)) for q in drafts]
    return Drawn(packing.unpack(ids).tokens, passes, len(ids) - first)


class _Groups:
    """Groups of ids that count as one when a guess is judged."""

    def __init__(self, config: SamplerConfig, steps: _Steps, codes: Sequence[Tensor]) -> None:
        if [len(table) for table in codes] != list(steps.sizes):
            raise ValueError(f"group_distance needs the code vectors of codebooks of {steps.sizes} ids; got {[len(t) for t in codes]}.")
        self.config, self.steps = config, steps
        self.codes = [table.double() / table.double().square().mean(0).sum().sqrt() for table in codes]

    def ratio(self, guess: int, p: Tensor, q: Tensor, book: int) -> float:
        """Probability of the guess's group in p over that in q; p, q `[V]`."""
        own, offset, c = guess - self.steps.offsets[book], self.steps.offsets[book], self.config
        if not 0 <= own < self.steps.sizes[book]:  # the end token is a group of its own
            return float(p[guess] / q[guess])
        mine = p[offset : offset + self.steps.sizes[book]]
        rank = torch.empty_like(mine).scatter_(0, mine.argsort(descending=True, stable=True), torch.arange(len(mine)).double())
        table = self.codes[book]
        group = (rank - rank[own]).abs() <= c.group_ranks
        group &= (mine - mine[own]).abs() < c.group_probability
        group &= (table - table[own]).square().sum(1).sqrt() < c.group_distance
        return float(mine[group].sum() / q[offset : offset + len(mine)][group].sum())


def weights(logits: Tensor, config: SamplerConfig) -> Tensor:
    """Probabilities float64 `[..., V]` of ids with these logits, `temperature` and `top_k` applied."""
    kept = logits.double().topk(1 if config.temperature == 0 else min(config.top_k, logits.shape[-1]))
    p = (kept.values / (config.temperature or 1)).softmax(-1)
    return torch.zeros_like(logits, dtype=torch.float64).scatter(-1, kept.indices, p)


def draw(p: Tensor, generator: torch.Generator) -> Tensor:
    """Ids `[...]` drawn in proportion to weights `[..., V]`."""
    return torch.multinomial(p.reshape(-1, p.shape[-1]), 1, generator=generator).view(p.shape[:-1])


def cache_name(model: Any) -> str:
    """The argument for keys and values: `cache`, or `past_key_values` in transformers before 5.24."""
    return "cache" if "cache" in inspect.signature(getattr(model, "forward", model)).parameters else "past_key_values"
