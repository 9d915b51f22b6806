"""What is shown follows the chances that are logged, and arms of a test follow nothing but their own hash."""

from __future__ import annotations

import datetime as dt
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommend.showing import is_random, mixed, random_order
from pricing.errors import DefinitionError, ExperimentError
from pricing.experiments import (
    CellTotals,
    ConfidenceSequence,
    parse_experiment,
    parse_offer_test,
    sample_ratio,
)
from pricing.experiments.assignment import place
from serving.settings import REFERENCE

DAY = dt.date(2026, 2, 3)
TEST = (REFERENCE / "offer_tests" / "offers_2026.toml").read_text(encoding="utf-8")


@given(
    eligible=st.lists(st.sampled_from("abcdefgh"), unique=True),
    places=st.integers(1, 6),
    random=st.floats(0, 1),
    split=st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    shuffle=st.randoms(use_true_random=False),
)
def test_logged_chances_add_up_at_each_place(eligible, places, random, split, shuffle):
    arms = dict(zip(("ranker", "popularity", "nothing"), np.array(split) / sum(split), strict=True))
    lists = {}
    for name in ("ranker", "popularity"):
        order = shuffle.sample(eligible, len(eligible))
        lists[name] = order[: shuffle.randint(0, places)]
    chances = mixed(eligible, places, random, lists, arms)
    assert chances.random + sum(chance for _, chance, _ in chances.lists) == pytest.approx(1.0)
    for at in range(places):
        filled = sum(chance for _, chance, codes in chances.lists if len(codes) > at)
        filled += chances.random if at < len(eligible) else 0.0
        assert sum(chances.of(code, at) for code in eligible) == pytest.approx(filled)


def test_random_traffic_has_the_logged_frequencies_and_repeats_itself():
    n, share, codes = 40_000, 0.05, ("a", "b", "c", "d")
    drawn = [who for who in range(n) if is_random(who, DAY, share)]
    assert abs(len(drawn) - n * share) < 4 * math.sqrt(n * share * (1 - share))
    orders = [tuple(random_order(who, DAY, codes)) for who in range(12_000)]
    assert orders[:50] == [tuple(random_order(who, DAY, codes[::-1])) for who in range(50)]
    counts = [orders.count(one) for one in itertools.permutations(codes)]
    assert sample_ratio(counts, [1 / 24] * 24) > 1e-4  # all orders alike
    tomorrow = DAY + dt.timedelta(days=1)
    again = sum(is_random(who, tomorrow, share) for who in drawn)
    assert abs(again - len(drawn) * share) < 4 * math.sqrt(len(drawn) * share)  # drawn anew every day


def test_arms_are_independent_of_price_tests_and_of_the_random_order():
    test = parse_offer_test(TEST, "offers_2026.toml")
    customers = np.arange(60_000)
    arms = test.arms_of(customers)
    names = list(test.shares)
    assert [names[arm] for arm in arms[:200]] == [test.arm_of(int(one)) for one in customers[:200]]
    counts = np.bincount(arms, minlength=3)
    assert sample_ratio(counts.tolist(), list(test.shares.values())) > 1e-4
    price = parse_experiment(
        (REFERENCE / "experiments" / "return_freight_2026.toml").read_text(encoding="utf-8"), "price"
    )
    for name in (price.name, f"offers {DAY}"):
        part = (np.asarray(place(customers, name), np.float64) * 9 / 2**53).astype(int)
        table = np.array([np.bincount(arms[part == one], minlength=3) for one in range(9)])
        expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
        assert ((table - expected) ** 2 / expected).sum() < 45  # 16 degrees of freedom: p about 1e-4


def test_a_test_that_cannot_tell_or_does_not_add_up_is_refused():
    test = parse_offer_test(TEST, "offers_2026.toml")
    assert test.check_power() <= test.stop.effect
    weak = parse_offer_test(TEST.replace("160_000", "2_000"), "weak.toml")
    with pytest.raises(ExperimentError, match=r"too weak.*Hint: 1\d\d,\d\d\d customers"):
        weak.check_power()
    for old, new, said in (
        ('nothing = "0.05"', 'nothing = "0.06"', "add up to"),
        ('ranker = "0.475"', 'rankr = "0.475"', "rankr"),
        ("end = 2026-05-01", "end = 2026-01-01", "must come after"),
    ):
        with pytest.raises(DefinitionError, match=said):
            parse_offer_test(TEST.replace(old, new), "x.toml")


def ever_differs(rng: np.random.Generator, ranker: float, popularity: float, looks: int, batch: int) -> bool:
    """Run one test, looked at after every batch of customers of each arm."""
    one = ConfidenceSequence.planned(0.05, 0.3, looks * batch, looks * batch)
    totals = [CellTotals(), CellTotals()]
    for _ in range(looks):
        for arm, rate in enumerate((ranker, popularity)):
            sold = int(rng.binomial(batch, rate))
            totals[arm] += CellTotals(batch, sold, sold)
        one = one.update(*totals)
        if one.differs:
            return True
    return False


def test_equal_arms_differ_no_more_often_than_alpha_and_a_true_uplift_is_found():
    rng = np.random.default_rng(5)
    false = sum(ever_differs(rng, 0.1, 0.1, 30, 400) for _ in range(400))
    assert false <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)
    found = sum(ever_differs(rng, 0.125, 0.1, 30, 400) for _ in range(100))
    assert found > 80


def test_lost_customers_of_an_arm_are_seen():
    assert sample_ratio([4750, 4750, 500], [0.475, 0.475, 0.05]) == pytest.approx(1.0)
    assert sample_ratio([4750, 4350, 500], [0.475, 0.475, 0.05]) < 0.001
    assert sample_ratio([0, 0], [0.5, 0.5]) == 1.0
