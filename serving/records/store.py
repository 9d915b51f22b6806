"""The record store: what it has taken is on the disk before anybody is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from serving.clock import to_micros, wall_clock
from serving.http.exchange import mark, note_quote
from serving.records.chain import check_seal
from serving.records.databases import PostgresDatabase, SqliteDatabase
from serving.records.erasure import drop_key, key_of_customer, key_of_quote
from serving.records.groups import GroupCommit
from serving.records.keys import open_vault
from serving.records.read import (
    read_exposures,
    read_last_steps,
    read_page,
    read_quote,
    read_quotes,
    read_reply,
    read_steps,
)
from serving.records.tables import QUOTES, REPLIES
from serving.records.verify import verify_chain
from serving.records.write import append, refusal
from serving.webhooks.events import enqueue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from serving.records.chain import Seal
    from serving.records.databases import Database
    from serving.records.keys import Vault
    from serving.records.rows import Exposure, Page, QuoteRecord, Reply, Step, Write
    from serving.records.verify import Head, Verification
    from serving.settings import Settings


class RecordStore:
    """Append and read records from one event loop.

    Parameters
    ----------
    database
        Where they are kept.
    vault
        What encrypts them.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._groups = GroupCommit(self._commit)

    @property
    def database(self) -> Database:
        """Where the outbox of the webhooks is, too."""
        return self._database

    @property
    def vault(self) -> Vault:
        """What encrypts the secrets of the webhooks, too."""
        return self._vault

    async def commit(self, write: Write) -> None:
        """Store what belongs together, all or nothing; when this returns it is on the disk.

        Raises
        ------
        StepConflictError
            If another step of that number has been taken.
        ReplyConflictError
            If a request under that key has been answered.
        UnknownQuoteError
            If a step is of no quote; ErasedQuoteError, a kind of it, if of one that was erased.
        StoreError
            If the store does not work; nothing is acknowledged then.
        """
        try:
            mark("price")
            await self._groups.submit(write)
            mark("commit")
        except IntegrityError as error:
            raise await self._database.read(lambda found: refusal(found, self._vault, write)) from error
        for quote in write.quotes:
            note_quote(quote.product, quote.channel, quote.status, quote.quote_id)

    @property
    def groups(self) -> Mapping[int, int]:
        """Commits so far, by the number of writes that each made durable."""
        return self._groups.sizes

    async def check_writable(self) -> None:
        """Take the lock of a writer and give it back; StoreError when that is not to be had."""
        await self._database.write(lambda _connection: None)

    async def get(self, quote_id: str) -> QuoteRecord:
        """Give a quote; UnknownQuoteError when no quote has this id."""
        return await self._database.read(lambda found: read_quote(found, self._vault, quote_id))

    async def steps(self, quote_id: str) -> tuple[Step, ...]:
        """Give the steps of a quote in their order."""
        return await self._database.read(lambda found: read_steps(found, self._vault, quote_id))

    async def last_steps(self, quote_ids: Collection[str]) -> dict[str, Step]:
        """Give the last step of each of these quotes that has one."""
        return await self._database.read(lambda found: read_last_steps(found, self._vault, quote_ids))

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
            lambda found: read_page(found, self._vault, channel, cursor, limit, sub_channels, product)
        )

    async def reply(self, channel: str, key: str, now: datetime) -> Reply | None:
        """Give what was answered to a request; None when nothing was, or it is no longer kept."""
        return await self._database.read(lambda found: read_reply(found, self._vault, channel, key, now))

    async def aclose(self) -> None:
        """Finish what is under way and give the database back."""
        await self._groups.drain()
        await self._database.close()

    def close(self) -> None:
        """Give the database back when no loop runs."""
        self._database.close_now()

    async def _commit(self, writes: Sequence[Write]) -> None:
        await self._database.write(lambda found: _store(found, self._vault, writes))


class SyncRecords:
    """The same store for jobs and commands, which have no event loop.

    Parameters
    ----------
    database
        Where records are kept.
    vault
        What encrypts them.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    @property
    def database(self) -> Database:
        """Where the outbox of the webhooks is, too."""
        return self._database

    @property
    def vault(self) -> Vault:
        """What encrypts the secrets of the webhooks, too."""
        return self._vault

    def commit(self, write: Write) -> None:
        """Store what belongs together; see `RecordStore.commit`."""
        try:
            self._database.write_now(lambda found: _store(found, self._vault, [write]))
        except IntegrityError as error:
            raise self._database.read_now(lambda found: refusal(found, self._vault, write)) from error

    def get(self, quote_id: str) -> QuoteRecord:
        """Give a quote; UnknownQuoteError when no quote has this id."""
        return self._database.read_now(lambda found: read_quote(found, self._vault, quote_id))

    def steps(self, quote_id: str) -> tuple[Step, ...]:
        """Give the steps of a quote in their order."""
        return self._database.read_now(lambda found: read_steps(found, self._vault, quote_id))

    def last_steps(self, quote_ids: Collection[str]) -> dict[str, Step]:
        """Give the last step of each of these quotes that has one."""
        return self._database.read_now(lambda found: read_last_steps(found, self._vault, quote_ids))

    def check_seal(self, quote_id: str) -> Seal:
        """Say whether a quote is what was stored."""
        return self._database.read_now(lambda found: check_seal(found, "quote", quote_id))

    def of_product(self, product: str) -> Iterator[QuoteRecord]:
        """Give the quotes of a product, oldest first, without practice and without what was erased."""
        which = (QUOTES.c.product == product) & ~QUOTES.c.sandbox
        return (quote for quote in self._quotes(which) if not quote.erased)

    def of_customer(self, customer_id: int) -> Iterator[QuoteRecord]:
        """Give the quotes of a customer, oldest first, whatever product or channel."""
        key_id = self._database.read_now(lambda found: key_of_customer(found, self._vault, customer_id))
        return self._quotes(QUOTES.c.key_id == key_id) if key_id is not None else iter(())

    def exposures(self, kind: str) -> Iterator[Exposure]:
        """Give what was shown, oldest first, without what was erased."""
        return iter(self._database.read_now(lambda found: read_exposures(found, self._vault, kind)))

    def erase_customer(self, customer_id: int, at: datetime, actor: str) -> int:
        """Drop the key of a customer; give the number of quotes that nobody can read any more."""

        def work(connection: Connection) -> int:
            key_id = key_of_customer(connection, self._vault, customer_id)
            return 0 if key_id is None else drop_key(connection, key_id, at, actor)

        return self._erase(work)

    def erase_quote(self, quote_id: str, at: datetime, actor: str) -> int:
        """Drop the key of a quote, and so of all quotes of its customer; give their number."""
        return self._erase(lambda found: drop_key(found, key_of_quote(found, quote_id), at, actor))

    def verify(
        self, noted: Head | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Verification:
        """Walk the whole chain of seals; see `verify_chain`."""
        return self._database.read_now(lambda found: verify_chain(found, noted, progress))

    def close(self) -> None:
        """Give the database back."""
        self._database.close_now()

    def _erase(self, work: Callable[[Connection], int]) -> int:
        erased = self._database.write_now(work)
        self._database.wipe_now()
        return erased

    def _quotes(self, which: ColumnElement[bool]) -> Iterator[QuoteRecord]:
        after = 0
        while chunk := self._chunk(which, after):
            yield from (quote for _, quote in chunk)
            after = chunk[-1][0]

    def _chunk(self, which: ColumnElement[bool], after: int) -> Sequence[tuple[int, QuoteRecord]]:
        return self._database.read_now(lambda found: read_quotes(found, self._vault, which, after))


def _store(connection: Connection, vault: Vault, writes: Sequence[Write]) -> None:
    """Store writes, and the events that tell of them."""
    append(connection, vault, writes)
    enqueue(connection, writes)


def open_records(settings: Settings) -> RecordStore:
    """Open the store for a service; it is made or brought to the newest layout, replies that are over go.

    Raises
    ------
    StoreError
        If it is of a newer layout or another master key, or does not answer.
    """
    vault = open_vault(settings)
    database = open_database(settings, vault)
    over = delete(REPLIES).where(REPLIES.c.until_us <= to_micros(wall_clock(settings.clock)()))
    database.write_now(lambda found: found.execute(over))
    database.close_now()  # connections are made on the loop of the service
    return RecordStore(database, vault)


def open_sync_records(settings: Settings) -> SyncRecords:
    """Open the store for a job or a command; see `open_records`."""
    vault = open_vault(settings)
    return SyncRecords(open_database(settings, vault), vault)


def has_records(settings: Settings) -> bool:
    """Tell whether there is a store to read: a command that only reads makes none."""
    return settings.database is not None or settings.quotes.is_file()


def open_database(settings: Settings, vault: Vault) -> Database:
    """Open the database of the records, for whatever is kept beside them."""
    if settings.database is None:
        return SqliteDatabase(settings.quotes, vault)
    return PostgresDatabase(settings.database, vault)
