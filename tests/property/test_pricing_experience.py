"""Experience: sums without order, posteriors of one and of many, Norberg's relativities, pay as you use."""

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.bonus_malus import BonusMalusScale
from pricing.errors import ExperienceError
from pricing.experience import UNITS, BuhlmannStraub, Experience, ExperienceRating
from pricing.usage import DistanceCharge, UsageCurve, pro_rata

SINCE = dt.date(2020, 1, 1)
ONE = UNITS["number"]
EVENTS = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 3)), max_size=12)
TERMS = st.lists(
    st.tuples(st.integers(-400, 2000), st.integers(1, 400), st.integers(0, ONE // 100)), max_size=8
)
MEMORIES = st.sampled_from([0.5, 0.7, 0.83, 0.95, 1.0])


def rating(**changes) -> ExperienceRating:
    filed = {"since": SINCE, "shape": 2 * ONE, "lowest": 10_000, "highest": 100_000_000} | changes
    return ExperienceRating(**filed)


@given(EVENTS, TERMS, MEMORIES, st.integers(0, 30), st.integers(0, 2500))
def test_sums_are_the_faded_claims_and_exposure(events, terms, memory, lag, day):
    model = rating(memory=memory, lag=lag)
    seen = [(at, claims) for at, claims in events if at < day]
    claims = sum(model.weight(at) * number * ONE for at, number in seen)
    spans = [(first, first + length, rate) for first, length, rate in terms]
    own = model.own(claims, model.expected(spans, day), day)
    fade = [memory ** ((day - at) / 365.25) for at in range(2500)]
    by_hand = sum(number * fade[at] for at, number in seen)
    ran = sum(
        rate / ONE * fade[at]
        for first, last, rate in spans
        for at in range(max(first, 0), min(last, day - lag))
    )
    assert own.claims == pytest.approx(by_hand, rel=2e-3, abs=1e-9)  # weights are whole parts of 4,096
    assert own.expected == pytest.approx(ran, rel=2e-3, abs=1e-9)
    assert own.relativity == pytest.approx(1e6 * (2 + own.claims) / (2 + own.expected), abs=0.6)
    assert own.credibility == pytest.approx(own.expected / (2 + own.expected))
    if own.expected > 0.01:
        share = own.credibility
        assert own.relativity / 1e6 == pytest.approx(
            share * own.claims / own.expected + 1 - share, rel=1e-4, abs=1e-5
        )


@given(EVENTS, st.randoms(), MEMORIES)
def test_the_order_of_events_does_not_matter_and_one_can_be_taken_back(events, random, memory):
    model = rating(memory=memory)
    amounts = [model.weight(day) * claims * ONE for day, claims in events]
    shuffled = list(amounts)
    random.shuffle(shuffled)
    kept = 0
    for amount in shuffled:
        kept += amount
    assert kept == sum(amounts)
    for amount in shuffled[1:]:
        kept -= amount
    assert kept == sum(shuffled[:1])


@given(st.lists(st.tuples(st.integers(0, 2**44), st.integers(0, 2**44), st.integers(-5, 4000)), min_size=1))
def test_a_book_has_the_numbers_of_one(rows):
    model = rating(memory=0.8, lowest=300_000, highest=4_000_000)
    claims, expected, days = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    one = [model.own(*row).relativity for row in rows]
    assert model.relativities(claims, expected, days).tolist() == one
    assert model.weights(days).tolist() == [model.weight(day) for day in days.tolist()]
    first, last = days - 100, days + 300
    accrued = [
        model.accrued(*each) for each in zip(first.tolist(), last.tolist(), days.tolist(), strict=True)
    ]
    assert model.accrued_by(first, last, days).tolist() == accrued


@given(st.integers(0, 30), st.integers(0, 10**10), st.integers(0, 2000))
def test_more_claims_never_lower_the_premium_and_bounds_hold(claims, expected, day):
    model = rating(lowest=400_000, highest=2_500_000)
    found = [
        model.own(number * ONE * model.weight(day), expected, day).relativity
        for number in (claims, claims + 1)
    ]
    assert 400_000 <= found[0] <= found[1] <= 2_500_000


def test_memory_draws_back_to_the_average():
    model = rating(memory=0.5, shape=ONE)
    claims, expected = 4 * ONE * model.weight(0), ONE * model.weight(0)
    path = [model.own(claims, expected, day).relativity for day in (0, 365, 3650, 4300)]
    assert path == sorted(path, reverse=True)
    assert path[0] == 2_500_000
    assert path[1] == pytest.approx(2_000_000, rel=1e-3)
    assert path[-1] == pytest.approx(1_000_000, rel=2e-3)


@given(st.floats(0, 1e4), st.floats(0.01, 1e4))
def test_buhlmann_straub_on_ratios_is_the_same_sum(cost, expected):
    within, between = 60.0, 0.09
    free = rating(shape=round(within / between * ONE), lowest=1, highest=10**12)
    own = free.own(round(cost * ONE) * 4096, round(expected * ONE) * 4096, 0)
    textbook = BuhlmannStraub(1.0, within, between)
    assert own.relativity / 1e6 == pytest.approx(textbook.estimate(cost, expected), rel=1e-5, abs=1e-6)
    assert own.credibility == pytest.approx(textbook.credibility(expected), rel=1e-5)


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
    curve = UsageCurve(12_000, 0.6, 2_000, 60_000)
    assert curve.relativity(12_000) == 1.0
    assert curve.relativity(24_000) == pytest.approx(2**0.6)
    assert curve.relativity(0) == curve.relativity(2_000)
    charge = DistanceCharge(1_500, 5_000)  # 15.00 a month and 5 fen a kilometre
    assert charge.month(1_000_000) == 1_500 + 5_000
    assert charge.true_up(6_000, 1_000_000) == 500
    assert charge.true_up(7_000, 1_000_000) == -500
    assert sum(pro_rata(1_000, hours, 24) for hours in (6, 6, 12)) == 1_000


FILED = {"method": "poisson_gamma", "since": SINCE, "lowest": "0.5", "highest": "2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lowest": "1.2"}, "bounds 1.2 to 2 must enclose 1"),
        ({"lowest": "0"}, "must enclose 1"),
        ({"highest": "-2"}, "highest"),
        ({"memory": 1.5}, "memory"),
        ({"memory": 0.2}, "memory"),
        ({"shape": 0.0}, "shape"),
        ({"shape": math.nan}, "shape"),
        ({"since": None}, "since goes with poisson_gamma"),
        ({"method": "bonus_malus", "since": None}, "scale goes with method 'bonus_malus'"),
        ({"scale": {"factor": "class", "start": 2}}, "scale goes with method 'bonus_malus'"),
        ({"counts": "returns"}, "expected, by category, goes with counts = 'returns'"),
        ({"expected": {"shoes": 0.2}}, "goes with counts = 'returns'"),
        ({"counts": "returns", "expected": {"shoes": 0.2}}, "a filed shape"),
        ({"counts": "returns", "expected": {"shoes": 1.2}, "shape": 2.0}, "expected"),
        ({"unit": "region"}, "unit"),
    ],
)
def test_a_product_file_cannot_name_what_cannot_be(changes, message):
    Experience.model_validate(FILED)
    with pytest.raises(ValueError, match=message):
        Experience.model_validate(FILED | changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rating(shape=0), "shape is 0"),
        (lambda: rating(shape=2**62), "shape is"),
        (lambda: rating(memory=0.3), "memory is 0.3"),
        (lambda: rating(lowest=1_200_000), "enclose 1"),
        (lambda: rating(memory=0.8).weight(20_000), "too long after 2020-01-01"),
        (lambda: rating().own(2**62, 0, 5), "leaves 64 bits"),
        (lambda: rating().relativities(*(np.full(1, 2**62),) * 2, np.zeros(1, np.int64)), "leaves 64 bits"),
        (lambda: BuhlmannStraub(1.0, 0.0, 1.0), "within is 0.0"),
        (lambda: BonusMalusScale(1, 0), "at least 2 classes"),
        (lambda: BonusMalusScale(5, 2).relativities(1.0, [0.1, 0.2], [1.0]), "one weight a frequency"),
        (lambda: UsageCurve(1.0, 2.0, 1.0, 1.0), "exponent"),
        (lambda: UsageCurve(10.0, 0.5, 1.0, 100.0).relativity(-1.0), "use is -1.0"),
        (lambda: DistanceCharge(1, 1).month(-5), "-5 m"),
        (lambda: pro_rata(100, 5, 4), "5 of 4"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ExperienceError, match=message):
        make()
