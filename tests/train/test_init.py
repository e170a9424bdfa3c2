"""`init:` takes what `tokenzoo.load` takes, and the folders that runs write; the config comes along where the run names none.

    pytest tests/train/test_init.py
"""

import pytest
import tokenzoo
import torch
from tokenzoo.codecs.config import ConfigError, to_mapping
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.serialize import CheckpointError, load_folder, save_folder
from tokenzoo.train import Trainer, TrainState, parse_run
from tokenzoo.train.pretrained import open_pretrained
from tokenzoo.train.start import OtherConfig
from train_media import RVQ, image_run, write_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 6)


@pytest.fixture(scope="module")
def saved(pictures, tmp_path_factory):
    """A tiny tokenizer with a config of its own, and the folder that it is saved in."""
    torch.manual_seed(5)
    config = image_run(pictures, pictures)["model"]["config"] | {"latent_dim": 6, "quantizer": RVQ}
    tokenizer = build_tokenizer("convnet", config)
    return tokenizer, save_folder(tokenizer, tmp_path_factory.mktemp("saved") / "tiny")


def run_from(pictures, output, init, **changes):
    """A run that leaves `model` out."""
    run = image_run(pictures, output, init=init, steps=1, **changes)
    return {k: v for k, v in run.items() if k != "model"}


def same(tokenizer, other):
    assert to_mapping(tokenizer.config) == to_mapping(other.config)
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in tokenizer.state_dict().items())


def test_the_config_comes_along_from_every_kind_of_name(pictures, saved, hub, tmp_path, monkeypatch):
    tokenizer, folder = saved
    hub.add("acme/tiny", {p.name: p.read_bytes() for p in folder.iterdir()})
    monkeypatch.chdir(folder.parent)
    for name in (str(folder), f"file:{folder}", "tiny", "acme/tiny", "hub:acme/tiny@main"):
        state = TrainState(parse_run(run_from(pictures, tmp_path, name)))
        same(state.tokenizer, tokenizer)
        assert (state.config.model.family, state.config.model.config) == ("convnet", to_mapping(tokenizer.config))


@pytest.mark.parametrize("name", ["photo-f16-rvq7", "speech-16khz-4kbps"])
def test_the_shipped_tokenizers_train_on_by_name(name, tmp_path):
    tokenizer = tokenzoo.load(name)
    audio = tokenizer.spec.modality == "audio"
    losses = {"waveform": {}} if audio else {"pixel": {}}
    run = {"init": name, "data": {"kind": "audio" if audio else "images"}, "losses": losses, "output": "x", "device": "cpu"}
    same(TrainState(parse_run(run)).tokenizer, tokenizer)


def test_folders_of_a_run_bring_config_and_discriminators(pictures, saved, tmp_path):
    game = {
        "losses": {"pixel": {}, "quantizer": {}, "adversarial": {"weight": 0.1}},
        "discriminators": {"patchgan": {"channels": 4, "layers": 1, "norm": "none"}},
    }
    first = Trainer(parse_run(run_from(pictures, tmp_path / "a", str(saved[1]), **game)))
    first.run()
    judges = first.state.adversary.module.state_dict()
    for place in ("a", "file:a", "a/model", "a/checkpoint-00000001"):
        name = place.replace("a", str(tmp_path / "a"), 1) if ":" not in place else f"file:{tmp_path / 'a'}"
        state = TrainState(parse_run(run_from(pictures, tmp_path / "b", name, **game)))
        same(state.tokenizer, first.state.best())
        taken = all(torch.equal(v, judges[k]) for k, v in state.adversary.module.state_dict().items())
        assert taken == ("model" not in place), "the folder of the run stands for its newest checkpoint"
    same(tokenzoo.load(f"file:{tmp_path / 'a'}"), first.state.best())


def test_settings_of_the_run_are_laid_over_those_that_come_along(pictures, saved, tmp_path):
    run = run_from(pictures, tmp_path, str(saved[1])) | {"model": {"config": {"quantizer": {"dropout": 0.25}}, "frozen": ["encoder"]}}
    with pytest.warns(OtherConfig, match=r"model\.config\.quantizer\.dropout: 0\.5 -> 0\.25") as warned:
        state = TrainState(parse_run(run))
    assert len(warned) == 1
    assert state.tokenizer.config.quantizer.dropout == 0.25
    assert state.tokenizer.config.latent_dim == 6
    assert not any(p.requires_grad for p in state.tokenizer.encoder.parameters())


def test_a_mismatch_says_what_differs_and_what_to_do(pictures, saved, tmp_path):
    run = image_run(pictures, tmp_path, init=str(saved[1]))
    with pytest.raises(CheckpointError) as error:
        TrainState(parse_run(run))
    changed = ("model.config.latent_dim: 6 -> 8", "model.config.quantizer.kind: 'residual_vq' -> 'fsq'")
    for words in ("does not fit", *changed, "model: from_init"):
        assert words in str(error.value)
    state = TrainState(parse_run(run | {"model": "from_init"}))
    same(state.tokenizer, saved[0])


def test_names_that_lead_nowhere(pictures, saved, tmp_path):
    with pytest.raises(ConfigError, match="the run names no tokenizer"):
        TrainState(parse_run(run_from(pictures, tmp_path, None)))
    with pytest.raises(ConfigError, match=r"'photo-f16-rvq8' names no weights: .*'photo-f16-rvq7'"):
        TrainState(parse_run(run_from(pictures, tmp_path, "photo-f16-rvq8")))
    with pytest.raises(ConfigError, match="neither a tokenizer that can be loaded, nor the output folder of a run"):
        TrainState(parse_run(run_from(pictures, tmp_path, str(pictures))))


def test_a_tokenizer_at_hand_needs_no_model_and_no_init(pictures, saved, tmp_path):
    run = run_from(pictures, tmp_path, None)
    mine = load_folder(saved[1])
    state = TrainState(parse_run(run), tokenizer=mine)
    assert state.tokenizer is mine and mine.training
    assert state.config.model.config == to_mapping(mine.config)
    with pytest.raises(ConfigError, match=r"model\.config\.latent_dim: 6 -> 8"):
        TrainState(parse_run(image_run(pictures, tmp_path)), tokenizer=mine)
    with pytest.raises(ConfigError, match="is of family 'convnet'"):
        TrainState(parse_run(run | {"model": {"family": "vqgan"}}), tokenizer=mine)
    with pytest.raises(ValueError, match="holds its encoder alone"):
        TrainState(parse_run(run), tokenizer=load_folder(saved[1], part="encoder"))
    with pytest.raises(ValueError, match="has weights in torch.bfloat16; load it without"):
        TrainState(parse_run(run), tokenizer=load_folder(saved[1]).bfloat16())


def test_the_same_command_goes_on_with_a_run_whose_model_came_from_init(pictures, saved, tmp_path):
    run = run_from(pictures, tmp_path / "out", str(saved[1]))
    assert Trainer(parse_run(run)).run().step == 1
    assert Trainer(parse_run(run | {"steps": 2})).run().step == 2
    written = parse_run(image_run(pictures, tmp_path / "out", steps=3, model=None) | {
        "model": {"family": "convnet", "config": to_mapping(saved[0].config)}
    })  # fmt: skip
    assert Trainer(written).run().step == 3
    with pytest.raises(ConfigError, match=r"model\.config\.latent_dim: 6 -> 8"):
        Trainer(parse_run(image_run(pictures, tmp_path / "out", steps=4))).run()


def test_checkpoints_written_before_the_config_was_kept_whole(pictures, tmp_path):
    """`meta.json` then held `model.config` as the run file had it."""
    import json

    from train_media import as_format_1

    run = image_run(pictures, tmp_path / "a", steps=1)
    Trainer(parse_run(run)).run()
    path = tmp_path / "a" / "checkpoint-00000001" / "meta.json"
    meta = as_format_1(path.parent)
    assert meta["config"]["model"]["config"].keys() > run["model"]["config"].keys()
    meta["config"]["model"]["config"] = run["model"]["config"]
    meta["config"]["precision"] = "fp32"
    path.write_text(json.dumps(meta))
    with pytest.warns(UserWarning, match="has no checksums"):
        assert Trainer(parse_run(run | {"steps": 2})).run().step == 2
    with pytest.warns(UserWarning, match="has no checksums"):
        found = open_pretrained(str(path.parent))
    assert found.config == to_mapping(load_folder(tmp_path / "a" / "model").config)


def test_grafts_and_teachers_take_names_too(pictures, saved, hub, tmp_path):
    tokenizer, folder = saved
    hub.add("acme/tiny", {p.name: p.read_bytes() for p in folder.iterdir()})
    run = image_run(pictures, tmp_path, grafts={"decoder": "acme/tiny#decoder"})
    run["model"]["config"] |= {"latent_dim": 6}
    state = TrainState(parse_run(run))
    theirs = tokenizer.decoder.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in state.tokenizer.decoder.state_dict().items())
    run["teachers"] = {"ids": {"kind": "tokenizer", "model": "acme/tiny"}}
    teacher = TrainState(parse_run(run)).objective.teachers["ids"]
    same(teacher.tokenizer, tokenizer)
    run["teachers"]["ids"]["model"] = str(pictures)
    with pytest.raises(ConfigError, match="neither a tokenizer"):
        TrainState(parse_run(run))
