"""The chain of seals over everything that is only ever appended.

The seal of a row is the sha256 of the seal before it, its number and the whole row. A row that is
changed or removed later no longer fits its own seal, and a seal that is made to fit no
longer fits the next one.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select

from serving.records.hot import fetch_head
from serving.records.tables import ERASURES, EXPOSURES, QUOTES, SEALS, STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Table

Seal = Literal["unchanged", "changed", "not sealed"]
FIRST = (0, b"")
# Every table that is sealed, and the columns that make the id of a row.
SEALED: dict[str, tuple[Table, tuple[str, ...]]] = {
    "quote": (QUOTES, ("quote_id",)),
    "step": (STEPS, ("quote_id", "step")),
    "exposure": (EXPOSURES, ("exposure_id",)),
    "erasure": (ERASURES, ("key_id",)),
}


def row_id(kind: str, row: Mapping[str, Any]) -> str:
    """Give the id under which a row is sealed."""
    return "/".join(str(row[column]) for column in SEALED[kind][1])


def seal_of(before: bytes, number: int, kind: str, row: Mapping[str, Any]) -> bytes:
    """Give the seal of a row that follows another."""
    clear = {name: value for name, value in row.items() if name != "body"}
    text = json.dumps([number, kind, clear], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(before + text.encode() + b"\n" + row.get("body", b"")).digest()


def read_head(connection: Connection) -> tuple[int, bytes]:
    """Give number and seal of the last row; `FIRST` when there is none."""
    return fetch_head(connection) or FIRST


def read_row(connection: Connection, kind: str, identity: str) -> dict[str, Any] | None:
    """Give a sealed row as it stands in its table; None when it is gone."""
    table, columns = SEALED[kind]
    values = identity.rsplit("/", len(columns) - 1)
    query = select(table)
    for column, value in zip(columns, values, strict=True):
        query = query.where(table.c[column] == table.c[column].type.python_type(value))
    found = connection.execute(query).one_or_none()
    return None if found is None else found._asdict()


def check_seal(connection: Connection, kind: str, identity: str) -> Seal:
    """Say whether a row is what was stored: by its own seal, and by that of the row after it.

    A store whose every seal from this row on was made anew cannot be told from an honest one without a note
    of its head.
    """
    own = connection.execute(
        select(SEALS.c.number).where(SEALS.c.kind == kind, SEALS.c.row_id == identity)
    ).scalar()
    if own is None:
        return "not sealed"
    near = {
        row.number: row
        for row in connection.execute(select(SEALS).where(SEALS.c.number.between(own - 1, own + 1)))
    }
    for number in (own, own + 1):
        if number not in near:
            continue
        sealed = near[number]
        before = near[number - 1].seal if number - 1 in near else b""
        row = read_row(connection, sealed.kind, sealed.row_id)
        if row is None or sealed.seal != seal_of(before, number, sealed.kind, row):
            return "changed"
    return "unchanged"
