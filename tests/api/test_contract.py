"""The whole API against its own document: no fault of the service, no status that is not documented."""

from __future__ import annotations

import json
import os
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from serving.api import create_app
from serving.compose import open_service
from serving.examples import FREIGHT, MOTOR, REQUESTS
from serving.problems import MEDIA_TYPE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("insurer"),
    pytest.mark.filterwarnings("ignore"),  # of schemathesis
]
# Requests an operation, and malformed bodies altogether; PREMIA_FUZZ=10000 for the full count.
EXAMPLES = int(os.environ.get("PREMIA_FUZZ", "20"))
BODIES = int(os.environ.get("PREMIA_FUZZ", "300"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
QUICK: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
}


@pytest.fixture(scope="module")
def url(insurer) -> Iterator[str]:
    app = create_app(lambda: open_service(insurer.settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_every_answer_is_one_that_the_document_names(url):
    found = schemathesis.openapi.from_url(f"{url}/openapi.json")
    tried = set()
    for result in found.get_all_operations():
        operation = result.ok()

        @settings(max_examples=EXAMPLES, **QUICK)
        @given(case=operation.as_strategy())
        def send(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        send()
        tried.add((operation.method.upper(), operation.path))
    assert ("POST", "/v1/quotes/{quote_id}/accept") in tried
    assert len(tried) >= 25


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FORM = "/v1/oauth/token"
GOOD = [MOTOR, FREIGHT, *(one["value"] for some in REQUESTS.values() for one in some.values())]
EVENT = {"type": "order", "event_id": "e", "order_id": 1, "customer_id": 1, "seller_id": 2, "category": "x"}
GOOD += [
    {"events": [EVENT | {"amount_minor": 1, "ordered_at": "2025-12-31T00:00:00+08:00"}]},
    {"customer_id": 1, "k": 3, "needs": {}},
]


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """Give a good body of some route with one value or name in it, however deep, made into something else."""
    body = json.loads(json.dumps(draw(st.sampled_from(GOOD))))
    place = body
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys)) if keys else None
        if key is None or not isinstance(place[key], dict | list) or draw(st.booleans()):
            break
        place = place[key]
    if isinstance(place, dict) and (key is None or draw(st.booleans())):
        key = draw(st.sampled_from(["x", "supersedes", "context", "risk"]) | st.text(max_size=8))
    if key is not None:
        place[key] = draw(ANYTHING)
    return body


def test_no_malformed_body_breaks_a_route_or_gets_an_answer_that_is_no_problem(url):
    seen: dict[str, set[int]] = {}
    with httpx.Client(base_url=url, timeout=30) as http:
        document = http.get("/openapi.json").json()["paths"]
        routes = {
            path.replace("{quote_id}", "x"): set(operations["post"]["responses"])
            for path, operations in document.items()
            if "requestBody" in operations.get("post", {})
        }

        @settings(max_examples=BODIES, **QUICK)
        @given(
            path=st.sampled_from(sorted(routes)),
            body=(spoilt() | ANYTHING).map(json.dumps) | st.text(max_size=60) | st.binary(max_size=200),
            key=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=70),
        )
        def send(path: str, body: str | bytes, key: str | None) -> None:
            heads = {} if key is None else {"idempotency-key": key}
            kind = "application/x-www-form-urlencoded" if path == FORM else "application/json"
            content = body.encode() if isinstance(body, str) else body
            answer = http.post(path, content=content, headers={"content-type": kind, **heads})
            assert answer.status_code < 500, answer.text
            assert str(answer.status_code) in routes[path], answer.text
            seen.setdefault(path, set()).add(answer.status_code)
            if answer.status_code >= 400 and path != FORM:
                assert answer.headers["content-type"] == MEDIA_TYPE
                for fault in answer.json()["errors"]:
                    assert fault["pointer"] == "" or fault["pointer"].startswith("/")

        send()
    assert set(seen) == set(routes)
    assert all(min(statuses) >= 200 and max(statuses) >= 400 for statuses in seen.values())
