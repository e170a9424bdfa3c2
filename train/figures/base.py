"""What a figure is: a frozen config, and an object that judges the reconstructions of one validation."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ...codecs.config import Polymorphic
from ...codecs.spec import TokenizerSpec


class Unfit(ValueError):
    """A figure is not defined for an item; the message says why in a few words ("too short")."""


@dataclass(frozen=True, kw_only=True)
class FigureConfig(Polymorphic):
    """Base of the settings of figures.

    Attributes:
        higher: whether more is better.
    """

    kinds: ClassVar[Any]
    higher: ClassVar[bool] = False

    def build(self, spec: TokenizerSpec) -> "Figure":
        """Return the figure for a tokenizer.

        Raises:
            ConfigError: the figure is of another kind of media, or a package or file that it needs is missing.
        """
        raise NotImplementedError


class Figure(ABC):
    """Judges reconstructions batch by batch."""

    @abstractmethod
    def add(self, x: Tensor, x_hat: Tensor) -> None:
        """Judge media and their reconstructions, float32 of one shape `[B, C, T]` or `[B, C, H, W]`, in the tokenizer's range."""

    @abstractmethod
    def take(self) -> float | None:
        """The figure of all that was added since the last call; None if it is not defined for any of it."""


class MeanFigure(Figure):
    """The mean of a figure of single items; items for which it is not defined are left out.

    Args:
        judge: gives the figure of one item and its reconstruction, `[C, T]` or `[C, H, W]`; raises `Unfit`.
    """

    def __init__(self, judge: Callable[[Tensor, Tensor], float]) -> None:
        self.judge = judge
        self._values: list[float] = []

    def add(self, x: Tensor, x_hat: Tensor) -> None:
        """See `Figure.add`."""
        for one, other in zip(x, x_hat, strict=True):
            try:
                self._values.append(self.judge(one, other))
            except Unfit:
                continue

    def take(self) -> float | None:
        """See `Figure.take`."""
        values, self._values = self._values, []
        return sum(values) / len(values) if values else None
