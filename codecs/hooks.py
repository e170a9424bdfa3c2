"""Functions of higher layers (such as the hub) that methods of `Tokenizer` call by name. The package root fills the table in, and
imports them only when they are called, so that `codecs` does not depend on those layers.
"""

from collections.abc import Callable
from typing import Any

#: name -> function; see `tokenzoo/__init__.py`.
HOOKS: dict[str, Callable[..., Any]] = {}


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call the function that the package root registered as `name`."""
    return HOOKS[name](*args, **kwargs)
