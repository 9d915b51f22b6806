# ruff: noqa: S608 (the SQL of a test is built from its own words)
"""What the simulator was told must be found again in what it wrote.

Sizes and seeds are fixed; tolerances come from standard errors where the estimator gives them.
"""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from glum import GeneralizedLinearRegressor

import data
from data.simulate import CATEGORIES, Parameters, simulate
from data.simulate.products import MOTOR_EFFECTS
from data.store import connect
from models.preparation import build_triangle, develop, report_pattern, reported_share
from models.training_table import training_table
from pricing.product import read_product

P = Parameters()
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    root = tmp_path_factory.mktemp("lake")
    simulate(root, 60_000, seed=11, threads=2, orders_per_customer=10)
    with connect(root, threads=2) as connection:
        for name in ("customers", "sellers"):
            files = f"{root}/truth/{name}/*.parquet"
            connection.execute(f"CREATE VIEW true_{name} AS FROM read_parquet('{files}')")
        for name in ("policies", "claims"):
            files = f"{root}/truth/{name}/**/*.parquet"
            source = f"read_parquet('{files}', hive_partitioning = true, union_by_name = true)"
            connection.execute(f"CREATE VIEW true_{name} AS FROM {source}")
        yield connection


def columns(connection, sql):
    return connection.execute(sql).fetchnumpy()


def test_motor_relativities_within_three_standard_errors(lake):
    d = columns(
        lake,
        "SELECT driver_age, vehicle_age, vehicle_power, bonus_malus, fuel, region, annual_km, risk, "
        "(SELECT count(*) FROM true_claims c WHERE c.policy_id = p.policy_id) AS claims "
        "FROM policies p JOIN true_customers USING (customer_id) WHERE product = 'motor'",
    )
    age, fuel, region = d["driver_age"], np.asarray(d["fuel"], str), np.asarray(d["region"], str)
    x = np.column_stack(
        [
            age < 25,
            (age >= 25) & (age < 30),
            age >= 65,
            d["vehicle_age"],
            d["vehicle_power"] - 6,
            d["bonus_malus"] - 60,
            fuel == "diesel",
            fuel == "electric",
            np.log(d["annual_km"] / 12),
            *[region == code for code in np.unique(region)[1:]],
        ]
    ).astype(float)
    model = GeneralizedLinearRegressor(family="poisson", alpha=0, fit_intercept=True)
    model.fit(x, d["claims"].astype(float), offset=np.log(d["risk"].astype(float)))
    design = np.column_stack([np.ones(len(x)), x])
    fitted = np.exp(design @ np.concatenate([[model.intercept_], model.coef_])) * d["risk"]
    errors = np.sqrt(np.diag(np.linalg.inv((design * fitted[:, None]).T @ design)))[1:]
    gaps = (model.coef_[: len(MOTOR_EFFECTS)] - np.array(list(MOTOR_EFFECTS.values()))) / errors[
        : len(MOTOR_EFFECTS)
    ]
    assert np.abs(gaps).max() < 3, dict(zip(MOTOR_EFFECTS, gaps.round(2), strict=True))


def test_buyer_frailty_within_ten_percent(lake):
    d = columns(
        lake,
        "SELECT o.customer_id, o.category, o.amount_minor, s.frailty, month(ordered_at) AS month, "
        "p.policy_id IS NOT NULL AS covered, returned_at IS NOT NULL AS back "
        "FROM orders o JOIN true_sellers s USING (seller_id) LEFT JOIN policies p USING (order_id) "
        "WHERE ordered_at < TIMESTAMP '2025-11-01'",
    )
    names, category = np.unique(np.asarray(d["category"], str), return_inverse=True)
    hazard = np.array([P.return_hazards[CATEGORIES.index(name)] for name in names])[category]
    hazard = hazard * np.array(P.return_season)[d["month"] - 1] * d["frailty"]
    hazard = hazard * (d["amount_minor"] / 1e4) ** P.return_amount_power
    hazard = np.where(d["covered"], P.cover_effect, 1.0) * hazard
    _, who = np.unique(d["customer_id"], return_inverse=True)
    back = np.asarray(d["back"], bool)
    # Likelihood of a buyer's orders integrated over the frailty on a fine grid of log theta.
    u = np.linspace(np.log(1e-4), np.log(12.0), 90)
    log_likelihood = np.zeros((who.max() + 1, len(u)))
    for column, theta in enumerate(np.exp(u)):
        each = np.where(back, np.log(-np.expm1(-hazard * theta)), -hazard * theta)
        log_likelihood[:, column] = np.bincount(who, each)

    def total(alpha):
        prior = alpha * u - alpha * np.exp(u)
        prior -= np.log(np.exp(prior).sum())
        joint = log_likelihood + prior
        peak = joint.max(axis=1, keepdims=True)
        return (peak[:, 0] + np.log(np.exp(joint - peak).sum(axis=1))).sum()

    grid = np.linspace(1.0, 2.4, 57)
    best = grid[np.argmax([total(alpha) for alpha in grid])]
    assert abs(best / P.buyer_alpha - 1) < 0.10


@pytest.mark.parametrize(
    ("product", "base"), [("return_freight", P.return_elasticity), ("flight_delay", 1.2)]
)
def test_price_test_gives_the_elasticity_back(lake, product, base):
    trait, power = ("proneness", P.return_selection) if product == "return_freight" else ("risk", 0.10)
    d = columns(
        lake,
        f"SELECT price_multiplier AS m, accepted, {trait} AS trait, elasticity FROM quotes "
        f"JOIN true_customers USING (customer_id) WHERE product = '{product}' AND experiment IS NOT NULL",
    )
    log_m = np.log(np.ma.filled(d["m"], np.nan).astype(float))
    x = np.column_stack([log_m * d["elasticity"], np.log(np.maximum(d["trait"], 1e-3))])
    model = GeneralizedLinearRegressor(family="binomial", alpha=0).fit(x, np.asarray(d["accepted"], float))
    design = np.column_stack([np.ones(len(x)), x])
    share = model.predict(x)
    errors = np.sqrt(np.diag(np.linalg.inv((design * (share * (1 - share))[:, None]).T @ design)))
    assert abs(model.coef_[0] + base) < 3 * errors[1]
    assert abs(model.coef_[1] - power) < 3 * errors[2]
    if product == "return_freight":
        assert abs(model.coef_[0] / -base - 1) < 0.05
        # Without the traits the average derivative must still be found, as a price test promises.
        plain = GeneralizedLinearRegressor(family="binomial", alpha=0).fit(
            log_m[:, None], x[:, 0] * 0 + d["accepted"]
        )
        fitted = plain.predict(log_m[:, None])
        slope = plain.coef_[0] * (fitted * (1 - fitted)).mean()
        true = (-base * d["elasticity"] * share * (1 - share)).mean()
        assert abs(slope / true - 1) < 0.10


def test_price_cells_do_not_depend_on_the_customer(lake):
    d = columns(
        lake,
        "SELECT DISTINCT customer_id, cell, elasticity, proneness FROM quotes "
        "JOIN true_customers USING (customer_id) WHERE product = 'return_freight' AND cell IS NOT NULL",
    )
    assert len(np.unique(d["customer_id"])) == len(d["customer_id"])
    cell = np.asarray(d["cell"], float)
    for trait in ("elasticity", "proneness"):
        correlation = np.corrcoef(cell, d[trait])[0, 1]
        assert abs(correlation) < 3 / np.sqrt(len(cell))


def test_report_delay_is_found_despite_the_end_of_history(lake):
    d = columns(
        lake,
        "SELECT epoch(reported_at - occurred_at) / 86400 AS delay, "
        "epoch(TIMESTAMP '2026-01-01' - occurred_at) / 86400 AS room FROM claims "
        "WHERE product = 'return_freight'",
    )
    delay, room = d["delay"], d["room"]
    # Exponential seen only when it ends within `room`: solve the score equation of the mean.
    mean = delay.mean()
    for _ in range(50):
        cut = np.exp(-room / mean)
        mean = (delay + room * cut / (1 - cut)).mean()
    error = mean / np.sqrt(len(delay))
    assert abs(mean - P.return_delay_days) < 3 * error
    assert abs(mean / P.return_delay_days - 1) < 0.03


@pytest.mark.parametrize("product", ["return_freight", "motor", "medical", "phone_screen", "flight_delay"])
def test_ultimate_claims_are_found_before_they_are_reported(lake, product):
    """From the claims known at the end of the history, number and amount of all that had happened by then.

    A claim that had `room` days to be reported is known with probability 1 - exp(-room / mean delay), so each
    known one stands for the inverse of it (Horvitz and Thompson); its variance is (1 - p) / p^2.
    """
    known = columns(
        lake,
        "SELECT epoch(reported_at - occurred_at) / 86400 AS delay, paid_minor, "
        "epoch(TIMESTAMP '2026-01-01' - occurred_at) / 86400 AS room FROM claims "
        f"WHERE product = '{product}'",
    )
    delay, room, paid = known["delay"], known["room"], known["paid_minor"].astype(float)
    mean = delay.mean()
    for _ in range(200):
        cut = np.exp(-room / mean)
        mean = (delay + room * cut / np.maximum(1 - cut, 1e-12)).mean()
    p = -np.expm1(-room / mean)
    number, amount = lake.execute(
        "SELECT count(*), sum(paid_minor) FROM true_claims "
        f"WHERE product = '{product}' AND occurred_at < TIMESTAMP '2026-01-01'"
    ).fetchall()[0]
    assert number > len(delay)  # there is something still to be reported
    assert abs((1 / p).sum() - number) < 3 * np.sqrt(((1 - p) / p**2).sum())
    assert abs((paid / p).sum() - float(amount)) < 3 * np.sqrt((paid**2 * (1 - p) / p**2).sum())


@pytest.mark.parametrize("product", ["return_freight", "motor", "medical", "phone_screen"])
def test_development_finds_all_that_happened(lake, product):
    """From the claims known at the end: by triangle, and by the exposure that they are to be set against."""
    pytest.importorskip("chainladder")
    end = pd.Timestamp("2026-01-01")
    known = lake.execute(
        f"SELECT occurred_at, reported_at, paid_minor::DOUBLE AS paid FROM claims WHERE product = '{product}'"
    ).df()
    number = lake.execute(
        f"SELECT count(*) FROM true_claims WHERE product = '{product}' AND occurred_at < '{end}'"
    ).fetchone()[0]
    assert number > len(known)
    triangle = build_triangle(known, occurred="occurred_at", known="reported_at", valuation=end)
    found = develop(triangle)
    assert abs(found.frame["ultimate"].sum() - number) < 3 * found.total_std_error
    covers = lake.execute(
        f"SELECT inception_at, expiry_at FROM policies WHERE product = '{product}' AND inception_at < '{end}'"
    ).df()
    pattern = report_pattern(known["occurred_at"], known["reported_at"], end)
    share = reported_share(covers["inception_at"], covers["expiry_at"], end, pattern)
    last = covers["expiry_at"].clip(upper=end)
    exposure = ((last - covers["inception_at"]) / pd.Timedelta(days=365)).to_numpy()
    ultimate = len(known) / (exposure * share).sum() * exposure.sum()
    assert abs(ultimate - number) < 3 * np.sqrt(number)
    assert (share < 0.999).any()


def test_a_training_table_by_reported_share_holds_the_true_frequency(lake):
    product = read_product(Path(data.__file__).parent / "reference" / "products" / "motor.toml")
    end = dt.datetime(2026, 1, 1)

    def frequency(**changes):
        response = product.response.model_copy(update=changes)
        found = training_table(lake, product.model_copy(update={"response": response}), end)
        claims, exposure = (found[name].to_numpy().sum() for name in ("claim_count", "exposure"))
        return claims / exposure, claims

    shared, claims = frequency(development="share", development_days=0)
    happened, exposure = lake.execute(
        "SELECT (SELECT count(*) FROM true_claims WHERE product = 'motor' "
        f"AND occurred_at < TIMESTAMP '{end}'), "
        f"sum(epoch(least(expiry_at, TIMESTAMP '{end}') - inception_at)) / 86400 / 365 FROM policies "
        f"WHERE product = 'motor' AND inception_at < TIMESTAMP '{end}'"
    ).fetchone()
    truth = happened / float(exposure)
    assert abs(shared / truth - 1) < 3 / np.sqrt(claims)
    naive, _ = frequency(development_days=0)
    assert naive < shared
    assert abs(shared / truth - 1) < abs(naive / truth - 1)


def test_cover_is_bought_by_those_who_return(lake):
    share = "avg(CAST(returned_at IS NOT NULL AS INTEGER))"
    rows = lake.execute(
        f"SELECT accepted, {share}, avg(proneness) FROM quotes JOIN orders USING (order_id) "
        "JOIN true_customers ON true_customers.customer_id = quotes.customer_id "
        "WHERE product = 'return_freight' GROUP BY accepted ORDER BY accepted"
    ).fetchall()
    (_, free, meek), (_, covered, keen) = rows
    assert covered > 1.5 * free
    assert keen > 1.3 * meek


def test_order_history_tells_about_motor_claims(lake):
    rows = lake.execute(
        "WITH h AS (SELECT customer_id, avg(CAST(returned_at IS NOT NULL AS INTEGER)) AS share FROM orders "
        "GROUP BY customer_id HAVING count(*) >= 5), t AS (SELECT share, true_rate FROM policies "
        "JOIN true_policies USING (policy_id) JOIN h USING (customer_id) WHERE policies.product = 'motor') "
        "SELECT avg(true_rate) FILTER (share >= 0.3), avg(true_rate) FILTER (share < 0.05) FROM t"
    ).fetchall()[0]
    assert rows[0] > 1.25 * rows[1]


def test_loss_ratios_are_those_of_a_living_insurer(lake):
    rows = lake.execute(
        "WITH earned AS (SELECT product, sum(premium_minor * least(1, greatest(0, "
        "epoch(TIMESTAMP '2026-01-01' - inception_at) / epoch(expiry_at - inception_at)))) AS earned "
        "FROM policies GROUP BY product) SELECT product, sum(paid_minor) / any_value(earned) FROM claims "
        "JOIN earned USING (product) GROUP BY product"
    ).fetchall()
    ratio = dict(rows)
    assert 0.88 < ratio["return_freight"] < 1.02
    assert 0.4 < ratio["motor"] < 1.0
    assert 0.5 < ratio["flight_delay"] < 0.8
