"""Own history in the service: sums in the snapshot, moved on by each event, and the relativity of a quote.

A snapshot holds, for each product with an `[experience]` that keeps sums, what `models.own_history` finds in
the lake for everybody: claims known before the midnight of its day, covers that have run off folded into one
sum, covers that still run one by one. Each claim, return and order that arrives afterwards is one row beside
the log, and a trigger adds it to the sums of its unit. A quote adds up a handful of integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from models.encoding import Encoding
from models.experience import largest_claim_minor, rating_of
from models.fitted import history_keys
from models.own_history import DAY_US, EPOCH_DAY, order_rate, read_own_claims, read_terms
from pricing.errors import ExperienceError
from pricing.experience import MILLION
from serving.clock import EPOCH, to_micros
from serving.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

    from features.spec import FeatureSpec
    from models.risk_model import Scored
    from pricing.experience import Experience, ExperienceRating, OwnHistory
    from pricing.factors import FactorValue
    from pricing.product import Product
    from serving.engine import InService
    from serving.events import Fact

    Ints = NDArray[np.int64]

RELATIVITY = "own.relativity"
"""Column of a batch that holds the relativity of own history, millionths."""
WITHHELD = "experience"
"""Name under which a quote says that own history was not looked at for lack of consent."""
CLAIM_DAY = -1
"""First and last day of a row of sums that holds claims."""
YEAR_AHEAD = 366
"""Days that a snapshot must be able to serve."""
SNAPSHOT_SCHEMA = """
CREATE TABLE own_products (product TEXT PRIMARY KEY, unit TEXT NOT NULL, made_with TEXT NOT NULL,
    horizon_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE own_sums (product TEXT, unit INTEGER, claims INTEGER NOT NULL, expected INTEGER NOT NULL,
    PRIMARY KEY (product, unit)) WITHOUT ROWID;
CREATE TABLE own_terms (product TEXT, unit INTEGER, first INTEGER, last INTEGER, rate INTEGER NOT NULL,
    PRIMARY KEY (product, unit, first, last)) WITHOUT ROWID;
CREATE TABLE own_later (product TEXT, unit INTEGER, known_us INTEGER NOT NULL, amount INTEGER NOT NULL);
CREATE INDEX own_later_unit ON own_later (product, unit);
"""
LIVE_SCHEMA = """
CREATE TABLE IF NOT EXISTS own_events (
    row INTEGER, product TEXT, unit INTEGER NOT NULL, known_us INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (row, product)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS own_events_unit ON own_events (product, unit);
CREATE TABLE IF NOT EXISTS own_live (
    product TEXT, unit INTEGER, first INTEGER, last INTEGER, amount INTEGER NOT NULL,
    known_us INTEGER NOT NULL, PRIMARY KEY (product, unit, first, last)) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS own_added AFTER INSERT ON own_events BEGIN
    INSERT INTO own_live VALUES (new.product, new.unit, new.first, new.last, new.amount, new.known_us)
    ON CONFLICT DO UPDATE SET amount = amount + new.amount, known_us = max(known_us, new.known_us);
END;
CREATE TRIGGER IF NOT EXISTS own_taken_back AFTER DELETE ON own_events BEGIN
    UPDATE own_live SET amount = amount - old.amount WHERE (product, unit, first, last)
        = (old.product, old.unit, old.first, old.last);
    DELETE FROM own_live WHERE amount = 0 AND (product, unit, first, last)
        = (old.product, old.unit, old.first, old.last);
END;
"""


@dataclass(frozen=True)
class Rated:
    """A product that keeps sums of own history.

    Attributes
    ----------
    product
        Its code.
    own, rating
        What is filed, and how sums become a relativity.
    largest_minor
        Where a claim is cut; None when claims are counted.
    """

    product: str
    own: Experience
    rating: ExperienceRating
    largest_minor: int | None

    @classmethod
    def of(cls, service: InService) -> Rated | None:
        """Give what a product keeps; None where it keeps no sums."""
        product = service.product
        rating = rating_of(product, service.bundle.experience)
        if rating is None or product.experience is None:
            return None
        return cls(product.code, product.experience, rating, largest_claim_minor(product))

    def contribution(self, fact: Fact) -> tuple[int, int, int, int] | None:
        """Give (unit, first day, last day, amount) that an event adds to the sums; None when nothing."""
        row, claims = fact.row, self.own.counts == "claims"
        counted = row["product"] == self.product if claims and fact.kind == "claim" else not claims
        if not counted or claims != (fact.kind == "claim"):
            return None
        if not claims and row["category"] not in self.own.expected:
            return None
        unit, at = (
            row.get(self.own.key),
            row[{"claim": "occurred_at", "return": "returned_at"}.get(fact.kind, "ordered_at")],
        )
        if not isinstance(unit, int) or not isinstance(at, int):
            return None
        day = at // DAY_US - (self.rating.since.toordinal() - EPOCH_DAY)
        if day < 0:
            return None
        if fact.kind == "order":
            return unit, day, day + 1, order_rate(self.own, self.rating, str(row["category"]))
        paid = row.get("paid_minor")
        number = (
            1 if self.largest_minor is None or not isinstance(paid, int) else min(paid, self.largest_minor)
        )
        return unit, CLAIM_DAY, CLAIM_DAY, self.rating.weight(day) * number * self.rating.unit

    def purposes(self, spec: FeatureSpec) -> tuple[str, ...]:
        """Give what a customer must have agreed to; nothing where the history is that of a shop."""
        if self.own.unit == "seller":
            return ()
        table = "claims" if self.own.counts == "claims" else "orders"
        return tuple(dict.fromkeys(source.purpose for source in spec.sources if source.table == table))


def priced_keys(spec: FeatureSpec, product: Product) -> tuple[str, ...]:
    """Name the key columns of those whose history prices a product, by features or by own claims."""
    return with_own_key(history_keys(spec, product.profile), product)


def with_own_key(keys: tuple[str, ...], product: Product) -> tuple[str, ...]:
    """Add the key column of own claims to those of features."""
    own = product.experience
    return keys if own is None or own.scale else tuple(dict.fromkeys((*keys, own.key)))


def rated_products(services: Mapping[str, InService]) -> tuple[Rated, ...]:
    """Give the products in service that keep sums."""
    found = (Rated.of(service) for service in services.values())
    return tuple(rated for rated in found if rated is not None)


def made_with(service: InService) -> str:
    """Identify what sums rest on: the rating, and the model that expects."""
    return f"{Rated.of(service)!r} {service.model_hash}"


def write_own_history(
    con: duckdb.DuckDBPyConnection,
    store: sqlite3.Connection,
    services: Mapping[str, InService],
    spec: FeatureSpec,
    lake: Path | None,
    as_of: datetime,
) -> int:
    """Write the sums of everybody into a snapshot that is being made; give the rows written.

    Parameters
    ----------
    con, lake
        Connection to the lake, and the lake.
    store
        The snapshot.
    services, spec
        Products in service and feature definitions.
    as_of
        Quotes of this day and later can be answered.
    """
    store.executescript(SNAPSHOT_SCHEMA)
    before = store.total_changes
    horizon = to_micros(as_of) // DAY_US * DAY_US
    for code, service in sorted(services.items()):
        rated = Rated.of(service)
        if rated is None:
            continue
        row = (code, rated.own.unit, made_with(service), horizon)
        store.execute("INSERT INTO own_products VALUES (?, ?, ?, ?)", row)
        claims = read_own_claims(con, service.bundle)
        terms = read_terms(con, service.bundle, spec, lake)
        day = horizon // DAY_US - (rated.rating.since.toordinal() - EPOCH_DAY)
        known, over = claims.known_us < horizon, terms.last <= day - rated.rating.lag
        accrued = rated.rating.accrued_by(terms.first[over], terms.last[over], np.full(int(over.sum()), day))
        add = "INSERT INTO own_sums VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        sums = add + "claims = claims + excluded.claims, expected = expected + excluded.expected"
        zeros = np.zeros(len(claims.unit), np.int64)
        store.executemany(sums, _rows(code, claims.unit[known], claims.amount[known], zeros[known]))
        spent = terms.rate[over] * accrued
        store.executemany(sums, _rows(code, terms.unit[over], np.zeros_like(spent), spent))
        later = _rows(code, claims.unit[~known], claims.known_us[~known], claims.amount[~known])
        store.executemany("INSERT INTO own_later VALUES (?, ?, ?, ?)", later)
        running = (terms.unit[~over], terms.first[~over], terms.last[~over], terms.rate[~over])
        add = "INSERT INTO own_terms VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        store.executemany(
            f"{add} rate = rate + excluded.rate",
            _rows(code, *running),
        )
    return store.total_changes - before


def _rows(code: str, *columns: Ints) -> Iterator[tuple[str | int, ...]]:
    for values in zip(*(column.tolist() for column in columns), strict=True):
        yield code, *values


def erase_own_history(store: sqlite3.Connection, customer_id: int) -> None:
    """Remove a customer's sums from a snapshot."""
    for table in ("own_sums", "own_terms", "own_later"):
        store.execute(
            f"DELETE FROM {table} WHERE unit = ? AND product IN "  # noqa: S608 - our own names
            "(SELECT product FROM own_products WHERE unit = 'customer')",
            (customer_id,),
        )


class OwnHistoryReader:
    """Relativity of own claims of a product, at the moment of a quote.

    Parameters
    ----------
    connection
        A snapshot, with the live log attached as `live` where there is one.
    service
        What prices the product.
    live
        Whether there is a live log.

    Raises
    ------
    StoreError
        If the snapshot holds no sums that fit the model in service.
    """

    def __init__(self, connection: sqlite3.Connection, service: InService, *, live: bool) -> None:
        rated = Rated.of(service)
        assert rated is not None  # noqa: S101 - asked only for products that keep sums
        self._connection, self._rated, self._live = connection, rated, live
        found = connection.execute(
            "SELECT made_with, horizon_us FROM own_products WHERE product = ?", (rated.product,)
        ).fetchone()
        if found is None or found[0] != made_with(service):
            what = "no sums" if found is None else "sums of another model or product file"
            raise StoreError(
                f"the serving store holds {what} of own {rated.own.counts} for {rated.product}. "
                "Hint: run `premia sync`"
            )
        self._horizon = int(found[1])
        made = EPOCH + timedelta(microseconds=self._horizon)
        try:
            rated.rating.weight(rated.rating.day(made) + YEAR_AHEAD)
        except ExperienceError as error:
            raise StoreError(str(error)) from error

    @property
    def rated(self) -> Rated:
        """What the product keeps."""
        return self._rated

    def read(self, unit: int, now: datetime) -> OwnHistory:
        """Give what counts of a unit's own history strictly before a moment.

        Raises
        ------
        StoreError
            If the moment lies before the day of the snapshot.
        """
        now_us = to_micros(now)
        if now_us < self._horizon:
            made = (EPOCH + timedelta(microseconds=self._horizon)).date()
            raise StoreError(f"own history as of {now.isoformat()} is asked of a snapshot of {made}")
        rating, day = self._rated.rating, self._rated.rating.day(now)
        place = (self._rated.product, unit)
        row = self._one("SELECT claims, expected FROM main.own_sums WHERE product = ? AND unit = ?", *place)
        claims, expected = row or (0, 0)
        query = "SELECT first, last, rate FROM main.own_terms WHERE product = ? AND unit = ?"
        expected += rating.expected(self._connection.execute(query, place), day)
        query = "SELECT amount FROM main.own_later WHERE product = ? AND unit = ? AND known_us < ?"
        claims += sum(amount for (amount,) in self._connection.execute(query, (*place, now_us)))
        for first, last, amount in self._news(place, now_us):
            if first == CLAIM_DAY:
                claims += amount
            else:
                expected += rating.expected(((first, last, amount),), day)
        return rating.own(claims, expected, day)

    def _news(self, place: tuple[str, int], now_us: int) -> Iterator[tuple[int, int, int]]:
        if not self._live:
            return
        query = "SELECT first, last, amount, known_us FROM live.own_live WHERE product = ? AND unit = ?"
        rows = self._connection.execute(query, place).fetchall()
        if any(known_us >= now_us for *_, known_us in rows):  # a sender's clock runs ahead: event by event
            query = "SELECT first, last, amount FROM live.own_events WHERE product = ? AND unit = ? "
            yield from self._connection.execute(f"{query} AND known_us < ?", (*place, now_us))
            return
        for first, last, amount, _ in rows:
            yield first, last, amount

    def _one(self, query: str, *values: object) -> tuple[int, int] | None:
        found: tuple[int, int] | None = self._connection.execute(query, values).fetchone()
        return found


def relativity_of(
    service: InService, risk: Mapping[str, FactorValue], own: OwnHistory | None, scored: Scored
) -> int | None:
    """Give the relativity of own history for the ladder of one risk, millionths; None where it is no step.

    A probability is never lifted above 1. Without consent own history counts as the average.
    """
    experience = service.product.experience
    if experience is None:
        return None
    if experience.scale is not None and service.bundle.experience is not None:
        found = service.bundle.experience.relativities[int(risk[experience.scale.factor])]
    else:
        found = MILLION if own is None else own.relativity
    chance = scored.components.get("probability")
    if chance is None or not chance > 0:
        return found
    return min(found, int(MILLION / chance))


def model_risk(product: Product, risk: Mapping[str, FactorValue]) -> Mapping[str, FactorValue]:
    """Give the factors that a model reads: all but those of the plan and the class of a bonus-malus scale."""
    return {factor.name: risk[factor.name] for factor in product.model_factors}


def class_encoding(product: Product) -> Encoding | None:
    """Give how factors are read that no model reads (use, class of a bonus-malus scale); None without any."""
    named = {factor.name for factor in product.model_factors}
    factors = tuple(factor for factor in product.factors if factor.name not in named)
    return Encoding(factors, ()) if factors else None


def relativities_of(
    service: InService, batch: pa.RecordBatch, scores: pa.RecordBatch
) -> NDArray[np.int64] | None:
    """Give the relativities of a batch, the same numbers as `relativity_of`.

    Parameters
    ----------
    service
        What prices the product.
    batch
        With the column `RELATIVITY`, or the factor of the bonus-malus scale; null rows are refused elsewhere.
    scores
        What `Bundle.score` made of the batch.
    """
    experience = service.product.experience
    if experience is None:
        return None
    if experience.scale is not None and service.bundle.experience is not None:
        table = np.array(service.bundle.experience.relativities, dtype=np.int64)
        places = (
            batch.column(experience.scale.factor).cast("float64").fill_null(0).to_numpy(zero_copy_only=False)
        )
        found: Ints = table[np.clip(np.nan_to_num(places), 0, len(table) - 1).astype(np.int64)]
    else:
        found = batch.column(RELATIVITY).fill_null(MILLION).to_numpy(zero_copy_only=False).astype(np.int64)
    if "probability" not in scores.schema.names:
        return found
    chance = scores.column("probability").fill_null(1.0).to_numpy(zero_copy_only=False)
    usable = chance > 0
    most = np.floor(MILLION / np.where(usable, chance, 1.0))
    return np.where(usable, np.minimum(found, most), found).astype(np.int64)
