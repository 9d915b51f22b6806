"""Restrict a tariff, restore its total, and keep what it cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.families import balanced
from models.links import respond
from models.tariff.making import measured
from models.tariff.restriction import caution, restricted
from models.tariff.rows import deviance
from models.tariff.tariff import Record, table_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.encoding import Encoding
    from models.families import Design
    from models.tariff.restriction import Restriction
    from models.tariff.rows import Rows
    from models.tariff.tariff import Component, Table, Tariff


def restrict(tariff: Tariff, restriction: Restriction, learn: Rows) -> Tariff:
    """Apply a restriction, restore the fitted total of the learn rows and record the cost.

    Parameters
    ----------
    tariff
        Tariff.
    restriction
        `Banding`, `Smoothing`, `Monotone`, `Capping` or `Rounding`.
    learn
        Learn rows. The cost is the rise of the mean deviance on them.

    Returns
    -------
    Tariff
        With one more record.

    Raises
    ------
    TariffError
        If its parameters do not fit the table.
    """
    before = tariff.component(restriction.component)
    changed = restricted(tariff, restriction).component(restriction.component)
    design, encoding = learn.designs[before.name], tariff.encoding
    old, shift = table_model(before, encoding), _shift(before, changed, design, encoding)
    after = replace(changed, intercept=changed.intercept + shift)
    new = tariff.with_component(after)
    one, two = before.table(*restriction.inputs), after.table(*restriction.inputs)
    record = Record(
        before.name,
        one.name,
        str(restriction) + caution(tariff, restriction),
        _reachable(tariff, one),
        _reachable(new, two),
        deviance(design, old),
        deviance(design, table_model(after, encoding)),
        float(np.exp(shift)),
        _largest_change(one, two, encoding, learn),
    )
    return replace(measured(new, learn), records=(*tariff.records, record))


def _shift(before: Component, after: Component, design: Design, encoding: Encoding) -> float:
    """Give what the intercept must move by so that the fitted total stays."""
    old, new = table_model(before, encoding), table_model(after, encoding)
    total = float(design.weight @ respond(old.predict_raw(design.values), old.link))
    return balanced(new, design, total).intercept - new.intercept


def _reachable(tariff: Tariff, table: Table) -> int:
    sides = tariff.cell_names(table)
    return int(np.prod([sum(name is not None for name in side) for side in sides]))


def _largest_change(one: Table, two: Table, encoding: Encoding, learn: Rows) -> float:
    """Give the largest change of a relativity that some exposure has."""

    def of_rows(table: Table) -> NDArray[np.float64]:
        return table.relativities.ravel()[table.locate(encoding, learn.values)]

    return float(np.abs(of_rows(two) / of_rows(one) - 1.0).max())
