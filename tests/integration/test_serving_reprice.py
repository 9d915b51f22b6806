"""A portfolio repriced: whole or not at all, every row accounted for, the same bytes again."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.errors import DataError, TableMissingError
from data.manifest import MANIFEST_NAME, file_checksum, read_manifest
from data.store import connect
from features.load import default_spec
from pricing.errors import PlanNotEffectiveError
from pricing.ladder import STEP_NAMES
from serving.compose import load_services
from serving.errors import PortfolioError
from serving.jobs import portfolio_in_force
from serving.reprice import read_prices, reprice

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from serving.engine import InService
    from serving.reprice import RepriceSummary

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

ROOT = Path(__file__).parents[2]
ROWS = 120


@pytest.fixture(scope="module")
def services(insurer) -> dict[str, InService]:
    return load_services(insurer.settings, default_spec())[0]


@pytest.fixture(scope="module")
def rows(insurer, services, tmp_path_factory) -> list[dict[str, Any]]:
    """Motor policies in force and return freight quotes in turn, some of them faulty."""
    book = tmp_path_factory.mktemp("book") / "motor.parquet"
    portfolio_in_force(insurer.settings, services["motor"].product, insurer.end, book)
    motor = pq.read_table(book).slice(0, ROWS // 2).to_pylist()
    with connect(insurer.settings.lake) as con:
        freight = (
            con.sql(
                "SELECT policy_id, product, channel, customer_id, seller_id, price_minor AS premium_minor, "
                "order_amount, category FROM quotes "
                "WHERE product = 'return_freight' AND policy_id IS NOT NULL "
                "ORDER BY hash(quote_id)"
            )
            .limit(ROWS // 2)
            .to_arrow_table()
            .to_pylist()
        )
        free = con.sql("SELECT min(customer_id) FROM customers ANTI JOIN policies USING (customer_id)")
        (nobody,) = free.fetchall()[0]
    mixed = [row for pair in zip(motor, freight, strict=True) for row in pair]
    mixed[0] = mixed[0] | {"driver_age": 12, "fuel": "steam"}
    mixed[1] = mixed[1] | {"category": None}
    mixed[2] = mixed[2] | {"channel": "fax"}
    mixed[4] = mixed[4] | {"bonus_malus": 220}
    mixed[6] = mixed[6] | {"premium_minor": None, "customer_id": nobody}
    return mixed


@pytest.fixture
def portfolio(rows, tmp_path) -> Path:
    path = tmp_path / "portfolio.parquet"
    pq.write_table(as_table(rows), path)
    return path


@pytest.fixture
def run(insurer, services, tmp_path) -> Callable[..., RepriceSummary]:
    def run(
        portfolio: Path, out: Path | None = None, as_of: dt.datetime | None = None, **options: Any
    ) -> Any:
        with connect(insurer.settings.lake) as con:
            moment = as_of or insurer.end
            return reprice(
                portfolio,
                out or tmp_path / "out",
                services,
                default_spec(),
                con,
                moment,
                lake=insurer.settings.lake,
                **options,
            )

    return run


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def digest(folder: Path) -> dict[str, str]:
    return {path.name: file_checksum(path) for path in sorted(folder.iterdir())}


def test_rows_in_are_rows_out_and_refused_rows_say_why(run, portfolio, rows, tmp_path):
    summary = run(portfolio)
    prices = read_prices(tmp_path / "out").sort_by("row").to_pylist()
    assert [row["row"] for row in prices] == list(range(ROWS))
    for name in ("policy_id", "product", "channel", "premium_minor"):
        assert [row[name] for row in prices] == [row[name] for row in rows], name
    assert (prices[0]["status"], prices[0]["codes"]) == ("refused", "driver_age:below;fuel:level")
    assert (prices[1]["status"], prices[1]["codes"]) == ("refused", "category:missing")
    assert (prices[2]["status"], prices[2]["codes"]) == ("refused", "channel:unknown")
    assert (prices[4]["status"], prices[4]["codes"]) == ("referred", "bonus_malus_high")
    assert prices[4]["risk_premium_minor"] > 0
    for row in prices:
        steps = [row[f"step_{name}_minor"] for name in STEP_NAMES]
        if row["status"] == "quoted":
            assert row["codes"] == ""
            assert sum(steps) == row["price_minor"] > 0
        else:
            assert row["codes"]
            assert [*steps, row["price_minor"]] == [None] * (len(STEP_NAMES) + 1)
    assert summary.rows == ROWS == sum(summary.by_status.values())
    both = [r for r in prices if r["premium_minor"] and r["price_minor"]]
    assert summary.premium == {
        "CNY": (sum(r["premium_minor"] for r in both), sum(r["price_minor"] for r in both))
    }
    changes = sorted(r["price_minor"] / r["premium_minor"] - 1 for r in both)
    assert sorted(summary.changes) == pytest.approx(changes, abs=1e-12)
    assert len(both) < summary.by_status["quoted"] < ROWS


def test_the_manifest_names_file_inputs_and_versions(run, portfolio, services, insurer, tmp_path):
    run(portfolio)
    out = tmp_path / "out"
    manifest = read_manifest(out)
    (file,) = manifest.files
    assert manifest.rows == file.rows == ROWS
    assert file.sha256 == hashlib.sha256((out / file.path).read_bytes()).hexdigest()
    assert file.bytes == (out / file.path).stat().st_size
    assert manifest.inputs == {"portfolio.parquet": file_checksum(portfolio)}
    assert manifest.created == insurer.end.isoformat()
    motor = services["motor"]
    assert manifest.versions["model.motor"] == f"{motor.model_version} {motor.model_hash}"
    assert manifest.versions["plan.motor"] == f"{motor.plan.code} {motor.plan.hash}"
    assert manifest.versions["product.motor"] == f"{motor.product.version} {motor.product.hash}"
    assert set(digest(out)) == {MANIFEST_NAME, file.path}


def test_the_result_has_one_column_of_each_name(run, portfolio, tmp_path):
    run(portfolio)
    names = read_prices(tmp_path / "out").column_names
    assert len(names) == len(set(names))


def test_a_rerun_gives_the_same_bytes(run, portfolio, tmp_path):
    run(portfolio)
    first = digest(tmp_path / "out")
    run(portfolio)
    assert digest(tmp_path / "out") == first


@pytest.mark.parametrize("batch_rows", [1, 7])
def test_the_size_of_batches_changes_nothing(run, portfolio, tmp_path, batch_rows):
    whole = run(portfolio, tmp_path / "whole")
    parts = run(portfolio, tmp_path / "parts", batch_rows=batch_rows)
    expected = read_prices(tmp_path / "whole").sort_by("row")
    assert read_prices(tmp_path / "parts").sort_by("row").equals(expected)
    assert (parts.by_status, parts.premium, parts.rows) == (whole.by_status, whole.premium, whole.rows)
    assert sorted(parts.changes) == sorted(whole.changes)


def test_rows_are_priced_one_by_one_as_in_the_whole(run, rows, portfolio, tmp_path):
    run(portfolio)
    whole = read_prices(tmp_path / "out").sort_by("row").to_pylist()
    alone = tmp_path / "alone.parquet"
    for number in (3, 4, 10, 11):
        pq.write_table(as_table([rows[number]]), alone)
        run(alone, tmp_path / "single")
        (row,) = read_prices(tmp_path / "single").to_pylist()
        assert row | {"row": number} == whole[number]


def test_a_folder_of_files_is_a_portfolio(run, portfolio, rows, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, first in enumerate(range(0, ROWS, 50)):
        pq.write_table(as_table(rows).slice(first, 50), folder / f"{number}.parquet")
    run(portfolio, tmp_path / "whole")
    run(folder, tmp_path / "parted")
    expected = read_prices(tmp_path / "whole").sort_by("row")
    assert read_prices(tmp_path / "parted").sort_by("row").equals(expected)


def test_progress_ends_at_the_number_of_rows(run, portfolio):
    seen: list[tuple[int, int]] = []
    run(portfolio, progress=lambda done, total: seen.append((done, total)), batch_rows=50)
    assert [total for _, total in seen] == [ROWS] * len(seen)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (ROWS, ROWS)


def test_a_new_result_replaces_the_old_one(run, portfolio, rows, tmp_path):
    run(portfolio)
    before = read_manifest(tmp_path / "out").files[0].path
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(as_table(rows).slice(0, 30), fewer)
    run(fewer)
    after = read_manifest(tmp_path / "out").files[0].path
    assert set(digest(tmp_path / "out")) == {MANIFEST_NAME, after}
    assert after != before
    assert read_prices(tmp_path / "out").num_rows == 30


class Cut(Exception):
    pass


def cut(_done: int, _total: int) -> None:
    raise Cut


def test_a_job_that_fails_leaves_the_old_result(run, portfolio, rows, tmp_path):
    run(portfolio)
    before = digest(tmp_path / "out")
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(as_table(rows).slice(0, 30), fewer)
    with pytest.raises(Cut):
        run(fewer, progress=cut, batch_rows=7)
    assert digest(tmp_path / "out") == before


def test_a_job_that_fails_first_leaves_no_result(run, portfolio, tmp_path):
    with pytest.raises(Cut):
        run(portfolio, progress=cut)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(TableMissingError):
        read_prices(tmp_path / "out")


KILLED = """
    import datetime as dt, os, signal, sys
    from pathlib import Path
    from data.store import connect
    from features.load import default_spec
    from models.bundle import Bundle
    from pricing.plan import read_plan
    from serving import reprice as job, results
    from serving.engine import InService

    lake, plans, bundles, portfolio, out, where = sys.argv[1:]
    services = {}
    for folder in Path(bundles).iterdir():
        bundle = Bundle.load(folder)
        plan = read_plan(Path(plans) / f"{bundle.product.plan}.toml")
        services[folder.name] = InService(bundle.product, plan, bundle, "1", "0")
    die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    if where == "manifest":
        results.write_manifest = die
    with connect(Path(lake)) as con:
        job.reprice(
            Path(portfolio), Path(out), services, default_spec(), con, dt.datetime(2026, 1, 1),
            lake=Path(lake), progress=die if where == "batch" else None, batch_rows=10,
        )
"""


@pytest.mark.parametrize("where", ["batch", "manifest"])
def test_a_killed_job_leaves_the_old_result_and_can_be_run_again(
    insurer, services, run, portfolio, rows, tmp_path, where
):
    run(portfolio)
    for code in ("motor", "return_freight"):
        services[code].bundle.save(tmp_path / "bundles" / code)
    out = tmp_path / "out"
    before, whole = digest(out), read_prices(out)
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(as_table(rows).slice(0, 30), fewer)
    lake, plans = insurer.settings.lake, insurer.settings.plans
    killed = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", textwrap.dedent(KILLED), lake, plans, tmp_path / "bundles", fewer, out, where],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert before.items() <= digest(out).items()
    assert read_prices(out).equals(whole)
    run(fewer)
    assert read_prices(out).num_rows == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["product"]), "lacks the columns product"),
        (lambda t: t.drop_columns(["channel", "product"]), "lacks the columns product, channel"),
        (lambda t: t.drop_columns(["bonus_malus", "fuel"]), "lacks bonus_malus, fuel; 'motor'"),
        (lambda t: t.drop_columns(["customer_id"]), "lacks customer_id"),
        (lambda t: t.slice(0, 0), "holds no rows"),
        (lambda t: put(t, "product", ["yacht"] * ROWS), "holds yacht; in service are flight_delay, motor"),
        (
            lambda t: put(t, "policy_id", [f"P-{n}" for n in range(ROWS)]),
            "'policy_id' is string, wanted is int",
        ),
        (lambda t: put(t, "premium_minor", [0.5] * ROWS), "'premium_minor' is double, wanted is int64"),
        (lambda t: put(t, "customer_id", ["me"] * ROWS), "'customer_id' is string, wanted is int64"),
    ],
)
def test_a_portfolio_that_cannot_be_priced_is_refused_before_anything_changes(
    run, portfolio, tmp_path, change, message
):
    run(portfolio)
    before = digest(tmp_path / "out")
    bad = tmp_path / "bad.parquet"
    pq.write_table(change(pq.read_table(portfolio)), bad)
    with pytest.raises(PortfolioError, match="^bad.parquet") as caught:
        run(bad)
    assert message in str(caught.value)
    assert digest(tmp_path / "out") == before


def put(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def test_what_is_no_parquet_file_is_refused(run, tmp_path):
    text = tmp_path / "prices.csv"
    text.write_text("product,channel\nmotor,direct\n", encoding="utf-8")
    with pytest.raises(PortfolioError, match="prices.csv cannot be read"):
        run(text)
    with pytest.raises(DataError, match="neither a parquet file nor a folder"):
        run(tmp_path / "nothing.parquet")
    assert not (tmp_path / "out").exists()


def test_a_plan_that_is_not_in_force_prices_nothing(run, portfolio, insurer, tmp_path):
    with pytest.raises(PlanNotEffectiveError, match="motor-2026-01|return_freight-2026-01"):
        run(portfolio, as_of=insurer.end.replace(year=2025))
    assert not (tmp_path / "out").exists()


def test_ids_as_floats_and_texts_as_dictionaries_price_the_same(run, portfolio, tmp_path):
    """What pandas and other writers make of the same columns."""
    run(portfolio, tmp_path / "plain")
    table = pq.read_table(portfolio)
    for name in ("customer_id", "seller_id", "driver_age"):
        table = put(table, name, table[name].combine_chunks().cast(pa.float64()))
    for name in ("product", "channel", "fuel", "category"):
        table = put(table, name, pc.dictionary_encode(table[name].combine_chunks()))
    other = tmp_path / "portfolio2.parquet"
    pq.write_table(table, other)
    run(other, tmp_path / "other")
    assert read_prices(tmp_path / "other").equals(read_prices(tmp_path / "plain"))


def test_the_portfolio_in_force_holds_what_runs_on_the_day(insurer, services, tmp_path):
    book = tmp_path / "book.parquet"
    count = portfolio_in_force(insurer.settings, services["motor"].product, insurer.end, book)
    moment = insurer.end.isoformat()
    with connect(insurer.settings.lake) as con:
        expected = con.execute(
            "SELECT policy_id FROM policies WHERE product = 'motor' AND inception_at <= $moment::TIMESTAMP "
            "AND expiry_at > $moment::TIMESTAMP ORDER BY 1",
            {"moment": moment},
        ).fetchall()
    found = pq.read_table(book)["policy_id"].to_pylist()
    assert found == [row[0] for row in expected]
    assert count == len(found) > 1000
