"""Packages import downwards only, and the picture of the imports in `docs/` is up to date.

    pytest tests/test_architecture.py
"""

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def draw():
    spec = importlib.util.spec_from_file_location("draw_imports", DOCS / "draw_imports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arrows_point_down_only(draw):
    graph = draw.import_graph()
    level = draw.levels(graph)
    assert all(level[package] > level[end] for package, ends in graph.items() for end in ends)
    assert not [p for p in graph if p.startswith("codecs") for end in graph[p] if not end.startswith("codecs")]
    assert not [p for p in graph if p.startswith("train") for end in graph[p] if end.startswith("zoo")]


def test_an_import_cycle_raises_and_names_its_packages(draw):
    with pytest.raises(ValueError, match="packages import each other: \\['a', 'b'\\]"):
        draw.levels({"a": {"b"}, "b": {"a", "c"}, "c": set()})


def test_arrows_that_follow_from_others_are_left_out(draw):
    assert draw.drawn_arrows({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_the_picture_is_drawn_from_this_source(draw):
    assert (DOCS / "imports.svg").read_text() == draw.drawing(), "python docs/draw_imports.py draws it anew"


def test_paths_named_in_the_page_exist():
    named = re.findall(r"`([a-z_]+(?:/[\w.-]+)*/[\w.-]*)`", (DOCS / "architecture.md").read_text())
    inside = [n for n in named if n.split("/")[0] in ("codecs", "train", "zoo", "configs", "tests", "benchmarks", "docs")]
    assert len(inside) > 20
    assert not [n for n in inside if not (DOCS.parent / n).exists()]
