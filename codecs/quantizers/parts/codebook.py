"""The table of code vectors: initialisation by k-means, EMA statistics, replacement of dead codes; the same on every rank.

Letters: N rows (items x positions), V codebook size, d width of the table.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import ConfigError
from ..base import QuantizerConfig
from .clustering import all_reduce_together, batch_statistics, dist_on, kmeans, pick_rows
from .nearest import nearest_code, unit


@dataclass(frozen=True, kw_only=True)
class TableConfig(QuantizerConfig):
    """Settings of one table of code vectors, common to all kinds that search nearest codes.

    Attributes:
        codebook_dim: 0: the table is as wide as its input. Otherwise the lookup happens in a space of this width,
            between a linear map down and one up (factorised codes: ViT-VQGAN, arXiv 2110.04627; DAC, arXiv 2306.06546).
        proj_bias: whether these two maps have a bias (DAC: yes; Mimi: no).
        normalize: look up by cosine similarity: rows and codes are scaled to length 1.
        returns: result of a lookup with `normalize`: the stored vector ("raw": DAC, MOSS) or the one of length 1
            ("normalized": ViT-VQGAN, LlamaGen; the latent is then normalised too, in losses and gradients). "unit": as
            "normalized", but after a Euclidean search (Janus in transformers).
        update: "ema": codes are exponential moving averages of the rows assigned to them; "gradient": the codebook loss trains
            them.
        decay: decay of these averages for each step, 0 <= decay < 1.
        commitment_weight: weight of `mean((z - sg(z_q))^2)`; beta of VQ-VAE.
        codebook_weight: weight of `mean((sg(z) - z_q)^2)`, only with `update = "gradient"`.
        kmeans_init: initialise the codes by k-means of the first `kmeans_batches` training batches; until then they are near
            zero.
        kmeans_batches: number of batches that k-means collects; together they should have several times V rows.
        kmeans_iterations: fixed number of Lloyd steps.
        replace_below: a dead code, whose running count is below this share of the uniform count (rows / V), is replaced by a
            random row of the batch (0.1 in Moshi); 0: never.
        replace_every: number of steps between two such checks.
        gradient: estimator of the gradient to the latent: "straight_through", or "rotation" (arXiv 2410.06424). The value of
            `z_q` is the same.
    """

    codebook_dim: int = 0
    proj_bias: bool = True
    normalize: bool = False
    returns: Literal["raw", "normalized", "unit"] = "raw"
    update: Literal["ema", "gradient"] = "ema"
    decay: float = 0.99
    commitment_weight: float = 0.25
    codebook_weight: float = 1.0
    kmeans_init: bool = True
    kmeans_batches: int = 1
    kmeans_iterations: int = 10
    replace_below: float = 0.1
    replace_every: int = 1
    gradient: Literal["straight_through", "rotation"] = "straight_through"

    def __post_init__(self) -> None:
        if self.returns == "normalized" and not self.normalize:
            raise ConfigError("returns = 'normalized' needs normalize = true: lookup and result must be in one space.")
        if self.returns == "unit" and self.normalize:
            raise ConfigError("returns = 'unit' is for the Euclidean search; with normalize = true set 'normalized'.")
        if not 0 <= self.decay < 1:
            raise ConfigError(f"decay is {self.decay}; allowed: 0 <= decay < 1.")
        if not 0 <= self.replace_below < 1:
            raise ConfigError(f"replace_below is {self.replace_below}; it is a share of uniform use, 0 (off) to below 1.")
        for name in ("kmeans_batches", "kmeans_iterations", "replace_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")

    @property
    def table_dim(self) -> int:
        """Width d of the table."""
        return self.codebook_dim or self.dim


class Codebook(nn.Module):
    """`embed [V, d]` and, for its updates, the running number (`counts [V]`) and sum (`sums [V, d]`) of the rows of each code.

    With `update = "ema"` (VQ-VAE, arXiv 1711.00937, appendix A.1) `counts` and `sums` are exponential moving averages over
    steps, and `embed = sums / counts`. With `update = "gradient"` `embed` is a parameter and `counts` is used only to find dead
    codes.

    `observe` collects rows, and `apply_updates` updates the table with them, so that a table shared by several levels changes
    once a step, after all levels have used it. With gradient accumulation, `one_step` makes several forwards one step.
    """

    embed: Tensor
    counts: Tensor
    sums: Tensor
    ready: Tensor
    steps: Tensor

    def __init__(self, size: int, dim: int, config: TableConfig) -> None:
        super().__init__()
        self.size, self.dim, self.config = size, dim, config
        embed = torch.randn(size, dim) if config.normalize else torch.empty(size, dim).uniform_(-1 / size, 1 / size)
        if config.update == "gradient":
            self.embed = nn.Parameter(embed)
        else:
            self.register_buffer("embed", embed)
            self.register_buffer("sums", embed.clone())
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("ready", torch.tensor(not config.kmeans_init))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        # Copies of `ready` and `steps` in Python, so that the GPU is not synchronised at every step.
        self._started = False
        self._step: int | None = None
        self._samples: list[list[Tensor]] = []  # rows kept for the k-means start: a list of parts for each batch
        self._rows: list[Tensor] = []  # rows and ids observed since the last `apply_updates`
        self._ids: list[Tensor] = []

    # --- lookup -----------------------------------------------------------------------------------------------------

    def search(self, z: Tensor) -> Tensor:
        """Return ids int64 `[N]` of rows `[N, d]`: nearest by Euclidean distance or, with `normalize`, by cosine similarity."""
        return nearest_code(self.space(z.detach()), self.space(self.embed.detach().float()))

    def space(self, x: Tensor) -> Tensor:
        """Rows or codes `[N, d]` in the space in which distances are computed."""
        return unit(x) if self.config.normalize else x

    def vectors(self, ids: Tensor) -> Tensor:
        """Return the code vectors `[*ids.shape, d]` of any integer tensor."""
        return self.returned(F.embedding(ids, self.embed).float())

    def returned(self, rows: Tensor) -> Tensor:
        """Rows or codes `[..., d]` in the space of the results, in which losses and averages are computed."""
        return rows if self.config.returns == "raw" else unit(rows)

    # --- training ---------------------------------------------------------------------------------------------------

    def row_losses(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Commitment and codebook term, `[N]` each, of rows `p [N, d]` and their code vectors `q [N, d]`."""
        commitment = (p - q.detach()).square().mean(dim=1)
        if self.config.update == "ema":
            return commitment, torch.zeros_like(commitment)
        return commitment, (p.detach() - q).square().mean(dim=1)

    @torch.no_grad()
    def prepare(self, rows: Tensor) -> None:
        """Before the first lookups: collect valid rows `[N, d]`, and initialise by k-means once there are enough batches.

        With gradient accumulation it does nothing: `only_start` has initialised the table from the whole batch before.
        """
        step = _step.get()
        if self.is_ready() or (not len(rows) and not dist_on()) or (step is not None and step.parts > 1 and not step.only_start):
            return
        # the same number of segments in every process, also where masks leave different numbers of rows
        self._samples.append(list(self.returned(rows.detach()).tensor_split(parts_of_step())))
        if len(self._samples) < self.config.kmeans_batches:
            return
        batches, self._samples = self._samples, []
        samples = [part for batch in batches for part in batch]
        centres, counts = kmeans(
            samples, self.size, iterations=self.config.kmeans_iterations, space=self.space, seed=self.size
        )
        self._set(torch.arange(self.size, device=centres.device), centres, counts / len(batches))
        self.ready.fill_(True)
        self._started = True

    def take_observed(self, parts: int = 1) -> tuple[list[Tensor], Tensor]:
        """Return the rows (a list of `[N_i, d]`) and ids `[N]` observed since the last call, and forget them.

        Args:
            parts: number of forwards that observed them. If each observed several times (a table for all scales), the rows are put
                in the order of one forward of the whole batch, so that dead codes are replaced by the same rows.
        """
        each = len(self._rows) // parts
        order = [part * each + i for i in range(each) for part in range(parts)] if each * parts == len(self._rows) else None
        rows, ids = ([x[i] for i in order] if order else x for x in (self._rows, self._ids))
        self._rows, self._ids = [], []
        if not rows:
            none = self.counts.new_zeros(0, self.dim, dtype=torch.float32)
            return [none], torch.zeros(0, dtype=torch.int64, device=none.device)
        return rows, torch.cat(ids)

    def next_step(self) -> int:
        """Count an update; returns its number, from 0."""
        step = int(self.steps) if self._step is None else self._step
        self._step = step + 1
        self.steps += 1
        return step

    def is_ready(self) -> bool:
        """False until k-means has initialised the table; always True without `kmeans_init`."""
        self._started = self._started or bool(self.ready)
        return self._started

    @torch.no_grad()
    def observe(self, rows: Tensor, ids: Tensor) -> None:
        """Remember valid rows `[N, d]` and their ids `[N]` for the next `apply_updates`."""
        if self.is_ready():
            self._rows.append(self.returned(rows.detach()))
            self._ids.append(ids)

    def _set(self, where: Tensor, vectors: Tensor, counts: Tensor) -> None:
        """Set `embed`, `sums` and `counts` of the codes `where` (without new sums the next step would restore the old vector)."""
        self.embed.data[where] = vectors.to(self.embed.dtype)
        self.counts[where] = counts.to(self.counts.dtype)
        if self.config.update == "ema":
            self.sums[where] = (vectors * counts.unsqueeze(1)).to(self.sums.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # A converted checkpoint has only `embed`: the statistics start from it, and k-means must not overwrite it.
        embed = state_dict.get(prefix + "embed")
        if embed is not None and prefix + "counts" not in state_dict:
            state_dict[prefix + "counts"] = torch.ones(self.size)
            state_dict[prefix + "ready"] = torch.tensor(True)
            state_dict[prefix + "steps"] = torch.zeros((), dtype=torch.int64)
            if self.config.update == "ema":
                state_dict[prefix + "sums"] = embed.clone()
        self._started, self._step = False, None
        super()._load_from_state_dict(state_dict, prefix, *args)


@dataclass
class _Step:
    """State of `one_step` or `only_start`: the tables used inside, by `id`, in the order of their first use."""

    parts: int
    only_start: bool = False
    used: dict[int, Codebook] = field(default_factory=dict)


_step: ContextVar[_Step | None] = ContextVar("step", default=None)


@contextmanager
def one_step(parts: int = 1) -> Iterator[None]:
    """Context manager: all forwards inside are one training step. Tables are updated once, at its end, with the rows of all.

    Without it every forward in train mode is a step. If the block raises, no table is updated.

    Args:
        parts: number of forwards that the batch of the step is cut into (gradient accumulation). With more than one, tables are
            not initialised by k-means inside: run the whole batch inside `only_start` before.
    """
    step = _Step(parts)
    token = _step.set(step)
    done = False
    try:
        yield
        done = True
    finally:
        _step.reset(token)
        books = list(step.used.values())
        if done:
            apply_updates(books, parts=parts)
        else:
            for book in books:
                book.take_observed()


def parts_of_step() -> int:
    """Number of forwards that the step in progress is cut into; 1 outside of `one_step`."""
    step = _step.get()
    return 1 if step is None else step.parts


@contextmanager
def only_start(parts: int) -> Iterator[None]:
    """Context manager: forwards in train mode inside initialise by k-means the tables that still need it, and update none.

    Args:
        parts: number of equal parts that a batch inside consists of, one after the other along B. Several processes then initialise
            tables as one process with the whole batch does.
    """
    step = _Step(parts, only_start=True)
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)
        for book in step.used.values():
            book.take_observed()


@torch.no_grad()
def apply_updates(codebooks: Sequence[Codebook], *, parts: int = 1) -> None:
    """Update tables with the rows observed since the last call: one all-reduce for all tables, then replacement of dead codes.

    Every rank must call it with the same codebooks; the number and sizes of the collectives do not depend on the data. Inside
    `one_step` the update happens at the end of the step.
    """
    step = _step.get()
    if step is not None:
        step.used |= {id(c): c for c in codebooks}
        return
    live = [c for c in codebooks if c.is_ready()]
    observed = [c.take_observed(parts) for c in live]
    if not live or not (dist_on() or any(len(ids) for _, ids in observed)):
        return
    stats = [batch_statistics(torch.cat(rows), ids, c.size) for c, (rows, ids) in zip(live, observed, strict=True)]
    all_reduce_together([t for pair in stats for t in pair])
    due = []
    for book, (rows, _), (sums, counts) in zip(live, observed, stats, strict=True):
        _ema_step(book, sums, counts)
        step = book.next_step()
        if book.config.replace_below > 0 and step % book.config.replace_every == 0:
            due.append((book, rows, step))
    _replace_dead(due)


def _ema_step(book: Codebook, sums: Tensor, counts: Tensor) -> None:
    decay = book.config.decay
    book.counts.mul_(decay).add_(counts, alpha=1 - decay)
    if book.config.update == "ema":
        book.sums.mul_(decay).add_(sums, alpha=1 - decay)
        # An unused code stays where it is: sums and counts decay together, until the count is too small to divide by.
        counts = book.counts.unsqueeze(1)
        book.embed.copy_(torch.where(counts > 1e-6, book.sums / counts.clamp(min=1e-6), book.embed))


def _replace_dead(due: Sequence[tuple[Codebook, list[Tensor], int]]) -> None:
    """Replace codes used less than `replace_below` of the uniform share by rows of the global batch (Jukebox, Moshi).

    Args:
        due: (table, rows that it observed on this rank, seed) of each table to check.
    """
    if not due:
        return
    flags = [b.counts < b.config.replace_below * b.counts.mean() for b, _, _ in due]
    if flags[0].device.type != "cpu":  # the host waits for the device once, not for each table
        flags = torch.cat(flags).cpu().split([b.size for b, _, _ in due])
    dead = [at.nonzero()[:, 0].to(b.counts.device, non_blocking=True) for at, (b, _, _) in zip(flags, due, strict=True)]  # on all ranks
    if not dist_on():
        due = [d for d, at in zip(due, dead, strict=True) if len(at)]
        dead = [at for at in dead if len(at)]
    if not due:
        return
    # With several ranks V rows are drawn for each table, however many codes are dead: the collective has a fixed size.
    nums = [b.size if dist_on() else len(at) for (b, _, _), at in zip(due, dead, strict=True)]
    drawn = pick_rows([rows for _, rows, _ in due], nums, seeds=[seed for _, _, seed in due])
    for (book, _, _), at, (rows, total) in zip(due, dead, drawn, strict=True):
        if total:
            book._set(at, rows[: len(at)], book.counts.mean().expand(len(at)))
