"""Packings by name. A new one is one file here and one line in this table."""

from typing import Any

from ....codecs.kinds import Kinds

# kind -> "module:config class"
PATTERNS: Kinds[type[Any]] = Kinds("packing kind", __package__ or "", {
    "raster": "raster:RasterConfig",
    "clips": "clips:ClipsConfig",
    "interleaved": "interleaved:InterleavedConfig",
    "delay": "delay:DelayConfig",
    "parallel": "parallel:ParallelConfig",
    "coarse_first": "coarse_first:CoarseFirstConfig",
    "multi_rate": "multi_rate:MultiRateConfig",
    "multi_scale": "multi_scale:MultiScaleConfig",
    "prefix": "prefix:PrefixConfig",
    "bits": "bits:BitsConfig",
    "per_dimension": "per_dimension:PerDimensionConfig",
    "bpe": "bpe:BpeConfig",
}, base="base:PackingConfig")  # fmt: skip
