"""Impact on the command line: two models and two plans on a small book, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data.manifest import file_checksum, read_manifest
from models.demand import SplineDemand, StoredDemand, Verdict
from models.registry import Registry
from pricing.product import read_product
from serving.cli import app
from serving.compose import product_plan
from serving.engine import InService
from serving.settings import Settings
from tests.toys import motor_rows

# One worker trains once for all.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("impact_desk")]

REFERENCE = Path(__file__).parents[2] / "data" / "reference"
ROWS = 400
AS_OF = "2026-03-01"


class Desk:
    """A folder with two trained versions of motor_fr, two plans and a book."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "products").mkdir()
        text = (REFERENCE / "products" / "motor_fr.toml").read_text(encoding="utf-8")
        self.product_file = root / "products" / "motor_fr.toml"
        models = '\n[models]\nfamilies = ["glm"]\nchampion = "glm"\n'
        self.product_file.write_text(text + models, encoding="utf-8")
        self.product = read_product(self.product_file)
        for version, young in enumerate((0.4, 1.2), 1):
            rows = root / f"rows{version}.parquet"
            pq.write_table(motor_rows(1500, version, young), rows)
            self.run("train", str(self.product_file), "--data", str(rows))
        self.book = root / "book.parquet"
        pq.write_table(self.policies(), self.book)

    def policies(self) -> pa.Table:
        rows = motor_rows(ROWS, 9, 0.5)
        columns = {factor.name: rows[factor.source] for factor in self.product.factors}
        channel = np.where(np.arange(ROWS) % 3 == 0, "agent", "direct")
        channel[5] = "fax"
        fuel = columns["fuel"].to_pylist()
        fuel[6] = "steam"
        return pa.table(
            columns
            | {
                "fuel": fuel,
                "policy_id": np.arange(ROWS) + 1000,
                "product": ["motor_fr"] * ROWS,
                "channel": channel,
                "premium_minor": np.full(ROWS, 60_000),
            }
        )

    def plan(self, name: str, *changes: tuple[str, str]) -> str:
        """Write the plan with some of its lines changed, in a folder of its own."""
        text = (REFERENCE / "plans" / "motor_fr-2026-01.toml").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = self.root / name / "motor_fr-2026-01.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return f"plan={path}"

    def run(self, *arguments: str, code: int = 0) -> str:
        found = CliRunner().invoke(
            app,
            [*arguments, "--lake", str(self.root / "lake")],
            env=os.environ | {"PREMIA_PRODUCTS": str(self.root / "products")},
        )
        assert found.exit_code == code, found.output
        return found.output

    def impact(
        self, old: str, new: str, *more: str, book: Path | None = None, out: str = "out", code: int = 0
    ):
        folder = self.root / out
        told = self.run(
            "impact",
            old,
            new,
            str(book or self.book),
            "--out",
            str(folder),
            "--as-of",
            AS_OF,
            *more,
            code=code,
        )
        return told, folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def table_of(folder: Path) -> pa.Table:
    (file,) = read_manifest(folder).files
    assert file_checksum(folder / file.path) == file.sha256
    return pq.read_table(folder / file.path)


def page_of(folder: Path) -> str:
    return (folder / "impact.html").read_text(encoding="utf-8")


def stopped(*_: object) -> str:
    raise KeyboardInterrupt


def causes_of(table: pa.Table) -> list[str]:
    return [n for n in table.column_names if n.startswith(("factor_", "follows_", "plan_"))]


def test_two_models_and_two_plans_add_up_to_the_change_of_every_policy(desk):
    dearer = desk.plan(
        "dearer", ('margin = "0.05"', 'margin = "0.08"'), ('direct = "0.00"', 'direct = "0.02"')
    )
    told, folder = desk.impact("model=motor_fr@1", f"model=motor_fr@2,{dearer}", out="both")
    assert "off-balance" in told
    assert "no demand model was given" in told
    table = table_of(folder)
    assert table["row"].to_pylist() == list(range(ROWS))
    assert table["policy_id"].to_pylist() == list(range(1000, 1000 + ROWS))
    priced = table.filter(pc.is_valid(table["change_minor"]))
    assert priced.num_rows == ROWS - 2
    names = causes_of(table)
    total = np.sum([priced[name].to_numpy() for name in names], axis=0)
    change = priced["new_price_minor"].to_numpy() - priced["old_price_minor"].to_numpy()
    assert np.array_equal(total, change)
    assert np.array_equal(priced["change_minor"].to_numpy(), change)
    assert (priced["plan_margin_minor"].to_numpy() > 0).all()
    assert not priced["plan_risk_premium_minor"].to_numpy().any()
    page = page_of(folder)
    assert "Age of the driver" in page
    assert "base64" in page


def test_a_book_of_csv_gives_the_same_prices(desk):
    _, folder = desk.impact("model=motor_fr@1", "model=motor_fr@2", out="models")
    text = desk.root / "book.csv"
    pa_csv.write_csv(desk.policies(), text)
    _, again = desk.impact("model=motor_fr@1", "model=motor_fr@2", book=text, out="csv")
    assert table_of(again).equals(table_of(folder))
    (desk.root / "empty.csv").write_text("product,channel\n", encoding="utf-8")
    (desk.root / "torn.csv").write_text("product,channel\nmotor_fr\n", encoding="utf-8")
    for name, words in (("empty.csv", "holds no rows"), ("torn.csv", "cannot be read")):
        told, _ = desk.impact("model=motor_fr@1", "model=motor_fr@2", book=desk.root / name, code=1)
        assert words in told


def test_rows_without_a_price_keep_their_reason_and_have_no_causes(desk):
    _, folder = desk.impact("model=motor_fr@1", "model=motor_fr@2", out="models")
    lines = table_of(folder).to_pylist()
    assert (lines[5]["old_status"], lines[5]["new_codes"]) == ("refused", "channel:unknown")
    assert (lines[6]["new_status"], lines[6]["old_codes"]) == ("refused", "fuel:level")
    assert [lines[5][n] for n in ("old_price_minor", "change_minor", "factor_driver_age_minor")] == [None] * 3


def test_prices_are_those_of_a_repricing_and_stored_ones_can_be_compared(desk):
    """The same policies repriced by each side give the same prices, and the same impact from the files."""
    cheaper = desk.plan("cheaper", ('margin = "0.05"', 'margin = "0.01"'))
    _, live = desk.impact("model=motor_fr@1", f"model=motor_fr@2,{cheaper}", out="live")
    stored = []
    for side, version, plan in (("old", "1", None), ("new", "2", cheaper.removeprefix("plan="))):
        stored.append(desk.root / f"stored_{side}")
        reprice_with(desk, version, plan, stored[-1])
    _, folder = desk.impact(*(f"prices={path}" for path in stored), out="from_files")
    ours, theirs = table_of(live), table_of(folder)
    for name in ("old_status", "new_status", "old_price_minor", "new_price_minor", "change_minor"):
        assert ours[name].equals(theirs[name]), name
    assert "factor_risk_premium_minor" in causes_of(theirs)
    priced = theirs.filter(pc.is_valid(theirs["change_minor"]))
    total = np.sum([priced[name].to_numpy() for name in causes_of(theirs)], axis=0)
    assert np.array_equal(total, priced["change_minor"].to_numpy())
    assert "Stored prices do not say" in page_of(folder)
    other = desk.root / "other.parquet"
    pq.write_table(desk.policies().slice(0, 20), other)
    told, _ = desk.impact(*(f"prices={path}" for path in stored), book=other, code=1)
    assert "was not made from other.parquet" in told


def reprice_with(desk: Desk, version: str, plan: str | None, out: Path) -> None:
    from datetime import datetime

    from data.store import connect
    from features.load import default_spec
    from pricing.plan import read_plan
    from serving.reprice import reprice

    settings = Settings(lake=desk.root / "lake", products=desk.root / "products")
    bundle, artifact_hash = Registry(settings.registry).stored("motor_fr", version)
    used = product_plan(desk.product, settings.plans) if plan is None else read_plan(Path(plan))
    service = InService(bundle.product, used, bundle, version, artifact_hash)
    with connect(settings.lake) as con:
        reprice(desk.book, out, {"motor_fr": service}, default_spec(), con, datetime.fromisoformat(AS_OF))


def test_only_what_differs_is_a_cause(desk):
    plan = desk.plan("taxed", ('tax = "0.33"', 'tax = "0.30"'))
    _, folder = desk.impact("model=motor_fr@1", f"model=motor_fr@1,{plan}", out="plan_only")
    table = table_of(folder)
    moved = {n for n in causes_of(table) if pc.any(pc.not_equal(pc.fill_null(table[n], 0), 0)).as_py()}
    assert moved <= {"plan_tax_minor", "plan_rounding_minor"}
    assert "plan_tax_minor" in moved
    _, folder = desk.impact("model=motor_fr@1", "model=motor_fr@2", out="models")
    assert not [n for n in causes_of(table_of(folder)) if n.startswith("plan_")]


def test_policies_that_leave_the_filed_corridor_are_named_with_the_reason(desk):
    narrow = desk.plan("narrow", ('highest = "6000.00"', 'highest = "700.00"'))
    told, folder = desk.impact("model=motor_fr@1", f"model=motor_fr@1,{narrow}", out="narrow_out")
    assert "quoted before, referred now" in told
    page = page_of(folder)
    assert "price_outside_corridor" in page
    lost = pc.equal(table_of(folder)["new_codes"], "price_outside_corridor")
    assert 0 < pc.sum(lost).as_py() < ROWS


def test_a_price_test_gives_volume_and_profit_or_says_why_not(desk):
    rng = np.random.default_rng(3)
    size = 2000
    rows = motor_rows(size, 11, 0.5)
    columns = {factor.name: rows[factor.source] for factor in desk.product.factors}
    multiplier = rng.choice([0.8, 0.9, 1.0, 1.1, 1.2], size)
    chance = 1 / (1 + np.exp(-(0.3 - 6.0 * np.log(multiplier))))
    tested = desk.root / "tested.parquet"
    pq.write_table(
        pa.table(columns | {"price_multiplier": multiplier, "accepted": rng.random(size) < chance}), tested
    )
    told, folder = desk.impact(
        "model=motor_fr@1", "model=motor_fr@2", "--demand", str(tested), out="with_demand"
    )
    assert "expected under demand (slope -" in told
    assert "Expected profit" in page_of(folder)
    known = pa.table(columns).to_pandas()
    model = SplineDemand().fit(known, rng.random(size) < chance, np.log(multiplier))
    verdict = Verdict(True, False, (), {"controlled": -1.4}, 1.0, size)
    stored = desk.root / "demand.json"
    StoredDemand("motor_fr", desk.product.hash, "price test", model, verdict, {}).save(stored)
    told, folder = desk.impact(
        "model=motor_fr@1", "model=motor_fr@2", "--demand", str(stored), "--renewal", out="stored_demand"
    )
    assert "expected under demand (slope -1.400" in told
    assert "from the premium in force than the tested prices is not known" in page_of(folder)
    flat = desk.root / "flat.parquet"
    pq.write_table(
        pa.table(columns | {"price_multiplier": multiplier, "accepted": rng.random(size) < 0.5}), flat
    )
    told, folder = desk.impact(
        "model=motor_fr@1", "model=motor_fr@2", "--demand", str(flat), out="flat_demand"
    )
    assert "the elasticity is not identified" in told
    assert "Expected profit" not in page_of(folder)


def test_what_cannot_be_compared_is_refused_and_leaves_the_old_result(desk):
    _, folder = desk.impact("model=motor_fr@1", "model=motor_fr@2", out="kept")
    before = {path.name: file_checksum(path) for path in folder.iterdir()}
    desk.impact("model=motor_fr@1", "model=motor_fr@2", out="kept")
    assert {path.name: file_checksum(path) for path in folder.iterdir()} == before  # the same bytes again
    (file,) = read_manifest(folder).files
    assert file.path in page_of(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.impact.impact_page", stopped)
        desk.impact("model=motor_fr@2", "model=motor_fr@1", out="kept", code=130)
    assert {path.name: file_checksum(path) for path in folder.iterdir()} == before  # nor does one that is cut
    book = desk.policies()
    tiny = desk.plan("tiny", ('lowest = "40.00"\nhighest = "6000.00"', 'lowest = "40.00"\nhighest = "75.00"'))
    dollars = desk.plan("dollars", ('currency = "EUR"', 'currency = "USD"'))
    foreign = f"plan={REFERENCE / 'plans' / 'motor-2026-01.toml'}"
    one, two = "model=motor_fr@1", "model=motor_fr@2"
    cases = [
        (one, two, book.slice(0, 0), "holds no rows"),
        (one, two, book.drop_columns(["driver_age", "fuel"]), "lacks driver_age, fuel"),
        (one, two, book.drop_columns(["channel"]), "lacks the columns channel"),
        (one, two, book.set_column(book.column_names.index("product"), "product", [["travel"] * ROWS]),
         "holds travel; the impact is that on motor_fr alone"),
        (one, f"{one},{tiny}", book, "has a price both ways"),
        (one, f"{one},{dollars}", book, "made for motor_fr in USD; motor_fr is in EUR"),
        (one, f"{one},{foreign}", book, "price different products: motor, motor_fr"),
        (one, one, book, "old and new are the same"),
        (one, "model=motor_fr@9", book, "no version"),
        (one, "model=motor_fr", book, "is no PRODUCT@VERSION"),
        ("service", two, book, "no model has been promoted"),
        (one, two, None, "neither a parquet file"),
    ]  # fmt: skip
    for old, new, rows, words in cases:
        path = desk.root / ("absent.parquet" if rows is None else "case.parquet")
        if rows is not None:
            pq.write_table(rows, path)
        told, _ = desk.impact(old, new, book=path, out="kept", code=1)
        assert "refused" in told
        assert words in told.replace("\n", " "), told
    assert {path.name: file_checksum(path) for path in folder.iterdir()} == before
