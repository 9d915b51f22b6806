"""Where records are kept: one SQLite file, or a PostgreSQL database."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from serving.errors import StoreError
from serving.records.layout import bring_up_to_date

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from serving.records.keys import Vault

T = TypeVar("T")
# All who append to one PostgreSQL database take this lock, so that the chain has one end.
ADVISORY_LOCK = 0x7072656D6961
CONNECTIONS = 5
CONNECT_SECONDS, COMMAND_SECONDS = 5, 30


class Database(Protocol):
    """What both kinds of database do; `..._now` is for those who have no event loop."""

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """Read."""

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """Write in one transaction from which all other writers are locked out."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Write in one transaction from which all other writers are locked out."""

    def wipe_now(self) -> None:
        """Overwrite what was deleted."""

    def close_now(self) -> None:
        """Give the database back when no loop runs."""

    async def close(self) -> None:
        """Give the database back."""


class SqliteDatabase:
    """One SQLite file, written ahead and synchronised at each commit: an answered quote outlives a power cut.

    Work is done on the event loop itself: a look-up takes less than a change of threads (docs/adr/0012).

    Parameters
    ----------
    path
        The file; it and its folder are made when absent.
    vault
        Keys of its records.
    """

    def __init__(self, path: Path, vault: Vault) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _prepare)
        try:
            self.write_now(lambda connection: bring_up_to_date(connection, vault))
        except BaseException:
            self._engine.dispose()
            raise

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """Read."""
        with _refusing(), self._engine.connect() as connection:
            return work(connection)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """Write in one transaction from which all other writers are locked out."""
        with _refusing(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            found = work(connection)
            connection.commit()
            return found

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read."""
        return self.read_now(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Write; see `write_now`."""
        return self.write_now(work)

    def wipe_now(self) -> None:
        """Overwrite what was deleted: the pages are zeroed (secure_delete), the log of writes is cut."""
        self.read_now(lambda connection: connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all())

    def close_now(self) -> None:
        """Give the file back."""
        self._engine.dispose()

    async def close(self) -> None:
        """Give the file back."""
        self.close_now()


class PostgresDatabase:
    """A PostgreSQL database, by asyncpg.

    Parameters
    ----------
    url
        `postgresql://user:password@host/name`.
    vault
        Keys of its records.
    """

    def __init__(self, url: str, vault: Vault) -> None:
        try:
            import asyncpg  # type: ignore[import-untyped]  # noqa: F401 - what the engine will load
            from sqlalchemy.ext.asyncio import create_async_engine
        except ImportError as error:
            raise StoreError(
                f"PREMIA_DATABASE needs the extra postgres ({error}). Hint: pip install 'premia[postgres]'"
            ) from error

        try:
            target = make_url(url).set(drivername="postgresql+asyncpg")
        except ArgumentError as error:
            raise StoreError(
                "PREMIA_DATABASE is no URL; allowed: postgresql://user:password@host/name"
            ) from error
        self._engine = create_async_engine(
            target,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            connect_args={"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS},
        )
        self._thread: _LoopThread | None = None
        try:
            self.write_now(lambda connection: bring_up_to_date(connection, vault))
        finally:
            self.close_now()  # a service goes on from a loop of its own

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """Read."""
        return self._own_thread().run(self.read(work))

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """Write in one transaction from which all other writers are locked out."""
        return self._own_thread().run(self.write(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read."""
        with _refusing():
            connection = await self._connect("SELECT 1")
            try:
                return await connection.run_sync(work)
            finally:
                await connection.close()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Write; see `write_now`."""
        with _refusing():
            connection = await self._connect(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            try:
                found = await connection.run_sync(work)
                await connection.commit()
                return found
            finally:
                await connection.close()

    def wipe_now(self) -> None:
        """Overwrite what was deleted."""
        self._own_thread().run(self._vacuum())

    def close_now(self) -> None:
        """Give the database back when no loop runs."""
        if self._thread is not None:
            self._thread.run(self._engine.dispose())
            self._thread.stop()
            self._thread = None

    async def close(self) -> None:
        """Give the database back."""
        await self._engine.dispose()

    async def _connect(self, first: str) -> AsyncConnection:
        """Give a connection on which the first statement has run: one that the server left is replaced."""
        for attempt in range(2):
            connection = await self._engine.connect()
            try:
                await connection.exec_driver_sql(first)
            except DBAPIError as error:
                await connection.close()
                if attempt or not error.connection_invalidated:
                    raise
            except BaseException:
                await connection.close()
                raise
            else:
                return connection
        raise AssertionError  # pragma: no cover - the loop ends by one of its branches

    async def _vacuum(self) -> None:
        with _refusing():
            async with self._engine.connect() as connection:
                alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await alone.exec_driver_sql("VACUUM keys")

    def _own_thread(self) -> _LoopThread:
        if self._thread is None:
            self._thread = _LoopThread()
        return self._thread


class _LoopThread:
    """An event loop in a thread, for those who have none, or who stand within one that must not wait."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="premia-records", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection has no common type
    connection.isolation_level = None  # transactions are begun in words
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")


@contextmanager
def _refusing() -> Iterator[None]:
    """Say in words that the database does not work; faults of one write are left to whoever knows it."""
    try:
        yield
    except (IntegrityError, DataError):
        raise
    except DBAPIError as error:
        raise StoreError(f"the record store does not work: {error.orig}") from error
    except (OSError, TimeoutError, PoolTimeoutError) as error:
        raise StoreError(f"the record store does not answer: {error}") from error
