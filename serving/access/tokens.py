"""Access tokens (RFC 9068): what a key is exchanged for, good for an hour at most.

The service that signs is the service that verifies, so one secret does both (HS256). It is derived for each
day from the master key (HKDF, RFC 5869), so that processes agree without asking each other and no signing key
lives longer than two days; the day is the `kid`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from serving.clock import EPOCH

if TYPE_CHECKING:
    from datetime import datetime

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "premia"
TYPE: Final = "at+jwt"
LIFETIME: Final = timedelta(hours=1)
REQUIRED: Final = ["iss", "aud", "sub", "iat", "exp", "jti", "scope", "secret"]


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says.

    Attributes
    ----------
    key_id, secret
        Key that it was given for, and the number of the secret that was shown.
    scopes
        What it allows, if the key still does.
    expires_at
        UTC without zone.
    """

    key_id: str
    secret: int
    scopes: frozenset[str]
    expires_at: datetime


class TokenSigner:
    """Sign and verify tokens.

    Parameters
    ----------
    master
        Secret of the deployment, 32 bytes (`Vault.token_secret`).
    """

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._days: dict[str, bytes] = {}

    def sign(self, token: Token, now: datetime) -> str:
        """Give a token as text."""
        claims = {
            "iss": AUDIENCE,
            "aud": AUDIENCE,
            "sub": token.key_id,
            "iat": now.replace(tzinfo=UTC),
            "exp": token.expires_at.replace(tzinfo=UTC),
            "jti": str(uuid4()),
            "scope": " ".join(sorted(token.scopes)),
            "secret": token.secret,
        }
        day = f"{now:%Y%m%d}"
        return jwt.encode(claims, self._key(day), ALGORITHM, headers={"kid": day, "typ": TYPE})

    def verify(self, text: str, now: datetime) -> Token | None:
        """Read a token; None when it was not signed here, is damaged, or is past its time."""
        try:
            head = jwt.get_unverified_header(text)
            day = head.get("kid")
            if head.get("typ") != TYPE or day not in _days(now):
                return None
            claims = jwt.decode(
                text,
                self._key(day),
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=AUDIENCE,
                # The time is ours to judge, by the clock of the service.
                options={"require": REQUIRED, "verify_exp": False, "verify_iat": False, "strict_aud": True},
            )
        except jwt.InvalidTokenError:
            return None
        expires_at = EPOCH + timedelta(seconds=int(claims["exp"]))
        if now >= expires_at:
            return None
        return Token(claims["sub"], claims["secret"], frozenset(claims["scope"].split()), expires_at)

    def _key(self, day: str) -> bytes:
        if day not in self._days:
            info = b"premia access token " + day.encode()
            self._days = {  # the day before is still needed for an hour, the days before it never
                **dict(list(self._days.items())[-1:]),
                day: HKDF(SHA256(), length=32, salt=None, info=info).derive(self._master),
            }
        return self._days[day]


def _days(now: datetime) -> tuple[str, str]:
    return f"{now:%Y%m%d}", f"{now - LIFETIME:%Y%m%d}"
