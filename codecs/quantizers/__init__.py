"""Quantizers by name: `build("fsq", levels=(8, 5, 5, 5))`. One file a kind; see README.md in this folder."""

import importlib
from typing import Any

from ..config import ConfigError, from_mapping
from ..config import nearest as nearest_name  # the submodule `nearest` would take the plain name
from .base import Quantized, Quantizer, QuantizerConfig

__all__ = ["Quantized", "Quantizer", "QuantizerConfig", "build", "config_class", "kinds"]

# kind -> "module:config class". A new quantizer is one file here and one line in this table.
_KINDS: dict[str, str] = {
    "vq": "vq:VQConfig",
    "simvq": "simvq:SimVQConfig",
    "residual_vq": "residual_vq:ResidualVQConfig",
    "product_vq": "product_vq:ProductVQConfig",
    "paired_vq": "paired_vq:PairedVQConfig",
    "dual": "dual:DualConfig",
    "kmeans": "kmeans:KMeansConfig",
    "external": "external:ExternalConfig",
    "grouped_vq": "grouped_vq:GroupedVQConfig",
    "fsq": "fsq:FSQConfig",
    "residual_fsq": "residual_fsq:ResidualFSQConfig",
    "grouped_fsq": "grouped_fsq:GroupedFSQConfig",
    "gumbel": "gumbel:GumbelConfig",
    "memcodes": "memcodes:MemcodesConfig",
    "ibq": "ibq:IBQConfig",
    "lfq": "lfq:LFQConfig",
    "bsq": "bsq:BSQConfig",
    "multiscale_bsq": "multiscale_bsq:MultiScaleBSQConfig",
    "multiscale_vq": "multiscale_vq:MultiScaleVQConfig",
    "sign": "sign:SignConfig",
    "bernoulli": "bernoulli:BernoulliConfig",
    "dimension_wise": "dimension_wise:DimensionWiseConfig",
    "scalar": "scalar:ScalarConfig",
    "sparsemax": "sparsemax:SparsemaxConfig",
}


def kinds() -> tuple[str, ...]:
    """All names that `build` takes."""
    return tuple(sorted(_KINDS))


def config_class(kind: str) -> type[QuantizerConfig]:
    """Return the frozen config dataclass of `kind`, or raise `ConfigError` naming the nearest kinds."""
    if kind not in _KINDS:
        raise ConfigError(f"unknown quantizer kind {kind!r}.{nearest_name(kind, list(_KINDS))}")
    module, name = _KINDS[kind].split(":")
    return getattr(importlib.import_module(f".{module}", __name__), name)


def build(kind: str, **config: Any) -> Quantizer:
    """Build a quantizer by name, e.g. `build("vq", dim=8, codebook_size=1024)`.

    Raises:
        ConfigError: unknown kind, unknown or missing key, wrong type.
    """
    return from_mapping(config_class(kind), config).build()
