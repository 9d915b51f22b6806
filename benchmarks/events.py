"""Events over HTTP: how many a second are durable, and how soon a profile sees one."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.simulate import simulate
from features.load import default_spec
from serving.jobs import sync_serving
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CUSTOMERS, BATCH, SECONDS, SINGLES = 20_000, 100, 10.0, 1_000
END = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - UTC
START_SECONDS = 120


def run() -> dict[str, float]:
    """Serve a simulated insurer in a process of its own and send it events over loopback.

    Returns
    -------
    dict of str to float
        events_per_s in batches of 100, each batch durable before its answer; from sending one event to
        holding a profile that counts it, p50 and p99 in milliseconds, of which `post` is the event alone.
    """
    with tempfile.TemporaryDirectory(prefix="premia-events-") as folder:
        settings = Settings(lake=Path(folder))
        simulate(settings.lake, CUSTOMERS, 1)
        sync_serving(settings, default_spec(), END)
        with _served(settings.lake) as port, closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
            rate = _rate(client)
            posts, sees = _delays(client)
    p50, p99 = np.percentile(sees, [50, 99])
    return {
        "events_per_s": rate,
        "sees_p50_ms": float(p50),
        "sees_p99_ms": float(p99),
        "post_p50_ms": float(np.percentile(posts, 50)),
    }


@contextmanager
def _served(lake: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = {**os.environ, "PREMIA_PORT": str(port)}
    command = [sys.executable, "-c", "from serving.cli import main; main()", "serve"]
    command += [
        "--lake",
        str(lake),
        "--clock",
        (END + dt.timedelta(hours=1)).isoformat(),
        "--log-level",
        "warning",
    ]
    server = subprocess.Popen(command, env=environment)  # noqa: S603 - our own interpreter
    try:
        _wait(port)
        yield port
    finally:
        server.terminate()
        server.wait(30)


def _wait(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("events: the service did not start")


def _order(number: int) -> dict[str, Any]:
    return {
        "type": "order",
        "event_id": f"b{number}",
        "order_id": 10**15 + number,
        "customer_id": 1 + number % CUSTOMERS,
        "seller_id": number % 1_000,
        "category": "shoes",
        "amount_minor": 9_900,
        "ordered_at": (END + dt.timedelta(microseconds=number)).isoformat(),
    }


def _send(
    client: http.client.HTTPConnection, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    content = None if body is None else json.dumps(body)
    client.request(method, path, content, {"content-type": "application/json"})
    with client.getresponse() as answer:
        read: dict[str, Any] = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"events: {path} answered {answer.status}: {read}")
    return read


def _rate(client: http.client.HTTPConnection) -> float:
    sent, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        answer = _send(client, "POST", "/v1/events", {"events": [_order(sent + n) for n in range(BATCH)]})
        if answer["counts"] != {"accepted": BATCH}:
            raise SystemExit(f"events: not all were accepted: {answer['counts']}")
        sent += BATCH
    return sent / (time.perf_counter() - start)


def _delays(client: http.client.HTTPConnection) -> tuple[list[float], list[float]]:
    posts, sees = [], []
    for number in range(SINGLES):
        customer = 1 + (7 * number) % CUSTOMERS
        before = _orders(client, customer)
        order = {**_order(10**9 + number), "customer_id": customer, "ordered_at": END.isoformat()}
        start = time.perf_counter()
        _send(client, "POST", "/v1/events", {"events": [order]})
        posts.append((time.perf_counter() - start) * 1e3)
        after = _orders(client, customer)
        sees.append((time.perf_counter() - start) * 1e3)
        if after != before + 1:
            raise SystemExit("events: a profile did not see the event")
    return posts, sees


def _orders(client: http.client.HTTPConnection, customer: int) -> int:
    profile = _send(client, "GET", f"/v1/customers/{customer}/risk-profile")
    return next(item["value"] for item in profile["features"] if item["name"] == "orders_365d")


if __name__ == "__main__":
    for name, value in run().items():
        sys.stdout.write(f"{name:14} {value:.3f}\n")
