"""Buyers and shops with their latent traits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data.contracts import CUSTOMERS
from data.simulate.parameters import CATEGORIES, REGIONS, Parameters
from data.simulate.streams import Array, gamma_quantiles, stream

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Customers", "Sellers", "customer_tables", "make_customers", "make_sellers", "seller_truth"]

BLOCK = 65_536
DAY = 86_400_000_000

_REGION_WEIGHTS = (0.18, 0.13, 0.13, 0.12, 0.10, 0.09, 0.08, 0.06, 0.06, 0.05)
_TIER_CUTS = (-1.3, -0.4, 0.5, 1.2)  # on minus affluence plus noise: the rich live in large cities


@dataclass(frozen=True, slots=True)
class Customers:
    """Buyers as arrays of shape (customers,); position i is customer_id i + 1.

    Times are microseconds, birth days are days since 1970.
    """

    risk: Array
    proneness: Array
    elasticity: Array
    affluence: Array
    activity: Array
    birth_day: Array
    gender: Array
    region: Array
    city_tier: Array
    registered: Array
    owned_seller: Array


@dataclass(frozen=True, slots=True)
class Sellers:
    """Shops as arrays of shape (sellers,); position i is seller_id i + 1."""

    weight: Array
    category: Array
    frailty: Array
    joined: Array
    owner: Array
    founded: Array


def micros(time: object) -> int:
    """Give a naive UTC time as microseconds since 1970."""
    return int(np.datetime64(time, "us").astype(np.int64))  # type: ignore[call-overload]


def make_customers(count: int, sellers: Sellers, seed: int, p: Parameters) -> Customers:
    """Draw all buyers, block by block.

    Parameters
    ----------
    count : int
        Number of buyers.
    sellers : Sellers
        Shops, for who owns one.
    seed : int
        Seed of the simulation.
    p : Parameters
        Parameters.
    """
    blocks = [
        _customer_block(min(BLOCK, count - first), stream(seed, "customers", first // BLOCK), p)
        for first in range(0, count, BLOCK)
    ]
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    owned = np.zeros(count, np.int64)
    owned[sellers.owner] = np.arange(1, len(sellers.owner) + 1)
    return Customers(owned_seller=owned, **columns)


def make_sellers(customers: int, seed: int, p: Parameters) -> Sellers:
    """Draw all shops."""
    count = min(customers, max(p.least_sellers, customers // p.customers_per_seller))
    rng = stream(seed, "sellers", 0)
    weight = np.exp(p.seller_size_sigma * rng.standard_normal(count))
    # Systematic choice along the order of size keeps the joined share of orders near its parameter.
    joined = np.zeros(count, bool)
    joined[np.argsort(weight)] = (np.arange(count) * p.joined_share + rng.random()) % 1.0 < p.joined_share
    day = (micros(p.start) // DAY) - rng.integers(0, 3_650, count)
    return Sellers(
        weight=weight,
        category=rng.choice(len(CATEGORIES), count, p=p.category_weights).astype(np.int8),
        frailty=gamma_quantiles(rng.standard_normal(count), p.seller_alpha),
        joined=joined,
        owner=rng.choice(customers, count, replace=False),
        founded=day,
    )


def _correlation(p: Parameters) -> Array:
    order = {"risk": 0, "return": 1, "price": 2, "affluence": 3}
    matrix = np.eye(4)
    pairs = (
        ("risk", "return", p.risk_return_correlation),
        ("return", "price", p.return_price_correlation),
        ("price", "affluence", p.price_affluence_correlation),
        ("risk", "affluence", p.risk_affluence_correlation),
    )
    for one, other, value in pairs:
        matrix[order[one], order[other]] = matrix[order[other], order[one]] = value
    return matrix


def _customer_block(n: int, rng: np.random.Generator, p: Parameters) -> Mapping[str, Array]:
    z = rng.standard_normal((n, 4)) @ np.linalg.cholesky(_correlation(p)).T
    affluence = np.exp(p.affluence_sigma * z[:, 3])
    start, end = micros(p.start), micros(p.end)
    new = rng.random(n) < p.new_customer_share
    open_for = np.where(new, 0.9 * (end - start) * rng.random(n), -4 * 365 * DAY * rng.random(n))
    age_days = 365.25 * (21 + 59 * rng.beta(1.6, 3.0, n))
    noise = -z[:, 3] + 0.5 * rng.standard_normal(n)
    f4 = np.float32
    return {
        "risk": gamma_quantiles(z[:, 0], p.claim_alpha).astype(f4),
        "proneness": gamma_quantiles(z[:, 1], p.buyer_alpha).astype(f4),
        "elasticity": np.exp(p.elasticity_sigma * z[:, 2] - p.elasticity_sigma**2 / 2).astype(f4),
        "affluence": affluence.astype(f4),
        "activity": (rng.gamma(p.activity_shape, size=n) * affluence).astype(f4),
        "birth_day": (end // DAY - age_days).astype(np.int32),
        "gender": rng.choice(3, n, p=(0.55, 0.43, 0.02)).astype(np.int8),
        "region": rng.choice(len(REGIONS), n, p=_REGION_WEIGHTS).astype(np.int8),
        "city_tier": (1 + np.searchsorted(_TIER_CUTS, noise)).astype(np.int8),
        "registered": (start + open_for).astype(np.int64) // 1_000_000 * 1_000_000,
    }


def customer_tables(customers: Customers, seed: int) -> tuple[pa.Table, pa.Table]:
    """Give the contract table of buyers and the table of their true traits.

    What the shop does not know is missing in the first (3 % of birth dates, 3 % of genders, 2 % of places).
    """
    n = len(customers.risk)
    ids = pa.array(np.arange(1, n + 1))
    hidden = stream(seed, "customers hidden", 0).random((3, n)) < np.array([[0.03], [0.03], [0.02]])
    region = pa.DictionaryArray.from_arrays(pa.array(customers.region, mask=hidden[2]), list(REGIONS))
    gender = pa.DictionaryArray.from_arrays(pa.array(customers.gender, mask=hidden[1]), ["F", "M", "U"])
    known = pa.table(
        {
            "customer_id": ids,
            "birth_date": pa.array(customers.birth_day, pa.int32(), mask=hidden[0]).view(pa.date32()),
            "gender": gender.cast(pa.string()),
            "region": region.cast(pa.string()),
            "city_tier": pa.array(customers.city_tier, mask=hidden[2]),
            "registered_at": pa.array(customers.registered).view(pa.timestamp("us")),
            "owned_seller_id": pa.array(customers.owned_seller, mask=customers.owned_seller == 0),
        },
        schema=CUSTOMERS.schema,
    )
    names = ("risk", "proneness", "elasticity", "affluence", "activity")
    truth = pa.table({"customer_id": ids} | {name: getattr(customers, name) for name in names})
    return known, truth


def seller_truth(sellers: Sellers) -> pa.Table:
    """Give the table of the shops' true traits."""
    return pa.table(
        {
            "seller_id": np.arange(1, len(sellers.weight) + 1),
            "category": np.array(CATEGORIES, dtype=object)[sellers.category],
            "frailty": sellers.frailty,
            "weight": sellers.weight,
            "joined": sellers.joined,
            "owner_customer_id": sellers.owner + 1,
        }
    )
