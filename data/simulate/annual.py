"""Quotes, policies, claims and renewals of one product sold to customers rather than with an order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.simulate.frames import Frame, Levels, Maybe, concat
from data.simulate.orders import PRODUCT_STEP, price_test
from data.simulate.population import BLOCK, DAY, micros
from data.simulate.streams import Array, stream

if TYPE_CHECKING:
    from data.simulate.parameters import Parameters
    from data.simulate.population import Customers, Sellers
    from data.simulate.products import Factors, Product

__all__ = ["Book", "annual_product"]

CHANNELS = ("direct", "platform", "agent")
BLOCK_STEP = 1_000_000
# Ids of renewals lie beyond those of all blocks, however often a policy is renewed.
RENEWAL_STEP = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Book:
    """Rows of one product; truth holds the true rate of each policy."""

    quotes: Frame
    policies: Frame
    truth: Frame
    claims: Frame


@dataclass(frozen=True, slots=True)
class _Round:
    """One round of quotes: first quotes, or the renewals that follow them. Arrays of shape (n,)."""

    ids: Array
    who: Array
    quoted: Array
    start: Array
    factors: Factors
    channel: Array
    renewal_of: Array


def annual_product(
    product: Product, customers: Customers, sellers: Sellers, seed: int, p: Parameters
) -> Book:
    """Simulate one product over the whole history.

    Parameters
    ----------
    product : Product
        Which one.
    customers, sellers : Customers, Sellers
        The population.
    seed : int
        Seed of the simulation.
    p : Parameters
        Parameters.
    """
    books = []
    for block, first in enumerate(range(0, len(customers.risk), BLOCK)):
        rng = stream(seed, product.code, block)
        who = np.arange(first, min(first + BLOCK, len(customers.risk)))
        asked = _first_quotes(rng, product, customers, sellers, who, block, p)
        while len(asked.ids):
            book, asked = _sell(rng, product, customers, asked, p)
            books.append(book)
    return Book(
        concat([b.quotes for b in books]),
        concat([b.policies for b in books]),
        concat([b.truth for b in books]),
        concat([b.claims for b in books]),
    )


def _first_quotes(
    rng: np.random.Generator,
    product: Product,
    customers: Customers,
    sellers: Sellers,
    who: Array,
    block: int,
    p: Parameters,
) -> _Round:
    if product.owners_only:
        who = who[customers.owned_seller[who] > 0]
    if product.per_trip:
        trips = rng.poisson(product.asked * np.minimum(customers.affluence[who], 3.0))
        asking = np.repeat(who, trips)
    else:
        asking = who[rng.random(len(who)) < product.asked]
    n = len(asking)
    start, end = micros(p.start), micros(p.end)
    opened = np.maximum(customers.registered[asking], start)
    quoted = opened + (rng.random(n) * (end - opened) / 1e6).astype(np.int64) * 1_000_000
    ahead = 30 if product.per_trip else 10
    begin = quoted + (rng.random(n) * ahead * 86_400).astype(np.int64) * 1_000_000
    return _Round(
        ids=product.index * PRODUCT_STEP + block * BLOCK_STEP + np.arange(1, n + 1),
        who=asking,
        quoted=quoted,
        start=begin,
        factors=product.draw(rng, customers, sellers, asking, begin),
        channel=np.searchsorted(np.cumsum(product.channels)[:2], rng.random(n)).astype(np.int8),
        renewal_of=np.zeros(n, np.int64),
    )


def _sell(
    rng: np.random.Generator, product: Product, customers: Customers, asked: _Round, p: Parameters
) -> tuple[Book, _Round]:
    frailty = customers.risk[asked.who].astype(np.float64)
    log_relativity = product.log_relativity(asked.factors)
    rate = product.base_rate * np.exp(log_relativity) * frailty**product.frailty_power
    tested, cell, multiplier = price_test(asked.who + 1, product.code, p)
    known = product.base_rate * np.exp(p.tariff_knowledge * log_relativity)
    technical = np.maximum(np.rint(known * product.loss_minor * product.loading), 1).astype(np.int64)
    price = np.maximum(np.rint(technical * multiplier), 1).astype(np.int64)
    slope = product.elasticity * customers.elasticity[asked.who]
    wish = product.accept + product.renew * (asked.renewal_of > 0) - slope * np.log(multiplier)
    logit = wish + product.selection * np.log(np.maximum(frailty, 1e-3))
    accepted = rng.random(len(frailty)) < 1 / (1 + np.exp(-logit))
    quotes = Frame(
        {
            "quote_id": asked.ids,
            "customer_id": asked.who + 1,
            "quoted_at": asked.quoted,
            "channel": Levels(asked.channel, CHANNELS),
            "experiment": Levels.constant(f"{product.code} price test", len(frailty), tested),
            "cell": Maybe(cell, ~tested),
            "price_multiplier": Maybe(multiplier, ~tested),
            "technical_minor": technical,
            "price_minor": price,
            "accepted": accepted,
            "policy_id": Maybe(asked.ids, ~accepted),
            **asked.factors,
        }
    )
    policies = _policies(product, quotes, asked, accepted)
    truth = policies.only(["policy_id", "quoted_at"]).with_columns(
        true_rate=rate[accepted], expected_loss_minor=(rate * product.loss_minor)[accepted]
    )
    claims, counts = _claims(rng, product, policies, rate[accepted])
    return Book(quotes, policies, truth, claims), _renewals(product, asked, accepted, policies, counts, p)


def _policies(product: Product, quotes: Frame, asked: _Round, accepted: Array) -> Frame:
    bought, start = quotes.take(accepted), asked.start[accepted]
    renewed = asked.renewal_of[accepted]
    term = DAY if product.per_trip else 365 * DAY
    return bought.only(["customer_id", "quoted_at", "channel", *asked.factors]).with_columns(
        policy_id=bought.numbers("quote_id"),
        inception_at=start,
        expiry_at=start + term,
        premium_minor=bought.numbers("price_minor"),
        renewal_of=Maybe(renewed, renewed == 0),
    )


def _claims(rng: np.random.Generator, product: Product, policies: Frame, rate: Array) -> tuple[Frame, Array]:
    counts = rng.poisson(rate)
    if product.at_most_one:
        counts = np.minimum(counts, 1)
    rows = np.repeat(np.arange(len(rate)), counts)
    n, sigma = len(rows), product.loss_sigma
    start, stop = policies.numbers("inception_at")[rows], policies.numbers("expiry_at")[rows]
    occurred = start + (rng.random(n) * (stop - start) / 1e6).astype(np.int64) * 1_000_000
    delay = (product.delay_days * 86_400 * rng.standard_exponential(n)).astype(np.int64) * 1_000_000
    loss = product.loss_minor * np.exp(sigma * rng.standard_normal(n) - sigma**2 / 2)
    claims = (
        policies.only(["policy_id", "customer_id"])
        .take(rows)
        .with_columns(
            occurred_at=occurred,
            reported_at=occurred + delay,
            paid_minor=np.clip(np.rint(loss), 1, product.limit_minor).astype(np.int64),
        )
    )
    return claims, counts


def _renewals(
    product: Product, asked: _Round, accepted: Array, policies: Frame, counts: Array, p: Parameters
) -> _Round:
    expiry = policies.numbers("expiry_at")
    quoted = expiry - p.renewal_notice_days * DAY
    due = np.zeros(len(expiry), bool) if product.per_trip else quoted < micros(p.end)
    rows = np.flatnonzero(accepted)[due]
    factors = {name: c.take(rows) if isinstance(c, Levels) else c[rows] for name, c in asked.factors.items()}
    return _Round(
        ids=asked.ids[rows] + RENEWAL_STEP,
        who=asked.who[rows],
        quoted=quoted[due],
        start=expiry[due],
        factors=_a_year_later(factors, counts[due]),
        channel=asked.channel[rows],
        renewal_of=policies.numbers("policy_id")[due],
    )


def _a_year_later(factors: Factors, claims: Array) -> Factors:
    later = dict(factors)
    limits = {"driver_age": (1, 90), "age": (1, 80), "vehicle_age": (1, 30)}
    limits |= {"phone_age_months": (12, 48), "shop_age_months": (12, 240)}
    for name, (step, most) in limits.items():
        column = later.get(name)
        if isinstance(column, np.ndarray):
            later[name] = np.minimum(column + step, most).astype(np.int32)
    malus = later.get("bonus_malus")
    if isinstance(malus, np.ndarray):
        # The scale of the French system: 5 % down for a year without a claim, 25 % up for each claim.
        moved = np.where(claims == 0, malus * 0.95, malus * 1.25 ** np.minimum(claims, 6))
        later["bonus_malus"] = np.clip(np.rint(moved), 50, 230).astype(np.int32)
    return later
