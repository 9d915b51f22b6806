"""Next best action through the service and in batch."""

from __future__ import annotations

import datetime as dt
import warnings

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data.store import connect
from features.load import default_spec
from serving.api import create_app
from serving.cli import app
from serving.compose import open_service
from serving.contacts import ContactLog
from serving.offer_jobs import fit_offer_model, write_actions

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


@pytest.fixture(scope="module")
def fitted(insurer):
    if not insurer.settings.propensities.is_file():
        fit_offer_model(insurer.settings, default_spec(), insurer.end)
    return insurer


@pytest.fixture
def client(fitted):
    noon = fitted.end + dt.timedelta(hours=4)
    fitted.settings.contacts.unlink(missing_ok=True)
    with TestClient(create_app(lambda: open_service(fitted.settings, clock=lambda: noon))) as opened:
        yield opened
    fitted.settings.contacts.unlink(missing_ok=True)


def people(insurer, n: int) -> list[int]:
    """Customers of age who hold nothing."""
    query = """SELECT customer_id FROM customers ANTI JOIN policies USING (customer_id)
        WHERE birth_date < DATE '1990-01-01' ORDER BY 1 LIMIT $n"""
    with connect(insurer.settings.lake) as con:
        return [row[0] for row in con.sql(query, params={"n": n}).fetchall()]


def ask(client, customer, **more):
    answer = client.post("/v1/next-best-action", json={"customer_id": customer} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_contacts_stop_at_the_cap_and_after_a_decline(client, fitted):
    tried = ((one, ask(client, one)) for one in people(fitted, 400))
    customer, found = next(pair for pair in tried if pair[1]["action"] == "contact")
    made: list[str] = []
    while found["action"] == "contact":
        assert found["expected_value_minor"] >= 0
        assert found["product"]
        assert found["reasons"]
        made.append(found["channel"])
        assert len(made) < 50
        found = ask(client, customer)
    caps = {"direct": 2, "platform": 7, "agent": 1}
    assert all(made.count(channel) <= caps[channel] for channel in caps)
    assert found["code"] in {"contact_cap", "not_worth_a_contact"}
    # Whoever declines a quote is left in peace.
    other = people(fitted, 401)[400]
    quote = client.post(
        "/v1/quotes", json={"product": "motor", "channel": "direct", "customer_id": other, "risk": MOTOR}
    ).json()
    declined = client.post(f"/v1/quotes/{quote['quote_id']}/decline", json={"reason": "price"})
    assert declined.status_code == 200, declined.text
    assert (ask(client, other)["action"], ask(client, other)["code"]) == ("nothing", "cool_down")


def test_without_consent_or_at_night_nobody_is_contacted(client, fitted):
    customer = people(fitted, 3)[2]
    consents = f"/v1/customers/{customer}/consents/recommendation"
    client.put(consents, json={"granted": False})
    found = ask(client, customer)
    client.put(consents, json={"granted": True})
    assert (found["action"], found["code"]) == ("nothing", "no_consent")
    night = fitted.end + dt.timedelta(hours=18)
    with TestClient(create_app(lambda: open_service(fitted.settings, clock=lambda: night))) as late:
        refused = {one["channel"]: one["code"] for one in ask(late, customer)["refused"]}
    assert refused == {"direct": "outside_hours", "agent": "outside_hours"}


def test_the_margin_of_the_risk_at_hand_counts_and_is_flagged(client, fitted):
    customer = people(fitted, 4)[3]
    risks = {"motor": MOTOR}
    plain = client.post("/v1/recommendations", json={"customer_id": customer, "k": 5}).json()
    asked = {"customer_id": customer, "k": 5, "channel": "direct", "risks": risks}
    found = client.post("/v1/recommendations", json=asked).json()
    assert {one["product"] for one in plain["offers"]} == {one["product"] for one in found["offers"]}
    assert {one["product"]: one["margin_basis"] for one in found["offers"]}["motor"] == "customer"
    assert {one["margin_basis"] for one in plain["offers"]} == {"product"}
    wrong = {"motor": MOTOR | {"driver_age": 9}}
    for path, body in (
        ("/v1/recommendations", asked | {"risks": wrong}),
        ("/v1/next-best-action", {"customer_id": customer, "risks": wrong}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == "/risks/motor/driver_age"


def test_a_plan_for_everybody_keeps_to_the_log(fitted, tmp_path):
    first, second = people(fitted, 2)
    log = ContactLog(fitted.settings.contacts)
    log.decline(first, fitted.end)
    log.close()
    out = tmp_path / "actions.parquet"
    rows = write_actions(fitted.settings, default_spec(), fitted.end, out)
    fitted.settings.contacts.unlink()
    table = pq.read_table(out).to_pandas().set_index("customer_id")
    assert len(table) == rows
    assert table.loc[first, "nothing_because"] == "no_channel_allowed"
    acted = table["nothing_because"].isna()
    assert acted.any()
    assert (table.loc[acted, "expected_value_minor"] > 0).all()
    assert table.loc[~acted, ["channel", "product"]].isna().all().all()
    assert set(table.loc[acted, "channel"]) <= {"direct", "platform", "agent"}
    assert second in table.index
    absent = CliRunner().invoke(app, ["actions", "--out", str(out), "--lake", str(tmp_path)])
    assert absent.exit_code == 1
