"""Fixtures that every kind of test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of real tables, or skip where it is absent."""
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PREMIA_SHARED_DATA does not name the folder of real tables")
    return Path(folder).resolve()
