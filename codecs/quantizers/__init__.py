"""Quantizers by name: `build("fsq", levels=(8, 5, 5, 5))`. One file a kind; see README.md in this folder."""

from typing import Any

from ..config import building, from_mapping
from ..kinds import Kinds
from .base import Quantized, Quantizer, QuantizerConfig

# kind -> "module:config class". A new quantizer is one file here and one line in this table.
QUANTIZERS: Kinds[type[QuantizerConfig]] = Kinds("quantizer kind", __name__, {
    "vq": "vq:VQConfig",
    "simvq": "simvq:SimVQConfig",
    "optvq": "optvq:OptVQConfig",
    "residual_vq": "residual_vq:ResidualVQConfig",
    "product_vq": "product_vq:ProductVQConfig",
    "paired_vq": "paired_vq:PairedVQConfig",
    "dual": "dual:DualConfig",
    "additive_vq": "additive_vq:AdditiveVQConfig",
    "anchors": "anchors:AnchorsConfig",
    "random_projection": "random_projection:RandomProjectionConfig",
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
}, base="base:QuantizerConfig")  # fmt: skip
QuantizerConfig.kinds = QUANTIZERS

__all__ = ["QUANTIZERS", "Quantized", "Quantizer", "QuantizerConfig", "build"]


def build(kind: str, **config: Any) -> Quantizer:
    """Build a quantizer by name, e.g. `build("vq", dim=8, codebook_size=1024)`.

    Args:
        kind: a name from `QUANTIZERS.names()`, or "my_package.my_module:MyConfig" (see `codecs/kinds.py`).
        config: fields of its config.

    Raises:
        ConfigError: unknown kind, unknown or missing key, wrong type, or settings that fit no quantizer.
    """
    settings = from_mapping(QUANTIZERS.resolve(kind, own=True), config, own=True)
    with building(f"a quantizer of kind {kind!r}"):
        return settings.build()
