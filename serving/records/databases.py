"""Where records are kept: one SQLite file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError

from serving.errors import StoreError
from serving.records.tables import METADATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

T = TypeVar("T")


class SqliteDatabase:
    """One SQLite file, written ahead and synchronised at each commit: an answered quote survives a power cut.

    Parameters
    ----------
    path
        The file; it and its folder are made when absent.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _prepare)
        METADATA.create_all(self._engine)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """Read."""
        with _refusing(), self._engine.connect() as connection:
            return work(connection)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """Write in one transaction from which all other writers are locked out."""
        with _refusing(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                found = work(connection)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
            return found

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read; a look-up takes less than a change of threads would."""
        return self.read_now(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Write; see `write_now`."""
        return self.write_now(work)

    def close_now(self) -> None:
        """Give the file back."""
        self._engine.dispose()

    async def close(self) -> None:
        """Give the file back."""
        self.close_now()


def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection has no common type
    connection.isolation_level = None  # transactions are begun in words
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


@contextmanager
def _refusing() -> Iterator[None]:
    """Say in words that the database does not work; a broken rule of a table is for the caller to explain."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise StoreError(f"the record store does not work: {error.orig}") from error
