"""Tell a genuine certificate of a quote from a forgery without asking the service."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from premia_client import models


def is_genuine(certificate: models.Certificate, keys: models.VerificationKeys) -> bool:
    """Tell whether one of the keys signed a certificate exactly as it stands.

    Parameters
    ----------
    certificate
        Of a quote.
    keys
        From `GET /v1/verification-keys`, fetched once over a connection that is trusted.
    """
    known = {key.key_id: key.public_key for key in keys.keys}
    if certificate.key_id not in known:
        return False
    said = certificate.model_dump(mode="json", exclude={"signature"})
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    public = Ed25519PublicKey.from_public_bytes(_bytes(known[certificate.key_id]))
    try:
        public.verify(_bytes(certificate.signature), text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
