"""Rooms import downwards only, and the picture of it in `docs/` is up to date.

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
    graph = draw.rooms()
    floor = draw.floors(graph)
    assert all(floor[room] > floor[end] for room, ends in graph.items() for end in ends)
    assert not [r for r in graph if r.startswith("codecs") for end in graph[r] if not end.startswith("codecs")]
    assert not [r for r in graph if r.startswith("train") for end in graph[r] if end.startswith("zoo")]


def test_a_circle_is_named(draw):
    with pytest.raises(ValueError, match="each other: \\['a', 'b'\\]"):
        draw.floors({"a": {"b"}, "b": {"a", "c"}, "c": set()})


def test_arrows_that_follow_from_others_are_left_out(draw):
    assert draw.needed({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_the_picture_is_of_this_source(draw):
    assert (DOCS / "imports.svg").read_text() == draw.drawing(), "python docs/draw_imports.py draws it anew"


def test_what_the_page_names_is_there():
    named = re.findall(r"`([a-z_]+(?:/[\w.-]+)*/[\w.-]*)`", (DOCS / "architecture.md").read_text())
    inside = [n for n in named if n.split("/")[0] in ("codecs", "train", "zoo", "configs", "tests", "benchmarks", "docs")]
    assert len(inside) > 20
    assert not [n for n in inside if not (DOCS.parent / n).exists()]
