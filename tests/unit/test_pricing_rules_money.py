"""Rules decide on facts; money is exact."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from pricing.errors import CurrencyError
from pricing.money import Money, from_minor, to_minor
from pricing.rules import Rule, failed_rules

MESSAGE = {"en": "no", "zh": "否"}


def rule(op: str, value: object, **more: object) -> Rule:
    return Rule.model_validate(
        {"code": "r", "field": "f", "op": op, "value": value, "message": MESSAGE, **more}
    )


@pytest.mark.parametrize(
    ("op", "value", "fact", "holds"),
    [
        (">=", 18, 18, True),
        (">", 18, 18, False),
        ("<=", 18, 18.5, False),
        ("<", 18, 17.9, True),
        ("==", True, True, True),
        ("==", True, False, False),
        ("!=", "a", "b", True),
        ("in", ["a", "b"], "b", True),
        ("not_in", ["a", "b"], "b", False),
        (">=", 18, "text", False),
    ],
)
def test_conditions(op: str, value: object, fact: object, holds: bool) -> None:
    assert rule(op, value).holds(fact) is holds


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_an_unknown_fact_fails_unless_the_rule_lets_it_pass(unknown: float | None) -> None:
    assert not rule(">=", 18).holds(unknown)
    assert rule(">=", 18, when_unknown="pass").holds(unknown)
    assert [outcome.code for outcome in failed_rules([rule(">=", 18)], {})] == ["r"]


@pytest.mark.parametrize(("op", "value"), [("in", 1), (">=", ["a"]), ("<", "b"), (">=", True)])
def test_a_rule_whose_value_does_not_fit_is_refused(op: str, value: object) -> None:
    with pytest.raises(ValidationError, match="op"):
        rule(op, value)


def test_money_is_exact() -> None:
    assert to_minor("12.50", "CNY") == 1250
    assert from_minor(1250, "CNY") == "12.50"
    assert from_minor(-5, "EUR") == "-0.05"
    assert from_minor(700, "JPY") == "700"
    assert str(Money(1, "CNY") + Money(2, "CNY")) == "0.03 CNY"


@pytest.mark.parametrize("amount", ["12.505", "NaN", "Infinity", "abc"])
def test_money_that_is_not_exact_is_refused(amount: str) -> None:
    with pytest.raises(CurrencyError):
        to_minor(amount, "CNY")


def test_currencies_do_not_mix() -> None:
    with pytest.raises(CurrencyError):
        Money(1, "CNY") + Money(1, "EUR")
