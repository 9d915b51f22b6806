"""Risk profiles: the features of many labels at once, as of each label's own time."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from features.compile import CompiledProfiles, compile_profiles
from features.errors import LabelError, TableError, closest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

    from features.spec import FeatureSpec, Source

LABELS = "profile_labels"
PART = "profile_labels_part"
AT_ONCE = 700_000
# A time with a zone would be cast by the zone of the session, not by its own.
TIMES = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATE")
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
TEXTS = ("VARCHAR", "ENUM")


def build_profiles(
    con: duckdb.DuckDBPyConnection, labels: pa.Table | str, spec: FeatureSpec, names: Sequence[str]
) -> pa.Table:
    """Evaluate features for every label, from events strictly before its as-of time.

    Parameters
    ----------
    con
        Connection that has the tables of the sources.
    labels
        Columns ``row_id`` (int64, unique), ``as_of`` (timestamp[us], UTC without zone) and the keys of the
        entities in use, such as ``customer_id`` and ``seller_id``. A null key gives nulls. A text names a
        table or view of `con`.
    spec, names
        Definitions, and the features wanted, in order.

    Returns
    -------
    pyarrow.Table
        ``row_id`` and one int64 or float64 column per name. Rows come in the order of the labels; those of a
        named table in the order of ``row_id``.

    Raises
    ------
    LabelError, TableError, UnknownFeature
        Before any work is done.
    """
    if isinstance(labels, str):
        return _of_view(con, labels, spec, names)
    query = compile_profiles(spec, names, labels=LABELS)
    check_tables(con, query.sources)
    _check_columns(labels.column_names, query)
    if pc.count_distinct(labels["row_id"], mode="all").as_py() != len(labels) or labels["row_id"].null_count:
        raise LabelError("row_id is null or stands twice. Hint: number the labels, for example from 0")
    if labels["as_of"].null_count:
        raise LabelError(
            f"as_of is null in {labels['as_of'].null_count} labels. Hint: a profile needs its time"
        )
    con.register(LABELS, labels.select(["row_id", "as_of", *query.label_columns]))
    try:
        result = con.sql(query.sql).to_arrow_table()
    finally:
        con.unregister(LABELS)
    return _in_order(_typed(result, spec, names), labels["row_id"])


def write_profiles(
    con: duckdb.DuckDBPyConnection,
    labels: str,
    spec: FeatureSpec,
    names: Sequence[str],
    folder: Path,
    *,
    at_once: int = AT_ONCE,
) -> int:
    """Evaluate features for every label of a table into parquet files, in bounded memory.

    Parameters
    ----------
    con, labels, spec, names
        As in `build_profiles`; the labels are a table or view.
    folder
        Made anew, with one file per part of the labels; it appears whole or not at all. Rows are in no
        particular order.
    at_once
        Labels of one part, about. Memory grows with it: each label holds the state of every aggregate.
        Parts are cut by the keys of the entities, so that what is shared stays together.

    Returns
    -------
    int
        Rows written.
    """
    if folder.exists():
        raise TableError(f"{folder} is there already. Hint: name a new folder or remove it")
    query = _checked_view(con, labels, spec, names)
    rows = int(con.execute(f"SELECT COUNT(*) FROM {labels}").fetchall()[0][0])  # noqa: S608 - checked above
    types = {"row_id": "BIGINT"} | {name: "DOUBLE" if spec.is_float(name) else "BIGINT" for name in names}
    columns = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in types.items())
    text = f"SELECT {columns} FROM ({compile_profiles(spec, names, labels=PART).sql})"  # noqa: S608
    parts = max(1, -(-rows // at_once))
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        for part in range(parts):
            kept = "" if parts == 1 else f" WHERE hash({query.label_columns[0]}) % {parts} = {part}"
            con.execute(f"CREATE OR REPLACE TEMP VIEW {PART} AS SELECT * FROM {labels}{kept}")  # noqa: S608
            _copy(con, text, draft / f"part-{part:05}.parquet")
        draft.rename(folder)
    finally:
        con.execute(f"DROP VIEW IF EXISTS {PART}")
        shutil.rmtree(draft, ignore_errors=True)
    return rows


def _copy(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    place = str(path).replace("'", "''")
    con.execute(f"COPY ({query}) TO '{place}' (FORMAT parquet, COMPRESSION zstd)")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def check_tables(con: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> None:
    """Refuse sources whose table, columns or types the connection does not have."""
    for source in sources:
        found = _described(con, source.table)
        if not found:
            tables = [
                str(row[0])
                for row in con.execute("SELECT DISTINCT table_name FROM duckdb_columns()").fetchall()
            ]
            raise TableError(
                f"source {source.name!r} needs table {source.table!r}. Hint: {closest(source.table, tables)}"
            )
        clocks = [source.time] if source.known is None else [source.time, source.known]
        wanted = [
            *((name, TIMES, "time") for name in clocks),
            *((name, INTEGERS, "integer") for name in source.measures),
        ]
        wanted += [
            *((name, TEXTS, "text") for name in source.levels),
            *((name, (), "key") for name in source.keys),
        ]
        for name, types, what in wanted:
            if name not in found:
                hint = closest(name, found)
                raise TableError(
                    f"source {source.name!r}: table {source.table!r} has no column {name!r}. Hint: {hint}"
                )
            if types and found[name].split("(")[0] not in types:
                message = (
                    f"source {source.name!r}: column {name!r} of {source.table!r} has type {found[name]}"
                )
                raise TableError(f"{message}, wanted is {what}. Hint: cast it in a view")


def _described(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    query = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND NOT internal"
    return {str(name): str(kind) for name, kind in con.execute(query, [table]).fetchall()}


def _of_view(
    con: duckdb.DuckDBPyConnection, labels: str, spec: FeatureSpec, names: Sequence[str]
) -> pa.Table:
    query = _checked_view(con, labels, spec, names)
    return _typed(con.sql(f"{query.sql}\nORDER BY row_id").to_arrow_table(), spec, names)


def _checked_view(
    con: duckdb.DuckDBPyConnection, labels: str, spec: FeatureSpec, names: Sequence[str]
) -> CompiledProfiles:
    query = compile_profiles(spec, names, labels=labels)
    check_tables(con, query.sources)
    found = _described(con, labels)
    if not found:
        raise LabelError(f"there is no table or view {labels!r} of labels")
    _check_columns(list(found), query)
    counts = f"SELECT COUNT(*), COUNT(row_id), COUNT(as_of), COUNT(DISTINCT row_id) FROM {labels}"  # noqa: S608
    rows, *filled = con.execute(counts).fetchall()[0]
    if any(count != rows for count in filled):
        raise LabelError(f"{labels}: row_id must be unique and as_of filled in every one of its {rows} rows")
    return query


def _check_columns(found: Sequence[str], query: CompiledProfiles) -> None:
    for name in ("row_id", "as_of", *query.label_columns):
        if name not in found:
            hint = "these features need it" if name in query.label_columns else "every label has it"
            raise LabelError(
                f"labels have no column {name!r}, found {', '.join(sorted(found))}. Hint: {hint}"
            )


def _typed(table: pa.Table, spec: FeatureSpec, names: Sequence[str]) -> pa.Table:
    """Fix the types: an empty result would otherwise have those of the engine's mood."""
    fields = [pa.field("row_id", pa.int64())]
    fields += [pa.field(name, pa.float64() if spec.is_float(name) else pa.int64()) for name in names]
    return table.cast(pa.schema(fields))


def _in_order(table: pa.Table, row_ids: pa.ChunkedArray) -> pa.Table:
    place = pc.index_in(row_ids, value_set=table["row_id"].combine_chunks())
    return table.take(place).combine_chunks()
