"""What is done with challengers and shadows: begun, stopped, compared with the champion."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.errors import RegistryError
from models.registry import Registry
from pricing.experiments import CellTotals, ConfidenceSequence
from pricing.plan import MILLION
from serving.challenge import CHALLENGER, CHAMPION
from serving.clock import wall_clock
from serving.records import open_sync_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.challenge_log import Challenge
    from serving.records import SyncRecords
    from serving.settings import Settings

ALPHA = 0.05
# The interval is tightest after so many customers in all.
PLANNED = 10_000


@dataclass(frozen=True, eq=False)
class ChallengeStatus:
    """How the arms of a challenge compare.

    Attributes
    ----------
    challenge
        The last one of the product, running or ended.
    frame
        One line an arm: `arm`, `quotes`, `quoted` (with a price), means of `price` and `risk_premium` (minor
        units). Of a shadow, whose prices nobody saw, what it would have asked, and how often it `failed`; of
        the arms of a challenger `customers` who saw a price, and the share of them that `accepted` one.
    difference
        Of the share accepted, challenger less champion.
    interval
        Of that difference, true at every moment at once with 95 %; infinite with too few customers.
    """

    challenge: Challenge
    frame: pd.DataFrame
    difference: float = float("nan")
    interval: tuple[float, float] = (float("-inf"), float("inf"))


def begin_challenge(
    settings: Settings, product: str, version: int, share: float | None, by: str
) -> Challenge:
    """Let a version be tried (see `Registry.challenge`); None for the share is a shadow."""
    at = wall_clock(settings.clock)()
    return Registry(settings.registry).challenge(product, version, share=share, by=by, at=at)


def stop_challenge(settings: Settings, product: str, by: str) -> Challenge:
    """End what is tried."""
    at = wall_clock(settings.clock)()
    return Registry(settings.registry).challenges.stop(product, by=by, at=at)


def challenge_status(settings: Settings, product: str) -> ChallengeStatus:
    """Compare the arms of the last challenge of a product by the quotes that are stored.

    Raises
    ------
    RegistryError
        If no version was ever tried.
    """
    periods = Registry(settings.registry).challenges.periods(product)
    if not periods:
        raise RegistryError(f"no version of {product} was ever challenger or shadow")
    challenge = periods[-1]
    with closing(open_sync_records(settings)) as records:
        quotes = _quotes(records, challenge)
    if challenge.kind == CHALLENGER:
        return _compare_arms(challenge, quotes)
    lines = [
        _line(CHAMPION, quotes, quotes["price"], quotes["premium"]),
        _line("shadow", quotes, quotes["shadow_price"], quotes["shadow_premium"])
        | {"failed": int(quotes["failed"].sum())},
    ]
    return ChallengeStatus(challenge, pd.DataFrame(lines).fillna({"failed": 0}))


def _quotes(records: SyncRecords, challenge: Challenge) -> pd.DataFrame:
    """Give the quotes in which the version was tried in this way, oldest first."""
    rows = []
    for quote in records.of_product(challenge.product):
        body = quote.body
        tried = body.get("challenge", {})
        named = (tried.get("kind"), tried.get("rival")) == (challenge.kind, challenge.version)
        if not named or quote.sandbox:
            continue
        shadow = tried.get("shadow") or {}
        premium = body.get("risk_premium_minor")
        rows.append(
            {
                "arm": tried["arm"],
                "customer": quote.customer_id,
                "price": np.nan if quote.price_minor is None else float(quote.price_minor),
                "premium": np.nan if premium is None else float(premium),
                "shadow_price": float(shadow.get("price_minor", np.nan)),
                "shadow_premium": float(shadow.get("risk_premium_micros", np.nan)) / MILLION,
                "failed": "failed" in shadow,
                "accepted": any(step.state == "accepted" for step in records.steps(quote.quote_id)),
            }
        )
    columns = ["arm", "customer", "price", "premium", "shadow_price", "shadow_premium", "failed", "accepted"]
    return pd.DataFrame(rows, columns=columns)


def _line(arm: str, quotes: pd.DataFrame, price: pd.Series, premium: pd.Series) -> dict[str, float | str]:
    return {
        "arm": arm,
        "quotes": len(quotes),
        "quoted": int(price.notna().sum()),
        "price": float(price.mean()),
        "risk_premium": float(premium.mean()),
    }


def _compare_arms(challenge: Challenge, quotes: pd.DataFrame) -> ChallengeStatus:
    lines, totals = [], {}
    for arm in (CHAMPION, CHALLENGER):
        own = quotes[quotes["arm"] == arm]
        # Only customers have an arm by hash, and only those who saw a price could accept one.
        seen = own[own["price"].notna() & own["customer"].notna()]
        bought = seen.groupby("customer", sort=False)["accepted"].max().to_numpy(dtype=np.float64)
        totals[arm] = CellTotals(len(bought), float(bought.sum()), float((bought**2).sum()))
        share = float(bought.mean()) if len(bought) else float("nan")
        lines.append(
            _line(arm, own, own["price"], own["premium"]) | {"customers": len(bought), "accepted": share}
        )
    share = challenge.share / MILLION
    sequence = ConfidenceSequence.planned(ALPHA, 0.5, PLANNED * share, PLANNED * (1.0 - share)).update(
        totals[CHALLENGER], totals[CHAMPION]
    )
    difference = _difference([totals[arm] for arm in (CHAMPION, CHALLENGER)])
    return ChallengeStatus(challenge, pd.DataFrame(lines), difference, (sequence.lower, sequence.upper))


def _difference(totals: Sequence[CellTotals]) -> float:
    champion, challenger = totals
    if not champion.quotes or not challenger.quotes:
        return float("nan")
    return challenger.mean - champion.mean
