"""The memory of the registry: an append-only log of who did what to which version, and what priced when."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from models.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Action = Literal[
    "proposed",
    "refused",
    "insufficient_evidence",
    "approved",
    "in_service",
    "retired",
    "shares",
    "stopped",
    "challenged",
    "shadowed",
    "challenge_stopped",
]
STANDS_STILL = timedelta(minutes=1)
SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, product TEXT NOT NULL, version TEXT NOT NULL,
    action TEXT NOT NULL, who TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS audit_product ON audit (product, number);
CREATE TRIGGER IF NOT EXISTS audit_no_update BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_no_delete BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""


@dataclass(frozen=True)
class Entry:
    """One thing that happened to a version.

    Attributes
    ----------
    at
        UTC without zone.
    product, version
        Which model.
    action
        What happened.
    who
        Who did it.
    detail
        What it rested on: the decision, or the identity of what went into service.
    """

    at: datetime
    product: str
    version: str
    action: Action
    who: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """Everything that a price depends on beside the risk.

    Attributes
    ----------
    family
        Model family.
    product_hash, model_hash, spec_hash
        Identity of the product file, of the stored model (its tables or booster) and of the feature
        definitions; the last is empty without features.
    plan, plan_version, plan_hash, filing
        Rating plan.
    author
        Who trained the model.
    plan_from, plan_to
        First day of the plan and first day after, ISO; empty when open or, for the first, not known.
    """

    family: str
    product_hash: str
    model_hash: str
    spec_hash: str
    plan: str
    plan_version: int
    plan_hash: str
    filing: str
    author: str
    plan_from: str = ""
    plan_to: str = ""


@dataclass(frozen=True)
class Period:
    """A time during which one version priced.

    Attributes
    ----------
    product, version
        Which model.
    since, until
        UTC without zone; `until` is the first moment after, None while it goes on.
    approver
        Who put it into service.
    identity
        What exactly priced.
    """

    product: str
    version: str
    since: datetime
    until: datetime | None
    approver: str
    identity: Identity


class AuditLog:
    """Entries of all products, oldest first. Nothing in it is ever changed.

    Parameters
    ----------
    path
        SQLite file; made with the first entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries, all or none.

        Raises
        ------
        RegistryError
            If an entry is older than the last one of its product: the past is closed. A clock that was set
            back by up to a minute is taken to stand still.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as con, con:
            con.executescript(SCHEMA)
            con.execute("BEGIN IMMEDIATE")
            for entry in entries:
                con.execute(
                    "INSERT INTO audit (at, product, version, action, who, detail) VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        _text(_not_before(con, entry)),
                        entry.product,
                        entry.version,
                        entry.action,
                        entry.who,
                        json.dumps(entry.detail, ensure_ascii=False, sort_keys=True),
                    ],
                )

    def entries(self, product: str, version: str | None = None) -> list[Entry]:
        """Give all entries of a product, or of one version of it, oldest first."""
        if not self.path.exists():
            return []
        with self._open() as con:
            rows = con.execute(
                "SELECT at, product, version, action, who, detail FROM audit "
                "WHERE product = ? AND (? IS NULL OR version = ?) ORDER BY number",
                [product, version, version],
            ).fetchall()
        return [
            Entry(datetime.fromisoformat(at), code, found, action, who, json.loads(detail))
            for at, code, found, action, who, detail in rows
        ]

    def periods(self, product: str) -> list[Period]:
        """Give the times during which versions priced, oldest first."""
        found: list[Period] = []
        for entry in self.entries(product):
            if entry.action in ("in_service", "retired") and found and found[-1].until is None:
                last = found.pop()
                found.append(Period(**{**vars(last), "until": entry.at}))
            if entry.action == "in_service":
                identity = Identity(**entry.detail)
                found.append(Period(product, entry.version, entry.at, None, entry.who, identity))
        return found

    def at(self, product: str, moment: datetime) -> Period | None:
        """Give what priced at a moment (UTC without zone); None when nothing did."""
        for period in self.periods(product):
            if period.since <= moment and (period.until is None or moment < period.until):
                return period
        return None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # Autocommit: transactions are begun by hand, so that the look at the last entry is part of them.
        with closing(sqlite3.connect(self.path, timeout=30.0, isolation_level=None)) as con:
            con.execute("PRAGMA synchronous = FULL")
            yield con


def service_entries(
    product: str, version: str, who: str, at: datetime, identity: Identity, before: str | None
) -> list[Entry]:
    """Give the entries of one version following another: approved, the other retired, in service."""
    retired = [] if before in (None, version) else [Entry(at, product, str(before), "retired", who, {})]
    return [
        Entry(at, product, version, "approved", who, {}),
        *retired,
        Entry(at, product, version, "in_service", who, asdict(identity)),
    ]


def _not_before(con: sqlite3.Connection, entry: Entry) -> datetime:
    newest = con.execute("SELECT max(at) FROM audit WHERE product = ?", [entry.product]).fetchone()[0]
    last = entry.at if newest is None else datetime.fromisoformat(newest)
    if last - entry.at > STANDS_STILL:
        raise RegistryError(
            f"{entry.product}: {entry.at} lies before the last entry of the log, {last}. "
            "Hint: the clock, or PREMIA_CLOCK, is behind"
        )
    return max(entry.at, last)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
