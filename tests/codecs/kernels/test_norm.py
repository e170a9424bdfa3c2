"""GroupNorm in channels-last memory against float64. Run: pytest tests/codecs/kernels/test_norm.py"""

import pytest
import torch
from tokenzoo.codecs.kernels.mode import channels_last
from tokenzoo.codecs.kernels.norm import GroupNorm, channel_moments
from torch.testing import assert_close


def far_from_zero(*shape: int) -> torch.Tensor:
    """Channels with means up to 30 times their deviation: sums of squares in float32 lose five digits here."""
    middle = torch.linspace(-30, 30, shape[1])[:, None, None]
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) + middle


def exact(norm: torch.nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    args = (norm.weight, norm.bias)
    args = tuple(None if a is None else a.double() for a in args)
    return torch.nn.functional.group_norm(x.double(), norm.num_groups, *args, norm.eps)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (96, 130)])
@pytest.mark.parametrize("affine", [True, False])
@torch.no_grad()
def test_it_keeps_its_digits_in_channels_last_memory(size, affine):
    norm = GroupNorm(16, 32, eps=1e-6, affine=affine)
    if affine:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    x = channels_last(far_from_zero(2, 32, *size))
    y = norm(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert_close(y.double(), exact(norm, x), atol=3e-5, rtol=0)
    over = x.clone(memory_format=torch.preserve_format)
    assert norm.normalise(over, out=over) is over and torch.equal(over, y)
    gain, shift = norm.gain_shift(x)
    assert_close(x * gain[..., None, None] + shift[..., None, None], y, atol=1e-4, rtol=0)


def test_what_records_gradients_is_left_alone():
    norm, x = GroupNorm(4, 8), torch.randn(2, 8, 5, 5, requires_grad=True)
    before = x.detach().clone()
    norm.normalise(x, out=x).square().sum().backward()
    assert torch.equal(x.detach(), before) and x.grad.abs().sum() > 0


@torch.no_grad()
def test_moments():
    x = far_from_zero(2, 8, 33, 17)
    mean, variance = channel_moments(channels_last(x))
    assert_close(mean, x.double().mean((2, 3)), atol=1e-5, rtol=0)
    assert_close(variance, x.double().var((2, 3), correction=0), atol=0, rtol=1e-5)
