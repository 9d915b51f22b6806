"""Rank 16 products for a million customers, mask and table included; and one customer in the service."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data.store import write_parquet_atomic
from features.load import default_spec
from models.recommend import PropensityModel, rank_personal, score_and_order
from models.recommend.batch import SCHEMA
from models.recommend.propensity import FEATURES, HAD, HELD, fit_propensity, input_names
from pricing.product import read_product
from pricing.rules import failed_rules
from pricing.suitability import cover_facts

if TYPE_CHECKING:
    from models.recommend.task import Array
    from pricing.product import Product

REFERENCE = Path(__file__).parents[1] / "data" / "reference" / "products"
CODES = ("accident", "flight_delay", "medical", "motor", "phone_screen", "return_freight", "shop_bond")
CUSTOMERS, PRODUCTS, LEARN, ASKED, K = 1_000_000, 16, 60_000, 2_000, 3


def catalogue() -> list[Product]:
    """Give 16 products: the shipped ones, and copies under other codes and needs."""
    shipped = [read_product(REFERENCE / f"{code}.toml") for code in CODES]
    found = []
    for number in range(PRODUCTS):
        product = shipped[number % len(CODES)]
        need = product.offer.model_copy(update={"need": f"need_{number % 11}"})
        found.append(product.model_copy(update={"code": f"p{number:02}", "offer": need}))
    return found


def people(n: int, codes: tuple[str, ...], seed: int) -> tuple[Array, dict[str, Array]]:
    """Draw inputs of customers, some not known, and the facts among them."""
    rng = np.random.default_rng(seed)
    names = input_names(codes)
    values = np.empty((n, len(names)), order="F")
    for at, name in enumerate(names):
        if name.startswith((HELD, HAD)):
            values[:, at] = rng.random(n) < 0.05
        elif name == "customer.age":
            values[:, at] = rng.integers(15, 90, n)
        elif name == "customer.owns_shop":
            values[:, at] = rng.random(n) < 0.05
        elif name == "customer.city_tier":
            values[:, at] = rng.integers(1, 6, n)
        else:
            values[:, at] = np.exp(rng.normal(3.0, 1.5, n))
            values[rng.random(n) < 0.1, at] = np.nan
    facts = {name: values[:, at] for at, name in enumerate(names) if name.startswith("customer.")}
    return values, facts | {"customer.owns_shop": facts["customer.owns_shop"] > 0}


def fitted(codes: tuple[str, ...]) -> PropensityModel:
    """Fit a model in which many inputs matter, so that its tables are as many as in life."""
    values, _ = people(LEARN, codes, 1)
    rng = np.random.default_rng(2)
    scaled = np.nan_to_num((np.log1p(np.abs(values)) - 2.0) / 2.0)
    products = {}
    for code in codes:
        logit = scaled @ rng.normal(0.0, 0.3, values.shape[1]) - 3.0
        bought = rng.random(LEARN) < 1.0 / (1.0 + np.exp(-logit))
        products[code] = fit_propensity(values, bought, np.arange(LEARN), float(rng.integers(100, 9000)))
    return PropensityModel("2026-01-01T00:00:00", default_spec().hash(FEATURES), products)


def run() -> dict[str, float]:
    """Time the whole way from inputs to a file.

    Returns
    -------
    dict of str to float
        seconds and peak_gb for a million customers, tables of the model, ineligible offers found by the rules
        of the quote one case at a time; p50_ms and p99_ms of one customer with reasons beyond the profile.
    """
    products = catalogue()
    codes = tuple(product.code for product in products)
    model = fitted(codes)
    values, facts = people(CUSTOMERS, codes, 3)
    held = values[:, [model.inputs.index(f"{HELD}{code}") for code in codes]] > 0
    begun = time.perf_counter()
    best, chance = score_and_order(model, products, values, facts, held, K, scene="order")
    row, rank = np.nonzero(best >= 0)
    product = pa.DictionaryArray.from_arrays(pa.array(best[row, rank].astype(np.int8)), pa.array(codes))
    columns = [
        pa.array(row),
        pa.array((rank + 1).astype(np.int8)),
        product,
        pa.array(chance[row, rank]),
        pa.array(np.ones(len(row), bool)),
    ]
    with tempfile.TemporaryDirectory(prefix="premia-offers-") as folder:
        write_parquet_atomic(pa.Table.from_arrays(columns, schema=SCHEMA), Path(folder) / "offers.parquet")
    seconds = time.perf_counter() - begun
    figures = {
        "ineligible": float(ineligible(products, facts, held, best)),
        "seconds": seconds,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "tables": float(sum(len(one.tables.mains) for one in model.products.values())),
        "offers": float(len(row)),
    }
    return figures | _one_by_one(model, products, values, held, best)


def ineligible(products: list[Product], facts: dict[str, Array], held: Array, best: Array) -> int:
    """Count offers that underwriting would not admit in a quote, each distinct case decided by itself."""
    found = 0
    for at, product in enumerate(products):
        who = np.flatnonzero((best == at).any(axis=1))
        fields = [rule.field for rule in product.admission if rule.field in facts]
        known = np.column_stack([held[who, at], *(facts[name][who].astype(float) for name in fields)])
        cases, counts = np.unique(known, axis=0, return_counts=True)
        for case, count in zip(cases, counts, strict=True):
            mine = {name: None if np.isnan(x) else x for name, x in zip(fields, case[1:], strict=True)}
            covers = cover_facts(product, [product.code] if case[0] else [], {}, scene="order")
            found += int(count) * bool(failed_rules(product.admission, {**mine, **covers}))
    return found


def _one_by_one(
    model: PropensityModel, products: list[Product], values: Array, held: Array, best: Array
) -> dict[str, float]:
    """Answer customers one at a time, as the service does, and hold the answers against the batch."""
    spec, times, differing = default_spec(), [], 0
    codes = [product.code for product in products]
    for customer in range(ASKED):
        known = dict(zip(model.inputs, values[customer].tolist(), strict=True))
        facts = {name: value for name, value in known.items() if name.startswith("customer.")}
        facts["customer.owns_shop"] = facts["customer.owns_shop"] > 0
        mine = [code for code, has in zip(codes, held[customer], strict=True) if has]
        had = [code for code in codes if known[f"{HAD}{code}"]]
        begun = time.perf_counter()
        found = rank_personal(model, spec, products, facts, known, mine, had, K, scene="order")
        times.append(1000.0 * (time.perf_counter() - begun))
        wanted = [codes[at] for at in best[customer] if at >= 0]
        differing += [offer.product for offer in found.offers] != wanted
    p50, p99 = np.percentile(times, [50, 99])
    return {"differing": float(differing), "p50_ms": float(p50), "p99_ms": float(p99)}


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:14} {value:.4f}")
