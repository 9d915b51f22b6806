"""Fixtures that every kind of test may use."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.simulate import simulate
from features.load import default_spec
from serving.compose import find_product
from serving.jobs import sync_serving, train_product
from serving.settings import Settings

END = dt.datetime(2026, 1, 1)


def pytest_configure() -> None:
    """Fix the width of the terminal before any console is made, so that tables do not fold."""
    os.environ["COLUMNS"] = "200"


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
