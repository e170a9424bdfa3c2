"""Two residual stacks on the same input, whose results are added: the first one semantic, the second one acoustic.

Mimi (arXiv 2410.00037, section 3.3.3; kyutai-labs/moshi `SplitResidualVectorQuantizer`): the first level is distilled from a
speech model, and the other levels quantize the same input, not its residual. In configs it is `residual_vq` with `split_first`,
the number of levels of the first stack.
Letters: B batch, D latent width, L positions, K codebooks, n levels of the first stack.
"""

import dataclasses

import torch
from torch import Tensor

from .parts.codebook import Codebook
from .parts.residual import ResidualStack, StackResult
from .residual_vq import ResidualVQ, ResidualVQConfig


class SplitResidualVQ(ResidualStack):
    """ids `[B, K, L]`: the n levels of `first`, then those of `rest`, each with its own maps; dropout counts levels in this order."""

    config: ResidualVQConfig

    def __init__(self, config: ResidualVQConfig) -> None:
        super().__init__(config, config.sizes)
        self.strides = config.strides
        self.split = n = config.split_first
        self.first = ResidualVQ(_levels(config, slice(0, n)))
        self.rest = ResidualVQ(_levels(config, slice(n, None)))

    def codebooks(self) -> list[Codebook]:
        return [] if self.frozen else self.first.codebooks() + self.rest.codebooks()

    @torch.no_grad()
    def search(
        self, z: Tensor, num: int, *, kept: Tensor | None = None, mask: Tensor | None = None, update: bool = False
    ) -> Tensor:
        a, b = self._halves(kept)
        ids = [self.first.search(z, min(num, self.split), kept=a, mask=mask, update=update)]
        if num > self.split:
            ids.append(self.rest.search(z, num - self.split, kept=b, mask=mask, update=update))
        return torch.cat(ids)

    def terms(self, z: Tensor, ids: Tensor, *, kept: Tensor | None = None, mask: Tensor | None = None) -> StackResult:
        n, (a, b) = self.split, self._halves(kept)
        first, rest = self.first.terms(z, ids[:n], kept=a, mask=mask), self.rest.terms(z, ids[n:], kept=b, mask=mask)
        commitment = torch.cat((first.commitment, rest.commitment))
        return StackResult(first.z_q + rest.z_q, commitment, torch.cat((first.codebook, rest.codebook)))

    def decode_stack(self, ids: Tensor) -> Tensor:
        first = self.first.decode_stack(ids[: self.split])
        return first + self.rest.decode_stack(ids[self.split :]) if len(ids) > self.split else first

    def first_part(self, z: Tensor, ids: Tensor) -> Tensor:
        """z_q `[B, D, L]` of the first stack alone, with gradients, for the distillation loss.

        Args:
            z: latents `[B, D, L]`.
            ids: ids `[B, K, L]` that `forward` returned for these latents.
        """
        with torch.autocast(z.device.type, enabled=False):
            rows = z.float().transpose(1, 2)  # [B, L, D]
            return self.first.terms(rows, ids[:, : self.split].transpose(0, 1)).z_q.transpose(1, 2)

    def _halves(self, kept: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """The rows of `kept [K, B]` that belong to each stack."""
        return (None, None) if kept is None else (kept[: self.split], kept[self.split :])


def _levels(config: ResidualVQConfig, part: slice) -> ResidualVQConfig:
    """Config of the stack of the levels `part`, without dropout: `SplitResidualVQ` draws it for both stacks together."""
    size, width = config.codebook_size, config.codebook_dim
    return dataclasses.replace(
        config,
        num_codebooks=len(range(config.num_codebooks)[part]),
        codebook_size=size if isinstance(size, int) else size[part],
        codebook_dim=width if isinstance(width, int) else width[part],
        strides=config.strides[part],
        dropout=0.0,
        split_first=0,
    )
