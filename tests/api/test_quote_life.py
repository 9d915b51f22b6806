"""The life of a quote over HTTP: every step, who may take it, and what comes again."""

from __future__ import annotations

import asyncio
import datetime as dt
import warnings
from base64 import urlsafe_b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Request  # noqa: TC002 - FastAPI reads annotations at run time
from fastapi.security import SecurityScopes  # noqa: TC002 - likewise

from serving.access.caller import OPEN, SCOPES, Caller, caller
from serving.api import create_app
from serving.compose import open_service
from serving.examples import FREIGHT, MOTOR, REQUESTS
from serving.problems import MEDIA_TYPE
from serving.records import RecordStore, open_sync_records
from serving.signatures import make_key, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

REFERRED = MOTOR | {"risk": MOTOR["risk"] | {"bonus_malus": 210}}


class Front:
    """A sales front end whose key can be changed, and a clock that can be set."""

    def __init__(self, insurer: Any) -> None:
        self.settings = insurer.settings
        self.begin = insurer.end
        self.now = insurer.end
        self.caller: Caller = OPEN
        self.app = create_app(lambda: open_service(insurer.settings, clock=lambda: self.now))
        self.app.dependency_overrides[caller] = self._who
        self.http = TestClient(self.app, raise_server_exceptions=False)

    async def _who(self, request: Request, wanted: SecurityScopes) -> Caller:  # noqa: ARG002
        self.caller.need(wanted.scopes)
        return self.caller

    def as_channel(self, channel: str, scopes: str | None = None, **more: Any) -> None:
        chosen = frozenset(SCOPES) if scopes is None else frozenset(scopes.split())
        self.caller = Caller(f"key-{channel}", channel, channel, chosen, **more)

    def post(self, path: str, body: Any, status: int = 201, **more: Any) -> dict[str, Any]:
        answer = self.http.post(path, json=body, **more)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def step(self, quote: dict[str, Any], verb: str, body: Any, status: int = 200) -> dict[str, Any]:
        return self.post(f"/v1/quotes/{quote['quote_id']}/{verb}", body, status)

    def read(self, quote: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.get(f"/v1/quotes/{quote['quote_id']}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, answer: Any, status: int, kind: str) -> dict[str, Any]:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == MEDIA_TYPE
        found: dict[str, Any] = answer.json()
        assert found["type"].endswith("/" + kind), found
        return found


@pytest.fixture(scope="module")
def one(insurer) -> Iterator[Front]:
    front = Front(insurer)
    with front.http:
        yield front


@pytest.fixture
def front(one) -> Front:
    one.caller, one.now = OPEN, one.begin
    return one


# --- accept, decline --------------------------------------------------------------------------------------


def test_a_quote_is_accepted_at_its_price_once_and_for_all(front):
    quote = front.post("/v1/quotes", MOTOR)
    price = quote["price"]["minor"]
    wrong = front.http.post(f"/v1/quotes/{quote['quote_id']}/accept", json={"price_minor": price - 1})
    (fault,) = front.refused(wrong, 409, "price-mismatch")["errors"]
    assert (fault["pointer"], fault["allowed"]) == ("/price_minor", str(price))
    accepted = front.step(quote, "accept", {"price_minor": price})
    assert (accepted["status"], accepted["accepted_price_minor"]) == ("accepted", price)
    assert front.step(quote, "accept", {"price_minor": price}) == accepted == front.read(quote)
    front.now += dt.timedelta(days=400)
    assert front.read(quote)["status"] == "accepted"
    for verb, body in (
        ("decline", {"reason": "price"}),
        ("review", {"text": "?"}),
        ("revoke", {"reason": "?"}),
    ):
        answer = front.http.post(f"/v1/quotes/{quote['quote_id']}/{verb}", json=body)
        assert "do nothing more" in front.refused(answer, 409, "quote-state")["detail"]


def test_of_two_accepts_at_the_same_time_one_step_is_stored(front, monkeypatch):
    """Both read the quote before either has stored its step."""
    quote = front.post("/v1/quotes", MOTOR)
    asked = {"price_minor": quote["price"]["minor"]}
    commit = RecordStore.commit

    async def race(self: RecordStore, write: Any) -> None:
        monkeypatch.setattr(RecordStore, "commit", commit)
        await commit(self, replace(write, steps=tuple(replace(step, actor="other") for step in write.steps)))
        await commit(self, write)

    monkeypatch.setattr(RecordStore, "commit", race)
    assert front.step(quote, "accept", asked)["status"] == "accepted"
    steps = front.http.get(f"/v1/quotes/{quote['quote_id']}/steps").json()["steps"]
    assert [(step["state"], step["actor"]) for step in steps][1:] == [("accepted", "other")]


def test_after_its_time_a_quote_cannot_be_accepted_and_the_way_to_a_new_one_is_named(front):
    quote = front.post("/v1/quotes", FREIGHT)
    front.now += dt.timedelta(minutes=30)
    asked = {"price_minor": quote["price"]["minor"]}
    problem = front.refused(
        front.http.post(f"/v1/quotes/{quote['quote_id']}/accept", json=asked), 409, "quote-state"
    )
    assert problem["links"] == {"requote": "/v1/quotes"}
    newer = front.post("/v1/quotes", FREIGHT | {"supersedes": quote["quote_id"]})
    assert newer["supersedes"] == quote["quote_id"]
    assert front.read(quote)["status"] == "superseded"
    assert front.step(newer, "accept", {"price_minor": newer["price"]["minor"]})["status"] == "accepted"
    again = front.http.post("/v1/quotes", json=FREIGHT | {"supersedes": newer["quote_id"]})
    front.refused(again, 409, "quote-state")


def test_why_a_customer_declines_is_kept(front):
    quote = front.post("/v1/quotes", MOTOR)
    declined = front.step(quote, "decline", {"reason": "price", "text": "dear"})
    assert declined["status"] == "declined"
    assert front.step(quote, "decline", {"reason": "price"}) == declined
    steps = front.http.get(f"/v1/quotes/{quote['quote_id']}/steps").json()
    assert [step["state"] for step in steps["steps"]] == ["quoted", "declined"]
    assert steps["steps"][1]["details"] == {"by": "customer", "code": "price"}
    assert steps["steps"][1]["reason"] == "dear"
    answer = front.http.post(f"/v1/quotes/{quote['quote_id']}/decline", json={"reason": "mood"})
    assert front.refused(answer, 422, "invalid-request")["errors"][0]["pointer"] == "/reason"


# --- people -----------------------------------------------------------------------------------------------


def test_a_referred_quote_shows_its_price_to_the_reviewer_alone_who_sets_one(front):
    front.as_channel("direct", "quotes:write quotes:read quotes:accept expand:ladder")
    referred = front.post("/v1/quotes", REFERRED)
    assert (referred["status"], referred["price"], referred["indication"]) == ("referred", None, None)
    front.caller = OPEN
    indicated = front.read(referred)["indication"]["minor"]
    decided = front.step(
        referred, "decision", {"decision": "quote", "price_minor": indicated + 500, "reason": "seen"}
    )
    assert decided["status"] == "quoted"
    assert decided["price"]["minor"] == indicated + 500
    assert sum(step["minor"] for step in decided["ladder"]) == indicated + 500
    assert decided["ladder"][-1]["step"] == "review"
    owed = decided["settlement"]
    assert sum(owed[part]["minor"] for part in ("tax", "commission", "kept")) == indicated + 500
    assert decided["certificate"]["price_minor"] == indicated + 500
    front.now += dt.timedelta(days=3)
    assert front.step(referred, "accept", {"price_minor": indicated + 500})["status"] == "accepted"


@pytest.mark.parametrize(
    ("body", "kind", "pointer"),
    [
        ({"decision": "quote", "price_minor": 1, "reason": "x"}, "outside-corridor", "/price_minor"),
        ({"decision": "quote", "price_minor": 10**15, "reason": "x"}, "outside-corridor", "/price_minor"),
        ({"decision": "quote", "reason": "x"}, "no-decision", "/price_minor"),
        ({"decision": "confirm", "reason": "x"}, "no-decision", "/decision"),
        ({"decision": "decline", "reason": ""}, "invalid-request", "/reason"),
        ({"decision": "decline"}, "invalid-request", "/reason"),
    ],
)
def test_a_decision_that_is_none_is_refused_and_changes_nothing(front, body, kind, pointer):
    referred = front.post("/v1/quotes", REFERRED)
    answer = front.http.post(f"/v1/quotes/{referred['quote_id']}/decision", json=body)
    assert front.refused(answer, 422, kind)["errors"][0]["pointer"] == pointer
    assert front.read(referred)["status"] == "referred"


def test_a_customer_gets_a_person_who_confirms_or_declines(front):
    quote = front.post("/v1/quotes", MOTOR)
    waiting = front.step(quote, "review", {"text": "the claim was not mine"})
    assert (waiting["status"], waiting["price"], waiting["certificate"]) == ("referred", None, None)
    assert waiting["indication"] == quote["price"]
    asked = {"price_minor": quote["price"]["minor"]}
    accept = front.http.post(f"/v1/quotes/{quote['quote_id']}/accept", json=asked)
    front.refused(accept, 409, "quote-state")
    confirmed = front.step(quote, "decision", {"decision": "confirm", "reason": "it was"})
    assert confirmed["price"] == quote["price"]
    assert confirmed["ladder"] == quote["ladder"]
    front.step(quote, "review", {"text": "once more"})
    assert front.step(quote, "decision", {"decision": "decline", "reason": "fraud"})["status"] == "declined"
    front.step(quote, "review", {"text": "no fraud"})
    assert front.step(quote, "decision", {"decision": "confirm", "reason": "fraud"})["status"] == "declined"
    states = [
        step["state"] for step in front.http.get(f"/v1/quotes/{quote['quote_id']}/steps").json()["steps"]
    ]
    assert states == ["quoted", "referred", "quoted", "referred", "declined", "referred", "declined"]


def test_the_insurer_takes_a_quote_back(front):
    quote = front.post("/v1/quotes", MOTOR)
    assert front.step(quote, "revoke", {"reason": "wrong table"})["status"] == "revoked"
    assert front.post("/v1/quotes:verify", quote["certificate"], 200) == {
        "genuine": True,
        "current": False,
        "status": "revoked",
    }


def test_a_draft_says_what_is_missing_and_becomes_a_quote(front):
    draft = front.post("/v1/quotes:draft", MOTOR | {"risk": {"driver_age": 35}})
    assert (draft["status"], draft["price"], draft["versions"]) == ("draft", None, None)
    assert {fault["pointer"] for fault in draft["missing"]} >= {"/risk/fuel", "/risk/region"}
    assert front.read(draft) == draft
    half = front.http.post(f"/v1/quotes/{draft['quote_id']}/complete", json={"risk": {"fuel": "petrol"}})
    front.refused(half, 422, "risk-not-usable")
    quote = front.step(draft, "complete", {"risk": MOTOR["risk"]}, 201)
    assert quote["price"] == front.post("/v1/quotes", MOTOR)["price"]
    assert front.read(draft)["status"] == "superseded"
    front.refused(front.http.post(f"/v1/quotes/{quote['quote_id']}/complete", json={}), 409, "quote-state")


# --- side by side, many at once ---------------------------------------------------------------------------


def test_a_preview_is_the_quote_that_nobody_stores(front):
    before = front.http.get("/v1/quotes", params={"limit": 1}).json()["quotes"][:1]
    seen = front.post("/v1/quotes:preview", MOTOR, 200)
    assert (seen["quote_id"], seen["certificate"]) == ("", None)
    assert front.http.get("/v1/quotes", params={"limit": 1}).json()["quotes"][:1] == before
    assert seen["price"] == front.post("/v1/quotes", MOTOR)["price"]


@pytest.mark.parametrize("turned", [False, True])
def test_covers_stand_side_by_side_in_the_order_of_the_request(front, turned):
    options = [
        {"label": "a", "request": FREIGHT},
        {"label": "b", "request": MOTOR},
        {"label": "c", "request": MOTOR | {"product": "moto"}},
    ]
    options = options[::-1] if turned else options
    found = front.post("/v1/quotes:compare", {"options": options}, 200)
    assert [one["label"] for one in found["options"]] == [one["label"] for one in options]
    by = {one["label"]: one for one in found["options"]}
    assert by["a"]["quote"]["price"] == front.post("/v1/quotes", FREIGHT)["price"]
    assert by["c"]["quote"] is None
    assert by["c"]["problem"]["type"].endswith("unknown-product")
    rows = {row["field"]: row for row in found["cover"]}
    places = [option["label"] for option in options]
    assert dict(zip(places, rows["days"]["values"], strict=True))["b"] == 365
    assert not rows["days"]["same"]
    assert found["notice"]["zh"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/quotes:compare", {"options": [{"request": MOTOR}, {"request": MOTOR}]}),
        ("/v1/quotes:preview", MOTOR),
    ],
)
def test_without_a_licence_nothing_is_previewed_or_compared(front, path, body):
    front.as_channel("direct")
    assert "licence" in front.refused(front.http.post(path, json=body), 403, "not-allowed")["detail"]
    front.as_channel("direct", licence="A-1")
    assert front.http.post(path, json=body).status_code == 200


def test_each_request_of_a_batch_has_its_own_answer(front):
    requests = [FREIGHT, MOTOR | {"risk": {}}, {"product": 3}, REFERRED, MOTOR]
    answers = front.post("/v1/quotes:batch", {"requests": requests}, 200)["answers"]
    assert [answer["status"] for answer in answers] == [201, 422, 422, 201, 201]
    assert [one["quote"]["status"] for one in answers if one["quote"]] == ["quoted", "referred", "quoted"]
    assert answers[1]["problem"]["type"].endswith("risk-not-usable")
    assert {fault["pointer"] for fault in answers[2]["problem"]["errors"]} >= {"/product", "/channel"}
    for answer in answers:
        if answer["quote"]:
            assert front.read(answer["quote"]) == answer["quote"]
    too_many = front.http.post("/v1/quotes:batch", json={"requests": [FREIGHT] * 101})
    front.refused(too_many, 422, "invalid-request")


# --- certificates -----------------------------------------------------------------------------------------


def test_a_forged_certificate_is_told_from_a_genuine_one(front):
    certificate = front.post("/v1/quotes", MOTOR)["certificate"]
    assert front.post("/v1/quotes:verify", certificate, 200) == {
        "genuine": True,
        "current": True,
        "status": "quoted",
    }
    raw = front.http.get("/v1/verification-keys").json()["keys"]
    keys = {key["key_id"]: urlsafe_b64decode(key["public_key"] + "=") for key in raw}
    public = Ed25519PublicKey.from_public_bytes(keys[certificate["key_id"]])
    assert verify(public, certificate)
    for field, value in (
        ("price_minor", certificate["price_minor"] - 1),
        ("price_minor", None),
        ("quote_id", "another"),
        ("product", "return_freight"),
        ("currency", "EUR"),
        ("expires_at", "2099-01-01T00:00:00"),
        ("cover_hash", "0" * 64),
        ("key_id", "0" * 16),
        ("signature", "AAAA"),
        ("signature", "é"),
    ):
        forged = certificate | {field: value}
        assert not front.post("/v1/quotes:verify", forged, 200)["genuine"], field
        assert field == "key_id" or not verify(public, forged), field


def test_keys_rotate_and_older_certificates_stay_genuine(insurer, front):
    certificate = front.post("/v1/quotes", MOTOR)["certificate"]
    newest = make_key(insurer.settings.signing, dt.datetime(2030, 1, 1))
    again = Front(insurer)
    with again.http:
        keys = again.http.get("/v1/verification-keys").json()["keys"]
        assert [key["key_id"] for key in keys if key["signs"]] == [newest]
        assert again.post("/v1/quotes:verify", certificate, 200)["genuine"]
        assert again.post("/v1/quotes", MOTOR)["certificate"]["key_id"] == newest


# --- again ------------------------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_answer_even_after_a_restart(front, insurer):
    key = {"Idempotency-Key": "order-1"}
    first = front.http.post("/v1/quotes", json=MOTOR, headers=key)
    turned = dict(reversed(MOTOR.items()))
    second = front.http.post("/v1/quotes", json=turned, headers=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    other = front.http.post("/v1/quotes", json=FREIGHT, headers=key)
    front.refused(other, 422, "key-reused")
    restarted = Front(insurer)
    with restarted.http:
        third = restarted.http.post("/v1/quotes", json=MOTOR, headers=key)
    assert (third.content, third.headers["idempotency-replayed"]) == (first.content, "true")
    front.now += dt.timedelta(hours=25)
    fresh = front.http.post("/v1/quotes", json=MOTOR, headers=key)
    assert fresh.status_code in {201, 409}


def test_keys_of_one_channel_are_none_of_another(front):
    key = {"Idempotency-Key": "shared"}
    front.as_channel("direct")
    mine = front.post("/v1/quotes", MOTOR, headers=key)
    front.as_channel("agent")
    yours = front.post("/v1/quotes", MOTOR | {"channel": "agent"}, headers=key)
    assert mine["quote_id"] != yours["quote_id"]


def test_a_refusal_is_not_kept_under_its_key(front):
    key = {"Idempotency-Key": "mended"}
    front.post("/v1/quotes", MOTOR | {"risk": {}}, 422, headers=key)
    assert front.post("/v1/quotes", MOTOR, 201, headers=key)["status"] == "quoted"


@pytest.mark.parametrize("key", ["", "x" * 65, "a b", "\x7f"])
def test_a_key_that_is_none_is_refused(front, key):
    answer = front.http.post("/v1/quotes", json=MOTOR, headers={"Idempotency-Key": key})
    front.refused(answer, 422, "invalid-request")


def test_a_request_under_way_is_not_begun_again(front, monkeypatch):
    """The second request comes while the first waits for the disk."""
    commit = RecordStore.commit
    second: list[Any] = []
    headers = {"Idempotency-Key": "slow", "content-type": "application/json"}

    async def slow(self: RecordStore, write: Any) -> None:
        if not second:
            second.append(None)
            second[0] = await asyncio.to_thread(front.http.post, "/v1/quotes", json=MOTOR, headers=headers)
        await commit(self, write)

    monkeypatch.setattr(RecordStore, "commit", slow)
    assert front.http.post("/v1/quotes", json=MOTOR, headers=headers).status_code == 201
    front.refused(second[0], 409, "in-flight")


def test_a_quote_and_the_reply_to_its_request_are_one_commit(front, insurer, monkeypatch):
    seen = []
    commit = RecordStore.commit

    async def spy(self: RecordStore, write: Any) -> None:
        seen.append(write)
        await commit(self, write)

    monkeypatch.setattr(RecordStore, "commit", spy)
    quote = front.post("/v1/quotes", MOTOR, headers={"Idempotency-Key": "one-commit"})
    (write,) = seen
    assert [one.quote_id for one in (*write.quotes, *write.replies)] == [quote["quote_id"]] * 2


# --- pages, tags, parts -----------------------------------------------------------------------------------


def test_pages_hold_every_quote_once_however_many_come_meanwhile(front):
    front.as_channel("agent")
    mine = [front.post("/v1/quotes", MOTOR | {"channel": "agent"})["quote_id"] for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = front.http.get("/v1/quotes", params=params).json()
        seen += [quote["quote_id"] for quote in page["quotes"]]
        front.post("/v1/quotes", MOTOR | {"channel": "agent"})
        cursor = page["next"]
        if cursor is None:
            break
    assert len(set(seen)) == len(seen)
    assert [one for one in seen if one in mine] == mine[::-1]
    assert {quote["channel"] for quote in page["quotes"]} == {"agent"}
    for bad in ("x", "0", "cTE=", "cS0x", "é"):
        front.refused(front.http.get("/v1/quotes", params={"cursor": bad}), 422, "invalid-cursor")
    for limit in (0, 101):
        front.refused(front.http.get("/v1/quotes", params={"limit": limit}), 422, "invalid-request")


def test_what_has_not_changed_is_not_sent_again(front):
    quote = front.post("/v1/quotes", MOTOR)
    place = f"/v1/quotes/{quote['quote_id']}"
    tag = front.http.get(place).headers["etag"]
    again = front.http.get(place, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    front.step(quote, "accept", {"price_minor": quote["price"]["minor"]})
    assert front.http.get(place, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("scopes", "expand", "ladder", "reasons", "commission"),
    [
        ("expand:ladder expand:reasons expand:commission", None, True, True, True),
        ("expand:ladder expand:reasons expand:commission", "", False, False, False),
        ("expand:ladder expand:reasons expand:commission", "reasons", False, True, False),
        ("expand:ladder expand:reasons", None, True, True, False),
        ("", None, False, False, False),
    ],
)
def test_scopes_and_expand_choose_the_parts(front, scopes, expand, ladder, reasons, commission):
    front.as_channel("direct", "quotes:write quotes:read " + scopes)
    params = {} if expand is None else {"expand": expand}
    quote = front.post("/v1/quotes", MOTOR, params=params)
    assert (quote["ladder"] is not None) == ladder
    assert (quote["reasons"] is not None) == reasons
    assert (quote["settlement"] is not None) == commission
    if ladder:
        names = [step["step"] for step in quote["ladder"]]
        assert ("commission" in names) == commission
        assert ("loadings" in names) != commission
        assert sum(step["minor"] for step in quote["ladder"]) == quote["price"]["minor"]


def test_a_part_without_scope_or_that_does_not_exist_is_refused(front):
    front.as_channel("direct", "quotes:write expand:ladder")
    answer = front.http.post("/v1/quotes?expand=commission", json=MOTOR)
    front.refused(answer, 403, "not-allowed")
    front.refused(front.http.post("/v1/quotes?expand=ladder,leader", json=MOTOR), 422, "unknown-expand")


# --- channels ---------------------------------------------------------------------------------------------


def test_one_channel_never_sees_or_moves_the_quote_of_another(front):
    front.as_channel("direct")
    quote = front.post("/v1/quotes", MOTOR)
    front.as_channel("agent")
    place = f"/v1/quotes/{quote['quote_id']}"
    unknown = "/v1/quotes/00000000-0000-0000-0000-000000000000"
    for verb, body in {
        "": None,
        "/steps": None,
        "/accept": {"price_minor": quote["price"]["minor"]},
        "/decline": {"reason": "price"},
        "/review": {"text": "x"},
        "/decision": {"decision": "decline", "reason": "x"},
        "/revoke": {"reason": "x"},
        "/complete": {},
    }.items():
        seen = []
        for path in (place, unknown):
            answer = front.http.request("GET" if body is None else "POST", path + verb, json=body)
            problem = front.refused(answer, 404, "unknown-quote")
            seen.append(problem["detail"].replace(path.rsplit("/", 1)[-1], "ID"))
        assert seen[0] == seen[1]
    superseding = MOTOR | {"channel": "agent", "supersedes": quote["quote_id"]}
    front.refused(front.http.post("/v1/quotes", json=superseding), 404, "unknown-quote")
    front.refused(front.http.post("/v1/quotes", json=MOTOR), 403, "not-allowed")
    listed = front.http.get("/v1/quotes", params={"limit": 100}).json()["quotes"]
    assert quote["quote_id"] not in {one["quote_id"] for one in listed}
    front.caller = OPEN
    assert front.read(quote)["status"] == "quoted"


def test_a_sandbox_quote_is_marked_so_that_nobody_learns_from_it(front, insurer):
    front.as_channel("direct", sandbox=True)
    quote = front.post("/v1/quotes", MOTOR)
    store = open_sync_records(insurer.settings)
    assert store.get(quote["quote_id"]).sandbox
    store.close()


# --- the document -----------------------------------------------------------------------------------------


def test_every_example_of_the_document_is_answered(front):
    document = front.http.get("/openapi.json").json()
    sent = 0
    for path, operations in document["paths"].items():
        if not path.startswith("/v1/quotes") or "post" not in operations:
            continue
        examples = operations["post"]["requestBody"]["content"]["application/json"]["examples"]
        for example in examples.values():
            body = example["value"]
            quote = front.post("/v1/quotes", FREIGHT)
            if path.endswith("/complete"):
                quote = front.post("/v1/quotes:draft", MOTOR | {"risk": {}})
            if path.endswith("/decision"):
                front.step(quote, "review", {"text": "x"})
            if path.endswith("/accept"):
                body = {"price_minor": quote["price"]["minor"]}
            answer = front.http.post(path.replace("{quote_id}", quote["quote_id"]), json=body)
            assert answer.status_code in {200, 201}, (path, answer.text)
            assert str(answer.status_code) in operations["post"]["responses"]
            sent += 1
    assert sent == sum(len(examples) for examples in REQUESTS.values())
