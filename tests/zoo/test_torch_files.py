"""Files of PyTorch without running them: every form, unknown classes, and files made to harm.

    pytest tests/zoo/test_torch_files.py
"""

import argparse
import collections
import io
import pickle
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo import torch_files
from tokenzoo.zoo.torch_files import read_torch
from torch import Tensor, nn


class Settings:
    """A class that no reader knows."""

    def __init__(self) -> None:
        self.rate = 3
        self.inner = argparse.Namespace(a=1)


def checkpoint() -> dict:
    """What training loops save: tensors of all kinds among objects of strangers."""
    wide = torch.randn(5, 6)
    return {
        "model": nn.Linear(3, 4).state_dict(),
        "ema": {
            "columns": wide[:, ::2],
            "turned": wide.t(),
            "half": torch.arange(5, dtype=torch.bfloat16),
            "repeated": torch.ones(1).expand(7),
            "scalar": torch.tensor(3),
            "truth": torch.tensor([True, False]),
            "none": torch.empty(0, 3),
        },
        "shared": [wide, wide[1]],
        "parameter": nn.Parameter(torch.ones(2)),
        "args": argparse.Namespace(lr=0.1),
        "settings": Settings(),
        "callbacks": {Settings: {"best": torch.tensor(1.0)}},
        "counts": collections.defaultdict(list, {1: [2]}),
        "numpy": np.float32(3),
        "array": np.zeros(3),
        "stream": io.BytesIO(b"bytes"),
        "epoch": 7,
        "path": Path("x"),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_out_and_objects_do_not(tmp_path: Path, zipped: bool) -> None:
    saved = checkpoint()
    torch.save(saved, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    read = read_torch(tmp_path / "c.pt")
    for part in ("model", "ema"):
        assert read[part].keys() == saved[part].keys()
        for name, value in saved[part].items():
            assert torch.equal(read[part][name], value) and read[part][name].dtype == value.dtype, name
    assert torch.equal(read["shared"][1], saved["shared"][1]) and torch.equal(read["parameter"], torch.ones(2))
    assert read["epoch"] == 7 and read["callbacks"] == {}
    assert not {"args", "settings", "numpy", "array", "stream", "path"} & read.keys()


class Net(nn.Module):
    """For the forms of whole modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.stack = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.GroupNorm(2, 4)])
        self.register_buffer("counts", torch.arange(3))
        self.narrow = nn.Parameter(torch.randn(2, 3).half().t())
        self.sizes = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        for layer in self.stack:
            y = layer(y)
        return y + float(self.sizes[0])


@pytest.mark.parametrize("form", ["script", "trace", "pickle"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_module_is_its_state_dict(tmp_path: Path, form: str) -> None:
    net = Net().eval()
    if form == "pickle":
        torch.save(net, tmp_path / "net")
    else:
        made = torch.jit.script(net) if form == "script" else torch.jit.trace(net, torch.randn(1, 3, 6, 6))
        made.save(str(tmp_path / "net"))
    state, read = net.state_dict(), read_torch(tmp_path / "net")
    for name, value in state.items():
        if name in read or form != "trace":  # a trace keeps only what it used
            assert torch.equal(read[name], value) and read[name].dtype == value.dtype, name
    assert set(read) <= set(state) and "first.weight" in read


def test_bytes_are_mapped_not_read(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(50_000_000), "b": torch.ones(3)}, tmp_path / "big.pt")  # 200 MB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_torch(tmp_path / "big.pt")["b"].tolist() == [1, 1, 1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


# --- files made to harm ---------------------------------------------------------------------------------------------

FLAG = Path("flag-of-a-file-that-ran")


class Runs:
    """Opens a file when it is unpickled."""

    def __reduce__(self):
        return open, (str(FLAG), "w")


def saved(data: object, tmp_path: Path) -> Path:
    torch.save(data, tmp_path / "x.pt")
    return tmp_path / "x.pt"


def archive(tmp_path: Path, program: bytes, members: dict[str, bytes] | None = None, *, compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip with this pickle."""
    with zipfile.ZipFile(tmp_path / "x.pt", "w", compression) as out:
        out.writestr("x/data.pkl", program)
        for name, data in (members or {}).items():
            out.writestr(f"x/data/{name}", data)
    return tmp_path / "x.pt"


def tensor_program(storage: int, offset: int, size: tuple, stride: tuple) -> bytes:
    """The pickle of one tensor with these claims."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object):
            return ("storage", torch.FloatStorage, "0", "cpu", storage) if isinstance(value, Mark) else None

    class Mark: ...

    class Claim:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Mark(), offset, size, stride, False, collections.OrderedDict())

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"w": Claim()})
    return buffer.getvalue()


def nested(depth: int) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


LOOP: dict = {}
LOOP["state_dict"] = LOOP
HARMFUL = {
    "code": lambda p: archive(p, pickle.dumps({"w": Runs()}, protocol=2) + b"cut"),
    "holds itself": lambda p: saved(LOOP, p),
    "nested without end": lambda p: archive(p, nested(200_000)),
    "not a pickle": lambda p: archive(p, b"\xff\xfe"),
    "a place in memory": lambda p: archive(p, b"\x80\x04}r\xff\xff\xff\x7f."),
    "bytes that are not there": lambda p: archive(p, b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"."),
    "text that is not there": lambda p: archive(p, b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"."),
    "more numbers than stored": lambda p: archive(p, tensor_program(10, 0, (10**6,), (1,)), {"0": b"\0" * 40}),
    "repeated 10^12 times": lambda p: archive(p, tensor_program(10, 0, (10**12,), (0,)), {"0": b"\0" * 40}),
    "before its start": lambda p: archive(p, tensor_program(10, -5, (2,), (1,)), {"0": b"\0" * 40}),
    "negative stride": lambda p: archive(p, tensor_program(10, 9, (2,), (-1,)), {"0": b"\0" * 40}),
    "sizes of another rank": lambda p: archive(p, tensor_program(10, 0, (2, 2), (1,)), {"0": b"\0" * 40}),
    "no such storage": lambda p: archive(p, tensor_program(10, 0, (2,), (1,))),
    "compressed": lambda p: archive(
        p, tensor_program(10, 0, (2,), (1,)), {"0": b"\0" * 300_000_000}, compression=zipfile.ZIP_DEFLATED
    ),
    "cut off": lambda p: _cut(saved({"w": torch.zeros(1000)}, p)),
    "empty": lambda p: _write(p, b""),
    "a web page": lambda p: _write(p, b"<!DOCTYPE html><html>"),
    "the pointer of a large file": lambda p: _write(p, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "no data.pkl": lambda p: _zip(p),
}


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-1500])
    return path


def _write(folder: Path, data: bytes) -> Path:
    (folder / "x.pt").write_bytes(data)
    return folder / "x.pt"


def _zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "x.pt", "w") as out:
        out.writestr("a/b", "c")
    return folder / "x.pt"


@pytest.mark.parametrize("name", sorted(HARMFUL))
def test_harmful_files_end_in_one_clear_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = HARMFUL[name](tmp_path)
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if name in ("code", "a place in memory"):  # harmless here
        assert read_torch(path) == {}
    else:
        with pytest.raises(CheckpointError) as caught:
            read_torch(path)
        assert "x.pt" in str(caught.value) and "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    assert not (tmp_path / FLAG).exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def test_a_long_program_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_files, "MAX_OPERATIONS", 10_000)
    with pytest.raises(CheckpointError, match="longer than any published"):
        read_torch(archive(tmp_path, b"\x80\x02" + b"N0" * 20_000 + b"N."))
