"""Configs from mappings: strict, typed, with the nearest name in the error. Run: pytest tests/codecs/test_config.py"""

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from tokenzoo.codecs.config import ConfigError, from_mapping, to_mapping
from tokenzoo.codecs.quantizers.base import QuantizerConfig


@dataclass(frozen=True, kw_only=True)
class Part:
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Example:
    width: int
    rate: float = 1.0
    kind: Literal["a", "b"] = "a"
    levels: tuple[int, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    part: Part = Part()
    maybe: int | None = None
    either: int | tuple[int, ...] = 3
    table: dict[str, Part] | None = None
    quantizer: QuantizerConfig | None = None


def test_round_trip():
    values = {
        "width": 4,
        "rate": 3,
        "kind": "b",
        "levels": [1, 2],
        "pair": [3, 4],
        "part": {"size": 9},
        "either": [1, 2],
        "table": {"x": {"size": 2}},
        "quantizer": {"kind": "fsq", "levels": [5, 5]},
    }
    config = from_mapping(Example, values)
    assert config.rate == 3.0
    assert config.levels == (1, 2)
    assert config.quantizer.kind == "fsq"
    assert from_mapping(Example, to_mapping(config)) == config


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "needs the key 'width'"),
        ({"width": 4, "lvels": [1]}, "unknown key 'lvels'.*'levels'"),
        ({"width": "4"}, "width must be int, got '4'"),
        ({"width": True}, "width must be int"),
        ({"width": 4.5}, "width must be int"),
        ({"width": 4, "kind": "c"}, "kind is 'c'; allowed: 'a', 'b'"),
        ({"width": 4, "levels": [1, "x"]}, r"levels\[1\] must be int"),
        ({"width": 4, "levels": "12"}, "levels must be a list"),
        ({"width": 4, "pair": [1]}, "pair must have 2 entries"),
        ({"width": 4, "part": {"sise": 1}}, "'part.sise'.*'size'"),
        ({"width": 4, "part": 3}, "expected a mapping"),
        ({"width": 4, "table": {"x": {"size": "a"}}}, "table.x.size must be int"),
        ({"width": 4, "quantizer": {"kind": "fsk"}}, "'fsk'.*'fsq'"),
        ({"width": 4, "quantizer": {"levels": [5]}}, "'kind' is missing"),
        ({"width": 4, "quantizer": {"kind": "fsq", "levles": [5]}}, "quantizer.levles"),
    ],
)
def test_wrong_values_name_the_key(values: dict[str, Any], says: str):
    with pytest.raises(ConfigError, match=says):
        from_mapping(Example, values)


def test_yaml_floats_that_arrive_as_text():
    assert from_mapping(Example, {"width": 1, "rate": "1e-4"}).rate == 1e-4
