"""The impact of new prices on a book: collected batch by batch, so that a million policies fit in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.bands import band
from models.dislocation import dislocation
from models.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.dislocation import Dislocation

    Array = NDArray[np.float64]
    Minor = NDArray[np.int64]

MOVERS = 10
# Segments with fewer policies are not ranked: their change is that of a few people.
LEAST_POLICIES = 30


@dataclass(frozen=True, eq=False)
class Impact:
    """What new prices do to a book.

    Attributes
    ----------
    rows
        Policies of the book.
    dislocation
        Bands and segments of the policies that have a price both ways.
    causes
        Cause -> change of the premium of those policies, minor units; they add up to the change.
    touched
        Cause -> policies whose price it moves.
    ladder
        Index step; `old`, `new`: totals of those policies, minor units.
    statuses
        (old status, new status) -> policies.
    codes
        Index code; `old`, `new`: policies that it keeps from a price.
    movers
        Places in the portfolio of the largest falls and of the largest rises, largest first.
    demand
        Totals by `old`, `new`; empty without a demand model.
    """

    rows: int
    dislocation: Dislocation
    causes: dict[str, int]
    touched: dict[str, int]
    ladder: pd.DataFrame
    statuses: dict[tuple[str, str], int]
    codes: pd.DataFrame
    movers: tuple[tuple[int, ...], tuple[int, ...]]
    demand: pd.DataFrame

    @property
    def neutral_factor(self) -> float:
        """What all new prices must be multiplied by so that these policies pay what they paid."""
        return self.dislocation.summary["before"] / self.dislocation.summary["after"]

    @property
    def winners(self) -> float:
        """Share of policies whose price falls."""
        return self._share(-1)

    @property
    def losers(self) -> float:
        """Share of policies whose price rises."""
        return self._share(1)

    def _share(self, sign: int) -> float:
        frame = self.dislocation.frame
        centre = frame.index.get_loc("no change")
        part = frame.iloc[:centre] if sign < 0 else frame.iloc[centre + 1 :]
        return float(part["share"].sum())

    def ranked(self) -> pd.DataFrame:
        """Give the segments of enough policies, from the largest fall of premium to the largest rise."""
        segments = self.dislocation.segments
        return segments[segments["policies"] >= LEAST_POLICIES].sort_values("change", kind="stable")


@dataclass
class ImpactCollector:
    """Takes in priced batches and adds them up; per policy it keeps place, prices and rating factors only."""

    _rows: int = 0
    _kept: list[tuple[Minor, Minor, Minor]] = field(default_factory=list)
    _factors: dict[str, list[pd.Series]] = field(default_factory=dict)
    _causes: Counter[str] = field(default_factory=Counter)
    _touched: Counter[str] = field(default_factory=Counter)
    _ladder: dict[str, list[int]] = field(default_factory=dict)
    _statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    _codes: dict[str, list[int]] = field(default_factory=dict)
    _demand: dict[str, Array] = field(default_factory=dict)

    def add_outcomes(self, old: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> None:
        """Count `status` and `codes` of every policy of a batch."""
        self._rows += len(old["status"])
        self._statuses.update(zip(old["status"], new["status"], strict=True))
        for side, outcomes in enumerate((old, new)):
            for codes in filter(None, outcomes["codes"]):
                for code in codes.split(";"):
                    self._codes.setdefault(code, [0, 0])[side] += 1

    def add_prices(
        self,
        places: Minor,
        old: Minor,
        new: Minor,
        factors: pd.DataFrame,
        causes: Mapping[str, Minor],
        ladders: Mapping[str, tuple[Minor, Minor]],
    ) -> None:
        """Take in the policies of a batch that have a price both ways.

        Parameters
        ----------
        places, old, new
            Place in the portfolio and both prices, shape (n,).
        factors
            Rating factors, n rows.
        causes
            Cause -> part of the change of each policy.
        ladders
            Step -> old and new amounts.

        Raises
        ------
        ValueError
            If the causes do not add up to the change of every policy.
        """
        if not len(places):
            return
        if not np.array_equal(np.sum(list(causes.values()), axis=0), new - old):
            raise ValueError("causes do not add up to the change of every price")
        self._kept.append((places, old, new))
        for name, column in factors.items():
            self._factors.setdefault(str(name), []).append(column)
        for cause, part in causes.items():
            self._causes[cause] += int(part.sum())
            self._touched[cause] += int(np.count_nonzero(part))
        for step, amounts in ladders.items():
            totals = self._ladder.setdefault(step, [0, 0])
            for side in (0, 1):
                totals[side] += int(amounts[side].sum())

    def add_demand(self, totals: Mapping[str, tuple[float, float]]) -> None:
        """Add what a batch is expected to sell, keep and earn: figure -> (old, new)."""
        for name, pair in totals.items():
            self._demand[name] = self._demand.get(name, np.zeros(2)) + np.asarray(pair)

    def result(self) -> Impact:
        """Judge the whole book.

        Raises
        ------
        TrainingDataError
            If no policy has a price both ways.
        """
        if not self._kept:
            outcomes = ", ".join(f"{old} to {new}: {n:,}" for (old, new), n in sorted(self._statuses.items()))
            why = ", ".join(f"{code} ({old} before, {new} after)" for code, (old, new) in self._codes.items())
            raise TrainingDataError(
                [f"none of {self._rows:,} policies has a price both ways: {outcomes}; codes: {why or 'none'}"]
            )
        places, old, new = (np.concatenate(column) for column in zip(*self._kept, strict=True))
        segments: dict[str, pd.Categorical] = {}
        for name in list(self._factors):
            column = pd.concat(self._factors.pop(name), ignore_index=True)
            found = band(column, np.ones(len(column)), name=name)
            segments[name] = pd.Categorical.from_codes(found.codes, list(found.labels))
        moved = dislocation(old.astype(np.float64), new.astype(np.float64), segments)
        order = np.argsort(new / old, kind="stable")
        falls = order[: int((new < old).sum())][:MOVERS]
        rises = order[::-1][: int((new > old).sum())][:MOVERS]
        return Impact(
            self._rows,
            moved,
            {cause: total for cause, total in self._causes.items() if self._touched[cause]},
            {cause: count for cause, count in self._touched.items() if count},
            pd.DataFrame.from_dict(self._ladder, orient="index", columns=["old", "new"]),
            dict(sorted(self._statuses.items())),
            pd.DataFrame.from_dict(dict(sorted(self._codes.items())), orient="index", columns=["old", "new"]),
            (tuple(places[falls].tolist()), tuple(places[rises].tolist())),
            pd.DataFrame.from_dict(self._demand, orient="index", columns=["old", "new"]),
        )
