"""The efficient frontier: the most profit for each target of one constraint, the others held."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pricing.errors import InfeasibleError
from pricing.optimiser.solve import Solution, optimise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pricing.optimiser.book import Book
    from pricing.optimiser.constraints import Constraint


@dataclass(frozen=True, eq=False)
class FrontierPoint:
    """One target and what it costs.

    Attributes
    ----------
    target
        Of the constraint that is moved.
    solution
        Prices; `None` where no prices meet the target.
    why
        Why there are none, in words; empty where there are.
    """

    target: float
    solution: Solution | None
    why: str = ""


def frontier(
    book: Book,
    moved: Constraint,
    targets: Sequence[float],
    others: Sequence[Constraint] = (),
    *,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[FrontierPoint]:
    """Price the book for each target of one constraint; each solution starts from the one before.

    Parameters
    ----------
    book
        Policies.
    moved
        Constraint whose target is moved, for example a `volume_floor`.
    targets
        In the order in which they are solved; neighbours that lie close are quickest.
    others
        Constraints that stay.
    threads
        Threads of the dual.
    progress
        Told (targets done, targets in all).

    Raises
    ------
    BookError
        If a constraint cannot be read.
    """
    points: list[FrontierPoint] = []
    start: dict[str, float] | None = None
    for number, target in enumerate(targets):
        wanted = [replace(moved, target=target), *others]
        try:
            found = optimise(book, wanted, "individual", start=start, threads=threads)
            start = found.shadow_prices
            points.append(FrontierPoint(target, found))
        except InfeasibleError as error:
            points.append(FrontierPoint(target, None, str(error)))
        if progress is not None:
            progress(number + 1, len(targets))
    return points
