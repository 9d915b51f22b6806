"""One definition, three users: the service, the batch and a notebook give the same price to the fen."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
import warnings
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.contracts import contract
from data.store import append_table, connect
from features.load import default_spec
from features.profiles import build_profiles
from models.registry import Registry
from models.training_table import attach_profiles
from pricing.definitions import parse_definition
from pricing.errors import CorridorError, TechnicalPremiumError
from pricing.ladder import STEP_NAMES, PriceInputs, build_ladder
from pricing.optimiser import PricePolicy
from pricing.plan import RatingPlan, read_plan
from pricing.product import read_product
from serving.api import create_app
from serving.compose import load_services, open_service
from serving.history import HistoryStore, build_history
from serving.offers import LivePolicy
from serving.profiles import ProfileReader
from serving.records import open_sync_records
from serving.replay import replay
from serving.reprice import read_prices, reprice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pricing.product import Product
    from serving.engine import InService

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

ROWS = 300
OWED = ("tax", "commission")
KEYS = ("policy_id", "product", "channel", "sub_channel", "customer_id", "seller_id", "premium_minor")
MOTOR_TWISTS: list[dict[str, Any]] = [
    {"driver_age": 17},
    {"driver_age": 91},
    {"vehicle_power": None},
    {"fuel": "steam"},
    {"fuel": None, "region": "CN-XX"},
    {"channel": "smoke-signals"},
    {"bonus_malus": 201},
    {"bonus_malus": 230},
    {"bonus_malus": 200},
    {"vehicle_age": 77},
    {"annual_km": None},
    {"annual_km": 1e6},
]
FREIGHT_TWISTS: list[dict[str, Any]] = [
    {"order_amount": -0.01},
    {"order_amount": 100_000.01},
    {"order_amount": None},
    {"category": "boats"},
    {"channel": "smoke-signals"},
    {"seller_id": 9_999_999},
    {"customer_id": 9_999_999},
    {"order_amount": 1 / 3},
]


YOUNG = {  # customer -> birth date and what becomes of a quote on 2026-01-01
    50_001: (dt.date(2008, 1, 1), "quoted"),  # eighteen on the day
    50_002: (dt.date(2008, 1, 2), "declined"),  # a day short of it
    50_003: (dt.date(2012, 2, 29), "declined"),
    50_004: (None, "quoted"),  # not known: the rule says pass
}


@pytest.fixture(scope="module")
def insurer(insurer, tmp_path_factory) -> Any:
    """Add customers of every age to the simulated ones, who are all grown up."""
    lake = tmp_path_factory.mktemp("parity")
    for name in ("orders", "policies", "claims", "quotes", "_registry", "_fitted"):
        (lake / name).symlink_to(insurer.settings.lake / name)
    shutil.copytree(insurer.settings.lake / "customers", lake / "customers")
    rows = [
        {"customer_id": key, "birth_date": born, "gender": "U", "registered_at": dt.datetime(2025, 6, 1)}
        for key, (born, _) in YOUNG.items()
    ]
    table = pa.Table.from_pylist(rows, schema=contract("customers").schema)
    append_table(lake, "customers", table, created=insurer.end, source="young")
    settings = insurer.settings.model_copy(update={"lake": lake})
    with connect(lake) as con:
        build_history(con, default_spec(), settings.history, lake=lake)
    return replace(insurer, settings=settings)


@pytest.fixture(scope="module")
def services(insurer) -> dict[str, InService]:
    return load_services(insurer.settings, default_spec())[0]


@pytest.fixture(scope="module")
def client(insurer) -> Iterator[TestClient]:
    with TestClient(create_app(lambda: open_service(insurer.settings, clock=lambda: insurer.end))) as opened:
        yield opened


def query(insurer, sql: str) -> pa.Table:
    with connect(insurer.settings.lake) as con:
        return con.sql(sql).to_arrow_table()


def twisted(table: pa.Table, twists: list[dict[str, Any]]) -> pa.Table:
    """Append copies of the first row, each with some values replaced."""
    first = table.slice(0, 1).to_pylist()[0]
    extra = pa.Table.from_pylist([first | twist for twist in twists], schema=table.schema)
    return pa.concat_tables([table, extra]).combine_chunks()


@pytest.fixture(scope="module")
def motor(insurer, services) -> pa.Table:
    """In-force policies, then the same risk twisted, then customers who are under age."""
    factors = ", ".join(factor.name for factor in services["motor"].product.factors)
    columns = f"policy_id, product, channel, customer_id, seller_id, premium_minor, {factors}"
    moment = f"TIMESTAMP '{insurer.end.isoformat()}'"
    force = query(
        insurer,
        f"SELECT {columns} FROM policies WHERE product = 'motor' AND inception_at <= {moment} "  # noqa: S608
        f"AND expiry_at > {moment} ORDER BY hash(policy_id) LIMIT {ROWS}",
    )
    assert force.num_rows == ROWS
    return twisted(force, MOTOR_TWISTS + [{"customer_id": customer} for customer in YOUNG])


@pytest.fixture(scope="module")
def freight(insurer) -> pa.Table:
    columns = "quote_id AS policy_id, product, channel, customer_id, seller_id, price_minor AS premium_minor"
    recent = query(
        insurer,
        f"SELECT {columns}, order_amount, category FROM quotes WHERE product = 'return_freight' "  # noqa: S608
        f"ORDER BY hash(quote_id) LIMIT {ROWS}",
    )
    assert recent.num_rows == ROWS
    return twisted(recent, FREIGHT_TWISTS)


def by_api(insurer, client: TestClient, table: pa.Table, *, renewal: bool = False) -> list[dict[str, Any]]:
    """Ask the service for each row; the unrounded premium comes from the quote store."""
    store = open_sync_records(insurer.settings)
    found = []
    for row in table.to_pylist():
        risk = {name: value for name, value in row.items() if name not in KEYS}
        body = {key: row[key] for key in ("product", "channel", "customer_id", "seller_id")} | {"risk": risk}
        body["expiring_premium_minor"] = row["premium_minor"]
        if renewal:
            body["sub_channel"] = row["sub_channel"]
        answer = client.post("/v1/quotes", json=body)
        given = answer.json()
        if answer.status_code == 422:
            codes = [f"{e['pointer'].rsplit('/', 1)[-1]}:{e['code']}" for e in given["errors"]]
            found.append(
                {
                    "status": "refused",
                    "codes": codes,
                    "premium": None,
                    "price": None,
                    "steps": {},
                    "owed": None,
                }
            )
            continue
        assert answer.status_code == 201, given
        found.append(
            {
                "status": given["status"],
                "codes": [outcome["code"] for outcome in given["outcomes"]],
                "premium": store.get(given["quote_id"]).body["risk_premium_minor"],
                "price": given["price"] and given["price"]["minor"],
                "steps": {step["step"]: step["minor"] for step in given["ladder"] if step["minor"]},
                "owed": given["settlement"] and [given["settlement"][of]["minor"] for of in OWED],
            }
        )
    store.close()
    return found


def by_batch(insurer, services, table: pa.Table, folder: Path) -> list[dict[str, Any]]:
    source = folder / "portfolio.parquet"
    pq.write_table(table, source)
    with connect(insurer.settings.lake) as con:
        reprice(
            source,
            folder / "out",
            services,
            default_spec(),
            con,
            insurer.end,
            lake=insurer.settings.lake,
        )
    rows = read_prices(folder / "out").sort_by("row").to_pylist()
    assert [row["policy_id"] for row in rows] == table["policy_id"].to_pylist()
    return [
        {
            "status": row["status"],
            "codes": row["codes"].split(";") if row["codes"] else [],
            "premium": row["risk_premium_minor"],
            "price": row["price_minor"],
            "steps": {name: row[f"step_{name}_minor"] for name in STEP_NAMES if row[f"step_{name}_minor"]},
            "owed": None if row["price_minor"] is None else [row[f"{of}_due_minor"] for of in OWED],
        }
        for row in rows
    ]


def by_notebook(insurer, product: Product, table: pa.Table) -> list[tuple[float | None, int | None]]:
    """Premium and price with the public functions alone; rules and refused channels are not looked at."""
    moments = pa.array([insurer.end] * table.num_rows, pa.timestamp("us"))
    labels = table.append_column(product.profile.as_of, moments)
    lake = insurer.settings.lake
    with connect(lake) as con:
        whole = attach_profiles(con, labels, product, default_spec(), lake).select(product.inputs)
    bundle = Registry(insurer.settings.registry).load_champion(product.code)
    scored = bundle.score(whole.combine_chunks().to_batches()[0])
    plan = read_plan(insurer.settings.plans / f"{product.plan}.toml")
    found: list[tuple[float | None, int | None]] = []
    for premium, channel in zip(
        scored.column("risk_premium_minor").to_pylist(), table["channel"].to_pylist(), strict=True
    ):
        if premium is None or channel not in plan.commission:
            found.append((premium, None))
            continue
        try:
            found.append((premium, build_ladder(PriceInputs(premium), plan, channel).price_minor))
        except (CorridorError, TechnicalPremiumError):
            found.append((premium, None))
    return found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("motor", {"quoted", "referred", "declined", "refused"}),
        ("return_freight", {"quoted", "refused"}),
    ],
)
def test_service_batch_and_notebook_agree_to_the_fen(
    insurer, services, client, request, tmp_path, code, expected
):
    table = request.getfixturevalue({"motor": "motor", "return_freight": "freight"}[code])
    api = by_api(insurer, client, table)
    batch = by_batch(insurer, services, table, tmp_path)
    assert {row["status"] for row in api} >= expected
    assert api == batch  # status, codes, price, every step, and the bits of the risk premium
    notebook = by_notebook(insurer, services[code].product, table)
    quoted = 0
    for row, (premium, price) in zip(batch, notebook, strict=True):
        if row["premium"] is not None:
            assert row["premium"] == premium
        if row["status"] == "quoted":
            quoted += 1
            assert row["price"] == price
            assert sum(row["steps"].values()) == price
    assert quoted >= ROWS - 20


EVERY_STEP = """
relativities.fuel.levels = {{ petrol = "1", diesel = "1.07", electric = "0.931234" }}
relativities.annual_km.unknown = "1.02"
relativities.annual_km.curve = {{ reference = 12, exponent = 0.6, lowest = 3, highest = 40 }}
relativities.driver_age.bands = [
    {{ at_least = 18, below = 40, relativity = "1.05" }}, {{ at_least = 40, relativity = "0.95" }},
]
claims_inflation = {{ annual_rate = "0.035", base_date = 2025-01-01, target_date = 2026-07-01 }}
reinsurance = "0.015"
maximum_premium = "{maximum:.2f}"
renewal_cap = {{ rise = "0.12", fall = "0.08" }}
cover_cap.share = "{share:.6f}"
price_policy = {{ file = "by_fuel.json", sha256 = "{policy}", mode = "group" }}
"""
BY_FUEL = LivePolicy(
    PricePolicy(
        "group", (0.96, 1.0, 1.05), ("petrol", "diesel", "electric"), group_steps=(0, 1, 2), segment_by="fuel"
    ),
    None,
)
CHECKSUM = "0" * 64


@pytest.fixture(scope="module")
def every_step(insurer, services, motor, tmp_path_factory) -> RatingPlan:
    """The plan of motor with sub-channels and every step there is, each of which moves part of the book."""
    rows = by_batch(insurer, services, motor, tmp_path_factory.mktemp("plain"))
    low, high, higher = np.quantile([row["price"] for row in rows if row["price"]], [0.2, 0.8, 0.9]) / 100
    text = (insurer.settings.plans / "motor-2026-01.toml").read_text(encoding="utf-8")
    text = text.replace('agent = "0.15"', 'agent = { one = "0.12", two = "0.17" }')
    text = text.replace('minimum_premium = "100.00"', f'minimum_premium = "{low / 1.06:.2f}"')
    every = EVERY_STEP.format(maximum=high / 1.06, share=higher / 300_000, policy=CHECKSUM)
    plan = parse_definition(RatingPlan, text.replace("[expense]", f"{every}\n[expense]", 1), "every")
    assert not plan.product_problems(read_product(insurer.settings.products / "motor.toml"))
    return plan


def test_a_plan_with_every_step_prices_alike_and_its_quotes_are_replayed(
    insurer, services, motor, every_step, tmp_path
):
    rows = motor.to_pylist()
    without = "SELECT customer_id FROM customers ANTI JOIN policies USING (customer_id) ORDER BY 1 LIMIT 100"
    free = query(insurer, without)["customer_id"].to_pylist()  # who holds motor can only renew it
    for number, row in enumerate(rows):
        if number % 5 == 0:
            row["customer_id"] = free[number // 5]
        row["sub_channel"] = ["one", "two"][number % 2] if row["channel"] == "agent" else None
        row["premium_minor"] = None if number % 5 == 0 else row["premium_minor"]
    rows[2]["premium_minor"] = 900_000  # may not fall as far as the cover cap asks
    agents = [row for row in rows if row["channel"] == "agent"]
    agents[0]["sub_channel"], agents[1]["sub_channel"] = "three", None
    schema = motor.schema.append(pa.field("sub_channel", pa.string()))
    table = pa.Table.from_pylist(rows, schema=schema)

    changed = replace(services["motor"], plan=every_step, plans=(), policies={CHECKSUM: BY_FUEL})

    def opened():
        service = open_service(insurer.settings, clock=lambda: insurer.end)
        products = {**service.products, "motor": changed}
        service.generation = replace(service.generation, products=products)
        return service

    with TestClient(create_app(opened)) as client:
        api = by_api(insurer, client, table, renewal=True)
    batch = by_batch(insurer, {**services, "motor": changed}, table, tmp_path)
    assert api == batch
    codes = {code for row in api for code in row["codes"]}
    assert {"sub_channel:missing", "sub_channel:unknown", "limits_contradict"} <= codes
    used = {name for row in api for name in row["steps"]}
    assert used >= set(STEP_NAMES) - {"experience", "price_test", "bundle"}, "each step moves some price"
    registry = Registry(insurer.settings.registry)
    registry.archive.keep(every_step)
    store = open_sync_records(insurer.settings)
    replayed = [replay(quote_id, store, registry) for quote_id in newest(insurer, 60)]
    assert [found.first_difference for found in replayed] == [None] * 60
    assert {found.seal for found in replayed} == {"unchanged"}
    assert {found.quote.status for found in replayed} >= {"quoted", "referred"}
    store.close()


def newest(insurer, count: int) -> list[str]:
    with closing(sqlite3.connect(insurer.settings.quotes)) as con:
        rows = con.execute("SELECT quote_id FROM quotes ORDER BY rowid DESC LIMIT ?", [count])
        return [quote_id for (quote_id,) in rows]


def test_twisted_risks_end_as_their_product_file_says(insurer, client, motor):
    found = by_api(insurer, client, motor.slice(ROWS))
    outcomes = [(row["status"], row["codes"]) for row in found]
    assert outcomes[: len(MOTOR_TWISTS)] == [
        ("refused", ["driver_age:below"]),
        ("refused", ["driver_age:above"]),
        ("refused", ["vehicle_power:missing"]),
        ("refused", ["fuel:level"]),
        ("refused", ["fuel:missing", "region:level"]),
        ("refused", ["channel:unknown"]),
        ("referred", ["bonus_malus_high"]),
        ("referred", ["bonus_malus_high"]),
        ("quoted", []),
        ("quoted", []),
        ("quoted", []),
        ("quoted", []),
    ]
    for row, (_, status) in zip(found[len(MOTOR_TWISTS) :], YOUNG.values(), strict=True):
        assert (row["status"], row["codes"]) == (status, ["adult"] if status == "declined" else [])
        assert (row["premium"] is None) == (status == "declined")


@pytest.mark.parametrize("as_of", [dt.datetime(2026, 1, 1), dt.datetime(2025, 12, 9, 17, 41, 3, 123_457)])
def test_profiles_of_the_serving_store_are_those_of_the_compiler(insurer, as_of):
    spec = default_spec()
    pairs = query(
        insurer,
        "SELECT customer_id, seller_id, category FROM orders ORDER BY hash(order_id) LIMIT 400",
    ).to_pylist()
    pairs += [{"customer_id": 9_999_999, "seller_id": 9_999_999, "category": "boats"}]
    pairs += [{"customer_id": pairs[0]["customer_id"], "seller_id": None, "category": "toys"}]
    labels = pa.Table.from_pylist(pairs)
    labels = labels.append_column("row_id", pa.array(range(len(pairs)), pa.int64()))
    labels = labels.append_column("as_of", pa.array([as_of] * len(pairs), pa.timestamp("us")))
    with connect(insurer.settings.lake) as con:
        compiled = build_profiles(con, labels, spec, spec.names).drop_columns(["row_id"]).to_pylist()
    history = HistoryStore(insurer.settings.history)
    reader = ProfileReader(spec, spec.names, history)
    read = [reader.read(pair, as_of) for pair in pairs]
    history.close()
    assert [list(row.items()) for row in read] == [list(row.items()) for row in compiled]
    known = {name: sum(row[name] is not None for row in read) for name in spec.names}
    assert min(known.values()) > 0, [name for name, count in known.items() if not count]
    for name in ("category_orders_365d", "seller_orders_90d", "tenure_days"):
        assert len({row[name] for row in read}) > 3


def test_events_at_the_moment_of_the_quote_and_later_do_not_count(insurer):
    """A quote sees what came strictly before: at an order's own microsecond it is not yet there."""
    spec = default_spec()
    order = query(
        insurer, "SELECT customer_id, ordered_at FROM orders ORDER BY hash(order_id), order_id LIMIT 1"
    ).to_pylist()[0]
    history = HistoryStore(insurer.settings.history)
    reader = ProfileReader(spec, ["orders_365d"], history)
    at, after = (
        reader.read(order, order["ordered_at"] + dt.timedelta(microseconds=shift))["orders_365d"] or 0
        for shift in (0, 1)
    )
    history.close()
    assert after - at >= 1


def test_prices_differ_between_risks(services, insurer, motor, tmp_path):
    """The parity above would hold for a constant price; this one would not."""
    prices = [row["price"] for row in by_batch(insurer, services, motor, tmp_path) if row["price"]]
    assert np.std(prices) / np.mean(prices) > 0.2
