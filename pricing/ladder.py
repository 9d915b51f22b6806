"""From risk premium to price: a ladder of named steps in minor units that adds up exactly.

Floats end here. The risk premium enters as millionths of a minor unit, and from then on everything is
integer: the running total after each step is exact to a millionth, a step is the difference of two running
totals rounded to minor units (so the steps sum to the price by construction), and the price itself is
rounded once, at the end. The same lines run on one Python int and on an int64 column, so that the quote
and the book of a batch job agree to the last fen.

    net   = (risk + fixed expense) / (1 - variable expense - commission - margin)
    price = round(max(net, minimum premium) x (1 + tax))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from pricing.errors import CorridorError, TechnicalPremiumError
from pricing.integers import ROUNDING, Integers, at_least, divide_half_even
from pricing.plan import MILLION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.plan import ChannelTerms, RatingPlan

StepName = Literal[
    "risk_premium",
    "fixed_expense",
    "variable_expense",
    "commission",
    "margin",
    "minimum_premium",
    "tax",
    "rounding",
]
STEP_NAMES: tuple[StepName, ...] = get_args(StepName)


@dataclass(frozen=True)
class Step:
    """One step of a price.

    Attributes
    ----------
    name
        Which step.
    minor
        What it adds, minor units (negative where it takes away).
    """

    name: StepName
    minor: int


@dataclass(frozen=True)
class Ladder:
    """A price and the steps that lead to it.

    Attributes
    ----------
    steps
        In the order in which they are applied; they sum to `price_minor`.
    price_minor
        What the customer pays, tax included, minor units.
    """

    steps: tuple[Step, ...]
    price_minor: int

    def amount(self, name: StepName) -> int:
        """Give what one step adds, minor units."""
        return next(step.minor for step in self.steps if step.name == name)


def _risk_micros(risk_premium_minor: float, terms: ChannelTerms) -> int:
    """Turn a model's risk premium into millionths of a minor unit, where floats end."""
    if not 0.0 < risk_premium_minor <= terms.largest_risk_minor:
        raise TechnicalPremiumError(
            f"risk premium of {risk_premium_minor!r} minor units cannot be priced; allowed: above 0 and at "
            f"most {terms.largest_risk_minor}. Hint: refer the risk to a person"
        )
    return round(risk_premium_minor * MILLION)


def _running_totals(risk: Integers, terms: ChannelTerms) -> list[Integers]:
    """Exact totals after each step but rounding, in millionths of a minor unit."""
    with_fixed = risk + terms.fixed_micros
    net = divide_half_even(with_fixed * MILLION, MILLION - terms.loadings)
    with_variable = with_fixed + divide_half_even(net * terms.variable, MILLION)
    with_commission = with_variable + divide_half_even(net * terms.commission, MILLION)
    floored = at_least(net, terms.minimum_micros)
    gross = floored + divide_half_even(floored * terms.tax, MILLION)
    return [risk, with_fixed, with_variable, with_commission, net, floored, gross]


def _steps_and_price(
    risk: Integers, plan: RatingPlan, terms: ChannelTerms
) -> tuple[list[Integers], Integers]:
    totals = _running_totals(risk, terms)
    rounded = [divide_half_even(total, MILLION) for total in totals]
    price = ROUNDING[plan.rounding.mode](totals[-1], terms.unit_micros) * terms.unit_minor
    rounded.append(price)
    steps = [rounded[0], *(after - before for before, after in zip(rounded, rounded[1:], strict=False))]
    return steps, price


def build_ladder(risk_premium_minor: float, plan: RatingPlan, channel: str) -> Ladder:
    """Price one risk.

    Parameters
    ----------
    risk_premium_minor
        Risk premium of the whole cover, minor units.
    plan
        Rating plan of the product.
    channel
        Sales channel, one of the plan's.

    Raises
    ------
    TechnicalPremiumError, UnknownChannelError
        If there is nothing to rest a price on.
    CorridorError
        If the price lies outside what is filed.
    """
    terms = plan.terms(channel)
    amounts, price = _steps_and_price(_risk_micros(risk_premium_minor, terms), plan, terms)
    if not terms.lowest_minor <= price <= terms.highest_minor:
        raise CorridorError(int(price), terms.lowest_minor, terms.highest_minor, plan.code)
    steps = tuple(Step(name, int(amount)) for name, amount in zip(STEP_NAMES, amounts, strict=True))
    return Ladder(steps, int(price))


@dataclass(frozen=True)
class LadderTable:
    """Ladders of many risks.

    Attributes
    ----------
    steps
        By step name, what it adds, minor units; shape (n,). Zero where the row is refused.
    price_minor
        Shape (n,); zero where the row is refused.
    refusal
        Shape (n,), `""` where there is a price, else `technical_premium` or `corridor`.
    """

    steps: dict[StepName, NDArray[np.int64]]
    price_minor: NDArray[np.int64]
    refusal: NDArray[np.object_]


def build_ladders(risk_premium_minor: NDArray[np.float64], plan: RatingPlan, channel: str) -> LadderTable:
    """Price many risks of one channel; the same arithmetic as `build_ladder`, a refused row keeps its reason.

    Parameters
    ----------
    risk_premium_minor
        Shape (n,), risk premiums of the whole cover, minor units.
    plan, channel
        As in `build_ladder`.
    """
    terms = plan.terms(channel)
    usable = (risk_premium_minor > 0.0) & (risk_premium_minor <= terms.largest_risk_minor)
    micros = np.rint(np.where(usable, risk_premium_minor, 1.0) * MILLION).astype(np.int64)
    amounts, price = _steps_and_price(micros, plan, terms)
    filed = (price >= terms.lowest_minor) & (price <= terms.highest_minor)
    priced = usable & filed
    refusal = np.where(priced, "", np.where(usable, "corridor", "technical_premium")).astype(object)
    columns = {
        name: np.where(priced, amount, 0).astype(np.int64)
        for name, amount in zip(STEP_NAMES, amounts, strict=True)
    }
    return LadderTable(columns, np.where(priced, price, 0).astype(np.int64), refusal)
