"""Options of a family as its source files state them: `tokenzoo info` shows them without importing torch, which takes seconds.

    read_options("audio.dac.model:DAC")      # {"encode": [OptionHelp, ...], "decode": [...]}

The files are parsed, never run: the classes' bases are followed from file to file, as Python would, up to those of other packages.
"""

import ast
import functools
from importlib import resources
from typing import Any

from .option_help import OptionHelp, meanings, plain

#: Dotted path of a module of this package, relative to it.
Module = tuple[str, ...]


class UnreadableError(ValueError):
    """A form of definition that this reader does not follow, or a package without source files."""


def read_options(target: str) -> dict[str, list[OptionHelp]]:
    """Options that a family's class takes, under "encode" and "decode"; equal to what `summary.options_of` returns of the class.

    Args:
        target: "module:class", relative to this package, as in the table of families.

    Raises:
        UnreadableError: read it by importing the class instead.
    """
    module, _, name = target.partition(":")
    family = _class(tuple(module.split(".")), name)
    return {verb: _describe(_named_class(family, f"{verb}_options")) for verb in ("encode", "decode")}


def _describe(cls: type) -> list[OptionHelp]:
    """As `option_help.describe`, of a class of `_class`."""
    fields: dict[str, tuple[Module, ast.AnnAssign]] = {}
    for base in reversed(cls.__mro__):
        where: Module = vars(base).get("where", ())
        for node in vars(base).get("body", ()):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and "ClassVar" not in ast.dump(node.annotation):
                fields[node.target.id] = where, node
    meaning = meanings(vars(base).get("text") for base in reversed(cls.__mro__))
    return [
        OptionHelp(name, _type_text(node.annotation, where), plain(_value(node.value, where)), meaning[name])
        for name, (where, node) in fields.items()
    ]


def _named_class(owner: type, attribute: str) -> type:
    """The class that a class attribute of `owner`, or of a base of it, names."""
    for base in owner.__mro__:
        for node in vars(base).get("body", ()):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            if any(isinstance(t, ast.Name) and t.id == attribute for t in targets):
                if not isinstance(node.value, ast.Name):
                    raise UnreadableError(f"{base.__name__}.{attribute} is no name of a class.")
                return _class(vars(base)["where"], node.value.id)
    raise UnreadableError(f"{owner.__name__} has no {attribute}.")


# --- definitions ----------------------------------------------------------------------------------------------------------------


@functools.cache
def _class(module: Module, name: str) -> type:
    """A stand-in for a class, with stand-ins of its bases: where it is defined, the statements in it, its docstring."""
    where, node = _definition(module, name)
    if not isinstance(node, ast.ClassDef):
        raise UnreadableError(f"{name} in {'.'.join(module)} is no class.")
    bases = []
    for base in node.bases:
        base = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(base, ast.Name) and isinstance(_definition(where, base.id)[1], ast.ClassDef):
            bases.append(_class(where, base.id))
    return type(name, tuple(bases), {"where": where, "body": node.body, "text": ast.get_docstring(node, clean=False)})


def _definition(module: Module, name: str) -> tuple[Module, ast.AST | None]:
    """Where in this package `name`, as `module` knows it, is defined, and how; None: outside of it."""
    node = _names(module).get(name)
    if not isinstance(node, ast.ImportFrom):
        return module, node
    if not node.level:
        return module, None
    above = module[: len(module) - node.level + (1 if _is_package(module) else 0)]
    there = (*above, *(node.module or "").split(".")) if node.module else above
    own = next((a.name for a in node.names if (a.asname or a.name) == name), name)
    return _definition(there, own)


@functools.cache
def _names(module: Module) -> dict[str, ast.stmt]:
    """Name -> the statement at the top of a module that defines it, the last one of several."""
    out: dict[str, ast.stmt] = {}
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom):
            out |= {a.asname or a.name: node for a in node.names}
        elif isinstance(node, ast.ClassDef):
            out[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            out |= {t.id: node for t in targets if isinstance(t, ast.Name)}
    return out


def _tree(module: Module) -> ast.Module:
    parts = (*module, "__init__.py") if _is_package(module) else (*module[:-1], f"{module[-1]}.py")
    try:
        return ast.parse(resources.files(__spec__.parent).joinpath(*parts).read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"{'.'.join(module)} has no source file.") from error


@functools.cache
def _is_package(module: Module) -> bool:
    return resources.files(__spec__.parent).joinpath(*module).is_dir()


# --- types and values -----------------------------------------------------------------------------------------------------------


def _type_text(node: ast.expr, module: Module) -> str:
    """As `option_help.type_text`, of an annotation."""
    match node:
        case ast.Constant(value=None):
            return "none"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_type_text(left, module)} or {_type_text(right, module)}"
        case ast.Name(id="bool"):
            return "true or false"
        case ast.Name(id=name):
            where, found = _definition(module, name)
            return _type_text(found.value, where) if isinstance(found, (ast.Assign, ast.AnnAssign)) and found.value else name.lower()
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return " or ".join(str(_value(e, module)) for e in _entries(inner))
        case ast.Subscript(value=ast.Name(id="tuple"), slice=inner):
            entries = _entries(inner)
            if len(entries) == 2 and isinstance(entries[1], ast.Constant) and entries[1].value is Ellipsis:
                return f"several {_type_text(entries[0], module)}"
            return ",".join(_type_text(e, module) for e in entries)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=inner):
            return _type_text(_entries(inner)[0], module)
        case ast.Subscript(value=ast.Name(id=name)):
            return name.lower()
    raise UnreadableError(f"no type: {ast.unparse(node)}.")


def _entries(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _value(node: ast.expr | None, module: Module) -> Any:
    """A default, written out or the name of a constant."""
    if isinstance(node, ast.Name):
        where, found = _definition(module, node.id)
        if isinstance(found, (ast.Assign, ast.AnnAssign)):
            return _value(found.value, where)
    try:
        if node is None:
            raise ValueError("none")
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise UnreadableError(f"no value that is written out: {ast.unparse(node) if node else 'none'}.") from error
