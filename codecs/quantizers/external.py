"""Any quantizer of vector-quantize-pytorch as a `Quantizer`, by class name and options or as a ready object.

    build("external", dim=32, name="VectorQuantize", options={"codebook_size": 512})
    External.wrap(vector_quantize_pytorch.ResidualVQ(dim=32, num_quantizers=4, codebook_size=512), dim=32)

github.com/lucidrains/vector-quantize-pytorch (MIT), versions 1.2x to 1.32. Its limits remain:
ids of near-ties may depend on the batch, and its code does not pass `torch.compile(fullgraph=True)`.
Letters: B batch, D latent width, L positions, K codebooks, G groups.
"""

import copy
import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..config import ConfigError
from .base import Quantized, Quantizer, QuantizerConfig, straight_through
from .parts.codebook import parts_of_step

_NAMES = (
    "VectorQuantize", "ResidualVQ", "GroupedResidualVQ", "SimVQ", "ResidualSimVQ",
    "FSQ", "ResidualFSQ", "GroupedResidualFSQ", "LFQ", "ResidualLFQ", "GroupedResidualLFQ",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ExternalConfig(QuantizerConfig):
    """Settings of `External`.

    Attributes:
        name: class of vector_quantize_pytorch.
        options: its keyword arguments, without `dim`.
    """

    kind: ClassVar[str] = "external"

    name: Literal[
        "VectorQuantize", "ResidualVQ", "GroupedResidualVQ", "SimVQ", "ResidualSimVQ",
        "FSQ", "ResidualFSQ", "GroupedResidualFSQ", "LFQ", "ResidualLFQ", "GroupedResidualLFQ",
    ] = "VectorQuantize"  # fmt: skip
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for option in ("dim", "accept_image_fmap", "channel_first", "channel_last"):
            if option in self.options:
                raise ConfigError(f"leave {option!r} out of options: latents are [B, D, L], and dim is a separate field.")
        if self.options.get("return_indices") is False:
            raise ConfigError("options.return_indices is False, but a tokenizer needs the indices; leave it out.")

    def quantizer_class(self) -> type[Quantizer]:
        return External


class External(Quantizer):
    """ids `[B, K, L]`: residual levels in order, group after group; `loss` is the sum of the losses that the module returns."""

    config: ExternalConfig

    def __init__(self, config: ExternalConfig, module: nn.Module | None = None) -> None:
        module = _construct(config) if module is None else module
        super().__init__(config, _sizes(module))
        self.module = module
        self.groups = len(getattr(module, "rvqs", ()))
        self._check_inverse()

    def check_parts(self, parts: int) -> None:
        """Raise ConfigError for gradient accumulation over `parts` > 1 batches if the module updates codebooks in every forward."""
        if parts == 1 or self.frozen:
            return
        tables = [m for m in self.module.modules() if hasattr(m, "cluster_size")]
        if any(getattr(m, "ema_update", True) or getattr(m, "threshold_ema_dead_code", 0) for m in tables):
            raise ConfigError(
                f"accumulation above 1: {self.config.name} of vector-quantize-pytorch updates its codebook in every forward, not once "
                "a step. Set accumulation: 1, or take one of this library's kinds (vq, residual_vq, grouped_vq)."
            )

    def _check_inverse(self) -> None:
        """Raise ConfigError where the module does not decode its ids to its output (random latents, after two training steps).

        The module's decoding is not always the inverse: with `affine_param` it omits the affine map.
        """
        if any(t.is_meta for t in (*self.module.parameters(), *self.module.buffers())):
            return
        probe = copy.deepcopy(self.module)
        own, self.module = self.module, probe
        like = next((t for t in (*probe.parameters(), *probe.buffers()) if t.is_floating_point()), torch.zeros(()))
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.autocast(like.device.type, enabled=False):
                z = torch.randn(2, 64, self.dim, device=like.device, dtype=like.dtype) * 3 + 1
                if not (torch.distributed.is_available() and torch.distributed.is_initialized()):  # it would wait for other ranks
                    for _ in range(2):
                        probe.train()(z)
                expected, indices, *_ = probe.eval()(z)
                got = self._decode(self._from_indices(indices), None).transpose(1, 2)
        finally:
            self.module = own
        if got.shape != expected.shape or not torch.allclose(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
            raise ConfigError(
                f"{type(own).__name__} with {dict(self.config.options)} decodes its ids to other vectors than its forward pass returns "
                "with them, so a decoder would be trained on vectors that it never gets later. Leave out the option that does so "
                "(affine_param)."
            )

    @classmethod
    def wrap(cls, module: nn.Module, *, dim: int) -> "External":
        """Adapt a module that takes `[B, L, D]`; the adapter's config cannot rebuild it, since its options are not recorded.

        Raises:
            ConfigError: a class that is not among those of `ExternalConfig.name`, or one that takes channels first.
        """
        name = type(module).__name__
        if name not in _NAMES:
            raise ConfigError(f"{name} cannot be adapted; allowed: {', '.join(_NAMES)}.")
        if getattr(module, "accept_image_fmap", False) or getattr(module, "channel_first", False):
            raise ConfigError(f"this {name} takes channels first; build it without accept_image_fmap and channel_first.")
        return cls(ExternalConfig(dim=dim, name=name), module)

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        learns = self.training and not self.frozen
        if learns:
            self.check_parts(parts_of_step())
        options = {"mask": mask} if mask is not None and _takes(self.module, "mask") else {}
        with _mode(self.module, training=learns):
            z_q, indices, *rest = self.module(z.transpose(1, 2).contiguous(), **options)
        ids = self._from_indices(indices)
        losses = [x.float().sum() for x in rest if isinstance(x, Tensor) and x.is_floating_point() and x.requires_grad]
        if learns:
            return Quantized(z_q.transpose(1, 2), ids, sum(losses, z.new_zeros(())), {})
        return Quantized(straight_through(z, self._decode(ids, grid)), ids, z.new_zeros(()), {})

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        with _mode(self.module, training=False):
            return self._from_indices(self.module(z.transpose(1, 2).contiguous())[1])

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        indices = self._to_indices(ids)
        module: Any = self.module  # of a package without types
        if getattr(module, "heads", 1) > 1 and not module.separate_codebook_per_head:
            codes = module.codebook[indices].flatten(-2)  # the module's own decoding omits this case
            return module.project_out(codes).transpose(1, 2)
        name = "get_output_from_indices" if hasattr(self.module, "get_output_from_indices") else "indices_to_codes"
        with _mode(self.module, training=False):
            return getattr(self.module, name)(indices).transpose(1, 2)

    def _from_indices(self, indices: Tensor) -> Tensor:
        """`[B, L]`, `[B, L, K]` or `[G, B, L, K]` to `[B, K, L]`."""
        if self.groups:
            return indices.permute(1, 0, 3, 2).flatten(1, 2).long()
        return (indices.unsqueeze(1) if indices.ndim == 2 else indices.transpose(1, 2)).long()

    def _to_indices(self, ids: Tensor) -> Tensor:
        if self.groups:
            return ids.unflatten(1, (self.groups, -1)).permute(1, 0, 3, 2)
        single = not hasattr(self.module, "layers") and self.num_codebooks == 1
        return ids[:, 0] if single else ids.transpose(1, 2)


def _construct(config: ExternalConfig) -> nn.Module:
    try:
        library = importlib.import_module("vector_quantize_pytorch")
    except ImportError as error:
        raise ImportError("the quantizer 'external' needs the package: pip install vector-quantize-pytorch") from error
    try:
        return getattr(library, config.name)(dim=config.dim, **config.options)
    except (TypeError, AssertionError) as error:
        raise ConfigError(f"{config.name} does not take options {dict(config.options)}: {error}") from error


def _sizes(module: nn.Module) -> tuple[int, ...]:
    """Codebook sizes in the order of the ids."""
    for parts in ("rvqs", "layers"):
        if hasattr(module, parts):
            return tuple(size for part in getattr(module, parts) for size in _sizes(part))
    count = max(int(getattr(module, "num_codebooks", 1)), int(getattr(module, "heads", 1)))
    return (_size(module),) * count


def _size(module: Any) -> int:
    return int(module.codebook_size)


def _takes(module: nn.Module, argument: str) -> bool:
    return argument in inspect.signature(module.forward).parameters


@contextmanager
def _mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Put the module in train or eval mode inside the block: several of its classes change state, or ids, in train mode."""
    before = {m: m.training for m in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for m, was in before.items():
            m.training = was
