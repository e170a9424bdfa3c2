"""Layers in pieces against the whole. Run: pytest tests/codecs/kernels/test_tiles.py"""

import pytest
import torch
from tokenzoo.codecs.kernels import tiles
from tokenzoo.codecs.kernels.norm import GroupNorm
from tokenzoo.codecs.kernels.tiles import in_pieces
from torch import nn
from torch.testing import assert_close


def stage(*, doubled: bool) -> nn.Sequential:
    """Two norms and three convolutions; halves the size, or doubles it."""
    change = nn.Upsample(scale_factor=2) if doubled else nn.Conv2d(8, 8, 2, stride=2)
    layers = [nn.Conv2d(3, 8, 3, padding=1), GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), GroupNorm(4, 8), change]
    return nn.Sequential(*layers, nn.Conv2d(8, 5, 1))


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("side", [1, 4, 10, 64])
@torch.no_grad()
def test_pieces_equal_the_whole(doubled, side, monkeypatch):
    net, x = stage(doubled=doubled), torch.randn(2, 3, 22, 12)
    x[..., 11:, :] += 5  # statistics of the pieces differ
    whole, runs, cuts = net(x), [], tiles.pieces
    monkeypatch.setattr(tiles, "pieces", lambda *a: runs.append(1) or cuts(*a))
    up, down = (2, 1) if doubled else (1, 2)
    y = in_pieces(net, x, side=side, margin=2, align=down, up=up, down=down)
    assert_close(y, whole, atol=2e-6, rtol=0)
    assert len(runs) == 3, "once for each norm, and once more"


@torch.no_grad()
def test_a_margin_too_small_would_be_seen():
    net, x = stage(doubled=False), torch.randn(1, 3, 22, 12)
    y = in_pieces(net, x, side=4, margin=0, align=2, down=2)
    assert (y - net(x)).abs().max() > 1e-2


@torch.no_grad()
def test_a_second_map_is_cut_as_the_piece_is():
    code = torch.arange(6.0).view(1, 1, 3, 2)
    x = code.repeat_interleave(4, 2).repeat_interleave(4, 3)  # [1, 1, 12, 8]

    def compare(part: torch.Tensor) -> torch.Tensor:
        return part - nn.functional.interpolate(tiles.beside(code), size=part.shape[-2:])

    assert tiles.beside(code) is code and not compare(x).any()
    assert not in_pieces(compare, x, side=5, margin=1, align=4).any()
