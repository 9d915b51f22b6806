"""Risk profiles on a cluster: the same compiled text, in Spark's dialect.

There is no second definition and no second compiler: `features.compile` writes one text, sqlglot writes it
in the other dialect. Needs the extra ``[spark]`` and Java.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from features.compile import compile_profiles
from features.errors import EngineError, LabelError, TableError, closest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

    from features.compile import CompiledProfiles
    from features.spec import FeatureSpec, Source

LABELS = "profile_labels"
TIME_ZONE = "spark.sql.session.timeZone"
ANSI = "spark.sql.ansi.enabled"
TIMES = ("timestamp", "timestamp_ntz", "date")
INTEGERS = ("tinyint", "smallint", "int", "bigint")
TEXTS = ("string",)


def build_profiles_spark(
    session: SparkSession, labels: DataFrame | str, spec: FeatureSpec, names: Sequence[str]
) -> DataFrame:
    """Evaluate features for every label on Spark; equal to `features.build_profiles` to the last bit.

    Parameters
    ----------
    session
        Session that has the tables of the sources as tables or views. Its time zone must be UTC.
    labels
        Columns ``row_id`` (bigint, unique), ``as_of`` (timestamp, UTC) and the keys of the entities in use. A
        null key gives nulls. A text names a table or view of the session.
    spec, names
        Definitions, and the features wanted, in order.

    Returns
    -------
    pyspark.sql.DataFrame
        ``row_id`` and one bigint or double column per name, in no particular order of rows; not yet run.

    Raises
    ------
    EngineError, LabelError, TableError, UnknownFeature
        Before the profiles are computed. Looking at the labels takes one job.
    """
    _check_session(session)
    query = compile_profiles(spec, names, labels=LABELS)
    _check_tables(session, query.sources)
    if isinstance(labels, str) and not session.catalog.tableExists(labels):
        raise LabelError(f"there is no table or view {labels!r} of labels")
    rows = session.table(labels) if isinstance(labels, str) else labels
    _check_labels(rows, query)
    rows.createOrReplaceTempView(LABELS)
    types = {name: "DOUBLE" if spec.is_float(name) else "BIGINT" for name in names}
    columns = [f"CAST({name} AS {kind}) AS {name}" for name, kind in ({"row_id": "BIGINT"} | types).items()]
    return session.sql(to_spark(query.sql)).selectExpr(*columns)


def local_session(threads: int = 2, memory: str = "2g", **settings: str) -> SparkSession:
    """Start Spark on this machine, set up as the profiles need it.

    Parameters
    ----------
    threads, memory
        Threads of the driver, which does all the work, and the heap of its Java machine.
    **settings
        More of Spark's settings, each dot written as two underscores.
    """
    from pyspark.sql import SparkSession as Session

    chosen = {
        TIME_ZONE: "UTC",
        ANSI: "true",
        "spark.driver.memory": memory,
        "spark.sql.shuffle.partitions": str(threads),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    } | {name.replace("__", "."): value for name, value in settings.items()}
    builder = Session.builder.master(f"local[{threads}]").appName("premia")
    for name, value in chosen.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


@lru_cache(maxsize=32)
def to_spark(sql: str) -> str:
    """Write compiled text in Spark's dialect."""
    tree = sqlglot.parse_one(sql, read="duckdb")
    return tree.transform(_microseconds).sql(dialect="spark")


def _microseconds(node: exp.Expression) -> exp.Expression:
    """Turn `epoch_us`, which sqlglot hands through as it is, into Spark's function."""
    if isinstance(node, exp.Anonymous) and str(node.this).lower() == "epoch_us":
        moment = exp.cast(node.expressions[0], exp.DataType.Type.TIMESTAMPLTZ)
        return exp.Anonymous(this="UNIX_MICROS", expressions=[moment])
    return node


def _check_session(session: SparkSession) -> None:
    zone = session.conf.get(TIME_ZONE)
    if zone not in {"UTC", "Etc/UTC", "Z", "+00:00"}:
        raise EngineError(
            f"the session's time zone is {zone!r}, wanted is UTC: days would have 23 or 25 hours. "
            f'Hint: spark.conf.set("{TIME_ZONE}", "UTC")'
        )
    if session.conf.get(ANSI) != "true":
        raise EngineError(
            "the session lets sums of money overflow silently. "
            f'Hint: spark.conf.set("{ANSI}", "true"), the default since Spark 4'
        )


def _check_tables(session: SparkSession, sources: Sequence[Source]) -> None:
    for source in sources:
        if not session.catalog.tableExists(source.table):
            tables = [table.name for table in session.catalog.listTables()]
            hint = closest(source.table, tables)
            raise TableError(f"source {source.name!r} needs table {source.table!r}. Hint: {hint}")
        found = dict(session.table(source.table).dtypes)
        for name, types, what in _wanted(source):
            if name not in found:
                raise TableError(
                    f"source {source.name!r}: table {source.table!r} has no column {name!r}. "
                    f"Hint: {closest(name, found)}"
                )
            if types and found[name] not in types:
                raise TableError(
                    f"source {source.name!r}: column {name!r} of {source.table!r} has type {found[name]}, "
                    f"wanted is {what}. Hint: cast it in a view"
                )


def _wanted(source: Source) -> list[tuple[str, tuple[str, ...], str]]:
    clocks = [source.time] if source.known is None else [source.time, source.known]
    return [
        *((name, TIMES, "time") for name in clocks),
        *((name, INTEGERS, "integer") for name in source.measures),
        *((name, TEXTS, "text") for name in source.levels),
        *((name, (), "key") for name in source.keys),
    ]


def _check_labels(labels: DataFrame, query: CompiledProfiles) -> None:
    for name in ("row_id", "as_of", *query.label_columns):
        if name not in labels.columns:
            hint = "these features need it" if name in query.label_columns else "every label has it"
            found = ", ".join(sorted(labels.columns))
            raise LabelError(f"labels have no column {name!r}, found {found}. Hint: {hint}")
    counts = ("COUNT(*)", "COUNT(row_id)", "COUNT(as_of)", "COUNT(DISTINCT row_id)")
    rows, *filled = labels.selectExpr(*counts).collect()[0]
    if any(count != rows for count in filled):
        raise LabelError(f"labels: row_id must be unique and as_of filled in every one of the {rows} rows")
