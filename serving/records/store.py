"""The record store: what it has taken is on the disk before anybody is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from serving.http.exchange import mark, note_quote
from serving.records.chain import check_seal
from serving.records.databases import SqliteDatabase
from serving.records.groups import GroupCommit
from serving.records.read import (
    as_exposures,
    as_quotes,
    exposures_of_kind,
    quotes_of_product,
    read_last_steps,
    read_page,
    read_quote,
    read_reply,
    read_steps,
)
from serving.records.write import append, refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from serving.records.chain import Seal
    from serving.records.rows import Exposure, Page, QuoteRecord, Reply, Step, Write
    from serving.settings import Settings


class RecordStore:
    """Append and read records from one event loop.

    Parameters
    ----------
    database
        Where they are kept.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._groups = GroupCommit(self._commit)

    async def commit(self, write: Write) -> None:
        """Store what belongs together, all or nothing; when this returns it is on the disk.

        Raises
        ------
        StepConflictError
            If another step of that number has been taken.
        ReplyConflictError
            If a request under that key has been answered.
        UnknownQuoteError
            If a step is of no quote.
        StoreError
            If the store does not work; nothing is stored then.
        """
        try:
            mark("price")
            await self._groups.submit(write)
            mark("commit")
        except IntegrityError as error:
            raise await self._database.read(lambda connection: refusal(connection, write)) from error
        for quote in write.quotes:
            note_quote(quote.product, quote.channel, quote.status)

    @property
    def groups(self) -> Mapping[int, int]:
        """Commits so far, by the number of writes that each made durable."""
        return self._groups.sizes

    async def check_writable(self) -> None:
        """Take the lock of a writer and give it back; StoreError when that is not to be had."""
        await self._database.write(lambda _connection: None)

    async def get(self, quote_id: str) -> QuoteRecord:
        """Give a quote; UnknownQuoteError when no quote has this id."""
        return await self._database.read(lambda connection: read_quote(connection, quote_id))

    async def steps(self, quote_id: str) -> tuple[Step, ...]:
        """Give the steps of a quote in their order."""
        return await self._database.read(lambda connection: read_steps(connection, quote_id))

    async def last_steps(self, quote_ids: Collection[str]) -> dict[str, Step]:
        """Give the last step of each of these quotes that has one."""
        return await self._database.read(lambda connection: read_last_steps(connection, quote_ids))

    async def list(
        self,
        channel: str | None,
        cursor: str | None = None,
        limit: int = 50,
        sub_channels: Collection[str] | None = None,
        product: str | None = None,
    ) -> Page:
        """Give some quotes, newest first; `None` stands for all."""
        return await self._database.read(
            lambda connection: read_page(connection, channel, cursor, limit, sub_channels, product)
        )

    async def reply(self, channel: str, key: str, now: datetime) -> Reply | None:
        """Give what was answered to a request; None when nothing was, or it is no longer kept."""
        return await self._database.read(lambda connection: read_reply(connection, channel, key, now))

    async def aclose(self) -> None:
        """Finish what is under way and give the database back."""
        await self._groups.drain()
        await self._database.close()

    def close(self) -> None:
        """Give the database back when no loop runs."""
        self._database.close_now()

    async def _commit(self, writes: Sequence[Write]) -> None:
        await self._database.write(lambda connection: append(connection, writes))


class SyncRecords:
    """The same store for jobs and commands, which have no event loop.

    Parameters
    ----------
    database
        Where records are kept.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def commit(self, write: Write) -> None:
        """Store what belongs together; see `RecordStore.commit`."""
        try:
            self._database.write_now(lambda connection: append(connection, [write]))
        except IntegrityError as error:
            raise self._database.read_now(lambda connection: refusal(connection, write)) from error

    def get(self, quote_id: str) -> QuoteRecord:
        """Give a quote; UnknownQuoteError when no quote has this id."""
        return self._database.read_now(lambda connection: read_quote(connection, quote_id))

    def steps(self, quote_id: str) -> tuple[Step, ...]:
        """Give the steps of a quote in their order."""
        return self._database.read_now(lambda connection: read_steps(connection, quote_id))

    def check_seal(self, quote_id: str) -> Seal:
        """Say whether a quote is what was stored."""
        return self._database.read_now(lambda connection: check_seal(connection, "quote", quote_id))

    def of_product(self, product: str) -> Iterator[QuoteRecord]:
        """Give the quotes of a product, oldest first."""
        return as_quotes(
            self._database.read_now(lambda connection: connection.execute(quotes_of_product(product)).all())
        )

    def exposures(self, kind: str) -> Iterator[Exposure]:
        """Give what was shown, oldest first."""
        return as_exposures(
            self._database.read_now(lambda connection: connection.execute(exposures_of_kind(kind)).all())
        )

    def close(self) -> None:
        """Give the database back."""
        self._database.close_now()


def open_records(settings: Settings) -> RecordStore:
    """Open the store for a service; it is made when absent."""
    return RecordStore(SqliteDatabase(settings.quotes))


def open_sync_records(settings: Settings) -> SyncRecords:
    """Open the store for a job or a command; it is made when absent."""
    return SyncRecords(SqliteDatabase(settings.quotes))
