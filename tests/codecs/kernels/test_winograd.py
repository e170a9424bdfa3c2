"""Winograd's 3x3 convolutions against PyTorch's in float64. Run: pytest tests/codecs/kernels/test_winograd.py"""

import threading

import pytest
import torch
import torch.nn.functional as F
from tokenzoo.codecs.kernels.conv2d import Conv2d
from tokenzoo.codecs.kernels.winograd import convolve3x3, filter_gradient


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
def test_threads_that_take_whole_blocks_change_nothing():
    x, weight, bias = problem(64, 72, 50, 300, 2)
    norm, add = (torch.rand(2, 64), torch.randn(2, 64)), torch.randn(2, 72, 50, 300)
    calls = []

    def silu(v):
        calls.append(threading.get_ident())
        return F.silu(v, inplace=True)

    def run(threads):
        torch.set_num_threads(threads)
        calls.clear()
        return convolve3x3(x, weight, bias, norm=norm, activation=silu, add=add)

    before = torch.get_num_threads()
    try:
        alone = run(1)
        assert len(calls) >= 6 and set(calls) == {threading.get_ident()}
        assert torch.equal(run(3), alone) and threading.get_ident() not in calls
        with torch.inference_mode():
            assert torch.equal(run(2), alone)
    finally:
        torch.set_num_threads(before)


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


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 2])
def test_the_gradient_of_the_filter(size, batch):
    x, weight, _ = problem(8, 24, *size, batch)
    grad = torch.randn(batch, 24, *size, generator=torch.Generator().manual_seed(1))
    filters = weight.double().requires_grad_()
    (exact,) = torch.autograd.grad(F.conv2d(x.double(), filters, padding=1), filters, grad.double())
    assert (filter_gradient(x, grad) - exact).abs().max() < 1e-5 * (batch * size[0] * size[1]) ** 0.5
    assert (filter_gradient(x.double(), grad.double()) - exact).abs().max() < 1e-12 * (batch * size[0] * size[1]) ** 0.5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_layer_trains_with_the_gradients_of_the_convolution(layout):
    layer = Conv2d(64, 96, 3, padding=1)
    x = torch.randn(2, 64, 34, 51, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout).requires_grad_()
    inputs = [x, layer.weight, layer.bias]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    y, plain = layer(x), F.conv2d(*exact, padding=1)
    assert y.grad_fn.name() != "ConvolutionBackward0"  # PyTorch's
    assert y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y.double(), plain, atol=1e-5, rtol=1e-5)
    draw = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad(plain, exact, draw.double())
    for got, want in zip(torch.autograd.grad(y, inputs, draw, retain_graph=True), wanted, strict=True):
        assert (got - want).abs().max() < 5e-5 * want.std()
    (alone,) = torch.autograd.grad(y, x, draw)  # as for frozen weights
    torch.testing.assert_close(alone.double(), wanted[0], atol=1e-5, rtol=1e-5)


def test_gradients_of_a_batch_are_sums_over_its_items():
    layer = Conv2d(64, 64, 3, padding=1)
    x = torch.randn(3, 64, 32, 32, generator=torch.Generator().manual_seed(0))
    layer(x).square().sum().backward()
    whole, layer.weight.grad = layer.weight.grad, None
    for item in x.split(1):
        layer(item).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, whole, atol=1e-2, rtol=1e-4)
