"""Scores of all customers: a table per product in the lake, and the same scores one look-up away."""

from __future__ import annotations

import os
import sqlite3
import weakref
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.store import write_parquet_atomic
from models.scoring_table import ScoringSummary, write_scores
from serving.clock import EPOCH, to_micros
from serving.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from features.spec import FeatureSpec
    from serving.engine import InService

COLUMNS = ("customer_id", "product", "points", "band", "reasons")


@dataclass(frozen=True)
class StoredScore:
    """The score of a customer for one product, as of the last scoring.

    Attributes
    ----------
    product, points, band
        Product code, 0 to 1000 points (more is riskier), band code.
    reasons
        Inputs that move the risk most, each with `:up` or `:down`.
    as_of
        Nothing from then on was looked at.
    """

    product: str
    points: int
    band: str
    reasons: tuple[str, ...]
    as_of: datetime


def score_everybody(
    con: duckdb.DuckDBPyConnection,
    services: Mapping[str, InService],
    spec: FeatureSpec,
    root: Path,
    store: Path,
    as_of: datetime,
    progress: Callable[[str], None] | None = None,
) -> list[ScoringSummary]:
    """Score all customers for every product that declares a score; old scores stay until the new are whole.

    Parameters
    ----------
    con, spec, root
        Connection to the lake, feature definitions, the lake's folder.
    services
        What prices each product, by code.
    store
        SQLite file that the service reads.
    as_of
        Nothing from then on is looked at, UTC without zone.
    progress
        Told each product before it is scored.

    Returns
    -------
    list of ScoringSummary
        One per product scored.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    draft = store.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    done = []
    with closing(sqlite3.connect(draft)) as target:
        target.execute("PRAGMA synchronous=OFF")
        target.execute(
            "CREATE TABLE scores (customer_id INTEGER NOT NULL, product TEXT NOT NULL, "
            "points INTEGER NOT NULL, band TEXT NOT NULL, reasons TEXT NOT NULL, as_of_us INTEGER NOT NULL, "
            "PRIMARY KEY (customer_id, product)) WITHOUT ROWID"
        )
        for code, service in services.items():
            if service.product.score is None:
                continue
            if progress:
                progress(code)
            out = root / "scores" / f"{code}.parquet"
            done.append(write_scores(con, service.bundle, spec, as_of, out, root))
            _copy(out, target, to_micros(as_of))
        target.commit()
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(store)
    return done


def _copy(scores: Path, target: sqlite3.Connection, as_of_us: int) -> None:
    with pq.ParquetFile(scores) as reader:
        for batch in reader.iter_batches(columns=list(COLUMNS)):
            lists = [batch.column(name).to_pylist() for name in COLUMNS]
            rows = [(*row[:4], " ".join(row[4]), as_of_us) for row in zip(*lists, strict=True)]
            target.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?)", rows)


class ScoreStore:
    """Read scores that `score_everybody` wrote.

    Parameters
    ----------
    path
        SQLite file.

    Raises
    ------
    StoreError
        If there is none.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StoreError(f"there are no scores at {path}. Hint: run `premia score`")
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        self._finalizer = weakref.finalize(self, self._connection.close)

    def read(self, customer_id: int) -> list[StoredScore]:
        """Give the scores of a customer, by product."""
        query = (
            "SELECT product, points, band, reasons, as_of_us FROM scores "
            "WHERE customer_id = ? ORDER BY product"
        )
        return [
            StoredScore(
                product, points, band, tuple(reasons.split()), EPOCH + timedelta(microseconds=as_of_us)
            )
            for product, points, band, reasons, as_of_us in self._connection.execute(query, (customer_id,))
        ]

    def close(self) -> None:
        """Give the file back."""
        self._finalizer()


def erase_scores(root: Path, store: Path, customer_id: int) -> int:
    """Remove a customer from the scores; give the rows removed.

    The tables of the lake are rewritten without the customer, one product at a time.
    """
    removed = 0
    for path in sorted((root / "scores").glob("*.parquet")):
        table = pq.read_table(path)
        kept = table.filter(pc.not_equal(table["customer_id"], customer_id))
        if kept.num_rows < table.num_rows:
            removed += table.num_rows - kept.num_rows
            write_parquet_atomic(kept, path)
    if store.is_file():
        with closing(sqlite3.connect(store)) as target, target:
            target.execute("DELETE FROM scores WHERE customer_id = ?", (customer_id,))
    return removed
