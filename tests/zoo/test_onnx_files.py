"""Weights out of ONNX files. Run: pytest tests/zoo/test_onnx_files.py"""

import sys
from pathlib import Path

import pytest
import torch
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.onnx_files import read_onnx

onnx = pytest.importorskip("onnx", reason="the extra `onnx` reads these files")


def constant(name: str, *shape: int, kind: type = float):
    return onnx.numpy_helper.from_array(torch.arange(torch.Size(shape).numel()).reshape(shape).numpy().astype(kind), name)


def write(path: Path, nodes: list, constants: list) -> Path:
    graph = onnx.helper.make_graph(nodes, "g", [], [], initializer=constants)
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return path


def test_constants_by_the_nodes_that_take_them(tmp_path):
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "a", "b"], ["y"], name="/c/Conv", strides=[2]),
        make("Add", ["b", "y"], ["z"], name="/c/Add"),
        make("Where", ["m", "a", "b"], ["w"], name="/Where"),
        make("Constant", [], ["k"], value=constant("k", 3)),
        make("Mul", ["z", "k"], ["v"], name="/Mul"),
        make("Pow", ["z", "one"], ["u"], name="/Pow"),
        make("Reshape", ["z", "shape"], ["t"], name="/Reshape"),
    ]
    constants = [constant("a", 2, 3), constant("b", 4), constant("one", 1), constant("shape", 2, kind=int)]
    found = read_onnx(write(tmp_path / "m.onnx", nodes, constants))
    assert {k: tuple(v.shape) for k, v in found.items()} == {
        "/c/Conv/weight": (2, 3), "/c/Conv/bias": (4,), "/c/Conv/strides": (1,), "/c/Add/operand": (4,),
        "/Where/operand.1": (2, 3), "/Where/operand.2": (4,), "/Mul/operand": (3,),
    }  # fmt: skip
    assert found["/c/Conv/strides"].tolist() == [2] and found["/Mul/operand"].tolist() == [0, 1, 2]


def test_weights_beside_the_file_are_not_opened(tmp_path):
    outside = constant("a", 2)
    outside.ClearField("raw_data")
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../secret.bin")
    (tmp_path / "secret.bin").write_bytes(b"\0" * 64)
    (tmp_path / "model").mkdir()
    path = write(tmp_path / "model/m.onnx", [onnx.helper.make_node("Add", ["x", "a"], ["y"], name="/Add")], [outside])
    with pytest.raises(CheckpointError, match="files beside it"):
        read_onnx(path)


@pytest.mark.parametrize("data", [b"", b"no protobuf at all", b"\x3a\xff\xff\xff\xff\x0f", b"<html>"])
def test_other_files_are_refused(data, tmp_path):
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"no ONNX file|no weights"):
        read_onnx(tmp_path / "m.onnx")


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path):
    short = constant("a", 2)
    short.dims[0] = 1 << 40
    with pytest.raises(CheckpointError, match="no ONNX file"):
        read_onnx(write(tmp_path / "m.onnx", [onnx.helper.make_node("Add", ["x", "a"], ["y"], name="/Add")], [short]))


def test_two_nodes_of_one_name_are_refused(tmp_path):
    nodes = [onnx.helper.make_node("Add", ["x", "a"], [out], name="/Add") for out in "yz"]
    with pytest.raises(CheckpointError, match="two nodes"):
        read_onnx(write(tmp_path / "m.onnx", nodes, [constant("a", 2)]))


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"tokenzoo\[onnx\]"):
        read_onnx(tmp_path / "m.onnx")
