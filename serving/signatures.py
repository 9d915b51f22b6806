"""Signatures of quotes: anybody who holds one can tell it from a forgery.

A folder holds one file for each key, `<made>-<key id>.pem`; the newest signs, all verify.
Rotation adds a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from serving.clock import utc_text
from serving.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from pricing.product import Product

SIGNED = ("cover_hash", "currency", "expires_at", "key_id", "price_minor", "product", "quote_id")


class Signer:
    """Sign with the newest key of a folder, verify by any of them.

    Parameters
    ----------
    folder
        Where keys are kept; it and a first key are made when absent.
    now
        Time at which a first key is made.
    """

    def __init__(self, folder: Path, now: datetime) -> None:
        self._folder = folder
        if not any(folder.glob("*.pem")):
            make_key(folder, now)
        self._keys = [_read(path) for path in sorted(folder.glob("*.pem"))]
        self._newest = self._keys[-1]
        self._key_id = key_id(self._newest.public_key())
        self._covers: dict[str, str] = {}
        self._public = {key_id(key.public_key()): key.public_key() for key in self._keys}

    def certify(
        self, quote_id: str, product: Product, price_minor: int | None, expires_at: datetime
    ) -> dict[str, Any]:
        """Give the certificate of a quote: what it says, and the signature over it."""
        said = {
            "key_id": self._key_id,
            "quote_id": quote_id,
            "product": product.code,
            "price_minor": price_minor,
            "currency": product.currency,
            "expires_at": utc_text(expires_at),
            "cover_hash": self._cover_hash(product),
        }
        return {**said, "signature": _text(self._newest.sign(canonical(said)))}

    def _cover_hash(self, product: Product) -> str:
        if product.hash not in self._covers:
            self._covers[product.hash] = cover_hash(product)
        return self._covers[product.hash]

    def is_genuine(self, certificate: Mapping[str, Any]) -> bool:
        """Tell whether one of the keys signed a certificate as it stands."""
        public = self._public.get(str(certificate["key_id"]))
        return public is not None and verify(public, certificate)

    def public_keys(self) -> list[tuple[str, str, bool]]:
        """Give id, raw public key (base64url) and whether it signs now of each key, newest first."""
        return [
            (name, _text(key.public_bytes(Encoding.Raw, PublicFormat.Raw)), name == self._key_id)
            for name, key in reversed(self._public.items())
        ]


def make_key(folder: Path, now: datetime) -> str:
    """Make a key that signs from the next start of the service on; give its id."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    name = key_id(key.public_key())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    waiting = folder / f"{name}.tmp"
    handle = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    waiting.rename(folder / f"{now:%Y%m%dT%H%M%S%f}-{name}.pem")
    return name


def key_id(public: Ed25519PublicKey) -> str:
    """Give the id of a key: the begin of the sha256 of its raw public half."""
    return hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def cover_hash(product: Product) -> str:
    """Give the sha256 of what a product covers."""
    cover = product.cover.model_dump(mode="json", exclude_none=True)
    return hashlib.sha256(json.dumps(cover, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def canonical(said: Mapping[str, Any]) -> bytes:
    """Give the bytes that are signed."""
    chosen = {name: said[name] for name in SIGNED}
    return json.dumps(chosen, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def verify(public: Ed25519PublicKey, certificate: Mapping[str, Any]) -> bool:
    """Tell whether a key signed a certificate as it stands."""
    try:
        signature = urlsafe_b64decode(str(certificate["signature"]) + "==")
        public.verify(signature, canonical(certificate))
    except (InvalidSignature, ValueError):
        return False
    return True


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise StoreError(f"{path} holds no private key. Hint: restore it from a backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(f"{path} holds a key of another kind; allowed: Ed25519")
    return key


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
