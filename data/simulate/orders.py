"""Orders with their returns, and the return-freight quotes, policies and claims that hang on them.

The unit of work is one month; a month is drawn and written in blocks, each with its own random stream, so
neither the number of threads nor the memory at hand changes a byte.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.hashing import price_cell, unit_share
from data.simulate.frames import Frame, Levels, Maybe
from data.simulate.parameters import CATEGORIES, Parameters
from data.simulate.population import DAY, micros
from data.simulate.streams import Array, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.simulate.population import Customers, Sellers

__all__ = ["RETURN_FREIGHT", "Month", "OrderBlock", "months", "order_blocks"]

RETURN_FREIGHT = "return_freight"
PRODUCT_STEP = 1_000_000_000_000
RETURN_INDEX = 1
BLOCK = 131_072
_LOOKUP = 65_536
# assumption: weight of each hour of the day, UTC (China is eight hours ahead, people shop in the evening)
_HOURS = (4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 6, 7, 8, 8, 6, 3, 1, 1, 1, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Month:
    """One month of orders.

    Parameters
    ----------
    label : str
        ``YYYY-MM``.
    number : int
        Position in the history.
    start : int
        First microsecond.
    day_weights : ndarray, shape (days,)
        Relative number of orders by day.
    season : float
        Factor on return hazards.
    orders : int
        Orders to draw.
    first_id : int
        Id of the first.
    """

    label: str
    number: int
    start: int
    day_weights: Array
    season: float
    orders: int
    first_id: int


@dataclass(frozen=True, slots=True)
class OrderBlock:
    """What one block of orders gives: rows of four tables, and claims yet to be sorted by report month."""

    orders: Frame
    quotes: Frame
    policies: Frame
    truth: Frame
    claims: Frame


def months(total: int, p: Parameters) -> list[Month]:
    """Spread the orders over the months of the history.

    Parameters
    ----------
    total : int
        Orders of the whole history.
    p : Parameters
        Parameters.
    """
    first = p.start.year * 12 + p.start.month - 1
    last = p.end.year * 12 + p.end.month - 1
    dates = [divmod(number, 12) for number in range(first, last)]
    weights = [_day_weights(year, month + 1, p) for year, month in dates]
    ends = np.cumsum([w.sum() for w in weights])
    bounds = np.concatenate([[0], np.rint(ends / ends[-1] * total)]).astype(np.int64)
    return [
        Month(
            label=f"{year:04d}-{month + 1:02d}",
            number=number,
            start=micros(f"{year:04d}-{month + 1:02d}-01"),
            day_weights=weights[number],
            season=p.return_season[month],
            orders=int(bounds[number + 1] - bounds[number]),
            first_id=int(bounds[number]) + 1,
        )
        for number, (year, month) in enumerate(dates)
    ]


def _day_weights(year: int, month: int, p: Parameters) -> Array:
    days = np.arange(1, calendar.monthrange(year, month)[1] + 1)
    weight = np.ones(len(days))
    for peak_month, first, last, times in p.peaks:
        if peak_month == month:
            weight[(days >= first) & (days <= last)] = times
    return weight


def order_blocks(
    month: Month, customers: Customers, sellers: Sellers, seed: int, p: Parameters
) -> Iterator[OrderBlock]:
    """Draw a month of orders block by block.

    Parameters
    ----------
    month : Month
        Which month.
    customers, sellers : Customers, Sellers
        The population.
    seed : int
        Seed of the simulation.
    p : Parameters
        Parameters.

    Yields
    ------
    OrderBlock
    """
    active = customers.activity * (customers.registered < month.start)
    cumulative = np.cumsum(active, dtype=np.float64)
    shops = _lookup(sellers.weight, 16 * _LOOKUP)
    days = _lookup(month.day_weights, _LOOKUP)
    blocks = -(-month.orders // BLOCK)
    for block in range(blocks):
        first = block * BLOCK
        n = min(BLOCK, month.orders - first)
        rng = stream(seed, f"orders {month.label}", block)
        # Sorted systematic sampling: one uniform for the block, customers come in order.
        points = (np.arange(n) + rng.random()) / n * cumulative[-1]
        buyer = np.minimum(np.searchsorted(cumulative, points, side="right"), len(cumulative) - 1)
        shop = shops[rng.integers(0, len(shops), n)]
        drawn = _Drawn(
            ids=np.arange(month.first_id + first, month.first_id + first + n),
            ordered=month.start + days[rng.integers(0, _LOOKUP, n)] * DAY + _time_of_day(rng, n),
            buyer=buyer,
            shop=shop,
            category=sellers.category[shop],
            amount=_amounts(rng, sellers.category[shop], customers.affluence[buyer], p),
        )
        yield _block(rng, drawn, customers, sellers, month.season, p)


def _lookup(weights: Array, size: int) -> Array:
    cumulative = np.cumsum(weights, dtype=np.float64)
    points = (np.arange(size) + 0.5) / size * cumulative[-1]
    found: Array = np.searchsorted(cumulative, points, side="right").astype(np.int64)
    return found


def _time_of_day(rng: np.random.Generator, n: int) -> Array:
    hours = _lookup(np.array(_HOURS), 4_096)[rng.integers(0, 4_096, n)]
    seconds: Array = hours * 3_600 + rng.integers(0, 3_600, n)
    return seconds * 1_000_000


def _amounts(rng: np.random.Generator, category: Array, affluence: Array, p: Parameters) -> Array:
    medians = 100 * np.array(p.amount_medians, np.float32)[category]
    spread = np.exp(np.float32(p.amount_sigma) * rng.standard_normal(len(category), np.float32))
    amounts: Array = np.maximum(np.rint(medians * spread * np.sqrt(affluence)), 100).astype(np.int64)
    return amounts


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Orders of a block before their fate is known; arrays of shape (n,), buyer and shop are positions."""

    ids: Array
    ordered: Array
    buyer: Array
    shop: Array
    category: Array
    amount: Array


@dataclass(frozen=True, slots=True)
class _Offer:
    """Return-freight offers of a block; arrays of shape (offers,), `rows` are positions in the block."""

    rows: Array
    cell: Array
    tested: Array
    multiplier: Array
    technical: Array
    price: Array
    accepted: Array


def _block(
    rng: np.random.Generator,
    drawn: _Drawn,
    customers: Customers,
    sellers: Sellers,
    season: float,
    p: Parameters,
) -> OrderBlock:
    n = len(drawn.ids)
    offer = _offer(rng, drawn, customers, sellers, p)
    hazard = _return_hazard(drawn, customers, sellers, season, p)
    hazard[offer.rows[offer.accepted]] *= np.float32(p.cover_effect)
    returned = rng.random(n, np.float32) < -np.expm1(-hazard)
    delivered = drawn.ordered + _days(1 + p.delivery_scale_days * rng.gamma(p.delivery_shape, size=n))
    back = delivered + _days(1 + p.return_wait_days * rng.standard_exponential(n))
    freight = p.freight_median * np.exp(np.float32(p.freight_sigma) * rng.standard_normal(n, np.float32))
    end = micros(p.end)
    orders = Frame(
        {
            "order_id": drawn.ids,
            "customer_id": drawn.buyer + 1,
            "seller_id": drawn.shop + 1,
            "category": Levels(drawn.category, CATEGORIES),
            "ordered_at": drawn.ordered,
            "amount_minor": drawn.amount,
            "freight_minor": (np.rint(freight * 10) * 10).astype(np.int64),
            "delivered_at": Maybe(delivered, delivered >= end),
            "returned_at": Maybe(back, ~returned | (back >= end)),
        }
    )
    quotes = _quotes(drawn, offer)
    policies = _policies(quotes, offer, p)
    taken = offer.rows[offer.accepted]
    truth = policies.only(["policy_id"]).with_columns(true_rate=hazard[taken].astype(np.float64))
    lost = returned[taken] & (back[taken] < policies.numbers("expiry_at"))
    delay = _days(p.return_delay_days * rng.standard_exponential(len(taken)))
    losses = policies.only(["policy_id", "customer_id", "seller_id", "order_id"]).with_columns(
        occurred_at=back[taken],
        reported_at=back[taken] + delay,
        paid_minor=np.full(len(taken), p.return_benefit_minor, np.int64),
    )
    return OrderBlock(orders, quotes, policies, truth, losses.take(lost))


def _days(days: Array) -> Array:
    micros: Array = (days * 86_400).astype(np.int64) * 1_000_000
    return micros


def _return_hazard(
    drawn: _Drawn, customers: Customers, sellers: Sellers, season: float, p: Parameters
) -> Array:
    base = np.array(p.return_hazards, np.float32)[drawn.category] * np.float32(season)
    size = (drawn.amount.astype(np.float32) / 10_000) ** np.float32(p.return_amount_power)
    frailty = customers.proneness[drawn.buyer] * sellers.frailty.astype(np.float32)[drawn.shop]
    hazard: Array = base * size * frailty
    return hazard


def category_technical(p: Parameters) -> Array:
    """Give the technical price of return freight by category, in minor units.

    The average return probability of a category over the buyers' frailty, without the order's buyer, shop or
    season: what an insurer without profiles would charge. Shape (categories,).
    """
    hazards = np.array(p.return_hazards)
    average = 1 - (1 + hazards / p.buyer_alpha) ** -p.buyer_alpha
    return np.maximum(np.rint(p.return_benefit_minor * average * p.return_loading), 1).astype(np.int64)


def _offer(
    rng: np.random.Generator, drawn: _Drawn, customers: Customers, sellers: Sellers, p: Parameters
) -> _Offer:
    rows = np.flatnonzero(sellers.joined[drawn.shop])
    who = drawn.buyer[rows]
    tested, cell, multiplier = price_test(who + 1, RETURN_FREIGHT, p)
    technical = category_technical(p)[drawn.category[rows]]
    price = np.maximum(np.rint(technical * multiplier), 1).astype(np.int64)
    slope = p.return_elasticity * customers.elasticity[who]
    # Frailties below 1e-3 carry no further information about the wish to be covered.
    wish = p.return_selection * np.log(np.maximum(customers.proneness[who], 1e-3))
    logit = p.take_up + wish - slope * np.log(multiplier)
    accepted = rng.random(len(rows)) < 1 / (1 + np.exp(-logit))
    return _Offer(rows, cell, tested, multiplier, technical, price, accepted)


def price_test(units: Array, product: str, p: Parameters) -> tuple[Array, Array, Array]:
    """Assign customers to the price test of a product.

    Parameters
    ----------
    units : ndarray of int, shape (n,)
        Customer ids.
    product : str
        Product code.
    p : Parameters
        Parameters.

    Returns
    -------
    tested : ndarray of bool, shape (n,)
    cell : ndarray of int8, shape (n,)
    multiplier : ndarray of float64, shape (n,)
        1 outside the test.
    """
    tested = unit_share(units, f"{product} tested") < p.tested_share
    cell = price_cell(units, f"{product} price test", len(p.multipliers))
    multiplier = np.where(tested, np.array(p.multipliers)[cell], 1.0)
    return tested, cell, multiplier


def _quotes(drawn: _Drawn, offer: _Offer) -> Frame:
    rows, untested = offer.rows, ~offer.tested
    quote = RETURN_INDEX * PRODUCT_STEP + drawn.ids[rows]
    return Frame(
        {
            "quote_id": quote,
            "customer_id": drawn.buyer[rows] + 1,
            "seller_id": drawn.shop[rows] + 1,
            "order_id": drawn.ids[rows],
            "quoted_at": drawn.ordered[rows],
            "channel": Levels.constant("platform", len(rows)),
            "experiment": Levels.constant(f"{RETURN_FREIGHT} price test", len(rows), offer.tested),
            "cell": Maybe(offer.cell, untested),
            "price_multiplier": Maybe(offer.multiplier, untested),
            "technical_minor": offer.technical,
            "price_minor": offer.price,
            "accepted": offer.accepted,
            "policy_id": Maybe(quote, ~offer.accepted),
            "order_amount": drawn.amount[rows] / 100.0,
            "category": Levels(drawn.category[rows], CATEGORIES),
        }
    )


def _policies(quotes: Frame, offer: _Offer, p: Parameters) -> Frame:
    kept = ["customer_id", "seller_id", "order_id", "quoted_at", "channel", "order_amount", "category"]
    bought = quotes.take(offer.accepted)
    start = bought.numbers("quoted_at")
    return bought.only(kept).with_columns(
        policy_id=bought.numbers("quote_id"),
        inception_at=start,
        expiry_at=start + p.return_cover_days * DAY,
        premium_minor=bought.numbers("price_minor"),
    )
