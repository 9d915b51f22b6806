"""Eligibility and underwriting rules: data in the product file, decided the same for quotes and offers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from pricing.factors import Frozen, Name, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Comparison = Literal["<", "<=", "==", "!=", ">=", ">", "in", "not_in"]
Effect = Literal["decline", "refer"]
Fact = float | str | bool | None


class Condition(Frozen):
    """What one fact must be.

    Attributes
    ----------
    field
        A fact: a rating factor, a profile feature, or `customer.*`.
    op, value
        The condition the fact must meet.
    when_unknown
        `fail` (the default: nobody is waved through unseen) or `pass`, when the fact is not known.
    """

    field: str
    op: Comparison
    value: float | bool | str | tuple[str, ...] | tuple[float, ...]
    when_unknown: Literal["fail", "pass"] = "fail"

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        is_list = isinstance(self.value, tuple)
        if is_list != (self.op in {"in", "not_in"}):
            raise ValueError(
                f"op {self.op!r} and value {self.value!r} do not fit: a list goes with in and not_in"
            )
        if self.op in {"<", "<=", ">=", ">"} and (isinstance(self.value, bool | str)):
            raise ValueError(f"op {self.op!r} compares numbers, not {self.value!r}")
        return self

    def holds(self, fact: Fact) -> bool:
        """Tell whether the condition is met by a fact."""
        if fact is None or (isinstance(fact, float) and math.isnan(fact)):
            return self.when_unknown == "pass"
        return _compare(self.op, fact, self.value)


class Rule(Condition):
    """A condition that must hold, and what happens when it does not.

    Attributes
    ----------
    code
        Stable reason code.
    effect
        `decline`, or `refer` to a person.
    message
        What the customer reads when it fails.
    """

    code: Name
    effect: Effect = "decline"
    message: Text


def _compare(op: Comparison, fact: float | str | bool, value: object) -> bool:
    if isinstance(value, tuple):
        return (fact in value) == (op == "in")
    if op in {"==", "!="}:
        return (fact == value) == (op == "==")
    if isinstance(fact, str) or not isinstance(value, int | float):
        return False
    return {"<": fact < value, "<=": fact <= value, ">=": fact >= value, ">": fact > value}[op]


@dataclass(frozen=True)
class Outcome:
    """A rule that was not met.

    Attributes
    ----------
    code
        Reason code of the rule.
    effect
        `decline` or `refer`.
    message
        What the customer reads, by language.
    """

    code: str
    effect: Effect
    message: Text


def failed_rules(rules: Iterable[Rule], facts: Mapping[str, Fact]) -> tuple[Outcome, ...]:
    """Apply rules to facts and give those that were not met, in the order of the file.

    Parameters
    ----------
    rules
        Rules of a product file.
    facts
        What is known, by field name; an absent field is not known.
    """
    return tuple(
        Outcome(rule.code, rule.effect, rule.message)
        for rule in rules
        if not rule.holds(facts.get(rule.field))
    )
