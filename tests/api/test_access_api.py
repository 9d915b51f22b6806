"""Keys, tokens and limits over HTTP: who gets in, who does not, and what is told of it."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from serving.access.caller import SCOPES, Caller
from serving.access.credentials import Credentials, new_key_id, new_secret
from serving.access.denials import read_denials
from serving.access.keys import create_key, revoke_key, rotate_key
from serving.access.scopes import all_routes, scopes_of
from serving.api import create_app
from serving.clock import wall_clock
from serving.compose import open_service
from serving.records.keys import open_vault
from serving.records.store import open_database, open_sync_records

if TYPE_CHECKING:
    from collections.abc import Iterator

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

EVERYTHING = frozenset(SCOPES)
SHOP = Caller("", "shop", "platform", EVERYTHING, licence="L-1")
BODY = {
    "product": "return_freight",
    "channel": "platform",
    "customer_id": 17,
    "seller_id": 50,
    "risk": {"order_amount": 129.0, "category": "apparel"},
}
FLIGHT_ONLY = frozenset({"flight_delay"})
FORM = {"grant_type": "client_credentials"}


@pytest.fixture(scope="module")
def kept(insurer) -> Any:
    return insurer.settings.model_copy(update={"access": "keys", "rate": 1_000, "failures_per_minute": 30})


@pytest.fixture(scope="module")
def app(kept, insurer) -> Any:
    return create_app(lambda: open_service(kept, clock=lambda: insurer.end), kept)


@pytest.fixture(scope="module")
def opened(app) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(opened, app) -> TestClient:
    app.desk.failures.__init__(30)  # what one test guessed must not shut out the next
    return opened


class Keys:
    """Makes keys and waits until the service knows them."""

    def __init__(self, settings: Any, app: Any) -> None:
        self._settings, self._app = settings, app

    def change(self, work: Any) -> Any:
        database = open_database(self._settings, open_vault(self._settings))
        found = database.write_now(work)
        database.close_now()
        before, began = self._app.desk.keys.changes, time.monotonic()
        while self._app.desk.keys.changes == before:
            assert time.monotonic() - began < 10
            time.sleep(0.02)
        return found

    def make(self, who: Caller = SHOP, rate: int | None = None) -> Credentials:
        day = dt.timedelta(days=1)
        return self.change(lambda con: create_key(con, who, day, "Lin", wall_clock()(), rate))


@pytest.fixture(scope="module")
def keys(kept, app, opened) -> Keys:
    return Keys(kept, app)


@pytest.fixture(scope="module")
def shop(keys) -> dict[str, str]:
    return bearer(keys.make())


def bearer(key: Credentials | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key.text}"}


def refused(answer: Any, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"].rsplit("/", 1)[-1] == kind
    return body


# --- who gets in ------------------------------------------------------------------------------------------


def test_every_route_needs_a_caller_but_those_that_are_meant_to_be_open(app):
    needs = {route.path: scopes_of(route) for route in all_routes(app.routes)}
    assert len(needs) > 20
    assert set(app.openapi()["paths"]) == set(needs)  # none is overlooked
    assert {path for path, scopes in needs.items() if scopes is None} <= app.desk.public
    assert {path for path, scopes in needs.items() if scopes == []} == {"/v1/products"}
    assert {scope for scopes in needs.values() for scope in scopes or ()} <= set(SCOPES)


def test_nothing_is_answered_without_a_key_but_what_is_open(client, app):
    for route in all_routes(app.routes):
        for method in route.methods or ():
            path = re.sub(r"\{.*?\}", "1", route.path)
            answer = client.request(method, path)
            if path in app.desk.public:
                assert answer.status_code != 429, path
                assert path == "/v1/metrics" or answer.status_code != 403, path  # for this machine alone
                assert path == "/v1/oauth/token" or answer.status_code != 401, path
            else:
                refused(answer, 401, "unauthenticated")
                assert answer.headers["www-authenticate"] == 'Bearer realm="premia"'
            if client.app.desk.failures.must_wait("testclient", None, time.monotonic()):
                client.app.desk.failures.__init__(30)
    refused(client.get("/v1/no-such-path"), 401, "unauthenticated")


def test_a_key_quotes_and_is_told_what_is_left(client, shop):
    answer = client.post("/v1/quotes", json=BODY, headers=shop)
    assert answer.status_code == 201, answer.text
    assert answer.json()["sandbox"] is False
    assert re.fullmatch(r'"key";r=\d+;t=\d+', answer.headers["ratelimit"])
    assert answer.headers["ratelimit-policy"] == '"key";q=10000;w=10'
    read = client.get(answer.headers["location"], headers=shop)
    assert read.json()["quote_id"] == answer.json()["quote_id"]


@pytest.mark.parametrize(
    "shown",
    [
        "Bearer",
        "Bearer ",
        "Basic cHJlbWlhOng=",
        "Bearer premia_live_000000000000_" + "0" * 64,
        "Bearer premia_live_' OR 1=1 --_" + "0" * 64,
        "Bearer premia_live_../../etc/passwd_x",
        "Bearer " + "x" * 50_000,
        "Bearer a.b.c",
        "Bearer \x01\x7f",
        b"Bearer caf\xc3\xa9",
    ],
)
def test_what_is_no_key_is_refused_without_a_word_of_it(client, shown):
    answer = client.get("/v1/products", headers={"Authorization": shown})
    body = refused(answer, 401, "unauthenticated")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    text = shown.decode() if isinstance(shown, bytes) else shown
    assert len(text) < 10 or text[7:40] not in json.dumps(body)


def test_two_keys_are_no_key(client, shop):
    both = [("Authorization", shop["Authorization"]), ("Authorization", shop["Authorization"])]
    refused(client.get("/v1/products", headers=both), 401, "unauthenticated")


def test_a_revoked_key_and_a_rotated_secret_end_within_a_second_or_so(client, keys):
    key = keys.make()
    assert client.get("/v1/products", headers=bearer(key)).status_code == 200
    fresh = keys.change(lambda con: rotate_key(con, key.key_id, dt.timedelta(0), "Lin", wall_clock()()))
    assert (
        "overlap"
        in refused(client.get("/v1/products", headers=bearer(key)), 401, "unauthenticated")["detail"]
    )
    assert client.get("/v1/products", headers=bearer(fresh)).status_code == 200
    keys.change(lambda con: revoke_key(con, key.key_id, "Lin", wall_clock()()))
    assert "revoked" in client.get("/v1/products", headers=bearer(fresh)).json()["detail"]


# --- what a caller may do ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/quotes", "quotes:write"),
        ("GET", "/v1/quotes/x", "quotes:read"),
        ("GET", "/v1/customers/17/risk-profile", "profile:read"),
        ("POST", "/v1/events", "events:write"),
        ("GET", "/v1/customers/17/consents", "consents:write"),
        ("POST", "/v1/recommendations", "recommend"),
    ],
)
def test_a_route_is_closed_without_its_scope(client, keys, method, path, scope):
    headers = bearer(keys.make(Caller("", "almost", "platform", EVERYTHING - {scope}, licence="L-1")))
    bodies = {"/v1/quotes": BODY, "/v1/events": {"events": []}, "/v1/recommendations": {"customer_id": 17}}
    body = refused(client.request(method, path, headers=headers, json=bodies.get(path)), 403, "not-allowed")
    assert repr(scope) in body["detail"]


@pytest.mark.parametrize(
    ("limits", "changes", "pointer"),
    [
        ({}, {"channel": "direct"}, "/channel"),
        ({"products": FLIGHT_ONLY}, {}, "/product"),
        ({"sub_channels": frozenset({"app"})}, {}, "/sub_channel"),
    ],
)
def test_a_caller_sells_only_what_and_where_it_may(client, keys, limits, changes, pointer):
    headers = bearer(keys.make(Caller("", "narrow", "platform", EVERYTHING, licence="L-1", **limits)))
    body = refused(client.post("/v1/quotes", json=BODY | changes, headers=headers), 403, "not-allowed")
    assert [item["pointer"] for item in body["errors"]] == [pointer]


def test_products_are_those_of_the_caller(client, keys, shop):
    narrow = bearer(keys.make(Caller("", "narrow", "platform", EVERYTHING, products=FLIGHT_ONLY)))
    assert [one["code"] for one in client.get("/v1/products", headers=narrow).json()] == ["flight_delay"]
    assert len(client.get("/v1/products", headers=shop).json()) == 3


def test_the_quote_of_another_channel_looks_as_if_it_did_not_exist(client, keys, shop):
    quote_id = client.post("/v1/quotes", json=BODY, headers=shop).json()["quote_id"]
    other = bearer(keys.make(Caller("", "other", "direct", EVERYTHING)))
    nobody = quote_id[:-1] + ("0" if quote_id[-1] != "0" else "1")
    theirs = refused(client.get(f"/v1/quotes/{quote_id}", headers=other), 404, "unknown-quote")
    absent = refused(client.get(f"/v1/quotes/{nobody}", headers=other), 404, "unknown-quote")
    for body, own in ((theirs, quote_id), (absent, nobody)):
        body["detail"], body["instance"] = (
            body["detail"].replace(own, "?"),
            body["instance"].replace(own, "?"),
        )
        body.pop("trace_id")
    assert theirs == absent


def test_without_a_licence_nothing_is_recommended(client, keys, shop):
    asked = {"customer_id": 17}
    bare = bearer(keys.make(Caller("", "bare", "platform", EVERYTHING)))
    refused(client.post("/v1/recommendations", json=asked, headers=bare), 403, "not-allowed")
    assert client.post("/v1/recommendations", json=asked, headers=shop).status_code == 200


def test_a_quote_for_trial_is_marked_and_kept_apart(client, keys, kept):
    trial = bearer(keys.make(Caller("", "trial", "platform", EVERYTHING, sandbox=True)))
    answer = client.post("/v1/quotes", json=BODY, headers=trial)
    assert answer.json()["sandbox"] is True
    assert answer.headers["ratelimit-policy"] == '"key";q=50;w=10'
    records = open_sync_records(kept)
    assert records.get(answer.json()["quote_id"]).sandbox is True
    records.close()


# --- tokens -----------------------------------------------------------------------------------------------


def test_a_key_is_exchanged_for_a_token(client, keys):
    key = keys.make()
    basic = client.post("/v1/oauth/token", data=FORM, auth=(key.key_id, key.secret))
    assert basic.status_code == 200, basic.text
    assert basic.headers["cache-control"] == "no-store"
    assert basic.json()["token_type"].lower() == "bearer"
    assert basic.json()["expires_in"] == 3600
    narrow = FORM | {"client_id": key.key_id, "client_secret": key.secret, "scope": "quotes:write"}
    token = client.post("/v1/oauth/token", data=narrow).json()
    assert token["scope"] == "quotes:write"
    headers = bearer(token["access_token"])
    quote = client.post("/v1/quotes", json=BODY, headers=headers)
    assert quote.status_code == 201
    refused(client.get(quote.headers["location"], headers=headers), 403, "not-allowed")
    keys.change(lambda con: revoke_key(con, key.key_id, "Lin", wall_clock()()))
    refused(client.post("/v1/quotes", json=BODY, headers=headers), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"scope": "quotes:read nonsense"}, 400, "invalid_scope"),
        ({"client_secret": new_secret()}, 401, "invalid_client"),
        ({"client_id": new_key_id()}, 401, "invalid_client"),
        ({"client_id": "' OR 1=1 --"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
    ],
)
def test_a_token_is_refused_as_the_standard_says(client, keys, changes, status, error):
    key = keys.make()
    form = FORM | {"client_id": key.key_id, "client_secret": key.secret} | changes
    answer = client.post("/v1/oauth/token", data={name: text for name, text in form.items() if text})
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert key.secret not in answer.text
    assert ("www-authenticate" in answer.headers) is (status == 401)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"grant_type=client_credentials&grant_type=password", "application/x-www-form-urlencoded"),
        (b"\xff\xfe=%zz", "application/x-www-form-urlencoded"),
        (b"&" * 100, "application/x-www-form-urlencoded"),
        (b'{"grant_type": "client_credentials"}', "application/json"),
    ],
)
def test_what_is_no_form_is_refused(client, content, kind):
    answer = client.post("/v1/oauth/token", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


# --- limits -----------------------------------------------------------------------------------------------


def test_a_key_that_calls_too_often_is_told_when_to_come_back(client, keys):
    busy = bearer(keys.make(rate=1))
    answers = [client.get("/v1/products", headers=busy) for _ in range(14)]
    refused(answers[-1], 429, "too-many-requests")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].headers["ratelimit"].startswith('"key";r=0;t=')
    assert [answer.status_code for answer in answers[:10]] == [200] * 10


def test_guessing_is_limited_and_known_keys_go_on(client, shop):
    assert client.get("/v1/products", headers=shop).status_code == 200
    guess = [client.get("/v1/products", headers=bearer(f"premia_live_{new_key_id()}_{new_secret()}"))]
    while guess[-1].status_code == 401:
        assert len(guess) < 400
        guess.append(client.get("/v1/products", headers=bearer(f"premia_live_{new_key_id()}_{new_secret()}")))
    refused(guess[-1], 429, "too-many-requests")
    token = client.post(
        "/v1/oauth/token", data=FORM | {"client_id": new_key_id(), "client_secret": new_secret()}
    )
    assert token.status_code == 429
    assert int(token.headers["retry-after"]) >= 1
    assert client.get("/v1/products", headers=shop).status_code == 200


# --- what is told -----------------------------------------------------------------------------------------


def test_denials_are_on_record_without_secrets(client, keys, kept):
    key = keys.make(Caller("", "other", "direct", frozenset({"quotes:read"})))
    client.post("/v1/quotes", json=BODY, headers=bearer(key) | {"X-Request-Id": "asked-in-vain"})
    guess = new_secret()
    client.get("/v1/quotes/x?secret=1", headers=bearer(f"premia_live_{new_key_id()}_{guess}"))
    database, began = open_database(kept, open_vault(kept)), time.monotonic()
    found: list[Any] = []
    while not any(count.request_id == "asked-in-vain" for _, count in found):
        assert time.monotonic() - began < 10
        time.sleep(0.05)
        found = database.read_now(lambda con: read_denials(con, 1_000))
    database.close_now()
    (mine,) = [denial for denial, count in found if count.request_id == "asked-in-vain"]
    assert (mine.status, mine.why, mine.key_id, mine.path) == (403, "scope", key.key_id, "/v1/quotes")
    text = repr(found)
    assert guess not in text
    assert key.secret not in text
    assert "secret=1" not in text


HOSTILE = [
    "/v1/quotes/../../etc/passwd",
    "/v1/quotes/..%2f..%2fetc%2fpasswd",
    "/v1/quotes/%27%20OR%201%3D1%20--",
    "/v1/quotes/x%0d%0aSet-Cookie:%20a=b",
    "/v1/customers/1;DROP%20TABLE%20quotes/consents",
    "/v1/customers/17/consents/%2e%2e",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_paths_find_nothing_and_tell_nothing(client, shop, path):
    answer = client.get(path, headers=shop)
    assert 400 <= answer.status_code < 500, answer.text
    assert "set-cookie" not in answer.headers
    for leak in ("Traceback", "sqlite", "SELECT", 'File "', "site-packages", "root:"):
        assert leak not in answer.text


def test_no_route_answers_with_more_than_a_problem(client, app, shop):
    for route in all_routes(app.routes):
        if route.path in app.desk.public:
            continue
        for method in route.methods or ():
            path = re.sub(r"\{.*?\}", "'%22%3C", route.path)
            answer = client.request(method, path, headers=shop, content=b'{"product": {"$where": "1"}}')
            assert answer.status_code < 500, (path, answer.text)
            for leak in ("Traceback", "sqlite", "SELECT", 'File "', "serving/", "site-packages"):
                assert leak not in answer.text, path


def test_the_document_says_what_each_route_needs(client):
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/v1/quotes"]["post"]
    assert operation["security"] == [{"key": []}, {"token": ["quotes:write"]}]
    assert {"401", "403", "429"} <= set(operation["responses"])
    assert set(document["components"]["securitySchemes"]) == {"key", "token"}
    assert "security" not in document["paths"]["/v1/health"]["get"]
