"""Restrictions of a tariff: pure functions of (tariff, frozen parameters) -> tariff.

`models.tariff.record.restrict` applies them, restores the total, and records what they cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from sklearn.isotonic import IsotonicRegression

from models.errors import TariffError
from models.tariff.partition import fewest_groups
from models.tariff.scale import Scale
from models.tariff.whittaker import smooth
from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.tariff.tariff import Table, Tariff

# Two-way smoothing solves a dense system of this many cells at most.
MOST_CELLS = 1600


@dataclass(frozen=True)
class Banding:
    """Bands of a number, or groups of levels, in place of single cells; each takes the weighted mean.

    Attributes
    ----------
    component, input
        Table.
    loss
        Share of what the table explains that may be lost; the fewest bands (or groups) are taken.
    edges
        Upper bounds of the bands of a number by hand, in place of `loss`.
    groups
        Names of levels that share a cell by hand, in place of `loss`; levels not named stay alone.
    """

    component: str
    input: str
    loss: float | None = None
    edges: tuple[float, ...] | None = None
    groups: tuple[tuple[str, ...], ...] | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Inputs of its table."""
        return (self.input,)

    def __str__(self) -> str:
        """Say it in words."""
        if self.edges is not None:
            return f"bands up to {', '.join(f'{edge:g}' for edge in self.edges)}"
        if self.groups is not None:
            return "one group of " + "; of ".join(" and ".join(group) for group in self.groups)
        return f"fewest bands that lose {self.loss:.2%} of what the table explains"


@dataclass(frozen=True)
class Smoothing:
    """Whittaker-Henderson smoothing of a number, or of two numbers together.

    Attributes
    ----------
    component, inputs
        Table of one or two numbers.
    order
        Order of the differences.
    strengths
        Lambda of each side; by restricted maximum likelihood when absent.
    """

    component: str
    inputs: tuple[str, ...]
    order: int = 2
    strengths: tuple[float, ...] | None = None

    def __str__(self) -> str:
        """Say it in words."""
        chosen = "by REML" if self.strengths is None else ", ".join(f"{s:g}" for s in self.strengths)
        return f"Whittaker-Henderson smoothing of order {self.order}, lambda {chosen}"


@dataclass(frozen=True)
class Monotone:
    """Relativities of a number that may only rise, or only fall (pooled by isotonic regression).

    Attributes
    ----------
    component, input
        Table of a number.
    sign
        +1 rises, -1 falls.
    """

    component: str
    input: str
    sign: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """Inputs of its table."""
        return (self.input,)

    def __str__(self) -> str:
        """Say it in words."""
        return f"only {'rising' if self.sign > 0 else 'falling'} with the value"


@dataclass(frozen=True)
class Capping:
    """Relativities held between two bounds.

    Attributes
    ----------
    component, inputs
        Table.
    low, high
        Bounds of the relativity.
    """

    component: str
    inputs: tuple[str, ...]
    low: float
    high: float

    def __str__(self) -> str:
        """Say it in words."""
        return f"relativities held between {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class Rounding:
    """Relativities rounded to decimals.

    Attributes
    ----------
    component, inputs
        Table.
    decimals
        Number of decimals.
    """

    component: str
    inputs: tuple[str, ...]
    decimals: int

    def __str__(self) -> str:
        """Say it in words."""
        return f"relativities rounded to {self.decimals} decimals"


Restriction = Banding | Smoothing | Monotone | Capping | Rounding


def restricted(tariff: Tariff, restriction: Restriction) -> Tariff:
    """Apply a restriction; neither the total is restored nor anything recorded.

    Raises
    ------
    TariffError
        If its parameters do not fit the table.
    """
    match restriction:
        case Banding():
            return band(tariff, restriction)
        case Smoothing():
            return smoothed(tariff, restriction)
        case Monotone():
            return monotone(tariff, restriction)
        case Capping():
            return cap(tariff, restriction)
        case Rounding():
            return rounded(tariff, restriction)


def band(tariff: Tariff, parameters: Banding) -> Tariff:
    """Put cells together; the cell "not known" stays apart."""
    table = tariff.table(parameters.component, parameters.input)
    scale = table.scales[0]
    given = [value is not None for value in (parameters.loss, parameters.edges, parameters.groups)]
    if sum(given) != 1:
        raise TariffError(["banding needs one of loss, edges, groups"])
    if parameters.loss is not None and not 0.0 <= parameters.loss < 1.0:
        raise TariffError([f"loss is {parameters.loss:g}; it is a share from 0 to below 1"])
    if scale.edges is None:
        new, member = _grouped_levels(tariff, table, parameters)
    else:
        new, member = _banded(table, scale, parameters)
    return tariff.with_table(parameters.component, _joined(table, new, member))


def smoothed(tariff: Tariff, parameters: Smoothing) -> Tariff:
    """Smooth the bands of numbers; the cells "not known" stay."""
    component = tariff.component(parameters.component)
    table = component.table(*parameters.inputs)
    _numbers_only(table, "smoothed")
    inner = tuple(slice(0, scale.cells - 1) for scale in table.scales)
    if table.raw[inner].size > MOST_CELLS:
        raise TariffError(
            [f"{table.name} has {table.raw[inner].size} cells; at most {MOST_CELLS}. Hint: band first"]
        )
    if parameters.order < 1 or not table.information[inner].sum() > 0:
        raise TariffError(
            [f"{table.name}: order {parameters.order} must be 1 or more, and rows with exposure are needed"]
        )
    if parameters.strengths is not None and (
        len(parameters.strengths) != len(table.scales) or min(parameters.strengths) <= 0
    ):
        raise TariffError([f"{table.name}: one strength above 0 for each side, found {parameters.strengths}"])
    fitted, _ = smooth(
        table.raw[inner],
        table.information[inner] / component.dispersion,
        parameters.order,
        parameters.strengths,
    )
    raw = table.raw.copy()
    raw[inner] = fitted
    return tariff.with_table(parameters.component, _set(table, raw))


def monotone(tariff: Tariff, parameters: Monotone) -> Tariff:
    """Pool bands that run against the direction, weighted by information; the cell "not known" stays."""
    table = tariff.table(parameters.component, parameters.input)
    _numbers_only(table, "monotone")
    if parameters.sign not in (-1, 1):
        raise TariffError([f"{table.name}: sign is {parameters.sign}; allowed: +1 (rising), -1 (falling)"])
    # Cells without information follow their neighbours instead of holding them.
    weight = np.maximum(table.information[:-1], 1e-9 * max(float(table.information.max()), 1e-300))
    fitted = IsotonicRegression(increasing=parameters.sign > 0).fit_transform(
        np.arange(len(table.raw) - 1), table.raw[:-1], sample_weight=weight
    )
    return tariff.with_table(parameters.component, _set(table, np.append(fitted, table.raw[-1])))


def cap(tariff: Tariff, parameters: Capping) -> Tariff:
    """Hold relativities between bounds; the reference stays, so that cells within do not move."""
    table = tariff.table(parameters.component, *parameters.inputs)
    if not 0.0 < parameters.low < parameters.high:
        raise TariffError(
            [f"{table.name}: 0 < low < high is needed, found {parameters.low:g} and {parameters.high:g}"]
        )
    low, high = (table.reference + np.log(bound) for bound in (parameters.low, parameters.high))
    raw = np.clip(table.raw, low, high)
    return tariff.with_table(parameters.component, replace(table, raw=raw, variance=None))


def rounded(tariff: Tariff, parameters: Rounding) -> Tariff:
    """Round relativities as shown; the reference stays."""
    table = tariff.table(parameters.component, *parameters.inputs)
    if not 0 <= parameters.decimals <= 10:
        raise TariffError([f"{table.name}: decimals are {parameters.decimals}; allowed: 0 to 10"])
    figures = np.round(table.relativities, parameters.decimals)
    if (figures <= 0).any():
        raise TariffError(
            [f"{table.name}: {int((figures <= 0).sum())} relativities would become 0. Hint: more decimals"]
        )
    raw = np.where(figures == table.relativities, table.raw, table.reference + np.log(figures))
    return tariff.with_table(parameters.component, replace(table, raw=raw))


def _banded(table: Table, scale: Scale, parameters: Banding) -> tuple[Scale, NDArray[np.int64]]:
    """Give the new bands, and the band of each old cell."""
    edges = np.array(scale.edges, dtype=np.float64)
    if parameters.groups is not None:
        raise TariffError([f"{table.name} is a number: it is cut by edges, not by groups of levels"])
    if parameters.loss is not None:
        found = fewest_groups(table.raw[:-1], table.information[:-1], parameters.loss)
        kept = edges[np.flatnonzero(np.diff(found))]
    else:
        kept = np.array(parameters.edges, dtype=np.float64)
        absent = sorted(set(kept.tolist()) - set(edges.tolist()))
        if absent or list(kept) != sorted(set(kept.tolist())):
            raise TariffError(
                [f"{table.name}: bounds must ascend and be some of {edges.tolist()}; found {kept.tolist()}"]
            )
    new = Scale(scale.input, tuple(kept.tolist()))
    # The last two cells are the open band and "not known".
    member = np.append(np.searchsorted(kept, edges), [len(kept), len(kept) + 1])
    return new, member


def _grouped_levels(tariff: Tariff, table: Table, parameters: Banding) -> tuple[Scale, NDArray[np.int64]]:
    scale = table.scales[0]
    if parameters.edges is not None:
        raise TariffError([f"{table.name} has levels: it is merged by groups, not by edges"])
    if parameters.loss is not None:
        order = np.argsort(table.raw[:-1], kind="stable")
        found = fewest_groups(table.raw[:-1][order], table.information[:-1][order], parameters.loss)
        cell = np.empty(len(order), dtype=np.int64)
        cell[order] = found
    else:
        cell = _named_groups(tariff, table, parameters.groups or ())
    _, first = np.unique(cell, return_index=True)
    ranks = {int(cell[i]): rank for rank, i in enumerate(np.sort(first))}  # groups in the order of levels
    cell = np.array([ranks[int(c)] for c in cell], dtype=np.int64)
    new = Scale(scale.input, None, tuple(int(cell[old]) for old in scale.groups))
    return new, np.append(cell, new.cells - 1)


def _named_groups(tariff: Tariff, table: Table, groups: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    called = tariff.cell_names(table)[0][:-1]
    cell = np.arange(len(called))
    problems = []
    named = [name for group in groups for name in group]
    problems += [
        f"{table.name}: {name!r} is named twice" for name in sorted({n for n in named if named.count(n) > 1})
    ]
    for group in groups:
        for name in group:
            if name not in called:
                near = nearest(name, [each for each in called if each])
                problems.append(f"{table.name} has no level {name!r} ({near or list(called)})")
            else:
                cell[called.index(name)] = called.index(group[0]) if group[0] in called else 0
    if problems:
        raise TariffError(problems)
    return cell


def caution(tariff: Tariff, restriction: Restriction) -> str:
    """Say where a direction holds for one table only: two-way tables of the input can turn it."""
    if not isinstance(restriction, Monotone):
        return ""
    tables = tariff.component(restriction.component).tables
    beside = [t.name for t in tables if len(t.inputs) > 1 and restriction.input in t.inputs]
    return f"; caution: {', '.join(beside)} may turn it, the direction holds for this table" if beside else ""


def _joined(table: Table, scale: Scale, member: NDArray[np.int64]) -> Table:
    """Put cells together; a group of one keeps its bits."""

    def summed(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(member, amounts, scale.cells), dtype=np.float64)

    information = summed(table.information)
    # Where no cell of a group has information, its cells count alike.
    weight = np.where(information[member] > 0, table.information, 1.0)
    mean = summed(weight * table.raw) / np.maximum(summed(weight), 1e-300)
    alone = np.bincount(member, minlength=scale.cells) == 1
    raw = np.where(alone, summed(table.raw), mean)
    base = None if table.base is None else int(member[table.base])
    new = replace(
        table,
        scales=(scale,),
        raw=raw,
        base=base,
        exposure=summed(table.exposure),
        claims=summed(table.claims),
        information=information,
    )
    return _set(new, raw)


def _set(table: Table, raw: NDArray[np.float64]) -> Table:
    """Put new values in; the base level stays the one with relativity 1."""
    reference = table.reference if table.base is None else float(raw[table.base])
    return replace(table, raw=np.asarray(raw, dtype=np.float64), reference=reference, variance=None)


def _numbers_only(table: Table, what: str) -> None:
    levels = [scale.input for scale in table.scales if scale.edges is None]
    if levels:
        raise TariffError([f"{', '.join(levels)} has levels without an order; only numbers can be {what}"])
