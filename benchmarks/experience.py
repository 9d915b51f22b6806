"""Experience rating: a million posteriors, two-way credibility at full size, and what own claims are worth.

What they are worth is measured out of time on a simulated book of five years: the last quarter of the quotes,
the same GA2M without own claims, with the profile feature `claims_1095d`, and with the experience rating.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data.simulate import simulate
from data.simulate.parameters import Parameters
from data.simulate.products import PRODUCTS
from data.store import connect
from features.load import default_spec
from models.credibility import gamma_shape
from models.experience import expected_per_cover, rating_of
from models.losses import row_losses
from models.own_history import own_sums, read_own_claims, read_terms
from models.splits import split_rows
from models.training import read_table, train
from models.training_table import attach_profiles, training_table
from pricing.experience import UNITS, Experience, ExperienceRating
from pricing.product import Product, Split, read_product

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FOLDER = Path(__file__).parents[1] / "data" / "reference" / "products"
CUSTOMERS, SEED = 200_000, 3
START, END = dt.datetime(2021, 1, 1), dt.datetime(2026, 1, 1)  # noqa: DTZ001 - naive UTC
UNITS_RATED = 1_000_000
FEATURE = "claims_1095d"
SPEC = default_spec()


def run() -> dict[str, float]:
    """Time the posteriors, fit credibility in a process of its own, and judge own claims out of time."""
    done = subprocess.run(  # noqa: S603 - this interpreter and our own module
        [sys.executable, "-m", "benchmarks.credibility", "--full"], check=True, capture_output=True, text=True
    )
    full: dict[str, float] = json.loads(done.stdout[done.stdout.rindex("{") :])
    figures = _posteriors() | {name: full[name] for name in ("seconds_17m_orders", "ae_low", "ae_high")}
    with tempfile.TemporaryDirectory(prefix="premia-experience-") as scratch:
        lake = Path(scratch)
        book = replace(Parameters(), start=START)
        simulate(lake, CUSTOMERS, SEED, orders_per_customer=5, parameters=book)
        with connect(lake) as con:
            figures |= _frailty(con, lake, book)
            for code in ("phone_screen", "medical", "motor"):
                figures |= worth(con, lake, code)
    return figures


def _posteriors() -> dict[str, float]:
    """Rate a million units from their sums, and move one by an event."""
    rng = np.random.default_rng(1)
    one = UNITS["number"]
    rating = ExperienceRating(START.date(), 2 * one, 600_000, 2_500_000, memory=0.9)
    days = np.full(UNITS_RATED, 1_500, dtype=np.int64)
    claims = rng.poisson(0.4, UNITS_RATED) * rating.weight(1_200) * one
    expected = np.rint(rng.uniform(0, 2, UNITS_RATED) * rating.weight(1_200) * one).astype(np.int64)
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        rating.relativities(claims, expected, days)
        seconds.append(time.perf_counter() - start)
    known, events = 0, 200_000
    start = time.perf_counter()
    for day in range(events):
        known += rating.weight(day % 1_500) * one
    update = (time.perf_counter() - start) / events
    start = time.perf_counter()
    for _ in range(20_000):
        rating.own(known, 3 * known, 1_500)
    quote = (time.perf_counter() - start) / 20_000
    return {
        "posteriors_1m_ms": float(np.median(seconds)) * 1e3,
        "event_us": update * 1e6,
        "one_us": quote * 1e6,
    }


def _frailty(con: duckdb.DuckDBPyConnection, lake: Path, book: Parameters) -> dict[str, float]:
    """Find the shape of the simulated frailty of motor again, at the rates that the simulator knows."""
    motor = next(product for product in PRODUCTS if product.code == "motor")
    assert motor.frailty_power == 1.0  # noqa: S101 - what is recovered is the frailty itself
    rows = con.execute(
        f"""WITH seen AS (SELECT policy_id, customer_id, least(1.0, date_diff('day', inception_at,
                TIMESTAMP '2025-09-01') / 365.0) AS share
            FROM policies WHERE product = 'motor' AND inception_at < TIMESTAMP '2025-09-01')
        SELECT sum(coalesce(k.n, 0)) AS n, sum(t.true_rate / c.risk * share) AS e
        FROM read_parquet('{lake}/truth/policies/**/*.parquet') t
        JOIN seen USING (policy_id)
        JOIN read_parquet('{lake}/truth/customers/*.parquet') c ON c.customer_id = seen.customer_id
        LEFT JOIN (SELECT policy_id, count(*) AS n FROM claims WHERE occurred_at < TIMESTAMP '2025-09-01'
            GROUP BY 1) k USING (policy_id)
        GROUP BY seen.customer_id"""  # noqa: S608
    ).fetchnumpy()
    counts, expected = np.asarray(rows["n"], np.float64), np.asarray(rows["e"], np.float64)
    shape = gamma_shape(counts, expected * counts.sum() / expected.sum())
    return {"frailty_shape": shape, "frailty_error": abs(shape / book.claim_alpha - 1)}


def variants(code: str) -> tuple[Product, Product]:
    """Give the product with the profile feature of own claims, and with experience in its place."""
    product = read_product(FOLDER / f"{code}.toml")
    filed = {
        "motor": Experience(method="poisson_gamma", lag_days=12, **_bounds()),
        "medical": Experience(method="poisson_gamma", lag_days=15, **_bounds()),
        "phone_screen": product.experience,
    }[code]
    rest = tuple(name for name in product.profile.features if name != FEATURE)
    out_of_time = Split(method="time", column="quoted_at", share=0.25)
    models = product.models.model_copy(update={"families": ("ga2m",)})

    def having(features: tuple[str, ...], own: Experience | None) -> Product:
        profile = product.profile.model_copy(update={"features": features})
        changed = {"profile": profile, "experience": own, "models": models, "split": out_of_time}
        return product.model_copy(update=changed)

    return having((*rest, FEATURE), None), having(rest, filed)


def _bounds() -> dict[str, object]:
    return {"since": START.date(), "lowest": "0.5", "highest": "3"}


def worth(con: duckdb.DuckDBPyConnection, lake: Path, code: str) -> dict[str, float]:
    """Judge own claims of a product on the last quarter: Poisson deviance (or log loss) a policy, x 100.

    Returns
    -------
    dict
        Without own claims, and what the profile feature and the experience rating gain on it.
    """
    feature, experience = variants(code)
    rate, count, exposure, _ = _tested(con, lake, feature)
    with_feature = _deviance(feature, count, rate * exposure, exposure)
    rate, count, exposure, relativity = _tested(con, lake, experience)
    plain = _deviance(experience, count, rate * exposure, exposure)
    rated = np.minimum(rate * relativity, 1.0 if experience.response.kind == "event" else np.inf)
    own = _deviance(experience, count, rated * exposure, exposure)
    return {
        f"{code}_without": plain,
        f"{code}_feature_gain": plain - with_feature,
        f"{code}_experience_gain": plain - own,
        f"{code}_balance": float(np.average(relativity, weights=rate * exposure)),
    }


def _tested(
    con: duckdb.DuckDBPyConnection, lake: Path, product: Product
) -> tuple[Floats, Floats, Floats, Floats]:
    """Train, and give rate, claims, exposure and relativity of the test rows."""
    table = attach_profiles(con, training_table(con, product, END), product, SPEC, lake)
    result = train(product, table, feature_spec=SPEC)
    _, matrix, observed = read_table(product, table)
    test = split_rows(product.split, table).test
    rate = expected_per_cover(product, result.models["ga2m"], matrix[test])
    rating = rating_of(product, result.experience)
    relativity = np.ones(int(test.sum()))
    if rating is not None:
        rows = table.filter(pa.array(test))
        units = rows["customer_id"].to_numpy()
        moments = rows["quoted_at"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
        bundle = result.bundle()
        claims, terms = read_own_claims(con, bundle, units), read_terms(con, bundle, SPEC, lake, units)
        relativity = own_sums(rating, claims, terms, units, moments).relativity / 1e6
    return rate, observed.count[test], observed.exposure[test], relativity


def _deviance(product: Product, count: Floats, expected: Floats, exposure: Floats) -> float:
    if product.response.kind == "event":
        return 100 * float(row_losses("binary", count, expected, exposure).mean())
    return float(row_losses("poisson", count, expected, exposure).mean())
