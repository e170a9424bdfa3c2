"""Losses, quantizers and other parts of the user's own in run files; and that nobody else's file imports code."""

import json
import re
import sys
from pathlib import Path

import pytest
import tokenzoo
import yaml
from own_process import run_script
from tokenzoo.codecs.config import ConfigError, to_mapping
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.train.files import load_run, parse_run
from tokenzoo.train.loop import train
from tokenzoo.zoo.corpus.packing import load_packing
from tokenzoo.zoo.corpus.plain import packing_of
from tokenzoo.zoo.corpus.records import Layout
from train_media import image_run, write_pictures


@pytest.fixture
def run_file(tmp_path, house_parts):
    """A run of two steps with a loss, quantizer, discriminator, teacher and data of the user's own."""
    run = image_run(write_pictures(tmp_path / "pictures"), tmp_path / "out", steps=2)
    run["model"]["config"]["quantizer"] = {"kind": "house_parts:FlippedConfig", "levels": [5, 5, 5]}
    run["losses"] = {
        "pixel": {},
        "light": {"kind": "house_parts:BrightnessConfig", "weight": 0.5, "power": 2},
        "adversarial": {},
        "feature_matching": {},
    }
    run["discriminators"] = {"mean": {"kind": "house_parts:MeanConfig"}}
    run["teachers"] = {"middle": {"kind": "house_parts:MiddleConfig"}}
    run["data"]["kind"] = "house_parts:SameImagesConfig"
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(run))
    return path


def test_a_run_with_parts_of_the_users_own(run_file, tmp_path):
    result = train(load_run(run_file))
    assert result.step == 2
    assert sys.modules["house_parts"].CALLS, "the loss was never asked"
    saved = json.loads((tmp_path / "out/model/config.json").read_text())
    assert saved["config"]["quantizer"]["kind"] == "house_parts:FlippedConfig"
    again = train(load_run(tmp_path / "out/config.yaml", ["steps=3"]))
    assert again.step == 3, "what the run wrote down does not name its parts"


def test_a_family_of_the_users_own(run_file, tmp_path):
    run = load_run(run_file, ["model.family=house_parts:Tall", "model.config.extra=1"])
    train(run)
    saved = json.loads((tmp_path / "out/model/config.json").read_text())
    assert saved["family"] == "house_parts:Tall" and saved["config"]["extra"] == 1


def test_mistakes_in_a_run_file_name_their_place(run_file):
    for override, message in (
        ("losses.light.kind=house_parts:Brightnes", "^losses.light: .*has no 'Brightnes'"),
        ("losses.light.kind=house_parts:MeanConfig", "^losses.light: .*must derive from .*LossConfig"),
        ("losses.light.powr=2", "unknown key 'losses.light.powr'"),
        ("model.config.quantizer.levls=[3]", "unknown key 'model.config.quantizer.levls'"),
        ("model.family=house_parts:Flipped", "must derive from .*Tokenizer"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_run(run_file, [override])


def test_the_example_of_the_readme(tmp_path, monkeypatch):
    from tokenzoo.train.losses import LOSSES

    page = (Path(tokenzoo.__file__).parent / "train/README.md").read_text()
    module = re.search(r"```python\n(# my_parts.py\n.*?)```", page, re.DOTALL)[1]
    losses = yaml.safe_load(re.search(r"```yaml\n(losses:\n  light.*?)```", page, re.DOTALL)[1])
    (tmp_path / "my_parts.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(LOSSES, "_own", {})
    run = image_run(write_pictures(tmp_path / "pictures"), tmp_path / "out", steps=2) | losses
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(run))
    config = load_run(tmp_path / "my.yaml")
    assert config.losses["light"].power == 2 and train(config).step == 2
    del sys.modules["my_parts"]


# --- files that the user did not write --------------------------------------------------------------------------------

#: Loads a folder in a process that knows no parts, then again once they are registered.
LOAD = """
import json, sys
import torch, tokenzoo
sys.path.insert(0, sys.argv[2])
refused = ""
try:
    tokenzoo.load("file:" + sys.argv[1])
except ValueError as error:
    refused = str(error)
imported = "house_parts" in sys.modules
tokenzoo.register("house_parts:FlippedConfig")
tokenizer = tokenzoo.load("file:" + sys.argv[1])
ids = tokenizer.encode(torch.zeros(3, 32, 32, dtype=torch.uint8)).ids
print(json.dumps([refused, imported, type(tokenizer.quantizer).__name__, list(ids.shape)]))
"""


def test_a_checkpoint_that_names_own_parts(run_file, tmp_path, house_parts):
    train(load_run(run_file))
    refused, imported, kind, shape = run_script(LOAD, str(tmp_path / "out/model"), str(house_parts))
    assert "config.quantizer" in refused and "tokenzoo.register('house_parts:FlippedConfig')" in refused
    assert not imported, "a checkpoint's config imported code"
    assert kind == "Flipped" and shape[:2] == [1, 1]


BAD = ["os:system", "posixpath:join", "antigravity:fly_id", "house_parts:FlippedConfig", "house_parts:Tall", "builtins:exec"]


@pytest.fixture
def no_imports(house_parts, monkeypatch):
    """The names that `codecs/kinds.py` imports for configs."""
    from tokenzoo.codecs import kinds

    seen = []
    monkeypatch.setattr(kinds, "_import", seen.append)
    yield seen
    assert not seen and "antigravity" not in sys.modules and "house_parts" not in sys.modules


@pytest.mark.parametrize("name", BAD)
def test_nothing_that_is_downloaded_imports_code(no_imports, name, tmp_path):
    tokenizer = tokenzoo.build_tokenizer("convnet", {"quantizer": {"kind": "fsq", "levels": [5, 5]}})
    folder = tmp_path / "model"
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for change in ({"family": name}, {"config": config["config"] | {"quantizer": {"kind": name}}}, {"config": {"kind": name}}):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match="names code to import|unknown key|expected"):
            tokenzoo.load(f"file:{folder}")
    run = to_mapping(parse_run(image_run(tmp_path, tmp_path / "out")))
    run["losses"]["extra"] = {"kind": name}
    with pytest.raises(ConfigError, match="^losses.extra: .*names code to import"):
        parse_run(run)  # as the config of a run's checkpoint is read
    layout = Layout(modality="image", vocab_sizes=(16,), planar=True)
    for choice in ({"packing": {"kind": name}}, {"kind": name, "vocabulary": {}}):
        with pytest.raises(ConfigError, match="^packing: .*names code to import"):
            packing_of(choice, layout, "x")
    with pytest.raises(ConfigError, match="packing: expected a mapping"):
        packing_of({"packing": name}, layout, "x")
    (tmp_path / "packing.json").write_text(json.dumps({"format": "tokenzoo-packing", "version": 1, "packing": {"kind": name}}))
    with pytest.raises(ConfigError, match="names code to import"):
        load_packing(tmp_path / "packing.json")


def test_foreign_configs_name_classes_and_import_none(no_imports, tmp_path):
    named = {"auto_map": {"AutoModel": "house_parts.Tall"}, "_target_": "os.system"}
    for config in ({"_class_name": "os:system"}, {"architectures": ["os:system"]}, {"model_type": "os:system"}):
        (tmp_path / "config.json").write_text(json.dumps(config | named))
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(ValueError):
            tokenzoo.load(f"file:{tmp_path}")


def test_tokens_name_their_maker_as_text_only(no_imports, tmp_path):
    tokenizer = tokenzoo.build_tokenizer("convnet", {"quantizer": {"kind": "fsq", "levels": [5, 5]}}).eval()
    import torch

    tokens = tokenizer.encode(torch.zeros(3, 8, 8, dtype=torch.uint8))
    tokens.save(tmp_path / "a.tok")
    assert Tokens.load(tmp_path / "a.tok").ids.equal(tokens.ids)
