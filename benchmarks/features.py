"""Features of many labels: the compiled definitions against SQL written by hand, and a loop in pandas.

One million customers, twenty million orders, two million labels, 89 features, and the same at a tenth. Every
run is a process of its own that reads parquet, evaluates in DuckDB with two threads and 4 GB, and writes
parquet; runs of the two texts alternate. One label in a hundred lies exactly on an order, another exactly 90
days after one.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.load import parse_spec
from features.profiles import write_profiles

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

CATEGORIES = ("apparel", "shoes", "electronics", "beauty", "home", "food", "toys", "books")
WINDOWS = (7, 30, 90, 365)
MEMORY = "4GB"
THREADS = 2
CUSTOMERS = 1_000_000
SMALL = CUSTOMERS // 10
ROUNDS = 2
PANDAS_LABELS = 300

# Sources: customers, orders (one row also says whether it came back), claims.
_SOURCE = """
[[source]]
name = "{table}"
table = "{table}"
time = "{time}"
keys = ["customer_id"]
measures = [{measures}]
levels = [{levels}]
owner = "benchmark"
privacy = "internal"
purpose = "pricing"
description = {{ en = "{table}", zh = "{table}" }}
"""
_FEATURE = """
[[feature]]
name = "{name}"
entity = "customer"
source = "{source}"
aggregation = "{aggregation}"
window = "{window}"
unit = "1"
description = {{ en = "{name}", zh = "{name}" }}
"""
_DERIVED = """
[[derived]]
name = "{name}"
kind = "{kind}"
inputs = [{inputs}]
unit = "1"
description = {{ en = "{name}", zh = "{name}" }}
"""


def definitions() -> tuple[str, list[str]]:
    """Give the definitions as text, and the names of the 89 features."""
    parts = ['[[entity]]\nname = "customer"\nkeys = ["customer_id"]']
    for table, at, measures, levels in (
        ("customers", "registered_at", (), ()),
        ("orders", "ordered_at", ("amount_minor", "returned"), ("category",)),
        ("claims", "reported_at", ("paid_minor",), ()),
    ):
        parts.append(_SOURCE.format(table=table, time=at, measures=_quoted(measures), levels=_quoted(levels)))
    names: list[str] = []

    def feature(name: str, source: str, aggregation: str, window: str, *rest: str) -> None:
        text = _FEATURE.format(name=name, source=source, aggregation=aggregation, window=window)
        parts.append("\n".join([text.rstrip("\n"), *rest]))

    def derived(name: str, kind: str, *inputs: str) -> None:
        parts.append(_DERIVED.format(name=name, kind=kind, inputs=_quoted(inputs)))
        names.append(name)

    for days in WINDOWS:
        window = f"{days}d"
        feature(f"n_{days}", "orders", "count", window)
        feature(f"s_{days}", "orders", "sum", window, 'measure = "amount_minor"')
        feature(f"x_{days}", "orders", "max", window, 'measure = "amount_minor"')
        feature(f"r_{days}", "orders", "sum", window, 'measure = "returned"')
        names += [f"{letter}_{days}" for letter in "nsxr"]
        for category in CATEGORIES:
            kept = f'filter = {{ category = ["{category}"] }}'
            feature(f"n_{category}_{days}", "orders", "count", window, kept)
            feature(f"s_{category}_{days}", "orders", "sum", window, 'measure = "amount_minor"', kept)
            names += [f"{letter}_{category}_{days}" for letter in "ns"]
        derived(f"d_{days}", "distinct", *(f"n_{category}_{days}" for category in CATEGORIES))
    feature("first_365", "orders", "first", "365d", 'measure = "ordered_at"')
    feature("last_365", "orders", "last", "365d", 'measure = "ordered_at"')
    feature("registered", "customers", "first", "lifetime", 'measure = "registered_at"')
    feature("claims_1095", "claims", "count", "1095d")
    feature("paid_1095", "claims", "sum", "1095d", 'measure = "paid_minor"')
    names += ["claims_1095", "paid_1095"]
    derived("recency", "recency", "last_365")
    derived("span", "span", "first_365", "last_365")
    derived("tenure", "tenure", "registered")
    return "\n".join(parts), names


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def by_hand() -> str:
    """Write the same features as an engineer would: one range join, an age bucket, sums over CASE."""
    columns = []
    for bucket, days in enumerate(WINDOWS):
        inside = f"bucket <= {bucket}" if days != WINDOWS[-1] else "TRUE"
        columns += [
            f"COUNT(CASE WHEN {inside} THEN 1 END) AS n_{days}",
            f"SUM(CASE WHEN {inside} THEN amount_minor ELSE 0 END) AS s_{days}",
            f"MAX(CASE WHEN {inside} THEN amount_minor END) AS x_{days}",
            f"SUM(CASE WHEN {inside} THEN returned ELSE 0 END) AS r_{days}",
        ]
        for category in CATEGORIES:
            also = f"{inside} AND category = '{category}'"
            columns += [
                f"COUNT(CASE WHEN {also} THEN 1 END) AS n_{category}_{days}",
                f"SUM(CASE WHEN {also} THEN amount_minor ELSE 0 END) AS s_{category}_{days}",
            ]
    _, names = definitions()
    shown = [_shown(name) for name in names]
    return f"""
WITH o AS (
  SELECT row_id, {", ".join(columns)}, MIN(ordered_at) AS first_at, MAX(ordered_at) AS last_at
  FROM (
    SELECT l.row_id, o.amount_minor, o.returned, o.category, o.ordered_at,
      CASE WHEN o.ordered_at >= l.as_of - INTERVAL 7 DAY THEN 0
        WHEN o.ordered_at >= l.as_of - INTERVAL 30 DAY THEN 1
        WHEN o.ordered_at >= l.as_of - INTERVAL 90 DAY THEN 2 ELSE 3 END AS bucket
    FROM labels l JOIN orders o ON o.customer_id = l.customer_id AND o.ordered_at < l.as_of
      AND o.ordered_at >= l.as_of - INTERVAL 365 DAY
  ) GROUP BY row_id
), c AS (
  SELECT row_id, COUNT(*) AS claims_1095, SUM(paid_minor) AS paid_1095
  FROM labels l JOIN claims c ON c.customer_id = l.customer_id AND c.reported_at < l.as_of
    AND c.reported_at >= l.as_of - INTERVAL 1095 DAY GROUP BY row_id
)
SELECT l.row_id, {", ".join(shown)}
FROM labels l LEFT JOIN o USING (row_id) LEFT JOIN c USING (row_id)
  LEFT JOIN (SELECT customer_id, registered_at FROM customers) k
    ON k.customer_id = l.customer_id AND k.registered_at < l.as_of
"""  # noqa: S608 - our own names


def _shown(name: str) -> str:
    days = "CAST(FLOOR((epoch_us({0}) - epoch_us({1})) / 86400000000) AS BIGINT)"
    if name in {"recency", "span", "tenure"}:
        ends = {
            "recency": ("as_of", "last_at"),
            "span": ("last_at", "first_at"),
            "tenure": ("as_of", "registered_at"),
        }
        return f"{days.format(*ends[name])} AS {name}"
    if name.startswith("d_"):
        window = name.removeprefix("d_")
        return (
            " + ".join(f"CAST(COALESCE(n_{c}_{window}, 0) > 0 AS BIGINT)" for c in CATEGORIES) + f" AS {name}"
        )
    if name.startswith("x_"):
        return name
    return f"CAST(COALESCE({name}, 0) AS BIGINT) AS {name}"


def make_tables(folder: Path, customers: int, seed: int = 11) -> None:
    """Write customers, orders (skewed, 20 a customer), claims and labels (two a customer) over four years."""
    rng = np.random.default_rng(seed)
    day, years = 86_400_000_000, 1461
    start = 19_000 * day
    ids = np.arange(1, customers + 1)
    weight = rng.gamma(1.4, 1.0, customers)
    buyer = np.repeat(ids, rng.poisson(weight * 20 / weight.mean()))
    rng.shuffle(buyer)
    ordered = start + rng.integers(0, years * day, len(buyer))
    category = pa.DictionaryArray.from_arrays(
        pa.array(rng.integers(0, len(CATEGORIES), len(buyer)), pa.int8()), pa.array(CATEGORIES)
    )
    _write(
        folder / "orders.parquet",
        customer_id=buyer,
        category=category,
        ordered_at=_times(ordered),
        amount_minor=rng.integers(100, 100_000, len(buyer)),
        returned=rng.integers(0, 5, len(buyer)) // 4,
    )
    _write(folder / "customers.parquet", customer_id=ids, registered_at=_times(start - ids * day // 2_000))
    count = customers * 3 // 10
    _write(
        folder / "claims.parquet",
        customer_id=rng.integers(1, customers + 1, count),
        reported_at=_times(start + rng.integers(0, years * day, count)),
        paid_minor=rng.integers(100, 10_000_000, count),
    )
    count = customers * 2
    asked = rng.integers(1, customers + 1, count)
    as_of = start + rng.integers(years * day * 3 // 4, years * day, count)
    exact = rng.integers(0, len(buyer), count // 50)
    asked[: len(exact)] = buyer[exact]
    as_of[: len(exact)] = ordered[exact] + np.where(np.arange(len(exact)) % 2, 0, 90 * day)
    _write(folder / "labels.parquet", row_id=np.arange(count), customer_id=asked, as_of=_times(as_of))


def _times(values: Array) -> pa.Array:
    return pa.array(values).cast(pa.timestamp("us"))


def _write(path: Path, **columns: Any) -> None:  # noqa: ANN401 - numpy or arrow
    pq.write_table(pa.table(columns), path, compression="zstd")


def evaluate(which: str, folder: Path) -> None:
    """Run one of the two texts once in this process and print seconds, peak memory and a checksum."""
    with tempfile.TemporaryDirectory(dir=folder) as spill, duckdb.connect() as con:
        con.execute(f"SET threads = {THREADS}")
        con.execute(f"SET memory_limit = '{MEMORY}'")
        con.execute(f"SET temp_directory = '{spill}'")
        for name in ("customers", "orders", "claims", "labels"):
            con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{folder / name}.parquet')")  # noqa: S608
        text, names = definitions()
        out = folder / f"{which}-{time.time_ns()}"
        begin = time.perf_counter()
        if which == "compiled":
            write_profiles(con, "labels", parse_spec(text), names, out)
        else:
            out.mkdir()
            con.execute(f"COPY ({by_hand()}) TO '{out / 'all.parquet'}' (FORMAT parquet, COMPRESSION zstd)")
        seconds = time.perf_counter() - begin
        # The kernel's count of this process alone, before the check below.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        print(json.dumps({"seconds": seconds, "peak_gb": peak, "checksum": _checksum(con, out, names)}))
        shutil.rmtree(out)


def _checksum(con: duckdb.DuckDBPyConnection, path: Path, names: list[str]) -> list[str]:
    """Weigh every value by its row, so that any value in a wrong place shows."""
    sums = ", ".join(f"SUM(CAST({name} AS HUGEINT) * (row_id % 9973 + 1))::VARCHAR" for name in names)
    query = f"SELECT {sums} FROM read_parquet('{path}/*.parquet')"  # noqa: S608 - our own names
    return [str(value) for value in con.execute(query).fetchall()[0]]


def _measured(which: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 (this interpreter and our own program)
        [sys.executable, "-m", "benchmarks.features", which, str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pandas_hours(folder: Path, labels: int) -> float:
    """Time the plain loop on some labels and extrapolate; orders of each customer found by a dict."""
    asked = pd.read_parquet(folder / "labels.parquet").iloc[-PANDAS_LABELS:]
    orders = pd.read_parquet(
        folder / "orders.parquet", filters=[("customer_id", "in", set(asked["customer_id"]))]
    )
    history = dict(tuple(orders.groupby("customer_id")))
    begin = time.perf_counter()
    for label in asked.itertuples():
        own = history.get(label.customer_id)
        if own is None:
            continue
        own = own[own["ordered_at"] < label.as_of]
        for days in WINDOWS:
            cut = own[own["ordered_at"] >= label.as_of - pd.Timedelta(days=days)]
            amount = cut["amount_minor"]
            amount.count(), amount.sum(), amount.max(), cut["returned"].sum()
            cut.groupby("category", observed=False)["amount_minor"].agg(["count", "sum"])
    return (time.perf_counter() - begin) / len(asked) * labels / 3600


def _seconds(run: dict[str, Any]) -> float:
    return float(run["seconds"])


def run() -> dict[str, float]:
    """Compare at both sizes.

    Returns
    -------
    dict of str to float
        seconds and peak_gb of the compiled text at full size, vs_hand_sql (its time over that of the text
        written by hand), growth (its time over the mean of the runs at a tenth before and after it, for a
        machine that is busy for a while slows all three; the best of the rounds), pandas_hours.
    """
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="premia-features-") as name:
        for customers in (SMALL, CUSTOMERS):
            folder = Path(name) / str(customers)
            folder.mkdir()
            make_tables(folder, customers)
        for customers in (*(SMALL, CUSTOMERS) * ROUNDS, SMALL):
            for which in ("compiled", "hand"):
                found = _measured(which, Path(name) / str(customers))
                runs.setdefault((which, customers), []).append(found)
                if found["checksum"] != runs["compiled", customers][0]["checksum"]:
                    raise AssertionError("the two texts give different features")
        loop = pandas_hours(folder, 2 * CUSTOMERS)
    full, hand = (min(runs[which, CUSTOMERS], key=_seconds) for which in ("compiled", "hand"))
    small = [_seconds(run) for run in runs["compiled", SMALL]]
    around = [(before + after) / 2 for before, after in pairwise(small)]
    growth = [_seconds(run) / beside for run, beside in zip(runs["compiled", CUSTOMERS], around, strict=True)]
    return {
        "seconds": full["seconds"],
        "vs_hand_sql": full["seconds"] / hand["seconds"],
        "hand_peak_gb": hand["peak_gb"],
        "peak_gb": full["peak_gb"],
        "growth": min(growth),
        "pandas_hours": loop,
    }


if __name__ == "__main__":
    if len(sys.argv) == 3:
        evaluate(sys.argv[1], Path(sys.argv[2]))
    else:
        for figure, value in run().items():
            print(f"{figure:14} {value:,.3f}")
