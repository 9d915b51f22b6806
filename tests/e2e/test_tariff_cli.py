"""What an actuary approves is what quotes: train, export, edit one cell in the workbook, import, quote."""

from __future__ import annotations

import os
import re
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from models.registry import Registry
from models.tariff import read_tariff
from models.tariff.proposal import ATTACHMENT
from pricing.factors import read_risk
from pricing.ladder import PriceInputs, build_ladder
from pricing.product import read_product
from serving.cli import app
from serving.compose import product_plan
from serving.engine import InService, Sale, decide
from serving.settings import Settings
from tests.toys import motor_rows

# One worker trains once for all three.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tariff_desk")]

REFERENCE = Path(__file__).parents[2] / "data" / "reference"
YOUNG = {
    "area": "C", "vehicle_power": 6, "vehicle_age": 3, "driver_age": 19, "bonus_malus": 90,
    "vehicle_brand": "B12", "fuel": "Regular", "density": 800.0, "region": "R24",
}  # fmt: skip
OLD = YOUNG | {"driver_age": 45}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Train a GLM and a booster on simulated rows; give a runner of commands and the folder."""
    root = tmp_path_factory.mktemp("desk")
    (root / "products").mkdir()
    text = (REFERENCE / "products" / "motor_fr.toml").read_text(encoding="utf-8")
    models = '\n[models]\nfamilies = ["glm", "gbm"]\nchampion = "glm"\n'
    (root / "products" / "motor_fr.toml").write_text(text + models, encoding="utf-8")
    pq.write_table(motor_rows(4000, rate=0.3), root / "rows.parquet")

    def run(*arguments: str, code: int = 0) -> str:
        found = CliRunner().invoke(
            app,
            [*arguments, "--lake", str(root / "lake")],
            env=os.environ | {"PREMIA_PRODUCTS": str(root / "products")},
        )
        assert found.exit_code == code, found.output
        return found.output

    data = ("--data", str(root / "rows.parquet"))
    run("train", str(root / "products" / "motor_fr.toml"), *data)
    return root, run, data


def price(root: Path, version: str, risk: dict[str, object]):
    settings = Settings(lake=root / "lake", products=root / "products")
    bundle, artifact_hash = Registry(settings.registry).stored("motor_fr", version)
    product = read_product(root / "products" / "motor_fr.toml")
    plan = product_plan(product, settings.plans)
    service = InService(product, plan, bundle, version, artifact_hash)
    decision = decide(service, read_risk(product.factors, risk), {}, {}, Sale("direct"))
    assert decision.scored is not None
    assert decision.ladder is not None
    assert (
        decision.ladder.price_minor
        == build_ladder(PriceInputs(decision.scored.risk_premium_minor), plan, "direct").price_minor
    )
    return bundle, decision


def test_an_edited_cell_is_what_quotes(desk):
    root, run, data = desk
    book = root / "motor.xlsx"
    said = run("tariff", "export", "motor_fr", "--version", "1", "--out", str(book), *data)
    assert "18 tables of motor_fr written" in said
    workbook = openpyxl.load_workbook(book)
    sheet = next(s for s in workbook if s["A2"].value == "frequency / driver_age")
    row = next(cells for cells in sheet.iter_rows(min_row=4) if (cells[1].value or 0) < 19 <= cells[2].value)
    band = row[0].value
    before = row[5].value
    row[5].value = 1.7
    workbook.save(book)

    words = run("tariff", "diff", str(book), *data)
    assert f"Age of the driver {band} (frequency): relativity {before:.2f} -> 1.70 (" in words
    assert "In all: premium effect " in words
    said = run("tariff", "import", str(book), "--editor", "A. Actuary", *data)
    assert "motor_fr version 2 (tariff), parent version 1" in said

    (model, old), (tariff, new) = (price(root, version, YOUNG) for version in "12")
    load = model.model.load_minor
    ratio = (new.scored.risk_premium_minor - load) / (old.scored.risk_premium_minor - load)
    assert ratio == pytest.approx(1.7 / before, rel=1e-11)
    assert new.ladder.price_minor != old.ladder.price_minor
    same = [price(root, version, OLD)[1] for version in "12"]
    assert same[0].scored == same[1].scored
    assert same[0].ladder == same[1].ladder
    assert (tariff.model.family, tariff.summary["parent_version"]) == ("tariff", "1")
    assert (tariff.summary["editors"], tariff.summary["changed_cells"]) == ("A. Actuary", 1)
    assert '"editor": "A. Actuary"' in tariff.attachments[ATTACHMENT]

    again = root / "again.csv"
    run("tariff", "export", "motor_fr", "--version", "2", "--out", str(again), *data)
    (change,) = read_tariff(again).changes
    assert (change.cell, change.before, change.after, change.editor) == (band, before, 1.7, "A. Actuary")


def test_a_booster_becomes_a_tariff(desk):
    root, run, data = desk
    said = run(
        "tariff", "export", "motor_fr", "--version", "1", "--family", "gbm", "--out", "x.csv", *data, code=1
    )
    assert "is not made of tables. Hint: distil it" in said
    out, arguments = root / "gbm.json", ("motor_fr", "--version", "1", "--family", "gbm")
    said = run("tariff", "distil", *arguments, "--pairs", "1", "--out", str(out), *data)
    assert "what the tariff keeps, test rows" in said
    assert "interactions it does not have" in said
    said = run("tariff", "import", str(out), "--editor", "A. Actuary", *data)
    assert "No relativity changed." in said
    assert "(tariff), parent version 1" in said


def test_what_is_refused_registers_nothing(desk):
    root, run, data = desk
    book = root / "bad.xlsx"
    run("tariff", "export", "motor_fr", "--version", "1", "--out", str(book), "--base", "fuel=Diesel", *data)
    workbook = openpyxl.load_workbook(book)
    sheet = next(s for s in workbook if s["A2"].value == "severity / fuel")
    assert [cell.value for cell in sheet["I"][3:5]] == ["base level", None]
    sheet["F5"] = "1,2"
    workbook.save(book)
    settings = Settings(lake=root / "lake", products=root / "products")
    registry = Registry(settings.registry)
    said = run("tariff", "import", str(book), "--editor", "x", *data, code=1)
    assert f"sheet '{sheet.title}', cell F5: the relativity of severity fuel 'Regular' is '1,2'" in said
    assert "no version 9" in run(
        "tariff", "export", "motor_fr", "--version", "9", "--out", "x.csv", *data, code=1
    )
    assert "is no input=level" in run(
        "tariff", "export", "motor_fr", "--version", "1", "--out", "x.csv", "--base", "fuel", *data, code=1
    )
    toml = root / "products" / "motor_fr.toml"
    text = toml.read_text(encoding="utf-8")
    sheet["F5"] = 1.2
    workbook.save(book)
    toml.write_text(text.replace("version = 1", "version = 2", 1), encoding="utf-8")
    try:
        assert "products do not match" in run("tariff", "import", str(book), "--editor", "x", *data, code=1)
    finally:
        toml.write_text(text, encoding="utf-8")
    assert registry.stored("motor_fr", 1)[0].model.family == "glm"


def test_a_second_person_puts_a_tariff_into_service(desk):
    root, run, data = desk
    book = root / "second.csv"
    run("tariff", "export", "motor_fr", "--version", "1", "--out", str(book), *data)
    assert "who edited it must be named" in run("tariff", "import", str(book), "--editor", " ", *data, code=1)
    said = run("tariff", "import", str(book), "--editor", "E. Ditor", *data)
    assert "actual over expected" in said
    version = re.search(r"premia promote motor_fr (\d+)", " ".join(said.split()))[1]
    registry = Registry(Settings(lake=root / "lake").registry)
    for name in ("E. Ditor", " e.  ditor"):
        assert "a second person approves" in run("promote", "motor_fr", version, "--by", name, code=1)
    assert registry.champion("motor_fr") is None
    run("promote", "motor_fr", version, "--by", "B. Boss")
    period = registry.champion("motor_fr").period
    assert (period.identity.family, period.identity.author, period.approver) == (
        "tariff",
        "E. Ditor",
        "B. Boss",
    )
    assert price(root, version, YOUNG)[1].scored == price(root, "1", YOUNG)[1].scored
