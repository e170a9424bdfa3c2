"""Base of the metrics of a modality: each metric is computed by itself, so that one that fails does not affect the others."""

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self


class HasSpec(Protocol):
    """A tokenizer, or what stands for one where metrics ask for its facts."""

    @property
    def spec(self) -> Any: ...


class Figures:
    """Computes metrics, and counts the items on which one could not be computed.

    Attributes:
        left_out: (metric, reason) -> number of items without it.
    """

    def __init__(self) -> None:
        self.left_out: Counter[tuple[str, str]] = Counter()

    def anew(self) -> Self:
        """A copy that has counted nothing yet, with the same networks."""
        other = copy.copy(self)
        other.left_out = Counter()
        return other

    def measured(self, metrics: Mapping[str, Callable[[], float | None]]) -> dict[str, float]:
        """Values by name of the metrics that could be computed on one item; each function returns None, or raises, if it cannot."""
        out = {}
        for name, metric in metrics.items():
            try:
                value = metric()
            except Exception as error:  # other packages' metrics may raise anything on odd media
                value = self.without(name, f"unfit ({type(error).__name__}: {' '.join(str(error).split())})")
            if value is not None:
                out[name] = value
        return out

    def without(self, metric: str, why: str) -> None:
        """Count one item on which a metric could not be computed, with the reason; returns None, as the metric's value."""
        self.left_out[(metric, why)] += 1
