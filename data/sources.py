"""A company's file as a DuckDB table: every record of it either a row, or broken and kept as it was.

Records are numbered from 1 after the header. A record whose quoted text has line breaks counts once, a blank
line counts as a record, so that the number is that of the line wherever no quoted text has line breaks.
"""

from __future__ import annotations

import csv
import gzip
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, cast

import duckdb

from data.errors import SourceError
from data.sql import sql_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ROW", "load_source"]

ROW = "__row"
_DELIMITERS = ",;\t|"


def load_source(connection: duckdb.DuckDBPyConnection, source: Path) -> None:
    """Load a file into table ``raw`` and its records that cannot be split into table ``broken``.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Gets ``raw`` (the source's columns, all text in a CSV file, and the number of the record as `ROW`) and
        ``broken`` (`ROW`, ``reasons``, ``row``: the record as text, ``customer_id``: null).
    source : Path
        ``.parquet``, or ``.csv`` / ``.csv.gz`` in UTF-8 with a header, quoted by ``"`` and delimited by the
        comma, semicolon, tab or bar that stands most often in the header.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """
    if not source.is_file():
        message = f"There is no file {source}"
        raise SourceError(message)
    connection.execute(
        f"CREATE TABLE broken ({ROW} BIGINT, reasons VARCHAR[], row VARCHAR, customer_id BIGINT)"
    )
    is_csv = ".csv" in [suffix.lower() for suffix in source.suffixes]
    reader = _csv_reader(source) if is_csv else f"read_parquet({sql_text(source)}, file_row_number = true)"
    number = "row_number() OVER ()" if is_csv else "file_row_number + 1"
    rest = "*" if is_csv else "* EXCLUDE (file_row_number)"
    try:
        connection.execute(f"CREATE TABLE raw AS SELECT {rest}, {number} AS {ROW} FROM {reader}")  # noqa: S608
    except duckdb.Error as error:
        message = f"{source} cannot be read: {error}"
        raise SourceError(message) from error
    if is_csv:
        _number_records(connection, source)


def _csv_reader(source: Path) -> str:
    """Give the SQL that reads a CSV file; guessing its form row by row would let one odd row change it."""
    header, delimiter = _header(source)
    names = [name.strip() or f"column{place}" for place, name in enumerate(header)]
    folded = [name.lower() for name in names]
    twice = sorted({name for name in names if folded.count(name.lower()) > 1})
    if twice:
        message = f"{source} has more than one column {twice[0]!r}; a column's name may stand once"
        raise SourceError(message)
    if ROW in folded:
        message = f"{source} has a column {ROW!r}, which is the name for the number of the record"
        raise SourceError(message)
    columns = ", ".join(f"{sql_text(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({sql_text(source)}, auto_detect = false, header = true, columns = {{{columns}}}, "
        f"delim = {sql_text(delimiter)}, quote = '\"', escape = '\"', store_rejects = true)"
    )


def _open(source: Path) -> BinaryIO:
    zipped = source.suffix.lower() == ".gz"
    return cast("BinaryIO", gzip.open(source, "rb")) if zipped else source.open("rb")


def _header(source: Path) -> tuple[list[str], str]:
    try:
        with _open(source) as stream:
            lines = (line.decode("utf-8-sig") for line in stream)
            first = next(lines, "")
            delimiter = max(_DELIMITERS, key=first.count)
            header = next(csv.reader(chain([first], lines), delimiter=delimiter), [])
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
        message = f"The header of {source} cannot be read: {error}; a CSV file must be UTF-8 text"
        raise SourceError(message) from error
    if not header:
        message = f"{source} has no header"
        raise SourceError(message)
    return header, delimiter


def _number_records(connection: duckdb.DuckDBPyConnection, source: Path) -> None:
    """Set records that the reader could not split aside, and number the others by their place in the file."""
    connection.execute(
        f"INSERT INTO broken SELECT line - 1 AS {ROW}, "  # noqa: S608
        "['line: ' || string_agg(DISTINCT lower(CAST(error_type AS VARCHAR)), ', ')], "
        "ltrim(any_value(csv_line), chr(10) || chr(13)), NULL FROM reject_errors GROUP BY line"
    )
    # The reader skips blank lines, but not in a file of one column, where they are rows without a value.
    columns = len(connection.execute("DESCRIBE raw").fetchall()) - 1
    blank = list(_blank_records(source)) if columns > 1 else []
    connection.execute(f"CREATE TEMP TABLE skipped AS SELECT {ROW} FROM broken")  # noqa: S608
    if blank:
        connection.execute(f"INSERT INTO skipped SELECT unnest(?::BIGINT[]) AS {ROW}", [blank])  # noqa: S608
    if connection.execute("SELECT count(*) FROM skipped").fetchall() == [(0,)]:
        return
    connection.execute(
        "CREATE TABLE numbered AS WITH counted AS ("  # noqa: S608
        f"SELECT {ROW} AS place, row_number() OVER (ORDER BY {ROW}) AS so_far FROM skipped), "
        "gaps AS (SELECT place - so_far AS after, max(so_far) AS so_far FROM counted GROUP BY after) "
        f"SELECT raw.* EXCLUDE ({ROW}), raw.{ROW} + coalesce(gaps.so_far, 0) AS {ROW} "
        f"FROM raw ASOF LEFT JOIN gaps ON raw.{ROW} > gaps.after"
    )
    connection.execute("DROP TABLE raw")
    connection.execute("ALTER TABLE numbered RENAME TO raw")


def _blank_records(source: Path) -> Iterator[int]:
    """Give the numbers of the blank lines outside of quoted text."""
    if not _has_blank_lines(source):
        return
    record, inside = 0, False
    with _open(source) as stream:
        for line in stream:
            if not inside and not line.strip(b"\r\n"):
                yield record
            # Quoted text that a line opens and does not close goes on in the next line.
            inside ^= line.count(b'"') % 2 == 1
            record += not inside


def _has_blank_lines(source: Path) -> bool:
    tail = b""
    with _open(source) as stream:
        while piece := stream.read(1 << 20):
            text = tail + piece
            if b"\n\n" in text or b"\n\r\n" in text:
                return True
            tail = text[-2:]
    return False
