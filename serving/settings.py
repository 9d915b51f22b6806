"""Settings, read from the environment once, at the edge."""

from __future__ import annotations

import getpass
from datetime import datetime  # noqa: TC003 - pydantic reads it at run time
from pathlib import Path
from typing import Literal

from pydantic import AnyHttpUrl, Field, SecretStr
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
    bundles: Path = Field(REFERENCE / "bundles", description="Folder of the bundles.")
    contact_rules: Path = Field(
        REFERENCE / "contacts.toml", description="File that says how customers are contacted."
    )
    experiments: Path = Field(REFERENCE / "experiments", description="Folder of the price tests.")
    offer_tests: Path = Field(REFERENCE / "offer_tests", description="Folder of the offer tests.")
    random_offers: float = Field(
        0.05, ge=0, le=0.5, description="Share of customers and days that see eligible products at random."
    )
    host: str = Field("127.0.0.1", description="Address on which the service listens.")
    port: int = Field(8000, ge=0, le=65535, description="Port on which the service listens.")
    access: Literal["keys", "open"] = Field(
        "keys",
        description="keys: who calls needs an API key; open: everybody may do everything (loopback only).",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is logged: this and what is graver."
    )
    log_format: Literal["json", "text"] = Field(
        "json", description="One JSON object a line, or a line to read."
    )
    metrics: Literal["loopback", "admin"] = Field(
        "loopback", description="Who reads /v1/metrics: this machine alone, or a key with the scope `admin`."
    )
    otlp_endpoint: AnyHttpUrl | None = Field(
        None, description="OTLP collector that takes traces over HTTP; absent: no traces are made."
    )
    trace_share: float = Field(
        0.01, ge=0, le=1, description="Share of the traces begun here that are recorded."
    )
    max_in_work: int = Field(64, ge=1, le=10_000, description="Requests that are worked on at once.")
    max_waiting: int = Field(
        256, ge=0, le=100_000, description="Requests that wait for work; more are refused with 503."
    )
    max_open: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Requests being read, waiting and in work; more are refused with 503.",
    )
    wait_seconds: float = Field(2, gt=0, le=60, description="How long a request waits for work at most.")
    max_body_bytes: int = Field(
        1_048_576, ge=1_024, le=2**30, description="Size of a body; a larger one is refused with 413."
    )
    body_seconds: float = Field(
        10, gt=0, le=600, description="How long a body may take to arrive; then the answer is 408."
    )
    head_seconds: float = Field(
        10,
        gt=0,
        le=600,
        description="How long the head of a request may take to arrive; then the answer is 408.",
    )
    idle_seconds: int = Field(
        75,
        ge=1,
        le=3_600,
        description="How long a connection is kept between requests; more than the proxy's.",
    )
    drain_seconds: float = Field(
        0,
        ge=0,
        le=600,
        description="How long to listen on after SIGTERM, so that the balancer sees 503 first.",
    )
    stop_seconds: int = Field(
        30,
        ge=1,
        le=3_600,
        description="How long accepted requests may take after SIGTERM before they are cut off.",
    )
    rate: int = Field(100, ge=1, le=1_000_000, description="Requests a second of an API key.")
    sandbox_rate: int = Field(5, ge=1, le=1_000_000, description="Requests a second of a key for trial.")
    failures_per_minute: int = Field(
        20, ge=1, le=100_000, description="Failed authentications a minute of one address; more get 429."
    )
    trusted_proxies: str | None = Field(
        None, description="Addresses or networks, with commas between, whose X-Forwarded-For is believed."
    )
    author: str | None = Field(
        None, description="Who trains models, for the record; absent: the login name of the operating system."
    )
    database: str | None = Field(
        None, description="URL of the PostgreSQL database of the records; absent: an SQLite file in the lake."
    )
    master_key: SecretStr | None = Field(
        None,
        description="Master key of the records, 64 hexadecimal digits; absent: a file in the lake.",
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
    def contacts(self) -> Path:
        """SQLite file with the contacts made with customers."""
        return self.lake / "_serving" / "contacts.sqlite"

    @property
    def scores(self) -> Path:
        """SQLite file with the scores of all customers."""
        return self.lake / "_serving" / "scores.sqlite"

    @property
    def quotes(self) -> Path:
        """SQLite file with every quote given."""
        return self.lake / "_serving" / "quotes.sqlite"

    @property
    def signing(self) -> Path:
        """Folder of the keys that sign quotes."""
        return self.lake / "_serving" / "signing"

    @property
    def master_key_file(self) -> Path:
        """File with the master key of the records."""
        return self.lake / "_serving" / "master.key"

    @property
    def rates(self) -> Path:
        """JSON file with the purchase rates of the recommender."""
        return self.lake / "_serving" / "purchase_rates.json"

    @property
    def propensities(self) -> Path:
        """JSON file with the propensities of the recommender."""
        return self.lake / "_serving" / "propensities.json"
