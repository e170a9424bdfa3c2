"""`tokenzoo train --from`, `--dry-run`, `tokenzoo configs`. Run: pytest tests/cli/test_train.py"""

import json

import pytest
import tokenzoo
import torch
import yaml
from cli_runs import run
from contract_cases import build
from small_runs import write_photo
from tokenzoo.codecs.serialize import save_folder
from tokenzoo.train.files import bundled_names, load_run, resolved


@pytest.fixture
def photos(tmp_path):
    return write_photo(tmp_path / "photos")


def test_a_loaded_tokenizer_is_trained_on(tmp_path, photos):
    before = build("convnet")
    save_folder(before, tmp_path / "before")
    short = ["steps=2", "batch_size=2", "every.log=1", "tensorboard=false", "data.crop=16", f"data.train={photos}"]
    ran = run("train", "--from", f"file:{tmp_path / 'before'}", *short, f"output={tmp_path / 'out'}")
    assert ran.code == 0, ran.err
    assert "data.valid 'data/photos/valid' is not there: this run is not validated" in ran.err
    after = tokenzoo.load(f"file:{tmp_path / 'out'}")
    assert after.config == before.config and after.family == "convnet"
    moved = [n for n, w in after.state_dict().items() if not torch.equal(w, before.state_dict()[n])]
    assert moved
    frozen = ["model.frozen=[encoder,quantizer]", "ema.decay=0"]
    ran = run("train", "--from", f"file:{tmp_path / 'before'}", *short, *frozen, f"output={tmp_path / 'decoder'}")
    assert ran.code == 0, ran.err
    decoder = tokenzoo.load(f"file:{tmp_path / 'decoder'}").state_dict()
    assert {n.split(".")[0] for n, w in decoder.items() if not torch.equal(w, before.state_dict()[n])} == {"decoder"}


def test_a_loaded_tokenizer_in_a_run_of_ones_own(tmp_path, photos):
    save_folder(build("spectral"), tmp_path / "codec")
    ran = run("train", "--from", f"file:{tmp_path / 'codec'}", f"data.train={photos}", "--dry-run")
    assert ran.code == 2 and "holds no file that ends in" in ran.err, "an audio codec takes audio/fine-tune"
    save_folder(build("convnet"), tmp_path / "model")
    own = {"data": {"kind": "images", "train": str(photos), "crop": 16}, "losses": {"pixel": {"weight": 1.0}}}
    own["output"] = str(tmp_path / "o")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own | {"steps": 1, "batch_size": 1}))
    ran = run("train", str(tmp_path / "own.yaml"), "--from", f"file:{tmp_path / 'model'}", "tensorboard=false")
    assert ran.code == 0, ran.err
    saved = yaml.safe_load((tmp_path / "o/config.yaml").read_text())
    assert saved["model"]["family"] == "convnet" and saved["init"] == f"file:{tmp_path / 'model'}" and saved["steps"] == 1


@pytest.mark.parametrize("name", ["no-such-model", "file:/no/such/folder"])
def test_a_tokenizer_that_is_not_there(name, photos):
    ran = run("train", "--from", name, f"data.train={photos}")
    assert ran.code in (1, 2) and ran.err.count("\n") <= 3 and name.removeprefix("file:") in ran.err


def test_a_dry_run_says_what_the_run_is_and_writes_nothing(tmp_path, photos):
    settings = [f"data.train={photos}", f"output={tmp_path / 'out'}", "batch_size=4"]
    ran = run("train", "image/vqgan-debug", *settings, "--dry-run")
    assert ran.code == 0, ran.err
    rows = dict(line.split("  ", 1) for line in ran.out.splitlines())
    assert rows["tokenizer"].strip().startswith("vqgan, ") and "3 items; a step takes 4 crops" in rows["data"]
    assert "on noise" in rows["first step"] and "MiB" in rows["memory"]
    assert not (tmp_path / "out").exists()
    ran = run("train", "image/vqgan-debug", *settings, "model.config.z_channels=0", "--dry-run")
    assert (ran.code == 2 and "z_channels" in ran.err) or "cannot be built" in ran.err


def test_bundled_runs_are_listed_shown_and_copied(tmp_path):
    listed = run("configs")
    assert listed.code == 0 and {line.split()[0] for line in listed.out.splitlines()} == set(bundled_names())
    shown = run("configs", "image/vqgan-debug", "steps=7")
    values = yaml.safe_load(shown.out)
    assert values["steps"] == 7 and "base" not in values and values["optimizer"]["lr"] > 0
    copied = run("configs", "image/vqgan-debug", "-o", str(tmp_path / "own.yaml"))
    assert copied.code == 0 and copied.out.strip() == f"tokenzoo train {tmp_path / 'own.yaml'}"
    assert load_run(tmp_path / "own.yaml") == load_run("image/vqgan-debug")
    again = run("configs", "image/vqgan-debug", "-o", str(tmp_path / "own.yaml"))
    assert again.code == 1 and "is there already" in again.err
    assert run("configs", "image/vqgan-debgu").code in (1, 2)


@pytest.mark.parametrize("name", bundled_names())
def test_what_is_shown_is_the_run(name, tmp_path):
    (tmp_path / "run.yaml").write_text(resolved(name))
    assert load_run(tmp_path / "run.yaml") == load_run(name)


def test_only_validation_data_of_the_bundled_run_may_be_missing(tmp_path, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the folder of the project may hold its data
    assert load_run("image/vqgan-debug").data.valid
    with pytest.warns(UserWarning, match="not validated"):
        assert not load_run("image/vqgan-debug", [f"data.train={photos}"]).data.valid
    assert load_run("image/vqgan-debug", [f"data.train={photos}", "data.valid=nowhere"]).data.valid == "nowhere"
    (tmp_path / "run.yaml").write_text(json.dumps({"base": "image/vqgan-debug", "data": {"train": str(photos), "valid": "nowhere"}}))
    assert load_run(tmp_path / "run.yaml").data.valid == "nowhere", "a run file of one's own means what it says"
