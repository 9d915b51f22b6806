"""Every number of the simulated insurer, in one frozen object, with its source or the word assumption.

"Measured" refers to published figures of the Chinese return-freight market collected before this was
written; everything marked assumption was chosen so that the book behaves like an insurer's and has no source.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from data.errors import SimulationError

__all__ = ["CATEGORIES", "REGIONS", "Parameters"]

CATEGORIES = ("apparel", "shoes", "electronics", "beauty", "home", "food", "toys", "books")
REGIONS = ("CN-GD", "CN-ZJ", "CN-JS", "CN-SD", "CN-HN", "CN-SC", "CN-HB", "CN-FJ", "CN-SH", "CN-BJ")


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of the simulator; the defaults are the book that the project ships.

    Tuples by category follow `CATEGORIES`, tuples by region follow `REGIONS`.
    """

    # assumption: two whole years, so that every product sees both seasons and one renewal
    start: dt.datetime = dt.datetime(2024, 1, 1)
    end: dt.datetime = dt.datetime(2026, 1, 1)

    # assumption: one shop per 20 buyers, at least 20 shops
    customers_per_seller: int = 20
    least_sellers: int = 20
    # assumption: share of orders at shops that joined return freight
    joined_share: float = 0.30
    # assumption: shops differ in size by a lognormal of this sigma
    seller_size_sigma: float = 1.2
    # assumption: share of accounts opened during the history
    new_customer_share: float = 0.25

    # assumption: correlations of the latents that let order history tell about claims
    risk_return_correlation: float = 0.45
    return_price_correlation: float = 0.20
    price_affluence_correlation: float = -0.40
    risk_affluence_correlation: float = -0.10
    # prototype: activity is Gamma(1.1) times affluence
    activity_shape: float = 1.1
    # assumption: sigma of log affluence
    affluence_sigma: float = 0.40
    # assumption: shape of the buyers' Gamma frailty of returning; the German fashion shop BADS
    # (own past share 0 -> 25 %, all -> 68 %) points at strong differences
    buyer_alpha: float = 1.6
    # prototype: shape of the shops' Gamma frailty (true value 5.8 there)
    seller_alpha: float = 5.8
    # prototype: shape of the Gamma frailty of claims
    claim_alpha: float = 2.0
    # prototype: elasticity is lognormal(0.35) around the product's
    elasticity_sigma: float = 0.35

    # assumption: mix of goods
    category_weights: tuple[float, ...] = (0.30, 0.10, 0.12, 0.14, 0.14, 0.10, 0.05, 0.05)
    # measured: apparel returns 30-50 % (mbaonao.com, ssjuris.com); the rest assumption. Hazards, not shares
    return_hazards: tuple[float, ...] = (0.60, 0.40, 0.07, 0.05, 0.09, 0.015, 0.08, 0.02)
    # assumption: median price of an order in CNY, and sigma of its logarithm
    amount_medians: tuple[float, ...] = (120.0, 220.0, 600.0, 110.0, 130.0, 60.0, 90.0, 45.0)
    amount_sigma: float = 0.70
    # assumption: dearer goods come back more often, hazard ~ (amount / 100 CNY)^0.15
    return_amount_power: float = 0.15
    # assumption: returns by month of order, high after the shopping festivals
    return_season: tuple[float, ...] = (1.0, 0.95, 1.0, 1.0, 1.0, 1.08, 1.0, 0.97, 1.0, 1.0, 1.15, 1.05)
    # assumption: parcel days are 1 + Gamma(2, 1.2); the return is known 1 + exponential(4) days later
    delivery_shape: float = 2.0
    delivery_scale_days: float = 1.2
    return_wait_days: float = 4.0
    # measured: freight refunds of 6-18 CNY (qchdlb.com); lognormal around 9 CNY
    freight_median: float = 9.0
    freight_sigma: float = 0.25

    # measured: benefits up to 12-15 CNY (sxdxc.com.cn, drbdp.com); the shipped product pays 10
    return_benefit_minor: int = 1_000
    # measured, weak source: +20 % returns with cover (drbdp.com); prototype 25 %
    cover_effect: float = 1.25
    # prototype: take-up about 34 %
    take_up: float = -0.30
    # assumption: log-odds of buying per log frailty (adverse selection)
    return_selection: float = 0.80
    # assumption: elasticity of return freight, within 1.2-3.5 of the prototype
    return_elasticity: float = 2.0
    # calibrated: technical price over category average so that the loss ratio is about 0.95 (measured: 93 %)
    return_loading: float = 1.55
    # assumption: days of cover from the order, and mean days from known return to reported claim
    return_cover_days: int = 30
    return_delay_days: float = 2.0

    # assumption: part of the quotes that the price test reaches; the rest is shown the price without a test
    tested_share: float = 0.90
    # design: nine cells, so that curvature is seen
    multipliers: tuple[float, ...] = (0.80, 0.85, 0.90, 0.95, 1.00, 1.05, 1.10, 1.15, 1.20)

    # assumption: how much of the true log relativities the street tariff knows
    tariff_knowledge: float = 0.75
    # assumption: renewal quotes go out this many days before expiry
    renewal_notice_days: int = 30

    # assumption: shopping calendar, as (month, first day, last day, times the usual)
    peaks: tuple[tuple[int, int, int, float], ...] = field(
        default=((6, 1, 17, 1.3), (6, 18, 18, 4.0), (11, 1, 10, 1.5), (11, 11, 11, 6.0), (12, 12, 12, 3.0))
    )

    def __post_init__(self) -> None:
        """Refuse parameters that the model cannot run with."""
        by_category = (self.category_weights, self.return_hazards, self.amount_medians)
        if any(len(values) != len(CATEGORIES) for values in by_category):
            message = f"Tuples by category need {len(CATEGORIES)} values, one for each of {CATEGORIES}"
            raise SimulationError(message)
        if self.end <= self.start or self.start.day != 1 or self.end.day != 1:
            message = f"History must run over whole months, got {self.start} to {self.end}"
            raise SimulationError(message)
        if min(self.buyer_alpha, self.seller_alpha, self.claim_alpha) <= 0:
            message = "The shapes of the frailties must be above 0"
            raise SimulationError(message)
