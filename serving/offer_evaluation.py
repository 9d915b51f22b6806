"""What the log of offers says: the value of rankings, and how a running offer test stands."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from data.store import connect
from models.errors import OfferTestError
from models.recommend import OfferRules, PropensityModel, PurchaseRates, order_offers
from models.recommend.evaluation import LoggedOffers, evaluate, everything_random
from models.recommend.months import customer_months
from models.recommend.off_policy import Target
from pricing.experiments import CellTotals, ConfidenceSequence, sample_ratio
from pricing.experiments.offer_test import MISMATCH, POPULARITY, RANKER
from serving.compose import load_services
from serving.offer_tests import open_offer_tests
from serving.price_test_jobs import earned
from serving.records import open_sync_records
from serving.showing import read_exposures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from features.spec import FeatureSpec
    from models.offer_test_log import OfferTestState
    from models.recommend.evaluation import Evaluation
    from models.recommend.showing import Exposure
    from models.recommend.task import Rows
    from pricing.experiments import OfferTest
    from pricing.product import Product
    from serving.settings import Settings

SYSTEM = "stop rule"
BOUGHT = """
    SELECT customer_id, product, channel, quoted_at, technical_minor, price_minor, {exposure} AS exposure_id
    FROM quotes WHERE accepted AND quoted_at < $until ORDER BY quoted_at, quote_id
"""


def accepted_quotes(settings: Settings, until: datetime) -> pd.DataFrame:
    """Give the accepted quotes of the lake before a moment, with `margin` in minor units.

    Margin is what a sale earns as in price tests: price less tax, variable expense and commission, less the
    cost on which the price rests.
    """
    with connect(settings.lake) as con:
        known = {row[0] for row in con.execute("DESCRIBE quotes").fetchall()}
        exposure = "exposure_id" if "exposure_id" in known else "CAST(NULL AS VARCHAR)"
        frame = con.execute(BOUGHT.format(exposure=exposure), {"until": until}).df()
    margin = pd.Series(0.0, index=frame.index)
    for code, rows in frame.groupby("product"):
        margin[rows.index] = earned(settings, str(code), rows)
    return frame.assign(margin=margin)


def evaluate_offers(
    settings: Settings, spec: FeatureSpec, until: datetime, candidate: Path | None = None
) -> Evaluation:
    """Value the ranker in service, popularity, a random order and a candidate on the log of offers.

    Parameters
    ----------
    settings, spec
        Where, and feature definitions.
    until
        Exposures and quotes before it count.
    candidate
        Propensities that have not served; what they would have shown is worked out from what the lake knew at
        each exposure.

    Raises
    ------
    RecommendationError
        If no exposure can be learned from.
    """
    with closing(open_sync_records(settings)) as records:
        exposures = [one for one in read_exposures(records) if one.at < until]
    services, _ = load_services(settings, spec, until.date())
    products = [services[code].product for code in sorted(services)]
    if candidate is not None:
        model = PropensityModel.load(candidate, spec)
        exposures = _known(settings, exposures)
    offers = LoggedOffers.of(exposures)
    rates = PurchaseRates.load(settings.rates) if settings.rates.is_file() else None
    targets = {
        "ranker": Target(offers.ranker()),
        "popularity": Target(offers.orders(popular_lists(offers, products, rates))),
        "random": everything_random(offers),
    }
    if candidate is not None:
        targets["candidate"] = Target(candidate_order(settings, spec, offers, products, model))
    return evaluate(offers, offers.rewards(accepted_quotes(settings, until)), targets)


def popular_lists(
    offers: LoggedOffers, products: Sequence[Product], rates: PurchaseRates | None
) -> list[list[str]]:
    """Give what popularity would have shown at each exposure: the best of each need first."""
    need = {product.code: product.offer.need for product in products}
    ranked = sorted(offers.products, key=lambda code: (-(rates.overall(code) if rates else 0.0), code))
    found = []
    for one in offers.exposures:
        first: dict[str, str] = {}
        for code in ranked:
            if one.chances and code in one.chances.eligible:
                first.setdefault(need.get(code, code), code)
        rest = [c for c in ranked if one.chances and c in one.chances.eligible and c not in first.values()]
        found.append([*first.values(), *rest])
    return found


def candidate_order(
    settings: Settings,
    spec: FeatureSpec,
    offers: LoggedOffers,
    products: Sequence[Product],
    model: PropensityModel,
) -> Rows:
    """Give what propensities would have shown at each exposure, shape (n, k)."""
    labels = pa.table(
        {
            "row_id": pa.array(range(len(offers.exposures)), pa.int64()),
            "customer_id": pa.array(offers.log.customer, pa.int64()),
            "as_of": pa.array([one.at for one in offers.exposures], pa.timestamp("us")),
        }
    )
    with connect(settings.lake) as con:
        rows = customer_months(con, products, spec, labels)
    codes = [product.code for product in products]
    at = [offers.products.index(code) if code in offers.products else -1 for code in codes]
    open_ = np.where(np.array(at) >= 0, offers.log.eligible[:, at], False)
    k = offers.log.shown.shape[1]
    best = order_offers(model.scores(rows.values, codes), open_, OfferRules.of(model, products), k)
    found = np.full((len(best), k), -1, np.intp)
    found[:, : best.shape[1]] = np.where(best >= 0, np.array(at)[best], -1)
    return np.where(np.arange(k) < offers.log.places[:, None], found, -1)


def _known(settings: Settings, exposures: Sequence[Exposure]) -> list[Exposure]:
    """Leave out customers of whom the lake knows nothing: no candidate can rank for them."""
    with connect(settings.lake) as con:
        known = set(con.execute("SELECT customer_id FROM customers").df()["customer_id"])
    return [one for one in exposures if one.customer_id is None or one.customer_id in known]


@dataclass(frozen=True, eq=False)
class WatchedOffers:
    """An offer test as it stands.

    Attributes
    ----------
    test, state
        File and log.
    arms
        One line an arm: `share`, `entered`, `judged` (whose horizon has passed), `mean` of the measure.
    differences
        One line a pair of arms: `difference`, `low`, `high` of the interval that holds at all moments.
    ratio
        p-value of the sizes of the arms under their shares.
    warnings
        Why the verdict is not to be relied on.
    reasons
        Why it must stop; empty while it may run on.
    """

    test: OfferTest
    state: OfferTestState
    arms: pd.DataFrame
    differences: pd.DataFrame
    ratio: float
    warnings: tuple[str, ...]
    reasons: tuple[str, ...]


def watch_offers(settings: Settings, name: str, at: datetime, *, carry_out: bool = True) -> WatchedOffers:
    """Look at an offer test day by day, and stop it where its rule says so.

    Parameters
    ----------
    settings, name
        Where, and which.
    at
        Time, UTC without zone; nothing later is looked at.
    carry_out
        Whether a stop rule that is met stops the test.

    Raises
    ------
    OfferTestError
        If it is a draft, or exposures have arms that its file does not give.
    """
    tests = open_offer_tests(settings)
    test = tests.find(name)
    state = tests.log.state(test)
    if state.state == "draft":
        raise OfferTestError(f"offer test {name} is a draft. Hint: premia offers test approve {name}")
    with closing(open_sync_records(settings)) as records:
        own = [one for one in read_exposures(records) if one.test == name and not one.sandbox and one.at < at]
    entered = enter(test, own)
    ready = judge(test, entered, accepted_quotes(settings, at), at)
    totals, sequences = look(test, ready)
    counts = np.bincount(entered["arm"].to_numpy(dtype=np.int64), minlength=len(test.shares))
    ratio = sample_ratio(counts.tolist(), list(test.shares.values()))
    warnings = []
    if ratio < MISMATCH:
        sizes = ", ".join(f"{arm} {count:,}" for arm, count in zip(test.shares, counts, strict=True))
        warnings.append(f"sample ratio mismatch (p = {ratio:.2g}): {sizes}. Find out what loses customers")
    reasons = stops(test, totals, sequences)
    if reasons and carry_out and state.state == "approved":
        state = tests.log.stop(test, reasons, by=SYSTEM, at=at)
    arms = pd.DataFrame(
        {
            "share": list(test.shares.values()),
            "entered": counts,
            "judged": [one.quotes for one in totals],
            "mean": [one.mean if one.quotes else np.nan for one in totals],
        },
        index=pd.Index(test.shares, name="arm"),
    )
    return WatchedOffers(
        test, state, arms, _differences(totals, sequences, test), ratio, tuple(warnings), reasons
    )


def enter(test: OfferTest, exposures: Sequence[Exposure]) -> pd.DataFrame:
    """Give each customer's first exposure in a test: `customer_id`, `at`, place of the `arm`.

    Raises
    ------
    OfferTestError
        If an exposure has another arm, or another file, than the test gives.
    """
    named = [one for one in exposures if one.customer_id is not None]
    customers = np.array([one.customer_id for one in named], dtype=np.int64)
    arms = test.arms_of(customers) if len(named) else np.empty(0, np.int64)
    names = list(test.shares)
    wrong = sum(
        one.arm != names[arm] or one.test_hash != test.hash for one, arm in zip(named, arms, strict=True)
    )
    if wrong:
        raise OfferTestError(f"{wrong} exposures of {test.name} have another arm, or file, than it gives")
    frame = pd.DataFrame({"customer_id": customers, "at": [one.at for one in named], "arm": arms})
    frame["at"] = pd.to_datetime(frame["at"])
    return frame.sort_values("at", kind="stable").drop_duplicates("customer_id")


def judge(test: OfferTest, entered: pd.DataFrame, bought: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """Give the customers whose horizon has passed, with `day` on which it did and the `measure`."""
    horizon = timedelta(days=test.horizon_days)
    ready = entered[entered["at"] + horizon <= at]
    both = ready.merge(bought[["customer_id", "quoted_at", "margin"]], on="customer_id")
    both = both[(both["quoted_at"] >= both["at"]) & (both["quoted_at"] < both["at"] + horizon)]
    if test.stop.measure == "bought":
        measure = pd.Series(1.0, index=both["customer_id"].unique())
    else:
        measure = both.groupby("customer_id")["margin"].sum()
    found = measure.reindex(ready["customer_id"]).fillna(0.0).to_numpy()
    return ready.assign(day=(ready["at"] + horizon).dt.date, measure=found)


def look(
    test: OfferTest, ready: pd.DataFrame
) -> tuple[list[CellTotals], dict[tuple[int, int], ConfidenceSequence]]:
    """Add up the arms day by day, with the interval of each pair of arms, among which alpha is divided."""
    size, planned = len(test.shares), [share * test.stop.customers for share in test.shares.values()]
    alpha = test.stop.alpha / test.comparisons
    sequences = {
        (one, other): ConfidenceSequence.planned(alpha, test.stop.spread, planned[one], planned[other])
        for one in range(size)
        for other in range(one + 1, size)
    }
    totals = [CellTotals()] * size
    for _, rows in ready.groupby("day", sort=True):
        arm, value = rows["arm"].to_numpy(dtype=np.int64), rows["measure"].to_numpy()
        counts = np.bincount(arm, minlength=size)
        sums, squares = np.bincount(arm, value, size), np.bincount(arm, value**2, size)
        totals = [
            known + CellTotals(int(n), float(s), float(q))
            for known, n, s, q in zip(totals, counts, sums, squares, strict=True)
        ]
        sequences = {pair: one.update(totals[pair[0]], totals[pair[1]]) for pair, one in sequences.items()}
    return totals, sequences


def stops(
    test: OfferTest, totals: Sequence[CellTotals], sequences: dict[tuple[int, int], ConfidenceSequence]
) -> tuple[str, ...]:
    """Say why a test must stop now; empty while it may run on."""
    names = list(test.shares)
    main = sequences[names.index(RANKER), names.index(POPULARITY)]
    reasons = []
    if main.contradicts:
        reasons.append("the difference of ranker to popularity is not the same all the time")
    elif main.upper < -test.stop.largest_loss:
        reasons.append(f"the ranker loses at least {-main.upper:.4g} of {test.stop.measure}")
    if sum(one.quotes for one in totals) >= test.stop.customers:
        reasons.append(f"the planned {test.stop.customers} customers are reached")
    return tuple(reasons)


def _differences(
    totals: Sequence[CellTotals], sequences: dict[tuple[int, int], ConfidenceSequence], test: OfferTest
) -> pd.DataFrame:
    names = list(test.shares)
    lines = {
        f"{names[one]} - {names[other]}": {
            "difference": totals[one].mean - totals[other].mean
            if totals[one].quotes and totals[other].quotes
            else np.nan,
            "low": found.lower,
            "high": found.upper,
        }
        for (one, other), found in sequences.items()
    }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("arms")
