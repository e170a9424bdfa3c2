"""The planner of long media: pieces cover an axis once, with their context, and together are the whole.

    pytest tests/codecs/test_pieces.py
"""

import pytest
import torch
import torch.nn.functional as F
from tokenzoo.codecs.pieces import Span, along, over, plan, spans


@pytest.mark.parametrize("count", [1, 4, 5, 9, 23])
@pytest.mark.parametrize("size", [1, 3, 4, 50])
@pytest.mark.parametrize("context", [0, 1, 7])
def test_spans_cover_every_position_once(count, size, context):
    found = spans(count, size, context)
    assert [p for s in found for p in range(s.start, s.stop)] == list(range(count))
    for s in found:
        assert s.left == max(0, s.start - context) and s.right == min(count, s.stop + context)
        assert s.start % size == 0 and s.stop - s.start <= size


def test_plan_cuts_only_what_is_long_enough():
    whole = [Span(0, 20, 0, 20)]
    assert plan(20, None, 2) == whole and plan(20, 4, None) == whole and plan(20, 16, 2) == whole
    assert len(plan(21, 16, 2)) == 2 and len(plan(20, 16, 0)) == 2
    assert [s.start for s in plan(20, 7, 0, multiple=3)] == [0, 6, 12, 18]
    assert [s.start for s in plan(9, 1, 0, multiple=4)] == [0, 4, 8], "a piece is never shorter than what must stay together"


def smooth(x: torch.Tensor) -> torch.Tensor:
    """Sums over two positions on either side, each position then three times."""
    return F.avg_pool1d(x, 5, stride=1, padding=2).repeat_interleave(3, -1)


@pytest.mark.parametrize("size", [1, 4, 11, None])
def test_pieces_along_an_axis_equal_the_whole(size):
    x = torch.arange(60.0).square().view(1, 2, 30)
    got = torch.cat(list(along(plan(30, size, 2), lambda a, b: x[..., a:b], smooth, 3)), dim=-1)
    assert torch.allclose(got, smooth(x))
    if size == 4:  # less context than the layer has gives something else
        less = torch.cat(list(along(plan(30, size, 1), lambda a, b: x[..., a:b], smooth, 3)), dim=-1)
        assert less.shape == got.shape and not torch.allclose(less, got)


@pytest.mark.parametrize("sizes", [(2, 3), (None, 4), (5, None)])
def test_tiles_equal_the_whole(sizes):
    x = torch.randn(1, 3, 13, 17, generator=torch.Generator().manual_seed(0))

    def run(y: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(y, 3, stride=1, padding=1).repeat_interleave(2, -1).repeat_interleave(2, -2)

    rows, columns = plan(13, sizes[0], 1), plan(17, sizes[1], 1)
    got = over(rows, columns, lambda r, c: x[..., r.left : r.right, c.left : c.right], lambda y, r, c: run(y), rate=2)
    assert torch.allclose(got, run(x), atol=1e-6)


def test_what_a_network_gives_less_of_is_kept_as_it_is():
    """A last piece may be a little shorter than its positions say."""
    last = Span(8, 10, 6, 10)
    assert last.kept(torch.arange(11.0), 3).tolist() == [6, 7, 8, 9, 10] and last.kept(torch.arange(5.0), 3).tolist() == []
    assert Span(4, 8, 4, 8).kept(torch.arange(9.0), 2).tolist() == list(range(9)), "a piece without context is not trimmed"
