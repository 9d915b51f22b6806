"""The first layout; quotes of the store before it are taken over.

Revision ID: 0001
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import context, op

from serving.errors import StoreError
from serving.records.rows import QuoteRecord, Write
from serving.records.write import append

if TYPE_CHECKING:
    from collections.abc import Sequence

revision = "0001"
down_revision = None
OLD_QUOTES, OLD_SEALS = "quotes_before_0001", "quote_seals_before_0001"
CHUNK = 500


def upgrade() -> None:
    """Make the tables."""
    connection = op.get_bind()
    columns = (
        sa.inspect(connection).get_columns("quotes") if sa.inspect(connection).has_table("quotes") else []
    )
    old = any(column["name"] == "record" for column in columns)
    if columns and not old:
        raise StoreError("the record store holds tables of no known layout. Hint: move the file away")
    if old:
        for index in sa.inspect(connection).get_indexes("quotes"):
            op.drop_index(str(index["name"]), "quotes")
        op.rename_table("quotes", OLD_QUOTES)
        op.rename_table("quote_seals", OLD_SEALS)
    _make_keys()
    _make_records()
    if old:
        _take_over(connection, context.config.attributes["vault"])
        op.drop_table(OLD_QUOTES)
        op.drop_table(OLD_SEALS)


def _make_keys() -> None:
    op.create_table(
        "seals",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("row_id", sa.String(96), nullable=False),
        sa.Column("seal", sa.LargeBinary(32), nullable=False),
    )
    op.create_index("seals_of_row", "seals", ["kind", "row_id"], unique=True)
    op.create_table(
        "keys",
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("customer", sa.LargeBinary(32), unique=True),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "erasures",
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
    )
    op.create_table("masters", sa.Column("fingerprint", sa.String(16), primary_key=True))


def _make_records() -> None:
    op.create_table(
        "quotes",
        sa.Column("quote_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("sub_channel", sa.String(64)),
        sa.Column("product", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("price_minor", sa.BigInteger),
        sa.Column("sandbox", sa.Boolean, nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("quotes_of_channel", "quotes", ["channel", "number"])
    op.create_index("quotes_of_product", "quotes", ["product", "number"])
    op.create_index("quotes_of_key", "quotes", ["key_id"])
    op.create_table(
        "steps",
        sa.Column("quote_id", sa.String(64), sa.ForeignKey("quotes.quote_id"), primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "replies",
        sa.Column("channel", sa.String(64), primary_key=True),
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("until_us", sa.BigInteger, nullable=False),
        sa.Column("quote_id", sa.String(64)),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("replies_until", "replies", ["until_us"])
    op.create_index("replies_of_quote", "replies", ["quote_id"])
    op.create_table(
        "exposures",
        sa.Column("exposure_id", sa.String(64), primary_key=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("exposures_of_kind", "exposures", ["kind", "at_us"])
    op.create_index("exposures_of_key", "exposures", ["key_id"])


def _take_over(connection: sa.Connection, vault: Any) -> None:  # noqa: ANN401 - Alembic hands it on untyped
    """Append the quotes of the store before, each of which must fit its seal there."""
    seals = {row.quote_id: (row.number, row.seal) for row in _rows(connection, OLD_SEALS)}
    by_number = dict(seals.values())
    rows = [row._asdict() for row in _rows(connection, OLD_QUOTES)]
    gone = seals.keys() - {row["quote_id"] for row in rows}
    if gone:
        raise StoreError(f"quote {min(gone)} was removed from the store. Hint: restore it from a backup")
    for start in range(0, len(rows), CHUNK):
        writes = []
        for row in rows[start : start + CHUNK]:
            if row["quote_id"] in seals:
                number, seal = seals[row["quote_id"]]
                if seal != _old_seal(by_number.get(number - 1, ""), row):
                    raise StoreError(
                        f"quote {row['quote_id']} or the one before it was changed after it was stored. "
                        "Hint: restore the store from a backup"
                    )
            writes.append(Write(quotes=(_record(row),)))
        append(connection, vault, writes)


def _rows(connection: sa.Connection, name: str) -> Sequence[sa.Row[Any]]:
    """Read a table of the store before, in the order in which it was written."""
    return connection.execute(sa.text(f"SELECT * FROM {name} ORDER BY rowid")).all()  # noqa: S608 - our names


def _old_seal(before: str, row: dict[str, Any]) -> str:
    moments = {name: _moment(row[name]).isoformat() for name in ("created_at", "expires_at")}
    text = json.dumps({**row, **moments, "before": before}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _record(row: dict[str, Any]) -> QuoteRecord:
    answer = json.loads(row["record"])["answer"]
    return QuoteRecord(
        quote_id=row["quote_id"],
        created_at=_moment(row["created_at"]),
        expires_at=_moment(row["expires_at"]),
        channel=row["channel"],
        product=row["product"],
        status=row["status"],
        price_minor=row["price_minor"],
        text=row["record"].encode(),
        customer_id=answer.get("customer_id"),
        sub_channel=answer.get("sub_channel"),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
