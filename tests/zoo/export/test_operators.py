"""Operators that this library writes as ONNX itself, against PyTorch's. Run: pytest tests/zoo/export/test_operators.py"""

import pytest
import torch
from tokenzoo.codecs.layers.window_attention import window_attention
from tokenzoo.codecs.media import resample_short
from tokenzoo.zoo.export.check import runner
from tokenzoo.zoo.export.operators import TRANSLATIONS, order_attention
from torch import Tensor, nn
from torch.nn import functional as F

TABLE = torch.tensor([-1.0, -0.25, 0.0, 0.25, 2.0])


class Bins(nn.Module):
    def __init__(self, right: bool) -> None:
        super().__init__()
        self.right = right

    def forward(self, x: Tensor) -> Tensor:
        return torch.searchsorted(TABLE, x, right=self.right)


class Distances(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x.double(), x[:3].double(), compute_mode="donot_use_mm_for_euclid_dist")


class Window(nn.Module):
    def __init__(self, periodic: bool) -> None:
        super().__init__()
        self.periodic = periodic

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.hamming_window(4, periodic=self.periodic, alpha=0.5, beta=0.4)


class Masked(nn.Module):
    """Attention with a bias, whose result lies in another order of memory than its parts'."""

    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(-1, (2, 2))[None].transpose(1, 2)  # [1, 2, L, 2]
        return F.scaled_dot_product_attention(heads, heads, heads, x[:, :1] + x[:, 1:2].t()).transpose(1, 2).flatten(2)


class Halved(nn.Module):
    """A size that Python rounds down and ONNX's division of integers would round towards zero."""

    def forward(self, x: Tensor) -> Tensor:
        return x * ((torch.sym_max(x.shape[0] - 9, 0) - 3) // 2)


class Near(nn.Module):
    """Attention in a window, without the loop over the length that it is otherwise computed in."""

    def forward(self, x: Tensor) -> Tensor:
        heads = x[None, None]
        return window_attention(heads, heads + 1, heads, (1, 0))[0, 0]


class Resampled(nn.Module):
    """Half as many samples again, as the authors' torchaudio makes them; the length is a column, twice."""

    def forward(self, x: Tensor) -> Tensor:
        return resample_short(torch.cat([x, x]).t(), 16000, 24000)


X = torch.tensor([[-2.0, -1.0, -0.9, 0.0], [0.1, 0.25, 1.9, 2.0], [2.1, 5.0, -0.25, -0.3], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    "module",
    [Bins(False), Bins(True), Distances(), Window(True), Window(False), Masked(), Halved(), Near(), Resampled()],
    ids=["bins", "bins-right", "distances", "periodic-window", "window", "masked-attention", "halved", "near", "resampled"],
)
def test_equals_pytorchs(module, tmp_path):
    program = torch.export.export(module, (X[:4],), dynamic_shapes=({0: torch.export.Dim("rows", min=3, max=99)},))
    order_attention(program)
    made = torch.onnx.export(program, dynamo=True, custom_translation_table=TRANSLATIONS, verbose=False)
    made.save(tmp_path / "a.onnx")
    for x in (X[:4], X):
        (got,) = runner(tmp_path / "a.onnx")(x)
        torch.testing.assert_close(got, module(x), rtol=1e-6, atol=1e-7)
