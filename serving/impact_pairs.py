"""A portfolio priced two ways, batch by batch: by models and plans, or as a repricing has stored it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.manifest import MANIFEST_NAME, file_checksum
from data.store import scan_batches
from serving.batch_engine import PRICE_SCHEMA
from serving.errors import ImpactError, PortfolioError
from serving.experience import Rated
from serving.reprice import (
    PricedBatch,
    inspect_portfolio,
    portfolio_products,
    price_batches,
    read_histories,
    read_prices,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from features.spec import FeatureSpec
    from pricing.product import Product
    from serving.sides import Side


@dataclass(frozen=True, eq=False)
class Book:
    """What is priced both ways, and where its histories come from.

    Attributes
    ----------
    product
        Product of all rows.
    portfolio
        Parquet file (or folder of a table), as for `reprice`.
    spec, con, lake, withdrawn, as_of
        As for `reprice`.
    """

    product: Product
    portfolio: Path
    spec: FeatureSpec
    con: duckdb.DuckDBPyConnection
    as_of: datetime
    lake: Path | None = None
    withdrawn: Mapping[str, Collection[int]] | None = None


def price_pairs(
    book: Book, old: Side, new: Side, batch_rows: int
) -> tuple[Iterator[tuple[PricedBatch, PricedBatch]], int]:
    """Check the portfolio and give its batches as both sides price them, with the number of rows.

    Raises
    ------
    PortfolioError
        If it cannot be read, lacks columns or rows, or holds another product.
    ImpactError
        If stored prices were made from another portfolio.
    """
    path, code = book.portfolio, book.product.code
    products = portfolio_products(path)
    if products != {code}:
        held = ", ".join(sorted(products)) or "no rows"
        raise PortfolioError(f"{path.name} holds {held}; the impact is that on {code} alone")
    histories: dict[str, pa.Table] = {}
    priced: list[Iterator[PricedBatch]] = []
    total = 0
    for side in (old, new):
        if side.service is None:
            stored = _stored(side, path, code)
            total = stored.num_rows
            priced.append(_stored_batches(stored, path, batch_rows))
            continue
        services = {code: side.service}
        counts, schema = inspect_portfolio(path, services, book.spec)
        total = counts[code]
        # Own claims are held against what a model expects; features are the same for all models.
        rated = side.model_key if Rated.of(side.service) else ""
        key = side.service.product.profile.model_dump_json() + rated
        if key not in histories:
            known = (book.spec, book.as_of, schema, total, book.withdrawn or {}, book.lake)
            histories[key] = read_histories(book.con, path, side.service, *known)
        priced.append(price_batches(path, services, book.spec, {code: histories[key]}, batch_rows))
    return zip(*priced, strict=True), total


def _stored(side: Side, path: Path, code: str) -> pa.Table:
    """Read stored prices, which must have been made from the portfolio."""
    assert side.prices is not None  # noqa: S101 - a side prices or has prices
    if side.portfolio != file_checksum(path if path.is_file() else path / MANIFEST_NAME):
        raise ImpactError(f"{side.prices} was not made from {path.name}. Hint: premia reprice it again")
    table = read_prices(side.prices)
    return table.filter(pc.equal(table["product"], code)).sort_by("row")


def _stored_batches(stored: pa.Table, path: Path, batch_rows: int) -> Iterator[PricedBatch]:
    first = 0
    for own in scan_batches(path, batch_size=batch_rows):
        part = stored.slice(first, own.num_rows).select(PRICE_SCHEMA.names).combine_chunks()
        yield PricedBatch(np.arange(first, first + own.num_rows), own, own, part.to_batches()[0])
        first += own.num_rows
