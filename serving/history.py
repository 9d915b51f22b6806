"""The serving store: recent events, holdings and facts of each customer, one indexed fetch away.

Features are never stored: a stored profile grows stale by the clock alone. The store keeps the events, and
the same definitions that train the models are evaluated over them at the moment of the quote.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from dataclasses import dataclass, field
from datetime import date, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from features.history import KNOWN as KNOWN_COLUMN
from features.partials import event_time, is_event, known_time
from features.spec import DAY_US
from models.fitted_store import copy_fitted, create_fitted, erase_fitted, read_fitted_features
from serving import packed
from serving.clock import EPOCH, to_micros
from serving.errors import StoreError
from serving.event_tables import create_event_table, event_columns, insert_statement
from serving.experience import OwnHistoryReader, erase_own_history, write_own_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from features.evaluate import EntityEvaluator, Events, Row
    from features.spec import FeatureSpec, Source
    from serving.engine import InService

Key: TypeAlias = "tuple[int | str, ...]"

LAYOUT = "7"
BATCH = 50_000
KNOWN = {
    "order": ("orders", "SELECT order_id FROM orders ORDER BY 1"),
    "return": ("orders", "SELECT order_id FROM orders WHERE returned_at IS NOT NULL ORDER BY 1"),
    "claim": ("claims", "SELECT claim_id FROM claims ORDER BY 1"),
}
FACTS = ("birth_date", "region", "city_tier", "registered_us", "owned_seller_id")


@dataclass(frozen=True)
class CustomerFacts:
    """What is known of a customer beside events.

    Attributes
    ----------
    customer_id
        Identity.
    birth_date, registered_at
        None where not known.
    region, city_tier
        Residence; None where not known.
    owned_seller_id
        The shop the customer owns, if any.
    held
        Codes of the products in force.
    bought
        Those, and the products whose cover is still to begin.
    had
        All products ever bought.
    begun_us
        When the last cover of each product began or begins, microseconds since 1970, UTC.
    """

    customer_id: int
    birth_date: date | None
    registered_at: datetime | None
    region: str | None
    city_tier: int | None
    owned_seller_id: int | None
    held: frozenset[str]
    bought: frozenset[str] = frozenset()
    had: frozenset[str] = frozenset()
    begun_us: Mapping[str, int] = field(default_factory=dict)

    def days_since(self, as_of: datetime) -> dict[str, int]:
        """Give whole days since the last cover of each product began; below 0 when it is still to begin."""
        now_us = to_micros(as_of)
        return {product: (now_us - begun) // DAY_US for product, begun in self.begun_us.items()}

    def as_facts(self, as_of: datetime) -> dict[str, float | str | bool | None]:
        """Give the facts that rules speak of, by field name."""
        return {
            "customer.age": None if self.birth_date is None else _age(self.birth_date, as_of.date()),
            "customer.owns_shop": self.owned_seller_id is not None,
            "customer.region": self.region,
            "customer.city_tier": self.city_tier,
            "customer.tenure_days": None if self.registered_at is None else (as_of - self.registered_at).days,
        }


def _age(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def build_history(
    con: duckdb.DuckDBPyConnection,
    spec: FeatureSpec,
    path: Path,
    progress: Callable[[str], None] | None = None,
    lake: Path | None = None,
    services: Mapping[str, InService] | None = None,
    as_of: datetime | None = None,
) -> dict[str, int]:
    """Write the serving store from the tables of the lake; the old store stays until the new one is whole.

    Parameters
    ----------
    con
        Connection to the lake (`data.store.connect`).
    spec
        Feature definitions, which say what an event is.
    path
        The SQLite file.
    progress
        Told the name of each table before it is copied.
    lake
        Where fitted features are taken from; none are served when absent.
    services
        Products in service: sums of own history are written for those that keep some.
    as_of
        Day from which these sums serve; needed with `services`.

    Returns
    -------
    dict
        Rows written by table.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    tables = {
        str(row[0])
        for row in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    }
    written: dict[str, int] = {}
    with contextlib.closing(sqlite3.connect(draft)) as store:
        store.execute("PRAGMA journal_mode=OFF")
        store.execute("PRAGMA synchronous=OFF")
        store.execute(packed.SCHEMA)
        for source in spec.sources:
            if progress:
                progress(source.name)
            written[source.name] = _copy_source(con, store, source, present=source.table in tables)
        written["known"] = _copy_known(con, store, tables)
        written["facts"] = _copy_facts(con, store, present="customers" in tables)
        written["holdings"] = _copy_holdings(con, store, present="policies" in tables)
        if lake is None:
            create_fitted(store)
        else:
            written["fitted"] = copy_fitted(lake, store)
        kept = services if services and as_of else {}
        written["own"] = write_own_history(con, store, kept, spec, lake, as_of or EPOCH)
        store.execute("CREATE TABLE meta (layout TEXT NOT NULL)")
        store.execute("INSERT INTO meta VALUES (?)", (LAYOUT,))
        store.commit()
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)
    return written


def _copy(
    con: duckdb.DuckDBPyConnection,
    store: sqlite3.Connection,
    query: str,
    insert: str,
    also: Callable[[list[tuple[Any, ...]]], None] | None = None,
) -> int:
    rows = 0
    result = con.execute(query)
    while batch := result.fetchmany(BATCH):
        store.executemany(insert, batch)
        if also is not None:
            also(batch)
        rows += len(batch)
    return rows


def _copy_source(
    con: duckdb.DuckDBPyConnection, store: sqlite3.Connection, source: Source, *, present: bool
) -> int:
    columns = event_columns(source)
    create_event_table(store, source)
    if not present:
        return 0
    chosen = ", ".join(known_time(source) if name == KNOWN_COLUMN else name for name in columns)
    query = f"SELECT {event_time(source)} AS time_us, {chosen} FROM {source.table} WHERE {is_event(source)}"  # noqa: S608
    if packed.KEY not in source.keys:
        return _copy(con, store, query, insert_statement(source))
    packer = packed.Packer(store, source)
    ordered = f"{query} ORDER BY {packed.KEY}, time_us"
    rows = _copy(con, store, ordered, insert_statement(source), packer.add)
    packer.finish()
    return rows


def _copy_known(con: duckdb.DuckDBPyConnection, store: sqlite3.Connection, tables: set[str]) -> int:
    """Copy the ids of orders, returns and claims, so that an event sent again later does not count twice."""
    rows = 0
    for kind, (table, query) in KNOWN.items():
        store.execute(f"CREATE TABLE known_{kind} (key INTEGER PRIMARY KEY)")
        if table in tables:
            rows += _copy(con, store, query, f"INSERT INTO known_{kind} VALUES (?)")  # noqa: S608 - constant names
    return rows


def _copy_facts(con: duckdb.DuckDBPyConnection, store: sqlite3.Connection, *, present: bool) -> int:
    store.execute(f"CREATE TABLE facts (customer_id INTEGER PRIMARY KEY, {', '.join(FACTS)})")
    if not present:
        return 0
    query = (
        "SELECT customer_id, CAST(birth_date AS VARCHAR), region, CAST(city_tier AS INTEGER), "
        "epoch_us(registered_at), owned_seller_id FROM customers"
    )
    return _copy(con, store, query, "INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?)")


def _copy_holdings(con: duckdb.DuckDBPyConnection, store: sqlite3.Connection, *, present: bool) -> int:
    store.execute(
        "CREATE TABLE holdings (customer_id INTEGER, product TEXT, inception_us INTEGER, expiry_us INTEGER)"
    )
    rows = 0
    if present:
        query = "SELECT customer_id, product, epoch_us(inception_at), epoch_us(expiry_at) FROM policies"
        rows = _copy(con, store, query, "INSERT INTO holdings VALUES (?, ?, ?, ?)")
    store.execute("CREATE INDEX holdings_customer ON holdings (customer_id, expiry_us)")
    return rows


def erase_from_history(path: Path, spec: FeatureSpec, customer_id: int) -> int:
    """Remove a customer from the serving store; give the rows removed, none when there is no store yet."""
    if not path.is_file():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        before = store.total_changes
        tables = [f"events_{source.name}" for source in spec.sources if "customer_id" in source.keys]
        for table in (*tables, "packed", "facts", "holdings"):
            store.execute(f"DELETE FROM {table} WHERE customer_id = ?", (customer_id,))  # noqa: S608 - our own names
        erase_fitted(store, customer_id)
        erase_own_history(store, customer_id)
        return store.total_changes - before


class HistoryStore:
    """Read the serving store.

    Parameters
    ----------
    path
        File that `build_history` wrote.
    live
        File of a `LiveStore`, whose events are read beside those of the snapshot; none when absent.

    Raises
    ------
    StoreError
        If the file is missing or of another layout.
    """

    def __init__(self, path: Path, live: Path | None = None) -> None:
        if not path.is_file():
            raise StoreError(f"there is no serving store at {path}. Hint: run `premia sync`")
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        # Requests that still read an old snapshot end first: who drops it last closes it.
        self._finalizer = weakref.finalize(self, self._connection.close)
        try:
            layout = self._connection.execute("SELECT layout FROM meta").fetchone()
        except sqlite3.DatabaseError as error:
            self.close()
            raise StoreError(f"{path} is not a serving store: {error}. Hint: run `premia sync`") from error
        if layout != (LAYOUT,):
            self.close()
            raise StoreError(f"{path} has layout {layout}, wanted is {LAYOUT}. Hint: run `premia sync`")
        self._connection.execute("PRAGMA cache_size=-65536")  # KiB: 64 MB of pages
        self._packed = packed.PackedReader(self._connection)
        self._schemas = ("main",) if live is None else ("main", "live")
        if live is not None:
            self._connection.execute("ATTACH DATABASE ? AS live", (f"file:{live}?mode=ro",))

    def close(self) -> None:
        """Give the file back."""
        self._finalizer()

    def events(self, evaluator: EntityEvaluator, key: Key, as_of_us: int) -> Events:
        """Fetch the events that an evaluator needs of one entity, sorted by time.

        Parameters
        ----------
        evaluator
            Says which sources, columns and windows.
        key
            Values of the entity's key columns.
        as_of_us
            Microseconds since 1970, UTC; later events need not be fetched, the evaluator passes over them.
        """
        if evaluator.entity.keys == (packed.KEY,) and not self._has_news(key[0]):
            return self._packed.events(evaluator, key[0])
        return {
            need.source.name: self._rows(
                need.source, need.columns, evaluator, key, need.since(as_of_us), as_of_us
            )
            for need in evaluator.needs
        }

    def _has_news(self, customer_id: int | str) -> bool:
        """Tell whether events of a customer arrived since the snapshot was taken."""
        query = "SELECT 1 FROM live.log WHERE customer_id = ? LIMIT 1"
        return (
            len(self._schemas) > 1 and self._connection.execute(query, (customer_id,)).fetchone() is not None
        )

    def _rows(
        self,
        source: Source,
        columns: Sequence[str],
        evaluator: EntityEvaluator,
        key: Key,
        since: int | None,
        until: int,
    ) -> list[Row]:
        match = " AND ".join(f"{column} = ?" for column in evaluator.entity.keys)
        part = (
            f"SELECT {', '.join(('time_us', *columns))} FROM {{}}.events_{source.name} "  # noqa: S608 - from definitions
            f"WHERE {match} AND time_us >= ? AND time_us < ?"
        )
        query = " UNION ALL ".join(part.format(schema) for schema in self._schemas) + " ORDER BY time_us"
        bound = (*key, since if since is not None else -(2**62), until)
        return self._connection.execute(query, bound * len(self._schemas)).fetchall()

    def fitted(
        self, names: Sequence[str], keys: Mapping[str, int | str | None], as_of: datetime
    ) -> dict[str, float | None]:
        """Fetch fitted features (see `models.fitted_store.read_fitted_features`)."""
        return read_fitted_features(self._connection, names, keys, as_of)

    def own_history(self, service: InService) -> OwnHistoryReader:
        """Give the reader of own history of a product (see `OwnHistoryReader` for what is refused)."""
        return OwnHistoryReader(self._connection, service, live=len(self._schemas) > 1)

    def known(self, keys: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Give those of some (kind, key) pairs that the snapshot holds (`order`, `return`, `claim`)."""
        found = []
        for kind, key in keys:
            query = f"SELECT 1 FROM main.known_{kind} WHERE key = ?"  # noqa: S608 - kinds are our own
            if kind in KNOWN and self._connection.execute(query, (key,)).fetchone():
                found.append((kind, key))
        return found

    def known_events(self) -> list[tuple[str, int]]:
        """Give (kind, key) of the events in the live log that the snapshot holds, too."""
        query = " UNION ALL ".join(
            f"SELECT kind, key FROM live.log JOIN main.known_{kind} USING (key) WHERE kind = '{kind}'"  # noqa: S608
            for kind in KNOWN
        )
        return self._connection.execute(query).fetchall()

    def check(self) -> None:
        """Read the whole file.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        try:
            found = self._connection.execute("PRAGMA main.quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found != "ok":
            raise StoreError(f"the serving store is damaged: {found}. Hint: run `premia sync`")

    def facts(self, customer_id: int, as_of: datetime) -> CustomerFacts | None:
        """Fetch what is known of a customer; None when nothing is."""
        row = self._connection.execute(
            f"SELECT {', '.join(FACTS)} FROM facts WHERE customer_id = ?",  # noqa: S608 - constant names
            (customer_id,),
        ).fetchone()
        if row is None:
            return None
        born, region, city_tier, registered_us, owned = row
        terms, now_us = self._terms(customer_id), to_micros(as_of)
        return CustomerFacts(
            customer_id=customer_id,
            birth_date=None if born is None else date.fromisoformat(born),
            registered_at=None if registered_us is None else EPOCH + timedelta(microseconds=registered_us),
            region=region,
            city_tier=city_tier,
            owned_seller_id=owned,
            held=frozenset(product for product, begun, ended in terms if begun <= now_us < ended),
            bought=frozenset(product for product, _, ended in terms if ended > now_us),
            had=frozenset(product for product, _, _ in terms),
            begun_us={product: begun for product, begun, _ in sorted(terms, key=itemgetter(1))},
        )

    def _terms(self, customer_id: int) -> list[tuple[str, int, int]]:
        """Give product, begin and end of every policy of a customer."""
        query = "SELECT product, inception_us, expiry_us FROM holdings WHERE customer_id = ?"
        return self._connection.execute(query, (customer_id,)).fetchall()
