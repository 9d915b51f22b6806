"""A bundle is one offer: the exact sum of its members, stored whole or not at all, alike in batch."""

from __future__ import annotations

import asyncio
import warnings
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.store import connect
from features.load import default_spec
from models.registry import Registry
from pricing.bundles import Bundle, read_bundles
from pricing.errors import DefinitionError
from pricing.ladder import settle
from serving.access.caller import OPEN
from serving.api import create_app
from serving.bundles import price_bundle, together
from serving.compose import load_services, open_service
from serving.errors import StoreError
from serving.records import Write, open_sync_records
from serving.replay import replay
from serving.reprice import read_prices, reprice
from serving.wire import BundleRequest

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

MOTOR = {
    "driver_age": 35,
    "vehicle_age": 3,
    "vehicle_power": 7,
    "bonus_malus": 60,
    "annual_km": 12.0,
    "fuel": "petrol",
    "region": "CN-GD",
}
FLIGHT = {"month": 6, "departure_hour": 9, "airline": "A1", "distance_km": 900.0}


@pytest.fixture(scope="module")
def services(insurer):
    return load_services(insurer.settings, default_spec())[0]


@pytest.fixture
def service(insurer):
    with closing(open_service(insurer.settings, clock=lambda: insurer.end)) as opened:
        yield opened


@pytest.fixture
def client(insurer):
    with TestClient(create_app(lambda: open_service(insurer.settings, clock=lambda: insurer.end))) as opened:
        yield opened


@pytest.fixture(scope="module")
def customer(insurer) -> int:
    """Somebody of age who holds nothing."""
    query = """SELECT min(customer_id) FROM customers ANTI JOIN policies USING (customer_id)
        WHERE birth_date < DATE '1990-01-01'"""
    with connect(insurer.settings.lake) as con:
        return con.sql(query).fetchall()[0][0]


def body(customer: int, **motor) -> dict:
    return {
        "bundle": "journey",
        "channel": "direct",
        "customer_id": customer,
        "members": {"motor": {"risk": MOTOR | motor}, "flight_delay": {"risk": FLIGHT}},
    }


def test_a_bundle_is_the_exact_sum_of_its_members_and_each_is_replayed(insurer, services, client, customer):
    found = client.post("/v1/quotes:bundle", json=body(customer))
    assert found.status_code == 201, found.text
    given = found.json()
    assert given["status"] == "quoted"
    assert given["price"]["minor"] == sum(quote["price"]["minor"] for quote in given["quotes"])
    ids = [quote["quote_id"] for quote in given["quotes"]]
    with closing(open_sync_records(insurer.settings)) as records:
        for quote in given["quotes"]:
            steps = {step["step"]: step["minor"] for step in quote["ladder"]}
            filed = quote["product"] == "flight_delay"  # the plan of motor names no bundle: no discount
            assert steps.get("bundle", 0) < 0 if filed else "bundle" not in steps
            assert sum(steps.values()) == quote["price"]["minor"]
            terms = services[quote["product"]].plan.terms("direct")
            assert (
                settle(quote["price"]["minor"], terms).commission_minor
                == (quote["settlement"]["commission"]["minor"])
            )
            assert quote["bundle_id"] == given["bundle_id"]
            assert quote["expires_at"] >= given["expires_at"]
            assert client.get(f"/v1/quotes/{quote['quote_id']}").json()["bundle_id"] == given["bundle_id"]
            assert together(records.get(quote["quote_id"]).body) == tuple(ids)
            replayed = replay(quote["quote_id"], records, Registry(insurer.settings.registry))
            assert replayed.first_difference is None
            # By itself the cover is dearer, and has no such step.
            alone = {key: quote[key] for key in ("product", "channel", "customer_id")}
            single = client.post("/v1/quotes", json=alone | {"risk": quote["risk"]}).json()
            assert (single["price"]["minor"] > quote["price"]["minor"]) == filed
            assert single["price"]["minor"] >= quote["price"]["minor"]
            assert "bundle" not in {step["step"] for step in single["ladder"]}


def test_a_batch_gives_the_cents_of_the_members(insurer, services, client, customer, tmp_path):
    wanted, rows = [], {"motor": [], "flight_delay": []}
    for age in (25, 35, 60, 80):
        for code, risk in (("motor", MOTOR | {"driver_age": age}), ("flight_delay", FLIGHT)):
            row = {"product": code, "channel": "direct", "customer_id": customer}
            rows[code] += [row | risk | {"bundle": "journey"}, row | risk | {"bundle": None}]
        given = client.post("/v1/quotes:bundle", json=body(customer, driver_age=age)).json()
        wanted.append({quote["product"]: quote["price"]["minor"] for quote in given["quotes"]})
    spec = default_spec()
    for code, own in rows.items():
        pq.write_table(pa.Table.from_pylist(own), tmp_path / f"{code}.parquet")
        with connect(insurer.settings.lake) as con:
            source, out = tmp_path / f"{code}.parquet", tmp_path / code
            reprice(source, out, services, spec, con, insurer.end, lake=insurer.settings.lake)
        priced = read_prices(out).sort_by("row")
        assert priced["price_minor"].to_pylist()[::2] == [one[code] for one in wanted]
        steps = priced["step_bundle_minor"].to_pylist()
        assert all((step < 0) == (code == "flight_delay") for step in steps[::2])
        assert not any(steps[1::2])


def test_a_member_without_a_price_leaves_no_bundle_and_no_discount(client, customer):
    given = client.post("/v1/quotes:bundle", json=body(customer, bonus_malus=220)).json()
    assert (given["status"], given["bundle_id"], given["price"]) == ("referred", None, None)
    flight = given["quotes"][1]
    assert (flight["status"], flight["bundle_id"]) == ("quoted", None)
    assert "bundle" not in {step["step"] for step in flight["ladder"]}


def test_all_quotes_are_stored_or_none(insurer, service, customer):
    priced = price_bundle(service, BundleRequest.model_validate(body(customer)), OPEN).write.quotes
    asyncio.run(service.records.commit(Write(quotes=(priced[1],))))
    with pytest.raises(StoreError):  # the second is there already, so the first is not stored either
        asyncio.run(service.records.commit(Write(quotes=priced)))
    with closing(open_sync_records(insurer.settings)) as records:
        stored = {record.quote_id for record in records.of_product("motor")}
    assert priced[0].quote_id not in stored


def test_who_accepts_one_member_accepts_all_or_none(client, customer):
    quotes = client.post("/v1/quotes:bundle", json=body(customer)).json()["quotes"]
    prices = [{"price_minor": quote["price"]["minor"]} for quote in quotes]
    urls = [f"/v1/quotes/{quote['quote_id']}" for quote in quotes]
    assert client.post(f"{urls[0]}/accept", json={"price_minor": 1}).status_code == 409
    assert client.post(f"{urls[0]}/accept", json=prices[0]).status_code == 200
    for url, price in zip(urls, prices, strict=True):
        found = client.get(url).json()
        assert (found["status"], found["accepted_price_minor"]) == ("accepted", price["price_minor"])
    again = client.post("/v1/quotes:bundle", json=body(customer)).json()["quotes"]
    urls = [f"/v1/quotes/{quote['quote_id']}" for quote in again]
    assert client.post(f"{urls[1]}/decline", json={"reason": "price"}).status_code == 200
    assert client.post(f"{urls[0]}/accept", json=prices[0]).status_code == 409
    assert client.get(urls[0]).json()["status"] == "quoted"


@pytest.mark.parametrize(
    ("change", "kind", "pointer"),
    [
        ({"bundle": "journy"}, "unknown-bundle", "/bundle"),
        ({"bundle": "road_and_body"}, "unknown-bundle", "/bundle"),  # accident is not in service
        ({"members": {"motor": {"risk": MOTOR}}}, "bundle-members", "/members"),
        (
            {"members": {"motor": {"risk": MOTOR | {"driver_age": 9}}, "flight_delay": {"risk": FLIGHT}}},
            "bundle-member",
            "/members/motor/risk/driver_age",
        ),
        (
            {"members": {"motor": {"risk": MOTOR, "needs": {"x": 1}}, "flight_delay": {"risk": FLIGHT}}},
            "bundle-member",
            "/members/motor/needs/x",
        ),
        ({"channel": "fax"}, "bundle-member", "/channel"),
    ],
)
def test_what_cannot_be_priced_is_pointed_at(client, customer, change, kind, pointer):
    answer = client.post("/v1/quotes:bundle", json=body(customer) | change)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["type"].endswith(kind)
    assert problem["errors"][0]["pointer"] == pointer


def test_recommendations_list_bundles_of_what_may_be_bought(client, customer, insurer):
    ask = {"customer_id": customer, "scene": "trip"}
    assert [one["bundle"] for one in client.post("/v1/recommendations", json=ask).json()["bundles"]] == [
        "journey"
    ]
    assert client.post("/v1/recommendations", json=ask | {"scene": "order"}).json()["bundles"] == []
    with connect(insurer.settings.lake) as con:
        holder = con.sql(
            "SELECT min(customer_id) FROM policies "
            "WHERE product = 'motor' AND expiry_at > TIMESTAMP '2026-01-02'"
        ).fetchall()[0][0]
    asked = client.post("/v1/recommendations", json=ask | {"customer_id": holder}).json()
    assert asked["bundles"] == []


def test_faulty_bundles_are_refused_or_passed_over(services, tmp_path):
    products = {code: one.product for code, one in services.items()}
    journey = {"code": "journey", "version": 1, "name": {"en": "J", "zh": "旅"}}
    assert not Bundle(**journey, members=("motor", "flight_delay")).problems(products)
    assert "not in service" in Bundle(**journey, members=("motor", "pet")).problems(products)[0]
    twin = products | {"other": products["motor"]}
    assert "share a need" in Bundle(**journey, members=("motor", "other")).problems(twin)[0]
    path = tmp_path / "trip.toml"
    path.write_text('code = "journey"\nversion = 1\nname = { en = "J", zh = "J" }\nmembers = ["a", "b"]\n')
    with pytest.raises(DefinitionError, match="name of the file"):
        read_bundles(tmp_path)
    path.write_text(path.read_text().replace('"b"', '"a"'))
    with pytest.raises(DefinitionError, match="repeated"):
        read_bundles(tmp_path)
