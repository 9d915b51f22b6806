"""Keys of the records: one a customer, wrapped by the master key; to drop one is to erase the customer.

AES-256 in Galois/counter mode (NIST SP 800-38D) with a random nonce of 96 bits in front of each text; kind
and id of the row are authenticated with it, so that no text can be moved to another row.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from serving.settings import Settings

NONCE = 12
# Unwrapped keys that are held in memory; a look-up in the key table says whether they still count.
MOST_HELD = 50_000


class Vault:
    """What the master key opens.

    Parameters
    ----------
    master
        32 random bytes.
    """

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._wrapper = AESGCM(self._derived("wrap"))
        self._names = self._derived("names")
        self._held: dict[bytes, AESGCM] = {}
        self.store_key = AESGCM(self._derived("store"))
        self.fingerprint = self._derived("fingerprint")[:8].hex()

    def name(self, kind: str, text: str) -> bytes:
        """Give what stands in the store for a name that shall not be read there: a keyed hash."""
        return hmac.digest(self._names, f"{kind} {text}".encode(), "sha256")

    def new_key(self) -> tuple[str, bytes]:
        """Make a key; give its random id and the key as it is stored."""
        key_id, key = uuid4().hex, AESGCM.generate_key(256)
        nonce = os.urandom(NONCE)
        wrapped = nonce + self._wrapper.encrypt(nonce, key, key_id.encode())
        self._hold(wrapped, AESGCM(key))
        return key_id, wrapped

    def unwrap(self, key_id: str, wrapped: bytes) -> AESGCM:
        """Give a key as it is used.

        Raises
        ------
        StoreError
            If this master key has not wrapped it.
        """
        found = self._held.get(wrapped)
        if found is not None:
            return found
        try:
            key = self._wrapper.decrypt(wrapped[:NONCE], wrapped[NONCE:], key_id.encode())
        except InvalidTag as error:
            raise StoreError(f"key {key_id} was changed, or wrapped by another master key") from error
        return self._hold(wrapped, AESGCM(key))

    def _hold(self, wrapped: bytes, key: AESGCM) -> AESGCM:
        if len(self._held) >= MOST_HELD:
            del self._held[next(iter(self._held))]
        self._held[wrapped] = key
        return key

    @property
    def token_secret(self) -> bytes:
        """What access tokens are signed with."""
        return self._derived("access tokens")

    def _derived(self, purpose: str) -> bytes:
        return hashlib.sha256(b"premia " + purpose.encode() + b"\0" + self._master).digest()


def encrypt(key: AESGCM, text: bytes, kind: str, identity: str) -> bytes:
    """Encrypt the body of a row."""
    nonce = os.urandom(NONCE)
    return nonce + key.encrypt(nonce, text, f"{kind} {identity}".encode())


def decrypt(key: AESGCM, body: bytes, kind: str, identity: str) -> bytes:
    """Decrypt the body of a row.

    Raises
    ------
    StoreError
        If it is not what was stored there.
    """
    try:
        return key.decrypt(body[:NONCE], body[NONCE:], f"{kind} {identity}".encode())
    except InvalidTag as error:
        raise StoreError(
            f"{kind} {identity} was changed after it was stored: it cannot be decrypted"
        ) from error


def open_vault(settings: Settings) -> Vault:
    """Open the vault with the master key of the environment or of its file, which is made at the first start.

    Raises
    ------
    StoreError
        If the key is no key, or its file can be read by others.
    """
    if settings.master_key is not None:
        return Vault(_read(settings.master_key.get_secret_value(), "PREMIA_MASTER_KEY"))
    path = settings.master_key_file
    if not path.is_file():
        _make(path)
    if path.stat().st_mode & 0o077:
        raise StoreError(f"{path} can be read by others than its owner. Hint: chmod 600 {path}")
    return Vault(_read(path.read_text(encoding="ascii"), str(path)))


def _read(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise StoreError(f"{where} holds no master key; allowed: 64 hexadecimal digits")
    return key


def _make(path: Path) -> None:
    """Make the file whole or not at all; of several processes that start at once the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, os.urandom(32).hex().encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
