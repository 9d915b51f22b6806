"""Impact before release: a book priced both ways, what moves and why, as a table and as a page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.page import write_page
from data.store import open_writer
from models.impact import ImpactCollector
from models.impact_page import Compared, impact_page
from pricing.factors import CategoryFactor
from serving.impact_pairs import price_pairs
from serving.impact_split import Splitter, steps_of
from serving.reprice import BATCH_ROWS, CARRIED_SCHEMA, carried
from serving.results import draft_of, publish, published_name, sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from models.impact import Impact
    from pricing.product import Product
    from serving.impact_demand import BookDemand
    from serving.impact_pairs import Book
    from serving.reprice import PricedBatch
    from serving.sides import Side

TABLE = "impact"
PAGE = "impact.html"
OUTCOME_SCHEMA = pa.schema(
    [
        pa.field("old_status", pa.string(), nullable=False),
        pa.field("old_codes", pa.string(), nullable=False),
        pa.field("new_status", pa.string(), nullable=False),
        pa.field("new_codes", pa.string(), nullable=False),
        pa.field("old_price_minor", pa.int64()),
        pa.field("new_price_minor", pa.int64()),
        pa.field("change_minor", pa.int64()),
    ]
)


def measure_impact(
    book: Book,
    old: Side,
    new: Side,
    out: Path,
    *,
    demand: BookDemand | None = None,
    progress: Callable[[int, int], None] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Impact:
    """Price a book both ways by the functions of `reprice`, and say what moves and what it is due to.

    Parameters
    ----------
    book
        Policies of one product.
    old, new
        The two ways of pricing.
    out
        Folder of the result: `impact-<checksum>.parquet` with a line per policy, named by the manifest, and
        `impact.html`, which names its table. A result that is already there stays until the new one is whole.
    demand
        What is known of demand; None: nothing.
    progress
        Told policies done and policies in all.
    batch_rows
        Policies of one batch.

    Raises
    ------
    PortfolioError
        If the portfolio cannot be read, lacks columns, or holds another product.
    ImpactError
        If both sides are the same, or stored prices are those of another portfolio.
    TrainingDataError
        If no policy has a price both ways.
    """
    splitter = Splitter(old, new, book.spec)
    pairs, total = price_pairs(book, old, new, batch_rows)
    collector = ImpactCollector()
    out.mkdir(parents=True, exist_ok=True)
    sweep(out, TABLE)
    draft, done = draft_of(out, TABLE), 0
    try:
        with open_writer(draft, table_schema(splitter)) as writer:
            for before, after in pairs:
                writer.write_batch(_add(collector, book.product, splitter, before, after, demand))
                done += len(after.rows)
                if progress:
                    progress(done, total)
        impact = collector.result()
        compared = replace(_compared(book, splitter, demand), table=published_name(TABLE, draft))
        movers = [_lines(draft, places) for places in impact.movers]
        page = impact_page(impact, compared, *movers)
        services = {"old": old.service, "new": new.service}
        known = {name: service for name, service in services.items() if service is not None}
        publish(out, TABLE, draft, book.portfolio, known, book.as_of, done)
        write_page(page, out / PAGE)
    finally:
        draft.unlink(missing_ok=True)
    return impact


def table_schema(splitter: Splitter) -> pa.Schema:
    """Give the columns of the table: a line per policy, with the parts that add up to its change."""
    return pa.schema([*CARRIED_SCHEMA, *OUTCOME_SCHEMA, *splitter.schema])


def _add(
    collector: ImpactCollector,
    product: Product,
    splitter: Splitter,
    old: PricedBatch,
    new: PricedBatch,
    demand: BookDemand | None,
) -> pa.RecordBatch:
    """Add a batch to what is collected; give its lines of the table."""
    sides = (old.decided, new.decided)
    outcomes = [{name: one.column(name).to_pylist() for name in ("status", "codes")} for one in sides]
    collector.add_outcomes(*outcomes)
    prices = [one.column("price_minor") for one in sides]
    change = pc.subtract(prices[1], prices[0])
    both = np.flatnonzero(change.is_valid().to_numpy(zero_copy_only=False))
    causes = splitter.split(old, new, both)
    before, after = (one.take(pa.array(both)).to_numpy(zero_copy_only=False) for one in prices)
    low, high = (steps_of(one, both).amounts for one in sides)
    collector.add_prices(
        new.rows[both],
        before,
        after,
        factors_of(product, new.own, both),
        causes,
        {step: (low[step], high[step]) for step in low},
    )
    if demand is not None:
        collector.add_demand(demand.totals(new.own, old.decided, new.decided, both))
    columns = [
        *carried(new),
        *(one.column(name) for one in sides for name in ("status", "codes")),
        *prices,
        change,
        *(_spread(causes[name], both, len(new.rows)) for name in splitter.columns),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table_schema(splitter))


def _spread(part: NDArray[np.int64], both: NDArray[np.int64], size: int) -> pa.Array:
    """Place the parts of some rows among all, null elsewhere."""
    whole = np.zeros(size, dtype=np.int64)
    whole[both] = part
    absent = np.ones(size, dtype=bool)
    absent[both] = False
    return pa.array(whole, mask=absent)


def factors_of(product: Product, own: pa.RecordBatch, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Give the rating factors of some rows, and the channel, as columns for bands."""
    taken = own.take(pa.array(rows))
    columns: dict[str, object] = {}
    for factor in product.factors:
        column = taken.column(factor.name)
        if isinstance(factor, CategoryFactor):
            levels = {level: factor.read(level) for level in column.unique().to_pylist()}
            given = [levels[level] for level in column.to_pylist()]
            columns[factor.name] = pd.Categorical(given, categories=list(factor.levels))
        else:
            columns[factor.name] = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    columns["channel"] = pd.Series(taken.column("channel").to_pylist(), dtype=object)
    return pd.DataFrame(columns)


def _lines(draft: Path, places: tuple[int, ...]) -> pd.DataFrame:
    """Read the lines of some policies, in the order asked for."""
    if not places:
        return pd.DataFrame()
    lines = pq.read_table(draft, filters=[("row", "in", list(places))]).to_pandas()
    return lines.set_index("row").loc[list(places)]


def _compared(book: Book, splitter: Splitter, demand: BookDemand | None) -> Compared:
    about = Compared(
        book.product,
        splitter.old.label,
        splitter.new.label,
        book.portfolio.name,
        book.as_of,
        splitter.why_whole,
    )
    if demand is None:
        return about
    return replace(
        about,
        verdict=demand.verdict,
        picture=demand.picture,
        source=demand.source,
        renewal=demand.renewal,
        tested=demand.tested is not None,
    )
