"""Fits a `Prior` of ids to a token corpus: the model behind entropy-coded token files (`codecs/entropy/`).

    prior, report = fit_prior("tokens/train"); prior.save("tokens.prior")

A log-bilinear model (Mnih & Hinton 2007) for each codebook is trained in floating point by AdamW on the cross-entropy of the ids, and
its numbers are then rounded to 8 bits; only those take part in coding.

Letters: N ids of one codebook of all items, C neighbours, V ids of a codebook, R rank.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.entropy.fixed_point import PRECISION, UNIT
from ...codecs.entropy.neighbours import Grid, Neighbour, ids_at, places
from ...codecs.entropy.prior import MAX_VOCAB, BookPrior, Prior, row_of, rows_of
from ...codecs.members import members
from ...codecs.spec import id_bits
from ...codecs.token_file import own_ids
from ..progress import Bar
from .dataset import TokenDataset
from .files import CorpusError
from .plain import book_name

#: Ids that are read for each one that is trained on.
_READ = 8
#: Neighbours in the codebook itself: of sequences, and of pictures (left, above, above and to the right, ...).
_SEQUENCE = ((0, -1), (0, -2), (0, -3))
_PLANE = ((0, -1), (-1, 0), (-1, 1), (-1, -1), (0, -2), (-2, 0))
#: Neighbours in earlier codebooks: how many codebooks back, and where.
_SEQUENCE_BELOW = ((1, 0, 0), (2, 0, 0), (3, 0, 0), (1, 0, -1), (1, 0, 1))
_PLANE_BELOW = ((1, 0, 0), (2, 0, 0), (3, 0, 0), (1, 0, 1), (1, 1, 0))


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """How a prior is fitted.

    Attributes:
        rank: R, numbers of each vector; the file has about 3 to 9 x K x V x R bytes before compression.
        epochs, batch_size, lr, weight_decay, seed: of training.
        most_ids: ids of a codebook that are trained on, drawn from the items; of much larger corpora items are drawn, too.
    """

    rank: int = 16
    epochs: int = 2
    batch_size: int = 1024
    lr: float = 0.03
    weight_decay: float = 0.01
    seed: int = 0
    most_ids: int = 1_000_000

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= 256 or min(self.epochs, self.batch_size, self.most_ids) < 1:
            raise ConfigError(f"rank is {self.rank}, epochs {self.epochs}, batch_size {self.batch_size}, most_ids {self.most_ids}; "
                              "allowed: a rank of 1 to 256, and the others from 1.")  # fmt: skip
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf):
            raise ConfigError(f"lr is {self.lr}, weight_decay {self.weight_decay}; allowed: a positive number, and from 0.")


@dataclass(kw_only=True)
class PriorReport:
    """What fitting found.

    Attributes:
        items: of the corpus that were read.
        ids: of each codebook, ids in them.
        bits: of each codebook, bits an id that the coder takes on the corpus itself, on a sample of its ids.
        plain_bits: of each codebook, ceil(log2 V).
        bytes: size of the prior's file.
    """

    items: int
    ids: list[int] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)
    plain_bits: list[int] = field(default_factory=list)
    bytes: int = 0

    @property
    def saving(self) -> float:
        """Share of the plain bits that coding saves on the corpus itself, of all codebooks together."""
        plain = sum(n * b for n, b in zip(self.ids, self.plain_bits, strict=True))
        return 1 - sum(n * b for n, b in zip(self.ids, self.bits, strict=True)) / max(1, plain)


def fit_prior(
    folder: str | Path, *, name: str = "", config: PriorConfig | None = None, progress: bool = False
) -> tuple[Prior, PriorReport]:
    """Fit a prior to the tokens of a corpus.

    Args:
        folder: of a finished corpus.
        name: what files call the prior; "": the last part of the tokenizer's name.
        config: None: the defaults.
        progress: show a progress bar.

    Raises:
        CorpusError: no finished corpus, or one without ids.
        ConfigError: a codebook has more ids than a prior codes.
    """
    c = config or PriorConfig()
    data = TokenDataset(folder, seed=None)
    sizes = data.layout.vocab_sizes
    if max(sizes) > MAX_VOCAB:
        raise ConfigError(f"{folder} holds ids of a codebook of {max(sizes):,}; a prior codes up to {MAX_VOCAB:,}.")
    items = _drawn(data, c)
    if not any(len(x) for ids, _ in items for x in ids):
        raise CorpusError(f"{folder} holds no ids to fit a prior to.")
    report = PriorReport(items=len(items), plain_bits=[id_bits(v) for v in sizes])
    report.ids = [sum(len(ids[k]) for ids, _ in items) for k in range(len(sizes))]
    books, report.bits = fit_books(items, sizes, planar=data.layout.planar, config=c, progress=progress)
    maker = data.layout.tokenizer
    prior = Prior(name or book_name(data.manifest["tokenizer"]["name"]), sizes, books, None if maker is None else asdict(maker))
    report.bytes = len(prior.to_bytes())
    return prior, report


#: Of one item: ids `[n]` of each codebook, and the grid of each.
Item = tuple[list[np.ndarray], list[Grid]]


def fit_books(
    items: Sequence[Item], sizes: Sequence[int], *, planar: bool, config: PriorConfig, progress: bool = False
) -> tuple[tuple[BookPrior | None, ...], list[float]]:
    """Fit the models of all codebooks.

    Args:
        items: to learn from.
        sizes: V of each codebook.
        planar: items are grids, so that ids above an id are its neighbours.
        config: settings.
        progress: show a progress bar.

    Returns:
        (models, bits an id of each codebook that the coder takes on a sample of these ids).
    """
    c, bits, books = config, list[float](), list[BookPrior | None]()
    with Bar(len(sizes) * c.epochs, "codebooks", show=progress) as bar:
        for k, size in enumerate(sizes):
            if size == 1:
                books.append(None)
                bits.append(0.0)
                continue
            near = _neighbours(k, planar)
            ids, columns = _table(items, k, near, sizes)
            if len(ids) > c.most_ids:
                some = torch.randperm(len(ids), generator=torch.Generator().manual_seed(c.seed))[: c.most_ids]
                ids, columns = ids[some], columns[some]
            books.append(_rounded(_trained(ids, columns, near, sizes, k, c, bar), near))
            bits.append(_bits(books[-1], ids, columns))
    return tuple(books), bits


def _drawn(data: TokenDataset, c: PriorConfig) -> list[Item]:
    """Ids and grids of each codebook of some items, all of them if they are few enough."""
    out, left = [], _READ * c.most_ids
    for document in np.random.default_rng(c.seed).permutation(data.documents).tolist():
        ids, grids = own_ids(data.tokens(document))
        if (left := left - max(len(x[0]) for x in ids)) < 0 and out:
            break
        out.append(([x[0] for x in ids], [g[0] for g in grids]))
    return out


def _neighbours(k: int, planar: bool) -> tuple[Neighbour, ...]:
    """The neighbours that a codebook looks at."""
    own, below = (_PLANE, _PLANE_BELOW) if planar else (_SEQUENCE, _SEQUENCE_BELOW)
    own = own if k == 0 else own[: 2 if planar else 1]
    return tuple([Neighbour(k, *at) for at in own] + [Neighbour(k - back, *at) for back, *at in below if back <= k])


def _table(items: Sequence[Item], k: int, near: tuple[Neighbour, ...], sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Ids `[N]` of a codebook, and rows `[N, C]` of the tables of their neighbours."""
    ids, columns = [], []
    for own, grids in items:
        at = [places(grids[k], grids[n.book], n, before=n.book == k) for n in near]
        found = [row_of(ids_at(own[n.book], p, sizes[n.book]), sizes[n.book]) for n, p in zip(near, at, strict=True)]
        ids.append(own[k])
        columns.append(np.stack(found, axis=1).astype(np.int32))
    return torch.from_numpy(np.concatenate(ids)), torch.from_numpy(np.concatenate(columns))


class _Bilinear(nn.Module):
    """The model in floating point; natural logarithms."""

    def __init__(self, ids: Tensor, near: tuple[Neighbour, ...], sizes: Sequence[int], k: int, rank: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows_of(sizes[n.book]) + 1, rank) for n in near)
        for table in self.embeddings():
            nn.init.normal_(table.weight, std=0.1)
        self.matrix = nn.Parameter(torch.randn(rank, sizes[k]) * 0.1)
        counts = torch.bincount(ids, minlength=sizes[k]) + 0.5
        self.logarithms = nn.Parameter((counts / counts.sum()).log())

    def forward(self, rows: Tensor) -> Tensor:
        total = functools.reduce(torch.add, (t(rows[:, i]) for i, t in enumerate(self.tables)))
        return total @ self.matrix + self.logarithms

    def embeddings(self) -> list[nn.Embedding]:
        """The table of each neighbour."""
        return members(self.tables, nn.Embedding)


def _trained(
    ids: Tensor, rows: Tensor, near: tuple[Neighbour, ...], sizes: Sequence[int], k: int, c: PriorConfig, bar: Bar
) -> _Bilinear:
    torch.manual_seed(c.seed + k)
    model = _Bilinear(ids, near, sizes, k, c.rank)
    optimiser = torch.optim.AdamW(model.parameters(), lr=c.lr, weight_decay=c.weight_decay, betas=(0.9, 0.99))
    steps, done = c.epochs * -(-len(ids) // c.batch_size), 0
    for _ in range(c.epochs):
        for part in torch.randperm(len(ids)).split(c.batch_size):
            rate = c.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done / steps)))
            optimiser.param_groups[0]["lr"] = rate
            loss = F.cross_entropy(model(rows[part]), ids[part])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            done += 1
        bar.step()
    return model


def _rounded(model: _Bilinear, near: tuple[Neighbour, ...]) -> BookPrior:
    """The model in whole numbers of 8 bits: the tables take the largest scale that fits, up to a power of two."""
    with torch.no_grad():
        # the mean of each table goes to the others' common part, which the logarithms hold: small numbers round best
        means = [t.weight.mean(0) for t in model.embeddings()]
        tables = [(t.weight - m).numpy().astype(np.float64) for t, m in zip(model.embeddings(), means, strict=True)]
        matrix = model.matrix.numpy().astype(np.float64)
        logarithms = (model.logarithms + functools.reduce(torch.add, means) @ model.matrix).numpy().astype(np.float64)
    # one factor for each row of the matrix, taken out of the tables' columns, lets both use their 8 bits
    balance = np.sqrt(np.maximum(1e-9, np.max([np.abs(t).max(0) for t in tables], axis=0)) / np.maximum(1e-9, np.abs(matrix).max(1)))
    tables, matrix = [t / balance for t in tables], matrix * balance[:, None]
    scale = 127 / max(1e-9, np.abs(matrix).max())
    wanted = UNIT / math.log(2) / scale  # of the tables, before the shift
    shift = max(0, math.floor(math.log2(127 / max(1e-9, max(np.abs(t).max() for t in tables)) / wanted)))
    small = [np.clip(np.rint(t * wanted * 2.0**shift), -127, 127).astype(np.int8) for t in tables]
    whole = np.clip(np.rint(logarithms * UNIT / math.log(2)), -32767, 32767).astype(np.int16)
    return BookPrior(near, tuple(small), np.rint(matrix * scale).astype(np.int8), whole, shift)


def _bits(book: BookPrior | None, ids: Tensor, rows: Tensor) -> float:
    """Bits an id of the coder, on at most 2^16 ids."""
    assert book is not None
    step = max(1, len(ids) >> 16)
    own, at = ids[::step].numpy(), rows[::step].numpy()
    total, size = 0.0, 4096
    for start in range(0, len(own), size):
        part = slice(start, start + size)
        sums = sum(book.tables[i][at[part, i]].astype(np.int32) for i in range(len(book.tables)))
        counts = book.frequencies(np.asarray(sums))
        total += float((PRECISION - np.log2(counts[np.arange(len(counts)), own[part]] + 1)).sum())
    return total / len(own)
