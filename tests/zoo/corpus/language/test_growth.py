"""Rank-frequency and growth of the vocabulary against closed forms. Run: pytest tests/zoo/corpus/language/test_growth.py"""

import numpy as np
import pytest
from tokenzoo.zoo.corpus.language.growth import Growth, spaced, straight, zipf

RNG = np.random.default_rng


def grown(ids, item=100):
    growth = Growth()
    for start in range(0, len(ids), item):
        growth.add(ids[start : start + item])
    return growth


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.3])
def test_a_sample_of_zipf_has_its_exponent(exponent):
    p = np.arange(1, 3001.0) ** -exponent
    exact = zipf(np.round(1e7 * p).astype(int))
    assert exact.exponent == pytest.approx(exponent, abs=0.01) and exact.r2 > 0.999 and exact.error < 0.01
    drawn = zipf(np.bincount(RNG(0).choice(3000, 200000, p=p / p.sum())))
    assert drawn.exponent == pytest.approx(exponent, abs=0.08)


def test_even_ids_have_no_slope_and_few_none_at_all():
    assert abs(zipf(np.full(500, 90)).exponent) < 1e-9
    assert zipf(np.full(10, 90)) is None and zipf(np.full(500, 1)) is None


def test_the_fit_is_that_of_least_squares():
    x, y = RNG(0).normal(size=(2, 40))
    fit = straight(x, y)
    (slope, _), covariance = np.polyfit(x, y, 1, cov="unscaled")
    left = y - np.polyval(np.polyfit(x, y, 1), x)
    assert fit.exponent == pytest.approx(slope)
    assert fit.error == pytest.approx((covariance[0, 0] * (left**2).sum() / 38) ** 0.5)
    assert fit.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2) and fit.points == 40
    assert straight(x[:2], y[:2]) is None and straight(x * 0, y) is None


def test_places_are_even_in_the_logarithm():
    assert spaced(0).tolist() == [] and spaced(1).tolist() == [1]
    found = spaced(5000)
    assert found[0] == 1 and found[-1] == 5000 and (np.diff(found) > 0).all()
    tail = np.diff(np.log10(found[found > 100]))
    assert tail.max() < 1.1 * tail.min()


def test_independent_ids_grow_as_the_closed_form():
    size = 400
    growth = grown(RNG(0).integers(0, size, 4000))
    for n, distinct in growth.curve:
        assert distinct == pytest.approx(size * (1 - (1 - 1 / size) ** n), abs=4 * (size * 0.25) ** 0.5 * 0.5)
    assert growth.curve[0] == (1, 1) and growth.curve[-1][0] > 3500 and growth.ids == 4000
    assert growth.heaps().exponent < 0.8


def test_the_curve_does_not_depend_on_where_items_end():
    ids = RNG(0).zipf(1.5, 3000)
    assert grown(ids, 7).curve == grown(ids, 1000).curve
    plain = [(n, len(set(ids[:n].tolist()))) for n, _ in grown(ids).curve]
    assert grown(ids).curve == plain


def test_exponents_of_growth():
    assert grown(np.arange(5000)).heaps().exponent == pytest.approx(1)
    constant = grown(np.zeros(5000, int)).heaps()
    assert (constant.exponent, constant.error, constant.r2) == (0, 0, 1)
    # ids drawn in proportion to r^-2 without end: their number grows with the power 1/2
    assert grown(RNG(0).zipf(2.0, 100000)).heaps().exponent == pytest.approx(0.5, abs=0.04)
    assert grown(np.zeros(5, int)).heaps() is None


def test_new_ids_an_item():
    growth = grown(np.concatenate([np.arange(100), np.arange(50, 150), np.zeros(200, int)]))
    assert growth.new == [100, 50, 0, 0] and growth.innovation() == (37.5, 0.0)
    assert growth.ranked().tolist()[:52] == [201, *[2] * 50, 1] and len(growth.ranked()) == 150
