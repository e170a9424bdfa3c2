"""A data set of made-up tokens in memory, for tests of the models over them."""

from types import SimpleNamespace

import torch
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.corpus.plain import packing_of
from tokenzoo.zoo.corpus.records import Layout
from tokenzoo.zoo.corpus.samples import Samples


class Made(Samples):
    """One document a sample, in order.

    Args:
        ids: int64 `[N, K, L]`.
        sizes: V of each codebook.
        packing: as of a `TokenDataset`.
        grid: `(h, w)` with `h * w == L`, or None.
    """

    transform = None

    def __init__(self, ids, sizes, packing, grid=None):
        self.ids, self.sizes, self.grid = ids, tuple(sizes), grid
        self.layout = SimpleNamespace(vocab_sizes=self.sizes)
        self.packing = packing_of(packing, Layout(modality="image", vocab_sizes=self.sizes, planar=True), "made").build()
        self.documents = len(ids)
        self.packed = self.packing.pack(self.tokens())

    def __len__(self):
        return len(self.ids)

    def settings(self):
        return {}

    def tokens(self, i=None):
        ids = self.ids if i is None else self.ids[i : i + 1]
        return Tokens(ids=ids, vocab_sizes=self.sizes, **({"grid": self.grid} if self.grid else {}))

    def __getitem__(self, position):
        ids, labels = (x[position % len(self)] for x in (self.packed.input_ids, self.packed.labels))
        steps = torch.arange(ids.shape[-1])
        return {"input_ids": ids, "labels": labels, "document_ids": torch.zeros_like(steps), "position_ids": steps}


def dependent(count, positions, seed):
    """Ids `[count, 3, positions]` of 4, 4 and 2 values: the first stays what it was or is drawn anew, the second follows the first, the
    third is the parity of both, most often; and their true entropy in bits an id."""
    g = torch.Generator().manual_seed(seed)

    def kept(share, then, other, shape):
        return torch.where(torch.rand(shape, generator=g) < share, then, other)

    shape = (count, positions)
    fresh = torch.randint(4, shape, generator=g)
    first = fresh.clone()
    for p in range(1, positions):
        first[:, p] = kept(0.6, first[:, p - 1], fresh[:, p], (count,))
    second = kept(0.8, first, torch.randint(4, shape, generator=g), shape)
    third = kept(0.9, (first + second) % 2, torch.randint(2, shape, generator=g), shape)
    chain = (2 + (positions - 1) * _mixed(0.6, 4)) / positions
    return torch.stack([first, second, third], dim=1), (chain + _mixed(0.8, 4) + _mixed(0.9, 2)) / 3


def _mixed(share, size):
    """Entropy in bits of a value that is known with probability `share`, else drawn from `size` values."""
    p = torch.full((size,), (1 - share) / size)
    p[0] += share
    return float(-(p * p.log2()).sum())
