"""The registry: trainings are logged whole, nothing prices unapproved, and the past can be asked."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pytest

from models.errors import MismatchError, PromotionError, RegistryError
from models.families import FitSettings
from models.registry import Registry
from models.training import TrainingResult, train
from pricing.plan import RatingPlan, read_plan
from pricing.product import Product, parse_product

PLANS = Path(__file__).parents[2] / "data" / "reference" / "plans"
NOW = dt.datetime(2026, 5, 4, 9)
DAY = dt.timedelta(days=1)


def product(extra: str = "") -> Product:
    return parse_product(
        f"""
code = "motor"
version = 1
currency = "CNY"
plan = "motor-2026-01"
quote_valid_minutes = 10
name = {{ en = "Trial", zh = "试" }}
{extra}
[cover]
kind = "fixed_benefit"
benefit = "100.00"
per = "year"
days = 365
[response]
kind = "claim_count"
count = "claims"
[exposure]
column = "years"
unit = "policy-year"
[split]
method = "group"
column = "policy"
[models]
families = ["glm", "ga2m"]
[offer]
need = "trial"
[[factors]]
name = "age"
label = {{ en = "Age", zh = "龄" }}
type = "integer"
unit = "years"
minimum = 18
maximum = 80
""",
        "motor.toml",
    )


def table(n: int = 5000) -> pa.Table:
    rng = np.random.default_rng(0)
    age, years = rng.integers(18, 81, n), rng.uniform(0.3, 1.0, n)
    claims = rng.poisson(years * 0.3 * np.exp(0.03 * (age - 50)))
    return pa.table({"age": age, "years": years, "claims": claims, "policy": np.arange(n)})


@pytest.fixture(scope="module")
def trained() -> TrainingResult:
    return train(product(), table(), settings=FitSettings(rounds=60))


@pytest.fixture(scope="module")
def plan() -> RatingPlan:
    return read_plan(PLANS / "motor-2026-01.toml")


@pytest.mark.slow
def test_it_logs_everything_promotes_after_approval_and_remembers(trained, plan, tmp_path):
    registry = Registry(tmp_path / "registry")
    assert registry.champion("motor") is None
    assert registry.log_training(trained, author="Ann", at=NOW) == "1"
    assert registry.version_of("motor") is None
    assert registry.decision("motor", "1").outcome == "promoted"
    with pytest.raises(PromotionError, match="a second person approves"):
        registry.promote("motor", "1", by="ann", plan=plan, at=NOW + DAY)
    assert "approved by Bob" in registry.promote("motor", "1", by="Bob", plan=plan, at=NOW + DAY)
    # Found by another process that was given the folder at another place.
    (tmp_path / "registry").rename(tmp_path / "moved")
    moved = Registry(tmp_path / "moved")
    found = moved.champion("motor", expected_product=trained.product)
    assert found is not None
    assert (found.version, found.period.approver, found.period.since) == ("1", "Bob", NOW + DAY)
    batch = table(50).combine_chunks().to_batches()[0]
    assert found.bundle.score(batch).equals(trained.bundle().score(batch))
    check_run(moved, tmp_path / "moved")
    check_history(moved, trained, plan)
    assert not list((tmp_path / "moved").rglob("*.pkl"))


def check_run(registry: Registry, folder: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    version = client.get_model_version("premia-motor", "1")
    assert (version.tags["premia.state"], version.tags["premia.approver"]) == ("in_service", "Bob")
    assert client.get_model_version_by_alias("premia-motor", "champion").version == version.version
    run = client.get_run(version.run_id).data
    assert run.metrics["ga2m.d2"] > 0.001
    assert run.metrics["glm_against_null.difference"] < 0
    assert 0 <= run.metrics["glm_against_ga2m.p_holm"] <= 1
    assert "lightgbm" in run.params["versions"]
    artifacts = folder / "artifacts" / version.run_id / "artifacts"
    assert {"comparison.csv", "tests.csv", "decision.json", "report.html", "glm", "ga2m"} <= {
        path.name for path in artifacts.iterdir()
    }
    check_report(registry.report("motor", "1").read_text(encoding="utf-8"))
    names = {path.name for path in registry.pictures("motor", "1").iterdir()}
    assert {"lorenz.png", "lift.png", "one_way_age.png"} <= names


def check_report(page: str) -> None:
    """One file: the pictures are in it, nothing is fetched, and it says what was found."""
    assert page.count('src="data:image/png;base64,') == page.count("<img ") >= 4
    assert "http" not in page.replace("data:image", "")
    assert '<span class="badge pass">promoted</span>' in page
    assert re.search(r"<li>.*(is better than|cannot be told apart)", page)
    for text in (
        "Gini",
        "Diebold-Mariano",
        "learn rows",
        "lightgbm 4.",
        "by Ann",
        "method group, column policy",
    ):
        assert text in page, text


def check_history(registry: Registry, trained: TrainingResult, plan: RatingPlan) -> None:
    """A second version was held against nothing, since none was in service when it was trained."""
    registry.log_training(trained, author="Ann", at=NOW + 2 * DAY)
    with pytest.raises(PromotionError, match="held against no model, but version 1 is in service now"):
        registry.promote("motor", "2", by="Bob", plan=plan, at=NOW + 3 * DAY)
    dearer = plan.model_copy(update={"version": 2})
    registry.promote("motor", 1, by="Eve", plan=dearer, at=NOW + 4 * DAY)
    assert registry.audit.at("motor", NOW) is None
    before, after = (registry.audit.at("motor", NOW + days * DAY) for days in (2, 5))
    assert (before.identity.plan_version, before.approver, before.until) == (1, "Bob", NOW + 4 * DAY)
    assert (after.identity.plan_version, after.approver, after.until) == (2, "Eve", None)
    assert after.identity.product_hash == trained.product.hash
    assert after.identity.model_hash == registry.champion("motor").artifact_hash
    assert after.identity.author == "Ann"


@pytest.mark.slow
def test_what_prices_takes_part_when_a_new_model_is_trained(trained, plan, tmp_path):
    registry = Registry(tmp_path)
    registry.log_training(trained, author="Ann", at=NOW)
    registry.promote("motor", "1", by="Bob", plan=plan, at=NOW)
    lenient = product("[promotion.champion]\nleast_gain = -0.05")
    again = train(
        lenient, table(), settings=FitSettings(rounds=60, seed=2), in_service=registry.champion("motor")
    )
    assert "in_service" in again.comparison.index
    registry.log_training(again, author="Ann", at=NOW)
    decision = registry.decision("motor", "2")
    assert (decision.against, decision.outcome) == ("1", "promoted")
    registry.promote("motor", "2", by="Bob", plan=plan, at=NOW + DAY)
    # What was in service may return without proving a gain.
    assert "was in service before" in registry.promote("motor", "1", by="Eve", plan=plan, at=NOW + 2 * DAY)
    assert [period.version for period in registry.audit.periods("motor")] == ["1", "2", "1"]
    with pytest.raises(RegistryError, match="no version 7"):
        registry.promote("motor", 7, by="Bob", plan=plan, at=NOW + 2 * DAY)
    with pytest.raises(RegistryError, match="needs the name of its author"):
        registry.log_training(trained, author=" ", at=NOW)


@pytest.mark.slow
def test_a_refused_version_and_an_exchanged_model_do_not_price(plan, tmp_path):
    registry = Registry(tmp_path)
    strict = train(product("[promotion]\nleast_d2 = 0.9"), table(), settings=FitSettings(rounds=60))
    registry.log_training(strict, author="Ann", at=NOW)
    with pytest.raises(PromotionError, match="refused: d2 is .*; asked: above 0.9"):
        registry.promote("motor", "1", by="Bob", plan=plan, at=NOW)
    assert registry.version_of("motor") is None
    fine = train(product(), table(), settings=FitSettings(rounds=60))
    registry.log_training(fine, author="Ann", at=NOW)
    registry.promote("motor", "2", by="Bob", plan=plan, at=NOW)
    (index,) = (p for p in tmp_path.rglob("ga2m/bundle.json") if is_of(p, fine))
    index.write_text(index.read_text(encoding="utf-8").replace('"seed": 1', '"seed": 3'), encoding="utf-8")
    with pytest.raises(MismatchError, match="models do not match"):
        registry.champion("motor")


def is_of(index: Path, result: TrainingResult) -> bool:
    return result.product.hash in index.read_text(encoding="utf-8")
