"""Experience: posteriors by events and at once, memory, Norberg's relativities, pay as you use."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.bonus_malus import BonusMalusScale
from pricing.errors import ExperienceError
from pricing.experience import BuhlmannStraub, Experience, PoissonGamma
from pricing.usage import DistanceCharge, DistanceCurve, pro_rata

EVENTS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3), st.floats(0, 2)), max_size=12)


@given(EVENTS, st.randoms(), st.floats(0.3, 1.0))
def test_the_order_of_events_does_not_matter(events, random, memory):
    model = PoissonGamma(2.0, memory, 0.01, 100.0)
    shuffled = list(events)
    random.shuffle(shuffled)
    found = []
    for order in (events, shuffled):
        known = Experience()
        for day, claims, expected in order:
            known = model.add(known, day, claims=claims, expected=expected)
        found.append(model.relativity(known, 2500.0))
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    by_hand = [
        sum(part * memory ** ((2500 - day) / 365.25) for day, *parts in events for part in [parts[i]])
        for i in (0, 1)
    ]
    assert found[0] == pytest.approx((2.0 + by_hand[0]) / (2.0 + by_hand[1]), rel=1e-9)


@given(st.floats(0.1, 50), st.floats(0, 50), st.integers(0, 30))
def test_an_estimate_lies_between_its_own_and_all_and_within_bounds(shape, expected, claims):
    model = PoissonGamma(shape, 1.0, 0.4, 2.5)
    known = Experience(claims, expected)
    share = model.credibility(known, 0.0)
    assert 0 <= share < 1
    free = (shape + claims) / (shape + expected)
    if expected > 0.01:
        assert free == pytest.approx(share * claims / expected + 1 - share)
    assert model.relativity(known, 0.0) == min(max(free, 0.4), 2.5)
    more = model.add(known, 0.0, claims=1)
    assert model.relativity(more, 0.0) >= model.relativity(known, 0.0)


def test_a_book_has_the_bits_of_one():
    rng = np.random.default_rng(1)
    claims, expected = rng.poisson(0.4, 500).astype(float), rng.uniform(0, 3, 500)
    model = PoissonGamma(1.7)
    one = [model.relativity(Experience(c, e), 0.0) for c, e in zip(claims, expected, strict=True)]
    assert model.relativities(claims, expected).tolist() == one


def test_memory_draws_back_to_the_average():
    model = PoissonGamma(1.0, 0.5, 0.1, 10.0)
    known = model.add(Experience(), 0.0, claims=4, expected=1.0)
    path = [model.relativity(known, day) for day in (0.0, 365.25, 3652.5, 36525.0)]
    assert path == sorted(path, reverse=True)
    assert path[0] == 2.5
    assert path[1] == (1.0 + 2.0) / 1.5
    assert path[-1] == pytest.approx(1.0)


def test_buhlmann_straub_is_the_mean_without_weight_and_its_own_with_much():
    model = BuhlmannStraub(1.0, 60.0, 0.09)
    assert model.estimate(0.0, 0.0) == 1.0
    assert model.credibility(60 / 0.09) == pytest.approx(0.5)
    assert model.estimate(3e9, 1e9) == pytest.approx(3.0, rel=1e-6)
    assert BuhlmannStraub(1.0, 60.0, 0.0).estimate(30.0, 10.0) == 1.0


def test_stationary_shares_stand_still_and_follow_the_frequency():
    scale = BonusMalusScale(9, 4)
    for frequency in (0.01, 0.1, 1.0, 5.0):
        held = scale.stationary(frequency)
        np.testing.assert_allclose(held @ scale.transitions(frequency), held, atol=1e-12)
        assert held.sum() == pytest.approx(1.0)
    places = [float(np.arange(9) @ scale.stationary(f)) for f in (0.01, 0.1, 1.0)]
    assert places == sorted(places)


def test_norberg_relativities_agree_with_simulated_customers():
    scale, shape, frequency = BonusMalusScale(6, 3, down=1, up=2), 1.2, 0.15
    rng = np.random.default_rng(5)
    risk = rng.gamma(shape, 1 / shape, 400_000)
    place = np.full(len(risk), scale.start)
    for _ in range(60):
        claims = rng.poisson(frequency * risk)
        place = np.where(claims == 0, np.maximum(place - 1, 0), np.minimum(place + 2 * claims, 5))
    seen = np.array([risk[place == c].mean() for c in range(6)])
    found = scale.relativities(shape, [frequency], [1.0])
    np.testing.assert_allclose(found, seen, rtol=0.02)
    held = sum(scale.stationary(float(frequency * r)) for r in risk[:2000]) / 2000
    assert float(held @ found) == pytest.approx(1.0, abs=0.05)


def test_pay_as_you_use():
    curve = DistanceCurve(12_000, 0.6, 2_000, 60_000)
    assert curve.relativity(12_000) == 1.0
    assert curve.relativity(24_000) == pytest.approx(2**0.6)
    assert curve.relativity(0) == curve.relativity(2_000)
    charge = DistanceCharge(1_500, 5_000)  # 15.00 a month and 5 fen a kilometre
    assert charge.month(1_000_000) == 1_500 + 5_000
    assert charge.true_up(6_000, 1_000_000) == 500
    assert charge.true_up(7_000, 1_000_000) == -500
    assert sum(pro_rata(1_000, hours, 24) for hours in (6, 6, 12)) == 1_000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PoissonGamma(0.0), "shape is 0.0"),
        (lambda: PoissonGamma(math.nan), "shape is nan"),
        (lambda: PoissonGamma(1.0, 1.5), "memory is 1.5"),
        (lambda: PoissonGamma(1.0, 1.0, 1.2, 2.0), "enclose 1"),
        (lambda: PoissonGamma(1.0).add(Experience(), 1.0, claims=-1), "-1 claims"),
        (lambda: PoissonGamma(1.0).add(Experience(), math.inf), "day inf"),
        (lambda: BuhlmannStraub(1.0, 0.0, 1.0), "within is 0.0"),
        (lambda: BonusMalusScale(1, 0), "at least 2 classes"),
        (lambda: BonusMalusScale(5, 2).relativities(1.0, [0.1, 0.2], [1.0]), "one weight a frequency"),
        (lambda: DistanceCurve(1.0, 2.0, 1.0, 1.0), "exponent"),
        (lambda: DistanceCurve(10.0, 0.5, 1.0, 100.0).relativity(-1.0), "-1.0 km"),
        (lambda: DistanceCharge(1, 1).month(-5), "-5 m"),
        (lambda: pro_rata(100, 5, 4), "5 of 4"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ExperienceError, match=message):
        make()
