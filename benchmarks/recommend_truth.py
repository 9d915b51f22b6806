"""Rank the products of the simulated insurer, whose true monthly propensities are known."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.simulate import Parameters, simulate
from data.simulate.population import make_customers, make_sellers, micros
from data.simulate.products import PRODUCTS
from data.store import connect
from features.load import default_spec
from models.recommend import OfferRules, fit_propensities, order_offers
from models.recommend.mask import allowed
from models.recommend.metrics import calibration, top_k
from models.recommend.months import bought_in_month, customer_months, everybody
from pricing.product import read_product

if TYPE_CHECKING:
    from data.simulate.population import Customers
    from data.simulate.products import Product as Simulated
    from models.recommend.task import Array, Mask, Rows

REFERENCE = Path(__file__).parents[1] / "data" / "reference" / "products"
CUSTOMERS, SEED, K = 100_000, 11, 3
ROWS = 1_200_000  # all customer-months
CUT, MONTH_END = dt.datetime(2025, 12, 1), dt.datetime(2026, 1, 1)  # noqa: DTZ001 - naive UTC


def run() -> dict[str, float]:
    """Fit on the months before the last and rank for it.

    Returns
    -------
    dict of str to float
        ndcg3 of the model, of popularity and of the true propensities are over expected purchases: the gain
        of a product is its true propensity, so chance plays no part and the truth has 1; share is the part of
        the distance from popularity to the truth that the model covers. ece and log_loss are over what was
        bought. ndcg_lost and margin_gained are what ordering by margin, too, costs and brings
        (the first offer's, as a share), also with the square root and the square of its weight.
    """
    products = [read_product(REFERENCE / f"{one.code}.toml") for one in PRODUCTS]
    products.sort(key=lambda product: product.code)
    codes = [product.code for product in products]
    spec, p = default_spec(), Parameters()
    with tempfile.TemporaryDirectory(prefix="premia-truth-") as folder:
        simulate(Path(folder), CUSTOMERS, SEED)
        with connect(Path(folder)) as con:
            model = fit_propensities(con, products, spec, CUT, most_rows=ROWS)
            labels = everybody(con, CUT)
            rows = customer_months(con, products, spec, labels)
            bought = bought_in_month(con, labels, products)
            before = con.sql(
                "SELECT DISTINCT customer_id, product FROM policies WHERE quoted_at < $cut",
                params={"cut": CUT},
            ).fetchnumpy()
    customers = make_customers(CUSTOMERS, make_sellers(CUSTOMERS, SEED, p), SEED, p)
    simulated = {one.code: one for one in PRODUCTS}
    truth = np.column_stack(
        [
            true_propensity(simulated[code], customers, rows.customer - 1, held, p)
            for code in codes
            for held in [np.isin(rows.customer, before["customer_id"][before["product"] == code])]
        ]
    )
    open_ = allowed(products, rows.facts, rows.held, "trip")
    judged = open_.any(axis=1) & (np.where(open_, truth, 0.0).max(axis=1) > 0)
    scores = model.scores(rows.values, codes)
    counts = np.array([model.products[code].bought for code in codes], dtype=np.float64)
    popular = np.tile(counts, (len(truth), 1))
    figures = {
        name: gain(top_k(found, open_, K, counts), truth, open_, judged)
        for name, found in (("model", scores), ("popularity", popular))
    }
    share = (figures["model"] - figures["popularity"]) / (1.0 - figures["popularity"])
    loss, ece = calibration(scores[open_], bought[open_])
    margins = np.array([max(model.products[code].margin_minor or 0.0, 0.0) for code in codes])
    exchange = {}
    best = order_offers(scores, open_, OfferRules.of(model, products, 0.0), K)
    plain = gain(best, truth, open_, judged), first_margin(best, truth, margins, judged)
    for name, tilt in (("_half", 0.5), ("", 1.0), ("_double", 2.0)):
        best = order_offers(scores, open_, OfferRules.of(model, products, tilt), K)
        exchange[f"ndcg_lost{name}"] = plain[0] - gain(best, truth, open_, judged)
        exchange[f"margin_gained{name}"] = first_margin(best, truth, margins, judged) / plain[1] - 1.0
    return {
        "share": share,
        "ndcg3": figures["model"],
        "ndcg3_popularity": figures["popularity"],
        "log_loss": loss,
        "ece": ece,
        "correlation": float(np.corrcoef(scores[open_], truth[open_])[0, 1]),
    } | exchange


def true_propensity(
    product: Simulated, customers: Customers, who: Rows, bought_before: Mask, p: Parameters
) -> Array:
    """Give the true chance that customers buy a product anew in the last month.

    A customer asks at a moment that is uniform from registration to the end, with the probability `asked`
    (once; for trips a Poisson number of times), and accepts with the logit of price, elasticity and frailty.
    What was bought before is known. Averaged over is what nobody who ranks is told: that a quote was asked
    for and declined, and the cell of the price test.
    """
    frailty = np.maximum(customers.risk[who].astype(np.float64), 1e-3)
    slope = product.elasticity * customers.elasticity[who]
    wish = product.accept + product.selection * np.log(frailty)
    shares = {1.0: 1.0 - p.tested_share} | {m: 0.0 for m in p.multipliers if m != 1.0}
    for multiplier in p.multipliers:
        shares[multiplier] += p.tested_share / len(p.multipliers)
    accepts = np.zeros(len(who))
    for multiplier, share in shares.items():
        accepts += share / (1.0 + np.exp(slope * np.log(multiplier) - wish))
    opened = np.maximum(customers.registered[who], micros(p.start)).astype(np.float64)
    span = micros(p.end) - opened
    month = (micros(MONTH_END) - np.maximum(opened, micros(CUT))) / span
    if product.per_trip:
        trips = product.asked * np.minimum(customers.affluence[who], 3.0)
        return np.asarray(1.0 - np.exp(-trips * accepts * month))
    asked = product.asked * (customers.owned_seller[who] > 0 if product.owners_only else 1.0)
    gone = np.clip((micros(CUT) - opened) / span, 0.0, 1.0)
    chance = asked * accepts * month / (1.0 - asked * accepts * gone)
    return np.asarray(np.where(bought_before, 0.0, chance))


def gain(best: Rows, truth: Array, open_: Mask, judged: Mask) -> float:
    """Give mean NDCG@3 with the true propensity as gain."""
    discounts = 1.0 / np.log2(np.arange(2, K + 2))
    found = np.where(best >= 0, np.take_along_axis(truth, np.maximum(best, 0), axis=1), 0.0)
    ideal = -np.sort(-np.where(open_, truth, 0.0), axis=1)[:, :K]
    return float(((found @ discounts) / np.maximum(ideal @ discounts, 1e-300))[judged].mean())


def first_margin(best: Rows, truth: Array, margins: Array, judged: Mask) -> float:
    """Give the mean expected margin of the first offer, in minor units."""
    first = np.maximum(best[:, 0], 0)
    value = np.take_along_axis(truth, first[:, None], axis=1)[:, 0] * margins[first]
    return float(np.where(best[:, 0] >= 0, value, 0.0)[judged].mean())


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:18} {value:.4f}")
