"""Rankings valued on the log of offers: take-up and margin of an exposure, with intervals and warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm

from data.hashing import unit_share
from models.recommend.off_policy import (
    OfferLog,
    Target,
    doubly_robust,
    fit_reward_model,
    inverse_propensity,
    judge_weights,
    self_normalised,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.recommend.showing import Exposure
    from models.recommend.task import Array, Rows

MEASURES = ("take_up", "margin")
# Customers are split in so many folds, so that the reward model judges nobody whom it has seen.
FOLDS = 5
FEWEST_EFFECTIVE, LARGEST_WEIGHT, MOST_EXCESS = 200.0, 0.05, 4.0
Z = float(norm.ppf(0.975))


@dataclass(frozen=True, eq=False)
class LoggedOffers:
    """Exposures of the log that can be learned from.

    Attributes
    ----------
    exposures
        Those with known chances, of customers by name, not of the sandbox.
    products
        Codes, sorted.
    log
        The same as arrays, see `OfferLog`.
    left_out
        Exposures that were passed over, by why.
    """

    exposures: tuple[Exposure, ...]
    products: tuple[str, ...]
    log: OfferLog
    left_out: dict[str, int]

    @classmethod
    def of(cls, exposures: Sequence[Exposure]) -> LoggedOffers:
        """Take exposures as they were stored.

        Raises
        ------
        RecommendationError
            If none is left, or they cannot be (see `OfferLog`).
        """
        why = [_why_not(one) for one in exposures]
        kept = tuple(one for one, reason in zip(exposures, why, strict=True) if not reason)
        codes = sorted({code for one in kept if one.chances for code in one.chances.eligible})
        k = max((len(one.shown) for one in kept), default=0)
        k = max([k, *(len(codes) for one in kept if one.chances for _, _, codes in one.chances.lists)])
        at = {code: place for place, code in enumerate(codes)}
        shown, chance = np.full((len(kept), k), -1, np.intp), np.ones((len(kept), k))
        eligible = np.zeros((len(kept), len(codes)), bool)
        places = np.zeros(len(kept), np.intp)
        for row, one in enumerate(kept):
            assert one.chances is not None  # noqa: S101 - see `_why_not`
            eligible[row, [at[code] for code in one.chances.eligible]] = True
            places[row] = min(one.chances.places, k)
            for place, code in enumerate(one.shown):
                shown[row, place], chance[row, place] = at[code], one.chances.of(code, place)
        customer = np.array([one.customer_id or 0 for one in kept], np.int64)
        reasons = [reason for reason in why if reason]
        left_out = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
        return cls(kept, tuple(codes), OfferLog(customer, shown, chance, eligible, places), left_out)

    def orders(self, lists: Sequence[Sequence[str]]) -> Rows:
        """Give the products of a list for each exposure as positions, -1 for none, shape (n, k)."""
        at = {code: place for place, code in enumerate(self.products)}
        found = np.full(self.log.shown.shape, -1, np.intp)
        for row, codes in enumerate(lists):
            for place, code in enumerate(codes[: self.log.places[row]]):
                found[row, place] = at[code]
        return found

    def ranker(self) -> Rows:
        """Give what the ranker in service would have shown at each exposure."""
        named = [
            {name: codes for name, _, codes in one.chances.lists} for one in self.exposures if one.chances
        ]
        return self.orders([lists.get("ranker", ()) for lists in named])

    def logged(self, order: Rows) -> Array:
        """Give the chance with which the log would have shown the products of an order, shape (n, k)."""
        found = np.zeros(order.shape)
        for row, one in enumerate(self.exposures):
            for place, product in enumerate(order[row]):
                if product >= 0 and one.chances:
                    found[row, place] = one.chances.of(self.products[product], place)
        return found

    def rewards(self, bought: pd.DataFrame) -> dict[str, Array]:
        """Give what came of each offer, shape (n, k) a measure; margin in minor units.

        Parameters
        ----------
        bought
            Accepted quotes: `exposure_id`, `customer_id`, `product`, `margin`. A quote counts where its
            product was shown to its customer under that exposure, once.
        """
        row_of = {one.exposure_id: row for row, one in enumerate(self.exposures)}
        found = {measure: np.zeros(self.log.shown.shape) for measure in MEASURES}
        for one in bought.itertuples(index=False):
            row = row_of.get(str(one.exposure_id))
            if row is None or self.log.customer[row] != one.customer_id:
                continue
            shown = self.exposures[row].shown
            if one.product in shown and not found["take_up"][row, shown.index(str(one.product))]:
                place = shown.index(str(one.product))
                found["take_up"][row, place], found["margin"][row, place] = 1.0, float(str(one.margin))
        return found


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Values of rankings.

    Attributes
    ----------
    table
        `ranking`, `measure`, `estimator` (`IPS`, `SN`, `DR`), `value`, `low`, `high` of an exposure.
    weights
        By `ranking`: `effective` offers, `largest` share of a weight, `unsupported` offers, `excess`.
    exposures, customers
        How many were read.
    left_out
        Exposures that were passed over, by why.
    warnings
        Why figures are not to be relied on.
    """

    table: pd.DataFrame
    weights: pd.DataFrame
    exposures: int
    customers: int
    left_out: dict[str, int]
    warnings: tuple[str, ...]


def evaluate(offers: LoggedOffers, rewards: Mapping[str, Array], targets: Mapping[str, Target]) -> Evaluation:
    """Value rankings on the log of offers.

    Parameters
    ----------
    offers
        The log.
    rewards
        By measure, shape (n, k), see `LoggedOffers.rewards`.
    targets
        Rankings by name.
    """
    log = offers.log
    fold = (unit_share(log.customer, "folds of offers") * FOLDS).astype(np.intp)
    models = {measure: fit_reward_model(log, reward, fold) for measure, reward in rewards.items()}
    lines, weights, warnings = [], {}, []
    for name, target in targets.items():
        found = judge_weights(log, target, offers.logged(target.order))
        weights[name] = vars(found)
        if found.effective < FEWEST_EFFECTIVE:
            warnings.append(f"{name}: rests on {found.effective:,.0f} effective offers; more are needed")
        if found.largest > LARGEST_WEIGHT:
            warnings.append(f"{name}: one offer has {found.largest:.0%} of all weight")
        if found.unsupported > 0:
            warnings.append(f"{name}: {found.unsupported:.1%} of its offers could never have been shown")
        if abs(found.excess) > MOST_EXCESS:
            warnings.append(
                f"{name}: what was shown does not follow the logged chances: the sum of weights is off by "
                f"{found.excess:+.1f} standard errors"
            )
        for measure, reward in rewards.items():
            for estimator, value in (
                ("IPS", inverse_propensity(log, reward, target)),
                ("SN", self_normalised(log, reward, target)),
                ("DR", doubly_robust(log, reward, target, models[measure])),
            ):
                half = Z * value.error
                lines.append((name, measure, estimator, value.value, value.value - half, value.value + half))
    return Evaluation(
        pd.DataFrame(lines, columns=["ranking", "measure", "estimator", "value", "low", "high"]),
        pd.DataFrame.from_dict(weights, orient="index").rename_axis("ranking"),
        len(log.shown),
        len(np.unique(log.customer)),
        offers.left_out,
        tuple(warnings),
    )


def everything_random(offers: LoggedOffers) -> Target:
    """Give the ranking that shows the eligible products in random order."""
    return Target(np.full(offers.log.shown.shape, -1, np.intp), 1.0)


def _why_not(one: Exposure) -> str:
    if one.sandbox:
        return "sandbox"
    if one.chances is None or one.customer_id is None:
        return "opted out of profiling"
    return "" if one.chances.eligible else "nothing was eligible"
