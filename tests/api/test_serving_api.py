"""Every route over HTTP: what it answers, what it refuses, and how."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import re
import warnings
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pricing.errors
import serving.errors
from data.store import connect
from features.load import default_spec
from models.bundle import Bundle
from pricing.errors import PlanNotEffectiveError, PricingError
from serving.api import create_app
from serving.compose import open_service
from serving.errors import ServingError
from serving.history import build_history
from serving.life_cycle import QuoteLife
from serving.problems import MEDIA_TYPE, PROBLEMS
from serving.records import RecordStore, open_sync_records
from serving.service import QuoteService
from serving.settings import Settings
from serving.snapshot import customer_features

if TYPE_CHECKING:
    from collections.abc import Iterator

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

NOBODY = 9_999_999
MOTOR = {
    "driver_age": 35,
    "vehicle_age": 3,
    "vehicle_power": 6,
    "bonus_malus": 100,
    "annual_km": 12.5,
    "fuel": "petrol",
    "region": "CN-GD",
}
BODY = {"product": "motor", "channel": "direct", "customer_id": 17, "risk": MOTOR}
FREIGHT = {
    "product": "return_freight",
    "channel": "platform",
    "customer_id": 17,
    "seller_id": 50,
    "risk": {"order_amount": 129.0, "category": "apparel"},
}


class SetClock:
    """A clock that stands where it is put."""

    def __init__(self, now: dt.datetime) -> None:
        self.now = now

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock(insurer, shared_clock) -> SetClock:
    shared_clock.now = insurer.end
    return shared_clock


@pytest.fixture(scope="module")
def shared_clock(insurer) -> SetClock:
    return SetClock(insurer.end)


@pytest.fixture(scope="module")
def opened(insurer, shared_clock) -> Iterator[TestClient]:
    app = create_app(lambda: open_service(insurer.settings, clock=shared_clock))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(opened, clock) -> TestClient:
    return opened


def problem(answer: Any, status: int, kind: str) -> list[dict[str, Any]]:
    """Check the form of a problem and give its faults."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "instance", "trace_id", "errors", "links"}
    assert body["trace_id"] == answer.headers["traceparent"].split("-")[1]
    assert body["type"].rsplit("/", 1)[-1] == kind
    assert body["status"] == status
    assert body["instance"] == answer.request.url.path
    assert body["title"]
    assert body["detail"]
    return body["errors"]


def quote(client: TestClient, body: dict[str, Any] = BODY, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/quotes", json=body | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


# --- answers ----------------------------------------------------------------------------------------------


def test_a_quote_says_what_it_costs_why_and_by_which_versions(client, clock, insurer):
    answer = client.post("/v1/quotes", json=BODY)
    given = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/quotes/{given['quote_id']}"
    assert given["status"] == "quoted"
    assert given["customer_known"] is True
    end = insurer.end.replace(tzinfo=dt.UTC)
    assert dt.datetime.fromisoformat(given["as_of"]) == end
    assert dt.datetime.fromisoformat(given["expires_at"]) - end == dt.timedelta(days=7)
    assert given["risk"] == MOTOR
    assert list(given["profile"]) == ["claims_1095d", "orders_365d", "return_share_365d", "tenure_days"]
    versions = given["versions"]
    assert versions["filing"] == "PREMIA-MOTOR-2026-001"
    assert versions["model"] == "ga2m"
    assert versions["model_version"] == "1"
    for name in ("product_hash", "plan_hash", "model_hash"):
        assert re.fullmatch(r"[0-9a-f]{64}", versions[name]), name
    assert versions["feature_spec_hash"]


@pytest.mark.parametrize("body", [BODY, FREIGHT], ids=["motor", "return_freight"])
def test_money_is_decimal_text_and_minor_units_and_the_ladder_adds_up(client, body):
    given = quote(client, body)
    price = given["price"]
    assert price["currency"] == "CNY"
    assert sum(step["minor"] for step in given["ladder"]) == price["minor"]
    assert [step["step"] for step in given["ladder"]][0::7] == ["risk_premium", "rounding"]
    for entry in (price, *given["ladder"]):
        assert isinstance(entry["minor"], int)
        assert re.fullmatch(r"-?\d+\.\d{2}", entry["amount"])
        assert Decimal(entry["amount"]) * 100 == entry["minor"]


@pytest.mark.parametrize("body", [BODY, FREIGHT], ids=["motor", "return_freight"])
def test_what_is_owed_adds_up_to_the_price_and_names_the_payee(client, body):
    given = quote(client, body)
    owed = given["settlement"]
    assert owed["payee"] == body["channel"]
    assert sum(owed[part]["minor"] for part in ("tax", "commission", "kept")) == given["price"]["minor"]
    assert owed["tax"]["minor"] == round(given["price"]["minor"] * 6 / 106)
    payees = {step["step"]: step["payee"] for step in given["ladder"]}
    assert {name for name, payee in payees.items() if payee} == {"commission"}
    assert payees["commission"] == body["channel"]


def test_a_sub_channel_that_the_plan_does_not_name_and_an_expiring_premium_of_nothing_are_refused(client):
    (fault,) = problem(
        client.post("/v1/quotes", json=BODY | {"sub_channel": "shop_7"}), 422, "unknown-channel"
    )
    assert (fault["pointer"], fault["code"], fault["value"]) == ("/sub_channel", "unknown", "shop_7")
    assert fault["allowed"] == "none; leave it out"
    (fault,) = problem(
        client.post("/v1/quotes", json=BODY | {"expiring_premium_minor": 0}), 422, "invalid-request"
    )
    assert fault["pointer"] == "/expiring_premium_minor"
    assert quote(client, BODY | {"expiring_premium_minor": 250_000})["expiring_premium_minor"] == 250_000


@pytest.mark.parametrize("premium", [float("nan"), float("inf"), 0.0, -1.0, 1e15])
def test_a_model_without_a_usable_result_refers_and_never_prices(insurer, monkeypatch, premium):
    def broken(self, risk, profile):
        return replace(score_one(self, risk, profile), risk_premium_minor=premium)

    score_one = Bundle.score_one
    with TestClient(create_app(lambda: open_service(insurer.settings, clock=lambda: insurer.end))) as opened:
        monkeypatch.setattr(Bundle, "score_one", broken)  # golden quotes would keep it out of service
        given = quote(opened)
    assert (given["status"], given["price"], given["ladder"]) == ("referred", None, [])
    assert given["settlement"] is None
    assert [outcome["code"] for outcome in given["outcomes"]] == ["risk_premium_unusable"]


def test_reasons_and_labels_are_english_and_chinese(client):
    given = quote(client, risk=MOTOR | {"bonus_malus": 150})
    assert 1 <= len(given["reasons"]) <= 5
    texts = [reason["text"] for reason in given["reasons"]] + [step["label"] for step in given["ladder"]]
    for text in texts:
        assert re.search("[A-Za-z]", text["en"])
        assert re.search("[\u4e00-\u9fff]", text["zh"])
    malus = next(reason for reason in given["reasons"] if reason["input"] == "bonus_malus")
    assert malus["value"] == 150
    assert malus["relativity"] > 1
    assert "raises" in malus["text"]["en"]
    assert "上升" in malus["text"]["zh"]


def test_history_prices(client, insurer):
    """Two buyers with the same order pay by what they sent back before."""
    with connect(insurer.settings.lake) as con:
        rows = con.sql(
            "SELECT customer_id, count(returned_at) FROM orders GROUP BY 1 HAVING count(*) BETWEEN 15 AND 30 "
            "ORDER BY 2, 1"
        ).fetchall()
    keeps, returns = rows[len(rows) // 20][0], rows[-len(rows) // 20][0]
    cheap, dear = (quote(client, FREIGHT, customer_id=buyer)["price"]["minor"] for buyer in (keeps, returns))
    assert dear > 1.5 * cheap


def test_a_referred_quote_has_a_reason_and_no_price(client):
    given = quote(client, risk=MOTOR | {"bonus_malus": 210})
    assert (given["status"], given["price"], given["ladder"]) == ("referred", None, [])
    assert [(o["code"], o["effect"]) for o in given["outcomes"]] == [("bonus_malus_high", "refer")]
    assert given["outcomes"][0]["message"]["zh"]


def test_an_unknown_customer_is_priced_without_history_and_said_to_be_unknown(client):
    given = quote(client, customer_id=NOBODY)
    assert given["customer_known"] is False
    assert given["status"] == "quoted"
    assert given["profile"]["orders_365d"] in (0, None)
    assert given["profile"]["tenure_days"] is None


def test_a_stored_quote_is_the_answer_byte_for_byte(client, insurer):
    for body in (BODY, FREIGHT, BODY | {"risk": MOTOR | {"annual_km": None}}, BODY | {"customer_id": NOBODY}):
        answer = client.post("/v1/quotes", json=body)
        assert answer.status_code == 201
        again = client.get(answer.headers["location"])
        assert again.status_code == 200
        assert again.content == answer.content


def test_a_quote_is_on_the_disk_before_it_is_answered(client, insurer):
    given = quote(client)
    second = open_sync_records(insurer.settings)
    record = second.get(given["quote_id"])
    second.close()
    assert record.body["answer"] == given
    assert record.body["request"]["risk"] == MOTOR
    assert record.price_minor == given["price"]["minor"]
    assert round(record.body["risk_premium_minor"]) == given["ladder"][0]["minor"]
    assert set(record.body["components"]) == {"frequency", "severity"}
    assert (record.product, record.channel, record.status) == ("motor", "direct", "quoted")


def test_a_quote_that_cannot_be_stored_is_not_answered(insurer, shared_clock, monkeypatch):
    async def full(store: RecordStore, write: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordStore, "commit", full)
    app = create_app(lambda: open_service(insurer.settings, clock=shared_clock))
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post("/v1/quotes", json=BODY)
    problem(answer, 500, "unexpected")
    assert "space" not in answer.text  # the inside of the service stays inside


def test_a_quote_expires(client, clock):
    given = quote(client, FREIGHT)
    place = f"/v1/quotes/{given['quote_id']}"
    clock.now += dt.timedelta(minutes=30) - dt.timedelta(microseconds=1)
    assert client.get(place).json() == given
    clock.now += dt.timedelta(microseconds=1)
    assert client.get(place).json() == given | {"status": "expired"}


def test_a_referred_quote_stays_referred_when_its_time_is_over(client, clock):
    given = quote(client, risk=MOTOR | {"bonus_malus": 210})
    clock.now += dt.timedelta(days=30)
    assert client.get(f"/v1/quotes/{given['quote_id']}").json()["status"] == "referred"


def test_products_tell_what_a_channel_must_ask(client):
    answer = client.get("/v1/products")
    assert answer.status_code == 200
    products = {item["code"]: item for item in answer.json()}
    assert list(products) == ["flight_delay", "motor", "return_freight"]
    assert products["motor"]["needs"] == ["customer_id"]
    assert products["return_freight"]["needs"] == ["customer_id", "seller_id"]
    assert products["motor"]["channels"] == ["agent", "direct", "platform"]
    factors = {factor["name"]: factor for factor in products["motor"]["factors"]}
    assert (factors["driver_age"]["minimum"], factors["driver_age"]["maximum"]) == (18, 90)
    assert factors["fuel"]["levels"] == ["petrol", "diesel", "electric"]
    assert factors["annual_km"]["required"] is False
    risk = {
        name: factor["levels"][0] if factor["levels"] else factor["minimum"]
        for name, factor in factors.items()
    }
    # What the service asks for is what it takes.
    assert quote(client, risk=risk)["status"] in {"quoted", "referred"}


def test_a_risk_profile_shows_each_feature_with_unit_and_both_languages(client):
    answer = client.get("/v1/customers/17/risk-profile")
    assert answer.status_code == 200
    body = answer.json()
    assert [feature["name"] for feature in body["features"]] == list(customer_features(default_spec()))
    for feature in body["features"]:
        assert feature["unit"]
        assert feature["description"]["en"]
        assert feature["description"]["zh"]
    assert {"tenure_days", "orders_365d", "return_share_365d"} <= {f["name"] for f in body["features"]}
    priced = quote(client)["profile"]
    shown = {feature["name"]: feature["value"] for feature in body["features"]}
    assert {name: shown[name] for name in priced} == priced


def test_recommendations_are_ranked_explained_and_never_what_is_held(client, insurer):
    with connect(insurer.settings.lake) as con:
        holder = con.sql(
            "SELECT min(customer_id) FROM policies WHERE product = 'motor' "
            "AND inception_at <= TIMESTAMP '2026-01-01' AND expiry_at > TIMESTAMP '2026-01-01'"
        ).fetchall()[0][0]
    body = client.post("/v1/recommendations", json={"customer_id": holder, "scene": "order"}).json()
    assert "motor" not in {offer["product"] for offer in body["offers"]}
    assert {item["product"]: item["codes"] for item in body["excluded"]}["motor"] == ["already_held"]
    assert {item["product"]: item["codes"] for item in body["excluded"]}["flight_delay"] == ["not_in_scene"]
    assert [offer["product"] for offer in body["offers"]] == ["return_freight"]
    offer = body["offers"][0]
    assert 0 < offer["rate"] < 1
    assert all(reason["en"] and reason["zh"] for reason in offer["reasons"])


def test_health_and_readiness(client):
    assert client.get("/v1/health").json()["status"] == "ok"
    ready = client.get("/v1/ready")
    assert ready.status_code == 200
    assert ready.json()["products"] == ["flight_delay", "motor", "return_freight"]
    assert "medical" in ready.json()["out_of_service"]


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "code", "allowed"),
    [
        ("driver_age", 17, "below", "an integer from 18 to 90 years"),
        ("driver_age", 91, "above", "an integer from 18 to 90 years"),
        ("driver_age", 35.5, "type", "an integer from 18 to 90 years"),
        ("driver_age", "35", "type", "an integer from 18 to 90 years"),
        ("driver_age", True, "type", "an integer from 18 to 90 years"),
        ("driver_age", None, "missing", "an integer from 18 to 90 years"),
        ("driver_age", 2**63 - 1, "above", "an integer from 18 to 90 years"),
        ("fuel", "steam", "level", "one of petrol, diesel, electric"),
        ("fuel", 3, "level", "one of petrol, diesel, electric"),
        ("vehicle_colour", "red", "unknown", "only driver_age, vehicle_age"),
        ("a/b~c", 1, "unknown", "only driver_age"),
    ],
)
def test_a_faulty_factor_is_named_with_value_and_what_is_allowed(client, field, value, code, allowed):
    answer = client.post("/v1/quotes", json=BODY | {"risk": MOTOR | {field: value}})
    (fault,) = problem(answer, 422, "risk-not-usable")
    assert fault["pointer"] == "/risk/" + field.replace("~", "~0").replace("/", "~1")
    assert (fault["code"], fault["value"]) == (code, value)
    assert fault["allowed"].startswith(allowed)
    assert field in fault["detail"]


def test_every_faulty_factor_is_named_at_once(client):
    answer = client.post("/v1/quotes", json=BODY | {"risk": {"driver_age": 5, "fuel": "petrl"}})
    faults = {fault["pointer"]: fault["code"] for fault in problem(answer, 422, "risk-not-usable")}
    assert faults == {
        "/risk/driver_age": "below",
        "/risk/vehicle_age": "missing",
        "/risk/vehicle_power": "missing",
        "/risk/bonus_malus": "missing",
        "/risk/fuel": "level",
        "/risk/region": "missing",
    }
    assert "did you mean 'petrol'?" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "kind", "pointer", "code", "allowed"),
    [
        ({"product": "moto"}, "unknown-product", "/product", "unknown", "one of flight_delay, motor, r"),
        ({"channel": "fax"}, "unknown-channel", "/channel", "unknown", "one of agent, direct, platform"),
        ({"customer_id": None}, "missing-entity", "/customer_id", "missing", "an integer id"),
        ({"customer_id": -1}, "invalid-request", "/customer_id", "greater_than_equal", "ge 0"),
        ({"customer_id": 2**63}, "invalid-request", "/customer_id", "less_than_equal", f"le {2**63 - 1}"),
        ({"customer_id": "17"}, "invalid-request", "/customer_id", "int_type", None),
        ({"customer_id": 17.0}, "invalid-request", "/customer_id", "int_type", None),
        ({"product": ""}, "invalid-request", "/product", "string_too_short", "min_length 1"),
        ({"product": "x" * 65}, "invalid-request", "/product", "string_too_long", "max_length 64"),
        ({"product": None}, "invalid-request", "/product", "string_type", None),
        ({"colour": "red"}, "invalid-request", "/colour", "extra_forbidden", None),
        ({"risk": []}, "invalid-request", "/risk", "dict_type", None),
        ({"risk": {"driver_age": [35]}}, "invalid-request", "/risk/driver_age", "scalar", None),
        ({"risk": {"driver_age": 10**400}}, "invalid-request", "/risk/driver_age", "scalar", None),
        ({"risk": {"fuel": "x" * 201}}, "invalid-request", "/risk/fuel", "text", None),
    ],
)
def test_a_faulty_request_is_pointed_at(client, changes, kind, pointer, code, allowed):
    faults = problem(client.post("/v1/quotes", json=BODY | changes), 422, kind)
    (fault,) = faults
    assert (fault["pointer"], fault["code"]) == (pointer, code)
    assert (fault["allowed"] or "").startswith(allowed or "")
    assert fault["detail"]


def test_return_freight_needs_its_seller(client):
    (fault,) = problem(client.post("/v1/quotes", json=FREIGHT | {"seller_id": None}), 422, "missing-entity")
    assert fault["pointer"] == "/seller_id"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"", 422),
        (b"null", 422),
        (b"[]", 422),
        (b'"motor"', 422),
        (b"{", 422),
        (b'{"product": "motor",}', 422),
        (b"\xff\xfe\x00", 400),
        (b'{"product": NaN}', 422),
        (b'{"product":"motor","channel":"direct","customer_id":17,"risk":{"driver_age":NaN}}', 422),
        (b'{"product":"motor","channel":"direct","customer_id":17,"risk":{"driver_age":-Infinity}}', 422),
        (b'{"product":"motor","channel":"direct","customer_id":17,"risk":{"driver_age":1e999}}', 422),
        (b'{"product":"motor","channel":"direct","customer_id":17,"risk":{"fuel":"\\ud800"}}', 422),
        (b'{"product":"motor","channel":"direct","customer_id":17,"risk":{"\\udfff":1}}', 422),
        (b'{"\\ud800": "\\ud800"}', 422),
        (b'{"product":"\xed\xa0\x80"}', 422),
        (b'{"customer_id": 1' + b"0" * 5000 + b"}", 400),
        (b"[" * 100_000, 422),
    ],
)
def test_what_is_no_request_is_a_problem(client, text, status):
    answer = client.post("/v1/quotes", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == MEDIA_TYPE
    json.dumps(answer.json(), allow_nan=False)
    for fault in answer.json()["errors"]:
        assert fault["pointer"] == "" or fault["pointer"].startswith("/")


def test_unreadable_json_points_at_the_whole(client):
    answer = client.post("/v1/quotes", content=b'{"a": ', headers={"content-type": "application/json"})
    (fault,) = problem(answer, 422, "invalid-request")
    assert (fault["pointer"], fault["code"]) == ("", "json_invalid")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("GET", "/v1/quotes/no-such-quote", None, 404, "unknown-quote"),
        ("GET", "/v1/quotes/%00", None, 404, "unknown-quote"),
        ("GET", "/v1/quotes/" + "x" * 65, None, 422, "invalid-request"),
        ("GET", f"/v1/customers/{NOBODY}/risk-profile", None, 404, "unknown-customer"),
        ("GET", "/v1/customers/-1/risk-profile", None, 422, "invalid-request"),
        ("GET", f"/v1/customers/{2**63}/risk-profile", None, 422, "invalid-request"),
        ("GET", "/v1/customers/seventeen/risk-profile", None, 422, "invalid-request"),
        ("POST", "/v1/recommendations", {"customer_id": NOBODY}, 404, "unknown-customer"),
        ("POST", "/v1/recommendations", {"customer_id": 17, "k": 0}, 422, "invalid-request"),
        ("POST", "/v1/recommendations", {"customer_id": 17, "k": 51}, 422, "invalid-request"),
        ("POST", "/v1/recommendations", {"customer_id": 17, "scene": "bath"}, 422, "invalid-request"),
        ("POST", "/v1/recommendations", {}, 422, "invalid-request"),
        ("GET", "/v1/nothing", None, 404, "http"),
        ("DELETE", "/v1/quotes", None, 405, "http"),
        ("PUT", "/v1/quotes/x", {}, 405, "http"),
        ("POST", "/v1/products", {}, 405, "http"),
    ],
)
def test_every_other_refusal_is_a_problem_too(client, method, path, body, status, kind):
    answer = client.request(method, path, json=body)
    problem(answer, status, kind)
    if status == 405:
        assert answer.headers["allow"] in {"GET", "POST"}


def test_a_plan_that_is_not_in_force_is_a_conflict(client, clock):
    clock.now = dt.datetime(2025, 11, 30, 23, 59)
    problem(client.post("/v1/quotes", json=BODY), 409, "plan-not-effective")
    clock.now = dt.datetime(2025, 12, 1)
    assert quote(client)["status"] == "quoted"


def test_a_service_without_products_lives_but_is_not_ready(insurer, tmp_path):
    settings = Settings(lake=tmp_path, clock=insurer.end)
    with connect(insurer.settings.lake) as con:
        build_history(con, default_spec(), settings.history)
    with TestClient(create_app(lambda: open_service(settings)), raise_server_exceptions=False) as client:
        problem(client.get("/v1/ready"), 503, "not-ready")
        assert client.get("/v1/health").status_code == 200
        assert client.get("/v1/products").json() == []
        problem(client.post("/v1/quotes", json=BODY), 422, "unknown-product")


def test_a_changed_plan_takes_its_product_out_of_service_and_leaves_the_others(insurer, tmp_path):
    plans = tmp_path / "plans"
    plans.mkdir()
    for path in insurer.settings.plans.glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        (plans / path.name).write_text(
            text.replace('currency = "CNY"', 'currency = "EUR"') if path.stem == "motor-2026-01" else text,
            encoding="utf-8",
        )
    settings = insurer.settings.model_copy(update={"plans": plans})
    with TestClient(create_app(lambda: open_service(settings))) as client:
        ready = client.get("/v1/ready").json()
        problem(client.post("/v1/quotes", json=BODY), 422, "unknown-product")
    assert ready["products"] == ["flight_delay", "return_freight"]
    assert "EUR" in ready["out_of_service"]["motor"]


# --- completeness -----------------------------------------------------------------------------------------

# Raised where no request is answered, or turned into an outcome of a quote before it gets to a route.
NOT_OVER_HTTP = {
    "WebhookError": "webhooks are kept by command",
    "SettingsError": "refused before the service starts",
    "BookError": "the optimiser runs in notebooks and batches",
    "BelowExpensesError": "becomes the outcome price_below_expenses",
    "UnknownPriceTestError": "the command line asks for tests by name",
    "UnknownOfferTestError": "the command line asks for tests by name",
    "ExperimentError": "refused when experiments are read, or in batches",
    "ExperienceError": "refused when products and the snapshot are read",
    "LimitsError": "becomes the outcome limits_contradict",
    "NoPriceError": "becomes an outcome, by its kind",
    "InfeasibleError": "the optimiser runs in notebooks and batches",
    "TechnicalPremiumError": "becomes the outcome risk_premium_unusable",
    "CurrencyError": "refused when definitions are read",
    "DefinitionError": "the product is out of service",
    "BundleMismatchError": "the product is out of service",
    "NoChampionError": "the product is out of service",
    "ImpactError": "command line only",
    "PortfolioError": "batch only",
    "RequestError": "command line only",
    "AccessKeyError": "command line only",
    "NotInServiceError": "the product is out of service",
}


def leaves(module: Any, root: type[Exception]) -> set[type[Exception]]:
    return {
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, root) and kind is not root
    }


def test_the_map_of_problems_is_complete():
    public = leaves(pricing.errors, PricingError) | leaves(serving.errors, ServingError)
    unmapped = {kind.__name__ for kind in public - set(PROBLEMS)}
    assert unmapped == set(NOT_OVER_HTTP)
    assert len({kind for _, kind, _, _ in PROBLEMS.values()}) == len(PROBLEMS)


def test_errors_that_the_service_documents_are_mapped():
    documented = {
        name
        for method in (
            QuoteService.quote,
            QuoteService.price,
            QuoteLife.load,
            QuoteLife.create,
            QuoteLife.accept,
            QuoteLife.decide,
            QuoteService.risk_profile,
            QuoteService.recommend,
        )
        for name in re.findall(r"\w+Error", method.__doc__ or "")
    }
    assert documented
    assert documented <= {kind.__name__ for kind in PROBLEMS}
    assert PROBLEMS[PlanNotEffectiveError][0] == 409


# --- the document -----------------------------------------------------------------------------------------


def test_the_openapi_document_describes_every_route(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operations = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) >= {
        ("POST", "/v1/quotes"),
        ("GET", "/v1/quotes/{quote_id}"),
        ("GET", "/v1/customers/{customer_id}/risk-profile"),
        ("POST", "/v1/recommendations"),
        ("GET", "/v1/products"),
        ("GET", "/v1/health"),
        ("GET", "/v1/ready"),
        ("GET", "/v1/metrics"),
    }
    for route, operation in operations.items():
        assert operation["description"], route
        for status, response in operation["responses"].items():
            assert response["description"], (route, status)
            of_the_standard = route[1] == "/v1/oauth/token" and status in {"400", "401", "429"}
            if int(status) >= 400 and not of_the_standard:  # RFC 6749 has a form of its own
                assert set(response["content"]) == {MEDIA_TYPE}, (route, status)
    assert set(operations["POST", "/v1/quotes"]["responses"]) == {
        "201",
        "400",
        "401",
        "403",
        "404",
        "408",
        "409",
        "413",
        "422",
        "429",
        "503",
    }


def test_every_reference_of_the_openapi_document_leads_somewhere(client):
    text = client.get("/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]
    references = set(re.findall(r'"\$ref":\s*"#/components/schemas/([^"]+)"', text))
    assert references
    assert references <= set(schemas)
    request = schemas["QuoteRequest"]
    assert request["required"] == ["product", "channel"]
    assert request["additionalProperties"] is False
    assert all(part.get("description") for part in request["properties"].values())
    assert request["properties"]["risk"]["examples"]
    assert schemas["MoneyAmount"]["properties"]["amount"]["examples"] == ["12.50"]


# --- anything at all --------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**60, max_value=2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["motor", "return_freight", "direct", "platform", "petrol", "CN-GD", "", "\x00", "\ud800"]
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
ALMOST = st.fixed_dictionaries(
    {},
    optional={
        "product": st.sampled_from(["motor", "return_freight", "flight_delay"]) | ANYTHING,
        "channel": st.sampled_from(["direct", "platform"]) | ANYTHING,
        "customer_id": st.integers(0, 40_000) | ANYTHING,
        "seller_id": st.integers(0, 2_000) | ANYTHING,
        "risk": st.fixed_dictionaries(
            {},
            optional={**{name: st.just(value) | SCALARS for name, value in MOTOR.items()}, "x/y": ANYTHING},
        )
        | ANYTHING,
        "k": ANYTHING,
        "scene": ANYTHING,
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=ALMOST | ANYTHING, path=st.sampled_from(["/v1/quotes", "/v1/quotes", "/v1/recommendations"]))
def test_no_body_breaks_the_service(opened, body, path):
    check(opened.post(path, content=json.dumps(body), headers={"content-type": "application/json"}))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.binary(max_size=200))
def test_no_bytes_break_the_service(opened, text):
    check(opened.post("/v1/quotes", content=text, headers={"content-type": "application/json"}))


def check(answer: Any) -> None:
    assert answer.status_code in {200, 201, 400, 404, 422}, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert answer.json()["status"] == answer.status_code
