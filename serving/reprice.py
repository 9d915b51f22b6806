"""Reprice a portfolio overnight: Arrow batches in, prices out, whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.manifest import read_manifest
from data.store import open_writer, scan_batches
from models.fitted import purposes_of
from models.own_history import own_sums, read_own_claims, read_terms
from models.training_table import attach_profiles
from serving.batch_engine import PRICE_SCHEMA, decide_batch
from serving.batch_facts import customer_facts, row_facts
from serving.batch_inputs import Sales
from serving.challenge import CHALLENGER, challenger_arm
from serving.clock import to_micros
from serving.errors import PortfolioError
from serving.experience import RELATIVITY, Rated, priced_keys
from serving.results import draft_of, publish, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime
    from pathlib import Path

    import duckdb
    from numpy.typing import NDArray

    from features.spec import FeatureSpec
    from pricing.experiments import CellShares
    from serving.challenge import Rival
    from serving.engine import InService
    from serving.price_tests import PriceTests

BATCH_ROWS = 65_536
CARRIED = {
    "policy_id": pa.int64(),
    "product": pa.string(),
    "channel": pa.string(),
    "sub_channel": pa.string(),
    "premium_minor": pa.int64(),
}
CARRIED_SCHEMA = pa.schema(
    [pa.field("row", pa.int64(), nullable=False), *(pa.field(n, kind) for n, kind in CARRIED.items())]
)
KEYS = {"customer_id": pa.int64(), "seller_id": pa.int64()}
TABLE = "prices"


@dataclass(frozen=True, eq=False)
class PricedBatch:
    """Rows of one product, priced.

    Attributes
    ----------
    rows
        Places in the portfolio, shape (n,).
    own
        The rows as the portfolio has them.
    risks
        What they were priced from: rating factors, profile features, facts.
    decided
        What came of them (`decide_batch`).
    """

    rows: NDArray[np.int64]
    own: pa.RecordBatch
    risks: pa.RecordBatch
    decided: pa.RecordBatch


@dataclass
class RepriceSummary:
    """What came of a portfolio.

    Attributes
    ----------
    rows
        Rows read, which is rows written.
    by_status
        Rows by `quoted`, `referred`, `declined`, `refused`.
    premium
        By currency: premium before and after of the rows that had one and have a price now, minor units.
    changes
        Relative change of each such row.
    """

    rows: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    premium: dict[str, tuple[int, int]] = field(default_factory=dict)
    changes: list[float] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, currency: str) -> None:
        """Count a priced batch of one currency."""
        self.rows += batch.num_rows
        for status in batch.column("status").to_pylist():
            self.by_status[status] = self.by_status.get(status, 0) + 1
        had = pc.greater(pc.fill_null(batch.column("premium_minor"), 0), 0)
        both = batch.filter(pc.and_(had, pc.is_valid(batch.column("price_minor"))))
        if both.num_rows == 0:
            return
        old = both.column("premium_minor").to_numpy(zero_copy_only=False)
        new = both.column("price_minor").to_numpy(zero_copy_only=False)
        before, after = self.premium.get(currency, (0, 0))
        self.premium[currency] = (before + int(old.sum()), after + int(new.sum()))
        self.changes.extend((new / old - 1.0).tolist())


def reprice(
    portfolio: Path,
    out: Path,
    services: Mapping[str, InService],
    spec: FeatureSpec,
    con: duckdb.DuckDBPyConnection,
    as_of: datetime,
    *,
    lake: Path | None = None,
    withdrawn: Mapping[str, Collection[int]] | None = None,
    tests: PriceTests | None = None,
    progress: Callable[[int, int], None] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> RepriceSummary:
    """Price every row of a portfolio with the models and plans in service.

    Parameters
    ----------
    portfolio
        Parquet file (or folder of a table): `product`, `channel`, the rating factors, `customer_id` and
        `seller_id` where history is priced, `sub_channel` where the plan has some, `premium_minor` (null for
        new business) where it caps the change at renewal, `bundle` where covers are sold in one;
        `policy_id` and `premium_minor` are carried along.
    out
        Folder of the result. A result that is already there is replaced in one step, by a whole one.
    services
        What prices each product, by code.
    spec, con
        Feature definitions and the lake.
    as_of
        UTC without zone: only what was known strictly before counts.
    lake
        Where fitted features are stored; needed only where a product reads some.
    withdrawn
        By purpose, the customers who have withdrawn their consent: their features for it are null.
    tests
        Price tests: one that runs at `as_of` prices as it does in a quote; None when there are none.
    progress
        Told rows done and rows in all.

    Raises
    ------
    PortfolioError
        If the file cannot be read, or columns or products are missing or of types that do not fit.
    """
    product_rows, schema = inspect_portfolio(portfolio, services, spec, as_of.date())
    total = sum(product_rows.values())
    services = {code: services[code].on(as_of.date()) for code in product_rows}
    histories = {
        code: read_histories(con, portfolio, services[code], spec, as_of, schema, rows, withdrawn or {}, lake)
        for code, rows in product_rows.items()
    }
    shares = running_shares(tests, [services[code] for code in product_rows], as_of)
    out.mkdir(parents=True, exist_ok=True)
    sweep(out, TABLE)
    draft = draft_of(out, TABLE)
    summary = RepriceSummary()
    try:
        with open_writer(draft, _result_schema()) as writer:
            for priced in price_batches(portfolio, services, spec, histories, batch_rows, shares):
                batch = _result(priced)
                writer.write_batch(batch)
                summary.add(batch, services[batch.column("product")[0].as_py()].product.currency)
                if progress:
                    progress(summary.rows, total)
        publish(out, TABLE, draft, portfolio, services, as_of, summary.rows)
    finally:
        draft.unlink(missing_ok=True)
    return summary


def running_shares(
    tests: PriceTests | None, services: Iterable[InService], as_of: datetime
) -> dict[str, CellShares]:
    """Give the shares of the test that runs on each product, by code; no entry where none does."""
    found = {one.product.code: tests.at(one.plan, as_of) for one in services} if tests else {}
    return {code: shares for code, shares in found.items() if shares is not None}


def read_prices(out: Path) -> pa.Table:
    """Read the result of `reprice`."""
    return pa.concat_tables([pq.read_table(out / file.path) for file in read_manifest(out).files])


def _result_schema() -> pa.Schema:
    return pa.schema([*CARRIED_SCHEMA, *PRICE_SCHEMA])


def portfolio_products(portfolio: Path) -> set[str]:
    """Name the products that a portfolio holds.

    Raises
    ------
    PortfolioError
        If it cannot be read, or has no such column.
    """
    found: set[str] = set()
    for batch in _readable(portfolio):
        _need(portfolio, batch.schema, ("product",))
        found |= {str(product) for product in batch.column("product").unique().to_pylist()}
    return found


def inspect_portfolio(
    portfolio: Path, services: Mapping[str, InService], spec: FeatureSpec, day: date | None = None
) -> tuple[dict[str, int], pa.Schema]:
    """Count rows by product and check that each product's columns are there.

    Parameters
    ----------
    portfolio, services, spec
        As for `reprice`.
    day
        Whose plans say what is needed; when absent, the plan of each service.

    Raises
    ------
    PortfolioError
        See `reprice`.
    """
    counts: dict[str, int] = {}
    schema: pa.Schema | None = None
    for batch in _readable(portfolio):
        schema = schema or batch.schema
        _need(portfolio, batch.schema, ("product", "channel"))
        _check_types(portfolio, batch)
        for item in pc.value_counts(batch.column("product")).to_pylist():
            counts[str(item["values"])] = counts.get(str(item["values"]), 0) + int(item["counts"])
    if schema is None:
        raise PortfolioError(f"{portfolio.name} holds no rows")
    strangers = sorted(set(counts) - set(services))
    if strangers:
        raise PortfolioError(
            f"{portfolio.name} holds {', '.join(strangers)}; in service are {', '.join(sorted(services))}"
        )
    for code in counts:
        service = services[code] if day is None else services[code].on(day)
        _check_columns(portfolio, service, spec, schema)
    return counts, schema


def _need(portfolio: Path, schema: pa.Schema, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in schema.names]
    if missing:
        raise PortfolioError(
            f"{portfolio.name} lacks the columns {', '.join(missing)}; it has {schema.names}"
        )


def _readable(portfolio: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from scan_batches(portfolio)
    except pa.ArrowInvalid as error:
        raise PortfolioError(f"{portfolio.name} cannot be read: {error}") from error


def _check_types(portfolio: Path, batch: pa.RecordBatch) -> None:
    """Refuse ids and amounts that are no integers before any work is done."""
    for name, kind in {**CARRIED, **KEYS}.items():
        if name in batch.schema.names:
            try:
                pc.cast(batch.column(name), kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                found = batch.schema.field(name).type
                raise PortfolioError(
                    f"{portfolio.name}: column {name!r} is {found}, wanted is {kind}: {error}"
                ) from error


def _check_columns(portfolio: Path, service: InService, spec: FeatureSpec, schema: pa.Schema) -> None:
    needed = [*(factor.name for factor in service.product.factors), *needed_ids(service, spec)]
    if service.plan.renewal_cap is not None:
        needed.append("premium_minor")
    absent = [name for name in needed if name not in schema.names]
    if absent:
        raise PortfolioError(
            f"{portfolio.name} lacks {', '.join(absent)}; {service.product.code!r} is priced from them"
        )


def read_histories(
    con: duckdb.DuckDBPyConnection,
    portfolio: Path,
    service: InService,
    spec: FeatureSpec,
    as_of: datetime,
    schema: pa.Schema,
    rows: int,
    withdrawn: Mapping[str, Collection[int]],
    lake: Path | None,
) -> pa.Table:
    """Read what models and rules need to know of each row of one product, in the order of the portfolio."""
    labels = _labels(portfolio, service, spec, schema, as_of)
    facts = customer_facts(con, service.product, labels["customer_id"], as_of)
    profile = service.product.profile.model_copy(
        update={"customer": "customer_id", "seller": "seller_id", "as_of": "as_of"}
    )
    product = service.product.model_copy(update={"profile": profile})
    table = None
    if profile.inputs:
        table = attach_profiles(con, labels, product, spec, lake).select(list(profile.inputs))
        table = _without_consent(table, labels["customer_id"], spec, withdrawn)
    own = _own_relativities(con, labels, service, spec, as_of, withdrawn, lake)
    if own is not None:
        facts = facts.append_column(RELATIVITY, own)
    for name in facts.column_names:
        table = facts.select([name]) if table is None else table.append_column(name, facts[name])
    assert table is not None and table.num_rows == rows  # noqa: S101, PT018 - one history per row by construction
    return table.combine_chunks()


def _own_relativities(
    con: duckdb.DuckDBPyConnection,
    labels: pa.Table,
    service: InService,
    spec: FeatureSpec,
    as_of: datetime,
    withdrawn: Mapping[str, Collection[int]],
    lake: Path | None,
) -> pa.Array | None:
    """Give the relativity of own history of each row; null where nobody is named or consent is missing."""
    rated = Rated.of(service)
    if rated is None:
        return None
    ids = labels[rated.own.key].cast(pa.int64())
    for purpose in rated.purposes(spec):
        gone = pa.array(sorted(withdrawn.get(purpose, ())), pa.int64())
        ids = pc.if_else(pc.is_in(labels["customer_id"], value_set=gone), pa.scalar(None, pa.int64()), ids)
    units = np.unique(ids.drop_null().to_numpy())
    claims = read_own_claims(con, service.bundle, units)
    terms = read_terms(con, service.bundle, spec, lake, units)
    found = own_sums(rated.rating, claims, terms, units, np.full(len(units), to_micros(as_of))).relativity
    place = pc.index_in(ids, value_set=pa.array(units, pa.int64()))
    return pa.array(found, pa.int64()).take(place.combine_chunks())


def _without_consent(
    table: pa.Table, customers: pa.ChunkedArray, spec: FeatureSpec, withdrawn: Mapping[str, Collection[int]]
) -> pa.Table:
    """Empty the features whose purpose a customer has withdrawn, as `ProfileReader.read` does for one."""
    for purpose, ids in withdrawn.items():
        rows = pc.is_in(customers, value_set=pa.array(sorted(ids), pa.int64()))
        for position, name in enumerate(table.column_names):
            if purpose in purposes_of(spec, name):
                column = table[name]
                emptied = pc.if_else(rows, pa.scalar(None, column.type), column)
                table = table.set_column(position, name, emptied)
    return table


def needed_ids(service: InService, spec: FeatureSpec) -> tuple[str, ...]:
    """Name the ids (`customer_id`, `seller_id`) whose history a product prices."""
    return tuple(name for name in priced_keys(spec, service.product) if name in KEYS)


def _labels(
    portfolio: Path, service: InService, spec: FeatureSpec, schema: pa.Schema, as_of: datetime
) -> pa.Table:
    """Say of every row of one product whose history is wanted."""
    keys = dict.fromkeys(["customer_id", *priced_keys(spec, service.product)])
    present = [name for name in keys if name in schema.names]
    parts: list[pa.Table] = []
    for batch in scan_batches(portfolio, ["product", *present]):
        own = batch.filter(pc.equal(batch.column("product"), service.product.code))
        columns = {n: pc.cast(own.column(n), KEYS.get(n, own.column(n).type)) for n in present}
        parts.append(pa.table({"product": own.column("product"), **columns}))
    labels = pa.concat_tables(parts)
    for name in keys:
        if name not in present:
            labels = labels.append_column(name, pa.nulls(labels.num_rows, pa.int64()))
    size = labels.num_rows
    labels = labels.append_column("row_id", pa.array(np.arange(size)))
    return labels.append_column("as_of", pa.array(np.full(size, np.datetime64(as_of, "us"))))


def price_batches(
    portfolio: Path,
    services: Mapping[str, InService],
    spec: FeatureSpec,
    histories: Mapping[str, pa.Table],
    batch_rows: int = BATCH_ROWS,
    shares: Mapping[str, CellShares] | None = None,
) -> Iterator[PricedBatch]:
    """Price a portfolio batch by batch, in its order, one product at a time.

    Parameters
    ----------
    portfolio, services, spec, batch_rows
        As for `reprice`; the portfolio passed `inspect_portfolio`.
    histories
        By product, what `read_histories` gave.
    shares
        By product, of the price test that runs.
    """
    shares = shares or {}
    done = dict.fromkeys(histories, 0)
    first = 0
    for batch in scan_batches(portfolio, batch_size=batch_rows):
        products = batch.column("product")
        for code in sorted(set(products.to_pylist())):
            rows = np.flatnonzero(np.asarray(pc.equal(products, code)))
            own = batch.take(pa.array(rows))
            history = histories[code].slice(done[code], len(rows)).combine_chunks()
            done[code] += len(rows)
            risks = _risks(services[code], own, history)
            yield PricedBatch(
                rows + first, own, risks, decide_rows(services[code], spec, own, risks, shares.get(code))
            )
        first += batch.num_rows


def decide_rows(
    service: InService,
    spec: FeatureSpec,
    own: pa.RecordBatch,
    risks: pa.RecordBatch,
    shares: CellShares | None = None,
) -> pa.RecordBatch:
    """Price rows of one product: as the portfolio has them, what they are priced from, and a running test."""
    named = "customer_id" in own.schema.names
    customers = pc.cast(own.column("customer_id"), pa.int64()) if named else None
    rival = service.rival
    if rival is not None and rival.kind == CHALLENGER and customers is not None:
        return _decide_arms(service, rival, spec, own, risks, shares, customers)
    ids = {name: own.column(name) for name in needed_ids(service, spec)}
    return decide_batch(service, risks, sales_of(service, own), ids, shares, customers)


def _decide_arms(
    service: InService,
    rival: Rival,
    spec: FeatureSpec,
    own: pa.RecordBatch,
    risks: pa.RecordBatch,
    shares: CellShares | None,
    customers: pa.Array,
) -> pa.RecordBatch:
    """Price the rows of each arm by its own version, as `choose_arm` does for one, in their order."""
    known = customers.is_valid().to_numpy(zero_copy_only=False)
    ids = customers.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    challenged = known & challenger_arm(service.product.code, rival.share, ids)
    parts, places = [], []
    for arm, rows in ((replace(service, rival=None), ~challenged), (rival.service, challenged)):
        place = np.flatnonzero(rows)
        taken = pa.array(place)
        if len(place):
            parts.append(decide_rows(arm, spec, own.take(taken), risks.take(taken), shares))
            places.append(place)
    if len(parts) == 1:
        return parts[0]
    back = np.argsort(np.concatenate(places))
    return pa.Table.from_batches(parts).combine_chunks().to_batches()[0].take(pa.array(back))


def sales_of(service: InService, own: pa.RecordBatch) -> Sales:
    """Read how each row is sold; the premium before is the expiring one where the plan caps the change."""
    names = own.schema.names
    return Sales(
        own.column("channel").to_pylist(),
        own.column("sub_channel").to_pylist() if "sub_channel" in names else None,
        pc.cast(own.column("premium_minor"), pa.int64()) if service.plan.renewal_cap is not None else None,
        own.column("bundle") if "bundle" in names else None,
    )


def _risks(service: InService, own: pa.RecordBatch, history: pa.Table) -> pa.RecordBatch:
    columns = {factor.name: own.column(factor.name) for factor in service.product.factors}
    known = {
        name: history[name].combine_chunks() if history.num_rows else pa.nulls(0)
        for name in history.schema.names
    }
    columns |= row_facts(service.product, own, known)
    arrays = [c.chunk(0) if isinstance(c, pa.ChunkedArray) else c for c in columns.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def carried(priced: PricedBatch) -> list[pa.Array]:
    """Give the columns that a result carries along: `row` and those of `CARRIED`."""
    own = priced.own
    return [
        pa.array(priced.rows, pa.int64()),
        *(
            pc.cast(own.column(name), kind) if name in own.schema.names else pa.nulls(own.num_rows, kind)
            for name, kind in CARRIED.items()
        ),
    ]


def _result(priced: PricedBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([*carried(priced), *priced.decided.columns], schema=_result_schema())
