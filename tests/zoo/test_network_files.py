"""Networks out of larger checkpoints, such as the U-Net of a pipeline: files of a folder, and of a hub on 127.0.0.1."""

import json

import pytest
import torch
from safetensors.torch import save
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.network_files import read_network

NAMES = ("net/weights.safetensors", "net/weights.fp16.safetensors")


def tensors(**values: float) -> bytes:
    return save({k.replace("_", "."): torch.tensor([v]) for k, v in values.items()})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/config.json").write_text(json.dumps({"width": 3}))
    return tmp_path


def read(source, **more):
    return read_network(source, config="net/config.json", weights=NAMES, **more)


def test_a_file_or_several_with_an_index(folder):
    (folder / "net/weights.fp16.safetensors").write_bytes(tensors(a_x=1.0, b_x=2.0))
    settings, state = read(folder)
    assert settings == {"width": 3} and {k: float(v) for k, v in state.items()} == {"a.x": 1.0, "b.x": 2.0}
    assert list(read(str(folder), prefix="b.")[1]) == ["x"] == list(read(f"file:{folder}", prefix="a.")[1])
    for name, data in (("one", tensors(a_x=3.0)), ("two", tensors(b_x=4.0))):
        (folder / f"net/{name}.safetensors").write_bytes(data)
    places = {"a.x": "one.safetensors", "b.x": "two.safetensors"}
    (folder / "net/weights.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert float(read(folder)[1]["a.x"]) == 3.0  # the first of the names, cut into two files
    assert read_network(folder, config="net/config.json") == ({"width": 3}, {})


def test_what_is_missing_is_named(folder):
    with pytest.raises(CheckpointError, match=r"holds no file 'net/weights.safetensors'"):
        read(folder)
    (folder / "net/weights.safetensors").write_bytes(tensors(a_x=1.0))
    with pytest.raises(CheckpointError, match=r"holds no weights under 'c\.'"):
        read(folder, prefix="c.")
    with pytest.raises(CheckpointError, match="neither a folder on this machine nor a hub id"):
        read("nothing")
    with pytest.raises(CheckpointError, match="is not a folder"):
        read(f"file:{folder / 'no'}")


def test_of_a_repository_only_these_files_are_fetched(hub):
    files = {"net/config.json": b'{"width": 4}', "net/weights.safetensors": tensors(a_x=1.0), "huge.safetensors": tensors(y=0.0)}
    hub.add("org/pipeline", files)
    settings, state = read("org/pipeline")
    assert settings == {"width": 4} and list(state) == ["a.x"]
    assert not any("huge" in path for _, path in hub.requests)
