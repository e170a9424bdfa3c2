"""Configs from mappings: strict, typed, with the nearest name in the error. Run: pytest tests/codecs/test_config.py"""

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import tokenzoo
from tokenzoo.codecs.config import ConfigError, SettingsError, Signed, SignedInt, building, from_mapping, to_mapping
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


@dataclass(frozen=True, kw_only=True)
class _Signs:
    width: int = 1
    rate: float | None = None
    range: tuple[Signed, Signed] = (-1.0, 1.0)
    layer: SignedInt = -1


def test_numbers_below_zero_only_where_a_field_takes_them():
    assert from_mapping(_Signs, {"width": 0, "rate": 0.0, "range": [-3, -2], "layer": -4}).range == (-3.0, -2.0)
    for odd, name in (({"width": -1}, "width"), ({"rate": -1e-9}, "rate"), ({"rate": "-1e-3"}, "rate")):
        with pytest.raises(ConfigError, match=f"{name} is -.*must not be below 0"):
            from_mapping(_Signs, odd)


def test_errors_of_a_constructor_name_what_was_built_and_why():
    for problem in (RuntimeError("negative dimension -1"), ZeroDivisionError("division by zero"), KeyError("x")):
        with pytest.raises(SettingsError, match=r"a thing cannot be built with these settings") as caught, building("a thing"):
            raise problem
        assert caught.value.__cause__ is problem and str(problem) in str(caught.value)
    with pytest.raises(ConfigError, match="^own$") as caught, building("a thing"):
        raise ConfigError("own")
    with pytest.raises(KeyboardInterrupt), building("a thing"):
        raise KeyboardInterrupt


UNFIT = [("encodec", {"sample_rate_hz": 0}), ("dac", {"encoder_width": 0}), ("vqgan", {"z_channels": -1})]


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(("family", "config"), UNFIT)
def test_settings_that_fit_no_network_are_refused(family, config):
    with pytest.raises(ConfigError):
        tokenzoo.build_tokenizer(family, config)
