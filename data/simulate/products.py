"""The simulated products beside return freight: who asks, what drives the risk, what a claim costs.

Every figure here is an assumption except where its comment names a source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.simulate.frames import Levels
from data.simulate.parameters import CATEGORIES, REGIONS
from data.simulate.population import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from data.simulate.population import Customers, Sellers
    from data.simulate.streams import Array

__all__ = ["MOTOR_EFFECTS", "PRODUCTS", "Factors", "Product"]

Factors = dict[str, "Array | Levels"]


@dataclass(frozen=True, slots=True)
class Product:
    """One simulated product.

    Parameters
    ----------
    code, index : str, int
        Code of the product file; position that keeps its ids apart from those of other products.
    asked : float
        Mean first quotes per customer (per owner for shop bonds) over the history, at most 1 unless per trip.
    accept, renew : float
        Log-odds of buying at the technical price, and what is added to it at renewal.
    selection : float
        Log-odds per log frailty.
    elasticity : float
        Loss of log-odds per log price.
    base_rate : float
        Claims per year, or hazard per trip, at the base risk.
    frailty_power : float
        Power of the claim frailty in the rate.
    loss_minor, loss_sigma : float
        Mean claim in minor units and sigma of its logarithm; sigma 0 is a fixed benefit.
    limit_minor : int
        Most paid for one claim.
    delay_days : float
        Mean report delay, exponential.
    loading : float
        Street price over the tariff's own risk premium.
    draw : callable
        (rng, customers, sellers, positions, quote times) -> factors at the first quote.
    log_relativity : callable
        Factors -> log of the true rate over the base rate, shape (n,).
    per_trip, at_most_one, owners_only : bool
        Cover for one trip instead of a year; event instead of count; only customers with a shop.
    channels : tuple of float
        Shares of direct, platform, agent.
    """

    code: str
    index: int
    asked: float
    accept: float
    renew: float
    selection: float
    elasticity: float
    base_rate: float
    frailty_power: float
    loss_minor: float
    loss_sigma: float
    limit_minor: int
    delay_days: float
    loading: float
    draw: Callable[[np.random.Generator, Customers, Sellers, Array, Array], Factors]
    log_relativity: Callable[[Factors], Array]
    per_trip: bool = False
    at_most_one: bool = False
    owners_only: bool = False
    channels: tuple[float, float, float] = (0.4, 0.4, 0.2)


def number(factors: Mapping[str, Array | Levels], name: str) -> Array:
    """Give a factor as numbers: its values, or the codes of a text."""
    column = factors[name]
    return column.codes if isinstance(column, Levels) else column


def age_at(customers: Customers, who: Array, times: Array) -> Array:
    """Give completed years at a time."""
    years: Array = ((times // DAY - customers.birth_day[who]) / 365.25).astype(np.int32)
    return years


def _effect(values: tuple[float, ...], codes: Array) -> Array:
    effects: Array = np.array(values)[codes]
    return effects


# Log relativities of motor; the recovery test estimates them from the book
MOTOR_EFFECTS: dict[str, float] = {
    "driver_under_25": 0.65,
    "driver_25_to_29": 0.25,
    "driver_65_and_over": 0.20,
    "per_vehicle_year": -0.015,
    "per_power": 0.03,
    "per_bonus_malus_point": 0.006,
    "diesel": 0.12,
    "electric": -0.05,
    "log_annual_km": 0.60,
}
_MOTOR_REGIONS = (0.10, 0.05, 0.0, 0.0, -0.05, -0.05, 0.0, -0.10, 0.20, 0.25)


def _draw_motor(
    rng: np.random.Generator, customers: Customers, sellers: Sellers, who: Array, times: Array
) -> Factors:
    n = len(who)
    fuel = np.searchsorted((0.55, 0.70), rng.random(n)).astype(np.int8)
    # The scale carries part of the frailty: bad drivers arrive with a worse one.
    malus = 50 + rng.gamma(0.6, 14.0, n) * customers.risk[who] + rng.integers(0, 8, n)
    return {
        "driver_age": np.clip(age_at(customers, who, times), 18, 90).astype(np.int32),
        "vehicle_age": np.clip(rng.gamma(1.6, 3.8, n), 0, 28).astype(np.int32),
        "vehicle_power": np.clip(
            4 + rng.gamma(2.2, 1.2, n) * np.sqrt(customers.affluence[who]), 4, 15
        ).astype(np.int32),
        "bonus_malus": np.clip(malus, 50, 230).astype(np.int32),
        "fuel": Levels(fuel, ("petrol", "diesel", "electric")),
        "region": Levels(customers.region[who], REGIONS),
        "annual_km": np.clip(np.round(12 * np.exp(0.5 * rng.standard_normal(n)), 1), 1.0, 60.0),
    }


def _motor(f: Factors) -> Array:
    e, age = MOTOR_EFFECTS, number(f, "driver_age")
    young = e["driver_under_25"] * (age < 25) + e["driver_25_to_29"] * ((age >= 25) & (age < 30))
    vehicle = e["per_vehicle_year"] * number(f, "vehicle_age") + e["per_power"] * (
        number(f, "vehicle_power") - 6
    )
    result: Array = (
        young
        + e["driver_65_and_over"] * (age >= 65)
        + vehicle
        + e["per_bonus_malus_point"] * (number(f, "bonus_malus") - 60)
        + _effect((0.0, e["diesel"], e["electric"]), number(f, "fuel"))
        + _effect(_MOTOR_REGIONS, number(f, "region"))
        + e["log_annual_km"] * np.log(number(f, "annual_km") / 12)
    )
    return result


def _draw_accident(
    rng: np.random.Generator, customers: Customers, sellers: Sellers, who: Array, times: Array
) -> Factors:
    return {
        "age": np.clip(age_at(customers, who, times), 18, 70).astype(np.int32),
        "occupation_class": Levels(
            np.searchsorted((0.55, 0.80, 0.94), rng.random(len(who))).astype(np.int8), ("1", "2", "3", "4")
        ),
    }


def _accident(f: Factors) -> Array:
    age = number(f, "age")
    work = _effect((0.0, 0.35, 0.75, 1.20), number(f, "occupation_class"))
    result: Array = work + 0.012 * np.maximum(age - 45, 0)
    return result


def _draw_medical(
    rng: np.random.Generator, customers: Customers, sellers: Sellers, who: Array, times: Array
) -> Factors:
    smokes = rng.random(len(who)) < np.clip(0.18 + 0.06 * np.log(customers.risk[who] + 0.05), 0.05, 0.5)
    return {
        "age": np.clip(age_at(customers, who, times), 0, 80).astype(np.int32),
        "city_tier": customers.city_tier[who].astype(np.int32),
        "smoker": Levels(smokes.astype(np.int8), ("no", "yes")),
    }


def _medical(f: Factors) -> Array:
    result: Array = (
        0.025 * (number(f, "age") - 40)
        + 0.40 * number(f, "smoker")
        + _effect((0.0, 0.10, 0.05, 0.0, -0.05, -0.10), number(f, "city_tier"))
    )
    return result


def _draw_phone(
    rng: np.random.Generator, customers: Customers, sellers: Sellers, who: Array, times: Array
) -> Factors:
    n = len(who)
    price = 2_600 * np.exp(0.55 * rng.standard_normal(n)) * customers.affluence[who].astype(np.float64)
    price = np.clip(np.round(price, 0), 500.0, 20_000.0)
    # Codes 0, 1, 2 for premium, mid, budget
    kind = 2 - np.searchsorted((1_800.0, 4_500.0), price)
    return {
        "phone_price": price,
        "phone_age_months": np.clip(rng.exponential(10.0, n), 0, 48).astype(np.int32),
        "phone_class": Levels(kind.astype(np.int8), ("premium", "mid", "budget")),
    }


def _phone(f: Factors) -> Array:
    result: Array = (
        _effect((0.15, 0.0, -0.10), number(f, "phone_class"))
        + 0.20 * np.log(number(f, "phone_price") / 2_600)
        + 0.012 * number(f, "phone_age_months")
    )
    return result


def _draw_flight(
    rng: np.random.Generator, customers: Customers, sellers: Sellers, who: Array, times: Array
) -> Factors:
    n = len(who)
    month = times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    # Cancel-prone evening flights are booked more by the careless.
    late = 6 + 17 * rng.beta(1.4, 1.4, n) + 1.0 * (customers.risk[who] - 1)
    return {
        "month": month.astype(np.int32),
        "departure_hour": np.clip(late, 0, 23).astype(np.int32),
        "airline": Levels(rng.integers(0, 8, n).astype(np.int8), tuple(f"A{i}" for i in range(1, 9))),
        "distance_km": np.clip(np.round(900 * np.exp(0.5 * rng.standard_normal(n)), 0), 200.0, 4_500.0),
    }


def _flight(f: Factors) -> Array:
    months = (0.1, 0.15, 0.0, 0.0, 0.05, 0.30, 0.45, 0.35, 0.0, -0.10, -0.10, 0.10)
    airlines = (-0.20, -0.10, 0.0, 0.0, 0.05, 0.10, 0.20, 0.35)
    hour = number(f, "departure_hour")
    result: Array = (
        _effect(months, number(f, "month") - 1)
        + _effect(airlines, number(f, "airline"))
        + 0.05 * np.maximum(hour - 9, 0)
        + 0.10 * np.log(number(f, "distance_km") / 900)
    )
    return result


def _draw_shop(
    rng: np.random.Generator, customers: Customers, sellers: Sellers, who: Array, times: Array
) -> Factors:
    shop = customers.owned_seller[who] - 1
    months = (times // DAY - sellers.founded[shop]) / 30.44
    # A shop of average size sells to 20 buyers 10 times a year each; the owner states it roughly.
    stated = (
        200 / 12 * sellers.weight[shop] / sellers.weight.mean() * np.exp(0.15 * rng.standard_normal(len(who)))
    )
    return {
        "shop_category": Levels(sellers.category[shop], CATEGORIES),
        "shop_age_months": np.clip(months, 0, 240).astype(np.int32),
        "monthly_orders": np.round(np.maximum(stated, 1.0), 1),
    }


def _shop(f: Factors) -> Array:
    kinds = (0.20, 0.15, 0.30, 0.25, 0.0, 0.10, 0.0, -0.30)
    result: Array = (
        _effect(kinds, number(f, "shop_category"))
        + 0.45 * np.log(number(f, "monthly_orders") / 15)
        - 0.006 * np.minimum(number(f, "shop_age_months"), 120)
    )
    return result


# Motor frequency 8.7 %, mean claim 4,500 CNY and report delays of 1-35 days are those of the prototype.
PRODUCTS: tuple[Product, ...] = (
    Product(
        "motor", 2, 0.60, -0.9, 2.6, 0.15, 3.0, 0.085, 1.0, 450_000, 1.0, 20_000_000, 12.0, 1.68,
        _draw_motor, _motor,
    ),
    Product(
        "accident", 3, 0.45, -1.2, 2.6, 0.15, 1.5, 0.011, 0.5, 500_000, 0.0, 500_000, 20.0, 1.70,
        _draw_accident, _accident,
    ),
    Product(
        "medical", 4, 0.45, -1.1, 2.6, 0.25, 1.8, 0.060, 0.8, 300_000, 1.1, 10_000_000, 15.0, 1.45,
        _draw_medical, _medical,
    ),
    Product(
        "phone_screen", 5, 0.45, -1.0, 1.5, 0.30, 2.0, 0.085, 0.8, 30_000, 0.0, 30_000, 3.0, 1.65,
        _draw_phone, _phone, at_most_one=True, channels=(0.2, 0.7, 0.1),
    ),
    Product(
        "flight_delay", 6, 0.80, -1.1, 0.0, 0.10, 1.2, 0.11, 0.2, 20_000, 0.0, 20_000, 1.0, 1.45,
        _draw_flight, _flight, per_trip=True, at_most_one=True, channels=(0.1, 0.9, 0.0),
    ),
    Product(
        "shop_bond", 7, 0.95, -0.8, 2.4, 0.20, 1.6, 0.070, 0.8, 200_000, 0.9, 5_000_000, 35.0, 1.35,
        _draw_shop, _shop, owners_only=True, channels=(0.1, 0.9, 0.0),
    ),
)  # fmt: skip
