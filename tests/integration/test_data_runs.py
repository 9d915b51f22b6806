import datetime as dt
import subprocess
import sys

import pytest

from data.column_map import ColumnMap
from data.errors import QualityError
from data.ingest import ingest
from data.runs import append_run, read_runs, run_log
from data.statistics import RARE

NOW = dt.datetime(2026, 1, 1)
PEOPLE = {
    "table": {"name": "customers"},
    "columns": {"customer_id": "u", "region": "r", "gender": "g", "registered_at": '"at"'},
}


def people(folder, name="people.csv"):
    rows = [f"{n},CN-GD,{'F' if n % 2 else ''},2025-12-{1 + n % 3:02d}" for n in range(1, 21)]
    rows += ["21,CN-SH,M,2024-02-29", "21,CN-SH,M,2024-02-29", ",CN-SH,M,2024-02-29", "broken"]
    path = folder / name
    path.write_text("u,r,g,at\n" + "\n".join(rows) + "\n")
    return path


def test_an_ingest_leaves_its_figures_in_the_log(tmp_path):
    lake = tmp_path / "lake"
    report = ingest(people(tmp_path), ColumnMap.model_validate(PEOPLE), lake, created=NOW)
    (run,) = read_runs(lake, "customers")
    assert run == report.run
    assert (run.rows_read, run.rows_in, run.rows_stored, run.rows_quarantined) == (24, 24, 21, 3)
    assert run.reasons == {
        "customer_id: duplicate row": 1,
        "customer_id: null key": 1,
        "line: missing columns": 1,
    }
    figures = run.statistics
    assert (figures.rows, figures.nulls["gender"], figures.nulls["customer_id"]) == (23, 10, 1)
    assert figures.nulls["birth_date"] == 23
    assert (figures.oldest, figures.newest) == (dt.datetime(2024, 2, 29), dt.datetime(2025, 12, 3))
    assert figures.by_month == {"2024-02": 1, "2025-12": 20}
    assert figures.by_day == {"2025-12-01": 6, "2025-12-02": 7, "2025-12-03": 7}
    # One woman of Shanghai could be found by such a count, so rare texts of personal columns are pooled.
    assert figures.levels["region"] == {"CN-GD": 20, RARE: 1}
    assert figures.levels["gender"] == {"F": 10, RARE: 1}


def test_a_torn_last_line_is_passed_over_and_cut_off_by_the_next_run(tmp_path):
    lake = tmp_path / "lake"
    run = ingest(people(tmp_path), ColumnMap.model_validate(PEOPLE), lake, created=NOW).run
    log = run_log(lake, "customers")
    with log.open("ab") as stream:
        stream.write(log.read_bytes()[:200])
    assert read_runs(lake, "customers") == [run]
    append_run(lake, run)
    assert read_runs(lake, "customers") == [run, run]
    assert log.read_bytes().count(b"\n") == 2


def test_a_damaged_line_is_named(tmp_path):
    lake = tmp_path / "lake"
    run = ingest(people(tmp_path), ColumnMap.model_validate(PEOPLE), lake, created=NOW).run
    log = run_log(lake, "customers")
    log.write_bytes(b'{"table": "customers"}\n' + log.read_bytes())
    with pytest.raises(QualityError, match=r"customers.jsonl line 1 is not a run: source: Field required"):
        read_runs(lake, "customers")
    assert run.table == "customers"


def test_processes_that_append_at_once_lose_no_run(tmp_path):
    lake = tmp_path / "lake"
    ingest(people(tmp_path), ColumnMap.model_validate(PEOPLE), lake, created=NOW)
    code = (
        "import sys\nfrom pathlib import Path\nfrom data.runs import append_run, read_runs\n"
        "root = Path(sys.argv[1])\nrun = read_runs(root, 'customers')[0]\n"
        "for _ in range(40): append_run(root, run)\n"
    )
    command = [sys.executable, "-c", code, str(lake)]
    children = [subprocess.Popen(command) for _ in range(3)]  # noqa: S603 (our own interpreter)
    assert [child.wait() for child in children] == [0, 0, 0]
    assert len(read_runs(lake, "customers")) == 121
