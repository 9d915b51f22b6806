"""Prices of a portfolio chosen under constraints, named by a plan, and then taken by quotes and batches."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tomllib
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data.store import connect
from features.load import default_spec
from models.demand import SplineDemand, StoredDemand, Verdict
from serving.cli import app
from serving.compose import find_product, load_services, open_service
from serving.jobs import portfolio_in_force
from serving.plan_jobs import activate_plan, approve_plan
from serving.reprice import read_prices, reprice
from serving.wire import QuoteRequest

if TYPE_CHECKING:
    from pathlib import Path

    from serving.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

ASKED = """
mode = "{mode}"
segment_by = "fuel"
[ladder]
lowest = "0.90"
highest = "1.10"
step = "0.02"
[constraints]
volume = {volume}
rate_change = 0.02
[constraints.segments.petrol]
volume = 0.97
[frontier]
lowest = 0.97
highest = 1.03
points = 4
"""


@pytest.fixture(scope="module")
def settings(insurer, tmp_path_factory) -> Settings:
    lake = tmp_path_factory.mktemp("optimise")
    for name in ("customers", "orders", "policies", "claims", "quotes", "_fitted"):
        (lake / name).symlink_to(insurer.settings.lake / name)
    for name in ("_registry", "_serving"):
        shutil.copytree(insurer.settings.lake / name, lake / name)
    shutil.copytree(insurer.settings.plans, lake / "plans")
    # An hour on: what is put into service now must not lie before the promotion of the models.
    later = insurer.end + dt.timedelta(hours=1)
    return insurer.settings.model_copy(update={"lake": lake, "plans": lake / "plans", "clock": later})


@pytest.fixture(scope="module")
def portfolio(insurer, settings) -> Path:
    path = settings.lake / "motor.parquet"
    portfolio_in_force(settings, find_product(settings, "motor"), insurer.end, path)
    table = pq.read_table(path).slice(0, 600)
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="module")
def demand(settings) -> Path:
    """Fit demand on a simulated market in which older drivers are less willing to pay more."""
    product = find_product(settings, "motor")
    with connect(settings.lake) as con:
        names = ", ".join(factor.name for factor in product.factors)
        frame = con.sql(f"SELECT {names} FROM policies WHERE product = 'motor' LIMIT 4000").df()  # noqa: S608
    rng = np.random.default_rng(3)
    price = np.log(rng.choice(np.linspace(0.8, 1.2, 9), len(frame)))
    steep = 3.0 + 0.05 * (frame["driver_age"].to_numpy(dtype=float) - 40)
    accepted = rng.random(len(frame)) < 1 / (1 + np.exp(steep * price - 1.0))
    model = SplineDemand().fit(frame, accepted.astype(float), price)
    path = settings.lake / "demand.json"
    verdict = Verdict(True, True, (), {"controlled": -0.6}, 1.0, len(frame))
    StoredDemand(product.code, product.hash, "a market", model, verdict, {}).save(path)
    return path


def run(settings: Settings, *words: object):
    env = {"PREMIA_LAKE": str(settings.lake), "PREMIA_PLANS": str(settings.plans)}
    env["PREMIA_CLOCK"] = settings.clock.isoformat()
    return CliRunner().invoke(app, [str(word) for word in words], env=env)


def asked(folder: Path, mode: str, volume: float = 1.01) -> Path:
    path = folder / f"{mode}-{volume}.toml"
    path.write_text(ASKED.format(mode=mode, volume=volume), encoding="utf-8")
    return path


@pytest.mark.parametrize("mode", ["individual", "group"])
def test_a_policy_is_optimised_filed_and_priced(insurer, settings, portfolio, demand, tmp_path, mode):
    out = tmp_path / "out"
    words = ("optimise", portfolio, asked(tmp_path, mode), "--demand", demand, "--out", out)
    for _ in range(2):  # a result that is there is replaced
        done = run(settings, *words)
        assert done.exit_code == 0, done.output
    certificate = json.loads((out / "certificate.json").read_text())
    assert certificate["violations"] == 0
    if mode == "individual":  # groups pay more for constraints that prices by cost alone do not meet
        assert certificate["profit"] > certificate["profit_by_cost_alone"]
    assert -1e-12 <= certificate["gap"] < 5e-3
    assert (out / "frontier.png").stat().st_size > 10_000
    # The plan names what the command printed, a second person approves, and it prices.
    named = tomllib.loads(done.output[done.output.index("[price_policy]") :])
    (settings.plans / "policies").mkdir(exist_ok=True)
    shutil.copy(out / named["price_policy"]["file"], settings.plans / "policies")
    version = 2 if mode == "individual" else 3
    path = settings.plans / "motor-2026-01.toml"
    text = (insurer.settings.plans / path.name).read_text(encoding="utf-8")
    policy = done.output[done.output.index("[price_policy]") :]
    text = text.replace("version = 1", f'version = {version}\nauthor = "Ann"', 1) + "\n" + policy
    path.write_text(text, encoding="utf-8")
    approve_plan(settings, "motor-2026-01", "Bob")
    activate_plan(settings, "motor-2026-01", "Bob")
    spec = default_spec()
    services, why = load_services(settings, spec, insurer.end.date())
    assert "motor" in services, why
    with connect(settings.lake) as con:
        reprice(portfolio, tmp_path / "prices", services, spec, con, insurer.end, lake=settings.lake)
    priced = read_prices(tmp_path / "prices")
    assert any(priced["step_price_policy_minor"].to_pylist())
    compare_with_book(priced, pq.read_table(out / "multipliers.parquet"))
    compare_with_quotes(insurer, settings, portfolio, priced)
    # A policy that was changed keeps the product out of service, and says so.
    stored = settings.plans / "policies" / named["price_policy"]["file"]
    content = stored.read_text()
    stored.write_text(content.replace("motor", "moter", 1), encoding="utf-8")
    services, why = load_services(settings, spec, insurer.end.date())
    assert "it was changed since" in why["motor"]
    stored.write_text(content, encoding="utf-8")


def compare_with_book(priced: pa.Table, chosen: pa.Table) -> None:
    """The live argmax is the step of the book, but for the few that the repair has moved."""
    rows = chosen["row"].to_numpy()
    step = np.array(priced["step_price_policy_minor"].to_pylist(), dtype=float)[rows]
    wanted = (chosen["multiplier_micros"].to_numpy() / 1e6 - 1.0) * chosen["base_minor"].to_numpy()
    assert np.mean(np.abs(step - wanted) < 1.5) > 0.9


def compare_with_quotes(insurer, settings, portfolio, priced) -> None:
    factors = [factor.name for factor in find_product(settings, "motor").factors]
    rows = pq.read_table(portfolio).slice(0, 40).to_pylist()
    with closing(open_service(settings, clock=lambda: insurer.end)) as service:
        for place, row in enumerate(rows):
            risk = {name: row[name] for name in factors}
            given = service.price(
                QuoteRequest(
                    product="motor",
                    channel=row["channel"],
                    customer_id=row["customer_id"],
                    seller_id=row["seller_id"],
                    expiring_premium_minor=row["premium_minor"],
                    risk=risk,
                )
            )
            quote = given.answer
            assert (quote.price.minor if quote.price else None) == priced["price_minor"][place].as_py()
            record = given.record.body
            assert record["price_policy"]["multiplier"] == record["price_inputs"]["price_policy"]


def test_what_cannot_be_had_is_refused_in_words(settings, portfolio, demand, tmp_path):
    words = ("optimise", portfolio, asked(tmp_path, "individual", 1.9), "--demand", demand)
    done = run(settings, *words, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "refused InfeasibleError: constraints 'volume at least" in done.output
    assert not (tmp_path / "out").exists()
    content = json.loads(demand.read_text())
    stored = StoredDemand.from_json(content)
    unknown = Verdict(False, False, ("the price follows demand",), {}, 0.01, 9)
    other = tmp_path / "unknown.json"
    StoredDemand(stored.product, stored.product_hash, "a lake", stored.model, unknown, stored.versions).save(
        other
    )
    done = run(
        settings, "optimise", portfolio, asked(tmp_path, "group"), "--demand", other, "--out", tmp_path
    )
    assert done.exit_code == 1
    assert "not identified, so no price may rest on it; the price follows demand" in done.output


def test_demand_is_fitted_from_the_price_tests_of_the_lake(settings, tmp_path):
    out, picture = tmp_path / "demand.json", tmp_path / "demand.png"
    done = run(settings, "demand", "fit", "motor", "--out", out, "--picture", picture)
    assert done.exit_code == 0, done.output
    assert "slope of acceptance" in done.output
    assert picture.stat().st_size > 5_000
    assert json.loads(out.read_text())["demand"]["verdict"]["rows"] > 500
