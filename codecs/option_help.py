"""Options as text for people: name, type, default and meaning of each, from the dataclass that holds them. Imports no torch."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Union


class OptionHelp(NamedTuple):
    """One option as text: its name, type, default and what it does."""

    name: str
    type: str
    default: str
    help: str


def describe(cls: type) -> list[OptionHelp]:
    """Every field of an options class as text."""
    hints, meaning = typing.get_type_hints(cls), meanings(base.__dict__.get("__doc__") for base in reversed(cls.__mro__))
    return [OptionHelp(f.name, type_text(hints[f.name]), plain(f.default), meaning[f.name]) for f in dataclasses.fields(cls)]


def meanings(docstrings: Iterable[str | None]) -> dict[str, str]:
    """One line for each field, from "Attributes:" in the docstrings of a dataclass and its bases, those of the bases first."""
    found: dict[str, str] = {}
    for text in docstrings:
        _, _, section = inspect.cleandoc(text or "").partition("Attributes:\n")
        names: list[str] = []
        for line in section.splitlines():
            start = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
            if start:
                names = start[1].split(", ")
                found |= dict.fromkeys(names, start[2])
            else:
                found |= {n: f"{found[n]} {line.strip()}" for n in names}
    return {name: text.strip() for name, text in found.items()}


def type_text(hint: Any) -> str:
    """A type as text for a user, such as "int or none"."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(a) for a in args)
    if origin is Literal:
        return " or ".join(str(a) for a in args)
    if origin is tuple:
        many = len(args) == 2 and args[1] is Ellipsis
        return f"several {type_text(args[0])}" if many else ",".join(type_text(a) for a in args)
    if hint is type(None):
        return "none"
    return {bool: "true or false"}.get(hint) or getattr(hint, "__name__", str(hint)).lower()


def plain(value: Any) -> str:
    """A default value as it is typed on a command line, such as "256,256"."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)
