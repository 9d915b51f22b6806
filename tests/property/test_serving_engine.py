"""One risk and a batch of risks are decided alike: status, codes, premium and every step, for any values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.families import FitSettings
from models.training import train
from pricing.definitions import parse_definition
from pricing.errors import RiskError
from pricing.factors import read_risk
from pricing.ladder import STEP_NAMES, settle
from pricing.plan import RatingPlan
from pricing.product import parse_product
from serving.batch_engine import FACT_COLUMNS, PRICE_SCHEMA, decide_batch
from serving.batch_inputs import Sales
from serving.engine import InService, Sale, decide

PRODUCT = """
code = "trial"
version = 1
currency = "CNY"
plan = "trial-1"
quote_valid_minutes = 10
name = { en = "Trial", zh = "试" }
[cover]
kind = "fixed_benefit"
benefit = "100.00"
per = "year"
days = 365
[response]
kind = "event"
event = "hit"
[exposure]
unit = "policy"
[split]
method = "group"
column = "n"
[models]
families = ["glm"]
champion = "glm"
[offer]
need = "trial"
[profile]
features = ["orders_90d"]
[[factors]]
name = "age"
label = { en = "Age", zh = "龄" }
type = "integer"
unit = "years"
minimum = 18
maximum = 80
outside = "nearest"
[[factors]]
name = "km"
label = { en = "Distance", zh = "里程" }
type = "number"
unit = "km"
minimum = 0
maximum = 50
missing = "level"
[[factors]]
name = "fuel"
label = { en = "Fuel", zh = "燃" }
type = "category"
levels = ["petrol", "diesel", "other"]
unknown = "other"
"""
RULE = """
[[{kind}]]
code = "{code}"
field = "{field}"
op = "{op}"
value = {value}
effect = "{effect}"
when_unknown = "{unknown}"
message = {{ en = "No.", zh = "否。" }}
"""
RULES = [
    ("eligibility", "adult", "customer.age", ">=", "18", "decline", "pass"),
    ("eligibility", "no_shop", "customer.owns_shop", "==", "false", "decline", "fail"),
    ("eligibility", "place", "customer.region", "in", '["CN-GD", "CN-ZJ"]', "refer", "fail"),
    ("underwriting", "old", "age", "<", "80", "refer", "fail"),
    ("underwriting", "far", "km", "<=", "40", "decline", "pass"),
    ("underwriting", "fuel", "fuel", "!=", '"other"', "refer", "fail"),
    ("underwriting", "busy", "orders_90d", "<", "20", "refer", "fail"),
]
PLAN = """
code = "trial-1"
version = 1
filing = "F"
product = "trial"
currency = "CNY"
effective_from = 2020-01-01
margin = "0.05"
tax = "0.06"
minimum_premium = "30.00"
maximum_premium = "65.00"
reinsurance = "0.01"
[expense]
fixed = "1.00"
variable = "0.10"
[commission]
web = "0.00"
shop = "0.30"
app = { own = "0.05", partner = "0.25" }
[relativities.fuel.levels]
petrol = "1"
diesel = "1.01"
other = "0.983211"
[relativities.age]
bands = [{ at_least = 18, below = 50, relativity = "0.97" }, { at_least = 50, relativity = "1.03" }]
[relativities.km]
unknown = "1.02"
bands = [{ at_least = 0, below = 12.5, relativity = "0.99" }, { at_least = 12.5, relativity = "1.01" }]
[renewal_cap]
rise = "0.20"
fall = "0.10"
[cover_cap]
share = "0.66"
[rounding]
unit = "0.10"
[corridor]
lowest = "31.00"
highest = "64.00"
"""


@pytest.fixture(scope="module")
def service() -> InService:
    rng = np.random.default_rng(5)
    n = 4000
    age, fuel, orders = rng.integers(18, 81, n), rng.integers(0, 3, n), rng.poisson(6, n)
    logit = -1.2 + 0.02 * (age - 50) + 0.7 * (fuel == 1) + 0.05 * (orders - 6)
    table = pa.table(
        {
            "n": np.arange(n),
            "age": age,
            "km": np.where(rng.random(n) < 0.2, np.nan, rng.uniform(0, 50, n)),
            "fuel": np.array(["petrol", "diesel", "other"])[fuel],
            "orders_90d": orders,
            "hit": (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int64),
        }
    )
    names = ("kind", "code", "field", "op", "value", "effect", "unknown")
    text = PRODUCT + "".join(RULE.format(**dict(zip(names, rule, strict=True))) for rule in RULES)
    product = parse_product(text, "trial.toml")
    bundle = train(product, table, settings=FitSettings()).bundle()
    return InService(product, parse_definition(RatingPlan, PLAN, "trial-1.toml"), bundle, "1", "0")


ROW = st.fixed_dictionaries(
    {
        "age": st.none() | st.integers(-5, 120),
        "km": st.none() | st.floats(-5, 60) | st.just(math.nan) | st.just(math.inf),
        "fuel": st.none() | st.sampled_from(["petrol", "diesel", "other", "steam", ""]),
        "orders_90d": st.none() | st.integers(0, 40),
        "customer.age": st.none() | st.integers(0, 100),
        "customer.owns_shop": st.sampled_from([False, False, False, True, None]),
        "customer.region": st.none() | st.sampled_from(["CN-GD", "CN-ZJ", "CN-BJ"]),
        "customer.city_tier": st.none() | st.integers(1, 5),
        "customer.tenure_days": st.none() | st.integers(0, 5000),
        "outlet": st.sampled_from([("web", None), ("shop", None), ("app", "own"), ("app", "partner")]),
        "expiring": st.none() | st.integers(2_000, 9_000),
    }
)
TYPES = {
    "age": pa.int64(),
    "km": pa.float64(),
    "fuel": pa.string(),
    "orders_90d": pa.int64(),
    "customer.age": pa.int64(),
    "customer.owns_shop": pa.bool_(),
    "customer.region": pa.string(),
    "customer.city_tier": pa.int64(),
    "customer.tenure_days": pa.int64(),
}


def one(service: InService, row: dict[str, Any]) -> dict[str, Any]:
    """Decide as the service does for one request."""
    empty = dict.fromkeys(PRICE_SCHEMA.names)
    given = {name: row[name] for name in ("age", "km", "fuel")}
    try:
        risk = read_risk(service.product.factors, given)
    except RiskError as error:
        codes = ";".join(f"{problem.field}:{problem.code}" for problem in error.problems)
        return empty | {"status": "refused", "codes": codes}
    facts = {name: row[name] for name in FACT_COLUMNS}
    sale = Sale(*row["outlet"], row["expiring"] or 0)
    decision = decide(service, risk, {"orders_90d": row["orders_90d"]}, facts, sale)
    found = empty | {"status": decision.status, "codes": ";".join(o.code for o in decision.outcomes)}
    if decision.scored is not None:
        found["risk_premium_minor"] = decision.scored.risk_premium_minor
    if decision.status == "quoted":
        ladder = decision.ladder
        assert ladder is not None
        found["price_minor"] = ladder.price_minor
        found |= {f"step_{name}_minor": ladder.amount(name) for name in STEP_NAMES}
        owed = settle(ladder.price_minor, service.plan.terms(*row["outlet"]))
        found |= {"tax_due_minor": owed.tax_minor, "commission_due_minor": owed.commission_minor}
    return found


def batch(service: InService, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    arrays = [pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()]
    whole = pa.RecordBatch.from_arrays(arrays, names=list(TYPES))
    outlets = zip(*(row["outlet"] for row in rows), strict=True)
    expiring = pa.array([row["expiring"] for row in rows], pa.int64())
    return decide_batch(service, whole, Sales(*map(list, outlets), expiring)).to_pylist()


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=12))
def test_one_risk_and_a_batch_are_decided_alike(service, rows):
    assert batch(service, rows) == [one(service, row) for row in rows]


def test_every_kind_of_end_is_reached(service):
    """The property above would be empty if nothing were ever priced, referred, declined or refused."""
    plain = {
        "age": 40,
        "km": 10.0,
        "fuel": "petrol",
        "orders_90d": 5,
        "outlet": ("web", None),
        "expiring": None,
    }
    facts = {"customer.age": 40, "customer.owns_shop": False, "customer.region": "CN-GD"}
    row = plain | facts | {"customer.city_tier": 1, "customer.tenure_days": 9}
    ends = [
        ({}, "quoted", ""),
        ({"km": None}, "quoted", ""),
        ({"customer.age": None}, "quoted", ""),
        ({"age": 99}, "referred", "old"),
        ({"fuel": "steam"}, "referred", "fuel"),
        ({"orders_90d": None}, "referred", "busy"),
        ({"customer.region": None, "orders_90d": 30}, "referred", "place;busy"),
        ({"km": 45.0, "customer.age": 17}, "declined", "adult;far"),
        ({"km": 45.0, "orders_90d": 30}, "declined", "far;busy"),
        ({"customer.owns_shop": None}, "declined", "no_shop"),
        ({"km": 51.0, "age": None}, "refused", "age:missing;km:above"),
        (
            {"age": 79, "fuel": "diesel", "orders_90d": 19, "outlet": ("shop", None)},
            "referred",
            "price_outside_corridor",
        ),
        ({"outlet": ("app", "own")}, "quoted", ""),
        ({"age": 70, "fuel": "diesel", "expiring": 9_000}, "referred", "limits_contradict"),
    ]
    rows = [row | change for change, _, _ in ends]
    expected = [(status, codes) for _, status, codes in ends]
    assert [(found["status"], found["codes"]) for found in batch(service, rows)] == expected
    assert [(found["status"], found["codes"]) for found in (one(service, r) for r in rows)] == expected
