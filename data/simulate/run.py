"""Run the whole simulation and write the lake."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data.contracts import CLAIMS, ORDERS, POLICIES, QUOTES
from data.errors import SimulationError
from data.simulate.annual import annual_product
from data.simulate.frames import Frame, concat
from data.simulate.orders import PRODUCT_STEP, RETURN_FREIGHT, RETURN_INDEX, Month, months, order_blocks
from data.simulate.parameters import Parameters
from data.simulate.population import DAY, customer_tables, make_customers, make_sellers, micros, seller_truth
from data.simulate.products import PRODUCTS, Product
from data.store import TableWrite, open_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import pyarrow.parquet as pq

    from data.simulate.population import Customers, Sellers
    from data.simulate.streams import Array

__all__ = ["ProductSummary", "SimulationSummary", "simulate"]

BLOCKS_AT_ONCE = 8
"""Blocks of orders that are put in order of time at once; they are held in memory."""

MONTH_DAYS = 31

TRUTH_TABLES = ("customers", "sellers", "policies", "claims")


@dataclass(frozen=True, slots=True)
class ProductSummary:
    """Key figures of one product.

    Parameters
    ----------
    quotes, policies, claims : int
        Rows written; claims are those reported within the history.
    earned_minor, paid_minor : int
        Premium earned and claims paid within the history.
    """

    quotes: int
    policies: int
    claims: int
    earned_minor: int
    paid_minor: int

    @property
    def take_up(self) -> float:
        """Policies per quote."""
        return self.policies / self.quotes if self.quotes else 0.0

    @property
    def loss_ratio(self) -> float:
        """Claims paid per premium earned."""
        return self.paid_minor / self.earned_minor if self.earned_minor else 0.0


@dataclass(frozen=True, slots=True)
class SimulationSummary:
    """What a simulation wrote.

    Parameters
    ----------
    customers, sellers, orders, returns : int
        Sizes; returns are those known by the end of the history.
    products : dict of str to ProductSummary
        By product code.
    """

    customers: int
    sellers: int
    orders: int
    returns: int
    products: dict[str, ProductSummary] = field(default_factory=dict)


def simulate(
    root: Path,
    customers: int,
    seed: int,
    threads: int = 2,
    orders_per_customer: float = 20,
    progress: Callable[[str, float], None] | None = None,
    parameters: Parameters | None = None,
) -> SimulationSummary:
    """Simulate an embedded insurer and write its tables, with the truth beside them.

    The same seed and sizes give the same bytes whatever the number of threads. Tables that the lake holds
    already are replaced, each in one step.

    Parameters
    ----------
    root : Path
        The lake.
    customers : int
        Number of buyers, at least 100.
    seed : int
        Any integer from 0 on.
    threads : int
        Months and products worked on at once.
    orders_per_customer : float
        Mean orders of a buyer over the history.
    progress : callable, optional
        Called with what was just done and the share of the work that is done.
    parameters : Parameters, optional
        The book; the shipped one by default.

    Returns
    -------
    SimulationSummary

    Raises
    ------
    SimulationError
        If a size is out of range.
    """
    _check_sizes(customers, seed, threads, orders_per_customer)
    p = parameters or Parameters()
    sellers = make_sellers(customers, seed, p)
    buyers = make_customers(customers, sellers, seed, p)
    text = f"seed={seed} customers={customers} orders_per_customer={orders_per_customer} {p!r}"
    mark = f"seed={seed} parameters={hashlib.sha256(text.encode()).hexdigest()}"
    with _Lake(root, p, mark) as lake:
        known, truth = customer_tables(buyers, seed)
        lake.put("customers", "", known)
        lake.put("truth/customers", "", truth)
        lake.put("truth/sellers", "", seller_truth(sellers))
        calendar = months(round(customers * orders_per_customer), p)
        parts = _run_jobs(lake, calendar, _World(buyers, sellers, seed, p), threads, progress)
        returning = [part for part in parts if part.code == RETURN_FREIGHT]
        products = [_merge(returning), *parts[len(calendar) :]]
        for part in products:
            _write_claims(lake, part, p)
    return SimulationSummary(
        customers=customers,
        sellers=len(sellers.weight),
        orders=sum(month.orders for month in calendar),
        returns=sum(part.returns for part in returning),
        products={part.code: _summary(part, p) for part in products},
    )


def _check_sizes(customers: int, seed: int, threads: int, orders_per_customer: float) -> None:
    for name, value, least in (
        ("customers", customers, 100),
        ("seed", seed, 0),
        ("threads", threads, 1),
        ("orders_per_customer", orders_per_customer, 0.5),
    ):
        if value < least:
            message = f"{name} must be at least {least}, got {value}"
            raise SimulationError(message)


@dataclass(frozen=True, slots=True)
class _Part:
    """What a job hands back: its claims, still to be written by report month, and its sums."""

    code: str
    index: int
    claims: list[Frame]
    quotes: int
    policies: int
    earned: int
    returns: int = 0


class _Lake:
    """The open writes of all tables of a simulation; several threads put files into them."""

    def __init__(self, root: Path, p: Parameters, mark: str) -> None:
        tables = ("customers", "orders", "policies", "claims", "quotes")
        truths = tuple(f"truth/{name}" for name in TRUTH_TABLES)
        self._writes = {
            name: TableWrite(root, name, created=p.end, source="simulation", fingerprint=mark)
            for name in (*truths, *tables)
        }
        self._stack = ExitStack()

    def __enter__(self) -> _Lake:
        """Open every write, or none when another writer holds one of the tables."""
        with ExitStack() as stack:
            for write in self._writes.values():
                stack.enter_context(write)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Commit them all, or none after an exception."""
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def put(self, name: str, folder: str, table: pa.Table) -> None:
        """Write one file of a table."""
        with self.writer(name, folder) as write:
            write(table)

    def writer(self, name: str, folder: str) -> _FileWrite:
        """Open one file of a table for several pieces."""
        return _FileWrite(self._writes[name], folder)


class _FileWrite:
    """One parquet file, written piece by piece; each piece is a row group."""

    def __init__(self, write: TableWrite, folder: str) -> None:
        self._write = write
        self._folder = folder
        self._path = write.stage()
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def __enter__(self) -> Callable[[pa.Table], None]:
        """Hand out the function that adds a piece."""
        return self._piece

    def _piece(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = open_writer(self._path, table.schema)
        self._writer.write_table(table)
        self._rows += table.num_rows

    def __exit__(self, kind: object, *rest: object) -> None:
        """Close the file and take it into the table's write."""
        if self._writer is not None:
            self._writer.close()
            if kind is None:
                self._write.add(self._path, self._folder, self._rows)


@dataclass(frozen=True, slots=True)
class _World:
    """What every job reads."""

    buyers: Customers
    sellers: Sellers
    seed: int
    parameters: Parameters


def _run_jobs(
    lake: _Lake,
    calendar: list[Month],
    world: _World,
    threads: int,
    progress: Callable[[str, float], None] | None,
) -> list[_Part]:
    jobs = [partial(_run_month, lake, month, world) for month in calendar]
    jobs += [partial(_run_product, lake, product, world) for product in PRODUCTS]
    names = [f"orders {month.label}" for month in calendar] + [product.code for product in PRODUCTS]
    return _run_all(jobs, names, threads, progress)


def _run_all(
    jobs: Sequence[Callable[[], _Part]],
    names: list[str],
    threads: int,
    progress: Callable[[str, float], None] | None,
) -> list[_Part]:
    lock, done = threading.Lock(), [0]

    def work(number: int) -> _Part:
        part = jobs[number]()
        with lock:
            done[0] += 1
            if progress is not None:
                progress(names[number], done[0] / len(jobs))
        return part

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(len(jobs))))


def _run_month(lake: _Lake, month: Month, world: _World) -> _Part:
    p = world.parameters
    folder = f"product={RETURN_FREIGHT}/quoted_month={month.label}"
    claims, quotes, policies, earned, returns = [], 0, 0, 0, 0
    with ExitStack() as stack:
        to_orders = stack.enter_context(lake.writer("orders", f"month={month.label}"))
        to_quotes = stack.enter_context(lake.writer("quotes", folder))
        to_policies = stack.enter_context(lake.writer("policies", folder))
        to_truth = stack.enter_context(lake.writer("truth/policies", folder))
        waiting: list[Frame] = []
        for block in order_blocks(month, world.buyers, world.sellers, world.seed, p):
            waiting.append(block.orders)
            if len(waiting) == BLOCKS_AT_ONCE:
                returns += _write_by_day(waiting, month, to_orders)
                waiting = []
            to_quotes(block.quotes.to_arrow(QUOTES))
            to_policies(block.policies.to_arrow(POLICIES))
            to_truth(block.truth.to_arrow())
            claims.append(block.claims)
            quotes += len(block.quotes)
            policies += len(block.policies)
            earned += earned_minor(block.policies, p)
        returns += _write_by_day(waiting, month, to_orders)
    return _Part(RETURN_FREIGHT, RETURN_INDEX, claims, quotes, policies, earned, returns)


def _write_by_day(blocks: Sequence[Frame], month: Month, write: Callable[[pa.Table], None]) -> int:
    """Write orders in as many pieces as there are blocks, each of a few days; give how many came back.

    A shop system writes orders in the order of time, and a reader of one day skips the other pieces.
    """
    ends = np.linspace(0, MONTH_DAYS, len(blocks) + 1).astype(np.int64)
    tables, cuts, returns = [], [], 0
    for block in blocks:
        day = ((block.numbers("ordered_at") - month.start) // DAY).astype(np.uint8)
        order = np.argsort(day, kind="stable")
        tables.append(block.take(order).to_arrow(ORDERS))
        cuts.append(np.searchsorted(day[order], ends))
        returns += len(block) - tables[-1].column("returned_at").null_count
    for piece in range(len(blocks)):
        parts = [
            table.slice(cut[piece], cut[piece + 1] - cut[piece])
            for table, cut in zip(tables, cuts, strict=True)
        ]
        write(pa.concat_tables(parts))
    return returns


def _run_product(lake: _Lake, product: Product, world: _World) -> _Part:
    p = world.parameters
    book = annual_product(product, world.buyers, world.sellers, world.seed, p)
    for name, contract, frame in (
        ("quotes", QUOTES, book.quotes),
        ("policies", POLICIES, book.policies),
        ("truth/policies", None, book.truth),
    ):
        for label, rows in _by_month(frame.numbers("quoted_at")):
            piece = frame.take(rows)
            lake.put(name, f"product={product.code}/quoted_month={label}", piece.to_arrow(contract))
    earned = earned_minor(book.policies, p)
    return _Part(product.code, product.index, [book.claims], len(book.quotes), len(book.policies), earned)


def _by_month(times: Array) -> Iterator[tuple[str, Array]]:
    labels = times.astype("datetime64[us]").astype("datetime64[M]")
    order = np.argsort(times, kind="stable")
    values, starts = np.unique(labels[order], return_index=True)
    for number, value in enumerate(values):
        stop = starts[number + 1] if number + 1 < len(starts) else len(order)
        yield str(value), order[starts[number] : stop]


def earned_minor(policies: Frame, p: Parameters) -> int:
    """Give the premium earned by the end of the history, pro rata of the term."""
    start, stop = policies.numbers("inception_at"), policies.numbers("expiry_at")
    share = np.clip((micros(p.end) - start) / (stop - start), 0.0, 1.0)
    return round(float((share * policies.numbers("premium_minor")).sum()))


def _merge(parts: list[_Part]) -> _Part:
    return _Part(
        parts[0].code,
        parts[0].index,
        [frame for part in parts for frame in part.claims],
        sum(part.quotes for part in parts),
        sum(part.policies for part in parts),
        sum(part.earned for part in parts),
        sum(part.returns for part in parts),
    )


def _reported(part: _Part, p: Parameters) -> Frame:
    claims = concat(part.claims)
    order = np.lexsort((claims.numbers("policy_id"), claims.numbers("reported_at")))
    claims = claims.take(order)
    return claims.with_columns(claim_id=part.index * PRODUCT_STEP + np.arange(1, len(order) + 1))


def _write_claims(lake: _Lake, part: _Part, p: Parameters) -> None:
    claims = _reported(part, p)
    if len(claims):
        lake.put("truth/claims", f"product={part.code}", claims.to_arrow(CLAIMS))
    known = claims.take(claims.numbers("reported_at") < micros(p.end))
    for label, rows in _by_month(known.numbers("reported_at")):
        folder = f"product={part.code}/month={label}"
        lake.put("claims", folder, known.take(rows).to_arrow(CLAIMS))


def _summary(part: _Part, p: Parameters) -> ProductSummary:
    known = [frame.take(frame.numbers("reported_at") < micros(p.end)) for frame in part.claims]
    return ProductSummary(
        quotes=part.quotes,
        policies=part.policies,
        claims=sum(len(frame) for frame in known),
        earned_minor=part.earned,
        paid_minor=int(sum(frame.numbers("paid_minor").sum() for frame in known)),
    )
