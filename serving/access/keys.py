"""API keys in the database: made, rotated, revoked, read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import insert, select, update

from serving.access.caller import SCOPES, Caller
from serving.access.credentials import KEY_ID, Credentials, digest, new_key_id, new_secret
from serving.access.tables import CHANGES, KEYS
from serving.clock import EPOCH, to_micros
from serving.errors import AccessKeyError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Row

# What a sales channel needs; more is asked for by name.
CHANNEL_SCOPES: Final = (
    "quotes:read",
    "quotes:write",
    "quotes:accept",
    "recommend",
    "expand:ladder",
    "expand:reasons",
)
NEVER: Final = b"\0" * 32  # the sha256 of nothing that anybody knows


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key as it is stored; the secret is not.

    Attributes
    ----------
    caller
        Who calls with it, and what the caller may do.
    rate
        Requests a second; None: as the settings say.
    secret
        Number of the present secret; it counts from 1.
    digest, previous
        sha256 of the present secret and of the one before it.
    overlap_until
        When the one before it ends; None: it has ended.
    created_at, created_by, expires_at, rotated_at, rotated_by, revoked_at, revoked_by
        Its life, UTC without zone.
    """

    caller: Caller
    rate: int | None
    secret: int
    digest: bytes
    previous: bytes
    overlap_until: datetime | None
    created_at: datetime
    created_by: str
    expires_at: datetime
    rotated_at: datetime | None
    rotated_by: str | None
    revoked_at: datetime | None
    revoked_by: str | None

    def ended(self, now: datetime) -> str | None:
        """Say why the key is good no more; None while it is."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if now >= self.expires_at else None

    def takes(self, secret: int, now: datetime) -> bool:
        """Tell whether the secret of this number is good: the present, or the one before in the overlap."""
        if secret == self.secret:
            return True
        return secret == self.secret - 1 and self.overlap_until is not None and now < self.overlap_until


def create_key(
    connection: Connection,
    caller: Caller,
    lifetime: timedelta,
    by: str,
    now: datetime,
    rate: int | None = None,
) -> Credentials:
    """Store a new key and give it; this is the only time that the secret is seen.

    Parameters
    ----------
    connection
        Within a transaction.
    caller
        Who will call with it; its `key_id` is not looked at.
    lifetime
        How long the key is good.
    by, now
        Who makes it, and when.
    rate
        Requests a second; None: as the settings say.

    Raises
    ------
    AccessKeyError
        If a scope does not exist.
    """
    unknown = sorted(caller.scopes - set(SCOPES))
    if unknown:
        raise AccessKeyError(f"there is no scope {unknown[0]!r}; allowed: {', '.join(SCOPES)}")
    made = Credentials(new_key_id(), new_secret(), caller.sandbox)
    row = {
        "key_id": made.key_id,
        "name": caller.name,
        "channel": caller.channel,
        "sub_channels": _listed(caller.sub_channels),
        "products": _listed(caller.products),
        "scopes": _listed(caller.scopes),
        "licence": caller.licence,
        "sandbox": caller.sandbox,
        "rate": rate,
        "secret": 1,
        "digest": digest(made.secret),
        "created_us": to_micros(now),
        "created_by": by,
        "expires_us": to_micros(now + lifetime),
    }
    connection.execute(insert(KEYS), row)
    _changed(connection)
    return made


def rotate_key(
    connection: Connection, key_id: str, overlap: timedelta, by: str, now: datetime
) -> Credentials:
    """Give a key a new secret; the old one is good for the overlap, one still older ends at once.

    Raises
    ------
    AccessKeyError
        If there is no such key, or it has ended.
    """
    key = find_key(connection, key_id)
    ended = key.ended(now)
    if ended:
        raise AccessKeyError(f"key {key_id} is {ended}. Hint: premia access create")
    made = Credentials(key_id, new_secret(), key.caller.sandbox)
    changes = {
        "secret": key.secret + 1,
        "digest": digest(made.secret),
        "previous": key.digest,
        "overlap_us": to_micros(now + overlap),
        "rotated_us": to_micros(now),
        "rotated_by": by,
    }
    connection.execute(update(KEYS).where(KEYS.c.key_id == key_id).values(changes))
    _changed(connection)
    return made


def revoke_key(connection: Connection, key_id: str, by: str, now: datetime) -> AccessKey:
    """End a key and its tokens for good.

    Raises
    ------
    AccessKeyError
        If there is no such key, or it was revoked before.
    """
    key = find_key(connection, key_id)
    if key.revoked_at is not None:
        raise AccessKeyError(
            f"key {key_id} was revoked on {key.revoked_at:%Y-%m-%d %H:%M} by {key.revoked_by}"
        )
    changes = {"revoked_us": to_micros(now), "revoked_by": by}
    connection.execute(update(KEYS).where(KEYS.c.key_id == key_id).values(changes))
    _changed(connection)
    return key


def find_key(connection: Connection, key_id: str) -> AccessKey:
    """Read one key.

    Raises
    ------
    AccessKeyError
        If there is none of this id.
    """
    row = connection.execute(select(KEYS).where(KEYS.c.key_id == key_id)).one_or_none()
    if row is None:
        shown = key_id if KEY_ID.fullmatch(key_id) else "that"  # it may be a whole key, secret and all
        raise AccessKeyError(f"no key has the id {shown}: 12 hexadecimal digits. Hint: premia access list")
    return _key(row)


def read_keys(connection: Connection) -> list[AccessKey]:
    """Read all keys, oldest first."""
    return [_key(row) for row in connection.execute(select(KEYS).order_by(KEYS.c.created_us, KEYS.c.key_id))]


def read_changes(connection: Connection) -> int:
    """Give the number that every change of a key moves on."""
    return connection.execute(select(CHANGES.c.number)).scalar() or 0


def _changed(connection: Connection) -> None:
    moved = connection.execute(update(CHANGES).values(number=CHANGES.c.number + 1))
    if moved.rowcount == 0:
        connection.execute(insert(CHANGES), {"row": 1, "number": 1})


def _listed(names: frozenset[str]) -> str:
    return json.dumps(sorted(names))


def _key(row: Row[tuple[object, ...]]) -> AccessKey:
    caller = Caller(
        row.key_id,
        row.name,
        row.channel,
        scopes=frozenset(json.loads(row.scopes)),
        sub_channels=frozenset(json.loads(row.sub_channels)),
        products=frozenset(json.loads(row.products)),
        licence=row.licence,
        sandbox=row.sandbox,
    )
    return AccessKey(
        caller=caller,
        rate=row.rate,
        secret=row.secret,
        digest=bytes(row.digest),
        previous=NEVER if row.previous is None else bytes(row.previous),
        overlap_until=_moment(row.overlap_us),
        created_at=EPOCH + timedelta(microseconds=row.created_us),
        created_by=row.created_by,
        expires_at=EPOCH + timedelta(microseconds=row.expires_us),
        rotated_at=_moment(row.rotated_us),
        rotated_by=row.rotated_by,
        revoked_at=_moment(row.revoked_us),
        revoked_by=row.revoked_by,
    )


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else EPOCH + timedelta(microseconds=micros)
