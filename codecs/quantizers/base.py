"""Base classes of every quantizer: its config, the output of `forward`, and the interface of training, encode and decode.

Letters: B batch, D latent width, L positions, K codebooks, V codebook size.
`z` is the latent before the quantizer, `z_q` after it, `ids` integers.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..config import ConfigError, Polymorphic
from ..precision import KeepsDtype
from .parts.nearest import nearest_codes
from .parts.usage import UsageWindow

_ROWS = 1 << 16  # ids decoded together by `code_vectors`


@dataclass(frozen=True)
class Quantized:
    """Output of the `forward` of every quantizer.

    Attributes:
        z_q: `[B, D, L]`, in the dtype of the input; its value is exactly `decode(ids)`, its gradient the estimator's.
        ids: int64 `[B, K, L]` (multi-scale kinds: `[B, 1, sum of scale positions]`).
        loss: scalar, the sum of the quantizer's own weighted terms (0 where there are none).
        metrics: the unweighted terms and other scalars by name, detached.
    """

    z_q: Tensor
    ids: Tensor
    loss: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig(Polymorphic):
    """Settings common to all kinds. `dim` is D, the width of the latents; 0: the family that uses the quantizer fills it in."""

    dim: int = 0

    def build(self, *, dim: int | None = None) -> "Quantizer":
        """Construct the quantizer; `dim` replaces a `dim` of 0 and must be equal to any other, else ConfigError."""
        config = self
        if dim is not None:
            if self.dim not in (0, dim):
                raise ConfigError(f"quantizer.dim is {self.dim}, but the latents are {dim} wide; leave dim out or set {dim}.")
            config = dataclasses.replace(self, dim=dim)
        return self.quantizer_class()(config)

    def quantizer_class(self) -> Callable[[Any], "Quantizer"]:
        """Return the `Quantizer` that this config describes (a method, so that configs can be defined before classes)."""
        raise NotImplementedError


def codebook_size_of(config: QuantizerConfig) -> int:
    """V, of a kind whose settings have one `codebook_size`.

    Raises:
        ConfigError: a kind without one, such as "bsq", whose V follows from other settings; or a size for each codebook.
    """
    size = getattr(config, "codebook_size", None)
    if not isinstance(size, int):
        raise ConfigError(f"this quantizer of kind {config.kind!r} has no single codebook_size; take one that has, such as 'vq'.")
    return size


@runtime_checkable
class Fittable(Protocol):
    """Quantizers whose codebook is fitted to features, once, instead of trained."""

    def fit(self, features: Tensor) -> float:
        """Fit to features `[N, D]` or `[B, D, L]`; returns the mean squared error of a feature."""
        ...


class Quantizer(KeepsDtype):
    """Base class: checks shapes, computes in float32 regardless of autocast or the model's dtype, and counts code usage.

    Subclasses set `codebook_sizes` and write `_quantize`, `_encode`, `_decode`, all on float32 latents `[B, D, L]`.
    `_quantize` and `_encode` must use the same nearest-code function.
    """

    #: True where the first N codebooks alone decode to a coarser result (residual kinds).
    prefix_decodable: bool = False
    #: for each codebook, positions that share one id (multi-rate kinds); empty: 1 everywhere.
    strides: tuple[int, ...] = ()
    #: `(h, w)` of each scale, coarse to fine (multi-scale kinds); empty for all others.
    scale_grids: tuple[tuple[int, int], ...] = ()
    #: True where ids have more positions than latents, the layout depends on the grid (multi-scale kinds), or an id depends on all
    #: positions of its item (optvq): such latents are never quantized in parts.
    needs_grid: bool = False

    def __init__(self, config: QuantizerConfig, codebook_sizes: tuple[int, ...]) -> None:
        super().__init__()
        if config.dim < 1:
            raise ConfigError(f"{type(self).__name__}: dim is {config.dim}; give the width of the latents.")
        self.config = config
        self.dim = config.dim
        self.codebook_sizes = codebook_sizes
        self.frozen = False
        self.window = UsageWindow(codebook_sizes)

    @property
    def num_codebooks(self) -> int:
        """K, the number of integers at each position."""
        return len(self.codebook_sizes)

    def forward(self, z: Tensor, *, grid: tuple[int, ...] | None = None, mask: Tensor | None = None) -> Quantized:
        """Quantize latents for training.

        Args:
            z: `[B, D, L]`, any float dtype.
            grid: the shape that was flattened into L, `(h, w)` for pictures; only multi-scale kinds use it.
            mask: bool `[B, L]`, True at valid positions; others are left out of losses, statistics and updates.

        Raises:
            ValueError: latents of another rank or width.
        """
        self._check_latents(z)
        with torch.autocast(z.device.type, enabled=False):
            out = self._quantize(z.float(), grid, mask)
        if self.training and not torch.compiler.is_compiling():
            self.window.record(out.ids, mask if mask is None or mask.shape[-1] == out.ids.shape[-1] else None)
        return dataclasses.replace(out, z_q=out.z_q.to(z.dtype))

    @torch.no_grad()
    def encode(self, z: Tensor, *, grid: tuple[int, ...] | None = None, num_codebooks: int | None = None) -> Tensor:
        """Return ids int64 `[B, K, L]` of latents `[B, D, L]`; never changes any state.

        Args:
            z: `[B, D, L]`, any float dtype.
            grid: as in `forward`.
            num_codebooks: stop after this many codebooks, 1 to K (kinds with `prefix_decodable`); None: all K.

        Raises:
            ValueError: latents of another rank or width, or a number of codebooks that is not allowed.
        """
        self._check_latents(z)
        num = self._check_prefix(num_codebooks)
        with torch.autocast(z.device.type, enabled=False):
            return self._encode(z.float(), grid, num)

    def decode(self, ids: Tensor, *, grid: tuple[int, ...] | None = None) -> Tensor:
        """Return `z_q` float32 `[B, D, L]` of ids `[B, K', L]`, K' = K or, with `prefix_decodable`, 1 to K.

        Raises:
            ValueError: wrong rank, wrong K, or ids outside their vocabulary.
        """
        self._check_ids(ids)
        with torch.autocast(ids.device.type, enabled=False):
            return self._decode(ids, grid)

    @torch.no_grad()
    def code_vectors(self, codebook: int) -> Tensor:
        """Return float32 `[V, width]`: where the ids of one codebook lie, so that distances between rows are distances between ids.

        The rows are the quantized latents of a position whose other codebooks have id 0 (multi-scale kinds: the codes of a scale).
        """
        size, repeat = self.codebook_sizes[codebook], math.lcm(*self.strides)
        rows = []
        for ids in torch.arange(size, device=self._device()).split(_ROWS):
            all_ids = ids.new_zeros(1, self.num_codebooks, len(ids) * repeat)
            all_ids[0, codebook] = ids.repeat_interleave(repeat)
            rows.append(self.decode(all_ids)[0, :, ::repeat].t())
        return torch.cat(rows)

    def neighbours(self, codebook: int, ids: Tensor, count: int) -> Tensor:
        """Return the `count` ids nearest to each of `ids [N]` of one codebook, int64 `[N, min(count, V)]`, itself first."""
        vectors, (some, where) = self.code_vectors(codebook), ids.unique(return_inverse=True)
        near = nearest_codes(vectors[some], vectors, count)
        near[:, 0] = some  # of equal codes the search finds any
        return near[where]

    def freeze(self, frozen: bool = True) -> "Quantizer":
        """Stop every change of the codebook (statistics, replacement, gradients); the straight-through gradient stays."""
        for part in self.modules():
            if isinstance(part, Quantizer):
                part.frozen = frozen
        for p in self.parameters():
            p.requires_grad_(not frozen)
        return self

    def usage(self) -> Tensor:
        """Share of each codebook used in the running window, `[K]` in 0..1, reduced over ranks (all must call)."""
        return self.window.usage()

    def perplexity(self) -> Tensor:
        """Exponential of the entropy of each codebook in the running window, `[K]` in 1..V, reduced over ranks."""
        return self.window.perplexity()

    def dead(self) -> Tensor:
        """Number of codes of each codebook not used in the running window, int64 `[K]`, reduced over ranks."""
        return self.window.dead()

    def _device(self) -> torch.device:
        return next(itertools.chain(self.parameters(), self.buffers())).device

    # --- for subclasses -------------------------------------------------------------------------------------------

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        raise NotImplementedError

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        raise NotImplementedError

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        raise NotImplementedError

    # --- checks ---------------------------------------------------------------------------------------------------

    def _check_latents(self, z: Tensor) -> None:
        if z.ndim != 3 or z.shape[1] != self.dim:
            raise ValueError(
                f"{type(self).__name__} takes latents [B, D={self.dim}, L]; got {list(z.shape)}. "
                "Move the channel axis to position 1 and flatten grids row by row."
            )

    def _check_prefix(self, num_codebooks: int | None) -> int:
        if num_codebooks is None or num_codebooks == self.num_codebooks:
            return self.num_codebooks
        if not self.prefix_decodable or not 1 <= num_codebooks <= self.num_codebooks:
            allowed = f"1 to {self.num_codebooks}" if self.prefix_decodable else f"only {self.num_codebooks}"
            raise ValueError(f"num_codebooks is {num_codebooks}; {type(self).__name__} allows {allowed}.")
        return num_codebooks

    def _check_ids(self, ids: Tensor) -> None:
        if ids.ndim != 3 or ids.is_floating_point():
            raise ValueError(f"ids must be integers [B, K={self.num_codebooks}, L]; got {ids.dtype} {list(ids.shape)}.")
        num = self._check_prefix(ids.shape[1])
        if torch.compiler.is_compiling() or ids.numel() == 0:
            return
        bounds = torch.stack(torch.aminmax(ids.transpose(0, 1).reshape(num, -1), dim=1)).tolist()  # one transfer to the host
        for k, (lo, hi) in enumerate(zip(*bounds, strict=True)):
            if lo < 0 or hi >= self.codebook_sizes[k]:
                raise ValueError(
                    f"ids of codebook {k} lie in {lo}..{hi}, outside its vocabulary 0..{self.codebook_sizes[k] - 1}."
                )


def zero_loss(z: Tensor) -> Tensor:
    """A scalar 0 on the device and in the dtype of `z`, for kinds without a loss."""
    return z.new_zeros(())


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """Value exactly `z_q`, gradient the identity to `z` (Bengio et al. 2013, arXiv 1308.3432).

    `z + (z_q - z).detach()` is off by a rounding error; this is exact.
    """
    return _StraightThrough.apply(z, z_q)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, z_q: Tensor) -> Tensor:
        return z_q.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
