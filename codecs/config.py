"""Frozen dataclasses from plain mappings, strictly: the one validator for `config.json`, YAML and keyword arguments.

A key that does not exist, or a value of the wrong type, is a `ConfigError` that names the full path of the key, what
came, what is allowed and the nearest name. Nothing is ever ignored.
"""

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used: unknown key, missing key, or a value of the wrong type."""


#: Lists and mappings inside each other that a config may have; those of published checkpoints have 12 at most.
MAX_DEPTH = 64


def parse_json(data: str | bytes) -> Any:
    """The values of an untrusted JSON text.

    Raises:
        ConfigError: no JSON, NaN or an infinite number, or nested deeper than `MAX_DEPTH`.
    """
    try:
        values = json.loads(data, parse_constant=_no_constant, parse_float=_json_float)
        check_depth(values)
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"it is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:  # no JSON, no text, a number of thousands of digits
        raise ConfigError(f"it is not valid JSON: {error!s:.200}.") from error
    return values


def check_depth(values: Any) -> None:
    """Raise ConfigError where lists and mappings are nested deeper than `MAX_DEPTH`, which recursive checks could not follow."""
    level = [values]
    for _ in range(MAX_DEPTH):
        inner = [v.values() if isinstance(v, Mapping) else v for v in level if isinstance(v, (Mapping, list, tuple))]
        level = [v for values in inner for v in values]
        if not level:
            return
    raise ConfigError(f"it is nested deeper than {MAX_DEPTH} levels.")


def _json_float(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _no_constant(text[:40])


def _no_constant(name: str) -> Any:
    raise ConfigError(f"it holds the number {name}; numbers of configs are finite.")


class SettingsError(ConfigError):
    """Settings of the right types from which nothing can be built."""


@contextmanager
def building(what: str) -> Iterator[None]:
    """Turn errors of a constructor, such as PyTorch's for a layer with -1 channels, into `SettingsError`.

    Args:
        what: description of what is built, for the message.

    Raises:
        SettingsError: the code inside raised an error that is not this library's own.
    """
    try:
        yield
    except (NameError, ImportError):  # no settings cause these
        raise
    except Exception as error:
        if type(error).__module__.split(".")[0] == __name__.split(".")[0]:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise SettingsError(f"{what} cannot be built with these settings ({reason}).") from error


#: Marks fields that take numbers below 0; all others do not.
SIGNED = "may be below 0"
Signed = Annotated[float, SIGNED]
SignedInt = Annotated[int, SIGNED]


class Polymorphic:
    """Base of dataclasses with several kinds: `kind` in the mapping names the subclass, which is looked up in the table `kinds`."""

    kind: ClassVar[str] = ""
    kinds: ClassVar[Any]  # a `Kinds`, whose module needs this one


P = TypeVar("P", bound=Polymorphic)


def nearest(name: str, allowed: Sequence[str]) -> str:
    """Return ` Did you mean 'x'?` for the closest allowed name, and the list of all of them when it is short."""
    close = difflib.get_close_matches(name[:120], list(allowed), n=3, cutoff=0.5)  # its time grows with the square of the length
    hint = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return hint + (f" Allowed: {', '.join(sorted(allowed))}." if len(allowed) <= 40 else "")


def from_mapping(cls: type[T], values: Mapping[str, Any], path: str = "", *, own: bool = False) -> T:
    """Build the frozen dataclass `cls` from `values`, checking every key and type.

    Args:
        cls: a dataclass; a `Polymorphic` one is narrowed by `values["kind"]`.
        values: plain mapping, as JSON or YAML give it (lists become tuples).
        path: prefix of the key names in error messages.
        own: the user wrote these values, so a `kind` in them may name code of the user's own (see `kinds.py`); never for values
            that come with weights or data.

    Raises:
        ConfigError: unknown or missing keys, wrong types, unknown kinds; numbers below 0 in fields that are not `Signed`.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or cls.__name__}: expected a mapping of {cls.__name__} fields, got {values!r:.200}.")
    values = dict(values)
    if issubclass(cls, Polymorphic):
        cls = _narrowed(cls, values.pop("kind", cls.kind or None), path, own)
    hints, fields = _hints(cls), {f.name: f for f in _fields(cls) if f.init}
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown key {_join(path, key)!r} in {cls.__name__}.{nearest(key, list(fields))}")
    missing = [n for n, f in fields.items() if n not in values and _required(f)]
    if missing:
        raise ConfigError(f"{cls.__name__} needs the key {_join(path, missing[0])!r} ({hints[missing[0]]}).")
    converted = {k: _convert(hints[k], v, _join(path, k), own) for k, v in values.items()}
    with building(path or cls.__name__):
        return cls(**converted)


@functools.lru_cache(maxsize=1024)
def _hints(cls: type) -> dict[str, Any]:
    """Types of a dataclass's fields: asking for them takes longer than checking the values."""
    return typing.get_type_hints(cls, include_extras=True)


def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__name__} is no dataclass.")
    return dataclasses.fields(cls)


def _narrowed(cls: type[P], kind: Any, path: str, own: bool) -> type[P]:
    """The subclass of the polymorphic `cls` that `kind` names."""
    if kind is None:
        raise ConfigError(f"{path or cls.__name__}: the key 'kind' is missing.")
    if kind and kind == cls.kind:
        return cls
    try:
        found = cls.kinds.resolve(kind, own=own)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}" if path else str(error)) from error
    if not issubclass(found, cls):
        raise ConfigError(f"{path or cls.__name__}: the kind {kind!r} does not fit here; it is no {cls.__name__}.")
    return found


def to_mapping(config: Any) -> dict[str, Any]:
    """Return the inverse of `from_mapping`: plain dict, lists and numbers, `kind` included for polymorphic parts."""
    out: dict[str, Any] = {"kind": config.kinds.name_of(type(config))} if isinstance(config, Polymorphic) else {}
    for field in _fields(type(config)):
        out[field.name] = _plain(getattr(config, field.name))
    return out


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else str(key)


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, path: str, own: bool) -> Any:
    """Check `value` against the type `hint` and return it in that type."""
    if hint is Any or (type(value) is hint and hint in (str, bool)):  # most values of cards
        return value
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _convert_scalar(args[0], value, path, signed=SIGNED in args)
    if origin in (Union, types.UnionType):
        return _convert_union(args, value, path, own)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{path} is {value!r:.200}; allowed: {', '.join(repr(a) for a in args)}.")
        return value
    if origin is Callable:  # only options of `encode` and `decode` have this type
        if not callable(value):
            raise ConfigError(f"{path} must be a function, got {value!r:.200}.")
        return value
    if origin is tuple:
        return _convert_tuple(args, value, path, own)
    if origin is dict or origin is Mapping or origin is typing.get_origin(Mapping[str, Any]):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} must be a mapping, got {value!r:.200}.")
        return {str(k): _convert(args[1], v, _join(path, k), own) for k, v in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_mapping(hint, value, path, own=own)
    return _convert_scalar(hint, value, path)


def _convert_union(args: tuple[Any, ...], value: Any, path: str, own: bool) -> Any:
    if value is None and type(None) in args:
        return None
    problems = []
    for arg in args:
        if arg is type(None):
            continue
        try:
            return _convert(arg, value, path, own)
        except ConfigError as error:
            problems.append(str(error))
    raise ConfigError(problems[0] if len(problems) == 1 else f"{path}: {' / '.join(problems)}")


def _convert_tuple(args: tuple[Any, ...], value: Any, path: str, own: bool) -> tuple:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(f"{path} must be a list, got {value!r:.200}.")
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ConfigError(f"{path} must have {len(args)} entries, got {len(value)}: {value!r:.200}.")
    return tuple(_convert(a, v, f"{path}[{i}]", own) for i, (a, v) in enumerate(zip(args, value, strict=True)))


def _finite(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise ConfigError(f"{path} is {value}; numbers of configs are finite.")
    return value


def _convert_scalar(hint: Any, value: Any, path: str, *, signed: bool = False) -> Any:
    number = _typed(hint, value, path)
    if hint in (int, float) and number < 0 and not signed:
        raise ConfigError(f"{path} is {str(number)[:40]}; it must not be below 0.")
    return number


def _typed(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, int) and value.bit_length() > 1000:
            raise ConfigError(f"{path} is a number of {value.bit_length()} bits; it is too large for a float.")
        return _finite(float(value), path)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return _finite(float(value), path)
        except ConfigError:
            raise
        except ValueError:
            pass
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (bool, str) and isinstance(value, hint):
        return value
    if isinstance(hint, type) and hint not in (int, float, bool, str) and isinstance(value, hint):
        return value
    name = getattr(hint, "__name__", str(hint))
    raise ConfigError(f"{path} must be {name}, got {value!r:.200} ({type(value).__name__}).")
