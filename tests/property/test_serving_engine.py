"""One risk and a batch of risks are decided alike: status, codes, premium and every step, for any values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from models.demand import SplineDemand, StoredDemand, Verdict
from models.families import FitSettings
from models.training import train
from pricing.definitions import parse_definition
from pricing.errors import RiskError
from pricing.experiments import CellShares, assign_cells
from pricing.experiments.shares import Evidence
from pricing.factors import read_risk
from pricing.ladder import STEP_NAMES, settle
from pricing.optimiser import PricePolicy
from pricing.plan import MILLION, PolicyFile, RatingPlan
from pricing.product import Product, parse_product
from serving.batch_engine import PRICE_SCHEMA, decide_batch
from serving.batch_facts import FACT_COLUMNS
from serving.batch_inputs import Sales
from serving.engine import InService, Sale, decide
from serving.offers import Asking, LivePolicy

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


TEST = CellShares(
    "trial_test", "", 0, (920_000, MILLION, 1_060_000), (300_000, 400_000, 300_000), Evidence("filed")
)


def demand_of(product: Product) -> StoredDemand:
    """Fit demand on quotes without cars of other fuels, of whose demand it therefore knows nothing."""
    rng = np.random.default_rng(9)
    n = 4000
    price = np.log(rng.choice(np.linspace(0.8, 1.2, 9), n))
    frame = pd.DataFrame({"age": rng.integers(18, 81, n).astype(float), "km": rng.uniform(0, 50, n)})
    frame.loc[rng.random(n) < 0.2, "km"] = np.nan
    frame["fuel"] = rng.choice(["petrol", "diesel"], n)
    chance = expit(0.3 - (3 + 0.04 * (frame["age"] - 50)) * price)
    model = SplineDemand().fit(frame, (rng.random(n) < chance).astype(float), price)
    verdict = Verdict(True, True, (), {}, 1.0, n)
    return StoredDemand(product.code, product.hash, "trial", model, verdict, {})


def with_policy(service: InService, kind: str) -> InService:
    """Let the plan name a price policy."""
    ladder = tuple(np.arange(800_000, 1_200_001, 20_000) / MILLION)
    fuels = ("petrol", "diesel", "other")
    if kind == "group":
        policy = PricePolicy("group", ladder, fuels, group_steps=(2, 13, 20), segment_by="fuel")
        live = LivePolicy(policy, None)
    else:
        worth = [(900.0, 0.0, 1500.0), (0.1, 0.0, 0.0), (0.0, 0.05, 0.0), (-0.05, 0.0, 0.02)]
        policy = PricePolicy("individual", ladder, fuels, *worth, segment_by="fuel")
        live = LivePolicy(policy, demand_of(service.product))
    named = PolicyFile(file="p.json", sha256="0" * 64, mode=kind)
    plan = service.plan.model_copy(update={"price_policy": named})
    return replace(service, plan=plan, policies={named.sha256: live})


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
        "customer": st.none() | st.integers(0, 2**62),
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


def one(service: InService, row: dict[str, Any], shares: CellShares | None = None) -> dict[str, Any]:
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
    tested = None if shares is None else Asking(shares, row["customer"])
    decision = decide(service, risk, {"orders_90d": row["orders_90d"]}, facts, sale, tested=tested)
    if decision.offer is not None and decision.offer.tested is not None and decision.ladder is not None:
        assert decision.offer.tested.shown_minor == decision.ladder.price_minor
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


def batch(
    service: InService, rows: list[dict[str, Any]], shares: CellShares | None = None
) -> list[dict[str, Any]]:
    arrays = [pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()]
    whole = pa.RecordBatch.from_arrays(arrays, names=list(TYPES))
    outlets = zip(*(row["outlet"] for row in rows), strict=True)
    expiring = pa.array([row["expiring"] for row in rows], pa.int64())
    customers = pa.array([row["customer"] for row in rows], pa.int64())
    sales = Sales(*map(list, outlets), expiring)
    return decide_batch(service, whole, sales, shares=shares, customers=customers).to_pylist()


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=12))
def test_one_risk_and_a_batch_are_decided_alike(service, rows):
    assert batch(service, rows) == [one(service, row) for row in rows]


@pytest.fixture(scope="module", params=["group", "individual"])
def offered(service, request) -> InService:
    return with_policy(service, request.param)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=12), tested=st.booleans())
def test_policy_and_test_move_one_risk_and_a_batch_alike(offered, rows, tested):
    shares = TEST if tested else None
    assert batch(offered, rows, shares) == [one(offered, row, shares) for row in rows]


PLAIN = {
    "age": 40,
    "km": 10.0,
    "fuel": "petrol",
    "orders_90d": 5,
    "outlet": ("web", None),
    "expiring": None,
    "customer": 1,
    "customer.age": 40,
    "customer.owns_shop": False,
    "customer.region": "CN-GD",
    "customer.city_tier": 1,
    "customer.tenure_days": 9,
}


def test_a_policy_moves_prices_and_no_renewal_is_dearer_than_new_business(service, offered):
    ages = [PLAIN | {"age": age, "km": None if age % 3 else 20.0} for age in range(20, 75)]
    new = batch(offered, ages)
    assert any(row["step_price_policy_minor"] for row in new)
    before = {row["price_minor"] for row in batch(service, ages)}
    assert {row["price_minor"] for row in new} != before
    for expiring in (3_500, 4_500, 5_500):
        renewed = batch(offered, [row | {"expiring": expiring} for row in ages])
        for old, row in zip(new, renewed, strict=True):
            if row["status"] == old["status"] == "quoted" and not row["step_renewal_cap_minor"]:
                assert row["price_minor"] <= old["price_minor"]


def test_a_test_leaves_out_who_is_not_named_and_prices_that_a_bound_would_move(service):
    customers = [PLAIN | {"age": 65, "customer": customer} for customer in range(60)]
    found = batch(service, customers, TEST)
    cells = assign_cells(TEST, np.arange(60))
    for row, cell in zip(found, cells, strict=True):
        assert np.sign(row["step_price_test_minor"]) == cell - 1
    nobody = one(service, PLAIN | {"age": 65, "customer": None}, TEST)
    assert nobody["step_price_test_minor"] == 0
    # The minimum premium would lift the lowest cell: the others take no part either.
    least = [row | {"age": 18, "km": 1.0} for row in customers]
    dear = [row | {"expiring": 4_000, "age": 70} for row in customers]
    for rows in (least, dear):
        assert all(row["step_price_test_minor"] in (0, None) for row in batch(service, rows, TEST))


def test_every_kind_of_end_is_reached(service):
    """The property above would be empty if nothing were ever priced, referred, declined or refused."""
    row = PLAIN
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
