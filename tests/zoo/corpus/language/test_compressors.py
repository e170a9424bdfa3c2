"""Huffman, LZMA, PPM and n-grams: no code is shorter than it can be. Run: pytest tests/zoo/corpus/language/test_compressors.py"""

import copy
import math

import numpy as np
import pytest
from tokenzoo.zoo.corpus.check import entropy
from tokenzoo.zoo.corpus.language.compressors import huffman_bits, lzma_bits
from tokenzoo.zoo.corpus.language.ngram import held_out, parts
from tokenzoo.zoo.corpus.language.ppm import PPM, ppm_bits
from tokenzoo.zoo.corpus.language.sources import Item

RNG = np.random.default_rng


def chain(count, seed=0, size=6, change=0.25):
    """Ids that go on by one, or with probability `change` to any; and the entropy rate."""
    rng = RNG(seed)
    step = np.where(rng.random(count) < change, rng.integers(0, size, count), 1)
    p = np.full(size, change / size)
    p[1] += 1 - change
    return np.cumsum(step) % size, -(p * np.log2(p)).sum()


def test_huffman_is_between_the_entropy_and_one_bit_more():
    assert huffman_bits(np.array([8, 4, 2, 1, 1])) == entropy(np.array([8, 4, 2, 1, 1])) == 1.875
    assert huffman_bits(np.array([7])) == 0 and huffman_bits(np.array([1, 0, 99])) == 1
    for seed in range(5):
        counts = RNG(seed).zipf(1.4, 60) % 1000
        assert entropy(counts) <= huffman_bits(counts) < entropy(counts) + 1
    assert huffman_bits(np.array([5, 1, 1, 1])) == (5 + 2 + 3 + 3) / 8


@pytest.mark.parametrize("size", [256, 1024, 70000])
def test_lzma_of_independent_ids_is_not_below_their_entropy(size):
    found = lzma_bits(list(RNG(0).integers(0, size, (10, 2000))), size)
    room = {256: 8, 1024: 16, 70000: 32}[size]
    assert math.log2(size) - 0.02 < found < min(room * 1.01, math.log2(size) * 1.3)


def test_compressors_of_a_constant_and_of_a_chain():
    constant = [np.full(2000, 5)] * 5
    assert lzma_bits(constant, 1024) < 0.2
    assert ppm_bits(constant, 1024) * 10000 < 10 + 5 * math.log2(10000), "log2 V once, and what the counts cost"
    ids, rate = chain(12000)
    assert rate < ppm_bits([ids], 6) < rate * 1.06
    assert rate < lzma_bits([ids], 6) < rate * 1.4
    assert rate < held_out([ids], [chain(4000, seed=1)[0]], 6)[2].bits * 1.02
    uniform = RNG(0).integers(0, 16, 12000)
    assert 4 < ppm_bits([uniform], 16) < 4.5


@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_ppm_gives_every_id_a_share_of_one(size, order):
    model, ids = PPM(size, order=order), RNG(0).integers(0, size, 60) // (1 + np.arange(60) % 2)
    for at in range(0, 60, 4):
        model.add(ids[at : at + 4])
        before = tuple(ids[at : at + 4][4 - order :]) if order else ()
        shares = [copy.deepcopy(model)._step(one, before) for one in range(size)]
        assert math.fsum(shares) == pytest.approx(1) and min(shares) > 0


def test_ppm_by_hand():
    """Order 1 over 4 ids. 0: 1/4. 0 again, known in order 0 once, escape 1: after an empty context 1/2. 1: after 0 came 0 (escape
    1/2); without it order 0 is empty; 1/3 of the ids that are left."""
    assert ppm_bits([np.array([0, 0, 1])], 4, order=1) * 3 == pytest.approx(2 + 1 + 1 + math.log2(3))
    assert ppm_bits([np.array([0]), np.array([0])], 4) * 2 == pytest.approx(3), "what was learnt stays"


def witten_bell(train, one, before, size):
    """p of an id by the definition, from the longest context down."""
    if before is None:
        return 1 / size
    n = [x[i] for x in train for i in range(2, len(x)) if tuple(x[i - len(before) : i]) == before]
    lower = witten_bell(train, one, before[1:] if before else None, size)
    return (n.count(one) + len(set(n)) * lower) / (len(n) + len(set(n))) if n else lower


def test_ngrams_are_those_of_the_definition():
    size = 5
    train, test = ([x // (1 + np.arange(len(x)) % 2) for x in RNG(seed).integers(0, size, (4, 30))] for seed in (0, 1))
    found = held_out(train, [*test, np.array([4])], size)
    marked = [[size, size, *x.tolist()] for x in train]
    for n in (1, 2, 3):
        p = []
        for x in [*test, np.array([4])]:
            whole = [size, size, *x.tolist()]
            p += [witten_bell(marked, whole[i], tuple(whole[i - n + 1 : i]), size) for i in range(2, len(whole))]
        assert found[n].bits == pytest.approx(-np.log2(p).mean()) and found[n].perplexity == pytest.approx(2 ** found[n].bits)
    assert (found[1].ids, found[1].train_ids) == (121, 120)


def test_ngrams_in_and_out_of_domain():
    ids, rate = chain(12000)
    near, far = held_out([ids], [chain(4000, seed=1)[0]], 6), held_out([ids], [chain(4000, seed=1)[0][::-1]], 6)
    assert near[1].bits == pytest.approx(math.log2(6), abs=0.01)
    assert near[2].bits == pytest.approx(rate, abs=0.03) and near[3].bits == pytest.approx(rate, abs=0.05)
    assert far[1].bits == pytest.approx(near[1].bits, abs=0.01) and far[2].bits > near[2].bits + 1
    assert held_out([ids], [], 6) == held_out([], [ids], 6) == {}


def test_items_are_held_out_by_their_keys():
    items = [Item(str(i), (np.zeros(1, int),), (1,), ((1,),)) for i in range(1000)]
    train, test = parts(items)
    assert 60 < len(test) < 140 and len(train) + len(test) == 1000
    assert {x.key for x in parts(items[::-3])[1]} == {x.key for x in test} & {x.key for x in items[::-3]}
