"""The form of a tariff that people edit: one line per cell, and what is refused when it comes back.

Only relativities and base rates may be changed. Everything else must come back as it was written, since it
belongs to the state that travels with the form (`models.tariff.state`).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.errors import TariffError
from models.tariff.tariff import Change, shown
from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from models.tariff.tariff import Component, Table, Tariff

BASE_RATE = "base rate"
# Columns of the long form, in order.
COLUMNS = (
    "component", "table", "cell_1", "cell_2", "above", "up_to", "exposure", "claims", "relativity", "low",
    "high", "base",
)  # fmt: skip
FIXED = ("exposure", "claims", "low", "high")


class Key(NamedTuple):
    """Where a cell stands: component, table, names of its cell along each side."""

    component: str
    table: str
    cell_1: str
    cell_2: str


@dataclass(frozen=True)
class Cell:
    """One line of the form; figures as shown.

    Attributes
    ----------
    key
        Where it stands.
    place
        Flat cell of the table; -1 for a base rate.
    above, up_to
        Bounds of a band, None where there is none.
    exposure, claims, low, high
        What the learn rows say; None where nothing is known.
    relativity
        What may be edited; for a base rate, the rate.
    base
        Whether it is the base level.
    """

    key: Key
    place: int
    above: float | None
    up_to: float | None
    exposure: float | None
    claims: float | None
    relativity: float
    low: float | None
    high: float | None
    base: bool = False


@dataclass(frozen=True)
class Line:
    """A line as it came back.

    Attributes
    ----------
    key
        Where it says it stands.
    fields
        What its columns hold; columns that a form does not have are absent.
    at
        Column -> place in the file, in words.
    """

    key: Key
    fields: Mapping[str, object]
    at: Callable[[str], str]


def cells_of(tariff: Tariff) -> list[Cell]:
    """Give the form: base rates, then every cell that a risk can fall into.

    Raises
    ------
    TariffError
        If two cells of a table have one name.
    """
    found: list[Cell] = []
    for component in tariff.components:
        key = Key(component.name, BASE_RATE, "", "")
        found.append(Cell(key, -1, None, None, None, None, component.base_rate, None, None))
        for table in component.tables:
            found += table_cells(tariff, component, table)
    counted = Counter(cell.key for cell in found)
    twice = [key for key, count in counted.items() if count > 1]
    if twice:
        raise TariffError([f"{_called(key)}: two cells have this name" for key in twice])
    return found


def table_cells(tariff: Tariff, component: Component, table: Table) -> list[Cell]:
    """Give the lines of one table, in cell order."""
    sides = tariff.cell_names(table)
    if len(sides) == 1:
        sides = (*sides, ("",))
    low, high = (bound.ravel().tolist() for bound in table.interval(component.dispersion))
    relativities, exposure, claims = (
        part.ravel().tolist() for part in (table.relativities, table.exposure, table.claims)
    )
    found = []
    for place in range(table.raw.size):
        row, column = divmod(place, len(sides[1]))
        one, two = sides[0][row], sides[1][column]
        if one is None or two is None:
            continue
        above, up_to = (table.scales[0].bounds(row) if len(table.scales) == 1 else None) or (None, None)
        found.append(
            Cell(
                Key(component.name, table.name, one, two),
                place,
                None if above is None or math.isinf(above) else above,
                None if up_to is None or math.isinf(up_to) else up_to,
                shown(exposure[place]),
                shown(claims[place]),
                relativities[place],
                None if math.isnan(low[place]) else shown(low[place]),
                None if math.isnan(high[place]) else shown(high[place]),
                place == table.base,
            )
        )
    return found


def edited(tariff: Tariff, lines: Iterable[Line], editor: str) -> Tariff:
    """Give the tariff with the relativities that came back.

    Parameters
    ----------
    tariff
        As it was written.
    lines
        As they came back, in any order.
    editor
        Who edited; stands in every change.

    Raises
    ------
    TariffError
        Naming the place of every line that is missing, unknown, double or not as it was written, and of
        every relativity that is no number above 0.
    """
    form = {cell.key: cell for cell in cells_of(tariff)}
    problems: list[str] = []
    found: dict[Key, float] = {}
    came: list[tuple[Cell, Line]] = []
    for line in lines:
        cell = form.get(line.key)
        if cell is None:
            problems.append(_unknown(line, form))
        elif line.key in found:
            problems.append(f"{line.at('cell_1')}: {_called(line.key)} is there twice")
        else:
            value = _number(line.fields.get("relativity"))
            if isinstance(value, str):
                what = "base rate" if cell.place < 0 else "relativity"
                problems.append(
                    f"{line.at('relativity')}: the {what} of {_called(line.key)} {value}; "
                    "a number above 0 is needed"
                )
                value = 1.0
            found[line.key] = value
            came.append((cell, line))
            problems += _moved(cell, line)
    problems += _band_problems(came)
    absent = [key for key in form if key not in found]
    problems += [f"{_called(key)} is missing" for key in absent[:20]]
    if len(absent) > 20:
        problems.append(f"and {len(absent) - 20} more cells are missing")
    if problems:
        raise TariffError(problems)
    return _changed(tariff, [(form[key], value) for key, value in found.items()], editor)


def _changed(tariff: Tariff, values: Sequence[tuple[Cell, float]], editor: str) -> Tariff:
    new: dict[tuple[str, str], list[tuple[Cell, float]]] = {}
    changes: list[Change] = []
    for cell, value in values:
        # What agrees in the digits shown was not edited, whatever a spreadsheet made of the rest.
        if shown(value) != cell.relativity:
            new.setdefault(cell.key[:2], []).append((cell, value))
            where = " and ".join(part for part in (cell.key.cell_1, cell.key.cell_2) if part)
            changes.append(Change(cell.key.component, cell.key.table, where, cell.relativity, value, editor))
    for component in tariff.components:
        for cell, value in new.get((component.name, BASE_RATE), []):
            tariff = tariff.with_component(_rated(tariff.component(component.name), cell, value))
        for table in component.tables:
            edits = new.get((component.name, table.name), [])
            if edits:
                raw = table.raw.copy()
                flat = raw.reshape(-1)
                for cell, value in edits:
                    flat[cell.place] = table.reference + math.log(value)
                tariff = tariff.with_table(component.name, replace(table, raw=raw))
    return replace(tariff, changes=(*tariff.changes, *changes))


def _rated(component: Component, cell: Cell, rate: float) -> Component:
    if component.link == "log":
        raw = math.log(rate)
    elif rate < 1.0:
        raw = math.log(rate / (1.0 - rate))
    else:
        raise TariffError([f"{_called(cell.key)} is a probability and must lie below 1; found {rate:g}"])
    return replace(component, intercept=component.intercept + (raw - component.base_raw))


def _called(key: Key) -> str:
    cells = " and ".join(part for part in (key.cell_1, key.cell_2) if part)
    return f"{key.component} {key.table}" + (f" {cells!r}" if cells else "")


def _unknown(line: Line, form: Mapping[Key, Cell]) -> str:
    key = line.key
    like = [k for k in form if (k.component, k.table) == (key.component, key.table)]
    if not like:
        tables = sorted({f"{k.component} {k.table}" for k in form})
        near = nearest(f"{key.component} {key.table}", tables)
        return f"{line.at('table')}: there is no table {key.component} {key.table} ({near or 'none is near'})"
    levels = {k.cell_1 for k in like}
    side, name = ("cell_1", key.cell_1) if key.cell_1 not in levels else ("cell_2", key.cell_2)
    near = nearest(name, levels if side == "cell_1" else {k.cell_2 for k in like})
    return (
        f"{line.at(side)}: {key.component} {key.table} has no level {name!r} ({near or 'none is near'}); "
        "hint: levels are changed by banding, not in the file"
    )


def _number(value: object) -> float | str:
    """Read a relativity, or say what is wrong with it."""
    if value is None or value == "":
        return "is empty (a formula must be stored with its value)"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"is {value!r}, no number"
    number = float(value)
    if not math.isfinite(number) or number <= 0:
        return f"is {number!r}"
    return number


def _moved(cell: Cell, line: Line) -> list[str]:
    problems = []
    for column in FIXED:
        if column in line.fields:
            before, after = getattr(cell, column), line.fields[column]
            if not _same(before, after):
                problems.append(
                    f"{line.at(column)}: {column} of {_called(cell.key)} is {after!r}, it was {before!r}; "
                    "only relativities may be edited"
                )
    return problems


def _same(before: float | None, after: object) -> bool:
    if before is None or after is None:
        return before is None and after is None
    if isinstance(after, bool) or not isinstance(after, int | float):
        return False
    return bool(np.isclose(float(after), before, rtol=1e-12, atol=0.0))


def _band_problems(came: Sequence[tuple[Cell, Line]]) -> list[str]:
    """Name gaps and overlaps of bands that were moved."""
    problems = []
    ordered = sorted(came, key=lambda pair: (pair[0].key[:2], pair[0].place))
    for number, (cell, line) in enumerate(ordered):
        if "above" not in line.fields:
            continue
        where = f"the band {cell.key.cell_1!r} of {cell.key.component} {cell.key.table}"
        above, up_to = line.fields["above"], line.fields["up_to"]
        before, end = ordered[number - 1] if number else (cell, line)
        joined = before.key[:2] == cell.key[:2] and before.up_to is not None and before.up_to == cell.above
        ended = end.fields["up_to"] if joined else None
        if isinstance(ended, int | float) and isinstance(above, int | float) and ended != above:
            fault = "leaves a gap to" if above > ended else "overlaps"
            problems.append(
                f"{line.at('above')}: {where} begins above {above!r} and {fault} the band before it, "
                f"which ends at {ended!r}"
            )
        for column, was, found in (("above", cell.above, above), ("up_to", cell.up_to, up_to)):
            if not _same(was, found):
                problems.append(
                    f"{line.at(column)}: {column} of {where} is {found!r}, it was {was!r}; "
                    "bounds are changed by banding, not in the file"
                )
    return problems
