"""Bring a company's own table into the lake through a column map; what breaks the contract is quarantined.

A source is known by the checksum of its file. Ingesting the same file again, also with a corrected map,
replaces what it gave before. A row whose key already stands in the store from another source, or earlier in
the same file, is quarantined as a duplicate key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from data.checks import reasons_sql
from data.column_map import check_column_map
from data.contracts import Contract, contract
from data.errors import ColumnMapError, IngestError, SourceError, hint
from data.manifest import file_checksum, fsync_path, read_manifest
from data.store import TableWrite, copy_partitioned, sql_name, sql_text

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from data.column_map import ColumnMap

__all__ = ["IngestReport", "ingest"]

_ROW = "source_row"
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
        File of the quarantined rows with ``source_row`` (1 is the first row after a header), ``reasons`` and
        ``row`` (the source row as JSON, or the raw line).
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


def ingest(
    source: Path,
    column_map: ColumnMap,
    root: Path,
    *,
    created: dt.datetime,
    memory_limit: str | None = None,
    threads: int | None = None,
) -> IngestReport:
    """Ingest one parquet or CSV file.

    Parameters
    ----------
    source : Path
        ``.parquet``, or ``.csv`` / ``.csv.gz`` with a header.
    column_map : ColumnMap
        From `data.column_map.load_column_map`; it names the table.
    root : Path
        The lake.
    created : datetime
        Time for the manifest, naive UTC.
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
    IngestError
        If rows were lost, which leaves the lake as it was.
    """
    check_column_map(column_map)
    rules = contract(column_map.table.name)
    if not source.is_file():
        message = f"There is no file {source}"
        raise SourceError(message)
    checksum = file_checksum(source)
    name = f"{source.stem.split('.')[0]}-{checksum[:12]}"
    write = TableWrite(root, rules.name, created=created, source=name, fingerprint=checksum, keep_others=True)
    with write, duckdb.connect(str(write.stage("duckdb"))) as connection:
        _settle(connection, memory_limit, threads)
        _load(connection, source)
        _stage(connection, column_map, rules)
        _judge(connection, rules, _other_files(root, rules, name))
        report = _report(connection, rules.name, name, root)
        _write_quarantine(connection, write, report)
        copy_partitioned(connection, "sound", write)
    return report


def _settle(connection: duckdb.DuckDBPyConnection, memory_limit: str | None, threads: int | None) -> None:
    # Sharing a subexpression moves it out of TRY, and one bad value would then end the whole ingest.
    connection.execute("SET disabled_optimizers = 'common_subexpressions'")
    if memory_limit is not None:
        connection.execute(f"SET memory_limit = {sql_text(memory_limit)}")
    if threads is not None:
        connection.execute(f"SET threads = {int(threads)}")


def _load(connection: duckdb.DuckDBPyConnection, source: Path) -> None:
    where = sql_text(source)
    is_csv = ".csv" in [suffix.lower() for suffix in source.suffixes]
    reader = (
        f"read_csv({where}, header = true, all_varchar = true, store_rejects = true)"
        if is_csv
        else f"read_parquet({where}, file_row_number = true)"
    )
    number = "row_number() OVER ()" if is_csv else "file_row_number + 1"
    rest = "*" if is_csv else "* EXCLUDE (file_row_number)"
    try:
        connection.execute(
            f"CREATE TABLE raw AS SELECT {rest}, {number} AS {_ROW} FROM {reader}"  # noqa: S608
        )
    except duckdb.Error as error:
        message = f"{source} cannot be read: {error}"
        raise SourceError(message) from error
    connection.execute(f"CREATE TABLE broken ({_ROW} BIGINT, reasons VARCHAR[], row VARCHAR)")
    if is_csv:
        _number_csv_rows(connection)


def _number_csv_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """Set lines that the reader could not split aside, and number the others by their place in the file."""
    connection.execute(
        f"INSERT INTO broken SELECT line - 1 AS {_ROW}, "  # noqa: S608
        "['line: ' || string_agg(DISTINCT lower(CAST(error_type AS VARCHAR)), ', ')], any_value(csv_line) "
        "FROM reject_errors GROUP BY line"
    )
    connection.execute(
        "CREATE TABLE numbered AS WITH gaps AS ("  # noqa: S608
        f"SELECT {_ROW} - row_number() OVER (ORDER BY {_ROW}) AS after, "
        f"row_number() OVER (ORDER BY {_ROW}) AS skipped FROM broken) "
        f"SELECT raw.* EXCLUDE ({_ROW}), raw.{_ROW} + coalesce("
        f"(SELECT max(skipped) FROM gaps WHERE after < raw.{_ROW}), 0) AS {_ROW} FROM raw"
    )
    connection.execute("DROP TABLE raw")
    connection.execute("ALTER TABLE numbered RENAME TO raw")


def _stage(connection: duckdb.DuckDBPyConnection, column_map: ColumnMap, rules: Contract) -> None:
    """Compute every column; a value that cannot be had is null and its column is listed in `__uncast`."""
    known = [str(r[0]) for r in connection.execute("DESCRIBE raw").fetchall() if r[0] != _ROW]
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
            f"list_filter([{', '.join(uncast)}], lambda c: c IS NOT NULL) AS __uncast, {_ROW} FROM raw"
        )
    except duckdb.Error as error:
        message = f"The expressions of the map for {rules.name} cannot be computed: {error}"
        raise ColumnMapError(message) from error
    if column_map.table.distinct:
        names = ", ".join(sql_name(name) for name in columns)
        connection.execute(
            f"CREATE OR REPLACE TABLE staged AS SELECT {names}, __uncast, min({_ROW}) AS {_ROW} "  # noqa: S608
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


def _other_files(root: Path, rules: Contract, source: str) -> list[Path]:
    folder = root / rules.name
    if not folder.is_dir():
        return []
    return [folder / file.path for file in read_manifest(folder).files if file.source != source]


def _judge(connection: duckdb.DuckDBPyConnection, rules: Contract, others: list[Path]) -> None:
    key = sql_name(rules.key)
    stored = ", ".join(sql_text(path) for path in others)
    # Without other sources the set of stored keys is empty but must have the key's type.
    keys = (
        f"SELECT {key} FROM read_parquet([{stored}])"  # noqa: S608
        if others
        else f"SELECT {key} FROM staged WHERE false"  # noqa: S608
    )
    first = f"row_number() OVER (PARTITION BY {key} ORDER BY {_ROW}) > 1"
    connection.execute(
        f"CREATE TABLE judged AS WITH ranked AS (SELECT *, {first} AS __again, "  # noqa: S608
        f"{key} IN ({keys}) AS __stored FROM staged) "
        f"SELECT * EXCLUDE (__uncast, __again, __stored), "
        f"{reasons_sql(rules, uncast='__uncast', taken_keys=_taken(key))} || "
        f"[c || ': not computable' FOR c IN __uncast IF c NOT IN ({_texts(rules)})] AS __reasons FROM ranked"
    )
    connection.execute(
        f"INSERT INTO broken SELECT {_ROW}, __reasons, to_json(raw_row) "  # noqa: S608
        f"FROM judged JOIN (SELECT raw AS raw_row, {_ROW} AS number FROM raw) ON number = {_ROW} "
        "WHERE len(__reasons) > 0"
    )
    connection.execute(
        f"CREATE VIEW sound AS SELECT * EXCLUDE (__reasons, {_ROW}) FROM judged WHERE len(__reasons) = 0"  # noqa: S608
    )


def _taken(key: str) -> str:
    return f"{key} IS NOT NULL AND (__again OR __stored)"


def _texts(rules: Contract) -> str:
    return ", ".join(sql_text(name) for name in rules.names)


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])  # noqa: S608


def _report(connection: duckdb.DuckDBPyConnection, table: str, source: str, root: Path) -> IngestReport:
    lines = _count(connection, "broken WHERE reasons[1] LIKE 'line: %'")
    read = _count(connection, "raw") + lines
    merged = _count(connection, "raw") - _count(connection, "staged")
    stored, quarantined = _count(connection, "sound"), _count(connection, "broken")
    if read - merged != stored + quarantined:
        message = (
            f"{table}: {read} rows read less {merged} merged are not {stored} stored "
            f"plus {quarantined} quarantined"
        )
        raise IngestError(message)
    found = connection.execute(
        "SELECT why, count(*) FROM (SELECT unnest(reasons) AS why FROM broken) GROUP BY why ORDER BY why"
    ).fetchall()
    return IngestReport(
        table=table,
        source=source,
        rows_read=read,
        rows_merged=merged,
        rows_in=read - merged,
        rows_stored=stored,
        rows_quarantined=quarantined,
        reasons={str(why): int(rows) for why, rows in found},
        quarantine=root / "quarantine" / table / f"{source}.parquet" if quarantined else None,
    )


def _write_quarantine(connection: duckdb.DuckDBPyConnection, write: TableWrite, report: IngestReport) -> None:
    """Replace the quarantine of this source before the table is committed, so that no bad row is lost."""
    target = write.folder.parent / "quarantine" / report.table / f"{report.source}.parquet"
    if report.quarantine is None:
        target.unlink(missing_ok=True)
        return
    staged = write.stage()
    connection.execute(
        f"COPY (SELECT * FROM broken ORDER BY {_ROW}) TO {sql_text(staged)} "  # noqa: S608
        "(FORMAT parquet, COMPRESSION zstd)"
    )
    fsync_path(staged)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.replace(target)
    fsync_path(target.parent)
