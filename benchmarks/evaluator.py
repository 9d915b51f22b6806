"""Time of one customer's features: from events in memory, and from the serving store.

One customer with 200 events among others of every size; every shipped feature of the customer. Medians and
99th percentiles in microseconds, one thread, the store in the page cache; of ten rounds the quietest counts,
for whatever else the machine does only adds.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from features.evaluate import EntityEvaluator
from features.history import events_by_entity
from features.load import default_spec
from features.spec import DAY_US
from serving.history import HistoryStore, build_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from features.spec import FeatureSpec

CUSTOMERS = 5_000
HEAVY = tuple(range(1, 101))
AS_OF_US = 20_000 * DAY_US + 12 * 3_600_000_000
ROUNDS = 10
CALLS = 2_000
CATEGORIES = ("apparel", "shoes", "electronics", "beauty", "home", "food", "toys", "books")
PRODUCTS = ("return_freight", "motor", "medical", "phone_screen")


def run() -> dict[str, float]:
    """Time the evaluator in memory and over the store.

    Returns
    -------
    dict of str to float
        p50_us, p99_us in memory; store_p50_us, store_p99_us with the fetch; events of one customer.
    """
    spec = default_spec()
    names = [name for name in spec.names if spec.entity_of(name).name == "customer"]
    evaluator = EntityEvaluator(spec, names, "customer")
    tables = _tables()
    events = _in_memory(evaluator, tables)
    held = sum(len(part[0]) for part in events[HEAVY[0]].values() if part)
    memory = _timed(lambda key: evaluator.evaluate(events[key], AS_OF_US))
    with tempfile.TemporaryDirectory(prefix="premia-history-") as folder:
        path = Path(folder) / "history.sqlite"
        _fill(path, tables, spec)
        store = HistoryStore(path)
        stored = _timed(lambda key: evaluator.evaluate(store.events(evaluator, (key,), AS_OF_US), AS_OF_US))
        _check(evaluator, events, store)
        store.close()
    return {
        "p50_us": memory[0],
        "p99_us": memory[1],
        "store_p50_us": stored[0],
        "store_p99_us": stored[1],
        "events": float(held),
        "features": float(len(names)),
    }


def _timed(call: Callable[[int], object]) -> tuple[float, float]:
    times = np.empty((ROUNDS, CALLS))
    for key in HEAVY:
        call(key)
    for round_number in range(ROUNDS):
        for index in range(CALLS):
            key = HEAVY[index % len(HEAVY)]
            begin = time.perf_counter_ns()
            call(key)
            times[round_number, index] = time.perf_counter_ns() - begin
    median, late = np.percentile(times, [50, 99], axis=1).min(axis=1)
    return float(median) / 1000, float(late) / 1000


def _check(evaluator: EntityEvaluator, events: dict[int, Any], store: HistoryStore) -> None:
    for key in HEAVY:
        stored = evaluator.evaluate(store.events(evaluator, (key,), AS_OF_US), AS_OF_US)
        if stored != evaluator.evaluate(events[key], AS_OF_US):
            raise AssertionError(f"customer {key}: store and memory differ")


def _in_memory(evaluator: EntityEvaluator, tables: dict[str, pa.Table]) -> dict[int, Any]:
    found: dict[int, Any] = {key: {} for key in HEAVY}
    for need in evaluator.needs:
        grouped = events_by_entity(tables[need.source.table], need)
        for key in HEAVY:
            found[key][need.source.name] = grouped.get((key,), ())
    return found


def _fill(path: Path, tables: dict[str, pa.Table], spec: FeatureSpec) -> None:
    with duckdb.connect() as con:
        for name, table in tables.items():
            con.register(name, table)
        build_history(con, spec, path)


def _tables() -> dict[str, pa.Table]:
    """Give a hundred customers 200 events each and the others a few."""
    rng = np.random.default_rng(7)
    # A returned order is two events.
    shares = {"orders": 120, "returns": 30, "policies": 15, "claims": 4}
    tables: dict[str, pa.Table] = {"customers": _customers()}
    ids = {
        name: np.concatenate([np.repeat(HEAVY, count), rng.integers(101, CUSTOMERS, CUSTOMERS * 5)])
        for name, count in shares.items()
    }
    for name in shares:
        rng.shuffle(ids[name])
    orders = np.concatenate([ids["orders"], ids["returns"]])
    returned = np.concatenate([np.zeros(len(ids["orders"]), bool), np.ones(len(ids["returns"]), bool)])
    tables["orders"] = _orders(rng, orders, returned)
    tables["policies"] = _policies(rng, ids["policies"])
    tables["claims"] = _claims(rng, ids["claims"])
    return tables


def _past(rng: np.random.Generator, count: int, days: int) -> np.ndarray[Any, Any]:
    return AS_OF_US - rng.integers(1, days * DAY_US, count)


def _times(values: np.ndarray[Any, Any], keep: np.ndarray[Any, Any] | None = None) -> pa.Array:
    mask = None if keep is None else ~keep
    return pa.array(values, pa.int64(), mask=mask).cast(pa.timestamp("us"))


def _customers() -> pa.Table:
    ids = np.arange(1, CUSTOMERS + 1)
    none = pa.nulls(CUSTOMERS, pa.int64())
    columns = {"customer_id": pa.array(ids), "registered_at": _times(AS_OF_US - ids * DAY_US // 2)}
    facts = {"birth_date": pa.nulls(CUSTOMERS, pa.date32()), "region": pa.nulls(CUSTOMERS, pa.string())}
    return pa.table({**columns, **facts, "city_tier": none, "owned_seller_id": none})


def _orders(rng: np.random.Generator, ids: np.ndarray[Any, Any], returned: np.ndarray[Any, Any]) -> pa.Table:
    count = len(ids)
    ordered = _past(rng, count, 1095)
    amounts = {
        name: pa.array(rng.integers(100, 100_000, count)) for name in ("amount_minor", "freight_minor")
    }
    return pa.table(
        {
            "order_id": pa.array(np.arange(count)),
            "customer_id": pa.array(ids),
            "seller_id": pa.array(rng.integers(1, 500, count)),
            "category": pa.array(np.array(CATEGORIES)[rng.integers(0, len(CATEGORIES), count)]),
            "ordered_at": _times(ordered),
            "returned_at": _times(ordered + rng.integers(1, 20 * DAY_US, count), returned),
            **amounts,
        }
    )


def _policies(rng: np.random.Generator, ids: np.ndarray[Any, Any]) -> pa.Table:
    count, quoted = len(ids), _past(rng, len(ids), 1095)
    return pa.table(
        {
            "customer_id": pa.array(ids),
            "seller_id": pa.array(rng.integers(1, 500, count)),
            "product": pa.array(np.array(PRODUCTS)[rng.integers(0, len(PRODUCTS), count)]),
            "channel": pa.array(np.full(count, "direct")),
            "quoted_at": _times(quoted),
            "inception_at": _times(quoted),
            "expiry_at": _times(quoted + 365 * DAY_US),
            "premium_minor": pa.array(rng.integers(100, 100_000, count)),
        }
    )


def _claims(rng: np.random.Generator, ids: np.ndarray[Any, Any]) -> pa.Table:
    count, occurred = len(ids), _past(rng, len(ids), 1095)
    return pa.table(
        {
            "claim_id": pa.array(np.arange(count)),
            "customer_id": pa.array(ids),
            "seller_id": pa.array(rng.integers(1, 500, count)),
            "product": pa.array(np.array(PRODUCTS)[rng.integers(0, len(PRODUCTS), count)]),
            "occurred_at": _times(occurred),
            "reported_at": _times(occurred + rng.integers(0, 40 * DAY_US, count)),
            "paid_minor": pa.array(rng.integers(100, 100_000, count)),
        }
    )


if __name__ == "__main__":
    for figure, value in run().items():
        print(f"{figure:14} {value:,.2f}")
