"""Folders made to harm: indexes that lead outside, configs of giants, archives that are none. Each ends in one clear error.

Seconds and megabytes are measured in a process of its own, as a stranger's file would meet it.
"""

import json
import tarfile
from pathlib import Path

import pytest
import tokenzoo
import torch
from own_process import run_script
from safetensors.torch import save_file
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.loader import Folder
from tokenzoo.zoo.weight_files import read_nemo, read_settings, read_weights


def index(folder: Path, places: object) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.mark.parametrize("place", ["../secret/s.safetensors", "ABSOLUTE", "inner/s.safetensors", "..", "", "a\\..\\..\\s.safetensors"])
def test_an_index_leads_nowhere_else(place: str, tmp_path: Path) -> None:
    for name in ("secret", "model", "model/inner"):
        (tmp_path / name).mkdir()
    for path in (tmp_path / "secret/s.safetensors", tmp_path / "model/inner/s.safetensors"):
        save_file({"w": torch.zeros(1)}, path)
    place = place.replace("ABSOLUTE", str(tmp_path / "secret/s.safetensors"))
    folder = Folder(index(tmp_path / "model", {"w": place}))
    with pytest.raises(CheckpointError, match=r"only files beside the index|holds no file"):
        read_weights("model.safetensors.index.json", folder.file)


@pytest.mark.parametrize("places", [None, [], {"w": 3}, {"w": None}, "text"])
def test_an_index_is_a_map_of_names(places: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="weight_map"):
        read_weights("model.safetensors.index.json", Folder(index(tmp_path, places)).file)


@pytest.mark.parametrize("name", ["../x.json", "/etc/hostname", "a/../../x", ""])
def test_names_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file inside"):
        Folder(tmp_path).file(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", "<html>"),
        ("c.json", "[1, 2]"),
        ("c.json", '{"a": ' + "[" * 100_000),
        ("c.yaml", "a: !!python/object/apply:os.system ['true']"),
        ("c.yaml", "- 1"),
        ("c.yaml", "a: [" * 5000),
        ("c.json", b"\xff\xfe".decode("latin1")),
    ],
)
def test_settings_that_are_none(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="latin1")
    with pytest.raises(CheckpointError, match=r"no valid config|settings by name"):
        read_settings(tmp_path / name)


def test_a_reference_in_a_downloaded_config_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "value of the environment")
    (tmp_path / "c.yaml").write_text("a: ${oc.env:SECRET}\nb: ${a}\nc: 1e-4\n")
    assert read_settings(tmp_path / "c.yaml") == {"a": "${oc.env:SECRET}", "b": "${a}", "c": 1e-4}


def test_archives_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.nemo").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="no archive"):
        read_nemo(tmp_path / "x.nemo")
    with tarfile.open(tmp_path / "y.nemo", "w") as out:
        out.add(tmp_path / "x.nemo", "../model_weights.ckpt")
        out.add(tmp_path / "x.nemo", "model_config.yaml")
    with pytest.raises(CheckpointError, match=r"holds no model_config.yaml and model_weights.ckpt"):
        read_nemo(tmp_path / "y.nemo")


def test_a_compressed_archive_is_bounded(tmp_path: Path) -> None:
    big = tmp_path / "model_weights.ckpt"
    with big.open("wb") as file:
        file.truncate(400_000_000)
    (tmp_path / "model_config.yaml").write_text("a: 1")
    with tarfile.open(tmp_path / "x.nemo", "w:gz") as out:
        for name in ("model_config.yaml", "model_weights.ckpt"):
            out.add(tmp_path / name, name)
    with pytest.raises(CheckpointError, match="far larger than the archive"):
        read_nemo(tmp_path / "x.nemo")


GIANTS = [
    {"encoder_blocks": 10**6},
    {"encoder_blocks": 10**30},
    {"quantizer": {"num_codebooks": 10**7}},
    {"quantizer": {"codebook_size": 10**8}},
    {"quantizer": {"codebook_size": 10**30}},
    {"width": 20_000},
    {"width": 10**9},
    {"hop_samples": 10**12},
    {"latent_dim": -4},
]

SCRIPT = """
import json, resource, sys, time
from pathlib import Path
import tokenzoo, torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.serialize import CheckpointError

torch.set_num_threads(1)
folder = Path({folder!r})
tokenzoo.load(folder)
config = json.loads((folder / "config.json").read_text())
out = []
for change in {changes!r}:
    values = dict(config["config"])
    for key, value in change.items():
        values[key] = dict(values[key], **value) if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(dict(config, config=values)))
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        tokenzoo.load(folder)
        end = "loaded"
    except (CheckpointError, ConfigError) as error:
        end = str(error)
    out.append((end, time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))
print(json.dumps(out))
"""


def test_configs_of_giants_end_before_memory_is_taken(tmp_path: Path) -> None:
    quantizer = {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 8, "kmeans_init": False}
    config = {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "hop_samples": 20, "window_samples": 40, "latent_dim": 4}
    tokenzoo.save_pretrained(tokenzoo.build_tokenizer("spectral", config | {"quantizer": quantizer}), tmp_path / "m")
    out = run_script(SCRIPT.format(folder=str(tmp_path / "m"), changes=GIANTS))
    for change, (end, seconds, megabytes) in zip(GIANTS, out, strict=True):
        assert end != "loaded", change
        assert seconds < 120, (change, seconds)  # of work; a machine ten times slower passes
        assert megabytes < 500, (change, megabytes)
