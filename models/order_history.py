"""Orders as of a moment, coded for fitting, and how late their returns become known."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

WINDOW_DAYS = 1095
WINDOW = dt.timedelta(days=WINDOW_DAYS)
LONGEST_DELAY = 90
DAY_US = 86_400_000_000
NEVER = 2**62
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC


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
    return next(read_order_histories(con, [as_of]))


def read_order_histories(
    con: duckdb.DuckDBPyConnection, moments: Sequence[dt.datetime]
) -> Iterator[OrderHistory]:
    """Read the orders before each of some moments; the table is read once, however many they are.

    Parameters
    ----------
    con
        Connection with the view ``orders``.
    moments
        Naive UTC; each history is what `read_order_history` gives for its moment.

    Yields
    ------
    OrderHistory
        In the order of the moments.
    """
    if not moments:
        return
    orders = _Orders.read(con, min(moments) - WINDOW, max(moments))
    for moment in moments:
        yield orders.before(moment)


@dataclass(frozen=True, eq=False)
class _Orders:
    """Orders of a span of time, coded once; arrays of shape (n,), times in microseconds since 1970."""

    customers: Ints
    sellers: Ints
    categories: NDArray[np.object_]
    customer: NDArray[np.int32]
    seller: NDArray[np.int32]
    category: NDArray[np.int32]
    size: NDArray[np.int16]
    month: NDArray[np.int16]
    ordered: Ints
    returned: Ints
    delay: NDArray[np.int16]

    @classmethod
    def read(cls, con: duckdb.DuckDBPyConnection, since: dt.datetime, until: dt.datetime) -> _Orders:
        span = {"since": since, "until": until}
        within = "ordered_at >= $since AND ordered_at < $until"
        query = f"SELECT DISTINCT category FROM orders WHERE {within} ORDER BY 1"  # noqa: S608 - our own text
        names = [str(row[0]) for row in con.execute(query, span).fetchall()]
        found = con.execute(
            f"""
            SELECT customer_id, seller_id, (list_position($names, category) - 1)::INTEGER AS category,
                amount_minor, (year(ordered_at) * 12 + month(ordered_at) - 1)::SMALLINT AS month,
                epoch_us(ordered_at) AS ordered, coalesce(epoch_us(returned_at), {NEVER}) AS returned,
                coalesce((epoch_us(returned_at) - epoch_us(ordered_at)) // {DAY_US}, -1)::SMALLINT AS delay
            FROM orders WHERE {within}
            """,  # noqa: S608 - our own text
            {**span, "names": names},
        ).fetchnumpy()
        customers, customer = _coded(found.pop("customer_id"))
        sellers, seller = _coded(found.pop("seller_id"))
        return cls(
            customers,
            sellers,
            np.array(names, dtype=object),
            customer.astype(np.int32),
            seller.astype(np.int32),
            np.asarray(found["category"], np.int32),
            sizes_of(np.asarray(found.pop("amount_minor"), np.int64)),
            np.asarray(found["month"], np.int16),
            np.asarray(found["ordered"], np.int64),
            np.asarray(found["returned"], np.int64),
            np.asarray(found["delay"], np.int16),
        )

    def before(self, moment: dt.datetime) -> OrderHistory:
        """Give what was known at a moment."""
        as_of, since = _micros(moment), _micros(moment - WINDOW)
        rows = np.flatnonzero((self.ordered < as_of) & (self.ordered >= since))
        # Codes of its own: somebody without an order yet would count as an average buyer.
        customers, customer = _coded(self.customer[rows])
        sellers, seller = _coded(self.seller[rows])
        categories, category = _coded(self.category[rows])
        known = self.returned[rows] < as_of
        return OrderHistory(
            self.customers[customers],
            self.sellers[sellers],
            tuple(self.categories[categories]),
            customer,
            seller,
            category.astype(np.int16),
            self.size[rows],
            self.month[rows],
            ((as_of - self.ordered[rows]) // DAY_US).astype(np.int16),
            np.where(known, self.delay[rows], np.int16(-1)),
        )


def _micros(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def _coded(ids: NDArray[np.integer]) -> tuple[Ints, Ints]:
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
