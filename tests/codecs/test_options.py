"""Options from text and from keywords. Run: pytest tests/codecs/test_options.py"""

import dataclasses

import numpy as np
import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import FAMILIES
from tokenzoo.codecs.image.flextok.model import FlexTok
from tokenzoo.codecs.image.instella.model import Instella
from tokenzoo.codecs.image.karl.model import KARL
from tokenzoo.codecs.image.titok.model import TiTok
from tokenzoo.codecs.options import DecodeOptions, EncodeOptions, ImageEncodeOptions, describe_options, make_options, parse_options


def test_text_becomes_values_of_the_fields_types():
    got = parse_options(KARL, "encode", {"quality": "0.08", "token_budget": "64", "trim": "False", "resize": "crop"})
    assert (got.quality, got.token_budget, got.trim, got.resize, got.num_codebooks) == (0.08, 64, False, "crop", None)
    assert parse_options(KARL, "encode", {"token_budget": "none", "quality": "1e-2"}).quality == 0.01
    assert parse_options(KARL, "encode", {"value_range": "0, 255"}).value_range == (0.0, 255.0)
    assert parse_options(Instella, "decode", {"size": "256,384"}).size == (256, 384)
    assert parse_options(TiTok, "decode", {"text": "a cat, and a dog"}).text == ("a cat, and a dog",)
    assert parse_options(FlexTok, "decode", {"guidance": "7.5"}).guidance == 7.5


@pytest.mark.parametrize(
    ("family", "direction", "texts", "message"),
    [
        (KARL, "encode", {"qualty": "0.1"}, "karl takes no 'qualty'.*Did you mean 'quality'"),
        (KARL, "encode", {"quality": "high"}, "quality is 'high'; allowed: float"),
        (KARL, "encode", {"quality": "nan"}, "quality is nan; numbers of configs are finite"),
        (KARL, "encode", {"quality": "-0.1"}, "quality is -0.1"),
        (KARL, "encode", {"token_budget": "6.5"}, "token_budget is '6.5'; allowed: int or none"),
        (KARL, "encode", {"token_budget": "0"}, "token_budget is 0; allowed: 1 or more"),
        (KARL, "encode", {"trim": "yes"}, "trim is 'yes'; allowed: true or false"),
        (KARL, "encode", {"resize": "stretch"}, "resize"),
        (KARL, "encode", {"value_range": "1,0"}, "value_range is"),
        (KARL, "encode", {"value_range": "0"}, "value_range"),
        (FlexTok, "decode", {"noise": "0.1"}, "noise holds arrays.*only from Python"),
        (FlexTok, "decode", {"steps": "0"}, "steps is 0; allowed: 1 to 10000"),
        (FlexTok, "decode", {"guidance": "strong"}, "guidance is 'strong'; allowed: float"),
        (Instella, "decode", {"size": "256"}, "size"),
        (Instella, "decode", {"size": "0,256"}, "size is"),
        (KARL, "decode", {"quality": "0.1"}, "karl takes no 'quality'"),
    ],
)
def test_what_cannot_be_is_said(family, direction, texts, message):
    with pytest.raises(ConfigError, match=message):
        parse_options(family, direction, texts)


def test_keywords_go_before_given_options_and_are_checked_too():
    given = parse_options(KARL, "encode", {"quality": "0.2", "token_budget": "8"})
    assert make_options(KARL, "encode", given, {}) is given
    got = make_options(KARL, "encode", given, {"quality": np.float64(0.1)})
    assert (got.quality, got.token_budget) == (0.1, 8)
    with pytest.raises(ConfigError, match="must be int"):
        make_options(KARL, "encode", None, {"token_budget": "8"})
    with pytest.raises(ConfigError, match="KARLEncodeOptions, got ImageEncodeOptions"):
        make_options(KARL, "encode", ImageEncodeOptions(), {})
    with pytest.raises(ValueError, match="direction"):
        make_options(KARL, "encoding", None, {})
    assert make_options(FlexTok, "decode", None, {"guidance": lambda t: t}).guidance(3) == 3
    noise = torch.zeros(1, 2)
    assert make_options(FlexTok, "decode", None, {"noise": noise}).noise is noise


def test_options_are_frozen_and_hold_no_arrays_by_default():
    for name in FAMILIES.names():
        cls = FAMILIES.resolve(name)
        for own, base in ((cls.encode_options, EncodeOptions), (cls.decode_options, DecodeOptions)):
            assert issubclass(own, base) and own() == own()
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(own(), dataclasses.fields(own)[0].name, 1)


def test_descriptions_tell_type_default_and_meaning():
    rows = {o.name: o for o in describe_options(KARL, "encode")}
    assert rows["quality"][1:3] == ("float", "0.05") and "absolute error" in rows["quality"].help
    assert rows["token_budget"].type == "int or none" and rows["token_budget"].default == "none"
    assert rows["resize"].type == "native or crop or squash or none" and rows["trim"].default == "true"
    assert rows["num_codebooks"].help.startswith("stop after this many codebooks"), "from the base class"
    assert "\n" not in "".join(o.help for o in rows.values())
