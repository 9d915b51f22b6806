"""The rating plan: an immutable file that says how a risk premium becomes a price."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pricing.definitions import parse_definition
from pricing.errors import DefinitionError, PlanNotEffectiveError, UnknownChannelError
from pricing.factors import Frozen, Name
from pricing.money import exponent, to_minor

if TYPE_CHECKING:
    from pathlib import Path

MILLION = 1_000_000
# A larger net premium (9e12 millionths of a fen: 90,000 CNY) times a share in millionths would leave int64.
LARGEST_NET_MICROS = 9_000_000_000_000
Amount = Annotated[str, Field(pattern=r"^\d{1,12}(\.\d{1,3})?$")]
Share = Annotated[str, Field(pattern=r"^0(\.\d{1,6})?$")]


class Expense(Frozen):
    """Cost of doing business.

    Attributes
    ----------
    fixed
        Per cover sold, major units.
    variable
        Share of the net premium.
    """

    fixed: Amount
    variable: Share


class Rounding(Frozen):
    """How the price is rounded, once, at the end.

    Attributes
    ----------
    unit
        Smallest step of a price, major units.
    mode
        `half_even`, `half_up` or `up`.
    """

    unit: Amount
    mode: Literal["half_even", "half_up", "up"] = "half_even"


class Corridor(Frozen):
    """Lowest and highest price that is filed, tax included, major units."""

    lowest: Amount
    highest: Amount


class RatingPlan(Frozen):
    """How the risk premium of one product becomes the price, in effect between two dates.

    Attributes
    ----------
    code, version, filing
        Identity; `filing` is the number under which the rates are filed.
    effective_from, effective_to
        First day and first day after (UTC); open when absent.
    expense, commission, margin, tax
        Loadings. Commission is a share of the net premium by channel, tax a share on top of it.
    minimum_premium
        Net of tax, major units.
    rounding, corridor
        How the price is rounded, and what is filed.
    """

    code: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
    version: Annotated[int, Field(ge=1)]
    filing: Annotated[str, Field(min_length=1)]
    product: Name
    currency: str
    effective_from: date
    effective_to: date | None = None
    expense: Expense
    commission: Annotated[dict[Name, Share], Field(min_length=1)]
    margin: Share
    tax: Share
    minimum_premium: Amount
    rounding: Rounding
    corridor: Corridor

    @model_validator(mode="after")
    def _consistent(self) -> RatingPlan:
        exponent(self.currency)
        lowest, highest = (
            to_minor(self.corridor.lowest, self.currency),
            to_minor(self.corridor.highest, self.currency),
        )
        if not lowest < highest:
            raise ValueError(
                f"corridor.lowest {self.corridor.lowest} is not below highest {self.corridor.highest}"
            )
        if to_minor(self.rounding.unit, self.currency) < 1:
            raise ValueError("rounding.unit must be at least one minor unit")
        if to_minor(self.minimum_premium, self.currency) > highest:
            raise ValueError("the corridor excludes the minimum premium")
        if self.effective_to is not None and self.effective_to <= self.effective_from:
            raise ValueError("effective_to must come after effective_from")
        for channel in self.commission:
            if self.terms(channel).loadings >= MILLION:
                raise ValueError(f"loadings of channel {channel!r} reach 100 % of the premium")
        return self

    @cached_property
    def hash(self) -> str:
        """Sha256 over the canonical content of the file, for quotes."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @cached_property
    def _terms(self) -> dict[str, ChannelTerms]:
        return {channel: _channel_terms(self, share) for channel, share in self.commission.items()}

    def terms(self, channel: str) -> ChannelTerms:
        """Give the terms of a channel as the integers that the ladder is built from.

        Raises
        ------
        UnknownChannelError
            If the plan has no commission for the channel.
        """
        if channel not in self._terms:
            raise UnknownChannelError(channel, self.commission)
        return self._terms[channel]

    def check_effective(self, day: date) -> None:
        """Refuse a day on which the plan is not in force."""
        until = self.effective_to or date.max
        if not self.effective_from <= day < until:
            raise PlanNotEffectiveError(
                f"plan {self.code} is in force from {self.effective_from} until "
                f"{self.effective_to or 'further notice'}, not on {day}. "
                "Hint: file and deploy the plan of that day"
            )


@dataclass(frozen=True)
class ChannelTerms:
    """A plan's terms for one channel.

    Attributes
    ----------
    variable, commission, margin
        Millionths of the net premium.
    tax
        Millionths on top of the net premium.
    fixed_micros, minimum_micros, unit_micros
        Fixed expense, minimum premium and rounding unit, millionths of a minor unit.
    unit_minor, lowest_minor, highest_minor
        Rounding unit and filed bounds of the price, minor units.
    """

    variable: int
    commission: int
    margin: int
    tax: int
    fixed_micros: int
    minimum_micros: int
    unit_micros: int
    unit_minor: int
    lowest_minor: int
    highest_minor: int

    @property
    def loadings(self) -> int:
        """All shares that come out of the net premium, millionths."""
        return self.variable + self.commission + self.margin

    @property
    def largest_risk_minor(self) -> int:
        """Largest risk premium that the exact arithmetic holds, minor units."""
        return (LARGEST_NET_MICROS // MILLION * (MILLION - self.loadings) - self.fixed_micros) // MILLION


def _channel_terms(plan: RatingPlan, commission: str) -> ChannelTerms:
    def minor(amount: str) -> int:
        return to_minor(amount, plan.currency)

    return ChannelTerms(
        variable=millionths(plan.expense.variable),
        commission=millionths(commission),
        margin=millionths(plan.margin),
        tax=millionths(plan.tax),
        fixed_micros=minor(plan.expense.fixed) * MILLION,
        minimum_micros=minor(plan.minimum_premium) * MILLION,
        unit_micros=minor(plan.rounding.unit) * MILLION,
        unit_minor=minor(plan.rounding.unit),
        lowest_minor=minor(plan.corridor.lowest),
        highest_minor=minor(plan.corridor.highest),
    )


def millionths(share: str) -> int:
    """Read a decimal of at most six digits as millionths, exactly."""
    return int(Decimal(share) * MILLION)


def read_plan(path: Path) -> RatingPlan:
    """Read a rating plan file (see `parse_definition` for what is refused)."""
    plan = parse_definition(RatingPlan, path.read_text(encoding="utf-8"), path.name)
    if path.stem != plan.code:
        raise DefinitionError(
            path.name, [f"code {plan.code!r} must equal the name of the file, {path.stem!r}"]
        )
    return plan
