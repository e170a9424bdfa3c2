"""Weights out of a TorchScript file, without its code. Run: pytest tests/zoo/convert/test_torchscript.py"""

import pickle
import zipfile

import pytest
import torch
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert.torchscript import read_torchscript
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.stack = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.GroupNorm(2, 4)])
        self.register_buffer("counts", torch.arange(3))
        self.narrow = nn.Parameter(torch.randn(2, 3).half().t())
        self.sizes = [1, 2]
        self.name = "net"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        for layer in self.stack:
            y = layer(y)
        return y + float(self.sizes[0])


@pytest.mark.parametrize("trace", [False, True])
def test_equals_the_state_dict(tmp_path, trace):
    net = Net().eval()
    jit = torch.jit.trace(net, torch.randn(1, 3, 6, 6)) if trace else torch.jit.script(net)
    jit.save(str(tmp_path / "net.jit"))
    state, stored = net.state_dict(), read_torchscript(tmp_path / "net.jit")
    for name, value in state.items():
        if name in stored or not trace:  # a trace keeps only what it used
            assert torch.equal(stored[name], value) and stored[name].dtype == value.dtype, name
    assert set(stored) <= set(state) and "first.weight" in stored


def test_code_in_the_file_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return print, ("run",)

    with zipfile.ZipFile(tmp_path / "bomb.jit", "w") as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="not a tensor"):
        read_torchscript(tmp_path / "bomb.jit")
    (tmp_path / "text.jit").write_text("no")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_torchscript(tmp_path / "text.jit")
