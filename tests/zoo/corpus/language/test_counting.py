"""Entropies, mutual information and divergence against closed forms. Run: pytest tests/zoo/corpus/language/test_counting.py"""

import math

import numpy as np
import pytest
from tokenzoo.zoo.corpus.language.counting import conditional, jensen_shannon, labels, mutual_information
from tokenzoo.zoo.corpus.language.drift import drift
from tokenzoo.zoo.corpus.language.neighbours import of_codebooks, over_distance
from tokenzoo.zoo.corpus.language.orders import entropies
from tokenzoo.zoo.corpus.language.sources import Item

RNG = np.random.default_rng


def h(p):
    """Entropy of a coin."""
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def flips(count, p, seed=0):
    """A binary chain that changes with probability p: H1 = 1, H2 = H3 = h(p)."""
    return np.cumsum(RNG(seed).random(count) < p) % 2


def item(*books, grid=None, steps=None, key="x"):
    steps = steps or (1,) * len(books)
    return Item(key, books, steps, tuple(grid if grid else (len(x),) for x in books))


def values(found):
    return {name: round(value.bits, 2) for name, value in found.items()}


def test_labels_number_the_different_rows():
    a, b = RNG(0).integers(0, 2**40, (2, 50)) // 2**38, RNG(1).integers(0, 3, 50)
    rows = np.stack([a[0], a[1], b])
    found = labels(*rows)
    same = (rows[:, :, None] == rows[:, None, :]).all(0)
    assert (same == (found[:, None] == found[None, :])).all() and found.max() == len(set(found.tolist())) - 1


def test_independent_ids_have_one_entropy_whatever_is_given():
    found = entropies([item(RNG(0).integers(0, 8, 40000))], 0, "time")
    names = ["H1", "H2 given the id before in time", "H3 given the two ids before in time"]
    assert [found[n].bits for n in names] == [pytest.approx(3, abs=0.01)] * 3
    assert [found[n].contexts for n in names] == [1, 8, 64] and not any(found[n].thin for n in names)


def test_a_chain_has_the_entropy_of_its_step():
    found = values(entropies([item(flips(40000, 0.1))], 0, "time"))
    assert found["H1"] == 1.0
    assert found["H2 given the id before in time"] == found["H3 given the two ids before in time"] == round(h(0.1), 2)


def test_a_period_shorter_than_the_context_leaves_nothing():
    found = entropies([item(np.tile([0, 1, 0, 2], 500))], 0, "sequence")
    assert found["H1"].plug_in_bits == pytest.approx(1.5)
    assert found["H2 given the id before in sequence"].plug_in_bits == pytest.approx(0.5, abs=1e-3)
    assert found["H3 given the two ids before in sequence"].bits == 0
    assert set(values(entropies([item(np.zeros(500, int))], 0, "sequence")).values()) == {0.0}


def test_contexts_do_not_leave_their_item():
    items = [item(np.full(2, x)) for x in RNG(0).integers(0, 16, 1000)]
    found = entropies(items, 0, "time")
    assert found["H1"].bits > 3.9 and found["H2 given the id before in time"].bits == 0
    assert "H3 given the two ids before in time" not in found and not over_distance(items, 0, "time")["in time"].keys() - {1}


def test_planes_have_contexts_above_and_to_the_left():
    first = RNG(0).integers(0, 4, (300, 1, 20))
    rows = [item(np.repeat(x, 8, axis=0).ravel(), grid=(8, 20)) for x in first]
    found = values(entropies(rows, 0, "raster"))
    assert found["H2 given the id above"] == 0 and found["H2 given the id before in raster order"] > 1.9
    tied = list(RNG(1).integers(0, 4, (300, 160)))
    for x in tied:
        plane = x.reshape(8, 20)
        for i in range(1, 8):
            for j in range(1, 20):
                plane[i, j] = (plane[i - 1, j] + plane[i, j - 1]) % 4
    found = values(entropies([item(x, grid=(8, 20)) for x in tied], 0, "raster"))
    assert found["H3 given the ids above and to the left"] == 0 and found["H2 given the id above"] > 1.9


def test_codebooks_are_contexts_of_the_next_ones():
    a, b = RNG(0).integers(0, 8, (2, 20000))
    found = [values(entropies([item(a, b, a ^ b)], k, "time")) for k in range(3)]
    assert "H2 given the codebook before" not in found[0] and found[1]["H2 given the codebook before"] == 3
    assert found[2]["H2 given the codebook before"] == 3 and found[2]["H3 given the two codebooks before"] == 0
    slow = RNG(1).integers(0, 8, 10000)
    multi = item(slow, np.repeat(slow, 2) ^ 1, steps=(2, 1))
    assert entropies([multi], 1, "time")["H2 given the codebook before"].bits == 0
    assert multi.at(0, 1).tolist() == (slow ^ 1).tolist()


def test_codebooks_with_grids_of_their_own_are_no_contexts():
    x = Item("x", (np.zeros(4, int), np.zeros(9, int)), (1, 1), ((2, 2), (3, 3)))
    assert x.at(1, 0) is None and of_codebooks([x], 2) == {}
    assert "H2 given the codebook before" not in entropies([x], 1, "raster")


def test_ids_that_follow_from_their_position():
    place = RNG(0).integers(0, 64, 30)
    found = entropies([item(place) for _ in range(50)], 0, "sequence")
    assert found["H1"].bits > 4 and found["H given the position"].bits == 0
    noise = entropies([item(x) for x in RNG(1).integers(0, 4, (500, 30))], 0, "sequence")
    assert noise["H given the position"].bits == pytest.approx(2, abs=0.01) and noise["H given the position"].contexts == 30


def test_the_correction_takes_the_bias_of_few_ids_away():
    many = [conditional(x) for x in RNG(0).integers(0, 16, (400, 80))]
    assert np.mean([m.plug_in_bits for m in many]) < 3.9
    assert np.mean([m.bits for m in many]) == pytest.approx(4, abs=0.02)
    few = conditional(*RNG(0).integers(0, 1024, (2, 2000)))
    assert few.thin and few.bits < 5, "the mark stands where the correction is not enough"
    assert conditional(np.zeros(0, int)) is None


@pytest.mark.parametrize("p", [0.05, 0.2])
def test_mutual_information_of_a_chain_falls_as_the_closed_form(p):
    found = over_distance([item(flips(60000, p))], 0, "time")["in time"]
    for distance, mutual in found.items():
        changed = (1 - (1 - 2 * p) ** distance) / 2
        assert mutual.bits == pytest.approx(1 - h(changed), abs=0.01), distance


def test_mutual_information_along_rows_and_columns():
    planes = [item(np.repeat(x, 8).reshape(8, 8).ravel(), grid=(8, 8)) for x in RNG(0).integers(0, 4, (300, 8))]
    found = over_distance(planes, 0, "raster")
    assert found["along rows"][1].bits == pytest.approx(2, abs=0.01), "a row has one id"
    assert found["along columns"][1].bits == pytest.approx(0, abs=0.02)
    assert max(found["along rows"]) == 6, "planes of 8 have no ids 8 apart"
    clip = [item(RNG(0).integers(0, 4, 600), grid=(3, 10, 20))]
    assert max(over_distance(clip, 0, "sequence")["in sequence"]) == 64, "clips are one sequence"


def test_mutual_information_of_independent_columns_is_not_what_few_pairs_make():
    a, b = RNG(0).integers(0, 200, (2, 2000))
    found = mutual_information(a, b)
    assert found.plug_in_bits > 3 and abs(found.bits) < 0.05
    assert mutual_information(a * 0, b).bits == 0
    pairs = of_codebooks([item(RNG(0).integers(0, 4, 20000), *[RNG(1).integers(0, 4, 20000)] * 2)], 3)
    assert {n: round(m.bits, 1) for n, m in pairs.items()} == {"0, 1": 0, "0, 2": 0, "1, 2": 2}


def test_divergence():
    assert jensen_shannon(np.array([3, 1, 0]), np.array([6, 2, 0])) == 0
    assert jensen_shannon(np.array([3, 0]), np.array([0, 2])) == 1
    assert jensen_shannon(np.array([1, 1]), np.array([5, 0])) == pytest.approx(h(0.25) - 0.5)


def test_drift_is_what_exceeds_chance():
    here, there = list(RNG(0).integers(0, 50, (60, 100))), list(RNG(1).integers(0, 50, (40, 100)))
    same = drift(here, there)
    assert same.unigram_bits == pytest.approx(same.unigram_by_chance, abs=0.002)
    assert same.bigram_bits == pytest.approx(same.bigram_by_chance, abs=0.02) and same.bigram_by_chance > 0.1
    far = drift(here, [x + 25 for x in there])
    assert far.unigram_bits == pytest.approx(0.5, abs=0.02) and far.unigram_by_chance < 0.2
    turned = drift([np.tile([0, 1, 2], 30)] * 20, [np.tile([2, 1, 0], 30)] * 20)
    assert turned.unigram_bits == 0 and turned.bigram_bits == 1, "the same ids in another order"
    assert drift(here, []) is None
