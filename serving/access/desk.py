"""Keys, limits and denials of one process, kept in step with the database."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Final

from serving.access.denials import Denials, write_denials
from serving.access.keyring import Keyring
from serving.access.keys import read_changes, read_keys
from serving.access.rates import Failures
from serving.access.tokens import TokenSigner
from serving.clock import wall_clock
from serving.errors import AccessKeyError, StoreError
from serving.http.exchange import current
from serving.records.keys import open_vault
from serving.records.store import open_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from serving.access.denials import Denial
    from serving.access.keyring import Shown
    from serving.records.databases import Database
    from serving.settings import Settings

# Open to everybody; any other path, an unknown one too, needs a caller.
PUBLIC: Final = frozenset(
    {
        "/v1/health",
        "/v1/ready",
        "/v1/verification-keys",
        "/v1/quotes:verify",
        "/v1/oauth/token",
        "/openapi.json",
        "/docs",
        "/docs/oauth2-redirect",
        "/redoc",
    }
)
METRICS: Final = "/v1/metrics"
EVERY: Final = 1.0  # seconds between two looks at the database
log = logging.getLogger(__name__)


class Desk:
    """Where callers show who they are.

    Parameters
    ----------
    settings
        Where keys are kept, and limits. Nothing is read before `open`.
    """

    signer: TokenSigner
    keys: Keyring
    _database: Database

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # A demonstration sets its clock back; a key must not come to life again by that.
        self.clock = wall_clock()
        # Metrics of the loopback address ask for no key (docs/operations.md).
        self.public = PUBLIC | ({METRICS} if settings.metrics == "loopback" else set())
        self.failures = Failures(settings.failures_per_minute)
        self.denials = Denials()

    def identify(self, shown: str | None, address: str, now: float) -> Shown | str | int:
        """Find who calls: who, why that is not known, or how many seconds to wait before another try."""
        key_id = shown.split("_", 3)[2] if shown and shown.count("_") == 3 else None
        wait = None if self.keys.verified(shown) else self.failures.must_wait(address, key_id, now)
        if wait is not None:
            return wait
        if shown is None:
            found: Shown | str = "missing"
        elif shown.startswith("premia_"):
            found = self.keys.by_key(shown, self.clock())
        else:
            found = self.keys.by_token(shown, self.clock()) if shown.count(".") == 2 else "malformed"
        if isinstance(found, str):
            self.failures.failed(address, now)
        elif key_id is not None:
            self.failures.works(address, key_id)
        return found

    def deny(self, denial: Denial) -> None:
        """Put a denial on record."""
        exchange = current()
        self.denials.note(denial, exchange.request_id if exchange else "", self.clock())

    async def look(self) -> None:
        """Take up keys that have changed."""
        changes = await self._database.read(read_changes)
        if changes != self.keys.changes:
            self.keys.put(await self._database.read(read_keys), changes, monotonic())

    async def write(self, *, closing: bool = False) -> None:
        """Store what was denied since the last time."""
        rows = self.denials.take(self.clock(), closing=closing)
        if rows:
            await self._database.write(lambda connection: write_denials(connection, rows))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep in step while the service runs."""
        settings = self._settings
        vault = open_vault(settings)
        self._database = open_database(settings, vault)
        self._database.close_now()  # connections are made on the loop of the service
        self.signer = TokenSigner(vault.token_secret)
        self.keys = Keyring(self.signer, settings.rate, settings.sandbox_rate)
        await self.look()
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with suppress(StoreError):
                await self.write(closing=True)
            await self._database.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.look()
                await self.write()
            except StoreError as error:  # keys known so far go on; what is denied is counted on
                log.warning("keys cannot be read: %s", error)


def desk_of(settings: Settings) -> Desk | None:
    """Give the desk of a service; None in the open mode.

    Raises
    ------
    AccessKeyError
        If the open mode would be open to other machines.
    """
    if settings.access == "keys":
        return Desk(settings)
    if settings.host != "localhost" and not ip_address(settings.host).is_loopback:
        raise AccessKeyError(
            f"the open mode lets everybody do everything, and {settings.host} is no loopback address. "
            "Hint: PREMIA_HOST=127.0.0.1, or PREMIA_ACCESS=keys"
        )
    return None
