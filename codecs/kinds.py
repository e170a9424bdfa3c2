"""Registry of parts by name: the allowed values of `kind:` in a config, and how to add your own parts.

    LOSSES = Kinds("loss kind", __name__, {"mel": "mel:MelConfig"}, base="base:LossConfig")
    LOSSES.names(); LOSSES.resolve("mel")        # imports `mel.py` only now

A table maps a name to "module:class" or to a "module", relative to its package. An unknown name is a `ConfigError` that lists the
nearest ones.

Your own parts are used like those of the library, under their import name:

    losses:
      loudness: {kind: "my_package.losses:LoudnessConfig", weight: 2}

- The name is that of the frozen dataclass of the part's settings (a `LossConfig`, `QuantizerConfig`, ...), or of the part itself
  where that has the class of its settings as the attribute `config_class`. A family's name is that of the `Tokenizer`, which always
  has this attribute.
- It is imported where `own=True` marks the config as the user's: a run file, `quantizers.build`,
  `build_tokenizer(..., own=True)`, the options of `tokenize`.
- It is never imported for a config that comes with weights or data (hub, folders, corpora, checkpoints of a run): whoever wrote
  that could run any code here. Such a config may only name parts that are registered in this process: the library's own, those
  that the user's own run file names, or those registered by hand:

      import tokenzoo
      from my_package.losses import LoudnessConfig
      tokenzoo.register(LoudnessConfig)                        # also as a decorator of the class
      tokenzoo.register("my_package.losses:LoudnessConfig")    # the same, imported by name
      tokenzoo.register(Loudness2Config, name="my_package.losses:LoudnessConfig")    # a class that was moved or renamed

  A registered class is saved under its import name, which becomes its `kind` (a tokenizer's `family`).
"""

import importlib
from typing import Any, Generic, TypeVar

from .config import ConfigError, nearest

__all__ = ["Kinds", "register"]

T = TypeVar("T")
#: All tables that accept parts of the user's own; `register` looks for the right one in them.
_TABLES: list["Kinds[Any]"] = []
#: Longer names are cut in messages, and no similar names are suggested for them.
_LONGEST = 120


class Kinds(Generic[T]):
    """A table of parts by name.

    Args:
        what: what the names stand for, for messages: "loss kind".
        package: the package that the table's modules are in.
        table: name -> "module:class", or "module" where the part is a module.
        base: "module:class" that every part of the user's own derives from; "": the table accepts none.
        label: the class attribute that holds a part's name.
    """

    def __init__(self, what: str, package: str, table: dict[str, str], *, base: str = "", label: str = "kind") -> None:
        self.what, self.package, self.label = what, package, label
        self._table, self._base = table, base
        self._names = {f"{package}.{target}": name for name, target in table.items()}
        self._own: dict[str, Any] = {}  # classes
        if base:
            _TABLES.append(self)

    def names(self) -> tuple[str, ...]:
        """All names, those of registered parts included, sorted."""
        return tuple(sorted([*self._table, *self._own]))

    def __contains__(self, name: object) -> bool:
        return name in self._table or name in self._own

    def targets(self) -> dict[str, str]:
        """The library's own parts: name -> "module:class"."""
        return dict(self._table)

    def resolve(self, kind: Any, *, own: bool = False) -> T:
        """The part called `kind`.

        Args:
            kind: a name of the table, or the import name of a part of the user's own.
            own: the name comes from a config that the user wrote, so code that it names may be imported.

        Raises:
            ConfigError: `kind` is not a string, or an unknown name; the part cannot be imported or is of another class; a config
                that the user did not write names code to import.
        """
        if not isinstance(kind, str):
            raise ConfigError(f"the {self.what} must be a name, got {kind!r:.{_LONGEST}} ({type(kind).__name__}).{self._hint('')}")
        if kind in self._table:
            return _found(f"{self.package}.{self._table[kind]}")
        if kind in self._own:
            return self._own[kind]
        if ":" not in kind or not self._base:
            raise ConfigError(f"unknown {self.what} {kind[:_LONGEST]!r}.{self._hint(kind)}")
        if not own:
            raise ConfigError(
                f"the {self.what} {kind[:_LONGEST]!r} names code to import. That is done for configs of your own (a run file, a call), "
                "never for one that comes with weights or data. If you know this code and trust it, register it first: "
                f"tokenzoo.register({kind[:_LONGEST]!r})."
            )
        part: Any = self.register(_import(kind), name=kind)
        return part

    def name_of(self, part: type) -> str:
        """The name under which `resolve` finds `part`; a class of the user's own is registered by this."""
        if _path(part) in self._names:
            return self._names[_path(part)]
        if part not in self._own.values():
            self.register(part)
        return next(name for name, known in self._own.items() if known is part)

    def register(self, part: Any, *, name: str | None = None) -> type:
        """Register a part of the user's own under `name`, by default its import name "module:class".

        Returns:
            The class of its settings; for a family, the `Tokenizer` class.

        Raises:
            ConfigError: a class of another base, without settings, or one that cannot be imported by name.
        """
        cls = self._checked(part, name or _path(part))
        if _path(cls) in self._names:  # one of the library's parts under its long name
            return cls
        name = name or _path(cls)
        if "<" in name or not _is_path(name):
            raise ConfigError(f"{name!r} cannot be imported: define the class at the top of a module, or pass name='module:Name'.")
        self._own[name] = cls
        if vars(cls).get(self.label) not in self._own:
            setattr(cls, self.label, name)
        return cls

    def takes(self, part: Any) -> bool:
        """True for a class that derives from this table's base, or has such a class as `config_class`."""
        return any(self._is_kind(c) for c in (part, getattr(part, "config_class", None)))

    def _is_kind(self, part: Any) -> bool:
        # compared by name, so that the check imports nothing
        return isinstance(part, type) and any(_path(c) == f"{self.package}.{self._base}" for c in part.__mro__)

    def _checked(self, part: Any, name: str) -> type:
        """The class that `resolve` returns for `part`: its settings, or the tokenizer of a family. ConfigError if it does not fit."""
        found: Any = part if self._is_kind(part) else getattr(part, "config_class", None)
        base = self._base.rpartition(":")[2]
        if not self._is_kind(found):
            kind = f"a {type(part).__name__}" if not isinstance(part, type) else "a class of " + _bases(part)
            raise ConfigError(
                f"{name!r} as {self.what} is {kind}; it must derive from {self.package}.{self._base.replace(':', '.')}, "
                f"or be built by such a {base} and have it as the attribute `config_class`."
            )
        settings = found if self.label == "kind" else getattr(found, "config_class", None)
        if not isinstance(settings, type) or "__dataclass_fields__" not in vars(settings):
            owner = name if settings is found else f"{name}.config_class"
            raise ConfigError(f"{owner} must be a dataclass; write @dataclass(frozen=True, kw_only=True) above the class.")
        return found

    def _hint(self, kind: str) -> str:
        return nearest(kind[:_LONGEST], self.names())


def register(part: Any, *, name: str | None = None) -> Any:
    """Register your own loss, quantizer, discriminator, teacher, family, packing, language model or kind of data in this process, so
    that configs which come with weights or data may name it too.

    Args:
        part: its class, or its import name "package.module:Class"; the top of `codecs/kinds.py` says which class that is.
        name: its name in configs, of the same form; None: its import name.

    Returns:
        `part`, so that this works as a class decorator.

    Raises:
        ConfigError: it cannot be imported, or derives from none of the base classes of such parts.
    """
    importlib.import_module(f"{__package__}.families")  # importing the base class of a part has created the other tables
    found = _import(part) if isinstance(part, str) else part
    table = next((t for t in _TABLES if t.takes(found)), None)
    if table is None:
        bases = ", ".join(sorted(t._base.rpartition(":")[2] for t in _TABLES))
        raise ConfigError(f"{part!r} is none of the classes that configs name; it must derive from one of {bases}.")
    table.register(found, name=name or (part if isinstance(part, str) else None))
    return part


def _found(target: str) -> Any:
    module, _, name = target.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def _import(name: str) -> Any:
    """Import the object called "package.module:Name"; ConfigError if that fails."""
    if not _is_path(name):
        raise ConfigError(f"{name[:_LONGEST]!r} is no import name; write 'package.module:Name'.")
    module, _, inner = name.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{name!r}: there is no module {error.name!r}. Install the package that holds it, or put its folder on PYTHONPATH."
            ) from error
        raise ConfigError(f"{name!r}: importing {module!r} failed: {error}.") from error
    except Exception as error:  # whatever the user's module raises while it is imported
        raise ConfigError(f"{name!r}: importing {module!r} failed: {type(error).__name__}: {error}") from error
    for step in inner.split("."):
        if not hasattr(found, step):
            raise ConfigError(f"{name!r}: {getattr(found, '__name__', found)} has no {step!r}.{_alike(step, found)}")
        found = getattr(found, step)
    return found


def _alike(name: str, holder: Any) -> str:
    classes = [n for n, value in vars(holder).items() if isinstance(value, type)]
    return nearest(name, classes) if classes else ""


def _is_path(name: str) -> bool:
    module, _, inner = name.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *inner.split(".")))


def _path(part: Any) -> str:
    return f"{getattr(part, '__module__', '')}:{getattr(part, '__qualname__', '')}"


def _bases(cls: type) -> str:
    return " and ".join(b.__name__ for b in cls.__bases__)
