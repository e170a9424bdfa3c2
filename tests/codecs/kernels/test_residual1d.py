"""Residual units of signals, also where the branch comes later than the input.

pytest tests/codecs/kernels/test_residual1d.py
"""

import pytest
import torch
from tokenzoo.codecs.kernels.residual1d import Residual1d
from tokenzoo.codecs.kernels.stream import State
from tokenzoo.codecs.layers.causal import Conv1d
from torch import nn


class Unit(Residual1d):
    """`skip(x) + conv(tanh(x))`, a kernel of 3."""

    def __init__(self, *, skip: bool = False) -> None:
        super().__init__()
        self.act, self.conv = nn.Tanh(), Conv1d(2, 2, 3)
        if skip:
            self.skip = Conv1d(2, 2, 1)

    def branch(self) -> list[nn.Module]:
        """The layers."""
        return [self.act, self.conv]


class Silent(Residual1d):
    """A branch that gives back what it gets."""

    def branch(self) -> list[nn.Module]:
        """The layers."""
        return [nn.Identity()]


def plain(unit: Unit, x: torch.Tensor) -> torch.Tensor:
    y = nn.functional.conv1d(x.tanh(), unit.conv.weight, unit.conv.bias, padding=1)
    return y + (x if unit.skip is None else nn.functional.conv1d(x, unit.skip.weight, unit.skip.bias))


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_pieces_equal_the_whole_and_the_formula(skip, grad):
    unit, x = Unit(skip=skip), torch.randn(2, 2, 9)
    before, want = x.clone(), plain(unit, x)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(unit(x), want)
        state, out = State(), []
        for i, part in enumerate(x.split([1, 4, 0, 4], dim=-1)):
            state.ending = i == 3
            out.append(unit(part, state))
            assert state[unit].untyped_storage().nbytes() == 4 * state[unit].numel()  # without the rest of the piece
    assert [y.shape[-1] for y in out] == [0, 4, 0, 5]  # the branch looks one step ahead
    torch.testing.assert_close(torch.cat(out, -1), want)
    assert torch.equal(x, before)


@torch.no_grad()
def test_only_what_the_branch_made_is_overwritten():
    x = torch.randn(1, 2, 6)
    before = x.clone()
    assert torch.equal(Silent()(x), 2 * before) and torch.equal(x, before)
    unit, seen = Unit(), []
    unit.conv.register_forward_hook(lambda module, given, y: seen.append((y, y.clone())))
    unit(x)
    assert torch.equal(*seen[0])
