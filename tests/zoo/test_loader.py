"""What a folder or repository contains decides how it loads, never what it is called.

    TOKENZOO_GOLDENS=... pytest tests/zoo/test_loader.py
"""

import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
import tokenzoo
import torch
from reference import SHIPPED, reference_folder
from safetensors.torch import load_file, save, save_file
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo import registry
from tokenzoo.zoo.convert import systems
from tokenzoo.zoo.hub import HubError

ROOTS = [SHIPPED] + ([Path(os.environ["TOKENZOO_GOLDENS"])] if os.environ.get("TOKENZOO_GOLDENS") else [])
#: Folders of systems that no layout reads yet.
GOLDENS = sorted({p.parent for r in ROOTS for p in r.glob("*/*/config.json")}, key=lambda p: p.name)
#: The folder's system where it is not the folder's name: one layout reads several.
SAME = {
    "encodec-48k": "encodec", "focalcodec-causal": "focalcodec", "titok-legacy": "titok", "tokenflow-clipb": "tokenflow",
    "amused-vq": "diffusers-vqmodel", "kandinsky-movq": "diffusers-vqmodel", "chameleon-vq-hf": "chameleon_vqgan-hf",
    "nested-vq-hf": "chameleon_vqgan-hf", "janus-vq-hf": "janus_vqgan-hf", "emu3-vq-hf": "emu3_vqgan-hf",
    "glm-image-vq-hf": "glm_image-hf", "apertus-vision-hf": "apertus1p5_vision_tokenizer-hf", "4m-features": "4m-vqvae",
    "4m-global": "4m-vqvae", "4m-semseg": "4m-vqvae",
}  # fmt: skip


def same(a: tokenzoo.Tokenizer, b: tokenzoo.Tokenizer) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("folder", GOLDENS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", [pytest.param("model", marks=pytest.mark.slow), "encodec"])
def test_reference_folders_are_recognised_under_any_name(folder: Path, name: str, tmp_path: Path) -> None:
    system = SAME.get(folder.name, folder.name)
    if system not in systems():
        pytest.skip("a system that no layout reads yet")
    shutil.copytree(folder, tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert tokenzoo.load(tmp_path / name).layout == system


@pytest.mark.parametrize("name", ["encodec_24khz", "encodec", "mimi", "dac-44khz", "speech-16khz-4kbps", "anything"])
def test_a_snapshot_of_the_hub_loads_under_its_own_name(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = transformers.EncodecConfig(
        hidden_size=8, num_filters=4, upsampling_ratios=[4, 2], num_lstm_layers=1, codebook_size=16, target_bandwidths=[24.0]
    )
    transformers.EncodecModel(config).save_pretrained(tmp_path / name)
    assert tokenzoo.load(f"file:{tmp_path / name}").layout == "encodec-hf"


@pytest.mark.parametrize("form", [{"max_shard_size": "20KB"}, {"safe_serialization": False}, {}])
@pytest.mark.parametrize("place", ["", "vqvae", "movq"])
def test_folders_of_diffusers_in_every_form(form: dict, place: str, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    peer = diffusers.VQModel(block_out_channels=[8, 16], norm_num_groups=8, num_vq_embeddings=32, **kinds)
    peer.save_pretrained(tmp_path / "pipeline" / place, **form)
    tok = tokenzoo.load(tmp_path / "pipeline")
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        ids = peer.quantize(peer.encode(x).latents)[2][2]
    assert torch.equal(tok.encode(x).ids.flatten(), ids.flatten())


def test_of_a_larger_model_only_the_files_that_hold_it_are_fetched(hub, tmp_path: Path) -> None:
    folder = reference_folder("image", "nested-vq-hf")
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    state = {k: v for name in set(index.values()) for k, v in load_file(folder / name).items()}
    inner = {k: v for k, v in state.items() if ".vqmodel." in k}
    parts = {"model-1.safetensors": {k: v for k, v in state.items() if k not in inner}, "model-2.safetensors": inner}
    places = {k: name for name, part in parts.items() for k in part}
    files = {name: save(part) for name, part in parts.items()}
    files |= {"config.json": (folder / "config.json").read_bytes()}
    files |= {"model.safetensors.index.json": json.dumps({"weight_map": places}).encode()}
    hub.add("org/whole", files)
    tok = tokenzoo.load("org/whole", cache_dir=tmp_path / "cache")
    assert same(tok, tokenzoo.load(folder))
    asked = {path.rsplit("/", 1)[1] for method, path in hub.requests if method == "GET" and "/resolve/" in path}
    assert "model-2.safetensors" in asked and "model-1.safetensors" not in asked


def test_cards_by_their_files_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with exactly the files of one card is that card; with the files of several it says which."""
    folder = reference_folder("audio", "dac")
    theirs = {k: v for k, v in json.loads((folder / "config.json").read_text()).items() if k not in ("source", "versions", "notes")}
    card = registry.card("dac-44khz-16kbps")
    import dataclasses

    small = dataclasses.replace(card, config_overrides=theirs)
    monkeypatch.setattr(registry, "cards", lambda: {card.name: small})
    (tmp_path / "m").mkdir()
    torch.save({"state_dict": load_file(folder / "weights.safetensors"), "metadata": {}}, tmp_path / "m" / card.files[0])
    by_card, by_names = tokenzoo.load(card.name, folder=tmp_path / "m"), tokenzoo.load(tmp_path / "m")
    assert same(by_card, by_names)
    assert same(by_card, tokenzoo.load(folder))
    twin = dataclasses.replace(small, name="twin")
    monkeypatch.setattr(registry, "cards", lambda: {card.name: small, "twin": twin})
    with pytest.raises(CheckpointError, match=r"several tokenizers: dac-44khz-16kbps, twin"):
        tokenzoo.load(tmp_path / "m")


def test_equal_keys_of_two_files_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    card = dataclasses.replace(registry.card("dac-44khz-16kbps"), files=("a.safetensors", "b.safetensors"))
    monkeypatch.setattr(registry, "cards", lambda: {card.name: card})
    for name in card.files:
        save_file({"encoder.w": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"b.safetensors holds the weight 'encoder.w'"):
        tokenzoo.load(card.name, folder=tmp_path)


def test_a_missing_file_of_a_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"holds no file 'config.json'. It holds: other.txt"):
        tokenzoo.load("encodec-24khz", folder=tmp_path)


def test_settings_and_weights_under_other_names(tmp_path: Path) -> None:
    """A training run's YAML beside its checkpoint, and an archive with both."""
    import tarfile

    import yaml

    folder = reference_folder("image", "taming-vqgan")
    config = json.loads((folder / "config.json").read_text())
    arguments = {k: v for k, v in config.items() if k not in ("source", "versions", "notes")}
    (tmp_path / "a").mkdir()
    run = {"model": {"target": "taming.models.vqgan.VQModel", "params": arguments}, "source": config["source"]}
    (tmp_path / "a/2024-run.yaml").write_text(yaml.safe_dump(run))
    state = load_file(folder / "weights.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a/epoch=3.ckpt")
    assert same(tokenzoo.load(tmp_path / "a"), tokenzoo.load(folder))
    nemo = reference_folder("audio", "nemo-audio-codec")
    (tmp_path / "model_config.yaml").write_text(yaml.safe_dump(json.loads((nemo / "config.json").read_text())))
    torch.save(load_file(nemo / "weights.safetensors"), tmp_path / "model_weights.ckpt")
    (tmp_path / "b").mkdir()
    with tarfile.open(tmp_path / "b/mine.nemo", "w:gz") as archive:
        for name in ("model_config.yaml", "model_weights.ckpt"):
            archive.add(tmp_path / name, f"./{name}")
    assert same(tokenzoo.load(tmp_path / "b"), tokenzoo.load(nemo))


def test_settings_that_fit_several_layouts_are_refused(tmp_path: Path) -> None:
    """IBQ's files look like taming's, and give other ids: nothing is guessed."""
    folder = reference_folder("image", "taming-vqgan")
    shutil.copytree(folder, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "source"}))
    with pytest.raises(CheckpointError, match=r"several layouts \(.*taming-vqgan.*\), which give different ids"):
        tokenzoo.load(tmp_path / "m")


def test_what_is_not_known_is_described(hub, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text('{"model_type": "llama"}')
    save_file({"w": torch.zeros(1)}, tmp_path / "m/model.safetensors")
    with pytest.raises(CheckpointError, match=r"names 'llama', which is no layout.*config.json, model.safetensors"):
        tokenzoo.load(tmp_path / "m")
    hub.add("org/counter", {"config.json": b'{"_name": "counter of downloads"}', "weights_v1.ckpt.gz": b"x"})
    with pytest.raises(CheckpointError, match=r"no tokenizer that could be recognised.*weights_v1.ckpt.gz"):
        tokenzoo.load("org/counter", cache_dir=tmp_path / "cache")


def test_part_of_a_foreign_checkpoint() -> None:
    folder = reference_folder("audio", "dac-hf")
    whole, half = tokenzoo.load(folder), tokenzoo.load(folder, part="encoder")
    x = torch.randn(1, 1, 500) * 0.1
    assert torch.equal(half.encode(x).ids, whole.encode(x).ids)
    assert sum(p.numel() for p in half.parameters()) < sum(p.numel() for p in whole.parameters())
    with pytest.raises(ValueError, match=r"part='encoder'"):
        half.decode(whole.encode(x))
    with pytest.raises(ValueError, match="allowed: 'encoder', 'decoder'"):
        tokenzoo.load(folder, part="both")


def test_revisions_of_cards_are_pinned(hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where authors replaced their weights, a card loads the commit it names, unless the user names another."""
    import dataclasses

    folder = reference_folder("audio", "dac-hf")
    files = {n: (folder / n).read_bytes() for n in ("config.json", "model.safetensors")}
    commit = hub.add("org/moved", files)
    hub.add("org/moved", {"config.json": b"{}"})
    card = dataclasses.replace(registry.card("dac-16khz"), hub_id="org/moved", revision=commit, config_overrides={})
    monkeypatch.setattr(registry, "cards", lambda: {card.name: card})
    for name in (card.name, "org/moved"):
        assert same(tokenzoo.load(name, cache_dir=tmp_path / "cache"), tokenzoo.load(folder))
    with pytest.raises(HubError, match="holds no file"):
        tokenzoo.load(card.name, revision="main", cache_dir=tmp_path / "cache")
