"""The keys as this process knows them: one dict, and a counter that says when to read them anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from serving.access.credentials import digest, read_key
from serving.access.keys import NEVER
from serving.access.rates import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from serving.access.caller import Caller
    from serving.access.keys import AccessKey
    from serving.access.tokens import Token, TokenSigner

TOKENS: Final = 10_000


@dataclass(slots=True)
class Known:
    """A key of the ring.

    Attributes
    ----------
    key
        As it is stored.
    bucket
        What it may still call.
    """

    key: AccessKey
    bucket: Bucket


@dataclass(frozen=True, slots=True)
class Shown:
    """Who calls, found by what was shown.

    Attributes
    ----------
    caller
        Who, with the scopes of the token if one was shown.
    bucket
        What the key may still call.
    secret
        Number of the secret behind it.
    """

    caller: Caller
    bucket: Bucket
    secret: int


class Keyring:
    """All keys.

    Parameters
    ----------
    signer
        Reads tokens.
    rate, sandbox_rate
        Requests a second of a key that has no rate of its own.
    """

    def __init__(self, signer: TokenSigner, rate: int, sandbox_rate: int) -> None:
        self._signer = signer
        self._rates = {False: rate, True: sandbox_rate}
        self._known: dict[str, Known] = {}
        # Tokens that were verified once; what is not valid never comes in.
        self._tokens: dict[str, tuple[Token, Caller]] = {}
        self.changes = -1

    def put(self, keys: Iterable[AccessKey], changes: int, monotonic: float) -> None:
        """Hold these keys from now on; what a key has used of its rate stays used."""
        fresh: dict[str, Known] = {}
        for key in keys:
            rate = key.rate or self._rates[key.caller.sandbox]
            before = self._known.get(key.caller.key_id)
            if before is not None and before.bucket.rate != rate:
                before.bucket.fill(rate)
            fresh[key.caller.key_id] = Known(key, before.bucket if before else Bucket(rate, monotonic))
        self._known = fresh
        self._tokens.clear()
        self.changes = changes

    def by_key(self, text: str, now: datetime) -> Shown | str:
        """Find who shows a key; a text says why nobody does.

        A key id that does not exist takes the same path as one that does: one hash, two comparisons.
        """
        shown = read_key(text)
        if shown is None:
            return "malformed"
        known = self._known.get(shown.key_id)
        present, before = (NEVER, NEVER) if known is None else (known.key.digest, known.key.previous)
        found = digest(shown.secret)
        is_present, is_before = compare_digest(found, present), compare_digest(found, before)
        if known is None or not (is_present | is_before) or shown.sandbox is not known.key.caller.sandbox:
            return "unknown"
        secret = known.key.secret if is_present else known.key.secret - 1
        return self._admit(known, known.key.caller, secret, now)

    def verified(self, text: str | None) -> bool:
        """Tell whether a token has been verified before."""
        return text in self._tokens

    def by_token(self, text: str, now: datetime) -> Shown | str:
        """Find who shows a token; a text says why nobody does."""
        verified = self._tokens.get(text)
        if verified is None:
            token = self._signer.verify(text, now)
            known = None if token is None else self._known.get(token.key_id)
            if token is None or known is None:
                return "invalid-token"
            caller = replace(known.key.caller, scopes=known.key.caller.scopes & token.scopes)
            if len(self._tokens) >= TOKENS:
                self._tokens.clear()
            self._tokens[text] = (token, caller)
        else:
            token, caller = verified
        if now >= token.expires_at:
            del self._tokens[text]
            return "invalid-token"
        return self._admit(self._known[token.key_id], caller, token.secret, now)

    def _admit(self, known: Known, caller: Caller, secret: int, now: datetime) -> Shown | str:
        ended = known.key.ended(now)
        if ended:
            return ended
        if not known.key.takes(secret, now):
            return "rotated"
        return Shown(caller, known.bucket, secret)
