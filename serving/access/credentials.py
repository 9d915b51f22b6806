"""API keys as text: `premia_<live|test>_<key id>_<secret>`.

The secret is 256 random bits, so that nobody can find it from its sha256 by trying: a slow hash (bcrypt,
Argon2) protects what people choose, and would cost each request more than its price does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_hex
from typing import Final

KEY: Final = re.compile(r"premia_(live|test)_([0-9a-f]{12})_([0-9a-f]{64})")
KEY_ID: Final = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key that somebody shows.

    Attributes
    ----------
    key_id, secret
        Name of the key and what proves it.
    sandbox
        Whether it says that it is for trial only.
    """

    key_id: str
    secret: str
    sandbox: bool

    @property
    def text(self) -> str:
        """The key as its holder keeps it."""
        return f"premia_{'test' if self.sandbox else 'live'}_{self.key_id}_{self.secret}"


def new_key_id() -> str:
    """Make the name of a key."""
    return token_hex(6)


def new_secret() -> str:
    """Make a secret of 256 random bits."""
    return token_hex(32)


def digest(secret: str) -> bytes:
    """Give what is stored of a secret."""
    return sha256(secret.encode()).digest()


def read_key(text: str) -> Credentials | None:
    """Read a key; None when the text is none."""
    found = KEY.fullmatch(text)
    return Credentials(found[2], found[3], found[1] == "test") if found else None
