"""Settings, read from the environment once, at the edge."""

from __future__ import annotations

import getpass
from datetime import datetime  # noqa: TC003 - pydantic reads it at run time
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

import data

REFERENCE = Path(data.__file__).parent / "reference"


class Settings(BaseSettings):
    """Where things are: each field is the environment variable `PREMIA_<NAME>` (docs/settings.md)."""

    model_config = SettingsConfigDict(env_prefix="PREMIA_", frozen=True)

    lake: Path = Field(
        Path("data/lake"), description="Folder of the tables, models, quotes and serving history."
    )
    products: Path = Field(REFERENCE / "products", description="Folder of the product files.")
    plans: Path = Field(REFERENCE / "plans", description="Folder of the rating plans.")
    experiments: Path = Field(REFERENCE / "experiments", description="Folder of the price tests.")
    host: str = Field("127.0.0.1", description="Address on which the service listens.")
    port: int = Field(8000, ge=0, le=65535, description="Port on which the service listens.")
    access: Literal["keys", "open"] = Field(
        "keys",
        description="keys: who calls needs an API key; open: everybody may do everything (loopback only).",
    )
    author: str | None = Field(
        None, description="Who trains models, for the record; absent: the login name of the operating system."
    )
    clock: datetime | None = Field(
        None, description="Start the clock of the service at this UTC time (demo data, replays); absent: now."
    )

    @property
    def user(self) -> str:
        """Who works here, for the record."""
        return self.author or getpass.getuser()

    @property
    def registry(self) -> Path:
        """Folder of the model registry."""
        return self.lake / "_registry"

    @property
    def history(self) -> Path:
        """SQLite file with the recent history of customers and sellers."""
        return self.lake / "_serving" / "history.sqlite"

    @property
    def live(self) -> Path:
        """SQLite file with the events that arrived since the last sync, and consents."""
        return self.lake / "_serving" / "live.sqlite"

    @property
    def scores(self) -> Path:
        """SQLite file with the scores of all customers."""
        return self.lake / "_serving" / "scores.sqlite"

    @property
    def quotes(self) -> Path:
        """SQLite file with every quote given."""
        return self.lake / "_serving" / "quotes.sqlite"

    @property
    def rates(self) -> Path:
        """JSON file with the purchase rates of the recommender."""
        return self.lake / "_serving" / "purchase_rates.json"

    @property
    def propensities(self) -> Path:
        """JSON file with the propensities of the recommender."""
        return self.lake / "_serving" / "propensities.json"
