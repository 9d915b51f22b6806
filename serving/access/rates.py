"""How often a key may call, and how often an address may fail.

Buckets live in the process: `n` processes behind one address let `n` times as much through, and a restart
fills them. That protects the service from a caller; it is no bill.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

WINDOW: Final = 10  # seconds of its rate that a caller may use at once
ADDRESSES: Final = 10_000
PAIRS: Final = 10_000


class Bucket:
    """A token bucket: it fills steadily, and holds what `WINDOW` seconds bring.

    Parameters
    ----------
    rate
        Calls a second.
    now
        Seconds of a clock that never goes back.
    """

    __slots__ = ("_policy", "at", "held", "quota", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.held = 0.0
        self.at = now
        self.fill(rate)
        self.held = self.quota

    def fill(self, rate: float) -> None:
        """Take another rate from now on."""
        self.rate = rate
        self.quota = rate * WINDOW
        self.held = min(self.held, self.quota)
        self._policy = (b"ratelimit-policy", b'"key";q=%d;w=%d' % (self.quota, WINDOW))

    def take(self, now: float) -> bool:
        """Take one call; false when there is none left."""
        held = self.held + (now - self.at) * self.rate
        self.at = now
        if held > self.quota:
            held = self.quota
        if held < 1:
            self.held = held
            return False
        self.held = held - 1
        return True

    def wait(self) -> int:
        """Give the whole seconds until there is a call again, at least one."""
        return max(1, math.ceil((1 - self.held) / self.rate))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Say how many calls are left, and in how many seconds all are back (IETF draft, version 10)."""
        full = math.ceil((self.quota - self.held) / self.rate)
        return [(b"ratelimit", b'"key";r=%d;t=%d' % (self.held, full)), self._policy]


class Failures:
    """Count failed authentications by address, and refuse those of an address that fails too often.

    Behind a shared address (an office, a proxy nobody told us of) a key that is known to work from there goes
    on working: locking it out would let anybody switch off a neighbour.

    Parameters
    ----------
    per_minute
        Failures a minute that an address may have.
    """

    def __init__(self, per_minute: int) -> None:
        self._rate = per_minute / 60
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._works: set[tuple[str, str]] = set()

    def works(self, address: str, key_id: str) -> None:
        """Remember that a key was shown rightly from an address."""
        pair = (address, key_id)
        if pair not in self._works:
            if len(self._works) >= PAIRS:
                self._works.clear()
            self._works.add(pair)

    def must_wait(self, address: str, key_id: str | None, now: float) -> int | None:
        """Give the seconds to wait before another try; None when it may be made."""
        if not self._buckets or (address, key_id) in self._works:
            return None
        bucket = self._buckets.get(network(address))
        if bucket is None or bucket.held + (now - bucket.at) * bucket.rate >= 1:
            return None
        return bucket.wait()

    def failed(self, address: str, now: float) -> None:
        """Count a failure."""
        near = network(address)
        bucket = self._buckets.pop(near, None) or Bucket(self._rate, now)
        bucket.take(now)
        self._buckets[near] = bucket
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)


def network(address: str) -> str:
    """Give what one host may change at will: the whole IPv4 address, the first 64 bits of an IPv6 address."""
    try:
        known = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(known, IPv6Address):
        mapped = known.ipv4_mapped
        return str(mapped) if mapped else f"{IPv6Address(int(known) >> 64 << 64)}/64"
    return address
