"""Spans of hidden positions: how many, how long, and what is there instead.

    pytest tests/audio/wavtokenizer/test_span_mask.py
"""

import pytest
import torch
from tokenzoo.codecs.audio.wavtokenizer.span_mask import SpanMask, SpanMaskConfig, spans
from tokenzoo.codecs.config import ConfigError

CPU = torch.device("cpu")


def runs(row):
    """Lengths of the hidden runs of bool `[L]`."""
    text = "".join("x" if hidden else " " for hidden in row.tolist())
    return [len(run) for run in text.split()]


def test_spans_have_their_length_and_share():
    torch.manual_seed(0)
    hidden = torch.cat([spans(1, 200, SpanMaskConfig(rate=0.15, length=5), CPU) for _ in range(200)])  # one at a time: nothing is cut
    assert all(length >= 5 for row in hidden for length in runs(row))
    # 6 spans of 5 among 195 starts, of which some overlap
    assert float(hidden.float().mean()) == pytest.approx(0.15 * (1 - 0.15 / 2), abs=0.008)


def test_every_item_hides_as_many():
    torch.manual_seed(0)
    hidden = spans(8, 100, SpanMaskConfig(rate=0.5, length=4), CPU)
    assert len(set(hidden.sum(1).tolist())) == 1 and len(hidden.unique(dim=0)) == 8


def test_few_positions():
    assert spans(2, 4, SpanMaskConfig(rate=0.1, length=3), CPU).sum(1).tolist() == [3, 3]
    with pytest.raises(ValueError, match="4 or more"):
        spans(2, 3, SpanMaskConfig(length=3), CPU)
    assert not spans(2, 3, SpanMaskConfig(rate=0.0), CPU).any()
    with pytest.raises(ConfigError, match="rate is 2"):
        SpanMaskConfig(rate=2.0)


def test_hidden_positions_are_the_learned_vector_and_the_others_stay():
    torch.manual_seed(0)
    mask, x = SpanMask(6, SpanMaskConfig(rate=0.3)), torch.randn(2, 6, 40)
    y, hidden = mask(x)
    there = y.transpose(1, 2)
    assert torch.equal(there[hidden], mask.vector.expand(int(hidden.sum()), 6))
    assert torch.equal(there[~hidden], x.transpose(1, 2)[~hidden])
    y.sum().backward()
    assert float(mask.vector.grad[0]) == int(hidden.sum())
