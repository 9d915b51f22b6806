r"""What a change of price is due to: model factors and plan steps, in minor units that add up exactly.

Two causes move a price P(model, plan): another model and another plan. What the model does to a step of the
ladder is its Shapley value, the mean of its effect when it comes first and when it comes last, half units to
even; the plan is due the rest of the step's change.

The risk premium b u(r) + l has the benefit b, the load l and the raw score :math:`r = a + \sum_i c_i`, the
sum of the base level and the exact contributions of the inputs. Its change is split along the straight line
between the two models (Aumann and Shapley 1974, Values of Non-Atomic Games):

.. math:: \Delta (b u) = \bar b \frac{\Delta u}{\Delta r} (\Delta a + \sum_i \Delta c_i) + \bar u \Delta b,

with means of old and new under the bars. For u = exp the quotient is the logarithmic mean of both. It does
not depend on an order of the inputs, and an input that both models read alike is due nothing. Fractions of a
minor unit go to the parts with the largest remainders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.links import respond
from models.tables import TableModel
from pricing.integers import divide_half_even

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.links import Link
    from models.risk_model import RiskModel

    Array = NDArray[np.float64]
    Minor = NDArray[np.int64]

BASE, BENEFIT, LOAD = "base level", "benefit", "large-loss load"
# Below this change of the raw score the slope of the response is its derivative (error of the square).
STRAIGHT = 1e-6


@dataclass(frozen=True, eq=False)
class Premiums:
    """Raw scores of one model and what they are made of.

    Attributes
    ----------
    link
        `log` or `logit`.
    raw
        Sum of the components' raw scores, shape (n,).
    parts
        Input -> its contribution to `raw`, shape (n,); the base level is one of them.
    benefit, load
        Of the model, minor units.
    """

    link: Link
    raw: Array
    parts: dict[str, Array]
    benefit: float
    load: float


def has_exact_reasons(model: RiskModel) -> bool:
    """Whether every component is a sum of tables, so that contributions are look-ups."""
    return all(isinstance(scorer, TableModel) for scorer in model.components.values())


def premiums(model: RiskModel, values: Array) -> Premiums:
    """Score encoded risks, shape (n, inputs), and split the scores by input."""
    parts = dict(zip(model.inputs, model.contributions(values).T, strict=True))
    scorers = list(model.components.values())
    base = float(sum(scorer.intercept for scorer in scorers))
    parts[BASE] = np.full(len(values), base)
    raw = np.sum(list(parts.values()), axis=0)
    return Premiums(scorers[0].link, raw, parts, model.benefit_minor, model.load_minor)


def split_premium(old: Premiums, new: Premiums) -> dict[str, Array]:
    """Split the change of the risk premium by input, base level, benefit and load.

    Parameters
    ----------
    old, new
        The same risks under both models.

    Returns
    -------
    dict
        Cause -> its part, minor units, shape (n,); the parts add up to the change but for rounding of floats.

    Raises
    ------
    ValueError
        If the links differ: then no straight line joins the models (see `comparable`).
    """
    if old.link != new.link:
        raise ValueError(f"links differ: {old.link}, {new.link}")
    before, after = respond(old.raw, old.link), respond(new.raw, new.link)
    slope = _slope(old.raw, new.raw, before, after, old.link) * (old.benefit + new.benefit) / 2
    zero = np.zeros(len(old.raw))
    split = {
        name: slope * (new.parts.get(name, zero) - old.parts.get(name, zero))
        for name in dict.fromkeys([*old.parts, *new.parts])
    }
    split[BENEFIT] = (before + after) / 2 * (new.benefit - old.benefit)
    split[LOAD] = np.full(len(zero), new.load - old.load)
    return split


def comparable(old: RiskModel, new: RiskModel) -> bool:
    """Whether the change from one model to the other can be split by input."""
    links = {scorer.link for model in (old, new) for scorer in model.components.values()}
    return len(links) == 1 and has_exact_reasons(old) and has_exact_reasons(new)


def _slope(old: Array, new: Array, before: Array, after: Array, link: Link) -> Array:
    moved = new - old
    near = np.abs(moved) < STRAIGHT
    middle = respond((old + new) / 2, link)
    derivative = middle if link == "log" else middle * (1.0 - middle)
    return np.where(near, derivative, (after - before) / np.where(near, 1.0, moved))


def apportion(parts: Array, totals: Minor) -> Minor:
    """Round parts to whole units that add up to given totals.

    Every part is rounded down; the units that are missing go to the largest remainders, the first of equal
    ones first.

    Parameters
    ----------
    parts
        Shape (n, k), k at least 1; their sums are near the totals.
    totals
        Shape (n,).

    Returns
    -------
    ndarray
        int64, shape (n, k); row sums are the totals.
    """
    low = np.floor(parts)
    out = low.astype(np.int64)
    missing = totals - out.sum(axis=1)
    every, rest = np.divmod(missing, parts.shape[1])
    order = np.argsort(low - parts, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(parts.shape[1]), parts.shape), axis=1)
    return np.asarray(out + every[:, None] + (rank < rest[:, None]))


@dataclass(frozen=True, eq=False)
class Steps:
    """Ladders of some risks.

    Attributes
    ----------
    amounts
        Step -> what it adds, minor units, shape (n,).
    priced
        Whether there is a price, shape (n,).
    """

    amounts: dict[str, Minor]
    priced: NDArray[np.bool_]


def split_steps(
    old: Steps, new: Steps, model_first: Steps, plan_first: Steps, risk: str
) -> tuple[dict[str, Minor], dict[str, Minor]]:
    """Split the change of every step between model and plan.

    Parameters
    ----------
    old, new
        Ladders of risks that have a price both ways.
    model_first, plan_first
        The new model under the old plan, and the old model under the new plan. Where one of them has no price
        the other alone is the way from old to new; where neither has, the model is due the change of the risk
        premium, the plan that of all other steps.
    risk
        Name of the step of the risk premium.

    Returns
    -------
    tuple of dict
        Step -> what it changes by through the model, through the plan; they add up to the change of the step.
    """
    ways = model_first.priced.astype(np.int64) + plan_first.priced
    zero = np.zeros(len(ways), dtype=np.int64)
    by_model, by_plan = {}, {}
    for name in dict.fromkeys([*old.amounts, *new.amounts]):
        before, after = old.amounts.get(name, zero), new.amounts.get(name, zero)
        first = np.where(model_first.priced, model_first.amounts.get(name, zero) - before, 0)
        last = np.where(plan_first.priced, after - plan_first.amounts.get(name, zero), 0)
        neither = after - before if name == risk else zero
        found = np.where(
            ways == 2, divide_half_even(first + last, 2), np.where(ways == 1, first + last, neither)
        )
        by_model[name], by_plan[name] = found, after - before - found
    return by_model, by_plan
