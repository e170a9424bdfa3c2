"""The modules of a list with their own type; torch's stubs call each a `Module`, whatever was put in."""

from collections.abc import Iterable
from typing import Any, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def members(parts: Iterable[nn.Module], *kinds: type[M]) -> list[M]:
    """The modules of a `ModuleList` or `Sequential`, in order.

    Args:
        parts: the list.
        kinds: classes of its modules, for type checkers only: the caller put them in, and nothing is checked here.
    """
    found: list[Any] = list(parts)
    return found
