"""The contact log: who was contacted when through which channel; its caps hold whoever asks at once."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from features.spec import DAY_US
from serving.clock import to_micros

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from models.recommend.actions import ContactChannel

SCHEMA = """
CREATE TABLE IF NOT EXISTS contacts (
    contact_id TEXT PRIMARY KEY, customer_id INTEGER NOT NULL, channel TEXT NOT NULL,
    product TEXT NOT NULL, at_us INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS contacts_of ON contacts (customer_id, channel, at_us);
CREATE TABLE IF NOT EXISTS declines (customer_id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL);
"""
WITHIN = "SELECT count(*) FROM contacts WHERE customer_id = ? AND channel = ? AND at_us > ?"


class ContactLog:
    """Contacts and declines of customers in one SQLite file, durable when a method returns.

    Parameters
    ----------
    path
        The file; it is made when absent.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def add(
        self,
        contact_id: str,
        customer_id: int,
        channel: str,
        product: str,
        now: datetime,
        rules: ContactChannel,
    ) -> bool:
        """Log a contact unless the cap is reached, in one transaction; say whether it was logged."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if self._count(customer_id, channel, now, rules) >= rules.most:
                return False
            self._connection.execute(
                "INSERT INTO contacts VALUES (?, ?, ?, ?, ?)",
                (contact_id, customer_id, channel, product, to_micros(now)),
            )
        return True

    def is_full(self, customer_id: int, channel: str, now: datetime, rules: ContactChannel) -> bool:
        """Say whether a customer has had as many contacts as the window allows."""
        return self._count(customer_id, channel, now, rules) >= rules.most

    def full(self, channel: str, now: datetime, rules: ContactChannel) -> list[int]:
        """Give the customers whose window is full."""
        query = (
            "SELECT customer_id FROM contacts WHERE channel = ? AND at_us > ? "
            "GROUP BY customer_id HAVING count(*) >= ?"
        )
        bound = (channel, to_micros(now) - rules.window_days * DAY_US, rules.most)
        return [row[0] for row in self._connection.execute(query, bound)]

    def decline(self, customer_id: int, now: datetime) -> None:
        """Record that a customer has declined a quote."""
        self._connection.execute(
            "INSERT INTO declines VALUES (?, ?) ON CONFLICT (customer_id) "
            "DO UPDATE SET at_us = max(at_us, excluded.at_us)",
            (customer_id, to_micros(now)),
        )

    def cools_down(self, customer_id: int, now: datetime, days: int) -> bool:
        """Say whether a customer has declined a quote within so many days."""
        query = "SELECT 1 FROM declines WHERE customer_id = ? AND at_us > ?"
        bound = (customer_id, to_micros(now) - days * DAY_US)
        return self._connection.execute(query, bound).fetchone() is not None

    def cooling(self, now: datetime, days: int) -> list[int]:
        """Give the customers who have declined a quote within so many days."""
        query = "SELECT customer_id FROM declines WHERE at_us > ?"
        return [row[0] for row in self._connection.execute(query, (to_micros(now) - days * DAY_US,))]

    def erase_customer(self, customer_id: int) -> int:
        """Remove a customer; give the rows removed."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            before = self._connection.total_changes
            self._connection.execute("DELETE FROM contacts WHERE customer_id = ?", (customer_id,))
            self._connection.execute("DELETE FROM declines WHERE customer_id = ?", (customer_id,))
            return self._connection.total_changes - before

    def _count(self, customer_id: int, channel: str, now: datetime, rules: ContactChannel) -> int:
        since = to_micros(now) - rules.window_days * DAY_US
        return int(self._connection.execute(WITHIN, (customer_id, channel, since)).fetchone()[0])
