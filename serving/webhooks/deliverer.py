"""The task that delivers what is in the outbox, beside the requests."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from serving.clock import to_micros
from serving.errors import StoreError
from serving.webhooks.outbox import any_due, claim, count_states, settle
from serving.webhooks.send import SECONDS, deliver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from serving.clock import Clock
    from serving.records import RecordStore
    from serving.webhooks.outbox import Delivery

LOG = logging.getLogger(__name__)
AT_ONCE: Final = 8
LOOK_SECONDS: Final = 1.0
COUNT_LOOKS: Final = 10  # looks between two counts of the outbox, for the metrics


class Deliverer:
    """Deliver what is due, several at once, and of each quote one after the other.

    Parameters
    ----------
    records, clock
        Where the outbox is, and the time.
    seconds
        How long one delivery may take.
    """

    def __init__(self, records: RecordStore, clock: Clock, seconds: float = SECONDS) -> None:
        self._records = records
        self._clock = clock
        self._seconds = seconds
        self._trust = ssl.create_default_context()
        self.counts: Mapping[str, int] = {}

    async def run(self) -> None:
        """Deliver until cancelled; a store that does not work is waited for."""
        look = 0
        while True:
            try:
                sent = await self.deliver_due()
                if sent or look % COUNT_LOOKS == 0:
                    self.counts = await self._records.database.read(count_states)
            except StoreError as error:
                sent = 0
                LOG.warning("webhooks wait for the store: %s", error)
            look += 1
            if not sent:
                await asyncio.sleep(LOOK_SECONDS)

    async def deliver_due(self) -> int:
        """Try what is due once; give how many were tried."""
        records, now = self._records, to_micros(self._clock())
        # Most of the time nothing is due: a look takes no lock, a claim does.
        if not await records.database.read(lambda found: any_due(found, now)):
            return 0
        taken = await records.database.write(lambda found: claim(found, records.vault, now, AT_ONCE))
        await asyncio.gather(*map(self._deliver, taken))
        return len(taken)

    async def _deliver(self, delivery: Delivery) -> None:
        fault = await deliver(
            delivery.url, delivery.secret, delivery.event_id, delivery.body, self._trust, self._seconds
        )
        now = to_micros(self._clock())
        state = await self._records.database.write(lambda found: settle(found, delivery, fault, now))
        fields = {"event_id": delivery.event_id, "attempt": delivery.attempts, "state": state}
        if fault is None:
            LOG.info("webhook delivered", extra={"fields": fields})
        else:
            LOG.warning("webhook failed", extra={"fields": fields | {"fault": fault}})


@asynccontextmanager
async def delivering(records: RecordStore, clock: Clock) -> AsyncIterator[Deliverer]:
    """Deliver while the block runs; what is under way when it ends is sent again by the next process."""
    deliverer = Deliverer(records, clock)
    task = asyncio.create_task(deliverer.run())
    try:
        yield deliverer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
