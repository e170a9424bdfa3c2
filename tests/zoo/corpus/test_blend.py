"""`Blend`: shares, turns and resume of several corpora. Run: pytest tests/zoo/corpus/test_blend.py"""

import itertools

import pytest
import torch
from corpus_cases import lively, make, sounds
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenzoo.zoo.corpus import Blend, TokenDataset
from tokenzoo.zoo.corpus.blend import ROUND

quick = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    for name, count, seed in (("a", 5, 1), ("b", 9, 2)):
        make(lively("spectral"), sounds(root / "in" / name, count, seed=seed), root / name)
    return [TokenDataset(root / name, block=24, seed=4) for name in ("a", "b")]


@quick
@given(weights=st.lists(st.floats(0.01, 5), min_size=2, max_size=2), seed=st.integers(0, 9), start=st.integers(0, 3 * ROUND))
def test_a_blend_takes_every_sample_in_turn_and_keeps_its_shares(two, weights, seed, start):
    data = Blend(two, weights, seed=seed)
    before = data.used(start)
    assert sum(before) == start
    for position in range(start, start + 50):
        source, own = data.place(position)
        assert own == before[source], "the next one of its data set: none is left out and none comes twice"
        before[source] += 1
    assert data.used(start + 50) == before
    for at in range(1, 4):
        assert all(abs(n / (at * ROUND) - w / sum(weights)) < 1 / ROUND for n, w in zip(data.used(at * ROUND), weights, strict=True))


def test_samples_of_a_blend_are_those_of_its_corpora(two):
    data = Blend(two, [3, 1])
    assert len(data) == len(two[0]) + len(two[1]) and data.vocab_size == two[0].vocab_size
    whole = list(itertools.islice(data.loader(4), 5))
    for batch in whole:
        for source, position, ids in zip(batch["source"], batch["position"], batch["input_ids"], strict=True):
            assert data.place(int(position))[0] == source
            assert torch.equal(two[source][data.place(int(position))[1]]["input_ids"], ids)
    loader = data.loader(4, num_workers=2)
    loader.load_state_dict(data.loader(4, start=8).state_dict())
    for a, b in zip(whole[2:], itertools.islice(loader, 3), strict=True):
        assert all(torch.equal(a[k], b[k]) for k in a)
    with pytest.raises(ValueError, match="other data"):
        Blend(two, [1, 1]).loader(4).load_state_dict(loader.state_dict())
    assert Blend(two).quotas == pytest.approx([ROUND * len(d) / len(data) for d in two], abs=1)


def test_documents_of_different_lengths_blend(two):
    parts = [TokenDataset(d.folder, seed=0) for d in two]
    batch = next(iter(Blend(parts, [1, 2]).loader(6)))
    steps = (batch["document_ids"] >= 0).sum(1).tolist()
    assert len(set(steps)) > 1 and batch["input_ids"].shape == (6, max(steps)) and batch["source"].shape == (6,)


def test_blends_that_cannot_be(two, tmp_path):
    for weights in ([1], [1, -1], [1, 0], [1, float("nan")], [1, float("inf")], [1, 1e-6]):
        with pytest.raises(ValueError, match="weights"):
            Blend(two, weights)
    with pytest.raises(ValueError, match="at least one"):
        Blend([])
    first = TokenDataset(two[0].folder, block=24, codebooks=1)
    with pytest.raises(ValueError, match="different id spaces"):
        Blend([two[0], first])
    with pytest.raises(ValueError, match="different shapes"):
        Blend([two[0], TokenDataset(two[1].folder, packing="delay", block=24)])
    with pytest.raises(IndexError, match="-1"):
        Blend(two).place(-1)
