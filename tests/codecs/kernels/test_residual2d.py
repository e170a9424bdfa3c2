"""Sequences and residual blocks of pictures are their formulas, and overwrite nothing that anyone else holds.

pytest tests/codecs/kernels/test_residual2d.py
"""

import copy
from functools import partial

import pytest
import torch
from tokenzoo.codecs.kernels import residual2d
from tokenzoo.codecs.kernels.conv2d import Conv2d
from tokenzoo.codecs.kernels.mode import Layer2d, channels_last
from tokenzoo.codecs.kernels.norm import GroupNorm
from tokenzoo.codecs.kernels.residual2d import Residual2d, sequence
from torch import nn

ACTIVATIONS = [nn.SiLU, nn.GELU, nn.ReLU, nn.Mish, nn.Identity, nn.Tanh]
#: Quick convolutions, and others.
SIZES = [(36, 33), (5, 6)]


class Block(Residual2d):
    """`shortcut(x) + conv2(act(norm2(conv1(act(norm1(x))))))`."""

    def __init__(self, channels: int, out: int, act: type[nn.Module] = nn.SiLU) -> None:
        super().__init__()
        self.norm1, self.norm2 = GroupNorm(8, channels), GroupNorm(8, out)
        self.conv1, self.conv2 = Conv2d(channels, out, 3, padding=1), Conv2d(out, out, 3, padding=1)
        self.act = act()
        if channels != out:
            self.shortcut = nn.Conv2d(channels, out, 1)
        for norm in (self.norm1, self.norm2):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def branch(self) -> list[nn.Module]:
        """The layers."""
        return [self.norm1, self.act, self.conv1, self.norm2, self.act, self.conv2]


def formula(block: Block, x: torch.Tensor) -> torch.Tensor:
    """The same in float64."""
    block, x = copy.deepcopy(block).double(), x.double()
    y = block.conv2(block.act(block.norm2(block.conv1(block.act(block.norm1(x))))))
    return y + (x if block.shortcut is None else block.shortcut(x))


@pytest.fixture
def fused(monkeypatch) -> list[torch.Tensor | None]:
    """Collects, for every pass of norm, activation and convolution as one, what its result was written over."""
    calls, real = [], residual2d.convolve3x3
    monkeypatch.setattr(residual2d, "convolve3x3", lambda *a, out, **k: calls.append(out) or real(*a, out=out, **k))
    return calls


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("out", [64, 128])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_a_block_is_its_formula(act, out, size, fused):
    torch.manual_seed(0)
    block, x = Block(64, out, act), channels_last(torch.randn(2, 64, *size))
    before, want = x.clone(), formula(block, x)
    assert (block(x) - want).abs().max() < 1e-5 and not fused  # with gradients: PyTorch's own
    with torch.no_grad():
        assert (block(x) - want).abs().max() < 1e-5
        assert len(fused) == 2 * (size == SIZES[0])
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_blocks_hand_their_tensors_on(size, fused):
    """From the second block on the sum is written over the input, and never over what came from outside."""
    blocks, x = [Block(64, 64) for _ in range(3)], channels_last(torch.randn(1, 64, *size))
    before, want = x.clone(), x
    for block in blocks:
        want = formula(block, want)
    y = sequence(x, *blocks)
    assert (y - want).abs().max() < 2e-5 and torch.equal(x, before)
    if size == SIZES[0]:
        assert [over is None for over in fused] == [True, True, True, False, True, False]
        assert fused[3].data_ptr() == fused[5].data_ptr() == y.data_ptr() != x.data_ptr()


class _Keeps(nn.Module):
    """Keeps what it gives."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the input."""
        self.kept = 2 * x
        return self.kept


class _Twice(Layer2d):
    """Uses its input twice."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output beside its input."""
        return torch.cat([self.block(x), x])


@torch.no_grad()
def test_what_others_hold_is_left_alone(fused):
    block, x = Block(64, 64), channels_last(torch.randn(1, 64, *SIZES[0]))
    before = x.clone()
    for inactive in (nn.Identity(), nn.Flatten(0, 0)):  # give their input, or a view of it
        sequence(x, inactive, nn.SiLU(), block)
        assert torch.equal(x, before)
    keeps = _Keeps()
    sequence(x, keeps, nn.SiLU(), block)
    assert torch.equal(keeps.kept, 2 * before)
    y = sequence(x, nn.Tanh(), Conv2d(64, 64, 1), _Twice(block))
    assert (y[:1] - formula(block, y[1:])).abs().max() < 1e-5  # the block's input is not overwritten, though a sequence made it
    assert fused


class _Nested(Residual2d):
    """A block whose branch begins with another block."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def branch(self) -> list[nn.Module]:
        """The layers."""
        return [self.block]


@torch.no_grad()
def test_a_block_within_a_block_does_not_take_its_input(fused):
    block, first = Block(64, 64), Conv2d(64, 64, 1)
    x = channels_last(torch.randn(1, 64, *SIZES[0]))
    y, middle = sequence(x, first, _Nested(block)), first(x)
    assert (y - middle - formula(block, middle)).abs().max() < 1e-5
    assert fused[-1] is None


@pytest.mark.parametrize("where", ["norm1", "act", "conv1", "norm2", "conv2", ""])
@torch.no_grad()
def test_hooks_see_what_they_would(where, fused):
    """Every layer with a hook is called as often as the formula has it, and what it gave stays as it is."""
    before, block, x = Block(64, 64), Block(64, 64), channels_last(torch.randn(1, 64, *SIZES[0]))
    want, seen = formula(block, before(x)), []
    block.get_submodule(where).register_forward_hook(lambda module, given, y: seen.append((given[0], y, given[0].clone(), y.clone())))
    y = sequence(x, before, block, Block(64, 64))
    assert len(seen) == (2 if where == "act" else 1)
    for given, made, given_then, made_then in seen:
        assert torch.equal(given, given_then) and torch.equal(made, made_then)
    assert y.shape == want.shape
    if where == "":
        assert (seen[0][1] - want).abs().max() < 1e-5


@torch.no_grad()
def test_layers_that_take_more_are_bound(fused):
    norm, conv = GroupNorm(8, 64), Conv2d(64, 64, 3, padding=1)
    x = channels_last(torch.randn(1, 64, *SIZES[0]))
    scaled = partial(lambda x, by: by * norm(x), by=3.0)
    assert torch.allclose(sequence(x, scaled, nn.SiLU(), conv), conv(nn.functional.silu(3 * norm(x))), atol=1e-5)
