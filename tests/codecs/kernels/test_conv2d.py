"""Halving and doubling without copies, against PyTorch's ways with them. Run: pytest tests/codecs/kernels/test_conv2d.py"""

import pytest
import torch
import torch.nn.functional as F
from tokenzoo.codecs.kernels.conv2d import DoublingConv2d, HalvingConv2d
from tokenzoo.codecs.kernels.mode import channels_last
from torch import nn

SIZES = [(2, 2), (4, 4), (6, 10), (4, 7), (9, 8), (5, 5)]


def halved(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), conv.weight, conv.bias, stride=2)


def doubled(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), conv.weight, conv.bias, padding=1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "plain"), [(HalvingConv2d, halved), (DoublingConv2d, doubled)])
def test_they_are_the_plain_convolutions(kind, plain, size):
    layer = kind(8, 6)
    x = torch.randn(2, 8, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    want, trained = plain(layer, x), layer(x)
    torch.testing.assert_close(trained, want, atol=2e-6, rtol=1e-5)
    weights = [x, layer.weight, layer.bias]
    wanted, gradients = (torch.autograd.grad(y.square().sum(), weights) for y in (want, trained))
    for got, exact in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(got, exact, atol=2e-5, rtol=1e-5)
    with torch.no_grad():
        got = layer(channels_last(x))
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, want.detach(), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", [(12, 8), (24, 2), (24, 3), (64, 64)])
def test_halving_in_half_precision_reads_only_its_input(size, dtype):
    layer = HalvingConv2d(16, 16)
    x = torch.randn(2, 16, *size, generator=torch.Generator().manual_seed(0)).to(dtype)
    want = halved(layer, x.float()).detach()
    layer.to(dtype)
    for _ in range(10):
        for numel in (16, 64, 300, 1024, 5000, 16384, 65536) * 3:
            torch.full((numel,), float("nan"), dtype=dtype)  # the memory of what comes next
        with torch.no_grad():
            torch.testing.assert_close(layer(x).float(), want, atol=0.03, rtol=0.03)
