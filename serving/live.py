"""Events that arrive while the service runs: a durable log, and tables read beside the snapshot.

The log is the truth; the event tables are derived from it and are built anew whenever the definitions of the
sources change. One commit makes a whole batch durable before it is answered.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from serving.clock import EPOCH, to_micros
from serving.event_tables import create_event_table, event_tuple, insert_statement
from serving.events import EventAnswer, EventAnswers, Fact, explain, read_event
from serving.experience import LIVE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from features.spec import FeatureSpec
    from serving.events import EventStatus
    from serving.experience import Rated

FUTURE_TOLERANCE_US = 5_000_000
LAYOUT = 2
REMEMBERED_US = 30 * 86_400_000_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    event_id TEXT PRIMARY KEY, kind TEXT NOT NULL, key INTEGER NOT NULL, customer_id INTEGER NOT NULL,
    received_us INTEGER NOT NULL, digest TEXT NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS log_key ON log (kind, key);
CREATE INDEX IF NOT EXISTS log_customer ON log (customer_id);
CREATE TABLE IF NOT EXISTS settled (
    event_id TEXT PRIMARY KEY, digest TEXT NOT NULL, customer_id INTEGER NOT NULL,
    received_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused (
    received_us INTEGER NOT NULL, event_id TEXT, status TEXT NOT NULL, detail TEXT NOT NULL,
    body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS consents (
    customer_id INTEGER NOT NULL, purpose TEXT NOT NULL, granted INTEGER NOT NULL, at_us INTEGER NOT NULL,
    PRIMARY KEY (customer_id, purpose));
CREATE TABLE IF NOT EXISTS meta (sources TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS own_meta (rated TEXT NOT NULL);
CREATE TEMP TABLE dropped (row INTEGER PRIMARY KEY);
"""


class LiveStore:
    """The log of events, what the profiles read of it, and consents.

    Parameters
    ----------
    path
        SQLite file; made when absent.
    spec
        Feature definitions; they say what an event is.
    rated
        Products that keep sums of own history; absent where the log is only read or erased from.
    """

    def __init__(self, path: Path, spec: FeatureSpec, rated: Sequence[Rated] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._spec = spec
        self._rated = rated
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(SCHEMA + LIVE_SCHEMA)
        self._keep_tables_current()
        self._keep_sums_current()

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def accept(
        self, contents: Sequence[dict[str, Any]], now: datetime, known: Iterable[tuple[str, int]] = ()
    ) -> tuple[EventAnswers, list[Fact]]:
        """Take a batch; when this returns, what was accepted is on the disk and the next profile sees it.

        Parameters
        ----------
        contents
            Events as they came.
        now
            UTC without zone; an event more than five seconds later is refused.
        known
            (kind, key) of orders, returns and claims that the snapshot already holds.

        Returns
        -------
        tuple
            The answers, and the facts that are new.
        """
        now_us = to_micros(now)
        held = set(known)
        answers: list[EventAnswer] = []
        facts: list[Fact] = []
        with self._connection:
            for index, content in enumerate(contents):
                answer, fact = self._take(index, content, now_us, held)
                answers.append(answer)
                if fact is not None:
                    facts.append(fact)
        counts: dict[EventStatus, int] = {}
        for answer in answers:
            counts[answer.status] = counts.get(answer.status, 0) + 1
        return EventAnswers(received=len(answers), counts=counts, answers=answers), facts

    def _take(
        self, index: int, content: dict[str, Any], now_us: int, held: set[tuple[str, int]]
    ) -> tuple[EventAnswer, Fact | None]:
        body = json.dumps(content, sort_keys=True, ensure_ascii=False)
        try:
            fact = read_event(content)
        except ValueError as error:
            given = content.get("event_id")
            name = given if isinstance(given, str) and len(given) <= 64 else None
            return self._refuse(index, name, "invalid", explain(error), body, now_us), None
        digest = hashlib.sha256(body.encode()).hexdigest()
        status, detail = self._judge(fact, digest, now_us, held)
        if status == "duplicate":
            return EventAnswer(index=index, event_id=fact.event_id, status=status, detail=detail), None
        if status != "accepted":
            return self._refuse(index, fact.event_id, status, detail, body, now_us), None
        customer = fact.row["customer_id"]
        row = self._connection.execute(
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)",
            (fact.event_id, fact.kind, fact.key, customer, now_us, digest, body),
        ).lastrowid
        assert row is not None  # noqa: S101 - an insert has one
        self._apply(row, fact)
        self._apply_to_sums(row, fact)
        return EventAnswer(index=index, event_id=fact.event_id, status="accepted"), fact

    def _judge(
        self, fact: Fact, digest: str, now_us: int, held: set[tuple[str, int]]
    ) -> tuple[EventStatus, str]:
        found = self._connection.execute(
            "SELECT digest FROM log WHERE event_id = ?1 UNION ALL "
            "SELECT digest FROM settled WHERE event_id = ?1",
            (fact.event_id,),
        ).fetchone()
        if found is not None:
            if found[0] == digest:
                return "duplicate", "accepted before"
            return "conflict", f"event_id {fact.event_id!r} was accepted before with another content"
        if fact.known_us > now_us + FUTURE_TOLERANCE_US:
            ahead = EPOCH + timedelta(microseconds=fact.known_us)
            now = EPOCH + timedelta(microseconds=now_us)
            return (
                "in_the_future",
                f"its time {ahead.isoformat()} lies after that of the service, {now.isoformat()}. "
                "Hint: check the clock of the sender; times are UTC",
            )
        earlier = self._connection.execute(
            "SELECT event_id FROM log WHERE kind = ? AND key = ?", (fact.kind, fact.key)
        ).fetchone()
        if earlier is not None or (fact.kind, fact.key) in held:
            by = f"event {earlier[0]!r}" if earlier is not None else "the tables"
            return "conflict", f"{fact.kind} {fact.key} is already known from {by}"
        return "accepted", ""

    def _refuse(
        self, index: int, event_id: str | None, status: EventStatus, detail: str, body: str, now_us: int
    ) -> EventAnswer:
        self._connection.execute(
            "INSERT INTO refused VALUES (?, ?, ?, ?, ?)", (now_us, event_id, status, detail, body)
        )
        return EventAnswer(index=index, event_id=event_id, status=status, detail=detail)

    def _apply(self, row: int, fact: Fact) -> None:
        """Derive from an event; what is derived lies under the event's own row number."""
        for source in self._spec.sources:
            values = event_tuple(source, fact.table, fact.times, fact.row)
            if values is not None:
                self._connection.execute(insert_statement(source, numbered=True), (row, *values))

    def _apply_to_sums(self, row: int, fact: Fact) -> None:
        """Add an event to the sums of own history, in time that does not depend on how much is there."""
        if self._rated is None:  # whoever keeps sums builds them anew
            self._connection.execute("DELETE FROM own_meta")
        for rated in self._rated or ():
            found = rated.contribution(fact)
            if found is not None:
                unit, first, last, amount = found
                self._connection.execute(
                    "INSERT INTO own_events VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (row, rated.product, unit, fact.known_us, first, last, amount),
                )

    def keep_sums_of(self, rated: Sequence[Rated]) -> None:
        """Keep sums of own history for these products from now on, built from the log where they are new."""
        before, self._rated = self._rated, tuple(rated)
        if self._rated != before:
            self._keep_sums_current()

    def _keep_sums_current(self) -> None:
        """Build the sums of own history anew from the log when what is filed is not what made them."""
        if self._rated is None:
            return
        rated = hashlib.sha256(f"{LAYOUT} {self._rated!r}".encode()).hexdigest()
        if self._connection.execute("SELECT rated FROM own_meta").fetchone() == (rated,):
            return
        with self._connection:
            self._connection.execute("DELETE FROM own_events")
            for row, body in self._connection.execute("SELECT rowid, body FROM log ORDER BY 1").fetchall():
                self._apply_to_sums(row, read_event(json.loads(body)))
            self._connection.execute("DELETE FROM own_meta")
            self._connection.execute("INSERT INTO own_meta VALUES (?)", (rated,))

    def _keep_tables_current(self) -> None:
        """Build the event tables anew from the log when the sources are not those they were built for."""
        sources = hashlib.sha256(f"{LAYOUT} {self._spec.sources!r}".encode()).hexdigest()
        if self._connection.execute("SELECT sources FROM meta").fetchone() == (sources,):
            return
        with self._connection:
            tables = (
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'events\\_%' ESCAPE '\\'"
            )
            for (name,) in self._connection.execute(tables).fetchall():
                self._connection.execute(f'DROP TABLE "{name}"')
            for source in self._spec.sources:
                create_event_table(self._connection, source)
            for row, body in self._connection.execute("SELECT rowid, body FROM log ORDER BY 1").fetchall():
                self._apply(row, read_event(json.loads(body)))
            self._connection.execute("DELETE FROM meta")
            self._connection.execute("INSERT INTO meta VALUES (?)", (sources,))

    def forget(self, known: Iterable[tuple[str, int]]) -> int:
        """Drop events that a snapshot holds; give their number.

        Parameters
        ----------
        known
            (kind, key) of orders, returns and claims, as the log has them.
        """
        with self._connection:
            # Reading first and writing then would fail, not wait, when another process wrote in between.
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM dropped")
            self._connection.executemany(
                "INSERT OR IGNORE INTO dropped SELECT rowid FROM log WHERE kind = ? AND key = ?", known
            )
            # Sent again by a channel that missed the answer, an event is still a duplicate.
            self._connection.execute(
                "INSERT OR REPLACE INTO settled SELECT event_id, digest, customer_id, received_us FROM log "
                "WHERE rowid IN (SELECT row FROM dropped)"
            )
            self._connection.execute(
                "DELETE FROM settled WHERE received_us < (SELECT max(received_us) FROM settled) - ?",
                (REMEMBERED_US,),
            )
            return self._drop()

    def _drop(self) -> int:
        """Delete the events of the table ``dropped`` and what was derived from them, within a transaction."""
        for source in self._spec.sources:
            self._connection.execute(
                f"DELETE FROM events_{source.name} WHERE rowid IN (SELECT row FROM dropped)"  # noqa: S608
            )
        self._connection.execute("DELETE FROM own_events WHERE row IN (SELECT row FROM dropped)")
        return self._connection.execute("DELETE FROM log WHERE rowid IN (SELECT row FROM dropped)").rowcount

    def facts(self) -> Iterator[tuple[Fact, int]]:
        """Give every event in the log, and when it was received in microseconds since 1970."""
        for body, received_us in self._connection.execute("SELECT body, received_us FROM log ORDER BY rowid"):
            yield read_event(json.loads(body)), received_us

    def has_events(self, customer_id: int) -> bool:
        """Tell whether a customer has sent events: someone new orders before master data arrive."""
        query = "SELECT 1 FROM log WHERE customer_id = ? LIMIT 1"
        return self._connection.execute(query, (customer_id,)).fetchone() is not None

    def set_consent(self, customer_id: int, purpose: str, *, granted: bool, now: datetime) -> None:
        """Record that a customer grants or withdraws the consent for a purpose; durable when this returns."""
        with self._connection:
            self._connection.execute(
                "INSERT INTO consents VALUES (?, ?, ?, ?) "
                "ON CONFLICT (customer_id, purpose) DO UPDATE "
                "SET granted = excluded.granted, at_us = excluded.at_us",
                (customer_id, purpose, int(granted), to_micros(now)),
            )

    def consents(self, customer_id: int) -> dict[str, bool]:
        """Give what a customer has granted or withdrawn, by purpose."""
        rows = self._connection.execute(
            "SELECT purpose, granted FROM consents WHERE customer_id = ?", (customer_id,)
        )
        return {purpose: bool(granted) for purpose, granted in rows}

    def withdrawn(self) -> dict[str, list[int]]:
        """Give the customers who have withdrawn their consent, by purpose."""
        found: dict[str, list[int]] = {}
        query = "SELECT purpose, customer_id FROM consents WHERE NOT granted ORDER BY 1, 2"
        for purpose, customer_id in self._connection.execute(query):
            found.setdefault(purpose, []).append(customer_id)
        return found

    def erase_customer(self, customer_id: int) -> int:
        """Remove every event, refused event and consent of a customer; give the rows removed."""
        with self._connection:
            before = self._connection.total_changes
            self._connection.execute("DELETE FROM consents WHERE customer_id = ?", (customer_id,))
            self._connection.execute(
                "DELETE FROM refused WHERE json_extract(body, '$.customer_id') = ?", (customer_id,)
            )
            removed = self._connection.total_changes - before
            self._connection.execute("DELETE FROM dropped")
            self._connection.execute(
                "INSERT INTO dropped SELECT rowid FROM log WHERE customer_id = ?", (customer_id,)
            )
            self._connection.execute("DELETE FROM settled WHERE customer_id = ?", (customer_id,))
            return removed + self._drop()
