"""The ladder: exact sums, monotone, one definition for one risk and for a book."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.errors import CorridorError
from pricing.integers import divide_half_even, divide_half_up, divide_up
from pricing.ladder import STEP_NAMES, build_ladder, build_ladders
from pricing.plan import RatingPlan

shares = st.integers(0, 240_000).map(lambda ppm: f"{Decimal(ppm) / 1_000_000:f}")
amounts = st.integers(0, 50_000).map(lambda minor: f"{Decimal(minor) / 100:.2f}")
risks = st.floats(0.01, 2_000_000.0)


@st.composite
def plans(draw: st.DrawFn) -> RatingPlan:
    return RatingPlan.model_validate(
        {
            "code": "any",
            "version": 1,
            "filing": "F-1",
            "product": "any",
            "currency": "CNY",
            "effective_from": "2026-01-01",
            "expense": {"fixed": draw(amounts), "variable": draw(shares)},
            "commission": {"direct": draw(shares)},
            "margin": draw(shares),
            "tax": draw(shares),
            "minimum_premium": draw(amounts),
            "rounding": {
                "unit": draw(st.sampled_from(["0.01", "0.10", "1.00"])),
                "mode": draw(st.sampled_from(["half_even", "half_up", "up"])),
            },
            "corridor": {"lowest": "0", "highest": "999999999.00"},
        }
    )


@given(plans(), risks)
def test_the_steps_sum_to_the_price(plan: RatingPlan, risk: float) -> None:
    ladder = build_ladder(risk, plan, "direct")
    assert sum(step.minor for step in ladder.steps) == ladder.price_minor
    assert tuple(step.name for step in ladder.steps) == STEP_NAMES
    assert ladder.price_minor % plan.terms("direct").unit_minor == 0


@given(plans(), risks, risks)
def test_a_higher_risk_never_pays_less(plan: RatingPlan, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert build_ladder(low, plan, "direct").price_minor <= build_ladder(high, plan, "direct").price_minor


@given(plans(), st.lists(risks, min_size=1, max_size=30))
def test_a_book_is_priced_like_each_of_its_risks(plan: RatingPlan, book: list[float]) -> None:
    table = build_ladders(np.array(book), plan, "direct")
    for row, risk in enumerate(book):
        ladder = build_ladder(risk, plan, "direct")
        assert table.price_minor[row] == ladder.price_minor
        assert all(table.steps[step.name][row] == step.minor for step in ladder.steps)


@given(plans(), risks)
def test_the_price_is_the_formula_rounded_once(plan: RatingPlan, risk: float) -> None:
    """Against exact fractions: at most one unit of the last place of the integer arithmetic away."""
    terms = plan.terms("direct")
    million = Fraction(1_000_000)
    net = (Fraction(round(risk * 1_000_000)) / million + terms.fixed_micros / million) / (
        1 - terms.loadings / million
    )
    gross = max(net, terms.minimum_micros / million) * (1 + terms.tax / million)
    price = build_ladder(risk, plan, "direct").price_minor
    assert abs(price - gross) < terms.unit_minor * (
        1 if plan.rounding.mode == "up" else Fraction(1, 2)
    ) + Fraction(1, 10**5)


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**6))
def test_rounding_is_decimal_rounding(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert divide_half_even(numerator, denominator) == round(exact)
    assert divide_half_up(numerator, denominator) == (2 * exact + 1) // 2
    assert divide_up(numerator, denominator) == -((-exact) // 1)
    column = divide_half_even(np.array([numerator], dtype=np.int64), denominator)
    assert column[0] == round(exact)


def test_half_even_agrees_with_decimal() -> None:
    for cents in range(-500, 500, 5):
        expected = (Decimal(cents) / 10).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
        assert divide_half_even(cents, 10) == int(expected)


@given(risks)
def test_outside_the_corridor_is_refused_not_clipped(risk: float) -> None:
    plan = RatingPlan.model_validate(
        {
            "code": "narrow",
            "version": 1,
            "filing": "F-1",
            "product": "any",
            "currency": "CNY",
            "effective_from": "2026-01-01",
            "expense": {"fixed": "0", "variable": "0"},
            "commission": {"direct": "0"},
            "margin": "0",
            "tax": "0",
            "minimum_premium": "1.00",
            "rounding": {"unit": "0.01"},
            "corridor": {"lowest": "2.00", "highest": "100.00"},
        }
    )
    exact = max(round(Decimal(risk)), 100)
    if 200 <= exact <= 10_000:
        assert build_ladder(risk, plan, "direct").price_minor == exact
    else:
        with pytest.raises(CorridorError, match="200 to 10000"):
            build_ladder(risk, plan, "direct")
        assert build_ladders(np.array([risk]), plan, "direct").refusal[0] == "corridor"
