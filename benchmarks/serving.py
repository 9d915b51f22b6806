"""A durable quote over HTTP against the same endpoint bare, MLflow and BentoML.

Real processes on loopback: every server has the first core, the load generator the last one (PostgreSQL
is put nowhere). All servers are up at once and loaded in turn, in rounds; a figure is the median of the
rounds and a ratio is one of medians. Closed loop over keep-alive connections: the percentiles at
concurrency 16 are mostly queueing.

Ours: key checked, limits counted, profile read from the store, rules, score and exact reasons out of the
tables, ladder, stored before the answer. Bare (`benchmarks.http.bare`): the same request model, profile,
rules, tables and ladder of the same product in the same FastAPI on the same uvicorn, and a pydantic
answer with the price; no key, no record, no reasons. The peers, and `score_per_s` of the bare
application, are sent the inputs of the model and call the same scoring function. The peers run in
environments of their own with uvloop and httptools, one worker, no access log, no signature; where they
cannot be installed their figures are missing.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.http.load import CORES, LOAD_CORE, cycled, drive, post, serve_echo
from benchmarks.http.peers import (
    NoPeerError,
    bento_command,
    environment,
    mlflow_command,
    save_mlflow_model,
)
from benchmarks.http.servers import (
    END,
    credential,
    end_on_terminate,
    free_port,
    insurer,
    postgres,
    premia,
    serving,
)
from benchmarks.http.shop import CHANNEL, PRODUCT, Shop, shop
from features.load import default_spec
from serving.compose import load_services

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.http.load import Load
    from serving.settings import Settings

ROUNDS, SECONDS, WARM_SECONDS = 3, 1.5, 0.4
LOW, HIGH = 1, 16
REPEATS, BATCH = 300, 100


@dataclass(frozen=True)
class Arm:
    """A server and what is asked of it."""

    port: int
    requests: list[bytes]
    status: int = 200
    key: Mapping[str, str] = field(default_factory=dict)


def run() -> dict[str, float]:
    """Serve every arm and load it in turn.

    Returns
    -------
    dict of str to float
        Durable quotes a second at concurrency 16 by store, delays at 1 and 16, ratios to the other arms.
    """
    end_on_terminate()
    with tempfile.TemporaryDirectory(prefix="premia-serving-") as name, ExitStack() as stack:
        folder = Path(name)
        settings = insurer(folder)
        found = shop(settings)
        arms = _ours(settings, found, folder, stack)
        arms |= _bare(settings, found, folder, stack) | _peers(settings, found, folder, stack)
        os.sched_setaffinity(0, {LOAD_CORE})
        try:
            loads = _rounds(arms)
            extra = _beside(settings, arms["sqlite"], found)
            ceiling = _ceiling(folder, stack)
        finally:
            os.sched_setaffinity(0, CORES)
    return _figures(loads) | extra | {"generator_per_s": ceiling}


def _ours(settings: Settings, found: Shop, folder: Path, stack: ExitStack) -> dict[str, Arm]:
    stores: dict[str, dict[str, str]] = {
        "sqlite": {},
        "postgres": {"PREMIA_DATABASE": stack.enter_context(postgres(folder / "postgres"))},
    }
    arms = {}
    for store, named in stores.items():
        port = free_port()
        own = {"PREMIA_PORT": str(port), "PREMIA_ACCESS": "keys", **named}
        key = credential(settings, own, "--channel", CHANNEL, "--product", PRODUCT)
        stack.enter_context(serving(premia(settings.lake), port, own, folder / f"{store}.log"))
        arms[store] = Arm(port, [post("/v1/quotes", body, key) for body in found.asked], 201, key)
    return arms


def _bare(settings: Settings, found: Shop, folder: Path, stack: ExitStack) -> dict[str, Arm]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.http.bare", PRODUCT, str(port)]
    own = {"PREMIA_LAKE": str(settings.lake), "PREMIA_CLOCK": END.isoformat()}
    stack.enter_context(serving(command, port, own, folder / "bare.log"))
    return {
        "bare": Arm(port, [post("/v1/quotes", body) for body in found.asked], 201),
        "score": Arm(port, [post("/score", _json(one)) for one in found.inputs]),
    }


def _peers(settings: Settings, found: Shop, folder: Path, stack: ExitStack) -> dict[str, Arm]:
    services, _ = load_services(settings, default_spec())
    bundle = services[PRODUCT].bundle.save(folder / "bundle")
    arms = {}
    try:
        made, port = environment("mlflow"), free_port()
        save_mlflow_model(made, bundle, folder / "model")
        command, own = mlflow_command(made, folder / "model", port)
        stack.enter_context(serving(command, port, own, folder / "mlflow.log"))
        frames = [{"columns": list(row), "data": [list(row.values())]} for row in found.inputs]
        arms["mlflow"] = Arm(port, [post("/invocations", _json({"dataframe_split": one})) for one in frames])
    except NoPeerError as error:
        sys.stderr.write(f"serving: MLflow is left out, it cannot be installed: {error}\n")
    try:
        made, port = environment("bentoml"), free_port()
        command, own = bento_command(made, bundle, port)
        stack.enter_context(serving(command, port, own, folder / "bentoml.log"))
        arms["bentoml"] = Arm(port, [post("/score", _json(row)) for row in found.inputs])
    except NoPeerError as error:
        sys.stderr.write(f"serving: BentoML is left out, it cannot be installed: {error}\n")
    return arms


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _rounds(arms: dict[str, Arm]) -> dict[tuple[str, int], list[Load]]:
    found: dict[tuple[str, int], list[Load]] = {}
    for _ in range(ROUNDS):
        for (name, arm), connections in itertools.product(arms.items(), (LOW, HIGH)):
            requests = cycled(arm.requests)
            drive(arm.port, requests, connections=connections, seconds=WARM_SECONDS)
            load = drive(arm.port, requests, connections=connections, seconds=SECONDS)
            found.setdefault((name, connections), []).append(load.check(arm.status, name))
    return found


def _figures(loads: dict[tuple[str, int], list[Load]]) -> dict[str, float]:
    def rate(name: str) -> float:
        return statistics.median(load.per_s for load in loads[name, HIGH])

    def delay(connections: int, share: float, name: str = "sqlite") -> float:
        return statistics.median(load.percentile(share) for load in loads[name, connections])

    arms = {name for name, _ in loads}
    stores = [name for name in ("sqlite", "postgres") if name in arms]
    others = [name for name in ("bare", "score", "mlflow", "bentoml") if name in arms]
    return (
        {f"vs_{name}": rate("sqlite") / rate(name) for name in others}
        | {"p50_ms_c1": delay(LOW, 50), "p99_ms_c1": delay(LOW, 99), "p99_ms_c16": delay(HIGH, 99)}
        | {f"quotes_per_s_c16_{name}": rate(name) for name in stores}
        | {f"p99_ms_c16_{name}": delay(HIGH, 99, name) for name in stores if name != "sqlite"}
        | {f"{name}_per_s_c16": rate(name) for name in others}
    )


def _beside(settings: Settings, ours: Arm, found: Shop) -> dict[str, float]:
    """Time what else a channel sends, one at a time: p50, ms."""
    port = ours.port
    every = credential(settings, {}, "--all-channels", "--scope", "compare", "--licence", "L-1")
    replayed = post("/v1/quotes", found.asked[0], {**ours.key, "idempotency-key": "benchmark-replay"})
    hundred = b'{"requests":[' + b",".join(itertools.islice(itertools.cycle(found.asked), BATCH)) + b"]}"
    asked = {
        "replay_ms": (replayed, 201, REPEATS),
        "compare5_ms": (post("/v1/quotes:compare", found.compared, every), 200, REPEATS),
        "batch100_ms": (post("/v1/quotes:batch", hundred, ours.key), 200, REPEATS // 10),
    }
    return {
        name: _median(port, itertools.repeat(request, times), status, name)
        for name, (request, status, times) in asked.items()
    }


def _median(port: int, requests: Iterator[bytes], status: int, name: str) -> float:
    return drive(port, requests, connections=1).check(status, name).percentile(50)


def _ceiling(folder: Path, stack: ExitStack) -> float:
    """Give what the generator drives against a server that answers 3,500 bytes at once."""
    port = free_port()
    command = [sys.executable, "-c", f"from {serve_echo.__module__} import serve_echo; serve_echo({port})"]
    stack.enter_context(serving(command, port, {}, folder / "echo.log"))
    return drive(port, cycled([post("/v1/quotes", b"{}")]), connections=HIGH, seconds=SECONDS).per_s


if __name__ == "__main__":
    for figure, value in run().items():
        sys.stdout.write(f"{figure:24} {value:10.3f}\n")
