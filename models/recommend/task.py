"""Who bought what, when, as a ranking task: what could be offered at each moment, and what was then bought.

A row is a customer at a moment. What is known of it (history, features) is from strictly before that moment,
its targets are the products bought at it, or in the window that begins with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import RecommendationError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

KEYS = ("customer", "time", "product")
# Pairs of row and earlier purchase that are expanded at once (about 100 MB).
PAIRS = 4_000_000
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Purchases:
    """Purchases without repetition, sorted by customer and time.

    Attributes
    ----------
    customer, product
        Codes, shape (p,).
    time
        Microseconds for times, else the numbers of the table, shape (p,).
    """

    customer: Rows
    time: NDArray[Any]
    product: Rows


@dataclass(frozen=True)
class RankingTask:
    """Rows to rank products for, ordered by time.

    Attributes
    ----------
    products
        Names of the m products.
    customer
        Code of the customer of each row, shape (n,).
    time
        Moment of each row, shape (n,); see `Purchases`.
    targets
        What was bought, shape (n, m).
    candidates
        What could be offered, shape (n, m); targets outside are not judged.
    history
        How often each product was bought before, shape (n, m).
    since
        Time since it was last bought, NaN if never, shape (n, m); days, or units of the table.
    features
        Customer features as of the row, n rows.
    visible
        How many rows, in order, had been settled before the moment of each row, shape (n,).
    purchases
        All purchases, for co-purchase.
    windowed
        Whether rows are customers at cuts rather than purchases.
    notes
        What was left out or merged, in words.
    """

    products: tuple[Hashable, ...]
    customer: Rows
    time: NDArray[Any]
    targets: Mask
    candidates: Mask
    history: NDArray[np.float32]
    since: NDArray[np.float32]
    features: pd.DataFrame
    visible: Rows
    purchases: Purchases
    windowed: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time)


def event_task(
    purchases: pd.DataFrame,
    features: pd.DataFrame | None = None,
    eligibility: pd.DataFrame | None = None,
    *,
    rebuy: bool = True,
) -> RankingTask:
    """Make a task of which a row is one purchase: all products that a customer bought at one moment.

    Parameters
    ----------
    purchases
        Columns customer, time, product; one line per product bought. Lines that repeat are merged.
    features
        Columns customer, time and any others: what was known of the customer at that moment. The latest line
        not after the purchase counts, so a line of the same moment must hold what was known just before the
        purchase. Without `time` a line holds for all times.
    eligibility
        What could be offered: columns customer, time, product (and `eligible`, true or false, if lines say
        both), or customer, time and one column of true or false per product. Time as for features. A customer
        without a line could be offered everything.
    rebuy
        Whether a product that the customer has bought before may be offered again.

    Raises
    ------
    RecommendationError
        If the tables lack columns or leave nothing to rank.
    """
    return _task(purchases, features, eligibility, rebuy=rebuy, windows=None)


def window_task(
    purchases: pd.DataFrame,
    cuts: Sequence[Any],
    horizon: Any,  # noqa: ANN401 - a number or a Timedelta, as the times are
    features: pd.DataFrame | None = None,
    eligibility: pd.DataFrame | None = None,
    *,
    rebuy: bool = False,
) -> RankingTask:
    """Make a task of which a row is a customer at a cut, and the targets what is bought from there on.

    Parameters
    ----------
    purchases, features, eligibility, rebuy
        See `event_task`.
    cuts
        Moments. A customer has a row if they bought anything before it.
    horizon
        Length of the window: targets are bought in [cut, cut + horizon).
    """
    return _task(purchases, features, eligibility, rebuy=rebuy, windows=(tuple(cuts), horizon))


def _task(
    table: pd.DataFrame,
    features: pd.DataFrame | None,
    eligibility: pd.DataFrame | None,
    *,
    rebuy: bool,
    windows: tuple[tuple[Any, ...], Any] | None,
) -> RankingTask:
    _need(table, "purchases", KEYS)
    kept, notes = _clean(table)
    customers, who = np.unique(kept["customer"].to_numpy(), return_inverse=True)
    products, what = np.unique(kept["product"].to_numpy(), return_inverse=True)
    time = comparable(kept["time"], "purchases")
    order = np.lexsort((what, time, who))
    bought = Purchases(who[order].astype(np.intp), time[order], what[order].astype(np.intp))
    names = tuple(products.tolist())
    if windows is None:
        customer, moment, targets, visible = _events(bought, len(names))
    else:
        cuts, horizon = windows
        edges = comparable(pd.Series(list(cuts)), "cuts")
        length = pd.Timedelta(horizon) // pd.Timedelta("1us") if edges.dtype.kind == "i" else float(horizon)
        customer, moment, targets, visible = _windows(bought, edges, length, len(names), len(customers))
    history, since = _history(bought, customer, moment, len(names))
    people = pd.Index(customers)
    candidates = np.ones(targets.shape, bool) if rebuy else history == 0
    if eligibility is not None:
        candidates &= _eligible(eligibility, people, names, customer, moment, notes)
    outside = int((targets & ~candidates).sum())
    if outside:
        notes.append(f"{outside} of {int(targets.sum())} products bought were no candidates; not judged")
    return RankingTask(
        names,
        customer,
        moment,
        targets & candidates,
        candidates,
        history,
        since,
        _features(features, people, customer, moment),
        visible,
        bought,
        windows is not None,
        tuple(notes),
    )


def _need(table: pd.DataFrame, name: str, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise RecommendationError(
            f"{name} lacks {missing}; it has {list(table.columns)}. Hint: table.rename(columns={{...}})"
        )
    if not len(table):
        raise RecommendationError(f"{name} has no rows")


def _clean(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    notes = []
    kept = table.loc[:, list(KEYS)].dropna()
    if len(kept) < len(table):
        notes.append(f"{len(table) - len(kept)} lines without customer, time or product left out")
    unique = kept.drop_duplicates()
    if len(unique) < len(kept):
        notes.append(f"{len(kept) - len(unique)} repeated lines merged")
    if unique.empty:
        raise RecommendationError("purchases: no line has customer, time and product")
    return unique, notes


def comparable(times: pd.Series, name: str) -> NDArray[Any]:
    """Turn times into microseconds, and leave numbers as floats.

    Raises
    ------
    RecommendationError
        If they are neither.
    """
    if pd.api.types.is_bool_dtype(times):
        raise RecommendationError(f"{name}: time is true or false; it must be a number, a date or a time")
    if pd.api.types.is_numeric_dtype(times):
        numbers: NDArray[Any] = times.to_numpy(np.float64, na_value=np.nan)
        return numbers
    try:
        parsed = pd.to_datetime(times, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise RecommendationError(
            f"{name}: time must be a number, a date or a time; found {times.iloc[0]!r}"
        ) from error
    micros: NDArray[Any] = parsed.dt.tz_localize(None).astype("datetime64[us]").astype("int64").to_numpy()
    return micros


def _events(bought: Purchases, m: int) -> tuple[Rows, NDArray[Any], Mask, Rows]:
    first = np.ones(len(bought.time), bool)
    first[1:] = (np.diff(bought.customer) != 0) | (np.diff(bought.time) != 0)
    row = np.cumsum(first) - 1
    targets = np.zeros((int(first.sum()), m), bool)
    targets[row, bought.product] = True
    moment = bought.time[first]
    order = np.argsort(moment, kind="stable")
    moment = moment[order]
    # Purchases of one moment do not see each other.
    visible = np.searchsorted(moment, moment, side="left")
    return bought.customer[first][order], moment, targets[order], visible


def _windows(
    bought: Purchases, cuts: NDArray[Any], length: float, m: int, people: int
) -> tuple[Rows, NDArray[Any], Mask, Rows]:
    if not len(cuts) or length <= 0:
        raise RecommendationError(f"{len(cuts)} cuts and horizon {length}; at least one cut, horizon above 0")
    who, moments, targets = [], [], []
    begun = np.full(people, np.inf)
    np.minimum.at(begun, bought.customer, bought.time)
    for cut in np.unique(cuts):
        known = np.flatnonzero(begun < cut)
        inside = (bought.time >= cut) & (bought.time < cut + length)
        table = np.zeros((people, m), bool)
        table[bought.customer[inside], bought.product[inside]] = True
        who.append(known)
        moments.append(np.full(len(known), cut))
        targets.append(table[known])
    moment = np.concatenate(moments)
    if not len(moment):
        raise RecommendationError("no customer bought anything before the first cut")
    visible = np.searchsorted(moment + length, moment, side="right")
    return np.concatenate(who), moment, np.concatenate(targets), visible


def _history(
    bought: Purchases, customer: Rows, moment: NDArray[Any], m: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Count purchases strictly before each row, and the time since the last of each product."""
    starts = np.searchsorted(bought.customer, customer, side="left")
    # One number that sorts as (customer, time) does, by the rank of the time.
    ranks = np.unique(np.concatenate([bought.time, moment]), return_inverse=True)[1]
    width = int(ranks.max()) + 1
    keys = bought.customer * width + ranks[: len(bought.time)]
    ends = np.searchsorted(keys, customer * width + ranks[len(bought.time) :], side="left")
    counts = ends - starts
    n = len(customer)
    history = np.zeros((n, m), np.float32)
    latest = np.full((n, m), -np.inf)
    limits = np.flatnonzero(np.diff(np.cumsum(counts) // PAIRS, prepend=0))
    for rows in np.split(np.arange(n), limits):
        repeat = np.repeat(rows, counts[rows])
        offset = np.arange(len(repeat)) - np.repeat(np.cumsum(counts[rows]) - counts[rows], counts[rows])
        pairs = starts[repeat] + offset
        np.add.at(history, (repeat, bought.product[pairs]), 1.0)
        np.maximum.at(latest, (repeat, bought.product[pairs]), bought.time[pairs])
    unit = DAY_US if moment.dtype.kind == "i" else 1.0
    since = np.where(history > 0, (moment[:, None] - np.where(history > 0, latest, 0.0)) / unit, np.nan)
    return history, since.astype(np.float32)


def _as_of(table: pd.DataFrame, name: str, people: pd.Index, customer: Rows, moment: NDArray[Any]) -> Rows:
    """Find the line of a table that holds for each row, -1 where there is none."""
    _need(table, name, ["customer"])
    who = people.get_indexer(table["customer"])
    lines = np.flatnonzero(who >= 0)
    time = np.zeros(len(lines), moment.dtype)
    if "time" in table.columns:
        time = comparable(table["time"].iloc[lines], name)
        if time.dtype.kind != moment.dtype.kind:
            raise RecommendationError(f"{name}: time is of another kind than that of purchases")
        missing = int(np.isnan(time).sum()) if time.dtype.kind == "f" else 0
        if missing:
            raise RecommendationError(f"{name}: {missing} lines without time")
    elif len(np.unique(who[lines])) < len(lines):
        raise RecommendationError(
            f"{name} has no time and several lines of one customer. Hint: add the time from which each holds"
        )
    ranks = np.unique(np.concatenate([time, moment]), return_inverse=True)[1]
    width = int(ranks.max(initial=0)) + 2
    keys = who[lines] * width + ranks[: len(lines)]
    order = np.argsort(keys, kind="stable")
    upper = ranks[len(lines) :] if "time" in table.columns else width - 1
    place = np.searchsorted(keys[order], customer * width + upper, side="right") - 1
    found = np.full(len(customer), -1)
    inside = place >= 0
    found[inside] = lines[order][place[inside]]
    same = inside & (np.where(found >= 0, who[found], -1) == customer)
    return np.where(same, found, -1).astype(np.intp)


def _features(
    table: pd.DataFrame | None, people: pd.Index, customer: Rows, moment: NDArray[Any]
) -> pd.DataFrame:
    if table is None:
        return pd.DataFrame(index=range(len(customer)))
    line = _as_of(table, "features", people, customer, moment)
    plain = table.drop(columns=["customer", "time"], errors="ignore").reset_index(drop=True)
    return plain.reindex(line).reset_index(drop=True)


def _eligible(
    table: pd.DataFrame,
    people: pd.Index,
    products: tuple[Hashable, ...],
    customer: Rows,
    moment: NDArray[Any],
    notes: list[str],
) -> Mask:
    _need(table, "eligibility", ["customer"])
    wide = _wide(table, products)
    line = _as_of(wide, "eligibility", people, customer, moment)
    allowed = np.zeros((len(wide), len(products)), bool)
    for position, product in enumerate(products):
        if product in wide.columns:
            allowed[:, position] = wide[product].to_numpy(bool, na_value=False)
    absent = [product for product in products if product not in wide.columns]
    if len(absent) == len(products):
        raise RecommendationError(f"eligibility names none of the products {list(products)[:5]}")
    if absent:
        notes.append(f"eligibility never names {len(absent)} of {len(products)} products: {absent[:5]}")
    unknown = line < 0
    if unknown.any():
        notes.append(
            f"{int(unknown.sum())} of {len(line)} rows have no line of eligibility; all may be offered"
        )
    result: Mask = np.where(unknown[:, None], True, allowed[line])
    return result


def _wide(table: pd.DataFrame, products: tuple[Hashable, ...]) -> pd.DataFrame:
    """Turn lines of (customer, time, product) into one line per customer and time."""
    if "product" not in table.columns:
        names = {str(product): product for product in products}
        return table.rename(columns={c: names.get(str(c), c) for c in table.columns}).reset_index(drop=True)
    keys = [key for key in ("customer", "time") if key in table.columns]
    lines = table.assign(eligible=table["eligible"].astype(bool) if "eligible" in table else True)
    known = lines.assign(known=lines["product"].isin(list(products)))
    found = known.pivot_table(
        index=keys, columns="product", values="eligible", aggfunc="max", fill_value=False
    )
    return found.reset_index()
