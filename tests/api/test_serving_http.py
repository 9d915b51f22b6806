"""What stands before the routes, over real sockets: identity, limits, back-pressure, an orderly stop."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import Request  # noqa: TC002 - FastAPI reads annotations at run time
from hypothesis import given
from hypothesis import strategies as st

from serving.access.caller import OPEN
from serving.http.body import MAX_DEPTH, too_deep
from serving.http.exchange import Exchange, mark, note_arm, note_quote
from serving.http.limits import Limits
from serving.http.logs import BufferedHandler, log_request, logging_to
from serving.http.server import build_server
from serving.http.stack import Application
from serving.problems import MEDIA_TYPE, install_problems
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def small_app(settings: Settings) -> tuple[Application, threading.Event]:
    """Build an application whose `/slow` answers when the event is set."""
    app, go = Application(Limits.of(settings)), threading.Event()
    install_problems(app)
    app.observers.append(log_request)

    @app.get("/v1/health")
    async def health() -> str:
        return "ok"

    @app.post("/echo")
    async def echo(request: Request) -> Any:
        return await request.json()

    @app.get("/slow/{customer_id}")
    async def slow(customer_id: int) -> int:
        while not go.is_set():
            await asyncio.sleep(0.01)
        return customer_id

    @app.get("/stages")
    async def stages(request: Request) -> None:
        request.scope["premia.caller"] = OPEN
        time.sleep(0.002)
        mark("profile")
        mark("score")
        note_arm("q1", "challenger")
        note_quote("motor", "direct", "quoted", "q1")

    @app.get("/broken/{customer_id}")
    async def broken(customer_id: int) -> None:
        raise ValueError(f"customer {customer_id} with secret 4711")

    return app, go


class Running:
    """A server on a socket of this machine."""

    def __init__(self, app: Application, go: threading.Event, port: int) -> None:
        self.app, self.go, self.port = app, go, port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=10)

    def raw(self, *parts: bytes, pause: float = 0.0) -> bytes:
        """Send bytes as they are and give what comes back until the server hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            found = b""
            while chunk := connection.recv(65_536):
                found += chunk
        return found


@contextmanager
def running(**changes: Any) -> Iterator[Running]:
    settings = Settings(port=0, idle_seconds=1, **changes)
    app, go = small_app(settings)
    server = build_server(app, settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    found = Running(app, go, server.servers[0].sockets[0].getsockname()[1])
    try:
        yield found
    finally:
        go.set()
        found.client.close()
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(head_seconds=0.3, body_seconds=0.3, max_body_bytes=2_000) as found:
        yield found


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    body = answer.json()
    assert body["type"].endswith(f"/{kind}")
    assert body["status"] == status
    assert body["trace_id"] == answer.headers["traceparent"].split("-")[1]
    assert body["detail"]
    return body


# --- identity ---------------------------------------------------------------------------------------------


def test_a_well_formed_request_id_is_echoed_and_a_trace_continued(server):
    given = {"x-request-id": "order-17.a_B", "traceparent": PARENT}
    answer = server.client.get("/v1/health", headers=given)
    assert answer.headers["x-request-id"] == "order-17.a_B"
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", PARENT.split("-")[1], "01")
    assert re.fullmatch(r"[0-9a-f]{16}", span)
    assert span != PARENT.split("-")[2]


@pytest.mark.parametrize("bad", ["", "a" * 65, "two words", 'x"y', "\u00e9", "a;b"])
def test_another_request_id_is_replaced(server, bad):
    answer = server.client.get("/v1/health", headers={b"x-request-id": bad.encode()})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    "bad",
    [
        "",
        PARENT + "-more",
        PARENT.replace("00-", "ff-", 1),
        PARENT.upper(),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    ],
)
def test_another_traceparent_begins_a_new_trace(bad):
    exchange = Exchange([(b"traceparent", bad.encode())])
    assert exchange.trace_id != PARENT.split("-")[1]
    assert (exchange.parent_id, exchange.sampled) == ("", False)


def test_a_traceparent_of_a_later_version_is_read():
    exchange = Exchange([(b"traceparent", PARENT.replace("00-", "cc-", 1).encode() + b"-what-comes")])
    assert (exchange.trace_id, exchange.sampled) == (PARENT.split("-")[1], True)


def test_the_share_of_traces_is_kept():
    sampled = sum(Exchange(share=0.25).sampled for _ in range(2_000))
    assert 400 < sampled < 600
    assert not any(Exchange(share=0).sampled for _ in range(100))
    assert all(Exchange(share=1).sampled for _ in range(100))


def test_the_answer_says_which_stage_took_how_long(server):
    timing = server.client.get("/stages").headers["server-timing"]
    spent = {name: float(ms) for name, ms in re.findall(r"([\w-]+);dur=([\d.]+)", timing)}
    assert list(spent) == ["profile", "score", "total"]
    assert spent["profile"] >= 2
    assert spent["profile"] + spent["score"] <= spent["total"]


# --- bodies -----------------------------------------------------------------------------------------------


def test_a_body_up_to_the_limit_is_taken(server):
    body = json.dumps("x" * 1_998)
    assert len(body) == 2_000
    assert server.client.post("/echo", content=body).json() == "x" * 1_998


def test_a_larger_body_is_refused_by_its_declared_length(server):
    problem(server.client.post("/echo", content="x" * 2_001), 413, "too-large")


def test_a_larger_body_without_declared_length_is_refused(server):
    problem(server.client.post("/echo", content=iter([b"x" * 1_500, b"x" * 1_500])), 413, "too-large")


def test_a_length_of_a_million_digits_is_refused(server):
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 5_000 + b"\r\n\r\n"
    assert server.raw(head).split(b" ")[1] in {b"400", b"413"}


@pytest.mark.parametrize("bomb", ["[" * 1_000, '{"a":' * 200 + "1" + "}" * 200, "[" * 33 + "]" * 33])
def test_a_body_nested_too_deep_is_refused(server, bomb):
    problem(server.client.post("/echo", content=bomb), 422, "too-deep")


def test_brackets_in_texts_do_not_count(server):
    body = [r'a"\\' + "[{" * 100, *([[1]] * 40)]
    assert server.client.post("/echo", json=body).json() == body


JSON = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\a', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(JSON, st.integers(0, MAX_DEPTH + 5))
def test_depth_is_that_of_the_parsed_value(value, wraps):
    for _ in range(wraps):
        value = [value, "[[["]
    assert too_deep(json.dumps(value).encode()) == (depth_of(value) > MAX_DEPTH)


def test_a_hostile_text_is_judged_in_linear_time():
    begun = time.perf_counter()
    too_deep(b"[" * 40 + rb'"\"' * 300_000)
    assert time.perf_counter() - begun < 2  # quadratic time would be minutes


# --- slow clients -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [b"", b"POST /echo HT", b"POST /echo HTTP/1.1\r\nhost: x\r\n"])
def test_a_head_that_does_not_come_is_answered_and_hung_up(server, begin):
    answer = server.raw(begin)
    assert answer.startswith(b"HTTP/1.1 408 ")
    body = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    assert (body["status"], body["type"].rsplit("/")[-1]) == (408, "too-slow")
    assert f"traceparent: 00-{body['trace_id']}".encode() in answer


def test_a_head_that_drips_is_cut_off_all_the_same(server):
    begun = time.perf_counter()
    with pytest.raises((ConnectionError, BrokenPipeError)):
        server.raw(b"GET /v1/health HTTP/1.1\r\n", *[b"x-drip: 1\r\n"] * 40, pause=0.05)
    assert time.perf_counter() - begun < 1.5


def test_a_head_without_end_is_refused(server):
    answer = server.raw(b"GET /v1/health HTTP/1.1\r\nx-much: " + b"m" * 70_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_second_head_on_the_connection_is_timed_too(server):
    first = b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = server.raw(first, b"GET /v1/hea", pause=0.05)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


def test_a_body_that_drips_is_answered_and_hung_up(server):
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
    begun = time.perf_counter()
    answer = server.raw(head, b"[", b"1", pause=0.05)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"too-slow" in answer
    assert time.perf_counter() - begun < 1.5
    assert server.app.traffic.open == 0


def test_what_is_no_http_is_a_problem(server):
    answer = server.raw(b"\x16\x03\x01 hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["title"] == "Bad Request"


def test_a_client_that_leaves_in_mid_body_leaves_nothing_behind(server):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n[")
    for _ in range(100):
        if server.app.traffic.open == 0:
            break
        time.sleep(0.01)
    assert server.app.traffic.open == 0


# --- back-pressure ----------------------------------------------------------------------------------------


def gather(running: Running, count: int) -> tuple[list[threading.Thread], list[httpx.Response]]:
    """Ask for `/slow` so many times at once."""
    answers: list[httpx.Response] = []
    ask = lambda: answers.append(httpx.get(f"{running.url}/slow/17", timeout=10))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def wait_until(true: Any) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_what_is_too_much_is_refused_at_once_and_the_rest_answered():
    with running(max_in_work=2, max_waiting=3, wait_seconds=30) as busy:
        traffic = busy.app.traffic
        threads, answers = gather(busy, 12)
        wait_until(lambda: len(answers) == 7)
        assert (traffic.in_work, traffic.waiting, traffic.refused["queue"]) == (2, 3, 7)
        for answer in answers:
            problem(answer, 503, "busy")
            assert answer.headers["retry-after"] == "1"
        assert busy.client.get("/v1/health").json() == "ok"
        busy.go.set()
        for thread in threads:
            thread.join()
        assert [answer.json() for answer in answers if answer.status_code == 200] == [17] * 5
        assert busy.client.get("/slow/1").json() == 1
        wait_until(lambda: (traffic.open, traffic.in_work, traffic.waiting) == (0, 0, 0))


def test_who_waits_too_long_is_refused():
    with running(max_in_work=1, wait_seconds=0.1) as busy:
        threads, answers = gather(busy, 3)
        wait_until(lambda: len(answers) == 2)
        for answer in answers:
            assert "0.1 s" in problem(answer, 503, "busy")["detail"]
        busy.go.set()
        for thread in threads:
            thread.join()
        assert sorted(answer.status_code for answer in answers) == [200, 503, 503]


def test_requests_being_read_are_bounded_too():
    with running(max_open=2, body_seconds=5) as busy:
        head = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"
        held = [socket.create_connection(("127.0.0.1", busy.port)) for _ in range(2)]
        for connection in held:
            connection.sendall(head)
        wait_until(lambda: busy.app.traffic.open == 2)
        problem(busy.client.post("/echo", json=1), 503, "busy")
        for connection in held:
            connection.sendall(b"[]")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
            connection.close()
        assert busy.client.post("/echo", json=1).json() == 1


# --- the log ----------------------------------------------------------------------------------------------


def test_the_log_names_route_key_product_and_trace_and_nothing_of_the_caller():
    stream = io.StringIO()
    with logging_to(stream), running() as server:
        server.go.set()
        given = {"traceparent": PARENT, "authorization": "Bearer premia-secret-key"}
        server.client.get("/stages?customer_id=990017", headers=given)
        server.client.get("/slow/990017?risk=tariff-zone-7", headers=given)
        server.client.get("/nowhere/990017", headers=given)
        server.client.post("/echo", json={"customer_id": 990017, "driver_age": 4711}, headers=given)
        problem(server.client.get("/broken/990017", headers=given), 500, "unexpected")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    lines = [line for line in lines if not line["logger"].startswith("http")]  # the client's own
    for secret in ("990017", "4711", "premia-secret-key", "tariff-zone-7"):
        assert secret not in json.dumps(lines)
    ours = [line for line in lines if line.get("trace_id") == PARENT.split("-")[1]]
    asked = [line for line in ours if line["logger"] == "premia.requests"]
    assert [(line["route"], line["status"]) for line in asked] == [
        ("/stages", 200),
        ("/slow/{customer_id}", 200),
        ("unmatched", 404),
        ("/echo", 200),
        ("/broken/{customer_id}", 500),
    ]
    first = asked[0]
    assert [first[name] for name in ("method", "key_id", "product", "channel", "state", "arm")] == [
        "GET",
        "open",
        "motor",
        "direct",
        "quoted",
        "challenger",
    ]
    assert first["ms"] >= 2
    (fault,) = [line for line in lines if "error" in line]
    assert fault["error"] == "ValueError"
    assert any("broken" in at for at in fault["at"])
    assert fault["trace_id"] == PARENT.split("-")[1]


def test_the_log_can_be_a_line_to_read_and_leave_out_what_is_not_grave():
    stream = io.StringIO()
    with logging_to(stream, "warning", "text"):
        logging.getLogger("premia.requests").info("request")
        logging.getLogger("serving.snapshot").warning("the %s stays", "old one")
    (line,) = stream.getvalue().splitlines()
    assert re.fullmatch(r"\S+ warning serving.snapshot the old one stays", line)


def test_a_log_that_nobody_reads_stops_no_request(monkeypatch):
    monkeypatch.setattr("serving.http.logs.KEPT_LINES", 5)
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    handler = BufferedHandler(stream)
    begun = time.perf_counter()
    for _ in range(40):
        for _ in range(5):
            handler.emit(logging.makeLogRecord({"msg": "x" * 10_000}))
        time.sleep(0.01)
    assert time.perf_counter() - begun < 5
    closing = threading.Thread(target=lambda: (handler.close(), stream.close()))
    closing.start()
    written = b""
    while chunk := os.read(reader, 1_000_000):  # until the other end is closed
        written += chunk
    closing.join()
    os.close(reader)
    assert b"lines of the log were dropped" in written


# --- an orderly stop --------------------------------------------------------------------------------------

SCRIPT = """
    import asyncio, sys
    from contextlib import asynccontextmanager
    from fastapi import Request
    from serving.http.limits import Limits
    from serving.http.logs import log_request, logging_to
    from serving.http.server import build_server
    from serving.http.stack import Application
    from serving.problems import install_problems, problem_response
    from serving.settings import Settings

    @asynccontextmanager
    async def lifespan(app):
        yield
        print("stores closed after", app.answered, flush=True)

    settings = Settings(port=0, drain_seconds=0.5)
    app = Application(Limits.of(settings), lifespan=lifespan)
    app.answered = 0
    install_problems(app)

    @app.get("/slow")
    async def slow():
        await asyncio.sleep(1.2)
        app.answered += 1
        return "done"

    @app.get("/v1/ready")
    async def ready(request: Request):
        return problem_response(request, 503, "not-ready", "x", "x") if app.traffic.stopping else "ok"

    server = build_server(app, settings)
    async def main():
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await task
    asyncio.run(main())
"""


@pytest.mark.slow
def test_on_sigterm_what_was_accepted_is_answered_and_nothing_new_taken():
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:  # noqa: S603
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/slow", timeout=10)))
            for _ in range(8)
        ]
        with httpx.Client(base_url=url) as client:
            assert client.get("/v1/ready").status_code == 200
            for thread in threads:
                thread.start()
            time.sleep(0.4)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            assert client.get("/v1/ready").status_code == 503
            refused = client.get("/slow")
            problem(refused, 503, "stopping")
            assert refused.headers["connection"] == "close"
        for thread in threads:
            thread.join()
        assert [answer.json() for answer in answers] == ["done"] * 8
        assert process.stdout.read() == "stores closed after 8\n"
        assert process.wait(10) == -signal.SIGTERM
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v1/ready")
