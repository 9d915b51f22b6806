"""Half an hour of quotes at half of what the machine takes, with a change of models in the middle.

The server has the first core, the load generator the last one. The change, a second version that scores
as shadow, is begun by `premia challenge` in a process of its own at a low priority; the service loads
it beside the requests. `SOAK_SECONDS` sets how long it takes.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from benchmarks.http.load import CORES, LOAD_CORE, cycled, drive, post
from benchmarks.http.servers import (
    END,
    MAIN,
    ROOT,
    credential,
    end_on_terminate,
    free_port,
    insurer,
    premia,
    serving,
)
from benchmarks.http.shop import CHANNEL, PRODUCT, shop
from features.load import default_spec
from serving.compose import find_product
from serving.jobs import train_product

if TYPE_CHECKING:
    from benchmarks.http.load import Load
    from serving.settings import Settings

SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))
CONNECTIONS, SHARE, TRIAL_SECONDS = 16, 0.5, 5.0
SAMPLE_SECONDS = 2.0
# The service looks for changes once a second and loads what it finds in less than the rest.
AFTER_SECONDS = 5.0
APPROVER = "B. Approver"


@dataclass
class Watched:
    """What was seen beside the load; times are those of `time.perf_counter`.

    Attributes
    ----------
    moments, megabytes
        When the server had how much memory (RSS).
    swap
        When the change was begun, and when the service had had the time to take it up.
    """

    moments: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    swap: tuple[float, float] = (0.0, 0.0)


def run() -> dict[str, float]:
    """Serve, load, change the models, watch.

    Returns
    -------
    dict of str to float
        Minutes, quotes, errors, delays, growth of memory after the change, and what the change added to
        the slowest quote.
    """
    end_on_terminate()
    with tempfile.TemporaryDirectory(prefix="premia-soak-") as name, ExitStack() as stack:
        folder, port = Path(name), free_port()
        settings = insurer(folder)
        version = _second_version(settings)
        asked = shop(settings).asked
        own = {"PREMIA_PORT": str(port), "PREMIA_ACCESS": "keys"}
        key = credential(settings, own, "--channel", CHANNEL, "--product", PRODUCT)
        server = stack.enter_context(serving(premia(settings.lake), port, own, folder / "server.log"))
        os.sched_setaffinity(0, {LOAD_CORE})
        try:
            return _soak(
                server.pid, port, [post("/v1/quotes", body, key) for body in asked], version, settings
            )
        finally:
            os.sched_setaffinity(0, CORES)


def _second_version(settings: Settings) -> str:
    """Train another version of the product; it is proposed only."""
    outcome = train_product(find_product(settings, PRODUCT), settings, default_spec(), as_of=END, seed=2)
    return str(outcome.version)


def _soak(
    server: int, port: int, requests: list[bytes], version: str, settings: Settings
) -> dict[str, float]:
    full = drive(port, cycled(requests), connections=CONNECTIONS, seconds=TRIAL_SECONDS).check(201, "trial")
    one = drive(port, cycled(requests), connections=1, seconds=TRIAL_SECONDS).check(201, "trial")
    pause_s = CONNECTIONS / (SHARE * full.per_s) - one.percentile(50) / 1e3
    before, watched = _swaps(port), Watched()
    start = time.perf_counter()
    watcher = threading.Thread(target=_watch, args=(watched, server, start, version, settings))
    watcher.start()
    load = drive(port, cycled(requests), connections=CONNECTIONS, seconds=SECONDS, pause_s=pause_s)
    watcher.join()
    if _swaps(port) <= before:
        raise SystemExit("serving_soak: the service has taken up no change")
    return _figures(load, watched, start, full.per_s)


def _watch(watched: Watched, server: int, start: float, version: str, settings: Settings) -> None:
    process, change, begun = psutil.Process(server), None, 0.0
    while (now := time.perf_counter()) < start + SECONDS or not watched.swap[1]:
        watched.moments.append(now)
        watched.megabytes.append(process.memory_info().rss / 2**20)
        if change is None and now >= start + SECONDS / 2:
            change, begun = _challenge(version, settings), now
        elif change is not None and not watched.swap[1] and change.poll() is not None:
            watched.swap = (begun, now + AFTER_SECONDS)
        time.sleep(SAMPLE_SECONDS)


def _challenge(version: str, settings: Settings) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", MAIN, "challenge", PRODUCT, version, "--shadow", "--by", APPROVER]
    return subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--lake", str(settings.lake)],
        env={**os.environ, "PREMIA_CLOCK": (END + dt.timedelta(minutes=1)).isoformat()},
        cwd=ROOT,
        stdout=sys.stderr,
        preexec_fn=lambda: os.nice(10),
    )


def _swaps(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/metrics") as answer:  # noqa: S310 - loopback
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("premia_swaps_total"))


def _figures(load: Load, watched: Watched, start: float, full_per_s: float) -> dict[str, float]:
    delays, ended = np.array(load.delays_ms), np.array(load.ended_s)
    begun, over = (moment - start for moment in watched.swap)
    around = delays[(ended >= begun) & (ended <= over)].max()
    before = delays[(ended >= begun - (over - begun)) & (ended < begun)].max()
    late = np.array(watched.moments) >= watched.swap[1]  # what the second version takes is no growth
    hours = (np.array(watched.moments)[late] - start) / 3600
    return {
        "minutes": load.seconds / 60,
        "quotes": float(len(delays)),
        "load": load.per_s / full_per_s,
        "errors": float(len(delays) - load.statuses.get(201, 0) + load.lost),
        "mb_per_hour": float(np.polyfit(hours, np.array(watched.megabytes)[late], 1)[0])
        if late.sum() > 2
        else np.nan,
        "mb_at_end": watched.megabytes[-1],
        "p50_ms": load.percentile(50),
        "p99_ms": load.percentile(99),
        "swap_max_ms": float(around),
        "swap_added_ms": float(around - before),
    }


if __name__ == "__main__":
    for figure, value in run().items():
        sys.stdout.write(f"{figure:16} {value:10.3f}\n")
