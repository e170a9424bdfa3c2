"""Generators by name. A new one is one file here and one line in this table."""

from typing import Any

from ....codecs.kinds import Kinds

# kind -> "module:config class"
MODELS: Kinds[type[Any]] = Kinds("kind of language model", __package__ or "", {
    "llama": "llama:LlamaModelConfig",
    "per_dimension": "per_dimension:PerDimensionModelConfig",
    "bits": "bits:BitsModelConfig",
    "masked": "masked:MaskedModelConfig",
}, base="base:GeneratorConfig")  # fmt: skip
