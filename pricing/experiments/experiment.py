"""A price test is data: one TOML file declares its cells, bounds and stop rule before the first quote."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pricing.definitions import parse_definition
from pricing.errors import DefinitionError
from pricing.factors import Frozen, Name
from pricing.plan import MILLION, Share, millionths

if TYPE_CHECKING:
    from pathlib import Path

    from pricing.plan import RatingPlan

Multiplier = Annotated[str, Field(pattern=r"^[0-2]\.\d{1,6}$")]
# Slope and curvature of demand are three unknowns; the contract of quotes holds a cell in eight bits.
FEWEST_CELLS, MOST_CELLS = 3, 127


class Cell(Frozen):
    """One price of a test.

    Attributes
    ----------
    multiplier
        Of the price that the plan gives.
    share
        Of the units.
    """

    multiplier: Multiplier
    share: Share


class MultiplierCorridor(Frozen):
    """Lowest and highest multiplier that is filed."""

    lowest: Multiplier
    highest: Multiplier


class StopRule(Frozen):
    """When a running test ends early.

    Attributes
    ----------
    measure
        What is compared with the holdout: `conversion`, or `profit_per_quote` in minor units.
    alpha
        Probability, over all cells and the whole run, of a false statement.
    largest_loss
        How far a cell may fall short of the holdout; a cell that is proven to lose more stops the test.
    spread
        Standard deviation of the measure over quotes as expected before the start; it sets where the
        intervals are tightest, not whether they hold.
    quotes
        Planned number of quotes, after which the test has ended.
    """

    measure: Literal["conversion", "profit_per_quote"]
    alpha: Annotated[float, Field(gt=0.0, le=0.2)]
    largest_loss: Annotated[float, Field(gt=0.0)]
    spread: Annotated[float, Field(gt=0.0)]
    quotes: Annotated[int, Field(ge=1)]


class PowerTarget(Frozen):
    """What the test must be able to tell, checked before it starts.

    Attributes
    ----------
    conversion, slope
        Expected at the plan's price, and expected change of the logit per unit of log price.
    slope_error
        Largest standard error of the slope, after the planned quotes, with which the test is worth its cost.
    """

    conversion: Annotated[float, Field(gt=0.0, lt=1.0)]
    slope: Annotated[float, Field(ge=-50.0, lt=0.0)]
    slope_error: Annotated[float, Field(gt=0.0)]


class Experiment(Frozen):
    """A price test of one product.

    Attributes
    ----------
    name, version
        Identity; the name is the key of the assignment, so that a new name means new cells.
    product, plan
        Product and rating plan whose prices are multiplied.
    filing, author
        Number under which the cells are filed, and who declared them; somebody else approves.
    unit
        Who keeps a cell for the whole test.
    start, end
        First day and first day after (UTC).
    premium_effect_cap
        How far the mean multiplier over all units may lie from 1.
    least_share
        Smallest share of a cell, also in later versions of the shares.
    corridor, power, stop, cells
        Filed multipliers, power, stop rule, prices; the cell of multiplier 1 is the holdout.
    """

    name: Name
    version: Annotated[int, Field(ge=1)]
    product: Name
    plan: str
    filing: Annotated[str, Field(min_length=1)]
    author: Annotated[str, Field(min_length=1)]
    unit: Literal["customer"]
    start: date
    end: date
    premium_effect_cap: Share
    least_share: Share
    corridor: MultiplierCorridor
    power: PowerTarget
    stop: StopRule
    cells: Annotated[tuple[Cell, ...], Field(min_length=FEWEST_CELLS, max_length=MOST_CELLS)]

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        problems = [*_time_problems(self), *_cell_problems(self), *_share_problems(self)]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @cached_property
    def multipliers(self) -> tuple[int, ...]:
        """Multiplier of each cell, millionths."""
        return tuple(millionths(cell.multiplier) for cell in self.cells)

    @cached_property
    def shares(self) -> tuple[int, ...]:
        """Share of each cell, millionths."""
        return tuple(millionths(cell.share) for cell in self.cells)

    @cached_property
    def holdout(self) -> int:
        """Place of the cell that pays the plan's price."""
        return self.multipliers.index(MILLION)

    @cached_property
    def hash(self) -> str:
        """Sha256 over the canonical content of the file, for assignments."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def runs_on(self, day: date) -> bool:
        """Say whether the test runs on a day."""
        return self.start <= day < self.end

    def check_plan(self, plan: RatingPlan) -> None:
        """Refuse a rating plan that is not the test's, or not in force from its start to its end.

        Raises
        ------
        DefinitionError
            Naming every fault.
        """
        problems = []
        if (plan.code, plan.product) != (self.plan, self.product):
            problems.append(
                f"the test is of plan {self.plan!r}, product {self.product!r}; "
                f"found plan {plan.code!r}, product {plan.product!r}"
            )
        until = plan.effective_to or date.max
        if not (plan.effective_from <= self.start and self.end <= until):
            problems.append(
                f"the test runs from {self.start} to {self.end}, the plan is in force from "
                f"{plan.effective_from} until {plan.effective_to or 'further notice'}"
            )
        if problems:
            raise DefinitionError(self.name, problems)


def mean_effect(multipliers: tuple[int, ...], shares: tuple[int, ...]) -> Decimal:
    """Give how far the mean multiplier lies from 1; both in millionths."""
    moved = sum(share * (one - MILLION) for share, one in zip(shares, multipliers, strict=True))
    return Decimal(moved) / (MILLION * MILLION)


def _time_problems(test: Experiment) -> list[str]:
    return [] if test.start < test.end else [f"end {test.end} must come after start {test.start}"]


def _cell_problems(test: Experiment) -> list[str]:
    lowest, highest = millionths(test.corridor.lowest), millionths(test.corridor.highest)
    problems = []
    if not lowest < highest:
        problems.append(
            f"corridor.lowest {test.corridor.lowest} is not below highest {test.corridor.highest}"
        )
    problems += [
        f"cells.{i}: multiplier {cell.multiplier} lies outside the corridor "
        f"{test.corridor.lowest} to {test.corridor.highest}"
        for i, cell in enumerate(test.cells)
        if not lowest <= test.multipliers[i] <= highest
    ]
    repeated = sorted(one for one, times in Counter(test.multipliers).items() if times > 1)
    problems += [f"multiplier {Decimal(one) / MILLION} stands in more than one cell" for one in repeated]
    if MILLION not in test.multipliers:
        problems.append("no holdout: one cell must have multiplier 1.00")
    return problems


def _share_problems(test: Experiment) -> list[str]:
    problems = []
    least = millionths(test.least_share)
    if sum(test.shares) != MILLION:
        problems.append(f"shares of the cells add up to {Decimal(sum(test.shares)) / MILLION}, not to 1")
    if least == 0:
        problems.append("least_share must be above 0: a price that nobody can get teaches nothing")
    problems += [
        f"cells.{i}: share {cell.share} is below least_share {test.least_share}"
        for i, cell in enumerate(test.cells)
        if test.shares[i] < least
    ]
    effect = mean_effect(test.multipliers, test.shares)
    if abs(effect) > Decimal(test.premium_effect_cap):
        problems.append(f"the mean premium moves by {effect:+f}, more than {test.premium_effect_cap}")
    return problems


def parse_experiment(text: str, source: str) -> Experiment:
    """Read a price test from the text of its file (see `parse_definition` for what is refused)."""
    return parse_definition(Experiment, text, source)


def read_experiments(folder: Path) -> dict[str, Experiment]:
    """Read all price tests of a folder, by name.

    Raises
    ------
    DefinitionError
        If a file is faulty, two tests have one name, or two tests of one product run at the same time.
    """
    found: dict[str, Experiment] = {}
    origin: dict[str, str] = {}
    for path in sorted(folder.glob("*.toml")):
        test = parse_experiment(path.read_text(encoding="utf-8"), path.name)
        if test.name in found:
            raise DefinitionError(path.name, [f"name {test.name!r} is taken by {origin[test.name]}"])
        problems = [
            f"runs at the same time as {other.name!r} on product {other.product!r}; allowed: one"
            for other in found.values()
            if other.product == test.product and other.start < test.end and test.start < other.end
        ]
        if problems:
            raise DefinitionError(path.name, problems)
        found[test.name], origin[test.name] = test, path.name
    return found
