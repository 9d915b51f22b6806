"""Bring a company's own table into the lake through a column map; what breaks the contract is quarantined.

A source is known by the checksum of its file. Ingesting the same file again, also with a corrected map,
replaces what it gave before. A row whose key already stands in the store from another source, or earlier in
the same file, is quarantined as a duplicate: of an equal row, or of one with other content. A row that stands
on an event alone gives way to it (`data.events`). Every ingest leaves a record in the run log, which the
quality gates judge the next one by.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb

from data.checks import reasons_sql
from data.column_map import check_column_map
from data.contracts import Contract, contract
from data.errors import ColumnMapError, IngestError, SourceError, hint
from data.events import EVENTS, FUTURE_TOLERANCE, settle
from data.manifest import file_checksum, fsync_path, manifest_or_none
from data.runs import RunRecord, append_run
from data.sources import ROW, load_source
from data.statistics import measure
from data.store import TableWrite, copy_partitioned, sql_name, sql_text, view_sql
from data.twins import mark_twins

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from data.column_map import ColumnMap

__all__ = ["FUTURE_TOLERANCE", "IngestReport", "ingest"]

_RISK_TYPES = {"HUGEINT": "BIGINT", "UBIGINT": "BIGINT", "UHUGEINT": "BIGINT", "FLOAT": "DOUBLE"}


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did with every row.

    Parameters
    ----------
    table, source : str
        Table, and the name under which the store knows the input.
    rows_read, rows_merged : int
        Rows of the file, and those merged into an equal one by ``distinct``.
    rows_in : int
        Rows to be stored or quarantined: read less merged.
    rows_stored, rows_quarantined : int
        They add up to `rows_in`; this is checked.
    reasons : dict of str to int
        Rows by reason; a row may have several.
    quarantine : Path or None
        File of the quarantined rows with ``source_row`` (1 is the first record after a header, see
        `data.sources`), ``reasons``, ``row`` (the source row as JSON, or the raw record) and ``customer_id``
        as the map gives it, null where it cannot be had.
    run : RunRecord
        What the run log holds of it.
    """

    table: str
    source: str
    rows_read: int
    rows_merged: int
    rows_in: int
    rows_stored: int
    rows_quarantined: int
    reasons: dict[str, int]
    quarantine: Path | None
    run: RunRecord


@dataclass(frozen=True, slots=True)
class _Limits:
    """What rows are held against: SQL of other sources' rows and of the customers, and the latest time."""

    others: str | None
    customers: str | None
    latest: dt.datetime


def ingest(
    source: Path,
    column_map: ColumnMap,
    root: Path,
    *,
    created: dt.datetime,
    future_tolerance: dt.timedelta = FUTURE_TOLERANCE,
    memory_limit: str | None = None,
    threads: int | None = None,
) -> IngestReport:
    """Ingest one parquet or CSV file.

    Parameters
    ----------
    source : Path
        ``.parquet``, or ``.csv`` / ``.csv.gz`` with a header, see `data.sources.load_source`.
    column_map : ColumnMap
        From `data.column_map.load_column_map`; it names the table.
    root : Path
        The lake.
    created : datetime
        Now, naive UTC: for the manifest and the run log, and no event may lie after it.
    future_tolerance : timedelta
        How far after `created` an event may lie all the same.
    memory_limit : str, optional
        Memory that DuckDB may use before it spills to disk.
    threads : int, optional
        Threads of DuckDB.

    Returns
    -------
    IngestReport

    Raises
    ------
    SourceError
        If the file cannot be read.
    ColumnMapError
        If the map does not fit the contract or the source.
    TableLockedError
        If another process is writing the table.
    IngestError
        If rows were lost, which leaves the lake as it was.
    """
    check_column_map(column_map)
    rules = contract(column_map.table.name)
    name, checksum = _identity(source)
    write = TableWrite(root, rules.name, created=created, source=name, fingerprint=checksum, keep_others=True)
    with write, duckdb.connect(str(write.stage("duckdb"))) as connection:
        _settle(connection, memory_limit, threads)
        load_source(connection, source)
        _stage(connection, column_map, rules)
        _judge(connection, rules, _limits(root, column_map, name, created + future_tolerance))
        report = _report(connection, rules, name, checksum, created)
        if report.rows_quarantined:
            report = replace(report, quarantine=root / "quarantine" / rules.name / f"{name}.parquet")
        _write_quarantine(connection, write, report)
        copy_partitioned(connection, "sound", write)
        settle(root, write, created + future_tolerance)
    append_run(root, report.run)
    return report


def _identity(source: Path) -> tuple[str, str]:
    """Give the name under which a file is known in the lake, and its checksum."""
    if not source.is_file():
        message = f"There is no file {source}"
        raise SourceError(message)
    checksum = file_checksum(source)
    return f"{source.stem.split('.')[0]}-{checksum[:12]}", checksum


def _settle(connection: duckdb.DuckDBPyConnection, memory_limit: str | None, threads: int | None) -> None:
    # Sharing a subexpression moves it out of TRY, and one bad value would then end the whole ingest.
    connection.execute("SET disabled_optimizers = 'common_subexpressions'")
    if memory_limit is not None:
        connection.execute(f"SET memory_limit = {sql_text(memory_limit)}")
    if threads is not None:
        connection.execute(f"SET threads = {int(threads)}")


def _stage(connection: duckdb.DuckDBPyConnection, column_map: ColumnMap, rules: Contract) -> None:
    """Compute every column; a value that cannot be had is null and its column is listed in `__uncast`."""
    known = [str(r[0]) for r in connection.execute("DESCRIBE raw").fetchall() if r[0] != ROW]
    chosen, uncast = [], []
    for column in rules.columns:
        expression = column_map.columns.get(column.name)
        if expression is None:
            chosen.append(f"CAST(NULL AS {column.sql_type}) AS {sql_name(column.name)}")
            continue
        _check_expression(connection, rules.name, column.name, expression, known)
        value, failed = _tried(column.name, expression, column.sql_type)
        chosen.append(value)
        uncast.append(failed)
    for factor, expression in column_map.risk.items():
        kind = _check_expression(connection, rules.name, factor, expression, known)
        kind = "DOUBLE" if kind.startswith("DECIMAL") else _RISK_TYPES.get(kind, kind)
        value, failed = _tried(factor, expression, kind)
        chosen.append(value)
        uncast.append(failed)
    columns = [*rules.names, *column_map.risk]
    try:
        connection.execute(
            f"CREATE TABLE staged AS SELECT {', '.join(chosen)}, "  # noqa: S608 (a map is the company's own SQL)
            f"list_filter([{', '.join(uncast)}], lambda c: c IS NOT NULL) AS __uncast, {ROW} FROM raw"
        )
    except duckdb.Error as error:
        message = f"The expressions of the map for {rules.name} cannot be computed: {error}"
        raise ColumnMapError(message) from error
    if column_map.table.distinct:
        names = ", ".join(sql_name(name) for name in columns)
        connection.execute(
            f"CREATE OR REPLACE TABLE staged AS SELECT {names}, __uncast, min({ROW}) AS {ROW} "  # noqa: S608
            f"FROM staged GROUP BY {names}, __uncast"
        )


def _tried(name: str, expression: str, kind: str) -> tuple[str, str]:
    """Give the SQL of a column's value, null when it cannot be had, and of its name when it cannot."""
    cast = f"TRY(CAST(({expression}) AS {kind}))"
    # TRY(x IS NULL) is null only when computing x fails, and false when there is a value that does not cast.
    failed = f"{cast} IS NULL AND NOT coalesce(TRY(({expression}) IS NULL), false)"
    return f"{cast} AS {sql_name(name)}", f"CASE WHEN {failed} THEN {sql_text(name)} END"


def _check_expression(
    connection: duckdb.DuckDBPyConnection, table: str, column: str, expression: str, known: list[str]
) -> str:
    """Refuse an expression that the source cannot give, and say which type it has."""
    try:
        found = connection.execute(f"DESCRIBE SELECT ({expression}) AS value FROM raw").fetchall()  # noqa: S608
    except duckdb.Error as error:
        missing = re.search(r'Referenced column "([^"]+)" not found', str(error))
        if missing:
            message = (
                f"The source has no column {missing[1]!r}, which {table}.{column} is mapped to"
                f"{hint(missing[1], known)}"
            )
        else:
            message = f"The expression of {table}.{column} is not valid: {expression!r}: {error}"
        raise ColumnMapError(message) from error
    return str(found[0][1])


def _limits(root: Path, column_map: ColumnMap, source: str, latest: dt.datetime) -> _Limits:
    rules = contract(column_map.table.name)
    before = manifest_or_none(root / rules.name)
    others = tuple(file for file in before.files if file.source not in {source, EVENTS}) if before else ()
    stored = view_sql(root / rules.name, replace(before, files=others)) if before and others else None
    people = manifest_or_none(root / "customers")
    checked = any(reference.table == "customers" for reference in rules.references)
    if people is None or not checked or column_map.table.allow_unknown_customers:
        return _Limits(stored, None, latest)
    return _Limits(stored, view_sql(root / "customers", people), latest)


def _judge(connection: duckdb.DuckDBPyConnection, rules: Contract, limits: _Limits) -> None:
    """Part the staged rows into ``broken``, with why, and the view ``sound``."""
    key = sql_name(rules.key)
    cases = [
        ("__twin = 'same'", f"{rules.key}: duplicate row"),
        ("__twin = 'other'", f"{rules.key}: duplicate key, other content"),
    ]
    if limits.customers is not None:
        known = f"SELECT customer_id FROM ({limits.customers})"  # noqa: S608
        cases.append((f"customer_id NOT IN ({known})", "customer_id: unknown customer"))
    reasons = reasons_sql(rules, uncast="__uncast", latest=limits.latest, more=cases)
    mark_twins(connection, rules, limits.others)
    connection.execute(
        f"CREATE TABLE judged AS SELECT * EXCLUDE (__uncast, __twin), {reasons} || "  # noqa: S608
        f"[c || ': not computable' FOR c IN __uncast IF c NOT IN ({_texts(rules)})] AS __reasons "
        f"FROM staged LEFT JOIN twins USING ({ROW})"
    )
    customer = key if rules.key == "customer_id" else "customer_id"
    connection.execute(
        f"INSERT INTO broken SELECT {ROW}, __reasons, to_json(raw_row), {customer} "  # noqa: S608
        f"FROM judged JOIN (SELECT raw AS raw_row, {ROW} AS number FROM raw) ON number = {ROW} "
        "WHERE len(__reasons) > 0"
    )
    connection.execute(
        f"CREATE VIEW sound AS SELECT * EXCLUDE (__reasons, {ROW}) FROM judged WHERE len(__reasons) = 0"  # noqa: S608
    )


def _texts(rules: Contract) -> str:
    return ", ".join(sql_text(name) for name in rules.names)


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])  # noqa: S608


def _report(
    connection: duckdb.DuckDBPyConnection, rules: Contract, source: str, checksum: str, created: dt.datetime
) -> IngestReport:
    lines = _count(connection, "broken WHERE reasons[1] LIKE 'line: %'")
    read = _count(connection, "raw") + lines
    merged = _count(connection, "raw") - _count(connection, "staged")
    stored, quarantined = _count(connection, "sound"), _count(connection, "broken")
    if read - merged != stored + quarantined:
        message = (
            f"{rules.name}: {read} rows read less {merged} merged are not {stored} stored "
            f"plus {quarantined} quarantined"
        )
        raise IngestError(message)
    found = connection.execute(
        "SELECT why, count(*) FROM (SELECT unnest(reasons) AS why FROM broken) GROUP BY why ORDER BY why"
    ).fetchall()
    run = RunRecord(
        table=rules.name,
        source=source,
        checksum=checksum,
        now=created,
        rows_read=read,
        rows_merged=merged,
        rows_in=read - merged,
        rows_stored=stored,
        rows_quarantined=quarantined,
        reasons={str(why): int(rows) for why, rows in found},
        statistics=measure(connection, rules, stored="sound", judged="judged"),
    )
    return IngestReport(
        table=rules.name,
        source=source,
        rows_read=read,
        rows_merged=merged,
        rows_in=run.rows_in,
        rows_stored=stored,
        rows_quarantined=quarantined,
        reasons=run.reasons,
        quarantine=None,
        run=run,
    )


def _write_quarantine(connection: duckdb.DuckDBPyConnection, write: TableWrite, report: IngestReport) -> None:
    """Replace the quarantine of this source before the table is committed, so that no bad row is lost."""
    target = write.folder.parent / "quarantine" / report.table / f"{report.source}.parquet"
    if report.quarantine is None:
        target.unlink(missing_ok=True)
        return
    staged = write.stage()
    connection.execute(
        f"COPY (SELECT {ROW} AS source_row, * EXCLUDE ({ROW}) FROM broken ORDER BY {ROW}) "  # noqa: S608
        f"TO {sql_text(staged)} (FORMAT parquet, COMPRESSION zstd)"
    )
    fsync_path(staged)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.replace(target)
    fsync_path(target.parent)
