"""The profile tables of a simulated lake: modes, what is read, damage, kills, erasure, the command."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from data.erase import erase_customer
from data.simulate import simulate
from data.store import append_table, connect, read_table
from features.errors import UnknownFeature
from features.load import default_spec
from features.profiles import build_profiles
from features.refresh import default_names, refresh_profiles
from features.refresh_erase import erase_from_profiles
from features.refresh_manifest import INPUTS, ProfileTableError, profile_folder, read_profile_manifest
from features.refresh_read import read_profiles
from serving.cli import app

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SPEC = default_spec()
DAY = dt.timedelta(days=1)
T0 = dt.datetime(2025, 11, 11, 8)
NAMES = ["orders_30d", "orders_365d", "days_since_last_order", "order_amount_max_365d", "return_share_365d"]


@pytest.fixture(scope="module")
def insurer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("profiles")
    simulate(root, customers=2_000, seed=11)
    return root


@pytest.fixture
def lake(insurer: Path, tmp_path: Path) -> Path:
    return shutil.copytree(insurer, tmp_path / "lake")


def scratch(root: Path, as_of: dt.datetime, names: list[str]) -> pa.Table:
    """Evaluate customers from scratch, everybody registered before as-of or with an event by then."""
    with connect(root) as con:
        events = (
            ("customers", "registered_at"), ("orders", "ordered_at"), ("policies", "quoted_at"),
            ("claims", "reported_at"),
        )  # fmt: skip
        every = " UNION ".join(f"SELECT customer_id, {time} t FROM {table}" for table, time in events)  # noqa: S608
        who = f"SELECT DISTINCT customer_id FROM ({every}) WHERE t < TIMESTAMP '{as_of}' ORDER BY customer_id"  # noqa: S608
        people = con.sql(who).to_arrow_table()["customer_id"].combine_chunks()
        times = pa.array([as_of] * len(people), pa.timestamp("us"))
        labels = pa.table({"row_id": people, "customer_id": people, "as_of": times})
        return build_profiles(con, labels, SPEC, names).rename_columns(["customer_id", *names])


def names_of(entity: str) -> list[str]:
    return list(default_names(SPEC, entity))


def test_days_of_a_simulated_lake_equal_full_runs_and_read_little(lake: Path) -> None:
    first = refresh_profiles(lake, SPEC, None, "customer", T0)
    assert (first.mode, first.reason) == ("full", "first run")
    modes, runs = [], []
    for number in range(1, 10):
        done = refresh_profiles(lake, SPEC, None, "customer", T0 + number * DAY)
        modes.append(done.mode)
        assert 0 < done.recomputed < done.rows / 2
        assert done.files_read < done.files_total / 3
        manifest = read_profile_manifest(lake, "customer")
        runs.append(manifest.runs)
        assert {file.layer for file in manifest.files if file.layer != "base"} >= {"orders-365d"} or not runs[
            -1
        ]
        if runs[-1] in {0, 3}:
            found = read_profiles(lake, "customer", T0 + number * DAY)
            assert found.equals(scratch(lake, T0 + number * DAY, names_of("customer")))
    assert modes == ["incremental"] * 9
    assert runs[:3] == [1, 2, 3]
    assert 0 in runs, "patches are never merged"


def test_the_first_customers_come_to_an_empty_table(lake: Path) -> None:
    registered = sorted(read_table(lake, "customers")["registered_at"].to_pylist())
    assert refresh_profiles(lake, SPEC, None, "customer", registered[0]).rows == 0
    for number in (1, 2):
        as_of = registered[number]
        done = refresh_profiles(lake, SPEC, None, "customer", as_of)
        assert (done.mode, done.rows) == ("incremental", number)
        assert read_profiles(lake, "customer", as_of).equals(scratch(lake, as_of, names_of("customer")))


def test_sellers_have_a_table_of_their_own_by_the_day(lake: Path) -> None:
    refresh_profiles(lake, SPEC, None, "seller", T0)
    same = refresh_profiles(lake, SPEC, None, "seller", T0 + dt.timedelta(hours=3))
    assert (same.mode, same.recomputed, same.files_read) == ("incremental", 0, 0)
    done = refresh_profiles(lake, SPEC, None, "seller", T0 + 3 * DAY)
    assert done.mode == "incremental"
    moved = read_profiles(lake, "seller", T0 + 3 * DAY)
    shutil.rmtree(lake / "profiles")
    refresh_profiles(lake, SPEC, None, "seller", T0 + 3 * DAY)
    assert moved.equals(read_profiles(lake, "seller"))
    assert moved.num_rows == done.rows > 10


def test_a_late_feed_counts_although_its_time_is_long_past(lake: Path) -> None:
    refresh_profiles(lake, SPEC, NAMES, "customer", T0)
    late = read_table(lake, "orders").slice(0, 1).to_pylist()[0]
    late |= {"order_id": 10**15, "ordered_at": T0 - 40 * DAY, "delivered_at": None, "returned_at": None}
    rows = pa.Table.from_pylist([late], read_table(lake, "orders").schema)
    append_table(lake, "orders", rows, created=T0, source="late feed")
    done = refresh_profiles(lake, SPEC, NAMES, "customer", T0)
    assert (done.mode, done.recomputed) == ("incremental", 1)
    assert read_profiles(lake, "customer", T0).equals(scratch(lake, T0, NAMES))


def test_other_definitions_or_an_earlier_time_lead_to_a_full_run(lake: Path) -> None:
    refresh_profiles(lake, SPEC, NAMES, "customer", T0)
    changed = refresh_profiles(lake, SPEC, NAMES[:2], "customer", T0 + DAY)
    assert (changed.mode, changed.reason) == ("full", "the definitions have changed")
    back = refresh_profiles(lake, SPEC, NAMES[:2], "customer", T0)
    assert (back.mode, back.reason) == ("full", "the last run is as of a later time")
    assert read_profiles(lake, "customer").equals(scratch(lake, T0, NAMES[:2]))


def test_damage_is_seen_and_mended_by_a_full_run(lake: Path) -> None:
    refresh_profiles(lake, SPEC, NAMES, "customer", T0)
    part = next(profile_folder(lake, "customer").glob("as_of=*/**/*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    done = refresh_profiles(lake, SPEC, NAMES, "customer", T0 + DAY)
    assert (done.mode, done.reason) == ("full", "files of the last run are missing or damaged")
    manifest = profile_folder(lake, "customer") / "_manifest.json"
    body = json.loads(manifest.read_text(encoding="utf-8")) | {"as_of_us": 0}
    manifest.write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(ProfileTableError, match="checksum"):
        read_profiles(lake, "customer")
    again = refresh_profiles(lake, SPEC, NAMES, "customer", T0 + DAY)
    assert (again.mode, again.reason) == ("full", "the manifest of the last run cannot be read")


def test_replaced_inputs_without_their_links_lead_to_a_full_run(lake: Path) -> None:
    label = "extra"
    row = read_table(lake, "orders").slice(0, 1).to_pylist()[0]
    schema = read_table(lake, "orders").schema
    for number, amount in enumerate((100, 200)):
        row |= {"order_id": 10**15, "amount_minor": amount}
        append_table(lake, "orders", pa.Table.from_pylist([row], schema), created=T0, source=label)
        if number == 0:
            refresh_profiles(lake, SPEC, NAMES, "customer", T0)
            shutil.rmtree(profile_folder(lake, "customer") / INPUTS)
    done = refresh_profiles(lake, SPEC, NAMES, "customer", T0 + DAY)
    assert done.mode == "full"
    assert done.reason == "event files of the last run were replaced and are no longer there"
    assert read_profiles(lake, "customer").equals(scratch(lake, T0 + DAY, NAMES))


def test_an_erased_customer_leaves_no_trace(lake: Path) -> None:
    refresh_profiles(lake, SPEC, NAMES, "customer", T0 - DAY)
    refresh_profiles(lake, SPEC, NAMES, "customer", T0)
    refresh_profiles(lake, SPEC, None, "seller", T0)
    gone = read_profiles(lake, "customer")["customer_id"][7].as_py()
    assert erase_from_profiles(lake, "customer_id", gone) == {"customer": 1, "seller": 0}
    assert gone not in read_profiles(lake, "customer")["customer_id"].to_pylist()
    assert not list((lake / "profiles").rglob(f"{INPUTS}/**/*.parquet"))
    erase_customer(lake, gone, created=T0)
    for entity in ("customer", "seller"):
        assert (
            refresh_profiles(lake, SPEC, NAMES if entity == "customer" else None, entity, T0).mode == "full"
        )
    assert read_profiles(lake, "customer").equals(scratch(lake, T0, NAMES))


KILLED = """
import datetime as dt, os, signal, sys
from pathlib import Path
from features import refresh, refresh_manifest, refresh_store
from features.load import default_spec

root, where = Path(sys.argv[1]), sys.argv[2]
as_of, names = dt.datetime.fromisoformat(sys.argv[3]), sys.argv[4]

def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

if where == "manifest":
    refresh_store.write_profile_manifest = die
elif where == "sweep":
    refresh_store._drop_unlisted = die
elif where == "moved":
    kept = refresh_store.PartWriter.move_in
    refresh_store.PartWriter.move_in = lambda self: (kept(self), die())
elif where == "half moved":
    refresh_store.fsync_path = lambda path: die() if path.is_dir() else None
progress = (lambda step, share: die() if step == where else None)
refresh.refresh_profiles(root, default_spec(), names.split(","), "customer", as_of, progress=progress)
"""
STEPS = ["features", "changes", "look up", "write", "half moved", "moved", "manifest", "sweep"]


@pytest.mark.parametrize("where", STEPS)
def test_a_killed_run_leaves_the_old_table_or_the_new_one_whole(lake: Path, where: str) -> None:
    if where != "features":
        refresh_profiles(lake, SPEC, NAMES, "customer", T0)
    before = read_profiles(lake, "customer") if where != "features" else None
    arguments = [str(lake), where, (T0 + DAY).isoformat(), ",".join(NAMES)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)  # noqa: S603
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    whole = scratch(lake, T0 + DAY, NAMES)
    if before is None:
        with pytest.raises(ProfileTableError, match="no profiles"):
            read_profiles(lake, "customer")
    else:
        assert read_profiles(lake, "customer").equals(whole if where == "sweep" else before)
    done = refresh_profiles(lake, SPEC, NAMES, "customer", T0 + DAY)
    assert done.mode == ("full" if before is None else "incremental")
    assert read_profiles(lake, "customer").equals(whole)
    listed = {file.path for file in read_profile_manifest(lake, "customer").files}
    folder = profile_folder(lake, "customer")
    assert {path.relative_to(folder).as_posix() for path in folder.glob("as_of=*/**/*.parquet")} == listed
    assert not list(folder.glob(".staging-*"))


def test_wrong_names_and_moments_are_refused(lake: Path) -> None:
    with pytest.raises(UnknownFeature, match="did you mean 'orders_30d'"):
        refresh_profiles(lake, SPEC, ["orders_3d0"], "customer", T0)
    with pytest.raises(ProfileTableError, match="describes entity 'seller'"):
        refresh_profiles(lake, SPEC, ["seller_orders_90d"], "customer", T0)
    with pytest.raises(UnknownFeature):
        refresh_profiles(lake, SPEC, None, "nobody", T0)
    with pytest.raises(ProfileTableError, match="no profiles of entity"):
        read_profiles(lake, "customer")
    refresh_profiles(lake, SPEC, NAMES, "customer", T0)
    with pytest.raises(ProfileTableError, match="are as of 2025-11-11 08:00:00, wanted is 2025-11-12"):
        read_profiles(lake, "customer", T0 + DAY)
    with pytest.raises(ProfileTableError, match="lack 'orders_90d'"):
        read_profiles(lake, "customer", names=["orders_90d"])


def test_the_command_writes_both_tables_and_says_how(lake: Path) -> None:
    runner = CliRunner()
    for moment, run in ((T0, "full: first run"), (T0 + DAY, "incremental")):
        arguments = ["profile", "--as-of", moment.isoformat(), "--lake", str(lake)]
        done = runner.invoke(app, arguments, env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        assert done.output.count(run) == 2
    assert read_profiles(lake, "customer", T0 + DAY).num_rows == 2_000
    assert read_profiles(lake, "seller", T0 + DAY).num_rows > 10
    refused = runner.invoke(app, ["profile", "--entity", "nobody", "--lake", str(lake)])
    assert refused.exit_code == 1
    assert "refused" in refused.output
