"""Parts by name: the library's own tables, and parts of the user's own."""

import importlib
import sys
from dataclasses import dataclass

import pytest
import tokenzoo
from tokenzoo.codecs.config import ConfigError, from_mapping, to_mapping
from tokenzoo.codecs.families import FAMILIES, build_tokenizer
from tokenzoo.codecs.kinds import Kinds
from tokenzoo.codecs.layouts.systems import RECOGNISED, SYSTEMS, converter
from tokenzoo.codecs.quantizers import QUANTIZERS, QuantizerConfig, build
from tokenzoo.codecs.quantizers.fsq import FSQConfig
from tokenzoo.train.data.config import DATA, DataConfig
from tokenzoo.train.discriminators import DISCRIMINATORS
from tokenzoo.train.discriminators.base import DiscriminatorConfig
from tokenzoo.train.losses import LOSSES
from tokenzoo.train.losses.base import LossConfig
from tokenzoo.train.teachers import TEACHERS
from tokenzoo.train.teachers.base import TeacherConfig
from tokenzoo.zoo.corpus.formats import FORMATS
from tokenzoo.zoo.corpus.models.base import GeneratorConfig
from tokenzoo.zoo.corpus.models.kinds import MODELS
from tokenzoo.zoo.corpus.packing import PATTERNS
from tokenzoo.zoo.corpus.packing.base import PackingConfig

#: every table, with the class that its parts derive from; formats and layouts are modules.
TABLES = {
    "family": (FAMILIES, tokenzoo.Tokenizer),
    "quantizer": (QUANTIZERS, QuantizerConfig),
    "loss": (LOSSES, LossConfig),
    "discriminator": (DISCRIMINATORS, DiscriminatorConfig),
    "teacher": (TEACHERS, TeacherConfig),
    "data": (DATA, DataConfig),
    "packing": (PATTERNS, PackingConfig),
    "language model": (MODELS, GeneratorConfig),
    "format": (FORMATS, None),
    "layout": (SYSTEMS, None),
}
#: A part of each kind in `own_parts.py`.
OWN = {
    "family": "Tall",
    "quantizer": "FlippedConfig",
    "loss": "BrightnessConfig",
    "discriminator": "MeanConfig",
    "teacher": "MiddleConfig",
    "data": "SameImagesConfig",
    "packing": "RowsConfig",
    "language model": "OwnLlamaConfig",
}


@pytest.mark.parametrize("table, base", TABLES.values(), ids=TABLES)
def test_every_name_leads_to_its_part(table, base):
    assert table.names() and list(table.names()) == sorted(table.names())
    for name in table.names():
        found = table.resolve(name)
        if base is None:
            assert found.__name__ == f"{table.package}.{table.targets()[name]}"
        else:
            assert issubclass(found, base) and getattr(found, table.label) == name == table.name_of(found)


@pytest.mark.parametrize("table", [t for t, _ in TABLES.values()], ids=TABLES)
def test_what_is_no_name(table):
    good = table.names()[0]
    with pytest.raises(ConfigError, match=f"unknown {table.what} '{good}x'.*{good}"):
        table.resolve(f"{good}x")
    for kind in (3, 2.5, True, None, ["mel"], {"kind": "mel"}, ("fsq",), b"fsq"):
        with pytest.raises(ConfigError, match=f"the {table.what} must be a name, got .* \\({type(kind).__name__}\\)"):
            table.resolve(kind)
    for kind in ("", " ", good.upper() + "!", "x" * 100_000):
        with pytest.raises(ConfigError) as refusal:
            table.resolve(kind)
        assert len(str(refusal.value)) < 2000


@pytest.mark.parametrize("kind", [3, 0, [], {}, ["fsq"], False, ""])
def test_wrong_kinds_in_a_config_name_their_place(kind):
    with pytest.raises(ConfigError, match="^config.quantizer: "):
        build_tokenizer("convnet", {"quantizer": {"kind": kind}})


def test_a_kind_must_fit_where_it_stands():
    @dataclass(frozen=True, kw_only=True)
    class Holder:
        grid: FSQConfig = FSQConfig()

    assert from_mapping(Holder, {"grid": {"levels": [3, 3]}}).grid.levels == (3, 3)
    with pytest.raises(ConfigError, match="grid: the kind 'vq' does not fit here; it is no FSQConfig"):
        from_mapping(Holder, {"grid": {"kind": "vq"}})


def test_layouts_that_know_their_configs_are_asked():
    modules = {SYSTEMS.resolve(s) for s in SYSTEMS.names()}
    assert {entry.system for m in modules for entry in m.LAYOUTS if entry.recognises} == set(RECOGNISED)
    assert all(entry.system in SYSTEMS and converter(entry.system) is entry for m in modules for entry in m.LAYOUTS)


# --- parts of the user's own ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", OWN)
def test_own_parts_of_every_kind(house_parts, what):
    table, base = TABLES[what]
    name = f"house_parts:{OWN[what]}"
    for _ in range(2):
        with pytest.raises(ConfigError, match="names code to import.*tokenzoo.register\\('house_parts:"):
            table.resolve(name)
    assert "house_parts" not in sys.modules, "a config that is not the user's imported something"
    found = table.resolve(name, own=True)
    assert issubclass(found, base) and table.resolve(name) is found and name in table.names() and name in table
    assert getattr(found, table.label) == table.name_of(found) == name


def test_a_part_may_stand_for_its_settings(house_parts):
    assert LOSSES.resolve("house_parts:Brightness", own=True).__name__ == "BrightnessConfig"
    assert to_mapping(LOSSES.resolve("house_parts:Brightness")(weight=2.0))["kind"] == "house_parts:Brightness"


@pytest.mark.parametrize(
    "name, message",
    [
        ("no_such_house:Thing", "no module 'no_such_house'. Install the package that holds it, or put its folder on PYTHONPATH"),
        ("house_parts.inner:Thing", "house_parts.inner"),
        ("house_parts:BrightnesConfig", "house_parts has no 'BrightnesConfig'. Did you mean 'BrightnessConfig'"),
        ("house_parts:function", "'house_parts:function' as loss kind is a function; it must derive from .*losses.base.LossConfig"),
        ("house_parts:FlippedConfig", "is a class of FSQConfig; it must derive from"),
        ("house_parts:Homeless", "or be built by such a LossConfig and have it as the attribute `config_class`"),
        ("house_parts:Undecorated", "must be a dataclass; write @dataclass"),
        ("house_parts:", "is no import name"),
        (":BrightnessConfig", "is no import name"),
        ("../house_parts:BrightnessConfig", "is no import name"),
        ("house parts:BrightnessConfig", "is no import name"),
        ("broken_house:Thing", "importing 'broken_house' failed: ZeroDivisionError"),
        ("needy_house:Thing", "importing 'needy_house' failed: No module named 'nobody_has_this'"),
    ],
)
def test_what_cannot_be_imported(house_parts, name, message):
    (house_parts / "broken_house.py").write_text("1 / 0")
    (house_parts / "needy_house.py").write_text("import nobody_has_this")
    with pytest.raises(ConfigError, match=message):
        LOSSES.resolve(name, own=True)
    if name != "house_parts:FlippedConfig":  # which is a quantizer, and may be registered as one
        with pytest.raises(ConfigError):
            tokenzoo.register(name)


def test_registered_by_class_by_name_and_under_an_old_name(house_parts):
    module = importlib.import_module("house_parts")
    assert tokenzoo.register(module.FlippedConfig) is module.FlippedConfig
    assert QUANTIZERS.resolve("house_parts:FlippedConfig") is module.FlippedConfig
    tokenzoo.register("house_parts:BrightnessConfig", name="old_house.losses:BrightConfig")
    assert LOSSES.resolve("old_house.losses:BrightConfig") is module.BrightnessConfig
    with pytest.raises(ConfigError, match="cannot be imported: define the class at the top of a module"):
        tokenzoo.register(module.inside())
    with pytest.raises(ConfigError, match="none of the classes that configs name.*LossConfig"):
        tokenzoo.register(dict)


def test_parts_of_the_library_keep_their_names(house_parts):
    assert QUANTIZERS.resolve("tokenzoo.codecs.quantizers.fsq:FSQConfig", own=True) is FSQConfig
    assert FSQConfig.kind == "fsq" and "tokenzoo.codecs.quantizers.fsq:FSQConfig" not in QUANTIZERS.names()


def test_a_quantizer_of_the_users_own(house_parts):
    q = build("house_parts:FlippedConfig", levels=[5, 5], strength=0.5)
    assert type(q).__name__ == "Flipped" and q.config.strength == 0.5
    assert to_mapping(q.config)["kind"] == "house_parts:FlippedConfig"
    with pytest.raises(ConfigError, match="unknown key 'strenght' in FlippedConfig.*'strength'"):
        build("house_parts:FlippedConfig", strenght=0.5)


def test_an_own_quantizer_in_a_familys_config(house_parts):
    config = {"quantizer": {"kind": "house_parts:FlippedConfig", "levels": [5, 5]}}
    with pytest.raises(ConfigError, match="^config.quantizer: .*names code to import"):
        build_tokenizer("convnet", config)
    assert type(build_tokenizer("convnet", config, own=True).quantizer).__name__ == "Flipped"


def test_a_class_that_was_never_registered_is_written_by_its_import_name(house_parts):
    module = importlib.import_module("house_parts")
    tokenizer = module.Tall(module.TallConfig(quantizer=module.FlippedConfig(levels=(5, 5))))
    assert to_mapping(tokenizer.config)["quantizer"]["kind"] == "house_parts:FlippedConfig"
    assert FAMILIES.name_of(type(tokenizer)) == tokenizer.family == "house_parts:Tall"


def test_tables_of_modules_take_no_parts(house_parts):
    table: Kinds = Kinds("shape", "tokenzoo.codecs", {"spec": "spec"})
    with pytest.raises(ConfigError, match="unknown shape 'house_parts:Tall'"):
        table.resolve("house_parts:Tall", own=True)
    assert "house_parts" not in sys.modules
