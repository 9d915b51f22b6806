"""From a table and a product file to stored, reloaded and promoted models; and what is refused on the way."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.bundle import Bundle
from models.comparison import headline
from models.encoding import Encoding
from models.errors import (
    ArtifactError,
    FitError,
    MismatchError,
    TrainingDataError,
)
from models.families import Design, FitSettings, balanced, fit_glm
from models.response import read_observed
from models.training import TrainingResult, fit_risk_model, train
from pricing.errors import DefinitionError, RiskError
from pricing.product import Models, Product, Split, parse_product, read_product

SETTINGS = FitSettings(rounds=120, members=2)
FAMILIES = ("glm", "gbm", "ga2m", "ga2m_ensemble")
RESPONSES = {
    "event": 'kind = "event"\nevent = "hit"',
    "claim_count": 'kind = "claim_count"\ncount = "claims"',
    "frequency_severity": """kind = "frequency_severity"
count = "claims"
amount = "paid"
large_loss = "900.00"
""",
    "claim_amount": 'kind = "claim_amount"\namount = "paid"',
}


def product_of(kind: str, extra: str = "") -> Product:
    fixed = kind in {"event", "claim_count"}
    cover = 'kind = "indemnity"\nlimit = "100000.00"'
    if fixed:
        cover = 'kind = "fixed_benefit"\nbenefit = "100.00"'
    exposure = "" if kind == "event" else 'column = "years"\n'
    return parse_product(
        f"""
code = "trial"
version = 1
currency = "CNY"
plan = "trial-1"
quote_valid_minutes = 10
name = {{ en = "Trial", zh = "试" }}
{extra}
[cover]
{cover}
per = "year"
days = 365
[response]
{RESPONSES[kind]}
[exposure]
{exposure}unit = "policy-year"
[split]
method = "group"
column = "customer"
[models]
families = ["glm", "gbm", "ga2m", "ga2m_ensemble"]
[offer]
need = "trial"
[profile]
features = ["orders_90d"]
[[factors]]
name = "age"
label = {{ en = "Age", zh = "龄" }}
type = "integer"
unit = "years"
minimum = 18
maximum = 80
monotone = 1
[[factors]]
name = "fuel"
column = "Fuel"
label = {{ en = "Fuel", zh = "燃" }}
type = "category"
levels = ["petrol", "diesel", "electric"]
""",
        "trial.toml",
    )


def table_of(n: int = 6000, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    age, fuel = rng.integers(18, 81, n), rng.integers(0, 3, n)
    orders = np.where(rng.random(n) < 0.2, np.nan, rng.poisson(4, n))
    years = rng.uniform(0.1, 1.0, n)
    rate = 0.25 * np.exp(0.02 * (age - 50) + 0.4 * (fuel == 1) + 0.1 * np.nan_to_num(orders, nan=2.0))
    claims = rng.poisson(rate * years)
    paid = rng.gamma(np.maximum(2.0 * claims, 1.0), 20_000.0 * (1 + (fuel == 2))) * (claims > 0)
    return pa.table(
        {
            "age": age,
            "Fuel": pa.array(np.array(["petrol", "diesel", "electric"])[fuel]),
            "orders_90d": pa.array(orders, from_pandas=True),
            "years": years,
            "claims": claims,
            "paid": np.ceil(paid).astype(np.int64),
            "hit": rng.random(n) < 1 - np.exp(-rate),
            "customer": rng.integers(0, 3000, n),
        }
    )


@pytest.fixture(scope="module")
def trained() -> TrainingResult:
    return train(product_of("frequency_severity"), table_of(), settings=SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(RESPONSES))
def test_every_family_of_every_response_beats_the_average_and_keeps_the_total(kind):
    product, table = product_of(kind), table_of(12_000)
    steps: list[float] = []
    result = train(product, table, settings=SETTINGS, progress=lambda step, share: steps.append(share))
    assert steps == sorted(steps)
    assert steps[-1] == 1.0
    figure = result.comparison[headline(result.comparison)]
    assert set(figure.index) == {*FAMILIES, "null"}
    assert (figure.drop("null") < figure["null"]).all()
    assert (result.comparison["gini"].drop("null") > 0.05).all()
    assert result.comparison["ae"].between(0.8, 1.25).all()


def test_learn_total_is_restored(trained):
    product, table = product_of("frequency_severity"), table_of()
    test = trained.judged
    assert trained.summary["learn_rows"] + len(test.actual) == table.num_rows
    # Fit again on everything: claims and, with the pooled excess, amounts must come out whole.
    encoding = Encoding.of(product)
    matrix, observed = encoding.encode(table).matrix, read_observed(product, table)
    for family in FAMILIES:
        everything = np.ones(len(matrix), bool)
        model = fit_risk_model(product, family, encoding, matrix, observed, everything, SETTINGS)
        parts = model.predict(matrix)
        assert (parts["frequency"] * observed.exposure).sum() == pytest.approx(observed.count.sum(), rel=1e-9)
        paid = (parts["severity"] * observed.count).sum()
        assert paid == pytest.approx(observed.capped_minor.sum(), rel=1e-9)
        assert model.load_minor > 0


def test_rows_of_the_buffer_neither_teach_nor_judge():
    table = table_of(3000)
    days = np.datetime64("2025-01-01", "us") + np.arange(3000) * np.timedelta64(1, "h")
    table = table.append_column("day", pa.array(days))
    split = Split(method="time", column="day", share=0.3, buffer_days=20)
    product = product_of("claim_count").model_copy(
        update={"split": split, "models": Models(families=("ga2m",))}
    )
    result = train(product, table, settings=SETTINGS)
    assert result.summary["test_rows"] == len(result.judged.actual) == 900
    assert result.summary["buffer_rows"] == 480
    assert result.summary["learn_rows"] == 2100 - 480
    claims = table["claims"].to_numpy()
    assert result.summary["learn_claims"] == claims[:1620].sum()
    model = result.models["ga2m"]
    matrix = result.encoding.encode(table).matrix[:1620]
    fitted = model.predict(matrix)["frequency"] * table["years"].to_numpy()[:1620]
    assert fitted.sum() == pytest.approx(claims[:1620].sum(), rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_stored_bundle_scores_bit_equal_one_by_one_and_in_batch(trained, family, tmp_path):
    bundle = trained.bundle(family)
    loaded = Bundle.load(bundle.save(tmp_path / "b"), expected_product=trained.product)
    batch = table_of(200, seed=5).combine_chunks().to_batches()[0]
    scored, again = bundle.score(batch), loaded.score(batch)
    assert scored.equals(again)
    for row in scored.to_pylist():
        one = loaded.score_one({"age": row["age"], "fuel": row["Fuel"]}, {"orders_90d": row["orders_90d"]})
        assert one.risk_premium_minor == row["risk_premium_minor"]
        assert one.components == {name: row[name] for name in ("frequency", "severity")}
        raw = sum(scorer.intercept for scorer in loaded.model.components.values())
        raw += sum(reason.contribution for reason in one.reasons)
        assert math.exp(raw) == pytest.approx(row["frequency"] * row["severity"], rel=1e-9)
        strengths = [abs(reason.contribution) for reason in one.reasons]
        assert strengths == sorted(strengths, reverse=True)


def test_the_product_file_says_how_its_glm_is_built(tmp_path):
    extra = """
[models.glm]
interactions = [["orders_90d", "fuel"]]
[models.glm.terms.age]
kind = "spline"
knots = 5
"""
    product = product_of("claim_count", extra)
    models = product.models.model_copy(update={"families": ("glm",), "champion": "glm"})
    result = train(product.model_copy(update={"models": models}), table_of(2000))
    bundle = result.bundle()
    tables = bundle.model.components["frequency"]
    assert list(tables.pairs) == [(1, 2)]
    assert tables.axes[0].cells == 64  # one for every age, and "not known"
    assert np.diff(tables.mains[0][:-1]).min() >= -1e-12  # the declared direction holds in a spline too
    loaded = Bundle.load(bundle.save(tmp_path / "b"), expected_product=result.product)
    batch = table_of(50, seed=5).combine_chunks().to_batches()[0]
    scored = bundle.score(batch)
    assert loaded.score(batch).equals(scored)
    for row in scored.to_pylist():
        one = loaded.score_one({"age": row["age"], "fuel": row["Fuel"]}, {"orders_90d": row["orders_90d"]})
        assert one.risk_premium_minor == row["risk_premium_minor"]
    with pytest.raises(DefinitionError, match="'fuel' is a category"):
        product_of("claim_count", '[models.glm.terms.fuel]\nkind = "spline"')
    with pytest.raises(DefinitionError, match="'age' has a declared direction"):
        product_of("claim_count", '[models.glm]\ninteractions = [["age", "fuel"]]')


def test_refused_rows_get_no_premium_and_the_others_do(trained):
    rows = [{"age": 30, "Fuel": "petrol"}, {"age": 17, "Fuel": "petrol"}, {"age": 30, "Fuel": "gas"}]
    batch = pa.RecordBatch.from_pylist([{**row, "orders_90d": 1} for row in rows])
    found = trained.bundle().score(batch)["risk_premium_minor"].to_pylist()
    assert found[0] > 0
    assert found[1:] == [None, None]
    with pytest.raises(RiskError):
        trained.bundle().score_one({"age": 17, "fuel": "petrol"}, {"orders_90d": 1})


def test_same_seed_same_model(trained, tmp_path):
    other = train(product_of("frequency_severity"), table_of(), settings=SETTINGS)
    for name, result in (("a", trained), ("b", other)):
        for family in result.models:
            result.bundle(family).save(tmp_path / name / family)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert len(files) >= 10
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"years": -0.5}, "1 rows: years is zero or negative"),
        ({"years": 1.5}, "1 rows: years lies above its maximum"),
        ({"years": math.nan}, "1 rows: years is missing or not finite"),
        ({"claims": -1}, "counts are negative or not whole"),
        ({"claims": 0, "paid": 5}, "an amount was paid but no claim is counted"),
        ({"paid": -5}, "amounts are negative"),
        ({"Fuel": "steam"}, r"fuel: 1 rows refused \(level\)"),
        ({"age": 12}, r"age: 1 rows refused \(below\)"),
        ({"customer": None}, "1 rows: split column 'customer' is missing"),
    ],
)
def test_a_bad_row_is_refused_with_its_count(fault, sentence):
    rows = table_of(400).to_pylist()
    rows[3] |= fault
    with pytest.raises(TrainingDataError, match=sentence):
        train(product_of("frequency_severity"), pa.Table.from_pylist(rows), settings=SETTINGS)


def test_all_faults_are_named_at_once():
    table = table_of(400).drop_columns(["Fuel", "years"]).append_column("yeers", pa.array(np.ones(400)))
    with pytest.raises(TrainingDataError) as caught:
        train(product_of("frequency_severity"), table, settings=SETTINGS)
    assert len(caught.value.problems) == 2
    assert "did you mean 'yeers'" in str(caught.value)


@pytest.mark.parametrize(("value", "sentence"), [(0, "hold 0 claims"), (1, "the target is constant")])
def test_constant_target_is_refused(value, sentence):
    table = table_of(400)
    table = table.set_column(table.column_names.index("hit"), "hit", pa.array(np.full(400, value)))
    with pytest.raises(TrainingDataError, match=sentence):
        train(product_of("event"), table, settings=SETTINGS)


def test_empty_table_is_refused():
    with pytest.raises(TrainingDataError, match="no rows"):
        train(product_of("event"), table_of(50).slice(0, 0), settings=SETTINGS)


def test_a_damaged_added_or_foreign_artifact_is_refused(trained, tmp_path):
    folder = trained.bundle().save(tmp_path / "b")
    with pytest.raises(ArtifactError, match="never written over"):
        trained.bundle().save(folder)
    with pytest.raises(MismatchError, match="products do not match"):
        Bundle.load(folder, expected_product=product_of("claim_amount"))

    class OtherSpec:
        def hash(self, names: object) -> str:
            return "other"

    with pytest.raises(MismatchError, match="feature definitions"):
        Bundle.load(folder, expected_spec=OtherSpec())  # type: ignore[arg-type]
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if path.name == "bundle.json":
            index = json.loads(content)
            path.write_text(json.dumps(index | {"product_hash": "0" * 64}), encoding="utf-8")
        else:
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ArtifactError):
            Bundle.load(folder)
        path.write_bytes(content)
    (folder / "extra.txt").write_text("x")
    with pytest.raises(ArtifactError, match="not declared"):
        Bundle.load(folder)
    (folder / "extra.txt").unlink()
    (folder / "severity.arrow").unlink()
    with pytest.raises(ArtifactError, match="absent"):
        Bundle.load(folder)


def test_claims_of_one_amount_give_that_severity():
    table = table_of(2000)
    claims = table["claims"].to_numpy()
    table = table.set_column(table.column_names.index("paid"), "paid", pa.array(claims * 50_000))
    result = train(product_of("frequency_severity"), table, settings=SETTINGS)
    for family in result.models:
        scored = result.bundle(family).score_one({"age": 30, "fuel": "petrol"}, {"orders_90d": None})
        assert scored.components["severity"] == pytest.approx(50_000, rel=1e-6)


def test_no_positive_total_cannot_be_balanced():
    flat = Design(np.zeros((40, 1)), np.ones(40), np.ones(40), ("a",), (0,), (0,), "poisson")
    with pytest.raises(FitError):
        balanced(fit_glm(flat, SETTINGS), flat, total=0.0)


@pytest.mark.slow
@pytest.mark.shared
def test_french_motor_reaches_the_published_figures(shared_data):
    path = Path(__file__).parents[2] / "data" / "reference" / "products" / "motor_fr.toml"
    product = read_product(path)
    families = product.models.model_copy(update={"families": ("glm", "ga2m")})
    product = product.model_copy(update={"models": families})
    figures = train(product, pq.read_table(shared_data / "freMTPL2freq_clean_learntest.parquet")).comparison
    assert figures.loc["null", "deviance_x100"] == pytest.approx(25.445, abs=5e-4)
    assert figures.loc["glm", "deviance_x100"] <= 24.15
    assert figures.loc["ga2m", "deviance_x100"] <= 23.55
