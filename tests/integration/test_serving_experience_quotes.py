"""Own claims through the whole service: events, quotes, consents, batch, ingest, sync and replay agree."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import sqlite3
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.simulate import simulate
from data.store import connect
from features.load import default_spec
from models.registry import Registry
from pricing.ladder import STEP_NAMES
from serving.api import create_app
from serving.compose import find_product, load_services, open_service
from serving.ingest_live import ingest_live
from serving.jobs import sync_serving, train_product, withdrawn_consents
from serving.records import open_sync_records
from serving.replay import replay
from serving.reprice import read_prices, reprice
from serving.settings import REFERENCE, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = pytest.mark.slow

SPEC = default_spec()
END = dt.datetime(2026, 1, 1)
NOW = dt.datetime(2026, 1, 9, 12, 30)
CODE = "phone_screen"
ROWS = 120
QUICK = """
[models]
families = ["glm"]
champion = "glm"

[promotion]
least_claims = 1
least_d2 = -0.9
lowest_ae = 0.01
highest_ae = 99.0

[offer]"""


class SetClock:
    """A clock that stands where it is put."""

    def __init__(self, now: dt.datetime) -> None:
        self.now = now

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small insurer with the shipped phone_screen in service, as of END."""
    lake, products = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("products")
    text = (REFERENCE / "products" / f"{CODE}.toml").read_text(encoding="utf-8")
    (products / f"{CODE}.toml").write_text(text.replace("\n[offer]", QUICK, 1), encoding="utf-8")
    settings = Settings(lake=lake, products=products, clock=END, author="A. Author")
    simulate(lake, 40_000, 5, orders_per_customer=3)
    outcome = train_product(find_product(settings, CODE), settings, SPEC, as_of=END, approver="B. Approver")
    assert outcome.promoted, outcome.verdict
    sync_serving(settings, SPEC, END)
    return settings


@pytest.fixture
def settings(home: Settings, tmp_path: Path) -> Settings:
    """The same in a folder that a test may change."""
    lake = tmp_path / "lake"
    shutil.copytree(home.lake, lake)
    return home.model_copy(update={"lake": lake})


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOW)


@pytest.fixture
def client(settings: Settings, clock: SetClock) -> Iterator[TestClient]:
    with TestClient(create_app(lambda: open_service(settings, clock=clock))) as opened:
        yield opened


def portfolio(settings: Settings) -> pa.Table:
    """Policies of customers with claims and without."""
    product = find_product(settings, CODE)
    factors = ", ".join(factor.name for factor in product.factors)
    with connect(settings.lake) as con:
        return con.sql(
            f"""SELECT policy_id, product, channel, customer_id, seller_id, premium_minor, {factors}
            FROM policies WHERE product = '{CODE}' AND phone_age_months <= 36
            QUALIFY row_number() OVER (
                PARTITION BY customer_id IN (SELECT customer_id FROM claims WHERE product = '{CODE}')
                ORDER BY hash(policy_id), policy_id) <= {ROWS // 2}
            ORDER BY policy_id"""  # noqa: S608
        ).to_arrow_table()


Found = tuple[str, int | None, dict[str, int]]


def by_api(client: TestClient, table: pa.Table) -> list[Found]:
    found: list[Found] = []
    names = ("policy_id", "product", "channel", "customer_id", "seller_id", "premium_minor")
    for row in table.to_pylist():
        risk = {name: value for name, value in row.items() if name not in names}
        body = {"product": CODE, "channel": row["channel"], "customer_id": row["customer_id"], "risk": risk}
        body["expiring_premium_minor"] = row["premium_minor"]
        answer = client.post("/v1/quotes", json=body)
        assert answer.status_code == 201, answer.text
        given = answer.json()
        price = None if given["price"] is None else given["price"]["minor"]
        found.append((given["status"], price, {step["step"]: step["minor"] for step in given["ladder"]}))
    return found


def by_batch(settings: Settings, table: pa.Table, folder: Path, as_of: dt.datetime) -> list[Found]:
    source, out = folder / "portfolio.parquet", folder / "out"
    pq.write_table(table, source)
    services, reasons = load_services(settings, SPEC, as_of.date())
    assert not reasons
    with connect(settings.lake) as con:
        reprice(
            source,
            out,
            services,
            SPEC,
            con,
            as_of,
            lake=settings.lake,
            withdrawn=withdrawn_consents(settings, SPEC),
        )
    rows = read_prices(out).sort_by("row").to_pylist()
    found: list[Found] = []
    for row in rows:
        steps = {name: row[f"step_{name}_minor"] for name in STEP_NAMES if row[f"step_{name}_minor"]}
        found.append((row["status"], row["price_minor"], steps))
    return found


def shown(rows: list[Found]) -> list[Found]:
    """Leave out steps of nothing, which a batch has for all plans and a quote for its own."""
    return [(status, price, {k: v for k, v in steps.items() if v}) for status, price, steps in rows]


def claim(customer: int, number: int, days_ago: int) -> dict[str, Any]:
    at = NOW - dt.timedelta(days=days_ago)
    return {
        "type": "claim",
        "event_id": f"claim-{number}",
        "claim_id": 10**15 + number,
        "policy_id": None,
        "product": CODE,
        "customer_id": customer,
        "paid_minor": 30_000,
        "occurred_at": (at - dt.timedelta(days=1)).isoformat(),
        "reported_at": at.isoformat(),
    }


def test_events_quotes_batch_and_a_new_snapshot_agree_to_the_fen(
    settings: Settings, client: TestClient, clock: SetClock, tmp_path: Path
) -> None:
    table = portfolio(settings)
    before = by_api(client, table)
    assert shown(before) == by_batch(settings, table, tmp_path, NOW)
    moved = {steps["experience"] for _, _, steps in before if steps}
    assert min(moved) < 0 < max(moved)
    with connect(settings.lake) as con:
        query = "SELECT customer_id, min(policy_id) FROM policies WHERE product = $code GROUP BY 1"
        policy = dict(con.sql(query, params={"code": CODE}).fetchall())
    customers = sorted(set(table["customer_id"].to_pylist()))[:40]
    events = [
        claim(who, number, 1 + number % 7) | {"policy_id": policy[who]}
        for number, who in enumerate(customers)
    ]
    assert client.post("/v1/events", json={"events": events}).json()["counts"] == {"accepted": 40}
    after = by_api(client, table)
    dearer = [
        now > then
        for (_, then, _), (_, now, _), who in zip(
            before, after, table["customer_id"].to_pylist(), strict=True
        )
        if then is not None and now is not None and who in customers
    ]
    assert all(dearer)
    assert len(dearer) >= 35
    assert shown(by_batch(settings, table, tmp_path, NOW)) == shown(before)  # the lake does not know yet
    ingest_live(settings, SPEC, NOW)
    assert by_batch(settings, table, tmp_path, NOW) == shown(after)
    sync_serving(settings, SPEC, NOW)
    with TestClient(create_app(lambda: open_service(settings, clock=clock))) as fresh:
        assert by_api(fresh, table) == after


def test_the_quote_says_what_own_claims_do_and_replays_to_the_fen(
    settings: Settings, client: TestClient
) -> None:
    table = portfolio(settings)
    prices = [price or 10**9 for _, price, _ in by_api(client, table)]
    row = table.slice(prices.index(min(prices)), 1).to_pylist()[0]  # far from the end of the corridor
    risk = {name: row[name] for name in ("phone_price", "phone_age_months", "phone_class")}
    body = {"product": CODE, "channel": row["channel"], "customer_id": row["customer_id"], "risk": risk}
    body["expiring_premium_minor"] = row["premium_minor"]
    events = [claim(row["customer_id"], number, number) for number in range(3)]  # the first: not before now
    client.post("/v1/events", json={"events": events})
    given = client.post("/v1/quotes", json=body).json()
    reason = next(item for item in given["reasons"] if item["input"] == "experience")
    assert reason["relativity"] > 1.2
    assert reason["text"]["en"].startswith("own claims 2 where 0.")
    assert re.search(r" where 0[.0-9]* expected, credibility 0[.][0-2]", reason["text"]["en"])
    assert reason["text"]["en"].endswith(f": x {reason['relativity']:.2f}")
    assert reason["text"]["zh"].startswith("本人出险")
    assert given["status"] == "quoted", given["outcomes"]
    step = next(item for item in given["ladder"] if item["step"] == "experience")
    assert step["minor"] > 0
    with closing(open_sync_records(settings)) as store:
        own = store.get(given["quote_id"]).body["own"]
        assert own["relativity"] == round(reason["relativity"] * 1e6)
        found = replay(given["quote_id"], store, Registry(settings.registry))
    assert found.first_difference is None
    assert any(line.name == "experience" and line.stored for line in found.lines)


def test_without_consent_own_claims_are_not_looked_at(
    settings: Settings, client: TestClient, tmp_path: Path
) -> None:
    table = portfolio(settings).slice(0, 4)
    for who in table["customer_id"].to_pylist()[:2]:
        answer = client.put(f"/v1/customers/{who}/consents/pricing", json={"granted": False})
        assert answer.status_code == 200, answer.text
    api = by_api(client, table)
    assert [steps["experience"] == 0 for _, _, steps in api] == [True, True, False, False]
    assert shown(api) == by_batch(settings, table, tmp_path, NOW)
    row = table.slice(0, 1).to_pylist()[0]
    risk = {name: row[name] for name in ("phone_price", "phone_age_months", "phone_class")}
    body = {"product": CODE, "channel": row["channel"], "customer_id": row["customer_id"], "risk": risk}
    assert "experience" in client.post("/v1/quotes", json=body).json()["withheld"]


def test_a_store_made_with_another_model_takes_the_product_out_of_service(
    settings: Settings, clock: SetClock
) -> None:
    with closing(sqlite3.connect(settings.history)) as store, store:
        store.execute("UPDATE own_products SET made_with = replace(made_with, 'shape=', 'shape=1')")
    with closing(open_service(settings, clock=clock)) as service:
        assert "sums of another model or product file" in service.out_of_service[CODE]
        assert CODE not in service.products
    sync_serving(settings, SPEC, END)
    with closing(open_service(settings, clock=clock)) as service:
        assert CODE in service.products
