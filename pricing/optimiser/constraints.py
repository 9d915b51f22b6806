"""What a portfolio must keep to: floors of volume, a cap of the loss ratio, a cap of the mean rate change.

Every constraint is linear in the totals of a choice (volume, cost and premium of what is sold, premium quoted
to all), so that under given multipliers each policy still has a score of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pricing.errors import BookError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pricing.optimiser.book import Book, Totals

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Constraint:
    """A weighted sum of totals that must reach a target.

    Attributes
    ----------
    name
        How it is called in answers.
    volume, cost, premium, quoted
        Weights of the totals.
    target
        The sum must be at least this.
    segment
        Segment whose totals count; all when absent.
    """

    name: str
    volume: float = 0.0
    cost: float = 0.0
    premium: float = 0.0
    quoted: float = 0.0
    target: float = 0.0
    segment: str | None = None


def volume_floor(target: float, segment: str | None = None) -> Constraint:
    """Sell or keep at least `target` policies (expected), in a segment or in all."""
    where = "" if segment is None else f" of {segment}"
    return Constraint(f"volume{where} at least {target:,.6g}", volume=1.0, target=target, segment=segment)


def loss_ratio_cap(limit: float, segment: str | None = None) -> Constraint:
    """Keep expected cost over expected premium of what is sold at or below `limit`."""
    where = "" if segment is None else f" of {segment}"
    return Constraint(f"loss ratio{where} at most {limit:.2%}", cost=-1.0, premium=limit, segment=segment)


def rate_change_cap(book: Book, limit: float) -> Constraint:
    """Keep the premium quoted to all at or below (1 + `limit`) x the sum of base prices."""
    base = float(book.base.sum())
    return Constraint(f"mean rate change at most {limit:+.2%}", quoted=-1.0, target=-(1.0 + limit) * base)


def premium_floor(target: float, segment: str | None = None) -> Constraint:
    """Take in at least `target` of expected premium, minor units."""
    where = "" if segment is None else f" of {segment}"
    return Constraint(f"premium{where} at least {target:,.6g}", premium=1.0, target=target, segment=segment)


@dataclass(frozen=True, eq=False)
class Weights:
    """Constraints as arrays over segments.

    Attributes
    ----------
    volume, cost, premium, quoted
        Weights, shape (constraints, segments).
    target
        Shape (constraints,).
    names
        Of the constraints.
    """

    volume: Array
    cost: Array
    premium: Array
    quoted: Array
    target: Array
    names: tuple[str, ...]

    @classmethod
    def of(cls, constraints: Sequence[Constraint], segments: Sequence[str]) -> Weights:
        """Spread constraints over the segments of a book.

        Raises
        ------
        BookError
            If a constraint names a segment the book does not have, a figure is not finite, or names repeat.
        """
        problems = [
            f"constraint {one.name!r}: segment {one.segment!r} is unknown ({nearest(one.segment, segments)})"
            for one in constraints
            if one.segment is not None and one.segment not in segments
        ]
        problems += [
            f"constraint {one.name!r} holds a figure that is not finite"
            for one in constraints
            if not np.isfinite([one.volume, one.cost, one.premium, one.quoted, one.target]).all()
        ]
        names = tuple(one.name for one in constraints)
        problems += [
            f"constraint {name!r} is repeated" for name in sorted({n for n in names if names.count(n) > 1})
        ]
        if problems:
            raise BookError(problems)

        def spread(field: str) -> Array:
            rows = [
                [getattr(one, field) if one.segment in (None, segment) else 0.0 for segment in segments]
                for one in constraints
            ]
            return np.array(rows, dtype=np.float64).reshape(len(constraints), len(segments))

        target = np.array([one.target for one in constraints], dtype=np.float64)
        return cls(spread("volume"), spread("cost"), spread("premium"), spread("quoted"), target, names)

    def slack(self, totals: Totals) -> Array:
        """Give what each constraint has to spare, shape (constraints,); negative where it is missed."""
        reached = (
            self.volume @ totals.volume
            + self.cost @ totals.cost
            + self.premium @ totals.premium
            + self.quoted @ totals.quoted
        )
        return np.asarray(reached - self.target)

    def only(self, kept: Sequence[int]) -> Weights:
        """Give some of the constraints."""
        rows = list(kept)
        return Weights(
            self.volume[rows],
            self.cost[rows],
            self.premium[rows],
            self.quoted[rows],
            self.target[rows],
            tuple(self.names[i] for i in rows),
        )

    def scaled(self, share: float) -> Weights:
        """Give the same constraints with their targets cut, for a sample of the book."""
        return Weights(self.volume, self.cost, self.premium, self.quoted, self.target * share, self.names)
