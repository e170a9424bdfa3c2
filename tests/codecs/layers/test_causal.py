"""Convolutions in pieces, of any lengths, equal the whole: zeros, replicated and mirrored ends, causal and centred.

pytest tests/codecs/layers/test_causal.py
"""

import pytest
import torch
from tokenzoo.codecs.layers.causal import Conv1d, ConvTranspose1d, State

#: kernel, stride, dilation
SIZES = [(7, 1, 1), (3, 1, 2), (7, 1, 3), (4, 2, 1), (8, 4, 1), (16, 8, 1), (10, 5, 1), (5, 3, 1), (2, 1, 1), (3, 3, 1), (1, 1, 1)]
LENGTHS = (1, 2, 3, 5, 8, 9, 13, 16, 17, 23, 24, 31, 40)


def cuts_of(length: int) -> list[list[int]]:
    """Where to cut: one sample first, one last, an empty last piece, empty first ones, all of one sample."""
    return [[1], [length - 1], [length], [length // 3, length // 2, length], [0, 0, 1, 2], list(range(1, length))]


def in_pieces(layer: torch.nn.Module, x: torch.Tensor, cuts: list[int]) -> torch.Tensor:
    """`layer` over the pieces of `x`, the last one marked."""
    state, out, parts = State(), [], x.tensor_split(cuts, dim=-1)
    for i, part in enumerate(parts):
        state.ending = i == len(parts) - 1
        out.append(layer(part, state))
    return torch.cat(out, dim=-1)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("edge", ["zeros", "replicate", "reflect"])
def test_pieces_equal_the_whole(edge, causal, grad):
    with torch.set_grad_enabled(grad):
        for kernel, stride, dilation in SIZES:
            layer = Conv1d(2, 3, kernel, stride=stride, dilation=dilation, causal=causal, edge=edge, fill=True)
            for length in LENGTHS[:: 1 if not grad else 3]:
                x = torch.randn(2, 2, length)
                whole = layer(x)
                assert whole.shape[-1] == -(-length // stride)
                for cuts in cuts_of(length):
                    torch.testing.assert_close(in_pieces(layer, x, cuts), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("causal", [True, False])
def test_transposed_pieces_equal_the_whole(causal, grad):
    with torch.set_grad_enabled(grad):
        for kernel, stride in ((4, 2), (8, 4), (3, 3), (7, 3), (10, 5), (1, 1), (5, 2), (6, 2)):
            for groups, bias in ((1, True), (1, False), (2, True)):
                layer = ConvTranspose1d(2, 4, kernel, stride=stride, causal=causal, bias=bias, groups=groups)
                for length in (1, 2, 3, 7, 9):
                    x = torch.randn(2, 2, length)
                    whole = layer(x)
                    assert whole.shape[-1] == length * stride
                    for cuts in cuts_of(length):
                        torch.testing.assert_close(in_pieces(layer, x, cuts), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_nothing_of_the_caller_is_overwritten(causal):
    """Pieces handed in, and results handed out before, stay as they are."""
    layer, up = Conv1d(2, 2, 5, causal=causal), ConvTranspose1d(2, 2, 8, stride=4, causal=causal)
    x = torch.randn(1, 2, 24)
    for part in (layer, up):
        state, pieces, outs = State(), [p.clone() for p in x.split(8, dim=-1)], []
        with torch.no_grad():
            for i, piece in enumerate(pieces):
                state.ending = i == 2
                y = part(piece, state)
                outs.append((y, y.clone()))
        assert torch.equal(torch.cat(pieces, -1), x)
        assert all(torch.equal(y, before) for y, before in outs)
