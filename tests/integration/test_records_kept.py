"""What is kept: sealed, encrypted, erased, taken over from the layout before."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from serving.errors import ErasedQuoteError, StoreError, UnknownQuoteError
from serving.records import (
    Exposure,
    Head,
    QuoteRecord,
    Reply,
    Step,
    Write,
    encode_body,
    open_sync_records,
)
from serving.records.layout import NEWEST
from serving.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from serving.records import SyncRecords

NOON = dt.datetime(2026, 1, 1, 12)
NAME = "Li Lei of Hangzhou"


def record(quote_id: str, customer_id: int | None = None, **more: Any) -> QuoteRecord:
    body = encode_body({"answer": {"name": NAME, "customer_id": customer_id}})
    later = NOON + dt.timedelta(minutes=30)
    return QuoteRecord(quote_id, NOON, later, "web", "motor", "quoted", 123, body, customer_id, **more)


def fill(store: SyncRecords) -> None:
    for number in range(4):
        step = Step(f"q{number}", 1, "accepted", NOON, "key-1", NAME, {"name": NAME})
        store.commit(Write((record(f"q{number}", number % 2),), (step,)))
    store.commit(Write(exposures=(Exposure("e", NOON, "web", "recommendation", {"name": NAME}, 1),)))
    reply = Reply("web", NAME, "d", 201, {}, NAME.encode(), NOON, NOON + dt.timedelta(days=1), "q1")
    store.commit(Write((record("nobody"),), replies=(reply,)))


def change(store: SyncRecords, statement: str) -> None:
    store._database.write_now(lambda connection: connection.execute(text(statement)))


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DELETE FROM steps WHERE quote_id = 'q2'", "step q2/1 .number 6. was removed"),
        ("UPDATE quotes SET price_minor = 1 WHERE quote_id = 'q1'", "quote q1 .number 3. or its seal"),
        ("UPDATE quotes SET created_us = 1 WHERE quote_id = 'q1'", "quote q1 .number 3. or its seal"),
        ("UPDATE seals SET seal = seals.seal WHERE number = 3", None),
        (
            "INSERT INTO erasures (key_id, at_us, actor) VALUES ('k', 1, 'me')",
            "erasure k was put in: nobody has sealed it",
        ),
        (
            "INSERT INTO steps SELECT quote_id, 2, state, at_us, actor, body FROM steps WHERE quote_id='q3'",
            "step q3/2 was put in",
        ),
        ("DELETE FROM seals WHERE number = 5", "numbers 5 to 5 are missing"),
        ("DELETE FROM seals WHERE number = 10", "the chain ends at 9, 10 was noted: its end was removed"),
        (
            "UPDATE seals SET row_id = 'q9' WHERE number = 1",
            "quote q9 .number 1. was removed",
        ),
    ],
)
def test_the_chain_names_what_was_removed_changed_or_put_in(record_settings, statement, named):
    with closing(open_sync_records(record_settings)) as store:
        fill(store)
        sound = store.verify()
        assert (sound.faults, sound.head.number) == ((), 10)
        assert store.verify(sound.head).faults == ()
        change(store, statement)
        faults = store.verify(sound.head).faults
        assert bool(faults) == (named is not None)
        assert named is None or any(re.search(named, fault) for fault in faults), faults


def test_a_chain_made_anew_does_not_fit_the_head_that_was_noted(record_settings):
    with closing(open_sync_records(record_settings)) as store:
        fill(store)
        noted = store.verify().head
        assert "made anew" in store.verify(Head(noted.number, "0" * 64)).faults[-1]
        assert "its end was removed" in store.verify(Head(99, "0" * 64)).faults[-1]


def test_nothing_personal_can_be_read_without_the_key_and_nothing_of_it_stays_after_an_erasure(
    record_settings,
):
    with closing(open_sync_records(record_settings)) as store:
        fill(store)
        assert [one.quote_id for one in store.of_customer(1)] == ["q1", "q3"]
        assert store.get("q1").body["answer"]["name"] == NAME
        head = store.verify().head
        assert store.erase_customer(1, NOON, "B. Second") == 2
        assert store.erase_customer(1, NOON, "B. Second") == 0
        found = store.get("q1")
        assert (found.erased, found.customer_id, found.price_minor) == (True, None, 123)
        with pytest.raises(ErasedQuoteError, match="'q1' were erased"):
            found.body  # noqa: B018 - reading it is what is refused
        (step,) = store.steps("q1")
        assert (step.state, step.reason, dict(step.body)) == ("accepted", None, {})
        assert [one.quote_id for one in store.of_product("motor")] == ["q0", "q2", "nobody"]
        assert list(store.exposures("recommendation")) == []
        assert list(store.of_customer(1)) == []
        assert store.verify(head).faults == ()
        with pytest.raises(ErasedQuoteError, match="nothing can be added"):
            store.commit(Write(steps=(Step("q1", 2, "revoked", NOON, "service", "why"),)))
        store.commit(Write(steps=(Step("q1", 2, "revoked", NOON, "service"),)))
        store.commit(Write((record("again", 1),)))
        assert [one.quote_id for one in store.of_customer(1)] == ["again"], "a new key, for new quotes only"
        assert store.erase_quote("nobody", NOON, "B. Second") == 1
        with pytest.raises(UnknownQuoteError):
            store.erase_quote("none", NOON, "B. Second")
        assert store.verify(head).faults == ()


def test_the_file_holds_nothing_that_can_be_read(tmp_path):
    settings = Settings(lake=tmp_path)
    with closing(open_sync_records(settings)) as store:
        fill(store)
        wrapped = store._database.read_now(
            lambda found: (
                found.execute(text("SELECT wrapped FROM keys WHERE customer IS NOT NULL")).scalars().all()
            )
        )
        held = b"".join(path.read_bytes() for path in settings.quotes.parent.glob("quotes.sqlite*"))
        assert NAME.encode() not in held
        assert all(key in held for key in wrapped)
        store.erase_customer(0, NOON, "me")
        store.erase_customer(1, NOON, "me")
        held = b"".join(path.read_bytes() for path in settings.quotes.parent.glob("quotes.sqlite*"))
        assert not any(key in held for key in wrapped), "a dropped key is overwritten"


def test_an_erasure_by_another_process_is_seen_by_a_store_that_runs(record_settings):
    with (
        closing(open_sync_records(record_settings)) as store,
        closing(open_sync_records(record_settings)) as other,
    ):
        fill(store)
        other.erase_customer(1, NOON, "me")
        assert store.get("q1").erased
        store.commit(Write((record("new", 1),)))
        assert other.get("new").customer_id == 1


def test_a_lost_or_another_master_key_is_refused(record_settings):
    with closing(open_sync_records(record_settings)) as store:
        fill(store)
    path = record_settings.master_key_file
    assert path.stat().st_mode & 0o777 == 0o600
    key = path.read_text()
    path.unlink()
    with pytest.raises(StoreError, match="another master key .*restore _serving/master.key"):
        open_sync_records(record_settings)
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(StoreError, match="64 hexadecimal digits"):
        open_sync_records(record_settings)
    path.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        open_sync_records(record_settings)
    given = Settings(**{**record_settings.model_dump(), "master_key": key})
    with closing(open_sync_records(given)) as store:
        assert store.get("q1").body["answer"]["name"] == NAME
        change(store, "DELETE FROM keys")
        with pytest.raises(StoreError, match="no erasure has dropped it"):
            store.get("q1")


def test_a_store_of_a_newer_layout_is_refused(record_settings):
    with closing(open_sync_records(record_settings)) as store:
        fill(store)
        change(store, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="has layout 9999, this version of Premia knows up to"):
        open_sync_records(record_settings)


def test_the_newest_layout_is_the_last_migration_and_makes_the_tables_as_declared(record_settings):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from serving.records.tables import METADATA

    with closing(open_sync_records(record_settings)) as store:
        differ = store._database.read_now(
            lambda found: compare_metadata(MigrationContext.configure(found), METADATA)
        )
        version = store._database.read_now(
            lambda found: found.execute(text("SELECT version_num FROM alembic_version")).scalar()
        )
    assert version == NEWEST
    # Indexes are the business of migrations alone.
    assert [
        one for one in differ if one[0] not in ("remove_index", "add_constraint", "remove_constraint")
    ] == []


OLD = """
CREATE TABLE quotes (quote_id VARCHAR(36) NOT NULL PRIMARY KEY, created_at DATETIME NOT NULL,
    expires_at DATETIME NOT NULL, channel VARCHAR(64) NOT NULL, product VARCHAR(64) NOT NULL,
    status VARCHAR(16) NOT NULL, price_minor INTEGER, record TEXT NOT NULL);
CREATE INDEX ix_quotes_created_at ON quotes (created_at);
CREATE TABLE quote_seals (number INTEGER NOT NULL PRIMARY KEY, quote_id VARCHAR(36) NOT NULL UNIQUE,
    seal VARCHAR(64) NOT NULL);
"""


def old_store(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as con:
        con.executescript(OLD)
        before = ""
        for number in range(1, count + 1):
            answer = {"answer": {"customer_id": number % 3, "sub_channel": "own"}}
            moments = {"created_at": "2025-06-01T12:00:00.000500", "expires_at": "2025-06-01T12:30:00"}
            row = {
                "quote_id": f"q{number}",
                **moments,
                "channel": "web",
                "product": "motor",
                "status": "quoted",
                "price_minor": number,
                "record": json.dumps(answer),
            }
            sealed = json.dumps({**row, "before": before}, sort_keys=True, ensure_ascii=False)
            before = hashlib.sha256(sealed.encode()).hexdigest()
            stored = {
                **row,
                "created_at": "2025-06-01 12:00:00.000500",
                "expires_at": "2025-06-01 12:30:00.000000",
            }
            con.execute("INSERT INTO quotes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", tuple(stored.values()))
            con.execute("INSERT INTO quote_seals VALUES (?, ?, ?)", (number, f"q{number}", before))
        con.commit()


def test_quotes_of_the_layout_before_are_taken_over(tmp_path):
    settings = Settings(lake=tmp_path)
    old_store(settings.quotes, 1200)
    with closing(open_sync_records(settings)) as store:
        assert len(list(store.of_product("motor"))) == 1200
        assert len(list(store.of_customer(2))) == 400
        found = store.get("q7")
        assert found.created_at == dt.datetime(2025, 6, 1, 12, 0, 0, 500)
        assert (found.price_minor, found.sub_channel, found.customer_id) == (7, "own", 1)
        assert store.verify().faults == ()
    with closing(open_sync_records(settings)) as store:
        assert store.verify().head.number == 1200


def test_a_store_that_was_changed_is_not_taken_over(tmp_path):
    settings = Settings(lake=tmp_path)
    old_store(settings.quotes, 5)
    with closing(sqlite3.connect(settings.quotes)) as con:
        con.execute("UPDATE quotes SET price_minor = 1 WHERE quote_id = 'q4'")
        con.commit()
    with pytest.raises(StoreError, match="quote q4 or the one before it was changed"):
        open_sync_records(settings)
    with closing(sqlite3.connect(settings.quotes)) as con:
        assert con.execute("SELECT count(*) FROM quotes").fetchone() == (5,), "nothing was lost"
