"""Figures of one item, each measured by itself: what one cannot be measured on, and whatever one raises, costs no other."""

from collections import Counter
from collections.abc import Callable, Mapping


class Figures:
    """Base of the metrics of a modality: keeps what could not be measured, and why.

    Attributes:
        left_out: (metric, why) -> number of items.
    """

    def __init__(self) -> None:
        self.left_out: Counter[tuple[str, str]] = Counter()

    def measured(self, metrics: Mapping[str, Callable[[], float | None]]) -> dict[str, float]:
        """Values of all metrics that could be measured on one item, by name."""
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
        """Count one item that a metric could not be measured on."""
        self.left_out[(metric, why)] += 1
