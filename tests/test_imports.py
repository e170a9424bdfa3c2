"""No circles among modules, also none through imports that only type checkers read, or that wait inside a function.

    pytest tests/test_imports.py

A circle means that its modules cannot be understood, tested or moved apart, whatever order Python happens to import them in.
"""

import ast
from pathlib import Path

import pytest
import tokenzoo

ROOT = Path(tokenzoo.__file__).resolve().parent
PARTS = ("codecs", "train", "zoo", "cli")

#: Imports that close circles and stay, each with its reason: (module, what it imports).
KNOWN: dict[tuple[str, str], str] = {
    ("codecs.tokens", "codecs.token_file"): "`save` and `load` are methods of `Tokens`; the file format has a room of its own",
    ("codecs.identity", "codecs.tokenizer"): "annotations: a function that a method of `Tokenizer` calls",
    ("codecs.options", "codecs.coding"): "annotations: a function that a method of `Coding` calls",
    ("codecs.summary", "codecs.tokenizer"): "annotations: a function that a method of `Tokenizer` calls",
    ("codecs.token_checks", "codecs.tokenizer"): "annotations: a function that a method of `Tokenizer` calls",
    ("codecs.token_ids", "codecs.tokenizer"): "annotations: a function that a method of `Tokenizer` calls",
    ("codecs.media.waveforms", "codecs.media.sound_files"): "a waveform may come as a file",
    ("codecs.quantizers.residual_vq", "codecs.quantizers.split_vq"): "one `kind` in configs for both classes",
}


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by its full name."""
    files = [p for p in root.glob("*.py")] + [p for part in PARTS for p in (root / part).rglob("*.py")]
    names = {p: ("tokenzoo", *p.relative_to(root).with_suffix("").parts) for p in files}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): p for p, parts in names.items()}


def imported(name: str, source: str, is_package: bool, known: set[str]) -> set[str]:
    """The modules of `known` that the module `name` imports, anywhere in its text; of `from a import b` the module b, else a."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = name.split(".") if is_package else name.split(".")[:-1]
                base = ".".join([*above[: len(above) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found |= {inner} if inner in known else {base} & known
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
    return found - {name}


def circles(graph: dict[str, set[str]]) -> list[frozenset[str]]:
    """Sets of two or more modules, each of which reaches all others of its set."""

    def reach(start: str) -> set[str]:
        seen, left = set(), [start]
        while left:
            new = graph[left.pop()] - seen
            seen |= new
            left += new
        return seen

    reached = {name: reach(name) for name in graph}
    sets = {frozenset(n for n in reached[name] if name in reached[n]) for name in graph if name in reached[name]}
    return sorted(sets, key=sorted)


@pytest.fixture(scope="module")
def graph():
    files = modules(ROOT)
    return {n: imported(n, p.read_text(encoding="utf-8"), p.name == "__init__.py", set(files)) for n, p in files.items()}


def test_the_walk_sees_every_form_of_import():
    known = {"p", "p.a", "p.b", "p.c", "p.d", "p.e", "p.f", "p.q", "p.q.g"}
    source = (
        "from . import a\nfrom .b import x\nimport p.c\nif TYPE_CHECKING:\n    from p.d import y\n"
        "def f():\n    from .q.g import z\n    from . import __version__\nimport torch\n"
    )
    assert imported("p.e", source, False, known) == {"p.a", "p.b", "p.c", "p.d", "p.q.g", "p"}
    assert imported("p.q", "from .g import z\nfrom .. import f", True, known) == {"p.q.g", "p.f"}
    found = circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"f"}, "f": {"e"}})
    assert found == [frozenset("abc"), frozenset("ef")]


def test_the_walk_sees_the_whole_package(graph):
    assert len(graph) > 250
    assert "tokenzoo.train.state" in graph["tokenzoo.train.loop"]
    assert "tokenzoo.zoo.hub" in graph["tokenzoo"]


def test_there_are_no_circles(graph):
    known = {tuple(f"tokenzoo.{part}" for part in pair) for pair in KNOWN}
    opened = {name: {n for n in there if (name, n) not in known} for name, there in graph.items()}
    found = [" <-> ".join(sorted(c)) for c in circles(opened)]
    assert not found, "modules that import each other, directly or over others:\n" + "\n".join(found)


def test_the_list_of_known_circles_names_only_those_that_are_there(graph):
    for name, there in KNOWN:
        pair = {f"tokenzoo.{name}", f"tokenzoo.{there}"}
        assert any(pair <= c for c in circles(graph)), f"{name} -> {there} closes no circle any more; take it out of the list"


def test_training_has_no_circles_at_all(graph):
    assert not [c for c in circles(graph) if any(name.startswith("tokenzoo.train") for name in c)]
