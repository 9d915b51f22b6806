"""Own claims in the price: one risk and a batch alike, the step of the ladder, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.load import default_spec
from models.bundle import Bundle
from models.errors import ArtifactError, TrainingDataError
from models.experience import bichsel_straub
from models.families import FitSettings
from models.history_rules import check_history
from models.training import train
from pricing.definitions import parse_definition
from pricing.errors import DefinitionError, RiskError
from pricing.experience import OwnHistory
from pricing.factors import read_risk
from pricing.plan import RatingPlan
from pricing.product import Product, parse_product
from serving.batch_engine import decide_batch
from serving.batch_facts import FACT_COLUMNS
from serving.batch_inputs import Sales
from serving.engine import InService, Sale, decide
from serving.experience import RELATIVITY

PRODUCT = """
code = "trial"
version = 1
currency = "CNY"
plan = "trial-1"
quote_valid_minutes = 10
name = {{ en = "Trial", zh = "试" }}
cover = {{ kind = "fixed_benefit", benefit = "100.00", per = "year", days = 365 }}
response = {{ kind = "{kind}", {column} }}
exposure = {{ unit = "policy" }}
split = {{ method = "group", column = "customer_id" }}
models = {{ families = ["glm"], champion = "glm" }}
offer = {{ need = "trial" }}
{experience}
[[factors]]
name = "age"
label = {{ en = "Age", zh = "龄" }}
type = "integer"
unit = "years"
minimum = 18
maximum = 80
[[factors]]
name = "ncd"
label = {{ en = "Class", zh = "等级" }}
type = "integer"
unit = ""
minimum = 0
maximum = 5
"""
KINDS = {"event": 'event = "hit"', "claim_count": 'count = "claims"'}
OWN = """
[experience]
method = "poisson_gamma"
since = 2024-01-01
lowest = "0.5"
highest = "4"
"""
CLASSES = """
[experience]
method = "bonus_malus"
lowest = "0.4"
highest = "3"
shape = 1.2
scale = { factor = "ncd", start = 3, up = 2 }
"""
PLAN = """
code = "trial-1"
version = 1
filing = "F"
product = "trial"
currency = "CNY"
effective_from = 2020-01-01
margin = "0.05"
tax = "0.06"
minimum_premium = "0.10"
expense = { fixed = "1.00", variable = "0.10" }
commission = { web = "0.10" }
rounding = { unit = "0.01" }
corridor = { lowest = "0.10", highest = "900.00" }
"""


def product_of(kind: str, experience: str) -> Product:
    return parse_product(PRODUCT.format(kind=kind, column=KINDS[kind], experience=experience), "trial.toml")


def book(shape: float, size: int = 6_000, policies: int = 4, seed: int = 1) -> pa.Table:
    """Customers who differ by a gamma of that shape, each with some policies."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(size), policies)
    theta = rng.gamma(shape, 1 / shape, size)[who]
    age = rng.integers(18, 81, len(who))
    claims = rng.poisson(0.3 * np.exp((50 - age) / 60) * theta)
    return pa.table(
        {
            "customer_id": who,
            "age": age,
            "ncd": rng.integers(0, 6, len(who)),
            "claims": claims,
            "hit": np.minimum(claims, 1),
        }
    )


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return book(1.5)


@pytest.fixture(scope="module")
def services(table: pa.Table) -> dict[str, InService]:
    plan = parse_definition(RatingPlan, PLAN, "trial-1.toml")
    products = {
        "numbers": product_of("claim_count", OWN),
        "event": product_of("event", OWN + "shape = 2.0"),
        "classes": product_of("claim_count", CLASSES),
    }
    return {
        name: InService(product, plan, train(product, table, settings=FitSettings()).bundle(), "1", "0")
        for name, product in products.items()
    }


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "age": st.none() | st.integers(10, 90),
            "ncd": st.none() | st.integers(-1, 7),
            "own": st.none() | st.integers(500_000, 4_000_000),
        }
    ),
    min_size=1,
    max_size=8,
)


def one(service: InService, row: dict[str, Any]) -> tuple[str, str, int | None, int | None]:
    try:
        risk = read_risk(service.product.factors, {name: row[name] for name in ("age", "ncd")})
    except RiskError as error:
        return "refused", ";".join(f"{item.field}:{item.code}" for item in error.problems), None, None
    own = None if row["own"] is None else OwnHistory(1.0, 1.0, 0.5, row["own"])
    found = decide(service, risk, {}, {}, Sale("web"), own)
    codes = ";".join(outcome.code for outcome in found.outcomes)
    ladder = found.ladder
    if ladder is None:
        return found.status, codes, None, None
    return found.status, codes, ladder.amount("experience"), ladder.price_minor


def batch(service: InService, rows: list[dict[str, Any]]) -> list[tuple[str, str, int | None, int | None]]:
    columns = {name: pa.array([row[name] for row in rows], pa.int64()) for name in ("age", "ncd")}
    columns |= {RELATIVITY: pa.array([row["own"] for row in rows], pa.int64())}
    columns |= {name: pa.nulls(len(rows)) for name in FACT_COLUMNS}
    priced = decide_batch(service, pa.RecordBatch.from_pydict(columns), Sales(["web"] * len(rows)))
    return [
        (row["status"], row["codes"], row["step_experience_minor"], row["price_minor"])
        for row in priced.to_pylist()
    ]


@pytest.mark.parametrize("name", ["numbers", "event", "classes"])
@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_one_risk_and_a_batch_are_decided_alike(services, name, rows):
    assert batch(services[name], rows) == [one(services[name], row) for row in rows]


def test_the_price_follows_the_relativity_and_the_class(services):
    row = {"age": 40, "ncd": 2, "own": 1_000_000}
    status, _, step, price = one(services["numbers"], row)
    assert (status, step) == ("quoted", 0)
    assert one(services["numbers"], row | {"own": None})[2:] == (step, price)
    dear = one(services["numbers"], row | {"own": 2_000_000})
    assert dear[2] is not None
    assert dear[3] is not None
    assert price is not None
    assert dear[3] > price + dear[2]  # commission and margin come on top
    prices = [one(services["classes"], row | {"ncd": place})[3] for place in range(6)]
    assert prices == sorted(prices)  # no model saw the class, in which the book holds nothing
    assert prices[0] != prices[-1]
    assert "ncd" not in services["classes"].bundle.encoding.inputs
    assert "ncd" in services["numbers"].bundle.encoding.inputs


def test_a_probability_is_never_lifted_above_one(services):
    service = services["event"]
    risk = read_risk(service.product.factors, {"age": 18, "ncd": 0})
    own = OwnHistory(9.0, 1.0, 0.5, 4_000_000)
    found = decide(service, risk, {}, {}, Sale("web"), own)
    assert found.scored is not None
    assert found.inputs is not None
    chance = found.scored.components["probability"]
    assert chance > 0.25
    assert isinstance(found.inputs.experience, int)
    assert 1 - 2e-6 < chance * found.inputs.experience / 1e6 <= 1


def test_training_finds_the_shape_of_numbers(services):
    fit = services["numbers"].bundle.experience
    assert fit is not None
    assert fit.shape == pytest.approx(1.5, rel=0.10)


def test_the_shape_is_not_ruled_by_giants(table):
    """A hundred average giants beside the customers: moments weighted by size would see nobody differ."""
    giant = np.arange(100).repeat(2_000) + 1_000_000
    rng = np.random.default_rng(3)
    age = rng.integers(18, 81, len(giant))
    claims = rng.poisson(0.3 * np.exp((50 - age) / 60))
    columns = [giant, age, rng.integers(0, 6, len(giant)), claims, np.minimum(claims, 1)]
    whole = pa.concat_tables([table, pa.table(dict(zip(table.column_names, columns, strict=True)))])
    result = train(product_of("claim_count", OWN), whole, settings=FitSettings())
    assert result.experience is not None
    assert result.experience.shape == pytest.approx(1.5, rel=0.3)  # each giant is one of 6,100 units
    units, place = np.unique(whole["customer_id"].to_numpy(), return_inverse=True)
    counts = np.bincount(place, whole["claims"].to_numpy())
    expected = np.bincount(place) * counts.sum() / whole.num_rows
    excess = ((counts - expected) ** 2 - counts).sum() / (expected**2).sum()
    assert 1 / excess > 10  # the textbook's shape
    assert len(units) > 6_000


@pytest.mark.parametrize("giants", [0, 20])
def test_the_shape_of_cost_is_found_by_bounded_weights(giants):
    rng = np.random.default_rng(4)
    sizes = np.concatenate([rng.integers(2, 12, 4_000), np.full(giants, 20_000)])
    place = np.repeat(np.arange(len(sizes)), sizes)
    expected = rng.uniform(50, 150, len(place))
    theta = rng.gamma(4.0, 0.25, len(sizes))[place]  # between 0.25
    actual = expected * theta + np.sqrt(60.0 * expected) * rng.standard_normal(len(place))
    assert bichsel_straub(actual, expected, place) == pytest.approx(60 / 0.25, rel=0.10)
    alike = expected + np.sqrt(60.0 * expected) * rng.standard_normal(len(place))
    assert bichsel_straub(alike, expected, place) > 60 / 0.25 * 20


def test_customers_who_do_not_differ_are_not_rated(table):
    with pytest.raises(TrainingDataError, match="tell nothing beyond the model"):
        train(product_of("claim_count", OWN), book(1e6, 3_000, 2), settings=FitSettings())
    with pytest.raises(TrainingDataError, match=r"'customer_id' \(whose experience\?\) is absent"):
        plain = product_of("claim_count", OWN).model_dump()
        plain["split"] = {"method": "random"}
        train(Product.model_validate(plain), table.drop_columns("customer_id"), settings=FitSettings())


def test_the_fit_is_stored_and_a_bundle_without_it_is_refused(services, tmp_path):
    bundle = services["classes"].bundle
    folder = bundle.save(tmp_path / "whole")
    assert Bundle.load(folder).experience == bundle.experience
    bare = replace(bundle, experience=None).save(tmp_path / "bare")
    with pytest.raises(ArtifactError, match="was not fitted. Hint: premia train"):
        Bundle.load(bare)


@pytest.mark.parametrize(
    ("kind", "experience", "message"),
    [
        ("claim_count", 'demand_only = ["device", "age"]', r"demand-only attributes \['age'\] are never"),
        ("event", OWN, "file experience.shape"),
        ("claim_count", OWN.replace("poisson_gamma", "buhlmann_straub"), "a fixed_benefit has poisson_gamma"),
        ("claim_count", CLASSES.replace('"ncd"', '"colour"'), "'colour' is no integer factor with minimum 0"),
        ("claim_count", CLASSES.replace('"ncd"', '"age"'), "'age' is no integer factor with minimum 0"),
        ("claim_count", CLASSES.replace("start = 3", "start = 9"), "no scale has 6 classes from 9 on"),
        (
            "claim_count",
            OWN + '[profile]\nfitted = ["buyer_frailty"]',
            "experience of the customer and buyer_frailty would count the same history twice",
        ),
    ],
)
def test_a_product_file_is_refused_with_the_reason(kind, experience, message):
    with pytest.raises(DefinitionError, match=message):
        product_of(kind, experience)


@pytest.mark.parametrize(
    ("feature", "counts", "twice"),
    [
        ("claims_1095d", "claims", True),
        ("claim_paid_1095d", "claims", True),
        ("motor_claims_1095d", "claims", False),  # of another product
        ("seller_claims_90d", "claims", False),  # of the shop, not the customer
        ("orders_365d", "claims", False),
        ("return_share_365d", "returns", True),
        ("category_return_share_365d", "returns", True),
        ("returns_90d", "claims", False),
        ("claims_1095d", "returns", False),
        ("orders_365d", "returns", False),
    ],
)
def test_own_claims_are_not_counted_twice(feature, counts, twice):
    own = OWN if counts == "claims" else OWN + 'counts = "returns"\nshape = 1.0\nexpected = { shoes = 0.3 }\n'
    product = product_of("claim_count", own + f'[profile]\nfeatures = ["{feature}"]')
    if not twice:
        check_history(product, default_spec(), "trial.toml")
        return
    with pytest.raises(
        DefinitionError, match=f"profile.features: {feature} and experience count the same {counts}"
    ):
        check_history(product, default_spec(), "trial.toml")


def test_what_was_collected_for_demand_is_never_priced():
    spec = default_spec()
    sources = tuple(replace(source, purpose="demand") for source in spec.sources)
    features = tuple(replace(feature, purpose="demand") for feature in spec.features)
    other = replace(spec, sources=sources, features=features)
    product = product_of("claim_count", '[profile]\nfeatures = ["orders_365d"]')
    check_history(product, spec, "trial.toml")
    with pytest.raises(
        DefinitionError, match="orders_365d is made from data for demand, which is never priced"
    ):
        check_history(product, other, "trial.toml")
