"""One delivery over HTTP: signed, to an address that was checked, without following anybody elsewhere.

The few lines of HTTP are written here because the connection must go to the very address that was checked: a
client that looks the name up again could be led to a private one (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from dataclasses import dataclass
from ipaddress import ip_address
from time import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from serving.errors import WebhookError

if TYPE_CHECKING:
    import ssl

SECONDS: Final = 10.0  # for name, connection, request and the first line of the answer together
STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
HOST: Final = re.compile(r"[A-Za-z0-9.:-]+")
PATH: Final = re.compile(r"[!-~]*")


@dataclass(frozen=True)
class Target:
    """Where a webhook goes.

    Attributes
    ----------
    host, port, path
        As of its URL.
    tls
        Whether it is HTTPS; plain HTTP reaches this machine only.
    loopback
        Whether the URL names this machine.
    """

    host: str
    port: int
    path: str
    tls: bool
    loopback: bool


def read_target(url: str) -> Target:
    """Read the URL of a webhook.

    Raises
    ------
    WebhookError
        If it is not HTTPS to a public host, or HTTP to this machine.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise WebhookError(f"{url!r} is no URL: {error}") from error
    loopback = host == "localhost" or _is_loopback(host)
    if parts.scheme not in ("https", "http") or (parts.scheme == "http" and not loopback):
        raise WebhookError(f"{url!r} is not allowed; allowed: https://, and http:// to this machine")
    if parts.username or parts.password or parts.fragment:
        raise WebhookError(f"{host!r}: a URL with user, password or fragment is not allowed")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not HOST.fullmatch(host) or not PATH.fullmatch(path):
        raise WebhookError(f"{url!r} is not allowed; host and path must be plain ASCII")
    if not loopback and _is_address(host):
        _check_public(host, host)
    tls = parts.scheme == "https"
    return Target(host, port or (443 if tls else 80), path, tls, loopback)


async def resolve(target: Target) -> str:
    """Give the address of a target.

    Raises
    ------
    WebhookError
        If the name leads to any address that is not public (for this machine: not its own).
    OSError
        If it leads nowhere.
    """
    found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=1)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if target.loopback and not _is_loopback(address):
            raise WebhookError(f"{target.host} leads to {address}, which is not this machine")
        if not target.loopback:
            _check_public(target.host, address)
    return addresses[0]


def sign(secret: bytes, event_id: str, body: bytes, at: int) -> str:
    """Give the header by which the receiver knows who sent the event and when.

    `v1` is HMAC-SHA256 with the secret over `t.event_id.body`.
    """
    signed = f"{at}.{event_id}.".encode() + body
    return f"t={at},v1={hmac.new(secret, signed, hashlib.sha256).hexdigest()}"


async def deliver(
    url: str, secret: bytes, event_id: str, body: bytes, trust: ssl.SSLContext, seconds: float = SECONDS
) -> str | None:
    """Send an event; give why it did not arrive, None when the receiver took it (2xx)."""
    try:
        async with asyncio.timeout(seconds):
            status = await _post(read_target(url), secret, event_id, body, trust)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except (WebhookError, OSError, EOFError, ValueError) as error:  # ssl errors are OSErrors
        return f"{type(error).__name__}: {error}"[:200]
    return None if 200 <= status < 300 else f"answered {status}"


async def _post(target: Target, secret: bytes, event_id: str, body: bytes, trust: ssl.SSLContext) -> int:
    address = await resolve(target)
    secure = {"ssl": trust, "server_hostname": target.host} if target.tls else {}
    reader, writer = await asyncio.open_connection(address, target.port, **secure)  # type: ignore[arg-type]
    try:
        writer.write(_request(target, secret, event_id, body))
        await writer.drain()
        found = STATUS.match(await reader.readuntil(b"\r\n"))
        if not found:
            raise ValueError("the answer is no HTTP")
        return int(found[1])
    finally:
        writer.close()


def _request(target: Target, secret: bytes, event_id: str, body: bytes) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    head = (
        f"POST {target.path} HTTP/1.1",
        f"Host: {host}:{target.port}",
        "User-Agent: Premia",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Premia-Event-Id: {event_id}",
        f"Premia-Signature: {sign(secret, event_id, body, int(time()))}",
        "Connection: close",
    )
    return "\r\n".join([*head, "", ""]).encode() + body


def _check_public(host: str, address: str) -> None:
    found = ip_address(address)
    inner = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None) or found
    if not (found.is_global and inner.is_global) or found.is_multicast:
        raise WebhookError(f"{host} leads to {address}, which is not a public address")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ip_address(host).is_loopback
