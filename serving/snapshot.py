"""What the service knows as of the last `premia sync`: files of one moment, and the readers over them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.recommend import PropensityModel, PurchaseRates
from models.recommend.propensity import FEATURES as OFFER_FEATURES
from serving.experience import Rated
from serving.history import HistoryStore
from serving.profiles import ProfileReader
from serving.scores import ScoreStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from features.spec import FeatureSpec
    from serving.engine import InService
    from serving.experience import OwnHistoryReader
    from serving.settings import Settings

Signature = tuple[tuple[int, ...] | None, ...]


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
    settings, spec
        Where the files are, and the feature definitions.
    """

    def __init__(self, settings: Settings, spec: FeatureSpec) -> None:
        self._settings = settings
        self._spec = spec

    def signature(self) -> Signature:
        """Identify the files on the disk; every write of them puts a new file in place."""
        return tuple(map(identity, _files(self._settings)))

    def open(self, *, whole: bool = False) -> Snapshot:
        """Open the files, without readers of products.

        Parameters
        ----------
        whole
            Read the serving store through for damage first.

        Raises
        ------
        StoreError
            If the serving store is missing, damaged or of another layout.
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
                {},
                ProfileReader(self._spec, customer_features(self._spec), history),
                ProfileReader(self._spec, OFFER_FEATURES, history),
                PurchaseRates.load(rates) if rates.is_file() else None,
                PropensityModel.load(propensities, self._spec) if propensities.is_file() else None,
                ScoreStore(scores) if scores.is_file() else None,
                {},
            )
            undo.pop_all()
        return found

    def reading(self, snapshot: Snapshot, services: Mapping[str, InService]) -> Snapshot:
        """Give a snapshot with the readers of the products in service; those that still fit are kept.

        A reader remembers giant sellers for a day, which a change of models must not throw away.
        """
        readers, own = {}, {}
        for code, service in services.items():
            profile = service.product.profile
            kept = snapshot.readers.get(code)
            if kept is None or kept.names != profile.inputs:
                kept = ProfileReader(self._spec, profile.features, snapshot.history, profile.fitted)
            readers[code] = kept
            if Rated.of(service):
                own[code] = snapshot.history.own_history(service)
        return replace(snapshot, readers=readers, own=own)


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


def identity(path: Path) -> tuple[int, ...] | None:
    """Identify a file: it is the same until another takes its place or it is written to; None when absent."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
