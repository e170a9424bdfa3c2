"""The range of a dimension-wise quantizer, which authors store in the config and this library among the weights."""

import torch

from ..quantizers.dimension_wise import DimensionWiseConfig
from .keymap import NotWritable, State, Then

_NAMES = ("low", "high")


def range_of_config(config: DimensionWiseConfig, dim: int) -> Then:
    """`quantizer.low` and `quantizer.high`, `[dim, 1]`, from the config; `write` raises NotWritable if they differ from it."""

    def read(state: State) -> State:
        return state | {f"quantizer.{n}": torch.full((dim, 1), getattr(config, n)) for n in _NAMES}

    def write(state: State) -> State:
        out = dict(state)
        for name in _NAMES:
            value = out.pop(f"quantizer.{name}")
            if not value.is_meta and not bool((value == getattr(config, name)).all()):
                raise NotWritable(f"quantizer.{name} was fitted; the authors' layout has one range for all channels.")
        return out

    return Then(read, write)
