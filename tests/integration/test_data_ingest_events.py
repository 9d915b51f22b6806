"""Bad events: each kind has its own answer, none is lost, and a record keeps its number."""

import datetime as dt
import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.column_map import ColumnMap
from data.errors import SourceError
from data.ingest import ingest
from data.store import read_table

NOW = dt.datetime(2026, 1, 1)
HEAD = "id,buyer,shop,kind,at,price,back\n"
COLUMNS = {
    "order_id": "id",
    "customer_id": "buyer",
    "seller_id": "shop",
    "category": "kind",
    "ordered_at": '"at"',
    "amount_minor": "price",
    "returned_at": "back",
}
PEOPLE = {"table": {"name": "customers"}, "columns": {"customer_id": "u", "registered_at": "r"}}


def order_map(**table):
    return ColumnMap.model_validate({"table": {"name": "orders", **table}, "columns": COLUMNS})


def write(path, *lines, head=HEAD):
    path.write_text(head + "".join(f"{line}\n" for line in lines), newline="")
    return path


def line(number, buyer=7, at="2025-03-01 10:00:00", price=12, back="", kind="toys"):
    return f"{number},{buyer},3,{kind},{at},{price},{back}"


def people(root, folder, *ids):
    path = write(folder / "people.csv", *(f"{number},2024-01-01" for number in ids), head="u,r\n")
    ingest(path, ColumnMap.model_validate(PEOPLE), root, created=NOW)


def numbered(report):
    return {row["source_row"]: row["reasons"] for row in pq.read_table(report.quarantine).to_pylist()}


def test_events_of_the_future_wait_in_quarantine_and_a_clock_may_be_a_little_ahead(tmp_path):
    source = write(
        tmp_path / "a.csv",
        line(1, at="2026-01-01 00:59:59"),
        line(2, at="2026-01-01 01:00:01"),
        line(3, back="2026-02-01 00:00:00"),
        line(4, at="2999-01-01"),
    )
    report = ingest(source, order_map(), tmp_path / "lake", created=NOW)
    assert numbered(report) == {
        2: ["ordered_at: in the future"],
        3: ["returned_at: in the future"],
        4: ["ordered_at: in the future"],
    }
    # A month later three of them have happened: the same file again stores them.
    later = ingest(source, order_map(), tmp_path / "lake", created=NOW + dt.timedelta(days=40))
    assert (later.rows_stored, later.rows_quarantined) == (3, 1)
    wide = ingest(
        source, order_map(), tmp_path / "lake", created=NOW, future_tolerance=dt.timedelta(days=400_000)
    )
    assert wide.rows_quarantined == 0


def test_orders_of_unknown_customers_wait_until_they_are_known_or_allowed(tmp_path):
    lake = tmp_path / "lake"
    source = write(tmp_path / "a.csv", line(1, buyer=7), line(2, buyer=8))
    assert ingest(source, order_map(), lake, created=NOW).rows_quarantined == 0  # no customers to look among
    people(lake, tmp_path, 7)
    report = ingest(source, order_map(), lake, created=NOW)
    assert (report.rows_stored, report.reasons) == (1, {"customer_id: unknown customer": 1})
    assert pq.read_table(report.quarantine).column("customer_id").to_pylist() == [8]
    allowed = ingest(source, order_map(allow_unknown_customers=True), lake, created=NOW)
    assert allowed.rows_stored == 2
    people(lake, tmp_path, 7, 8)
    assert ingest(source, order_map(), lake, created=NOW).rows_stored == 2


def test_the_same_row_again_differs_from_another_row_under_its_key(tmp_path):
    lake = tmp_path / "lake"
    first = write(tmp_path / "a.csv", line(1), line(1), line(1, price=13), line(2))
    report = ingest(first, order_map(), lake, created=NOW)
    assert numbered(report) == {
        2: ["order_id: duplicate row"],
        3: ["order_id: duplicate key, other content"],
    }
    second = write(tmp_path / "b.csv", line(1), line(2, kind="books"), line(2), line(3), line(3, buyer=9))
    report = ingest(second, order_map(), lake, created=NOW)
    assert numbered(report) == {
        1: ["order_id: duplicate row"],
        2: ["order_id: duplicate key, other content"],
        3: ["order_id: duplicate row"],
        5: ["order_id: duplicate key, other content"],
    }
    assert sorted(read_table(lake, "orders").column("amount_minor").to_pylist()) == [12, 12, 12]


def test_duplicates_are_told_apart_by_their_rating_factors_too(tmp_path):
    columns = dict.fromkeys(("policy_id", "customer_id", "premium_minor"), "id")
    columns |= {"product": "'motor'", "channel": "'direct'", "quoted_at": "day", "inception_at": "day"}
    columns["expiry_at"] = "day::TIMESTAMP + INTERVAL 1 YEAR"

    def policies(name, *ages, risk):
        path = write(tmp_path / name, *(f"5,2025-01-01,{age}" for age in ages), head="id,day,age\n")
        body = {"table": {"name": "policies"}, "columns": columns, "risk": risk}
        return ingest(path, ColumnMap.model_validate(body), tmp_path / "lake", created=NOW)

    first = policies("a.csv", 40, 40, 41, risk={"driver_age": "age::INTEGER"})
    assert first.reasons == {
        "policy_id: duplicate row": 1,
        "policy_id: duplicate key, other content": 1,
    }
    same = policies("b.csv", 40, 39, risk={"driver_age": "age::BIGINT"})
    assert list(numbered(same).values()) == [
        ["policy_id: duplicate row"],
        ["policy_id: duplicate key, other content"],
    ]
    assert policies("c.csv", 40, risk={"age_of_driver": "age::INTEGER"}).reasons == {
        "policy_id: duplicate key, other content": 1
    }


def test_negative_money_has_its_own_reason_and_all_counts_add_up(tmp_path):
    source = write(
        tmp_path / "a.csv",
        line(1, price=-1),
        line(1, price=-1, at="2027-01-01"),
        line(2),
        line(""),
        "3,7",
        line(4, at="never"),
    )
    report = ingest(source, order_map(), tmp_path / "lake", created=NOW)
    assert (report.rows_in, report.rows_stored, report.rows_quarantined) == (6, 1, 5)
    assert numbered(report)[2] == [
        "ordered_at: in the future",
        "amount_minor: negative money",
        "order_id: duplicate key, other content",
    ]
    assert report.reasons["amount_minor: negative money"] == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("zipped", [False, True])
def test_records_keep_their_numbers_across_quoted_line_breaks_and_blank_lines(tmp_path, end, zipped):
    records = [
        line(1, kind=f'"to{end}ys"'),
        line(2) + ",more",
        line(3, kind=f'"a ""quoted""{end}{end}word"'),
        "",
        "5,7",
        line(6, price=-6),
        f'7,7,3,"two{end}lines",2025-03-01,1,,more',
        '8,7,3,"bad"quote,2025-03-01,1,',
        line(9, price=-9),
    ]
    text = HEAD.replace("\n", end) + "".join(record + end for record in records)
    path = tmp_path / ("a.csv.gz" if zipped else "a.csv")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    report = ingest(path, order_map(), tmp_path / "lake", created=NOW)
    assert numbered(report) == {
        2: ["line: too many columns"],
        5: ["line: missing columns"],
        6: ["amount_minor: negative money"],
        7: ["line: too many columns"],
        8: ["line: unquoted value"],
        9: ["amount_minor: negative money"],
    }
    kinds = read_table(tmp_path / "lake", "orders").sort_by("order_id").column("category").to_pylist()
    assert kinds == [f"to{end}ys", f'a "quoted"{end}{end}word']


RECORD = st.sampled_from(["good", "broken", "two lines", "blank", "negative", "short"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(RECORD, min_size=1, max_size=12))
def test_every_record_is_stored_or_quarantined_under_its_number(tmp_path, kinds):
    texts = {
        "good": "{n},7,3,toys,2025-03-01,1,",
        "broken": "{n},7,3,toys,2025-03-01,1,,,more",
        "two lines": '{n},7,3,"a\n\nb",2025-03-01,1,',
        "blank": "",
        "negative": "{n},7,3,toys,2025-03-01,-1,",
        "short": "{n},7",
    }
    records = [texts[kind].format(n=number) for number, kind in enumerate(kinds, start=1)]
    root = tmp_path / str(len(list(tmp_path.iterdir())))
    root.mkdir()
    report = ingest(write(root / "a.csv", *records), order_map(), root / "lake", created=NOW)
    assert report.rows_in == sum(kind != "blank" for kind in kinds)
    bad = {n for n, kind in enumerate(kinds, start=1) if kind in ("broken", "negative", "short")}
    assert set(numbered(report) if report.quarantine else {}) == bad
    good = {n for n, kind in enumerate(kinds, start=1) if kind in ("good", "two lines")}
    assert set(read_table(root / "lake", "orders").column("order_id").to_pylist()) == good


def test_one_odd_row_does_not_change_how_the_file_is_read(tmp_path):
    # Guessing the form of a file from its rows took a stray quote for a sign that nothing is quoted.
    source = write(
        tmp_path / "a.csv", line(1, kind='"to,ys"'), '2,7,3,"bad"x,2025-03-01,1,', line(3, kind='"a;b;c;d"')
    )
    report = ingest(source, order_map(), tmp_path / "lake", created=NOW)
    assert (report.rows_stored, report.reasons) == (2, {"line: unquoted value": 1})


def test_semicolons_byte_order_marks_and_parquet_are_read(tmp_path):
    semicolons = tmp_path / "a.csv"
    semicolons.write_bytes("\ufeff".encode() + (HEAD + line(1) + "\n").replace(",", ";").encode())
    assert ingest(semicolons, order_map(), tmp_path / "lake", created=NOW).rows_stored == 1
    rows = {"id": [2, None], "buyer": [7, 7], "shop": [3, 3], "kind": ["toys"] * 2, "price": [1, 1]}
    rows |= {"at": [NOW, NOW], "back": pa.nulls(2, pa.timestamp("us"))}
    pq.write_table(pa.table(rows), tmp_path / "b.parquet")
    report = ingest(tmp_path / "b.parquet", order_map(), tmp_path / "lake", created=NOW)
    assert numbered(report) == {2: ["order_id: null key"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no header"),
        ("id,客户\n".encode("gb18030"), "must be UTF-8"),
        (b"id,kind,ID\n1,2,3\n", "more than one column 'ID'"),
    ],
)
def test_files_without_a_usable_header_are_refused(tmp_path, content, words):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=words):
        ingest(path, order_map(), tmp_path / "lake", created=NOW)
    assert not (tmp_path / "lake" / "orders").exists()


@pytest.mark.slow
def test_numbers_hold_in_a_file_that_is_read_in_parallel(tmp_path):
    path = tmp_path / "a.csv"
    bad = {5_000, 250_000, 399_999}
    with path.open("w") as stream:
        stream.write(HEAD)
        for number in range(1, 400_001):
            kind = '"line one\nline two ' + "x" * 60 + '"'
            stream.write(line(number, kind=kind) + ",more\n" * (number in bad) + "\n" * (number not in bad))
    report = ingest(path, order_map(), tmp_path / "lake", created=NOW, threads=2)
    assert set(numbered(report)) == bad
    assert report.rows_stored == 400_000 - len(bad)
