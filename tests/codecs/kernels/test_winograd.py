"""Winograd's 3x3 convolutions against PyTorch's in float64. Run: pytest tests/codecs/kernels/test_winograd.py"""

import pytest
import torch
import torch.nn.functional as F
from tokenzoo.codecs.kernels.conv2d import Conv2d
from tokenzoo.codecs.kernels.winograd import convolve3x3


def problem(channels: int, outs: int, height: int, width: int, batch: int = 1) -> tuple[torch.Tensor, ...]:
    """Input, filter and bias for which outputs have a deviation of about 1."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, height, width, generator=draw).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(outs, channels, 3, 3, generator=draw) / (9 * channels) ** 0.5
    return x, weight, torch.randn(outs, generator=draw)


# one tile, less than one, several blocks across and down, the last ones partial
SIZES = [(1, 1), (4, 4), (3, 9), (5, 131), (37, 50), (18, 260), (300, 8)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_it_is_the_convolution(size, batch):
    x, weight, bias = problem(8, 24, *size, batch)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    y = convolve3x3(x, weight, bias)
    assert y.shape == exact.shape and y.is_contiguous(memory_format=torch.channels_last)
    assert (y - exact).abs().max() < 1e-5
    assert torch.equal(convolve3x3(x.contiguous(), weight, bias), y)  # whatever memory it comes in
    assert (convolve3x3(x.double(), weight.double(), bias.double()) - exact).abs().max() < 1e-13


@pytest.mark.parametrize("channels", [128, 512])
@torch.no_grad()
def test_it_errs_no_more_than_pytorch(channels):
    x, weight, bias = problem(channels, 128, 32, 32)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    deviation = (convolve3x3(x, weight, bias) - exact).std()
    assert deviation < 3 * (F.conv2d(x, weight, bias, padding=1) - exact).std()
    assert deviation < 2e-6


@torch.no_grad()
def test_norm_activation_and_sum_on_the_way():
    x, weight, _ = problem(16, 8, 21, 40, 2)
    before = x.clone()
    gain, shift, add = torch.randn(2, 16), torch.randn(2, 16), torch.randn(2, 8, 21, 40)
    y = convolve3x3(x, weight, norm=(gain, shift), activation=lambda v: F.silu(v, inplace=True), add=add)
    inner = F.silu(x.double() * gain[..., None, None] + shift[..., None, None])
    exact = F.conv2d(inner, weight.double(), padding=1) + add
    assert (y - exact).abs().max() < 1e-5
    assert torch.equal(x, before)
    over = convolve3x3(x, weight, norm=(gain, shift), activation=F.silu, add=add, out=add)
    assert torch.equal(over, y) and over.data_ptr() == add.data_ptr()


@torch.no_grad()
def test_an_item_of_a_batch_is_what_it_is_alone():
    x, weight, bias = problem(64, 64, 33, 40, 3)
    together = convolve3x3(x, weight, bias)
    assert all(torch.equal(convolve3x3(x[i : i + 1], weight, bias), together[i : i + 1]) for i in range(3))


def test_only_without_gradients_and_where_it_pays(monkeypatch):
    conv = Conv2d(64, 64, 3, padding=1)
    large, small = torch.randn(1, 64, 32, 32), torch.randn(1, 64, 8, 8)
    assert not conv.quick(large)  # gradients
    conv(large).sum().backward()
    assert conv.weight.grad is not None
    with torch.no_grad():
        assert conv.quick(large) and not conv.quick(small) and not conv.quick(large.double())
        assert not Conv2d(64, 64, 3, padding=1, stride=2).quick(large)
        assert not Conv2d(64, 64, 3).quick(large)
        assert not Conv2d(64, 64, 3, padding=1, groups=2).quick(large)
        assert not Conv2d(64, 64, 3, padding=1, padding_mode="reflect").quick(large)
        assert not Conv2d(64, 3, 3, padding=1).quick(large)
        plain = torch.nn.Conv2d.forward(conv, large)
        monkeypatch.setattr(torch.nn.Conv2d, "forward", None)
        assert (conv(large) - plain).abs().max() < 1e-5
