"""Faults that are done to the running service: killed, no database, a full disk, another time."""

from __future__ import annotations

import datetime as dt
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from serving.records import open_sync_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving.settings import Settings
    from tests.conftest import Insurer, OwnPostgres

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PREMIA_TEST_KILLS", "3"))
CLIENTS = 4
START_SECONDS = 60
CODE = "motor"
BODY = {
    "product": CODE,
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


def lake_of(insurer: Insurer, folder: Path) -> None:
    """Make a lake with the models and histories of the insurer, and no record."""
    (folder / "_registry").symlink_to(insurer.settings.registry)
    (folder / "_serving").mkdir(exist_ok=True)
    for name in (insurer.settings.history, insurer.settings.scores):
        if name.is_file():
            shutil.copy2(name, folder / "_serving" / name.name)


@contextmanager
def service(
    settings: Settings, port: int, clock: dt.datetime
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Run the service as its command does, until the block ends."""
    command = [sys.executable, "-c", "from serving.cli import main; main()", "serve"]
    own = {
        "PREMIA_LAKE": str(settings.lake),
        "PREMIA_PORT": str(port),
        "PREMIA_CLOCK": clock.isoformat(),
        "PREMIA_LOG_LEVEL": "error",
    }
    if settings.database:
        own["PREMIA_DATABASE"] = settings.database
    log = settings.lake / "server.log"
    with (
        log.open("ab") as words,
        subprocess.Popen(command, env=os.environ | own, cwd=ROOT, stderr=words, stdout=words) as process,  # noqa: S603
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        try:
            until = time.monotonic() + START_SECONDS
            while not answers(client):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < until, "it does not start"
                time.sleep(0.05)
            yield process, client
        finally:
            process.kill()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/v1/ready").status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ask(client: httpx.Client, key: str) -> httpx.Response:
    return client.post("/v1/quotes", json=BODY, headers={"Idempotency-Key": key})


def refused(answer: httpx.Response) -> dict[str, Any]:
    """Give a 503 as a problem that says when to come again."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    return answer.json()


class Load:
    """Clients that ask for quotes until the service no longer answers, each request under its own key."""

    def __init__(self, port: int, name: str) -> None:
        self.asked: list[str] = []
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.others: list[httpx.Response] = []
        self._url = f"http://127.0.0.1:{port}"
        self._threads = [
            threading.Thread(target=self._work, args=(f"{name}-{one}",)) for one in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, name: str) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            for number in range(100_000):
                key = f"{name}-{number}"
                self.asked.append(key)
                try:
                    answer = ask(client, key)
                except httpx.TransportError:
                    return
                if answer.status_code == 201:
                    self.acknowledged[key] = answer.json()
                else:
                    self.others.append(answer)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def stored(settings: Settings) -> list[str]:
    """Give the ids of all quotes in the store, whose chain must be whole."""
    with closing(open_sync_records(settings)) as records:
        assert records.verify().faults == ()
        return [quote.quote_id for quote in records.of_product(CODE)]


def test_kill_9_under_load_loses_no_acknowledged_quote_and_makes_none_twice(
    insurer: Insurer, record_settings: Settings
):
    lake_of(insurer, record_settings.lake)
    port, chance = free_port(), random.Random(7)  # noqa: S311 - no secret
    acknowledged: dict[str, dict[str, Any]] = {}
    asked: list[str] = []
    unanswered: list[str] = []
    for kill in range(KILLS + 1):
        with service(record_settings, port, insurer.end) as (process, client):
            again = {key: ask(client, key) for key in unanswered}
            again |= {key: ask(client, key) for key in list(acknowledged)[-40:]}
            assert {answer.status_code for answer in again.values()} <= {201}
            for key, answer in again.items():
                assert acknowledged.setdefault(key, answer.json()) == answer.json()
            if kill == KILLS:
                break
            load = Load(port, f"round-{kill}")
            while len(load.acknowledged) < CLIENTS:  # it is under way
                time.sleep(0.001)
            time.sleep(chance.uniform(0.05, 0.3))
            process.send_signal(signal.SIGKILL)
            load.join()
            assert load.others == []
            acknowledged |= load.acknowledged
            asked += load.asked
            unanswered = [key for key in load.asked if key not in load.acknowledged]
            assert unanswered
    found = stored(record_settings)
    assert sorted(found) == sorted(answer["quote_id"] for answer in acknowledged.values())
    assert len(set(found)) == len(found) == len(set(asked))


def test_without_its_database_it_answers_503_then_goes_on(
    insurer: Insurer, tmp_path: Path, own_postgres: OwnPostgres
):
    settings = insurer.settings.model_copy(update={"lake": tmp_path, "database": own_postgres.url})
    lake_of(insurer, tmp_path)
    port = free_port()
    with service(settings, port, insurer.end) as (process, client):
        load = Load(port, "load")
        while len(load.acknowledged) < 20:
            time.sleep(0.001)
        own_postgres.control("stop")
        assert refused(ask(client, "while-away"))["type"].endswith("store-not-ready")
        assert client.get("/v1/health").status_code == 200
        assert client.get("/v1/ready").status_code == 503
        own_postgres.control("start")
        after = ask(client, "while-away")
        assert after.status_code == 201
        assert answers(client)
        before = len(load.acknowledged)
        while len(load.acknowledged) < before + 20:
            time.sleep(0.001)
        process.terminate()
        load.join()
    for answer in load.others:
        refused(answer)
    given = {answer["quote_id"] for answer in load.acknowledged.values()} | {after.json()["quote_id"]}
    found = stored(settings)
    assert given <= set(found)
    assert len(found) <= len(load.asked) + 1


def test_a_full_disk_is_503_and_it_goes_on_when_there_is_room(insurer: Insurer, tmp_path: Path):
    """A limit on the size of files is as hard as the end of a disk, and needs no privilege."""
    settings = insurer.settings.model_copy(update={"lake": tmp_path})
    lake_of(insurer, tmp_path)
    with service(settings, free_port(), insurer.end) as (process, client):
        given = [ask(client, "first").json()["quote_id"]]
        room = Path(f"{settings.quotes}-wal").stat().st_size + 1_000_000
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, hard))
        for number in range(2_000):
            answer = ask(client, f"filling-{number}")
            if answer.status_code != 201:
                break
            given.append(answer.json()["quote_id"])
        assert refused(answer)["type"].endswith("store-not-ready")
        refused(ask(client, "full"))
        assert client.get(f"/v1/quotes/{given[0]}").status_code == 200
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        for key in (f"filling-{number}", "full"):
            again = ask(client, key)
            assert again.status_code == 201, again.text
            given.append(again.json()["quote_id"])
        assert answers(client)
    assert len(given) > 5
    assert sorted(stored(settings)) == sorted(given)


def test_a_clock_that_jumps_back_moves_expiry_and_nothing_else(insurer: Insurer, tmp_path: Path):
    settings = insurer.settings.model_copy(update={"lake": tmp_path})
    lake_of(insurer, tmp_path)
    port = free_port()
    quotes = []
    for jump in (dt.timedelta(hours=1), dt.timedelta()):
        clock = insurer.end + jump
        with service(settings, port, clock) as (_, client):
            for earlier in quotes:
                shown = client.get(f"/v1/quotes/{earlier['quote_id']}")
                assert shown.status_code == 200
                over = clock > dt.datetime.fromisoformat(earlier["expires_at"]).replace(tzinfo=None)
                assert (shown.json()["status"] == "expired") == over, shown.text
            answer = client.post("/v1/quotes", json=BODY)
            assert answer.status_code == 201, answer.text
            quotes.append(answer.json())
            at = dt.datetime.fromisoformat(quotes[-1]["created_at"]).replace(tzinfo=None)
            assert clock <= at < clock + dt.timedelta(minutes=5)
    assert stored(settings) == [quote["quote_id"] for quote in quotes]
