"""What the service knows as of the last `premia sync`, and how a newer one takes its place while it runs.

A snapshot is opened whole, in a thread beside the requests, and put in place between two of them: each
request reads one snapshot from its begin to its end. One that cannot be opened is passed over, and the old
one serves.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.recommend import PropensityModel, PurchaseRates
from models.recommend.propensity import FEATURES as OFFER_FEATURES
from serving.errors import ServingError
from serving.experience import Rated
from serving.history import HistoryStore
from serving.profiles import ProfileReader
from serving.scores import ScoreStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from features.spec import FeatureSpec
    from serving.engine import InService
    from serving.experience import OwnHistoryReader
    from serving.service import QuoteService
    from serving.settings import Settings

LOG = logging.getLogger(__name__)
WATCH_SECONDS = 1.0
Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Snapshot:
    """Files of one moment, opened, and the readers over them.

    Attributes
    ----------
    signature
        Identity of the files.
    history, readers, overview
        The serving store, the profile reader of each product, and that of the risk profile people see.
    rates, propensities, scores
        Purchase rates and propensities of the recommender, and scores of all customers; None when there are
        none yet.
    offers
        Reader of what the propensities look at.
    own
        Reader of own claims, of each product in service that keeps sums of them.
    """

    signature: Signature
    history: HistoryStore
    readers: Mapping[str, ProfileReader]
    overview: ProfileReader
    offers: ProfileReader
    rates: PurchaseRates | None
    propensities: PropensityModel | None
    scores: ScoreStore | None
    own: Mapping[str, OwnHistoryReader]

    def close(self) -> None:
        """Give the files back."""
        self.history.close()
        if self.scores:
            self.scores.close()


class Snapshots:
    """The newest snapshot on the disk.

    Parameters
    ----------
    settings, spec, services
        Where the files are, the feature definitions, and the products in service.
    """

    def __init__(self, settings: Settings, spec: FeatureSpec, services: Mapping[str, InService]) -> None:
        self._settings = settings
        self._spec = spec
        self._services = services

    def signature(self) -> Signature:
        """Identify the files on the disk; every write of them puts a new file in place."""
        return tuple(map(_identity, _files(self._settings)))

    def open(self, *, whole: bool = False) -> Snapshot:
        """Open the files.

        Parameters
        ----------
        whole
            Read the serving store through for damage first.

        Raises
        ------
        StoreError
            If the serving store is missing, damaged or of another layout, or holds no sums of own history
            that fit a product in service.
        """
        signature = self.signature()
        history = HistoryStore(self._settings.history, self._settings.live)
        with ExitStack() as undo:
            undo.callback(history.close)
            if whole:
                history.check()
            _, rates, propensities, scores = _files(self._settings)
            found = Snapshot(
                signature,
                history,
                {
                    code: ProfileReader(
                        self._spec, service.product.profile.features, history, service.product.profile.fitted
                    )
                    for code, service in self._services.items()
                },
                ProfileReader(self._spec, customer_features(self._spec), history),
                ProfileReader(self._spec, OFFER_FEATURES, history),
                PurchaseRates.load(rates) if rates.is_file() else None,
                PropensityModel.load(propensities, self._spec) if propensities.is_file() else None,
                ScoreStore(scores) if scores.is_file() else None,
                {
                    code: history.own_history(service)
                    for code, service in self._services.items()
                    if Rated.of(service)
                },
            )
            undo.pop_all()
        return found


def customer_features(spec: FeatureSpec) -> tuple[str, ...]:
    """Name what the risk profile of a customer shows: all but raw times, which only feed other features."""
    return tuple(
        name
        for name in spec.names
        if spec.entity_of(name).keys == ("customer_id",)
        and not name.endswith("_time")
        and "_time_" not in name
    )


def _files(settings: Settings) -> tuple[Path, Path, Path, Path]:
    return settings.history, settings.rates, settings.propensities, settings.scores


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@asynccontextmanager
async def watching(service: QuoteService) -> AsyncIterator[None]:
    """Let the service take new snapshots while the block runs."""
    if service.snapshots is None:
        yield
        return
    task = asyncio.create_task(keep_current(service, service.snapshots))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def keep_current(service: QuoteService, snapshots: Snapshots) -> None:
    """Look for a new snapshot every second, and let the service take it; runs until cancelled."""
    passed_over = None
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        found = snapshots.signature()
        if found in (service.snapshot.signature, passed_over):
            continue
        try:
            newest = await asyncio.to_thread(snapshots.open, whole=True)
        except (ServingError, ModelError, OSError, sqlite3.Error) as error:
            passed_over = found
            LOG.warning("the new snapshot cannot be served, the old one stays: %s", error)
            continue
        LOG.info("new snapshot in service, %d events were in it", service.take(newest))
