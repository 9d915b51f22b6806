"""What those see who watch the service: readiness, figures, traces."""

from __future__ import annotations

import sqlite3
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from serving.api import create_app
from serving.compose import open_service
from serving.http.exchange import Exchange
from serving.http.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Iterator

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

HERE = ("127.0.0.1", 50_000)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = {
    "product": "motor",
    "channel": "direct",
    "customer_id": 17,
    "risk": {
        "driver_age": 35,
        "vehicle_age": 3,
        "vehicle_power": 6,
        "bonus_malus": 100,
        "annual_km": 12.5,
        "fuel": "petrol",
        "region": "CN-GD",
    },
}


@pytest.fixture(scope="module")
def client(insurer) -> Iterator[TestClient]:
    app = create_app(lambda: open_service(insurer.settings), insurer.settings)
    with TestClient(app, client=HERE) as found:
        yield found


def figures(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = client.get("/v1/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(found: Any, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def test_the_figures_follow_what_was_asked(client):
    before = figures(client)
    for _ in range(3):
        assert client.post("/v1/quotes", json=BODY).status_code == 201
    assert client.get("/v1/quotes/nothing-of-the-kind").status_code == 404
    assert client.get("/nowhere/17").status_code == 404
    after = figures(client)

    def more(name: str, **labels: str) -> float:
        return of(after, name, **labels) - of(before, name, **labels)

    asked = {"method": "POST", "route": "/v1/quotes"}
    read = {"method": "GET", "route": "/v1/quotes/{quote_id}"}
    assert more("premia_requests_total", status="201", **asked) == 3
    assert more("premia_requests_total", status="404", **read) == 1
    assert more("premia_requests_total", status="404", method="GET", route="unmatched") == 1
    assert more("premia_request_seconds_count", **asked) == 3
    assert more("premia_quotes_total", product="motor", state="quoted", arm="champion") == 3
    assert more("premia_commit_writes_count") == 3
    assert more("premia_commit_writes_sum") == 3
    assert of(after, "premia_snapshot_age_seconds") > 0
    assert of(after, "premia_requests_now", stage="in_work") == 0
    service = client.app.state.service
    assert after["premia_swaps_total", frozenset()] == service.swaps
    assert after["premia_shadow_failures_total", frozenset()] == service.shadow_failures
    assert of(after, "premia_generation_age_seconds") > of(before, "premia_generation_age_seconds") > 0
    models = {dict(labels).get("product") for name, labels in after if name == "premia_model_info"}
    assert models >= {"motor", "return_freight"}


def test_no_label_comes_from_a_caller(client):
    def ask(number):
        client.request(f"X{number}", f"/v1/{number}")
        client.get(f"/v1/quotes/{number}")
        client.post("/v1/quotes", json=BODY | {"product": f"p{number}"})

    ask(0)
    figures(client)  # whose own route is counted, too
    before = set(figures(client))
    for number in range(1, 50):
        ask(number)
    assert set(figures(client)) == before


def test_figures_are_for_this_machine_or_an_administrator(client, insurer):
    elsewhere = TestClient(client.app, client=("203.0.113.7", 1))
    for answer in (
        elsewhere.get("/v1/metrics"),
        client.get("/v1/metrics", headers={"x-forwarded-for": "::1"}),
    ):
        assert answer.status_code == 403
        assert answer.json()["type"].endswith("/not-allowed")
    settings = insurer.settings.model_copy(update={"metrics": "admin"})
    app = create_app(lambda: open_service(settings), settings)
    route = next(route for route in app.openapi()["paths"].items() if route[0] == "/v1/metrics")
    assert route[1]["get"]["responses"]["403"]


def test_ready_says_what_is_wrong(client, insurer):
    assert client.get("/v1/ready").status_code == 200
    app = client.app
    app.traffic.stopping = True
    assert "told to stop" in client.get("/v1/ready").json()["detail"]
    assert client.get("/v1/health").status_code == 200
    app.traffic.stopping = False
    generation = app.state.service.generation
    app.state.service.generation = replace(generation, products={})
    assert "no product is in service" in client.get("/v1/ready").json()["detail"]
    app.state.service.generation = generation
    with sqlite3.connect(insurer.settings.quotes) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = client.get("/v1/ready")
        assert (answer.status_code, "locked" in answer.json()["detail"]) == (503, True)
        other.rollback()
    assert client.get("/v1/ready").status_code == 200


def test_a_sampled_quote_leaves_the_spans_of_its_stages(insurer):
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, "1.0")
    app = create_app(lambda: open_service(insurer.settings), insurer.settings)
    app.observers.append(traces.observe)
    with TestClient(app) as client:
        answer = client.post("/v1/quotes", json=BODY, headers={"traceparent": PARENT})
        client.post("/v1/quotes", json=BODY, headers={"traceparent": PARENT[:-1] + "0"})
        client.post("/v1/quotes", json=BODY)
    traces.close()
    *stages, root = exporter.get_finished_spans()
    assert root.name == "POST /v1/quotes"
    assert f"{root.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{root.parent.span_id:016x}" == PARENT.split("-")[2]
    assert f"{root.context.span_id:016x}" == answer.headers["traceparent"].split("-")[2]
    assert root.attributes["http.response.status_code"] == 201
    assert root.attributes["premia.product"] == "motor"
    assert "17" not in root.attributes.values()
    names = [stage.name for stage in stages]
    assert [name for name in names if name in ("read-risk", "profile", "score", "ladder", "commit")] == [
        "read-risk",
        "profile",
        "score",
        "ladder",
        "commit",
    ]
    for stage in stages:
        assert stage.parent.span_id == root.context.span_id
        assert root.start_time <= stage.start_time <= stage.end_time <= root.end_time


def test_a_trace_that_begins_here_has_no_parent():
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, "1.0")
    exchange = Exchange(share=1.0)
    exchange.method, exchange.route, exchange.status = "GET", "/v1/products", 503
    traces.observe(exchange)
    traces.close()
    (span,) = exporter.get_finished_spans()
    assert (span.parent, span.status.is_ok) == (None, False)
    assert f"{span.context.trace_id:032x}" == exchange.trace_id
