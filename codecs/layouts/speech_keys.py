"""Steps for layouts whose files contain a frozen speech model of transformers, whose weights stay unchanged."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .keymap import Row, State, Step, Then, matches


class Beside:
    """Steps that leave keys that match one of `patterns` unchanged, in both directions."""

    def __init__(self, patterns: Sequence[str], *steps: Step) -> None:
        self.patterns, self.steps = tuple(patterns), steps

    def _split(self, state: State) -> tuple[State, State]:
        kept = {k: v for k, v in state.items() if matches(k, self.patterns)}
        return kept, {k: v for k, v in state.items() if k not in kept}

    def read(self, state: State) -> State:
        kept, rest = self._split(state)
        for step in self.steps:
            rest = step.read(rest)
        return kept | rest

    def write(self, state: State) -> State:
        kept, rest = self._split(state)
        for step in reversed(self.steps):
            rest = step.write(rest)
        return kept | rest


def speech_model(theirs: str, ours: str) -> list[Row]:
    """Rows of the speech model; weight norm is written in today's spelling of transformers, the older one is read too."""
    gain, direction = "parametrizations.weight.original0", "parametrizations.weight.original1"
    return [
        (f"{theirs}.**.[{gain}|weight_g]", f"{ours}.**.{gain}"),
        (f"{theirs}.**.[{direction}|weight_v]", f"{ours}.**.{direction}"),
        (f"{theirs}.**", f"{ours}.**"),
    ]


def tensors_only() -> Then:
    """Drop entries that are not tensors, such as counters and settings in files of training runs."""
    return Then(lambda state: {k: v for k, v in state.items() if isinstance(v, Tensor)}, lambda state: state)


#: Rows of the file of the features' statistics, beside the weights.
STATISTICS: tuple[Row, ...] = (("[stats.mean|mean]", "feature_mean"), ("[stats.var|var]", "feature_deviation"))


def feature_statistics(width: int) -> Then:
    """Convert the features' variance to their standard deviation; weights without the file of statistics get mean 0, deviation 1."""

    def read(state: State) -> State:
        mean, variance = state.get("feature_mean", torch.zeros(width)), state.get("feature_deviation", torch.ones(width))
        return state | {"feature_mean": mean.flatten().float(), "feature_deviation": variance.flatten().float().sqrt()}

    def write(state: State) -> State:
        mean, deviation = state["feature_mean"], state["feature_deviation"]
        if not mean.is_meta and not mean.any() and bool((deviation == 1).all()):
            return {k: v for k, v in state.items() if k not in ("feature_mean", "feature_deviation")}
        return state | {"feature_deviation": deviation.square()}

    return Then(read, write)
