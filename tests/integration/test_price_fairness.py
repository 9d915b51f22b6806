"""Equal risk, equal price: nothing moves a price that neither product nor plan names."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
import warnings
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from data.store import connect
from features.load import default_spec
from serving.api import create_app
from serving.compose import load_services, open_service
from serving.records import open_sync_records
from serving.reprice import read_prices, reprice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

MOTOR = {
    "driver_age": 35,
    "vehicle_age": 3,
    "vehicle_power": 6,
    "bonus_malus": 100,
    "annual_km": 12.5,
    "fuel": "petrol",
    "region": "CN-GD",
}
FREIGHT = {"order_amount": 129.0, "category": "apparel"}
RISKS = {
    "motor": {"product": "motor", "channel": "direct", "risk": MOTOR},
    "return_freight": {"product": "return_freight", "channel": "platform", "seller_id": 50, "risk": FREIGHT},
}
FIRST = 5_000_000
FEW = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)
VALUE = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT
VALUE |= st.floats(allow_nan=False, allow_infinity=False)
NAMES = [
    "device",
    "campaign",
    "marketing_id",
    "minutes_on_page",
    "past_spending",
    "opt_out",
    "gender",
    "price",
]
CONTEXT = st.dictionaries(
    st.sampled_from([*NAMES, *MOTOR, *FREIGHT, "customer.age"]) | TEXT, VALUE, max_size=12
)
HEADER = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-./ "), min_size=1, max_size=40)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "user-agent": HEADER,
        "x-request-id": HEADER,
        "referer": HEADER,
        "accept-language": HEADER,
        "x-forwarded-for": HEADER,
        "cookie": HEADER.map(lambda text: "visits=" + text.strip()),
    },
)
PERSON = st.fixed_dictionaries(
    {
        "region": st.none() | st.sampled_from(["CN-GD", "CN-SH", "CN-BJ"]),
        "city_tier": st.none() | st.integers(1, 5),
        "birth_date": st.none() | st.dates(dt.date(1930, 1, 1), dt.date(2005, 1, 1)).map(str),
        "owned_seller_id": st.none() | st.integers(1, 2**40),
    }
)
SPENDING = st.lists(st.tuples(st.integers(0, 10**9), st.integers(10**6, 2 * 10**6)), min_size=3, max_size=3)
IDS = count(FIRST)


@pytest.fixture(scope="module")
def own_settings(insurer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service of its own over the simulated insurer: facts and events are written into it."""
    lake = tmp_path_factory.mktemp("fairness")
    for name in ("orders", "policies", "claims", "quotes", "customers", "_registry", "_fitted"):
        (lake / name).symlink_to(insurer.settings.lake / name)
    (lake / "_serving").mkdir()
    shutil.copy(insurer.settings.history, lake / "_serving")
    return insurer.settings.model_copy(update={"lake": lake})


@pytest.fixture(scope="module")
def client(insurer, own_settings) -> Iterator[TestClient]:
    with TestClient(create_app(lambda: open_service(own_settings, clock=lambda: insurer.end))) as opened:
        yield opened


def quote(client: TestClient, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = client.post("/v1/quotes", json=body, headers=headers or {})
    assert answer.status_code == 201, answer.text
    return answer.json()


def paid(given: dict[str, Any]) -> tuple[Any, ...]:
    """What the customer is offered, to the last step."""
    assert given["status"] == "quoted"
    ladder = [(step["step"], step["minor"]) for step in given["ladder"]]
    return given["price"]["minor"], ladder, given["score"], given["settlement"]


@pytest.mark.parametrize("product", list(RISKS))
@FEW
@given(context=CONTEXT, headers=HEADERS)
def test_what_the_channel_knows_beside_the_risk_is_stored_and_never_priced(
    client, own_settings, product, context, headers
):
    body = RISKS[product] | {"customer_id": 17}
    plain = quote(client, body)
    given = quote(client, body | {"context": context}, headers)
    assert paid(given) == paid(plain)
    own = {"quote_id": "", "certificate": None}  # a certificate is of its quote
    assert {**given, **own} == {**plain, **own}
    store = open_sync_records(own_settings)
    assert store.get(given["quote_id"]).body["request"]["context"] == context
    store.close()


@pytest.mark.parametrize("product", list(RISKS))
@FEW
@given(person=PERSON, spending=SPENDING, other=SPENDING)
def test_who_somebody_is_and_what_they_spent_does_not_move_the_price(
    client, own_settings, product, person, spending, other
):
    """Two newcomers with as many orders of the same days; what differs is named nowhere."""
    named = {"amount_minor": 9_900} if product == "return_freight" else {}  # it names what was spent
    prices = []
    for orders, facts in ((spending, None), (other, person)):
        customer = next(IDS)
        if facts is not None:
            with sqlite3.connect(own_settings.history) as store:
                columns = ", ".join(facts)
                store.execute(
                    f"INSERT INTO facts (customer_id, {columns}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
                    (customer, *facts.values()),
                )
            store.close()
        events = [
            {
                "type": "order",
                "event_id": f"{product}{customer}-{day}",
                "order_id": customer * 10 + day,
                "customer_id": customer,
                "seller_id": seller,
                "category": "home",
                "amount_minor": amount,
                "ordered_at": f"2025-12-1{day}T08:00:00",
            }
            | named
            for day, (amount, seller) in enumerate(orders)
        ]
        assert client.post("/v1/events", json={"events": events}).json()["counts"] == {"accepted": 3}
        prices.append(quote(client, RISKS[product] | {"customer_id": customer}))
    assert prices[0]["profile"] == prices[1]["profile"]
    assert paid(prices[0]) == paid(prices[1])


@pytest.mark.parametrize("product", list(RISKS))
@FEW
@given(customer=st.integers(1, 30_000), other=st.integers(1, 30_000))
def test_whoever_opts_out_pays_what_everybody_pays_who_opts_out(client, product, customer, other):
    """Opting out takes history away: what is left is the same for all, and the choice itself is free."""
    out = RISKS[product] | {"withdrawn_purposes": ["pricing"]}
    given = [quote(client, out | {"customer_id": who}) for who in (customer, other)]
    for one in given:
        if one["status"] == "declined":
            assert [outcome["code"] for outcome in one["outcomes"]] == ["already_held"]
    assume(all(one["status"] == "quoted" for one in given))
    assert set(given[0]["profile"].values()) - {given[0]["profile"].get("seller_frailty")} <= {None}
    assert paid(given[0]) == paid(given[1])
    stated = quote(client, RISKS[product] | {"customer_id": customer})
    unpriced = quote(
        client, RISKS[product] | {"customer_id": customer, "withdrawn_purposes": ["recommendation"]}
    )
    assert paid(stated) == paid(unpriced)


def test_a_purpose_that_does_not_exist_is_refused_rather_than_nothing_withheld(client):
    """`Pricing` for `pricing` would price with the history that the customer has closed."""
    asked = RISKS["motor"] | {"customer_id": 17, "withdrawn_purposes": ["pricing", "Pricing"]}
    answer = client.post("/v1/quotes", json=asked)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == "/withdrawn_purposes/1"
    assert (fault["value"], fault["allowed"]) == ("Pricing", "one of pricing, recommendation")


def test_named_inputs_do_move_the_price_and_unknown_ones_are_refused(client):
    """The properties above would hold for a price that nothing moves."""
    base = RISKS["motor"] | {"customer_id": 17}
    young = base | {"risk": MOTOR | {"driver_age": 19}}
    assert quote(client, young)["price"] != quote(client, base)["price"]
    assert quote(client, base | {"context": {"driver_age": 19}})["price"] == quote(client, base)["price"]
    freight = [quote(client, RISKS["return_freight"] | {"customer_id": who})["price"] for who in range(1, 40)]
    assert len({price["minor"] for price in freight}) > 3
    refused = client.post("/v1/quotes", json=base | {"risk": MOTOR | {"device": "phone"}})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/risk/device"
    assert client.post("/v1/quotes", json=base | {"device": "phone"}).status_code == 422
    many = {f"name{i}": i for i in range(51)}
    assert client.post("/v1/quotes", json=base | {"context": many}).status_code == 422


def test_columns_that_nobody_names_do_not_move_a_batch(insurer, own_settings, tmp_path: Path) -> None:
    spec = default_spec()
    services, _ = load_services(own_settings, spec, insurer.end.date())
    product = services["motor"].product
    factors = ", ".join(factor.name for factor in product.factors)
    with connect(own_settings.lake) as con:
        table = con.sql(
            f"SELECT policy_id, product, channel, customer_id, premium_minor, {factors} FROM policies "  # noqa: S608
            "WHERE product = 'motor' ORDER BY policy_id LIMIT 80"
        ).to_arrow_table()
        found = []
        rng = np.random.default_rng(1)
        for extra in (False, True):
            if extra:
                for name in NAMES:
                    table = table.append_column(name, pa.array(rng.integers(0, 9, 80)))
            path = tmp_path / f"{extra}.parquet"
            pq.write_table(table, path)
            reprice(path, tmp_path / f"out{extra}", services, spec, con, insurer.end, lake=own_settings.lake)
            found.append(read_prices(tmp_path / f"out{extra}"))
    assert found[0].equals(found[1])
