"""Rating factors: what a product accepts for each, and what it does with anything else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pricing.errors import RiskError, RiskProblem, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REFUSE = "refuse"

FactorValue = float | str
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Frozen(BaseModel):
    """Base of everything read from a file: immutable, and unknown keys are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(Frozen):
    """A text in the languages that customers read."""

    en: Annotated[str, Field(min_length=1)]
    zh: Annotated[str, Field(min_length=1)]


class FactorBase(Frozen):
    """What a number and a category have in common.

    Attributes
    ----------
    name
        Name in requests, artifacts and reports.
    column
        Column of the training table; the name when absent.
    label
        What people read.
    """

    name: Name
    column: str | None = None
    label: Text

    @property
    def source(self) -> str:
        """Column of the training table."""
        return self.column or self.name


class NumberFactor(FactorBase):
    """A rating factor that is a number between bounds (both included).

    Attributes
    ----------
    missing
        `refuse`, or `level` when "not known" is a level of its own.
    outside
        `refuse`, or `nearest` when a value out of bounds is rated at the nearest bound.
    monotone
        +1 when the risk may only rise with the value, -1 when it may only fall, 0 when free.
    """

    type: Literal["number", "integer"]
    unit: str
    minimum: float
    maximum: float
    missing: Literal["refuse", "level"] = "refuse"
    outside: Literal["refuse", "nearest"] = "refuse"
    monotone: Literal[-1, 0, 1] = 0

    @model_validator(mode="after")
    def _ordered(self) -> NumberFactor:
        if not self.minimum < self.maximum:
            raise ValueError(f"minimum {self.minimum} must lie below maximum {self.maximum}")
        return self

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        kind = "an integer" if self.type == "integer" else "a number"
        return f"{kind} from {self.minimum:g} to {self.maximum:g} {self.unit}".rstrip()

    def read(self, value: object) -> float | RiskProblem:
        """Turn what was given into the number that is rated (NaN for the level "not known")."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return (
                math.nan if self.missing == "level" else RiskProblem(self.name, "missing", None, self.allowed)
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            return RiskProblem(self.name, "type", value, self.allowed)
        number = float(value)
        if self.type == "integer" and not number.is_integer():
            return RiskProblem(self.name, "type", value, self.allowed)
        if self.minimum <= number <= self.maximum:
            return number
        if self.outside == "nearest" and math.isfinite(number):
            return min(max(number, self.minimum), self.maximum)
        return RiskProblem(self.name, "below" if number < self.minimum else "above", value, self.allowed)


class CategoryFactor(FactorBase):
    """A rating factor that is one of a list of levels.

    Attributes
    ----------
    levels
        Levels by code; the order is the order in tables.
    missing, unknown
        `refuse`, or the name of the level that stands for "not given" and "not listed".
    """

    type: Literal["category"]
    levels: Annotated[tuple[str, ...], Field(min_length=2)]
    missing: str = REFUSE
    unknown: str = REFUSE

    @model_validator(mode="after")
    def _consistent(self) -> CategoryFactor:
        if len(set(self.levels)) != len(self.levels):
            raise ValueError("levels are repeated")
        for key in ("missing", "unknown"):
            level = getattr(self, key)
            if level != REFUSE and level not in self.levels:
                raise ValueError(f"{key} = {level!r} is neither 'refuse' nor one of the levels")
        return self

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        return "one of " + ", ".join(self.levels)

    def read(self, value: object) -> str | RiskProblem:
        """Turn what was given into the level that is rated."""
        if value is None:
            return (
                RiskProblem(self.name, "missing", None, self.allowed)
                if self.missing == REFUSE
                else self.missing
            )
        level = value if isinstance(value, str) else str(value)
        if level in self.levels:
            return level
        if self.unknown != REFUSE:
            return self.unknown
        return RiskProblem(self.name, "level", value, self.allowed, nearest(level, self.levels))


Factor = Annotated[NumberFactor | CategoryFactor, Field(discriminator="type")]


def read_risk(
    factors: Sequence[NumberFactor | CategoryFactor], given: Mapping[str, object]
) -> dict[str, FactorValue]:
    """Check a risk against the factors of a product.

    Parameters
    ----------
    factors
        Rating factors of the product.
    given
        What the channel or the table says, by factor name.

    Returns
    -------
    dict
        Every factor with the value that is rated.

    Raises
    ------
    RiskError
        With one problem per field: missing, of the wrong type, out of bounds, an unknown level, or a field
        that the product does not have.
    """
    names = [factor.name for factor in factors]
    problems = [
        RiskProblem(name, "unknown", given[name], "only " + ", ".join(names), nearest(name, names))
        for name in given
        if name not in names
    ]
    risk: dict[str, FactorValue] = {}
    for factor in factors:
        value = factor.read(given.get(factor.name))
        if isinstance(value, RiskProblem):
            problems.append(value)
        else:
            risk[factor.name] = value
    if problems:
        raise RiskError(problems)
    return risk
