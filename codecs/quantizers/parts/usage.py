"""Usage statistics of codebooks over the most recent training ids, kept in a ring buffer."""

import torch
import torch.distributed as dist
from torch import Tensor, nn


class UsageWindow(nn.Module):
    """The last `N = max(4 V, min(65536, 2^19 / K))` ids of each codebook, as int32, not saved in checkpoints.

    The ring buffer takes 4 N K bytes; usage, perplexity and dead codes are exact over this window.
    The bound by K is for quantizers with hundreds of small codebooks, one for each channel.
    """

    ring: Tensor
    recorded: Tensor

    def __init__(self, codebook_sizes: tuple[int, ...], *, minimum: int = 65536) -> None:
        super().__init__()
        self.codebook_sizes = codebook_sizes
        self.length = max(min(minimum, 2**19 // max(len(codebook_sizes), 1)), 4 * max(codebook_sizes, default=1))
        self.register_buffer("ring", torch.full((len(codebook_sizes), 0), -1, dtype=torch.int32), persistent=False)
        self.register_buffer("recorded", torch.zeros((), dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def record(self, ids: Tensor, mask: Tensor | None = None) -> None:
        """Add ids `[B, K', L]` of the first K' <= K codebooks; `mask` `[B, L]` is False at padding, which is left out."""
        flat = ids.transpose(0, 1)  # [K', B, L]
        flat = flat[:, mask] if mask is not None else flat.flatten(1)  # [K', N]
        flat = flat[:, -self.length :].to(torch.int32)
        if self.ring.shape[1] == 0:  # allocated at first use, so that building a large model costs nothing
            self.ring = torch.full((len(self.codebook_sizes), self.length), -1, dtype=torch.int32, device=ids.device)
        at = (self.recorded + torch.arange(flat.shape[1], device=ids.device)) % self.length  # stays on the device: no wait for it
        self.ring[: flat.shape[0], at] = flat
        self.recorded += flat.shape[1]

    def counts(self) -> list[Tensor]:
        """Number of occurrences of each code in the window, one int64 `[V]` for each codebook, summed over ranks."""
        out = []
        for k, size in enumerate(self.codebook_sizes):
            ids = self.ring[k][self.ring[k] >= 0].long()
            count = torch.bincount(ids, minlength=size)
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(count)
            out.append(count)
        return out

    def usage(self) -> Tensor:
        """Share of codes used at least once in the window, `[K]` in 0..1."""
        return torch.stack([(c > 0).float().mean() for c in self.counts()])

    def dead(self) -> Tensor:
        """Number of codes not used in the window, int64 `[K]`."""
        return torch.stack([(c == 0).sum() for c in self.counts()])

    def perplexity(self) -> Tensor:
        """Exponential of the entropy of the ids in the window, `[K]` in 1..V; 1 when the window is empty."""
        out = []
        for c in self.counts():
            p = c.double() / c.sum().clamp(min=1)
            out.append(torch.exp(torch.special.entr(p).sum()).float())
        return torch.stack(out)
