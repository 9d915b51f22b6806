"""Orders as of a moment, coded for fitting, and how late their returns become known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import datetime as dt

    import duckdb
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

WINDOW_DAYS = 1095
LONGEST_DELAY = 90


@dataclass(frozen=True, eq=False)
class OrderHistory:
    """Orders placed before a moment, with what was known of their return then; arrays of shape (n,).

    Attributes
    ----------
    customers, sellers, categories
        Ids and names by code.
    customer, seller, category
        Codes.
    size
        Size of the order: the binary logarithm of its amount, cut to whole numbers.
    month
        Months since year 0.
    age
        Whole days from the order to the moment.
    delay
        Whole days from the order to the known return; -1 where no return is known.
    """

    customers: Ints
    sellers: Ints
    categories: tuple[str, ...]
    customer: Ints
    seller: Ints
    category: NDArray[np.int16]
    size: NDArray[np.int16]
    month: NDArray[np.int16]
    age: NDArray[np.int16]
    delay: NDArray[np.int16]


def sizes_of(amount_minor: Ints) -> NDArray[np.int16]:
    """Give the size of orders: the binary logarithm of their amount, cut to whole numbers."""
    # frexp is exact: 2**e <= amount < 2**(e + 1).
    return (np.frexp(np.maximum(amount_minor, 1).astype(np.float64))[1] - 1).astype(np.int16)


def read_order_history(con: duckdb.DuckDBPyConnection, as_of: dt.datetime) -> OrderHistory:
    """Read the orders that were placed before a moment.

    Parameters
    ----------
    con
        Connection with the view ``orders``.
    as_of
        Naive UTC; orders and returns from then on are not looked at.
    """
    since = "ordered_at >= $as_of::TIMESTAMP - to_days($days)"
    bound: dict[str, object] = {"as_of": as_of, "days": WINDOW_DAYS}
    names = con.execute(
        f"SELECT DISTINCT category FROM orders WHERE ordered_at < $as_of AND {since} ORDER BY 1",  # noqa: S608
        bound,
    ).fetchall()
    day = 86_400_000_000
    found = con.execute(
        f"""
        SELECT customer_id, seller_id, (list_position($names, category) - 1)::SMALLINT AS category,
            amount_minor, (year(ordered_at) * 12 + month(ordered_at) - 1)::SMALLINT AS month,
            ((epoch_us($as_of::TIMESTAMP) - epoch_us(ordered_at)) // {day})::SMALLINT AS age,
            CASE WHEN returned_at < $as_of THEN (epoch_us(returned_at) - epoch_us(ordered_at)) // {day}
                ELSE -1 END::SMALLINT AS delay
        FROM orders WHERE ordered_at < $as_of AND {since}
        """,  # noqa: S608 - our own text
        bound | {"names": [str(row[0]) for row in names]},
    ).fetchnumpy()
    customers, customer = _coded(found["customer_id"])
    sellers, seller = _coded(found["seller_id"])
    return OrderHistory(
        customers,
        sellers,
        tuple(str(row[0]) for row in names),
        customer,
        seller,
        np.asarray(found["category"], np.int16),
        sizes_of(np.asarray(found["amount_minor"], np.int64)),
        np.asarray(found["month"], np.int16),
        np.asarray(found["age"], np.int16),
        np.asarray(found["delay"], np.int16),
    )


def _coded(ids: Ints) -> tuple[Ints, Ints]:
    """Give the distinct ids, rising, and the code of each row."""
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low, span = int(ids.min()), int(ids.max() - ids.min()) + 1
    if span > 8 * len(ids) + 1024:
        codes, found = pd.factorize(ids, sort=True)
        return np.asarray(found, np.int64), np.asarray(codes, np.int64)
    # Ids that lie close together are coded by a table, which needs no hashing.
    present = np.zeros(span, bool)
    present[ids - low] = True
    place = np.cumsum(present) - 1
    return np.flatnonzero(present) + low, place[ids - low]


def known_share(age: NDArray[np.int16], delay: NDArray[np.int16]) -> Floats:
    """Estimate which share of returns is known so many days after the order.

    Returns that take longer than the order is old are not seen, so a plain histogram of delays is too short.
    Among returns with delay <= d of orders at least d days old, the share with delay = d is unbiased; the
    distribution is the product of one minus these shares, taken from the longest delay down.

    Parameters
    ----------
    age, delay
        See `OrderHistory`.

    Returns
    -------
    ndarray, shape (LONGEST_DELAY + 1,)
        By whole days, rising to 1.
    """
    seen = (delay >= 0) & (delay <= LONGEST_DELAY)
    taken, old = delay[seen].astype(np.int64), np.minimum(age[seen], LONGEST_DELAY).astype(np.int64)
    hits = np.bincount(taken, minlength=LONGEST_DELAY + 1)
    ends = np.bincount(old + 1, minlength=LONGEST_DELAY + 2)[: LONGEST_DELAY + 1]
    at_risk = np.cumsum(hits) - np.cumsum(ends)
    stays = 1.0 - hits / np.maximum(at_risk, 1)
    after = np.append(np.cumprod(stays[::-1])[::-1][1:], 1.0)
    # Whole days: an order of age d has been seen for d to d + 1 days, half of the last day on average.
    before = np.append(0.0, after[:-1])
    return np.asarray((before + after) / 2)
