"""What is done with price tests: approved, watched, stopped, learned from, audited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from data.store import connect
from models.errors import PriceTestError
from pricing.experiments import CellTotals, Monitor, assign, next_shares
from pricing.plan import MILLION
from serving.compose import find_product, product_plan
from serving.price_tests import open_price_tests
from serving.records import open_sync_records

if TYPE_CHECKING:
    from datetime import datetime

    from models.price_test_log import PriceTestState
    from pricing.experiments import CellShares, Experiment
    from pricing.experiments.thompson import Method
    from pricing.plan import RatingPlan
    from serving.settings import Settings

SYSTEM = "stop rule"
OUTCOMES = """
    SELECT customer_id, quoted_at, channel, cell, technical_minor, price_minor, accepted FROM quotes
    WHERE experiment = $name AND product = $product AND quoted_at < $moment
    QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY quoted_at, quote_id) = 1
    ORDER BY quoted_at, customer_id
"""


@dataclass(frozen=True, eq=False)
class Watched:
    """A test as it stands.

    Attributes
    ----------
    test, state
        File and log.
    frame
        One line a cell: `multiplier`, `share`, `quotes`, `mean` of the measure, `difference` to the holdout,
        `low`, `high` of its interval that holds at all moments.
    monitor
        After the last day.
    reasons
        Why it must stop; empty while it may run on.
    """

    test: Experiment
    state: PriceTestState
    frame: pd.DataFrame
    monitor: Monitor
    reasons: tuple[str, ...]


def approve_test(settings: Settings, name: str, by: str, at: datetime) -> PriceTestState:
    """Let a test run (see `PriceTestLog.approve`)."""
    tests = open_price_tests(settings)
    test = tests.find(name)
    return tests.log.approve(test, plan_of(settings, test), by=by, at=at)


def stop_test(settings: Settings, name: str, reason: str, by: str, at: datetime) -> PriceTestState:
    """End a test (see `PriceTestLog.stop`)."""
    tests = open_price_tests(settings)
    return tests.log.stop(tests.find(name), [reason], by=by, at=at)


def plan_of(settings: Settings, test: Experiment) -> RatingPlan:
    """Read the plan whose prices a test multiplies."""
    return product_plan(find_product(settings, test.product), settings.plans, test.plan)


def outcomes(settings: Settings, test: Experiment, moment: datetime) -> pd.DataFrame:
    """Give the first quote of each customer in a test, with `sale` and `profit` in minor units.

    A sale earns price less tax, variable expense and commission, less the cost on which the technical price
    rests (that price less tax and loadings); profit is that of a quote, 0 where it was not bought.

    Raises
    ------
    PriceTestError
        If the lake holds a cell that the test does not have.
    """
    values = {"name": test.name, "product": test.product, "moment": moment}
    with connect(settings.lake) as con:
        frame = con.execute(OUTCOMES, values).df()
    if len(frame) and not frame["cell"].between(0, len(test.cells) - 1).all():
        raise PriceTestError(f"quotes of {test.name} have cells that its file does not")
    sale = pd.Series(_sales(plan_of(settings, test), frame), index=frame.index)
    return frame.assign(sale=sale, profit=sale.where(frame["accepted"], 0.0))


def earned(settings: Settings, product: str, frame: pd.DataFrame) -> np.ndarray:
    """Give what sales of a product earn by its plan, minor units, shape (n,); see `outcomes`."""
    return _sales(product_plan(find_product(settings, product), settings.plans), frame)


def _sales(plan: RatingPlan, frame: pd.DataFrame) -> np.ndarray:
    kept, cost = np.zeros(len(frame)), np.zeros(len(frame))
    for channel in frame["channel"].unique():
        own = (frame["channel"] == channel).to_numpy()
        terms = next(plan.terms(*outlet) for outlet in plan.outlets if outlet[0] == channel)
        net = MILLION / (MILLION + terms.tax)
        kept[own] = net * (MILLION - terms.variable - terms.commission) / MILLION
        cost[own] = net * (MILLION - terms.loadings) / MILLION
    return np.asarray(kept * frame["price_minor"].to_numpy() - cost * frame["technical_minor"].to_numpy())


def watch(settings: Settings, name: str, at: datetime, *, carry_out: bool = True) -> Watched:
    """Look at a test day by day, and stop it where its rule says so.

    Parameters
    ----------
    settings, name
        Where, and which.
    at
        Time, UTC without zone; nothing later is looked at.
    carry_out
        Whether a stop rule that is met stops the test.
    """
    tests = open_price_tests(settings)
    test = tests.find(name)
    state = tests.log.state(test)
    if state.shares is None:
        raise PriceTestError(
            f"price test {name} is a draft. Hint: premia experiment approve {name} --by NAME"
        )
    frame = outcomes(settings, test, at)
    column = "accepted" if test.stop.measure == "conversion" else "profit"
    measure = frame[column].to_numpy(dtype=np.float64)
    monitor = Monitor.start(test)
    for rows in frame.groupby(frame["quoted_at"].dt.date, sort=True).indices.values():
        monitor = monitor.add(_totals(test, frame["cell"].to_numpy()[rows], measure[rows]))
    # Intervals hold for shares that stand still; with later versions only the planned end counts.
    still = len(state.shares.versions) == 1
    reasons = monitor.stops() if still else monitor.stops()[-1:] if _ended(monitor) else ()
    if reasons and carry_out and state.state == "approved":
        state = tests.log.stop(test, reasons, by=SYSTEM, at=at)
    return Watched(test, state, _lines(test, state, monitor), monitor, reasons)


def _ended(monitor: Monitor) -> bool:
    return sum(one.quotes for one in monitor.totals) >= monitor.test.stop.quotes


def _totals(test: Experiment, cells: np.ndarray, measure: np.ndarray) -> list[CellTotals]:
    size = len(test.cells)
    counts = np.bincount(cells, minlength=size)
    sums = np.bincount(cells, measure, size)
    squares = np.bincount(cells, measure**2, size)
    return [CellTotals(int(n), float(s), float(q)) for n, s, q in zip(counts, sums, squares, strict=True)]


def _lines(test: Experiment, state: PriceTestState, monitor: Monitor) -> pd.DataFrame:
    shares = state.shares.current.shares if state.shares else test.shares
    holdout = monitor.totals[test.holdout]
    lines = []
    for cell, share, totals, interval in zip(
        test.cells, shares, monitor.totals, monitor.sequences, strict=True
    ):
        mean = totals.mean if totals.quotes else np.nan
        base = holdout.mean if holdout.quotes else np.nan
        lines.append(
            {
                "multiplier": float(cell.multiplier),
                "share": share / MILLION,
                "quotes": totals.quotes,
                "mean": mean,
                "difference": mean - base,
                "low": interval.lower,
                "high": interval.upper,
            }
        )
    return pd.DataFrame(lines).rename_axis("cell")


def freeze_shares(
    settings: Settings, name: str, method: Method, by: str, at: datetime, seed: int = 1
) -> CellShares:
    """Learn the shares of the next batch from all quotes so far, and put them in force as a frozen version.

    Raises
    ------
    PriceTestError
        If the test does not run, or no quotes came since the last version.
    """
    tests = open_price_tests(settings)
    test = tests.find(name)
    state = tests.log.state(test)
    current = state.in_force(test, at)
    if current is None:
        raise PriceTestError(f"price test {name} does not run at {at} (it is {state.state})")
    frame = outcomes(settings, test, at)
    size = len(test.cells)
    cells = frame["cell"].to_numpy()
    quotes = np.bincount(cells, minlength=size)
    if int(quotes.sum()) <= sum(current.evidence.quotes):
        raise PriceTestError(f"no quotes of {name} came since version {current.version} of its shares")
    sold = np.bincount(cells, frame["accepted"].to_numpy(dtype=np.float64), size).astype(np.int64)
    total = np.bincount(cells, frame["sale"].to_numpy(), size)
    profit = np.where(quotes > 0, total / np.maximum(quotes, 1), 0.0)
    rng = np.random.default_rng([seed, current.version])
    shares = next_shares(test, current, quotes, sold, profit, method, rng)
    tests.log.freeze(test, shares, by=by, at=at)
    return shares


@dataclass(frozen=True)
class Audit:
    """What an audit of a test found.

    Attributes
    ----------
    versions
        Versions of the shares, each held against its hash and the one before.
    quotes, left_out
        Quotes of the service that took part, and that did not.
    faults
        One sentence per fault.
    """

    versions: int
    quotes: int
    left_out: int
    faults: tuple[str, ...]


def audit_test(settings: Settings, name: str) -> Audit:
    """Assign every stored quote of a test anew, and hold it against what was logged and shown."""
    tests = open_price_tests(settings)
    test = tests.find(name)
    state = tests.log.state(test)
    if state.shares is None:
        return Audit(0, 0, 0, ())
    versions = {one.version: one for one in state.shares.versions}
    faults: list[str] = []
    taken = out = 0
    store = open_sync_records(settings)
    try:
        for quote in store.of_product(test.product):
            logged = quote.body.get("price_test")
            if logged is None or _name_of(logged) != name:
                continue
            if not logged["takes_part"]:
                out += 1
                continue
            taken += 1
            faults += [
                f"quote {quote.quote_id}: {fault}" for fault in _faults(logged, versions, quote.price_minor)
            ]
    finally:
        store.close()
    return Audit(len(versions), taken, out, tuple(faults))


def _name_of(logged: dict[str, Any]) -> str:
    return str(logged["assignment"]["experiment"] if logged["takes_part"] else logged["experiment"])


def _faults(logged: dict[str, Any], versions: dict[int, CellShares], price_minor: int | None) -> list[str]:
    own = logged["assignment"]
    shares = versions.get(own["shares_version"])
    if shares is None:
        return [f"version {own['shares_version']} of the shares was never in force"]
    again = assign(shares, own["unit"])
    faults = [
        f"{field} is logged as {own[field]!r}, it should be {getattr(again, field)!r}"
        for field in ("experiment_hash", "cell", "multiplier", "propensity")
        if own[field] != getattr(again, field)
    ]
    if price_minor is not None and price_minor != logged["shown_minor"]:
        faults.append(f"shown was {logged['shown_minor']}, answered {price_minor}")
    if not logged["lowest_minor"] <= logged["shown_minor"] <= logged["highest_minor"]:
        faults.append(f"the price shown, {logged['shown_minor']}, lies outside the corridor")
    return faults
