"""Do ids depend on the input: statistics by position. Run: pytest tests/codecs/test_position_statistics.py"""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenzoo.codecs.position_statistics import POSITIONS, PositionCounts, looked_at, statistics
from tokenzoo.codecs.tokens import Tokens


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), items=st.integers(2, 9), books=st.integers(1, 3), length=st.integers(1, 5), holes=st.booleans())
def test_figures_are_those_of_counting(seed, items, books, length, holes):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 4, (items, books, length), generator=g)
    if holes:
        ids[torch.rand(ids.shape, generator=g) < 0.3] = -1
    found = statistics(ids)
    assert found.items == items
    for k in range(books):
        entropy, distinct, alike = [], [], []
        for p in range(length):
            here = [int(i) for i in ids[:, k, p] if i >= 0]
            if len(here) < 2:
                continue
            shares = [n / len(here) for n in Counter(here).values()]
            entropy.append(-sum(s * math.log2(s) for s in shares))
            distinct.append(len(shares))
            alike.append(sum(a == b for i, a in enumerate(here) for b in here[:i]) / math.comb(len(here), 2))
        for values, got in ((entropy, found.entropy_bits), (distinct, found.distinct), (alike, found.alike)):
            assert float(got[k]) == pytest.approx(sum(values) / max(1, len(values)), abs=1e-5)


def test_ids_that_only_follow_the_position_are_told():
    """As one dead tokenizer did: 16 positions with 16 ids, all pictures alike. Its usage is perfect."""
    dead = torch.arange(16).expand(32, 1, 16)
    assert statistics(dead).ignored() and statistics(dead).entropy_bits.tolist() == [0] and statistics(dead).distinct.tolist() == [1]
    assert "100% of the pairs of 32 items" in statistics(dead).warnings()[0]
    alive = torch.randint(0, 16, (32, 1, 16), generator=torch.Generator().manual_seed(0))
    assert not statistics(alive).ignored() and statistics(alive).entropy_bits[0] > 3 and not statistics(alive).warnings()
    assert not statistics(torch.cat([dead, alive], dim=1)).ignored(), "one living codebook is enough"
    assert not statistics(dead[:4]).ignored(), "four items say little"
    assert statistics(dead[:0]).alike.tolist() == [0] and statistics(torch.zeros(3, 2, 0)).items == 3


def test_positions_are_spread_over_the_length():
    for length in (0, 1, 63, 64, 65, 500, 10**6):
        at = looked_at(length)
        assert len(at) == len(set(at.tolist())) <= POSITIONS and (length == 0 or (at[0] == 0 and at[-1] < length))
        assert length < POSITIONS or len(at) >= POSITIONS // 2


def test_items_of_several_lengths_and_grids():
    counts = PositionCounts()
    for length in (5, 3, 9):
        counts.add(Tokens(ids=torch.full((1, 2, length), length), vocab_sizes=(16, 16)))
    found = counts.statistics()
    assert found.items == 3 and found.distinct.tolist() == pytest.approx([(3 * 3 + 2 * 2) / 5] * 2)
    assert PositionCounts().statistics().items == 0
    two = PositionCounts()
    ids = torch.tensor([[[1, 2, 3, 4], [5, 0, 0, 0]]])
    for _ in range(2):
        two.add(Tokens(ids=ids, vocab_sizes=(9, 9), grid=(2, 2), book_grids=torch.tensor([[[2, 2], [1, 1]]])))
    assert statistics(torch.stack(two.rows)).alike.tolist() == [1, 1] and [r[1].tolist() for r in two.rows] == [[5, -1, -1, -1]] * 2
