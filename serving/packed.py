"""All events of a customer in one place of the store, as columns.

Fetching two hundred rows one by one costs more than evaluating sixty features over them. The snapshot never
changes between syncs, so beside the rows it keeps, per customer and source, the columns in order of time:
those of integers as 64-bit words one column after the other, those of texts between separators. One
look-up gives the evaluator what it reads.
"""

from __future__ import annotations

import json
from array import array
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from features.history import KNOWN
from serving.event_tables import event_columns

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from features.evaluate import EntityEvaluator
    from features.history import Columns, EventNeed
    from features.spec import Source

KEY = "customer_id"
SCHEMA = (
    f"CREATE TABLE packed ({KEY} INTEGER, source TEXT, events INTEGER, has_null INTEGER, numbers BLOB, "
    f"texts TEXT, PRIMARY KEY ({KEY}, source)) WITHOUT ROWID"
)
COLUMN, VALUE = "\x1e", "\x1f"
"""Begin of a column of texts, and what stands between its values: three times as fast as JSON."""
NULL = -(2**63)
"""The word that stands for a null; no amount and no time comes near it."""


def number_columns(source: Source) -> list[str]:
    """Name the packed columns of integers: the times and the measures."""
    clocks = [] if source.known is None else [KNOWN]
    return ["time_us", *clocks, *source.measures]


class Packer:
    """Pack the events of a source while they stream by, sorted by customer and time.

    Parameters
    ----------
    store
        The store that is being written.
    source
        The source; rows are laid out as in its event table.
    """

    def __init__(self, store: sqlite3.Connection, source: Source) -> None:
        self._store = store
        self._source = source.name
        layout = ["time_us", *event_columns(source)]
        self._key = itemgetter(layout.index(KEY))
        self._numbers = [layout.index(name) for name in number_columns(source)]
        self._texts = [layout.index(name) for name in source.levels]
        self._open: list[tuple[Any, ...]] = []

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Take the next rows; a customer is written when the next one begins."""
        done = []
        for key, group in groupby([*self._open, *rows], self._key):
            done.append((key, list(group)))
        _, self._open = done.pop() if done else (None, [])
        self._write(done)

    def finish(self) -> None:
        """Write the last customer."""
        if self._open:
            self._write([(self._key(self._open[0]), self._open)])
            self._open = []

    def _write(self, done: Sequence[tuple[int | None, list[tuple[Any, ...]]]]) -> None:
        packed = ((key, self._source, *self._pack(rows)) for key, rows in done if key is not None)
        self._store.executemany("INSERT INTO packed VALUES (?, ?, ?, ?, ?, ?)", packed)

    def _pack(self, rows: list[tuple[Any, ...]]) -> tuple[int, bool, bytes, str]:
        found = [row[at] for at in self._numbers for row in rows]
        words = array("q", [NULL if value is None else value for value in found])
        texts = _join([[row[at] for row in rows] for at in self._texts])
        return len(rows), None in found, words.tobytes(), texts


def _join(columns: list[list[str | None]]) -> str:
    if any(value is None or COLUMN in value or VALUE in value for column in columns for value in column):
        return json.dumps(columns)
    return "".join(COLUMN + VALUE.join(value or "" for value in column) for column in columns)


def _split(texts: str) -> list[list[str | None]]:
    if not texts.startswith(COLUMN):
        found: list[list[str | None]] = json.loads(texts)
        return found
    columns: list[Any] = texts[1:].split(COLUMN)
    return [column.split(VALUE) for column in columns]


class PackedReader:
    """Read packed events in the order of columns that evaluators expect.

    Parameters
    ----------
    connection
        The store.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._plans: WeakKeyDictionary[EntityEvaluator, dict[str, _Plan]] = WeakKeyDictionary()

    def events(self, evaluator: EntityEvaluator, customer_id: int | str) -> dict[str, Columns]:
        """Fetch a customer's events of every source that the evaluator needs."""
        plans = self._plans.get(evaluator)
        if plans is None:
            plans = self._plans[evaluator] = {need.source.name: _plan(need) for need in evaluator.needs}
        found: dict[str, Columns] = {}
        query = f"SELECT source, events, has_null, numbers, texts FROM main.packed WHERE {KEY} = ?"  # noqa: S608 - constant
        for source, count, has_null, numbers, texts in self._connection.execute(query, (customer_id,)):
            plan = plans.get(source)
            if plan is None:
                continue
            packed = array("q")
            packed.frombytes(numbers)
            words: Sequence[int | None] = packed.tolist()
            if has_null:
                words = [None if word == NULL else word for word in words]
            levels = _split(texts) if plan.with_texts else ()
            found[source] = tuple(
                [levels[at] if text else words[at * count : (at + 1) * count] for text, at in plan.places]
            )
        return found


class _Plan(NamedTuple):
    """Where the columns that an evaluator expects lie: (whether a text, place among its like)."""

    places: tuple[tuple[bool, int], ...]
    with_texts: bool


def _plan(need: EventNeed) -> _Plan:
    numbers, texts = number_columns(need.source), need.source.levels
    places = tuple(
        (True, texts.index(name)) if name in texts else (False, numbers.index(name))
        for name in ("time_us", *need.columns)
    )
    return _Plan(places, any(text for text, _ in places))
