"""Index backpropagation: the code with the largest dot product, trained through the softmax over all codes.

Shi et al. 2024, arXiv 2412.02692. Checked against TencentARC/SEED-Voken @ b9a17eac8e (Apache-2.0) and baaivision/Emu3.5
@ 8fcf1da48f (Apache-2.0), `IndexPropagationQuantize`.
Letters: B batch, D latent width, L positions, V codebook size, N = B L rows.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig
from .parts.nearest import largest_dot
from .parts.rows import from_rows, row_mean, select, to_rows

_BLOCK = 1 << 22  # at most this many logits at once, 16 MiB


@dataclass(frozen=True, kw_only=True)
class IBQConfig(QuantizerConfig):
    """Settings of `IBQ`.

    loss = mean (z_q - z)^2 + mean (sg(e) - z)^2 + beta mean (e - sg(z))^2 + entropy_weight * entropy
    entropy = sample_weight * H(position) - batch_weight * H(mean over positions)

    with e the chosen code and z_q its straight-through form; H in nats, of softmax(z . codes / entropy_temperature).

    Attributes:
        codebook_size: V.
        beta: weight of the codebook term, see above.
        entropy_weight: weight of the entropy term; 0 leaves it out (published recipes: 0.05).
        entropy_temperature: temperature of the softmax in H, above 0.
        sample_weight: weight of H(position), which is small where the choice of a code is clear.
        batch_weight: weight of H(mean over positions), which is large where all codes are used.
    """

    kind: ClassVar[str] = "ibq"

    codebook_size: int = 16384
    beta: float = 0.25
    entropy_weight: float = 0.05
    entropy_temperature: float = 0.01
    sample_weight: float = 1.0
    batch_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.codebook_size < 1 or self.entropy_temperature <= 0:
            raise ConfigError(
                f"codebook_size is {self.codebook_size}, entropy_temperature {self.entropy_temperature}; "
                "both must be positive."
            )

    def quantizer_class(self) -> type["IBQ"]:
        return IBQ


class IBQ(Quantizer):
    """id = argmax of z . embed. Every code gets a gradient at every step, that of the softmax over the same scores.

    The whole N x V logits are never in memory, only blocks of them: none in `encode`, in training once for the backward pass and,
    with `entropy_weight`, twice for the entropies.
    """

    config: IBQConfig

    def __init__(self, config: IBQConfig) -> None:
        super().__init__(config, (config.codebook_size,))
        self.embed = nn.Parameter(torch.randn(config.codebook_size, config.dim))

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Ids `[N]` of rows `[N, D]`."""
        return largest_dot(rows, self.embed.detach().float())

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        c, rows, table = self.config, to_rows(z), self.embed.float()
        keep = None if mask is None else mask.flatten()
        ids = self.search_rows(rows.detach())
        chosen = F.embedding(ids, table)  # [N, D]
        z_q = index_backprop(rows, table, ids)
        through, commitment = (z_q - rows).square().mean(1), (chosen.detach() - rows).square().mean(1)
        code = row_mean(through + commitment + c.beta * (chosen - rows.detach()).square().mean(1), keep)
        loss, metrics = code, {"code": code.detach()}
        if c.entropy_weight:
            position, batch = _entropies(select(rows, keep), table, c.entropy_temperature)
            entropy = c.sample_weight * position - c.batch_weight * batch
            loss = loss + c.entropy_weight * entropy
            metrics |= {"position_entropy": position.detach(), "code_entropy": batch.detach(), "entropy":
            entropy.detach()}
        return Quantized(from_rows(z_q, z), ids.view(len(z), 1, z.shape[-1]), loss, metrics)

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.search_rows(to_rows(z)).view(len(z), 1, z.shape[-1])

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return from_rows(F.embedding(ids.flatten(), self.embed.float()), ids)


def index_backprop(rows: Tensor, table: Tensor, ids: Tensor) -> Tensor:
    """Value `table[ids]`, gradient of `(onehot(ids) + soft - sg(soft)) @ table` with soft = softmax(rows @ table.T).

    Args:
        rows: `[N, D]`.
        table: `[V, D]`.
        ids: `[N]`.
    """
    return _IndexBackprop.apply(rows, table, ids)


class _IndexBackprop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(rows, table, ids)
        return table[ids]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, table, ids = ctx.saved_tensors
        to_rows, to_table = [], torch.zeros_like(table).index_add_(0, ids, grad)
        step = max(1, _BLOCK // len(table))
        for r, g in zip(rows.split(step), grad.split(step), strict=True):
            soft = F.softmax(r @ table.t(), dim=1)  # [n, V]
            to_soft = g @ table.t()
            to_logits = soft * (to_soft - (soft * to_soft).sum(1, keepdim=True))
            to_rows.append(to_logits @ table)
            to_table.addmm_(to_logits.t(), r)
        return torch.cat(to_rows), to_table, None


def _entropies(rows: Tensor, table: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(mean entropy of a position, entropy of the mean distribution) in nats, of rows `[N, D]` and a table `[V, D]`."""
    if not len(rows):
        return rows.sum(), rows.sum()
    step = max(1, _BLOCK // len(table))
    parts = [checkpoint(_entropy_sums, part, table, temperature, use_reentrant=False) for part in rows.split(step)]
    position, mean = (torch.stack(x).sum(0) / len(rows) for x in zip(*parts, strict=True))
    return position, -(mean * (mean + 1e-5).log()).sum()


def _entropy_sums(rows: Tensor, table: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    log_p = F.log_softmax(rows @ table.t() / temperature, dim=1)
    p = log_p.exp()
    return -(p * log_p).sum(), p.sum(dim=0)
