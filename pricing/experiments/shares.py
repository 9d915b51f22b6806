"""Shares of the cells, version by version: frozen, hashed, and chained in a list that only grows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from pricing.errors import ExperimentError
from pricing.experiments.experiment import mean_effect
from pricing.plan import MILLION, millionths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pricing.experiments.experiment import Experiment

FIRST = ""


@dataclass(frozen=True)
class Evidence:
    """What a version of the shares was learned from, all closed batches together.

    Attributes
    ----------
    method
        `filed` for the shares of the file, else how they were learned.
    quotes, sold
        By cell.
    profit_minor
        By cell, profit of one sale as assumed, minor units.
    """

    method: str
    quotes: tuple[int, ...] = ()
    sold: tuple[int, ...] = ()
    profit_minor: tuple[float, ...] = ()


@dataclass(frozen=True)
class CellShares:
    """Shares of the cells of a test, in force for one batch or more.

    Attributes
    ----------
    experiment, experiment_hash
        Which test, which content of its file.
    version
        0 for the shares of the file, then one more each time.
    multipliers, shares
        By cell, millionths; the shares are the propensities.
    evidence
        What they rest on.
    previous
        Hash of the version before; empty for the first.
    """

    experiment: str
    experiment_hash: str
    version: int
    multipliers: tuple[int, ...]
    shares: tuple[int, ...]
    evidence: Evidence
    previous: str = FIRST

    @classmethod
    def filed(cls, test: Experiment) -> CellShares:
        """Give the shares of the file."""
        return cls(test.name, test.hash, 0, test.multipliers, test.shares, Evidence("filed"))

    def following(self, test: Experiment, shares: Sequence[float], evidence: Evidence) -> CellShares:
        """Give the next version from wished shares, held within what the test's file allows.

        Every cell gets at least `least_share`; if the mean premium then moves by more than
        `premium_effect_cap`, the shares are drawn towards the holdout, which moves nothing.

        Parameters
        ----------
        test
            The file under which the test runs.
        shares
            By cell, not negative; their sum is 1.
        evidence
            What they rest on.

        Raises
        ------
        ExperimentError
            If the shares are none, or the file has changed.
        """
        wished = np.asarray(shares, dtype=float)
        if wished.shape != (len(test.cells),) or not (wished >= 0).all() or abs(wished.sum() - 1) > 1e-9:
            raise ExperimentError(
                f"shares are {list(shares)!r}; allowed: {len(test.cells)}, none negative, adding up to 1"
            )
        if test.hash != self.experiment_hash:
            raise ExperimentError(
                f"the file of {test.name!r} was changed while the test ran. Hint: give it a new name"
            )
        allowed = _allowed(test, wished)
        return CellShares(
            self.experiment,
            self.experiment_hash,
            self.version + 1,
            self.multipliers,
            allowed,
            evidence,
            self.hash,
        )

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """First place, of the 2^53 places of units, behind each cell but the last."""
        return tuple(-(-(end << 53) // MILLION) for end in accumulate(self.shares[:-1]))

    @cached_property
    def hash(self) -> str:
        """Sha256 over the content and, by `previous`, over all versions before."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def _allowed(test: Experiment, wished: NDArray[np.float64]) -> tuple[int, ...]:
    least, cap = millionths(test.least_share), float(test.premium_effect_cap)
    free = MILLION - least * len(test.cells)
    moved = np.array(test.multipliers) / MILLION - 1.0
    floored = (least + free * wished) / MILLION
    effect = abs(float(floored @ moved))
    # Rounding down below moves the mean by less than a millionth a cell.
    most = max(cap - len(test.cells) / MILLION, 0.0)
    drawn = floored if effect <= most else _drawn(floored, least / MILLION, test.holdout, moved, most)
    whole = np.maximum(np.floor(drawn * MILLION + 1e-6), least).astype(np.int64)
    whole[test.holdout] += MILLION - int(whole.sum())
    found = tuple(int(one) for one in whole)
    if abs(float(mean_effect(test.multipliers, found))) > cap:
        raise ExperimentError(f"no shares of at least {test.least_share} keep the premium within {cap}")
    return found


def _drawn(
    floored: NDArray[np.float64], least: float, holdout: int, moved: NDArray[np.float64], most: float
) -> NDArray[np.float64]:
    """Mix the shares with the nearest to holdout-only that the floor allows, until the effect is `most`."""
    calm = np.full_like(floored, least)
    calm[holdout] += 1.0 - calm.sum()
    near, far = float(calm @ moved), float(floored @ moved)
    target = float(np.copysign(most, far))
    part = np.clip((target - near) / (far - near), 0.0, 1.0)
    mixed: NDArray[np.float64] = calm + part * (floored - calm)
    return mixed


@dataclass(frozen=True)
class SharesLog:
    """All versions of the shares of one test, in order; a version is added, never changed or taken away.

    Attributes
    ----------
    versions
        Each holds the hash of the one before.
    """

    versions: tuple[CellShares, ...]

    def __post_init__(self) -> None:
        """Refuse a list that does not hold together.

        Raises
        ------
        ExperimentError
            Naming the first version that does not follow from the one before.
        """
        if not self.versions:
            raise ExperimentError("a log of shares starts with the shares of the file")
        previous = FIRST
        for i, one in enumerate(self.versions):
            same = one.experiment_hash == self.versions[0].experiment_hash
            if one.version != i or one.previous != previous or not same:
                raise ExperimentError(
                    f"version {one.version} of the shares of {one.experiment!r} does not follow from the one "
                    "before: a version was changed, taken away or put in"
                )
            previous = one.hash

    @property
    def current(self) -> CellShares:
        """The version in force."""
        return self.versions[-1]

    def add(self, shares: CellShares) -> SharesLog:
        """Give the log with one more version."""
        return SharesLog((*self.versions, shares))

    def to_lines(self) -> str:
        """Write one line of JSON a version, with its hash; a longer log only adds lines."""
        return "".join(
            json.dumps({"sha256": one.hash, "shares": asdict(one)}, sort_keys=True) + "\n"
            for one in self.versions
        )

    @classmethod
    def from_lines(cls, text: str) -> SharesLog:
        """Read what `to_lines` wrote.

        Raises
        ------
        ExperimentError
            If a line is no version, was changed, or the versions do not follow from each other.
        """
        versions = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                stored = json.loads(line)
                one = _read(stored["shares"])
                written = stored["sha256"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ExperimentError(f"line {number} is no version of shares: {error}") from error
            if one.hash != written:
                raise ExperimentError(
                    f"line {number} was changed after it was written: its hash does not fit"
                )
            versions.append(one)
        return cls(tuple(versions))


def _read(content: dict[str, Any]) -> CellShares:
    evidence = Evidence(**_frozen(content.pop("evidence")))
    return CellShares(evidence=evidence, **_frozen(content))


def _frozen(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
