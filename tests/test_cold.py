"""What the command and a first `load` import and open, so that they answer at once. No time is measured here.

    pytest tests/test_cold.py
"""

import functools
import json
import shutil
from pathlib import Path

import pytest
import tokenzoo
from own_process import run_script
from tokenzoo.codecs.families import FAMILIES
from tokenzoo.codecs.option_sources import UnreadableError, read_options
from tokenzoo.codecs.summary import options_of, rows_of
from tokenzoo.zoo import parsed, shipped
from tokenzoo.zoo.registry import cards

#: Packages that take a tenth of a second or more, and PyYAML, which takes half of it for the cards.
HEAVY = (
    "torch", "torchvision", "torchaudio", "transformers", "diffusers", "timm", "numpy", "scipy", "pandas", "pyarrow", "PIL",
    "soundfile", "av", "huggingface_hub", "safetensors", "omegaconf", "yaml", "accelerate", "tensorboard", "gradio", "onnx",
)  # fmt: skip
COMMAND = """
import json, sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
import contextlib, io
from tokenzoo.cli import main
words = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()) as out:
    try:
        main(words)
    except SystemExit as ended:
        assert not ended.code, out.getvalue()
print(json.dumps([sorted(sys.modules), opened, len(out.getvalue())]))
"""
FIRST_IDS = """
import json, sys
import tokenzoo
import numpy as np
tokens = tokenzoo.load("speech-16khz-4kbps").encode((np.ones(16000, np.float32) / 9, 16000))
print(json.dumps([sorted(sys.modules), list(tokens.ids.shape)]))
"""


@functools.cache
def command(*words: str) -> tuple[set[str], list[str]]:
    """Modules that a command imports, and files that it opens."""
    modules, opened, printed = run_script(COMMAND, json.dumps(words))
    assert printed > 500
    return set(modules), opened


VERBS = ["--help", "list", "list --json", "info mimi", "info mimi --json", "info photo-f16-rvq7", "encode --help"]


@pytest.mark.parametrize("words", VERBS)
def test_the_command_imports_nothing_heavy_until_it_is_used(words):
    modules, _ = command(*words.split())
    assert not modules & set(HEAVY)
    assert len([m for m in modules if m.startswith("tokenzoo.")]) < 40


@pytest.mark.parametrize("words", ["--help", "list", "info mimi"])
def test_the_command_opens_each_card_once_and_little_else(words):
    _, opened = command(*words.split())
    data = [name for name in opened if Path(name).suffix in (".yaml", ".json", ".safetensors")]
    assert len(data) == len(set(data))
    folders = {Path(name).parent.name for name in data if name.endswith(".yaml")}
    assert folders <= ({"cards", "published"} if words != "--help" else set())


def test_first_ids_need_only_torch_and_what_it_imports():
    modules, shape = run_script(FIRST_IDS)
    assert shape == [1, 8, 50]
    assert not set(modules) & (set(HEAVY) - {"torch", "numpy", "safetensors"})


# --- cards and figures, parsed beforehand ---------------------------------------------------------------------------------------


def test_parsed_json_is_fresh():
    path = Path(tokenzoo.__file__).parent / "zoo" / parsed.NAME
    assert path.read_text(encoding="utf-8") == parsed.index(), "run: python -m tokenzoo.zoo.parsed"


def test_old_values_are_never_seen(tmp_path, monkeypatch):
    for folder in parsed.FOLDERS:
        shutil.copytree(Path(tokenzoo.__file__).parent / "zoo" / folder, tmp_path / folder)
    monkeypatch.setattr(parsed, "_here", lambda: tmp_path)
    monkeypatch.setattr(parsed, "_known", parsed._known.__wrapped__)
    yaml_read = []
    monkeypatch.setattr(parsed, "_parse", lambda data, parse=parsed._parse: (yaml_read.append(data), parse(data))[1])
    before = parsed.parsed("cards")
    assert len(yaml_read) == len(before), "nothing is parsed beforehand"
    (tmp_path / parsed.NAME).write_text(parsed.index(), encoding="utf-8")
    yaml_read.clear()
    assert parsed.parsed("cards") == before and not yaml_read
    path = tmp_path / "cards" / "mimi.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("kyutai/mimi", "kyutai/other"), encoding="utf-8")
    (tmp_path / "cards" / "dac.yaml").rename(tmp_path / "cards" / "cad.yaml")
    (tmp_path / "cards" / "snac.yaml").unlink()
    after = parsed.parsed("cards")
    assert after["mimi.yaml"][0]["hub_id"] == "kyutai/other" and len(yaml_read) == 2
    assert after["cad.yaml"] == before["dac.yaml"] and not {"dac.yaml", "snac.yaml"} & set(after)


def test_values_that_json_has_not_are_refused(tmp_path, monkeypatch):
    for folder in parsed.FOLDERS:
        (tmp_path / folder).mkdir()
    (tmp_path / "cards" / "a.yaml").write_text("- {name: a, date: 2024-01-02}\n")
    monkeypatch.setattr(parsed, "_here", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"cards/a.yaml holds values that JSON has not"):
        parsed.index()


# --- what `info` reads without importing a family --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES.targets())
def test_options_read_from_source_are_those_of_the_class(family):
    assert read_options(FAMILIES.targets()[family]) == options_of(FAMILIES.resolve(family))


def test_forms_that_cannot_be_read_are_refused():
    with pytest.raises(UnreadableError, match="no class"):
        read_options("options:MAX_STEPS")
    with pytest.raises(UnreadableError, match="no source file"):
        read_options("nothing:Nothing")
    with pytest.raises(UnreadableError, match="has no encode_options"):
        read_options("kinds:Kinds")
    with pytest.raises(UnreadableError, match="is no name of a class"):
        read_options("spec:AudioSpec")


@pytest.mark.parametrize("name", [c.name for c in cards().values() if c.shipped])
def test_facts_of_shipped_checkpoints_are_those_of_the_loaded(name):
    tokenizer = tokenzoo.load(name)
    loaded = rows_of(tokenizer)
    assert loaded.pop("licence of the weights") == cards()[name].licence_weights
    assert shipped.rows(name) == {**loaded, "parameters": loaded["parameters"].removesuffix(" on cpu")}
    assert options_of(tokenizer) == options_of(type(tokenizer))
