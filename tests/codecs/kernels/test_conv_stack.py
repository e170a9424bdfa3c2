"""Stages of a stack, whole and in pieces. Run: pytest tests/codecs/kernels/test_conv_stack.py"""

import pytest
import torch
from tokenzoo.codecs.kernels import tiles
from tokenzoo.codecs.kernels.conv2d import Conv2d, DoublingConv2d, HalvingConv2d
from tokenzoo.codecs.kernels.conv_stack import ConvStack, Stage
from tokenzoo.codecs.kernels.norm import GroupNorm
from torch import Tensor, nn


class Stack(ConvStack):
    """Folds 2 x 2 pixels, halves, doubles; each as a stage of its own."""

    def __init__(self, *, attention: bool = False) -> None:
        super().__init__()
        self.width = 0 if attention else 8
        self.fold, self.stem, self.norm1 = nn.PixelUnshuffle(2), Conv2d(12, 8, 3, padding=1), GroupNorm(4, 8)
        self.conv1, self.conv2 = Conv2d(8, 8, 3, padding=1), Conv2d(8, 8, 3, padding=1)
        self.halved, self.doubled = HalvingConv2d(8, 8), DoublingConv2d(8, 8)
        self.norm2, self.head = GroupNorm(2, 8), Conv2d(8, 3, 3, padding=1)

    def run(self, x: Tensor) -> Tensor:
        """`[B, 3, H, W]` to the same at half its size."""
        down = [self.fold, self.stem, self.norm1, nn.SiLU(), self.conv1, self.conv2, self.halved]
        x = self.through(x, Stage(layers=down, width=self.width, reach=4, grid=0.5, down=4))
        return self.through(x, Stage(layers=[self.doubled, self.norm2, self.head], width=self.width, reach=2, grid=2, up=2))


@pytest.fixture
def cuts(monkeypatch) -> list[tuple[int, int]]:
    """Collects the sizes of what is cut."""
    calls, real = [], tiles.pieces
    monkeypatch.setattr(tiles, "pieces", lambda size, *a: calls.append(size) or real(size, *a))
    return calls


@pytest.mark.parametrize("side", [3, 5, 16])
@torch.no_grad()
def test_pieces_equal_the_whole(side, cuts):
    stack, x = Stack(), torch.randn(2, 3, 48, 36)
    whole = stack(x)
    assert whole.shape == (2, 3, 24, 18) and not cuts
    stack.whole_values, stack.side = 0, side
    torch.testing.assert_close(stack(x), whole, atol=2e-6, rtol=1e-5)
    assert set(cuts) == {(48, 36), (12, 9)}


@torch.no_grad()
def test_the_size_of_the_widest_map_decides(cuts):
    stack, x = Stack(), torch.randn(1, 3, 48, 36)
    stack.whole_values = 24 * 18 * 8  # values at the grid of the convolutions, of both stages
    stack(x)
    assert not cuts
    stack.whole_values -= 1
    stack(x)
    assert set(cuts) == {(48, 36), (12, 9)}


def test_neither_what_needs_the_whole_nor_gradients_are_cut(cuts):
    for stack in (Stack(attention=True), Stack()):
        stack.whole_values, stack.side = 0, 3
        with torch.set_grad_enabled(stack.width > 0):
            stack(torch.randn(1, 3, 48, 36))
    assert not cuts
