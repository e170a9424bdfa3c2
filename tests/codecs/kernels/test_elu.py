"""ELU in both forms, of Intel's processors and of others, and as it is compiled.

pytest tests/codecs/kernels/test_elu.py
"""

import pytest
import torch
import torch.nn.functional as F
from tokenzoo.codecs.kernels import elu as module
from tokenzoo.codecs.kernels.conv1d import time_major
from tokenzoo.codecs.kernels.elu import ELU, elu

VALUES = torch.tensor([-1e30, -100.0, -20.0, -1.0, -1e-3, -1e-7, -1e-30, -0.0, 0.0, 1e-30, 1e-7, 0.5, 1.0, 90.0, 1e30])


@pytest.fixture(params=[True, False], ids=["expm1", "tanh"], autouse=True)
def processor(request, monkeypatch):
    monkeypatch.setattr(module, "_on_intel", lambda: request.param)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 1.5])
def test_equals_pytorchs(alpha):
    """To the last bits over all magnitudes, quiet ones too, with both infinities."""
    x = torch.cat([VALUES, torch.tensor([float("inf"), -float("inf")]), torch.linspace(-9, 9, 3001)])[None, None]
    before = x.clone()
    with torch.no_grad():
        got = ELU(alpha)(x)
    assert torch.equal(x, before)
    torch.testing.assert_close(got, F.elu(x, alpha), atol=0, rtol=3e-7)
    torch.testing.assert_close(ELU(alpha)(x.double()), F.elu(x.double(), alpha), atol=0, rtol=1e-15)


def test_the_compiled_form_equals_pytorchs():
    x = torch.cat([VALUES, torch.tensor([float("inf"), -float("inf")]), torch.linspace(-9, 9, 3001), torch.linspace(-0.51, -0.49, 201)])
    torch.testing.assert_close(elu(x), F.elu(x), atol=0, rtol=3e-7)


def test_a_value_does_not_depend_on_its_place():
    """PyTorch's own ELU computes the last few values of a tensor by another function than the others."""
    x = torch.randn(1, 1, 1001, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = ELU()(x)
        for size in (1, 3, 7, 20):
            assert torch.equal(torch.cat([ELU()(part.clone()) for part in x.split(size, dim=2)], dim=2), whole)


def test_keeps_the_layout_and_nan():
    x = time_major(torch.randn(2, 3, 5))
    x[0, 0, 0] = float("nan")
    with torch.no_grad():
        y = ELU()(x)
    assert y.stride() == x.stride()
    assert y.isnan().sum() == 1 and y[0, 0, 0].isnan()


def test_gradients_and_other_types_are_pytorchs():
    x = torch.randn(2, 3, 5, requires_grad=True)
    assert torch.equal(ELU()(x), F.elu(x))
    ELU()(x).sum().backward()
    assert x.grad is not None
    half = torch.randn(2, 3, 5).bfloat16()
    with torch.no_grad():
        assert torch.equal(ELU()(half), F.elu(half))
