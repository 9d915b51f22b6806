"""The ladder: exact sums, monotone, rounded once, within its caps; a risk and a book priced alike."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pricing.errors import CorridorError, LimitsError, NoPriceError
from pricing.integers import divide_half_even, divide_half_up, divide_up, multiply_divide
from pricing.ladder import (
    CAPS,
    STEP_NAMES,
    Ladder,
    PriceInputs,
    build_ladder,
    build_ladders,
    price_bounds,
    settle,
)
from pricing.plan import RatingPlan

MILLION = 1_000_000
shares = st.integers(0, 240_000).map(lambda ppm: f"{Decimal(ppm) / MILLION:f}")
amounts = st.integers(0, 50_000).map(lambda minor: f"{Decimal(minor) / 100:.2f}")
risks = st.floats(0.01, 2_000_000.0)
relativities = st.integers(200_000, 5_000_000)
PLAIN: dict[str, Any] = {
    "code": "any",
    "version": 1,
    "filing": "F-1",
    "product": "any",
    "currency": "CNY",
    "effective_from": "2026-01-01",
    "expense": {"fixed": "0", "variable": "0"},
    "commission": {"direct": "0"},
    "margin": "0",
    "tax": "0",
    "minimum_premium": "0",
    "rounding": {"unit": "0.01"},
    "corridor": {"lowest": "0", "highest": "999999999.00"},
}


@st.composite
def plans(draw: st.DrawFn) -> RatingPlan:
    content = PLAIN | {
        "expense": {"fixed": draw(amounts), "variable": draw(shares)},
        "commission": {"direct": draw(shares)},
        "margin": draw(shares),
        "tax": draw(shares),
        "minimum_premium": draw(amounts),
        "rounding": {
            "unit": draw(st.sampled_from(["0.01", "0.10", "1.00"])),
            "mode": draw(st.sampled_from(["half_even", "half_up", "up"])),
        },
    }
    later = {
        "relativities": {
            "region": {"levels": {"a": "1.1"}},
            "age": {"bands": [{"at_least": 0, "relativity": "2"}]},
        },
        "claims_inflation": {
            "annual_rate": draw(shares),
            "base_date": "2025-01-01",
            "target_date": "2027-01-01",
        },
        "reinsurance": draw(shares),
        "maximum_premium": "30000.00",
        "renewal_cap": {"rise": draw(shares), "fall": draw(shares)},
        "cover_cap": {"share": draw(shares.filter(lambda share: Decimal(share) > Decimal("0.05")))},
    }
    chosen = draw(st.sets(st.sampled_from(sorted(later))))
    return RatingPlan.model_validate(content | {name: later[name] for name in chosen})


@st.composite
def inputs_for(draw: st.DrawFn, plan: RatingPlan, risk: float) -> PriceInputs:
    return PriceInputs(
        risk_premium_minor=risk,
        relativities=tuple(draw(relativities) for _ in plan.relativities or ()),
        experience=draw(st.none() | relativities),
        price_policy=draw(st.none() | st.integers(800_000, 1_200_000)),
        price_test=draw(st.none() | st.integers(900_000, 1_100_000)),
        bundle=draw(st.none() | st.integers(800_000, 1_000_000)),
        cover_minor=draw(st.integers(10**6, 10**9)),
        expiring_minor=draw(st.just(0) | st.integers(70_000, 5_000_000)),
    )


@st.composite
def priced(draw: st.DrawFn) -> tuple[RatingPlan, PriceInputs]:
    plan = draw(plans())
    return plan, draw(inputs_for(plan, draw(risks)))


def ladder_of(plan: RatingPlan, inputs: PriceInputs) -> Ladder:
    """Price, and leave the example out when there is no price."""
    try:
        return build_ladder(inputs, plan, "direct")
    except NoPriceError:
        assume(False)
        raise


@given(priced())
def test_the_steps_sum_to_the_price(case: tuple[RatingPlan, PriceInputs]) -> None:
    plan, inputs = case
    ladder = ladder_of(plan, inputs)
    assert sum(step.minor for step in ladder.steps) == ladder.price_minor
    names = [step.name for step in ladder.steps]
    assert names == [name for name in STEP_NAMES if name in names], "in the one order"
    assert ladder.price_minor % plan.terms("direct").unit_minor == 0
    assert all(type(step.minor) is int for step in ladder.steps), "no float after the technical premium"
    for name in ("relativities", "claims_inflation", "reinsurance", *CAPS):
        assert (name in names) == (getattr(plan, name) is not None), "a ladder has the steps of its plan"
    for name in ("experience", "price_policy", "price_test", "bundle"):
        assert (name in names) == (getattr(inputs, name) is not None)


@given(priced())
def test_what_is_owed_sums_to_the_price(case: tuple[RatingPlan, PriceInputs]) -> None:
    plan, inputs = case
    price, terms = ladder_of(plan, inputs).price_minor, plan.terms("direct")
    owed = settle(price, terms)
    assert owed.tax_minor + owed.commission_minor + owed.kept_minor == price
    assert abs(owed.tax_minor - Fraction(price * terms.tax, MILLION + terms.tax)) <= Fraction(1, 2)
    assert abs(
        owed.commission_minor - Fraction((price - owed.tax_minor) * terms.commission, MILLION)
    ) <= Fraction(1, 2)
    assert owed.kept_minor >= 0


@given(priced())
def test_caps_and_minimum_hold(case: tuple[RatingPlan, PriceInputs]) -> None:
    plan, inputs = case
    price, terms = ladder_of(plan, inputs).price_minor, plan.terms("direct")
    lowest, highest = price_bounds(inputs, terms)
    assert lowest <= price <= highest
    if plan.cover_cap is not None:
        assert price <= Fraction(plan.cover_cap.share) * inputs.cover_minor
    if plan.renewal_cap is not None and inputs.expiring_minor:
        assert price <= inputs.expiring_minor * (1 + Fraction(plan.renewal_cap.rise))
        assert price >= inputs.expiring_minor * (1 - Fraction(plan.renewal_cap.fall))
    if plan.maximum_premium is not None:
        assert price <= Fraction(plan.maximum_premium) * 100 * (1 + Fraction(plan.tax)) + Fraction(1, 10**6)


@given(priced(), risks)
def test_a_higher_risk_never_pays_less(case: tuple[RatingPlan, PriceInputs], other: float) -> None:
    plan, inputs = case
    low, high = sorted((float(inputs.risk_premium_minor), other))
    cheap, dear = (ladder_of(plan, replace(inputs, risk_premium_minor=risk)) for risk in (low, high))
    assert cheap.price_minor <= dear.price_minor


@given(priced(), st.data())
def test_a_higher_loading_never_costs_less(case: tuple[RatingPlan, PriceInputs], data: st.DataObject) -> None:
    plan, inputs = case
    name = data.draw(
        st.sampled_from(
            ["fixed", "variable", "commission", "margin", "tax", "minimum", "reinsurance", "inflation"]
        )
    )
    content = plan.model_dump(mode="json", exclude_none=True)
    more = Decimal("0.01")
    if name in ("fixed", "variable"):
        content["expense"][name] = str(Decimal(content["expense"][name]) + more)
    elif name == "commission":
        content["commission"]["direct"] = str(Decimal(content["commission"]["direct"]) + more)
    elif name == "minimum":
        content["minimum_premium"] = str(Decimal(content["minimum_premium"]) + more)
    elif name == "inflation":
        assume(plan.claims_inflation is not None)
        rate = Decimal(content["claims_inflation"]["annual_rate"]) + more
        content["claims_inflation"]["annual_rate"] = str(rate)
    else:
        content[name] = str(Decimal(content.get(name, "0")) + more)
    loaded = RatingPlan.model_validate(content)
    assert ladder_of(plan, inputs).price_minor <= ladder_of(loaded, inputs).price_minor


@given(priced(), st.data())
def test_a_higher_relativity_never_costs_less(
    case: tuple[RatingPlan, PriceInputs], data: st.DataObject
) -> None:
    plan, inputs = case
    used = [
        n for n in ("experience", "price_policy", "price_test", "bundle") if getattr(inputs, n) is not None
    ]
    name = data.draw(st.sampled_from([*used, *(["table"] if inputs.relativities else [])] or ["none"]))
    if name == "none":
        more = inputs
    elif name == "table":
        more = replace(inputs, relativities=(inputs.relativities[0] + 1_000, *inputs.relativities[1:]))
    else:
        more = replace(inputs, **{name: getattr(inputs, name) + 1_000})
    assert ladder_of(plan, inputs).price_minor <= ladder_of(plan, more).price_minor


@given(
    plans(),
    st.lists(risks | st.sampled_from([0.0, np.nan, np.inf, 1e10]), min_size=1, max_size=30),
    st.data(),
)
def test_a_book_is_priced_like_each_of_its_risks(
    plan: RatingPlan, book: list[float], data: st.DataObject
) -> None:
    one = data.draw(inputs_for(plan, 1.0))
    rows = [data.draw(inputs_for(plan, risk)) for risk in book]
    # A book has a step for all or for none.
    rows = [
        replace(
            row,
            **{
                name: None if getattr(one, name) is None else getattr(row, name) or MILLION
                for name in ("experience", "price_policy", "price_test", "bundle")
            },
        )
        for row in rows
    ]

    def column(name: str) -> Any:
        values = [getattr(row, name) for row in rows]
        return None if values[0] is None else np.array(values)

    tables = [np.array(values) for values in zip(*(row.relativities for row in rows), strict=True)]
    names = ("experience", "price_policy", "price_test", "bundle", "cover_minor", "expiring_minor")
    columns = PriceInputs(np.array(book), tuple(tables), **{name: column(name) for name in names})
    table = build_ladders(columns, plan, "direct")
    assert table.price_minor.dtype == np.int64
    for row, inputs in enumerate(rows):
        try:
            ladder = build_ladder(inputs, plan, "direct")
        except NoPriceError as error:
            assert table.refusal[row] == error.kind
            assert table.price_minor[row] == 0
            continue
        assert table.refusal[row] == ""
        assert table.price_minor[row] == ladder.price_minor
        assert {name: values[row] for name, values in table.steps.items()} == dict(ladder.steps)
        assert all(values.dtype == np.int64 for values in table.steps.values())


@given(priced())
def test_the_price_is_the_formula_rounded_once(case: tuple[RatingPlan, PriceInputs]) -> None:
    """Against exact fractions: at most a few millionths of a minor unit away before the one rounding."""
    plan, inputs = case
    terms = plan.terms("direct")
    loaded = Fraction(round(float(inputs.risk_premium_minor) * MILLION), MILLION)
    for factor in (inputs.experience, *inputs.relativities, terms.inflation):
        loaded *= Fraction(factor or MILLION, MILLION)
    loaded *= 1 + Fraction(terms.reinsurance or 0, MILLION)
    net = (loaded + Fraction(terms.fixed_micros, MILLION)) / (1 - Fraction(terms.loadings, MILLION))
    minimum = Fraction(terms.minimum_micros, MILLION)
    net = max(net, minimum)
    for factor in (inputs.price_policy, inputs.price_test, inputs.bundle):
        net = max(net * Fraction(factor or MILLION, MILLION), minimum)
    gross = net * (1 + Fraction(terms.tax, MILLION))
    lowest, highest = price_bounds(inputs, terms)
    price = ladder_of(plan, inputs).price_minor
    away = terms.unit_minor * (1 if plan.rounding.mode == "up" else Fraction(1, 2)) + Fraction(1, 10**3)
    held = min(max(gross, lowest if inputs.expiring_minor else 0), highest)
    assert abs(price - held) < away


def test_a_cover_of_nine_yuan_never_costs_almost_nine() -> None:
    plan = RatingPlan.model_validate(PLAIN | {"cover_cap": {"share": "0.5"}})
    ladder = build_ladder(PriceInputs(890.0, cover_minor=900), plan, "direct")
    assert ladder.price_minor == 450
    assert ladder.amount("cover_cap") == 450 - 890


@pytest.mark.parametrize(
    ("change", "inputs", "lowest", "highest"),
    [
        ({"cover_cap": {"share": "0.5"}}, {"cover_minor": 900}, 500, 450),
        ({"renewal_cap": {"rise": "0.1"}}, {"expiring_minor": 400}, 500, 440),
        ({"renewal_cap": {"fall": "0.1"}, "maximum_premium": "8.00"}, {"expiring_minor": 1000}, 900, 800),
        (
            {"renewal_cap": {"fall": "0.1"}, "cover_cap": {"share": "0.5"}},
            {"expiring_minor": 1000, "cover_minor": 1400},
            900,
            700,
        ),
        (
            {"renewal_cap": {"rise": "0", "fall": "0"}, "rounding": {"unit": "1.00"}},
            {"expiring_minor": 1050},
            1100,
            1000,
        ),
    ],
)
def test_limits_that_contradict_each_other_leave_no_price(
    change: dict[str, Any], inputs: dict[str, int], lowest: int, highest: int
) -> None:
    plan = RatingPlan.model_validate(PLAIN | {"minimum_premium": "5.00"} | change)
    with pytest.raises(LimitsError, match=f"at least {lowest} minor .* at most {highest} "):
        build_ladder(PriceInputs(700.0, **inputs), plan, "direct")
    assert build_ladders(PriceInputs(np.array([700.0]), **inputs), plan, "direct").refusal[0] == "limits"


def test_a_cap_that_leaves_nothing_for_claims_is_no_price() -> None:
    content = {"commission": {"direct": "0.20"}, "expense": {"fixed": "3.00", "variable": "0.10"}}
    plan = RatingPlan.model_validate(PLAIN | content | {"renewal_cap": {"rise": "0.05"}})
    assert build_ladder(PriceInputs(700.0, expiring_minor=500), plan, "direct").price_minor == 525
    for expiring, kind in ((408, "below_expenses"), (400, "below_expenses"), (410, "")):
        inputs = PriceInputs(np.array([700.0]), expiring_minor=np.array([expiring]))
        assert build_ladders(inputs, plan, "direct").refusal[0] == kind


def test_inputs_that_do_not_fit_the_plan_are_refused() -> None:
    plan = RatingPlan.model_validate(
        PLAIN | {"cover_cap": {"share": "0.5"}, "relativities": {"a": {"levels": {"x": "1"}}}}
    )
    with pytest.raises(ValueError, match="1 tables, found 0"):
        build_ladder(PriceInputs(1.0), plan, "direct")
    with pytest.raises(ValueError, match="cover amount"):
        build_ladder(PriceInputs(1.0, (MILLION,)), plan, "direct")


def test_claims_inflation_is_one_factor_from_decimals() -> None:
    content = {"annual_rate": "0.10", "base_date": "2024-01-01", "target_date": "2028-01-01"}
    plan = RatingPlan.model_validate(PLAIN | {"claims_inflation": content})
    assert plan.terms("direct").inflation == 1_464_100, "1461 days are four years of 365.25"
    assert build_ladder(PriceInputs(1000.0), plan, "direct").amount("claims_inflation") == 464


@given(st.integers(-(9 * 10**15), 9 * 10**15), st.integers(0, 10**8), st.integers(1, 2 * 10**6))
def test_a_fraction_of_an_amount_is_exact(value: int, numerator: int, denominator: int) -> None:
    assume(abs(value) * numerator < denominator * 2**62)
    exact = Fraction(value * numerator, denominator)
    assert multiply_divide(value, numerator, denominator) == round(exact)
    assert multiply_divide(np.array([value]), numerator, denominator)[0] == round(exact)


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
    plan = RatingPlan.model_validate(PLAIN | {"corridor": {"lowest": "2.00", "highest": "100.00"}})
    exact = round(Decimal(risk))
    if 200 <= exact <= 10_000:
        assert build_ladder(PriceInputs(risk), plan, "direct").price_minor == exact
    else:
        with pytest.raises(CorridorError, match="200 to 10000"):
            build_ladder(PriceInputs(risk), plan, "direct")
        assert build_ladders(PriceInputs(np.array([risk])), plan, "direct").refusal[0] == "corridor"
