"""ITER's refinement: ids are evaluated, those that seem wrong are drawn again, and this is repeated with more of them kept each time.

Chen et al. 2023, "Iterative Token Evaluation and Refinement for Real-World Super-Resolution", arXiv 2312.05616, sections 3.3 and 3.4;
facts of chaofengc/ITER @ 826bcaa3a3, basicsr/archs/iter_arch.py `TokenRefine`.

Of T steps, step i keeps a share of the positions that grows from 0 to 1. The first evaluation says how many ids are right already:
steps that would keep fewer than these are left out, so that a picture with few wrong ids takes few steps, or none.

Differs: the authors count the right ids of the whole batch against the positions of one picture, and keep as many more positions in
all pictures as the first one lacks; here each picture is on its own, which is the same for one picture. Random numbers follow from a
seed and the step, the same for every picture of one size, so that ids do not depend on the batch.

Letters: B batch, h w grid, L = h w positions, V number of ids, T steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from .networks import TokenNetwork

Schedule = Literal["cosine", "linear"]


@dataclass(frozen=True)
class Refined:
    """What the refinement of a batch gave.

    Attributes:
        ids: int64 `[B, h, w]`.
        history: ids before the first step and after each of the T, `[T + 1, B, h, w]`; a step that was left out changes nothing.
        steps: number of steps taken by each picture, `[B]`.
        right: bool `[B, h, w]`, positions whose first ids were evaluated as right.
    """

    ids: Tensor
    history: Tensor
    steps: Tensor
    right: Tensor


def kept_share(progress: float, schedule: Schedule) -> float:
    """The share of positions that is kept at `progress` (0..1) through the steps: 0 at 0 and 1 at 1."""
    return progress if schedule == "linear" else 1 - math.cos(math.pi / 2 * progress)


class Refiner(nn.Module):
    """The evaluation and the refinement network, and the loop around them.

    Args:
        evaluator: two grids of ids to logits (wrong, right), `[B, 2, h, w]`.
        refiner: two grids of ids, some of them masked, to logits over the ids, `[B, V, h, w]`.
    """

    def __init__(self, evaluator: TokenNetwork, refiner: TokenNetwork) -> None:
        super().__init__()
        self.evaluator, self.refiner = evaluator, refiner

    def evaluate(self, ids: Tensor, first: Tensor) -> Tensor:
        """Logits `[B, 2, h, w]` (wrong, right) of ids, given the first ones, both `[B, h, w]`."""
        return self.evaluator(self.evaluator.embedded(ids), self.evaluator.embedded(first))

    def refine(self, first: Tensor, right: Tensor, ids: Tensor, kept: Tensor) -> Tensor:
        """Logits `[B, V, h, w]` over the ids.

        Args:
            first: the first ids `[B, h, w]`.
            right: bool `[B, h, w]`, the positions of `first` that were evaluated as right.
            ids: `[B, h, w]`.
            kept: bool `[B, h, w]`; the network sees a mask at the other positions of `ids`.
        """
        net = self.refiner
        condition = net.embedded(first) + net.mask * ~right[:, None]  # an id that seems wrong is marked, not hidden
        return net(condition, torch.where(kept[:, None], net.embedded(ids), net.mask))

    def forward(
        self,
        first: Tensor,
        *,
        steps: int = 8,
        threshold: float = 0.5,
        schedule: Schedule = "cosine",
        temperatures: tuple[float, float] = (1.0, 1.0),
        seed: int = 0,
    ) -> Refined:
        """Refine ids.

        Args:
            first: int64 `[B, h, w]`.
            steps: T; 0: `first` as it is.
            threshold: ids whose probability to be right is at least this are kept from the start. 0: all are right, and there is no
                step; above 1: none is, and there are T steps.
            schedule: how the share of kept positions grows.
            temperatures: of the draws of ids (0: the likeliest) and of the draws of positions that are kept.
            seed: of these draws.
        """
        right = self.evaluate(first, first).float().softmax(1)[:, 1] >= threshold  # [B, h, w]
        enough = right.flatten(1).sum(1)  # [B]
        ids, kept, verdict = first.clone(), right.clone(), torch.zeros_like(first, dtype=torch.float32)
        history, taken = [first], torch.zeros_like(enough)
        for i in range(steps):
            count = int(kept_share(i / steps, schedule) * first[0].numel())
            for rows in _equal(enough, count, taken):
                if bool(taken[rows[0]]):  # the first step that a picture takes keeps what was right
                    kept[rows] = _keep(verdict[rows], kept[rows], count, _draws(seed, i, 0, kept[rows]))
                logits = self.refine(first[rows], right[rows], ids[rows], kept[rows])
                ids[rows] = _drawn(logits, temperatures[0], _draws(seed, i, 1, kept[rows]))
                if i + 1 < steps:
                    verdict[rows] = _log_right(self.evaluate(ids[rows], first[rows]), temperatures[1])
                taken[rows] += 1
            history.append(ids.clone())
        return Refined(ids, torch.stack(history), taken, right)


def _equal(enough: Tensor, count: int, taken: Tensor) -> Sequence[Tensor]:
    """Rows that take a step that keeps `count` positions: those that began before, and those that begin with it."""
    active = enough <= count
    groups = [(active & (taken > 0)).nonzero()[:, 0], (active & (taken == 0)).nonzero()[:, 0]]
    return [rows for rows in groups if len(rows)]


def _draws(seed: int, step: int, use: int, like: Tensor) -> Tensor:
    """Numbers in 0..1, one a position, `[h, w]`: the same for all pictures, another one for each step and use."""
    generator = torch.Generator().manual_seed((seed * 20_011 + step * 2 + use) % (1 << 63))
    return torch.rand(like.shape[1:], generator=generator, dtype=torch.float32).to(like.device)


def _log_right(logits: Tensor, temperature: float) -> Tensor:
    """Logarithm of the probability `[B, h, w]` that ids are right, of logits `[B, 2, h, w]`; never minus infinity."""
    return ((logits.float() / max(temperature, 1e-6)).softmax(1)[:, 1] + 1e-8).log()


def _keep(verdict: Tensor, kept: Tensor, count: int, draws: Tensor) -> Tensor:
    """`kept` with more positions, `count` in all and at least one more.

    They are drawn without replacement in proportion to their probability: the highest of log-probability plus Gumbel noise.

    Args:
        verdict: log-probabilities `[B, h, w]`.
        kept: bool `[B, h, w]`.
        count: positions to keep.
        draws: `[h, w]`, in 0..1.
    """
    noise = -(-draws.clamp(1e-7, 1 - 1e-7).log()).log()
    score = (verdict + noise).masked_fill(kept, -torch.inf).flatten(1)
    place = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # rank of each position
    already = kept.flatten(1).sum(1, keepdim=True)
    more = (count - already).clamp(min=1)
    return kept | (place < more).view_as(kept)


def _drawn(logits: Tensor, temperature: float, draws: Tensor) -> Tensor:
    """Ids `[B, h, w]` drawn from logits `[B, V, h, w]` by numbers `[h, w]` in 0..1; temperature 0: the likeliest."""
    if temperature == 0:
        return logits.argmax(1)
    total = (logits.float() / temperature).softmax(1).cumsum(1)  # [B, V, h, w]
    return (total <= draws * total[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)
