"""Discriminators beside a published tokenizer: written, ignored when it is loaded, and taken by the next run where they fit.

pytest tests/train/test_published_discriminators.py
"""

import json
import warnings

import pytest
import tokenzoo
import torch
from cli_runs import run
from safetensors.torch import load_file, save_file
from tokenzoo.codecs import hooks
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.train import TrainState, parse_run
from tokenzoo.train.__main__ import main
from tokenzoo.train.loop import train
from tokenzoo.train.start import OtherDiscriminators
from tokenzoo.zoo.hub import HubError
from train_media import image_run, write_pictures

PATCH = {"kind": "patchgan", "channels": 4, "layers": 1}
GAME = {"losses": {"pixel": {}, "quantizer": {}, "adversarial": {"weight": 0.1}}, "discriminators": {"patch": PATCH}}
FILES = {"discriminators.json", "discriminators.safetensors"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pictures and the output of a short run against a discriminator."""
    root = tmp_path_factory.mktemp("place")
    write_pictures(root / "pictures")
    train(parse_run(image_run(root / "pictures", root / "run", **GAME | {"steps": 2})))
    return root


def state_from(name, place, **changes):
    run = image_run(place / "pictures", place / "next", init=str(name), **GAME | changes)
    return TrainState(parse_run({k: v for k, v in run.items() if k != "model"}))


def trained(place):
    return torch.load(place / "run/checkpoint-00000002/state.pt")["discriminators"]


def taken(state, place):
    found = state.adversary.module.state_dict()
    return all(torch.equal(value, found[name]) for name, value in trained(place).items())


def published(place, folder):
    tokenizer = tokenzoo.load(f"file:{place / 'run'}")
    return tokenizer.save_pretrained(folder, discriminators=place / "run")


def test_they_are_plain_files_beside_the_tokenizer(place, tmp_path):
    folder = published(place, tmp_path / "mine")
    assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", "README.md", *FILES}
    described = json.loads((folder / "discriminators.json").read_text())
    assert described["discriminators"]["patch"]["kind"] == "patchgan" and described["discriminators"]["patch"]["channels"] == 4
    weights = load_file(folder / "discriminators.safetensors")
    assert weights.keys() == trained(place).keys() and all(torch.equal(v, weights[k]) for k, v in trained(place).items())
    plain = tokenzoo.load(f"file:{place / 'run'}").state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in tokenzoo.load(f"file:{folder}").state_dict().items())


def test_a_run_from_a_folder_or_the_hub_starts_with_them(place, tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "good-token")
    pushed = run("push", str(place / "run"), "org/judged", "--discriminators", "--licence", "mit")
    assert pushed.code == 0, pushed.err
    assert set(hub.repos["org/judged"]["main"]) >= FILES
    folder = published(place, tmp_path / "mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error", OtherDiscriminators)
        for name in ("org/judged", folder, f"file:{folder}"):
            assert taken(state_from(name, place), place)
            assert not taken(state_from(name, place, init_parts=["encoder"]), place), "parts of a tokenizer bring none"
    before = len(hub.requests)
    tokenzoo.load("org/judged")
    assert not any("discriminators" in path for _, path in hub.requests[before:]), "whoever loads it does not download them"
    plain = run("push", str(place / "run"), "org/plain", "--licence", "mit")
    assert plain.code == 0 and not FILES & set(hub.repos["org/plain"]["main"])
    assert not taken(state_from("org/plain", place), place)


def test_others_than_those_of_the_run_are_named_and_left_out(place, tmp_path):
    folder = published(place, tmp_path / "mine")
    other = {"other": PATCH | {"layers": 2}}
    with pytest.warns(OtherDiscriminators, match=r"missing: members\.other.*not expected: members\.patch.*starts with fresh"):
        state_from(folder, place, discriminators=other)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OtherDiscriminators)
        state_from(folder, place, losses={"pixel": {}}, discriminators={})  # a run without any does not mind


def test_broken_files_are_named(place, tmp_path):
    folder = published(place, tmp_path / "mine")
    (folder / "discriminators.json").write_text('{"format": 2, "discriminators": {}}')
    with pytest.raises(CheckpointError, match="has format 2"):
        state_from(folder, place)
    (folder / "discriminators.json").write_text("[]")
    with pytest.raises(CheckpointError, match="describes no discriminators"):
        state_from(folder, place)
    (folder / "discriminators.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="is broken"):
        state_from(folder, place)
    tokenzoo.load(f"file:{folder}")  # the tokenizer itself is whole


def test_a_run_without_discriminators_has_none_to_publish(place, tmp_path):
    train(parse_run(image_run(place / "pictures", tmp_path / "plain", steps=1)))
    tokenizer = tokenzoo.load(f"file:{tmp_path / 'plain'}")
    with pytest.raises(CheckpointError, match="of a run without discriminators"):
        tokenizer.save_pretrained(tmp_path / "mine", discriminators=tmp_path / "plain")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        tokenizer.save_pretrained(tmp_path / "mine", discriminators=tmp_path / "plain/model")


def test_a_layout_of_the_authors_is_recognised_beside_them(tmp_path):
    """A folder without a name for its only file of weights: the discriminators' must not count as a second one."""
    from contract_cases import build

    folder = tokenzoo.save_pretrained(build("dac"), tmp_path / "theirs", layout="dac-hf")
    (folder / "model.safetensors").rename(folder / "weights-of-dac.safetensors")
    before = tokenzoo.load(f"file:{folder}").state_dict()
    save_file({"members.patch.out.bias": torch.zeros(1)}, folder / "discriminators.safetensors")
    (folder / "discriminators.json").write_text('{"format": 1, "discriminators": {}}')
    after = tokenzoo.load(f"file:{folder}").state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_from_reads_the_weights_once(place, tmp_path, monkeypatch, capsys):
    calls, load = [], hooks.HOOKS["load"]
    monkeypatch.setitem(hooks.HOOKS, "load", lambda *args, **named: [calls.append(args), load(*args, **named)][1])
    options = [f"data.train={place / 'pictures'}", "data.crop=32", "batch_size=2", "threads=1", "device=cpu", f"output={tmp_path}"]
    assert main(options, source=f"file:{place / 'run/model'}", dry=True, debug=True) == 0
    assert len(calls) == 1 and "convnet" in capsys.readouterr().out


def test_a_tokenizer_of_the_cache_starts_a_run_while_the_hub_is_away(place, tmp_path, monkeypatch):
    def away(name):
        raise HubError("the hub could not be reached")

    folder = published(place, tmp_path / "mine")
    monkeypatch.setitem(hooks.HOOKS, "discriminator_files", away)
    with pytest.warns(UserWarning, match="is not known, so none are taken: the hub could not be reached"):
        assert not taken(state_from(folder, place), place)
