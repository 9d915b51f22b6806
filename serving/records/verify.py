"""Walk the whole chain of seals and name what was removed, changed or put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, String, cast, func, or_, select

from serving.records.chain import FIRST, SEALED, seal_of
from serving.records.tables import SEALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row

CHUNK = 500


@dataclass(frozen=True)
class Head:
    """The last link of the chain; noted elsewhere, it shows whether the end was cut off or made anew.

    Attributes
    ----------
    number
        Rows sealed so far.
    seal
        Hexadecimal.
    """

    number: int
    seal: str

    def __str__(self) -> str:
        return f"{self.number}:{self.seal}"


@dataclass(frozen=True)
class Verification:
    """What a walk along the chain found.

    Attributes
    ----------
    head
        Where the chain ends.
    faults
        One sentence for each row that is not what was stored.
    """

    head: Head
    faults: tuple[str, ...]


def verify_chain(
    connection: Connection, noted: Head | None = None, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Hold every row against its seal, every seal against the one before, and the head against a note of it.

    Parameters
    ----------
    connection
        To the store.
    noted
        Head as it was noted at an earlier time; absent: the end of the chain rests on the store alone.
    progress
        Told (rows done, rows in all).
    """
    faults: list[str] = []
    number, seal = FIRST
    total = connection.execute(select(func.count()).select_from(SEALS)).scalar_one()
    seen, done = noted is None or noted.number == 0, 0
    while chunk := _chunk(connection, number):
        for sealed, row in zip(chunk, _rows(connection, chunk), strict=True):
            faults += _faults(sealed, row, number, seal)
            number, seal = sealed.number, sealed.seal
            if noted is not None and number == noted.number:
                seen = True
                if seal.hex() != noted.seal:
                    faults.append(f"number {number} has another seal than was noted: the chain was made anew")
        done += len(chunk)
        if progress is not None:
            progress(done, total)
    if not seen and noted is not None:
        faults.append(f"the chain ends at {number}, {noted.number} was noted: its end was removed")
    faults += _put_in(connection)
    return Verification(Head(number, seal.hex()), tuple(faults))


def _chunk(connection: Connection, after: int) -> Sequence[Row[Any]]:
    return connection.execute(
        select(SEALS).where(SEALS.c.number > after).order_by(SEALS.c.number).limit(CHUNK)
    ).all()


def _rows(connection: Connection, chunk: Sequence[Row[Any]]) -> Iterator[dict[str, Any] | None]:
    """Give the row of each seal as it stands in its table; None when it is gone."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for kind, (table, columns) in SEALED.items():
        wanted = [sealed.row_id for sealed in chunk if sealed.kind == kind]
        if wanted:
            owners = {identity.rsplit("/", 1)[0] if len(columns) > 1 else identity for identity in wanted}
            for row in connection.execute(select(table).where(table.c[columns[0]].in_(owners))):
                held = row._asdict()
                found[kind, "/".join(str(held[column]) for column in columns)] = held
    return (found.get((sealed.kind, sealed.row_id)) for sealed in chunk)


def _faults(sealed: Row[Any], row: Mapping[str, Any] | None, number: int, before: bytes) -> Iterator[str]:
    name = f"{sealed.kind} {sealed.row_id}"
    if sealed.number != number + 1:
        yield f"numbers {number + 1} to {sealed.number - 1} are missing: rows and their seals were removed"
    if row is None:
        yield f"{name} (number {sealed.number}) was removed"
    elif sealed.seal != seal_of(before, sealed.number, sealed.kind, row):
        # After a gap the seal before is not known, and the row cannot be judged by it.
        if sealed.number == number + 1:
            yield f"{name} (number {sealed.number}) or its seal was changed"
    elif sealed.kind == "quote" and row["number"] != sealed.number:
        yield f"{name} stands at number {row['number']}, it was sealed as {sealed.number}"


def _put_in(connection: Connection) -> Iterator[str]:
    """Name rows that nobody has sealed."""
    for kind, (table, columns) in SEALED.items():
        identity: ColumnElement[str] = cast(table.c[columns[0]], String)
        for column in columns[1:]:
            identity = identity + "/" + cast(table.c[column], String)
        sealed = select(SEALS.c.number).where(SEALS.c.kind == kind, SEALS.c.row_id == identity)
        for (found,) in connection.execute(select(identity).where(or_(~sealed.exists()))):
            yield f"{kind} {found} was put in: nobody has sealed it"
