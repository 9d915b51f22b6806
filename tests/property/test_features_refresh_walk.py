"""A table refreshed step by step equals features evaluated from scratch, whatever the lake did meanwhile."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from data.contracts import contract
from data.store import append_table, connect
from features.load import parse_spec
from features.profiles import build_profiles
from features.refresh import refresh_profiles
from features.refresh_read import read_profiles
from features.refresh_source import Diff

if TYPE_CHECKING:
    from pathlib import Path

    from features.spec import FeatureSpec

START = dt.datetime(2024, 2, 27)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
INSTANT = dt.timedelta(microseconds=1)
CATEGORIES = ["apparel", "shoes", "books"]
ENTITIES = ("customer", "seller", "customer_x_category")

HEAD = """
[[entity]]
name = "customer"
keys = ["customer_id"]
[[entity]]
name = "seller"
keys = ["seller_id"]
grain = "day"
[[entity]]
name = "customer_x_category"
keys = ["customer_id", "category"]
"""
OF_ORDERS = ["customer_id", "seller_id", "category"]
SOURCES = {
    "registrations": ("customers", "registered_at", None, ["customer_id"], [], []),
    "orders": ("orders", "ordered_at", None, OF_ORDERS, ["amount_minor"], ["category"]),
    "returns": ("orders", "returned_at", None, OF_ORDERS, ["freight_minor"], ["category"]),
    "claims": ("claims", "occurred_at", "reported_at", OF_ORDERS[:2], ["paid_minor"], ["product"]),
}
WHERE = {"returns": 'where = { category = ["apparel", "books"] }'}
FILTERS = {
    "orders": 'filter = { category = ["apparel", "books"] }',
    "returns": 'filter = { category = ["apparel"], freight_minor = [0, 1] }',
    "claims": 'filter = { product = ["motor"] }',
}
COMMON = 'owner = "o"\nprivacy = "personal"\npurpose = "p"\ndescription = { en = "e", zh = "z" }'


def every_shape() -> FeatureSpec:
    """Give each aggregation of each source, over several windows, with and without a filter."""
    text = [HEAD]
    for name, (table, time, known, keys, measures, levels) in SOURCES.items():
        late = f'known = "{known}"' if known else ""
        lists = f"keys = {keys}\nmeasures = {measures}\nlevels = {levels}\n{WHERE.get(name, '')}"
        text.append(
            f'[[source]]\nname = "{name}"\ntable = "{table}"\ntime = "{time}"\n{late}\n{lists}\n{COMMON}'
        )
    for entity, (name, source) in itertools.product(ENTITIES, SOURCES.items()):
        keys = {"customer": ["customer_id"], "seller": ["seller_id"]}.get(entity, ["customer_id", "category"])
        if set(keys) <= set(source[3]):
            text += features(entity, name, source)
    return parse_spec("\n".join(text))


def features(entity: str, name: str, source: tuple[Any, ...]) -> list[str]:
    windows = ("2d", "7d", "lifetime") if entity == "seller" else ("12h", "7d", "lifetime")
    shapes: list[tuple[str, str | None]] = [("count", None), *(("sum", item) for item in source[4])]
    shapes += itertools.product(("min", "max", "first", "last"), [*source[4], source[1]])
    found = []
    for window, (aggregation, measure) in itertools.product(windows, shapes):
        # Two shapes in four are filtered, by turns, so that the last measure and its time go together: all
        # combinations would take the engine minutes to plan.
        kept = FILTERS.get(name, "") if len(found) // 2 % 2 else ""
        label = f"{entity}_{name}_{aggregation}_{measure or 'rows'}_{window}{'_kept' if kept else ''}"
        of = f'measure = "{measure}"' if measure else ""
        head = f'[[feature]]\nname = "{label}"\nentity = "{entity}"\nsource = "{name}"\nunit = "u"'
        body = f'aggregation = "{aggregation}"\nwindow = "{window}"\n{of}\n{kept}'
        found.append(f'{head}\n{body}\ndescription = {{ en = "e", zh = "z" }}')
    return found


SPEC = every_shape()


class World:
    """A lake that grows, is corrected and is cut; rows by table and by the source that gave them."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)  # noqa: S311 - a walk to be repeated, not a secret
        self.now = START
        self.rows: dict[str, dict[str, list[dict[str, Any]]]] = {"customers": {}, "orders": {}, "claims": {}}
        self.number = itertools.count(1)

    def time(self, back: int = 9) -> dt.datetime:
        """Give a moment near now, on the hours where window ends lie, or one instant beside them."""
        hours = self.random.randrange(-back * 24, 24, 6)
        return self.now + hours * HOUR + self.random.choice([0, 0, 0, -1, 1]) * INSTANT

    def put(self, table: str, source: str) -> None:
        rules = contract(table)
        rows = self.rows[table][source]
        filled = [{column.name: row.get(column.name) for column in rules.columns} for row in rows]
        append_table(
            self.root, table, pa.Table.from_pylist(filled, rules.schema), created=self.now, source=source
        )

    def add(self, table: str, source: str, rows: list[dict[str, Any]]) -> None:
        self.rows[table].setdefault(source, []).extend(rows)
        self.put(table, source)

    def customer(self) -> dict[str, Any]:
        return {"customer_id": next(self.number), "registered_at": self.time()}

    def order(self) -> dict[str, Any]:
        ordered = self.time()
        return {
            "order_id": next(self.number),
            "customer_id": self.random.choice(self.people()),
            "seller_id": self.random.randint(1, 3),
            "category": self.random.choice(CATEGORIES),
            "ordered_at": ordered,
            "amount_minor": self.random.choice([0, 1, 1, 2, 10**12]),
            "freight_minor": self.random.choice([None, 0, 1, 2]),
            "returned_at": self.random.choice([None, ordered, max(ordered, self.time())]),
        }

    def claim(self) -> dict[str, Any]:
        occurred = self.time()
        return {
            "claim_id": next(self.number),
            "policy_id": 1,
            "product": self.random.choice(["motor", "medical"]),
            "customer_id": self.random.choice(self.people()),
            "seller_id": self.random.choice([None, 1, 2]),
            "occurred_at": occurred,
            "reported_at": max(occurred, self.random.choice([occurred, self.time(), self.time(2)])),
            "paid_minor": self.random.choice([0, 1, 5, 5]),
        }

    def people(self) -> list[int]:
        return [row["customer_id"] for rows in self.rows["customers"].values() for row in rows] or [0]

    def move(self) -> str:
        """Let something happen to the lake."""
        what = self.random.choice(["feed", "feed", "feed", "nothing", "return", "correct", "erase", "join"])
        if what == "feed":
            label = f"feed {next(self.number)}"
            self.add("orders", label, [self.order() for _ in range(self.random.randint(1, 4))])
            if self.random.random() < 0.5:
                self.add("claims", label, [self.claim()])
        elif what == "join":
            self.add("customers", f"join {next(self.number)}", [self.customer()])
        elif what in {"return", "correct"} and self.rows["orders"]:
            source = self.random.choice(list(self.rows["orders"]))
            self.change(self.random.choice(self.rows["orders"][source] or [{}]), what)
            self.put("orders", source)
        elif what == "erase":
            self.erase(self.random.choice(self.people()))
        return what

    def change(self, row: dict[str, Any], what: str) -> None:
        if row and what == "return":
            row["returned_at"] = max(row["ordered_at"], self.now - self.random.choice([0, 0, 6, 12]) * HOUR)
        elif row:
            row["amount_minor"] = self.random.choice([0, 1, 2, 10**12])

    def erase(self, customer: int) -> None:
        for table, sources in self.rows.items():
            for source, rows in sources.items():
                if any(row["customer_id"] == customer for row in rows):
                    sources[source] = [row for row in rows if row["customer_id"] != customer]
                    self.put(table, source)

    def known(self, entity: str, as_of: dt.datetime) -> list[tuple[Any, ...]]:
        """Give who had an event before as-of, from the rows themselves."""
        keys = SPEC.entity[entity].keys
        found = set()
        for name, (table, time, late, has, _, _) in SOURCES.items():
            if not set(keys) <= set(has):
                continue
            for row in itertools.chain.from_iterable(self.rows[table].values()):
                seen = [row[time], row[late or time]]
                if name == "returns" and row["category"] == "shoes":
                    continue
                if None not in seen and max(seen) < as_of and all(row[key] is not None for key in keys):
                    found.add(tuple(row[key] for key in keys))
        return sorted(found)


def expected(world: World, entity: str, as_of: dt.datetime) -> list[dict[str, Any]]:
    keys = SPEC.entity[entity].keys
    names = [item.name for item in SPEC.features if item.entity == entity]
    people = world.known(entity, as_of)
    columns = {key: [row[index] for row in people] for index, key in enumerate(keys)}
    times = pa.array([as_of] * len(people), pa.timestamp("us"))
    labels = pa.table(columns | {"row_id": range(len(people)), "as_of": times})
    if not people:
        return []
    with connect(world.root) as con:
        values = build_profiles(con, labels, SPEC, names).drop_columns(["row_id"])
    return [
        dict(zip(keys, who, strict=True)) | row for who, row in zip(people, values.to_pylist(), strict=True)
    ]


def bits(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: struct.pack("<d", value) if isinstance(value, float) else value for name, value in row.items()
    }


def walk(root: Path, seed: int, steps: int) -> Counter[str]:
    world = World(root, seed)
    world.add("customers", "join 0", [world.customer() for _ in range(4)])
    world.add("orders", "feed 0", [world.order() for _ in range(25)])
    world.add("claims", "feed 0", [world.claim() for _ in range(6)])
    seen: Counter[str] = Counter()
    for _ in range(steps):
        pace = world.random.choice([0 * HOUR, INSTANT, 6 * HOUR, 12 * HOUR, DAY, DAY, 3 * DAY, 8 * DAY])
        world.now += pace
        happened = world.move()
        for entity in ENTITIES:
            done = refresh_profiles(root, SPEC, None, entity, world.now, threads=1)
            found = read_profiles(root, entity, world.now, spec=SPEC)
            names = [item.name for item in SPEC.features if item.entity == entity and item.unit == "u"]
            assert list(found.column_names) == [*SPEC.entity[entity].keys, *names]
            floored = world.now.replace(hour=0, minute=0, second=0, microsecond=0)
            wanted = expected(world, entity, floored if entity == "seller" else world.now)
            assert [bits(row) for row in found.to_pylist()] == [bits(row) for row in wanted], (happened, done)
            assert done.rows == len(wanted)
            seen[done.mode] += 1
            seen["looked_up"] += done.looked_up
            seen[happened] += 1
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_small_steps_equal_a_full_run(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In so small a lake every feed is most of it; only the way that is tested must not be left for that.
    monkeypatch.setattr(Diff, "large", False)
    seen = walk(tmp_path, seed, steps=10)
    assert seen["full"] == len(ENTITIES), seen
    assert seen["incremental"] == 9 * len(ENTITIES), seen
    assert seen["looked_up"], "a walk that never looks anything up tests half"


@pytest.mark.slow
def test_a_walk_that_may_choose_equals_too(tmp_path: Path) -> None:
    seen = walk(tmp_path, 77, steps=10)
    assert seen["full"] >= len(ENTITIES), "the first run of each is full; more are a matter of file sizes"
    assert seen["incremental"]
