"""Demand: found again from randomised prices, refused from others, and a ladder that never rises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from models import demand
from models.demand import (
    Elasticity,
    MonotoneDemand,
    NotIdentified,
    SplineDemand,
    StoredDemand,
    Verdict,
    price_elasticity,
    read_demand,
)
from models.demand.partially_linear import partially_linear
from models.errors import ArtifactError, DemandError, EncodingError, MismatchError
from pricing.optimiser import Book
from pricing.product import read_product

PRODUCT = read_product(Path(__file__).parents[2] / "data/reference/products/motor.toml")
CELLS = np.log(np.linspace(0.8, 1.2, 9))


def quotes(size=6_000, seed=1, kind="random"):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": rng.integers(18, 80, size).astype(float),
            "score": rng.normal(size=size),
            "region": pd.Categorical(rng.choice(["n", "s", "w"], size)),
        }
    )
    X.loc[rng.random(size) < 0.02, "score"] = np.nan
    score = X["score"].fillna(0).to_numpy()
    slope = 4.0 + 1.5 * (X["region"] == "s").to_numpy() - 0.02 * (X["age"].to_numpy() - 50)
    wish = rng.normal(size=size)
    level = 0.2 + 0.4 * score + (wish if kind == "wish" else 0.0)
    t = rng.choice(CELLS, size)
    if kind == "risk":
        t = 0.1 * score + 0.01 * rng.normal(size=size)
    if kind == "wish":
        t = 0.1 * wish + 0.03 * rng.normal(size=size)
    chance = expit(level - slope * t)
    return X, (rng.random(size) < chance).astype(float), t, -slope * chance * (1 - chance)


@pytest.fixture(scope="module")
def test_prices():
    return quotes()


def test_a_price_test_gives_its_elasticity_within_three_standard_errors(test_prices):
    X, y, t, truth = test_prices
    found = price_elasticity(X, y, t)
    assert isinstance(found, Elasticity)
    assert abs(found.slope - truth.mean()) < 3 * found.error
    assert abs(found.frame.loc["dml", "slope"] - truth.mean()) < 3 * found.error + 0.06 * abs(truth.mean())
    assert found.variance_left > 0.95
    assert found.elasticity == pytest.approx(found.slope / y.mean())
    assert found.figure().axes[0].get_title(loc="left").endswith("identified")


def test_a_price_that_is_the_risk_is_refused_with_the_variance_left():
    X, y, t, _ = quotes(2_000, kind="risk")
    found = price_elasticity(X, y, t, least_left=0.2)
    assert isinstance(found, NotIdentified)
    assert any("variance" in reason for reason in found.reasons)
    assert found.variance_left < 0.2
    assert "not identified" in found.figure().axes[0].get_title(loc="left")


def test_a_price_that_follows_the_wish_to_buy_is_refused_though_the_monotone_slope_is_not_positive():
    found = price_elasticity(*quotes(3_000, kind="wish")[:3])
    assert isinstance(found, NotIdentified)
    assert found.frame.loc["dml", "low"] > 0
    assert found.frame.loc["monotone", "slope"] <= 0
    assert any("rises with the price" in reason for reason in found.reasons)
    assert any("monotone" in reason for reason in found.reasons)


def test_dml_takes_out_what_is_recorded():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4_000, 2))
    t = 0.5 * np.sin(x[:, 0]) + 0.5 * rng.normal(size=4_000)
    y = -0.4 * t + np.sin(x[:, 0]) + 0.3 * rng.normal(size=4_000)
    found = partially_linear(x, [], y, t)
    assert abs(found.slope + 0.4) < 3 * found.error
    assert found.error < 0.02


def test_propensity_undoes_cells_that_were_given_by_group():
    rng = np.random.default_rng(5)
    size = 20_000
    group = rng.integers(0, 2, size)
    share = np.where(group == 1, 0.8, 0.2)
    high = rng.random(size) < share
    t = np.where(high, 0.2, -0.2)
    y = (rng.random(size) < 0.3 + 0.4 * group - 0.5 * t).astype(float)
    given = np.where(high, share, 1 - share)
    X = pd.DataFrame({"other": rng.normal(size=size)})
    assert price_elasticity(X, y, t).frame.loc["naive", "slope"] > 0
    slope, error = price_elasticity(X, y, t, given).frame.loc["naive", ["slope", "error"]]
    assert abs(slope + 0.5) < 3 * error


@pytest.mark.parametrize("model", [SplineDemand(), MonotoneDemand(rounds=30)])
def test_the_ladder_fits_the_book_and_never_rises(model, test_prices):
    X, y, t, _ = test_prices
    ladder = np.linspace(0.8, 1.2, 21)
    accept = model.fit(X, y, t).accept(X, ladder)
    assert (np.diff(accept, axis=0) <= 0).all()
    n = len(X)
    one, step = np.ones(n), np.zeros(n, np.int8)
    Book(ladder, one, one, one, accept, step, step + 20, np.zeros(n, np.int64))
    at_one = model.predict_proba(X, 0.0)
    assert np.abs(accept[10] - at_one[:, 1]).max() < 1e-6
    moved = model.accept(X, ladder, start=np.log(1.1))
    assert np.abs(moved[0] - model.predict_proba(X, np.log(0.88))[:, 1]).max() < 1e-6
    assert at_one[:, 1].mean() == pytest.approx(y.mean(), abs=0.03)


def test_demand_that_rises_with_the_price_is_refused():
    X, y, t, _ = quotes(2_000, kind="wish")
    with pytest.raises(DemandError, match="acceptance rises with the price"):
        SplineDemand().fit(X, y, t).accept(X, [0.9, 1.0, 1.1])


def test_bad_rows_and_ladders_are_refused(test_prices):
    X, y, t, _ = (part[:500] for part in test_prices)
    model = SplineDemand()
    for accepted, price, share, text in (
        (y + 1, t, None, "neither 0 nor 1"),
        (np.ones(500), t, None, "one value"),
        (y, np.zeros(500), None, "never differs"),
        (y, np.where(t > 0, np.nan, t), None, "not finite"),
        (y, t, np.zeros(500), "propensity"),
        (y[:9], t, None, "shape"),
    ):
        with pytest.raises(DemandError, match=text):
            model.fit(X, accepted, price, share)
    model.fit(X, y, t)
    for ladder in ([1.0], [1.1, 1.0], [0.0, 1.0], [1.0, np.nan]):
        with pytest.raises(DemandError, match="multipliers"):
            model.accept(X, ladder)
    with pytest.raises(DemandError, match="age"):
        model.accept(X.drop(columns="age"), [0.9, 1.1])
    with pytest.raises(EncodingError, match="region"):
        model.accept(X.assign(region="e"), [0.9, 1.1])


def test_the_names_are_these():
    assert sorted(demand.__all__) == demand.__all__
    assert all(hasattr(demand, name) for name in demand.__all__)


@pytest.mark.shared
@pytest.mark.slow
def test_real_renewals_have_a_direction_but_no_elasticity(shared_data):
    data = pd.read_parquet(shared_data / "eudirectlapse.parquet")
    change = np.log(data["prem_final"] / data["prem_last"])
    found = price_elasticity(data.drop(columns=["lapse", "prem_final"]), 1 - data["lapse"], change)
    lapse = -found.frame["slope"]
    assert lapse["naive"] < 0 < lapse["controlled"]
    assert -found.frame.loc["dml", "high"] > 0
    assert isinstance(found, NotIdentified)
    assert any("differ in sign" in reason for reason in found.reasons)
    assert found.variance_left < 0.3


@pytest.mark.parametrize("model", [SplineDemand(knots=6), MonotoneDemand(rounds=30)])
def test_a_stored_model_answers_a_row_as_it_answers_a_column_to_the_last_bit(model, test_prices, tmp_path):
    X, y, t, _ = test_prices
    X = X.assign(kind=pd.Categorical(np.where(np.arange(len(X)) % 400 == 0, "rare", X["region"].astype(str))))
    stored = StoredDemand.of(
        PRODUCT, "test", model.fit(X, y, t), price_elasticity(X[:2_000], y[:2_000], t[:2_000])
    )
    stored.save(tmp_path / "demand.json")
    read = read_demand(tmp_path / "demand.json")
    assert read.verdict == stored.verdict
    read.check_made_for(PRODUCT)
    ladder = np.linspace(0.8, 1.2, 21)
    strange = X[:400].astype({"region": str}).assign(age=lambda f: f["age"] + 40)
    strange.loc[:5, "region"] = "e"
    strange.loc[6:9, "age"] = np.nan
    accept, known = read.model.accept_known(strange, ladder)
    assert not known[:10].any()
    assert known[10:].all()
    assert np.array_equal(
        accept[:, 10:], model.accept(strange[10:].astype({"region": X["region"].dtype}), ladder)
    )
    for i, row in enumerate(strange.to_dict("records")):
        one = read.model.accept_one(row, np.log(ladder))
        assert (one is not None) == known[i]
        if one is not None:
            assert one.dtype == np.float32
            assert np.array_equal(one, accept[:, i])


def test_a_demand_file_that_was_changed_or_is_of_another_product_is_refused(test_prices, tmp_path):
    X, y, t, _ = (part[:500] for part in test_prices)
    stored = StoredDemand.of(PRODUCT, "test", SplineDemand().fit(X, y, t), price_elasticity(X, y, t))
    path = tmp_path / "demand.json"
    stored.save(path)
    text = path.read_text()
    for broken, match in (
        (text.replace('"source": "test"', '"source": "tent"'), "changed"),
        (text.replace("premia-demand-1", "premia-demand-9"), "unknown"),
        (text[:-9], "no demand model"),
        ("[]", "object"),
    ):
        path.write_text(broken)
        with pytest.raises(ArtifactError, match=match):
            read_demand(path)
    with pytest.raises(MismatchError):
        stored.check_made_for(PRODUCT.model_copy(update={"code": "other"}))


def test_prices_may_not_rest_on_what_is_not_identified(test_prices):
    X, y, t, _ = quotes(3_000, kind="wish")
    refused = Verdict.of(price_elasticity(X, y, t))
    for mode in ("group", "individual"):
        with pytest.raises(DemandError, match="not identified.*rises with the price"):
            refused.check_usable(mode, "a test")
    refused.check_usable("cost_only", "a test")
    X, y, t, _ = (part[:2_000] for part in test_prices)
    alike = replace(Verdict.of(price_elasticity(X, y, t)), per_customer=False)
    alike.check_usable("group", "a test")
    with pytest.raises(DemandError, match="between customers"):
        alike.check_usable("individual", "a test")
