"""Make a tariff from the tables of a model, and measure its cells on the learn rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.errors import TariffError
from models.families.base import FitSettings
from models.families.glm import solve_glm
from models.families.glm_errors import relativity_variances
from models.links import respond
from models.risk_model import COMPONENTS
from models.tables import TableModel
from models.tariff.rows import pearson_dispersion, row_information
from models.tariff.scale import Scale, names
from models.tariff.tariff import Component, Source, Table, Tariff, table_model
from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from models.encoding import Encoding
    from models.families import Objective
    from models.risk_model import ComponentName, RiskModel
    from models.tariff.rows import Rows
    from models.tuned import TunedSettings
    from pricing.product import Product

# Largest difference of raw values between two solutions of one GLM.
SAME = 1e-5


def make_tariff(
    product: Product,
    encoding: Encoding,
    model: RiskModel,
    learn: Rows,
    *,
    source: Source | None = None,
    base: Mapping[str, str] | None = None,
    tuned: TunedSettings | None = None,
) -> Tariff:
    """Make a tariff from a model whose components are tables.

    Of a GLM the intervals are those of its own covariance, for which it is solved once more on the learn
    rows; where that does not give its tables again (other rows, other settings), they stay those of each
    cell's own data.

    Parameters
    ----------
    product, encoding
        What the model rates, and how risks become inputs.
    model
        GLM, GA2M or an ensemble of GA2Ms.
    learn
        Learn rows; exposure, claims and intervals come from them.
    source
        Registered version of the model.
    base
        Input -> name of its base level; the level with the largest exposure where absent.
    tuned
        Settings that a GLM was trained with, if tuning chose them.

    Raises
    ------
    TariffError
        If a component is no table, or a base level is unknown.
    """
    tariff = Tariff(
        product.code,
        product.hash,
        product.currency,
        model.kind,
        model.benefit_minor,
        model.load_minor,
        encoding,
        tuple(_components(model, encoding)),
        source or Source(family=model.family),
    )
    tariff = based(measured(tariff, learn))
    for key, level in (base or {}).items():
        tariff = rebased(tariff, key, level)
    if model.family == "glm":
        for name in COMPONENTS[model.kind]:
            chosen = FitSettings() if tuned is None else tuned.apply(FitSettings(), name, "glm")
            settings = replace(chosen, glm=product.models.glm)
            tariff = tariff.with_component(_with_variances(tariff.component(name), encoding, learn, settings))
    return tariff


def _components(model: RiskModel, encoding: Encoding) -> Iterator[Component]:
    for name, objective in COMPONENTS[model.kind].items():
        scorer = model.components[name]
        if not isinstance(scorer, TableModel):
            raise TariffError(
                [f"{name} of family {model.family!r} is not made of tables. Hint: distil it into a tariff"]
            )
        yield _component(name, objective, scorer, encoding)


def _with_variances(
    component: Component, encoding: Encoding, learn: Rows, settings: FitSettings
) -> Component:
    """Give the tables of a GLM the variances of its covariance, where solving it again gives its tables."""
    design = learn.designs[component.name]
    fit = solve_glm(design, settings)
    again = _component(component.name, component.objective, fit.model, encoding)
    if [table.scales for table in again.tables] != [table.scales for table in component.tables]:
        return component
    pairs = zip(again.tables, component.tables, strict=True)
    if not all(np.allclose(one.raw, other.raw, rtol=0.0, atol=SAME) for one, other in pairs):
        return component
    place = {name: i for i, name in enumerate(encoding.inputs)}
    bases = {place[table.inputs[0]]: table.base for table in component.tables if table.base is not None}
    variances = relativity_variances(fit, design, bases)
    tables = (
        replace(table, variance=variances.get(tuple(place[name] for name in table.inputs)))
        for table in component.tables
    )
    return replace(component, tables=tuple(tables))


def based(tariff: Tariff) -> Tariff:
    """Make the level with the largest exposure of every one-way table the one with relativity 1."""
    return tariff.map_tables(lambda _, table: _based(table, _largest(table, tariff.encoding)))


def rebased(tariff: Tariff, name: str, level: str) -> Tariff:
    """Make another level of an input the one with relativity 1, in every component; no price moves.

    Parameters
    ----------
    tariff
        Tariff.
    name, level
        Input, and name of the level or band.

    Raises
    ------
    TariffError
        If no table has the input, or the table has no such level.
    """
    found = False

    def change(_: Component, table: Table) -> Table:
        nonlocal found
        if table.inputs != (name,):
            return table
        found = True
        levels = names(table.scales[0], tariff.encoding)
        if level not in levels:
            present = [each for each in levels if each]
            raise TariffError([f"{name} has no level {level!r} ({nearest(level, present) or present})"])
        return _based(table, levels.index(level))

    tariff = tariff.map_tables(change)
    if not found:
        raise TariffError(
            [f"no table has the input {name!r} ({nearest(name, tariff.encoding.inputs) or 'none is near'})"]
        )
    return tariff


def measured(tariff: Tariff, rows: Rows) -> Tariff:
    """Give the tariff with exposure, claims, information and dispersion measured on rows.

    Parameters
    ----------
    tariff
        Tariff; its prices stay.
    rows
        Learn rows, or any others.
    """
    for component in tariff.components:
        design = rows.designs[component.name]
        scorer = table_model(component, tariff.encoding)
        mean = respond(scorer.predict_raw(design.values), component.link)
        information = row_information(design, mean)
        tables = []
        for table in component.tables:
            all_cells = table.locate(tariff.encoding, rows.values)
            cells = table.locate(tariff.encoding, design.values)
            tables.append(
                replace(
                    table,
                    exposure=_summed(table, all_cells, rows.exposure),
                    claims=_summed(table, all_cells, rows.claims),
                    information=_summed(table, cells, information),
                )
            )
        new = replace(component, tables=tuple(tables), dispersion=pearson_dispersion(design, mean))
        tariff = tariff.with_component(new)
    return tariff


def _summed(table: Table, cells: NDArray[np.int64], amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    summed = np.bincount(cells, amounts, table.raw.size).reshape(table.raw.shape)
    return np.asarray(summed, dtype=np.float64)


def _component(name: ComponentName, objective: Objective, model: TableModel, encoding: Encoding) -> Component:
    terms: list[tuple[tuple[int, ...], NDArray[np.float64]]] = [
        *(((i,), table) for i, table in model.mains.items()),
        *model.pairs.items(),
    ]
    tables = tuple(
        Table(
            tuple(Scale.of(encoding.inputs[i], model.axes[i]) for i in key),
            np.array(raw, dtype=np.float64),
            0.0,
            None,
            np.zeros(raw.shape),
            np.zeros(raw.shape),
            np.zeros(raw.shape),
        )
        for key, raw in terms
    )
    return Component(name, objective, model.link, model.intercept, tables, 1.0)


def _largest(table: Table, encoding: Encoding) -> int | None:
    if len(table.scales) > 1:
        return None
    held = np.array([name is not None for name in names(table.scales[0], encoding)])
    return int(np.argmax(np.where(held, table.exposure, -1.0)))


def _based(table: Table, base: int | None) -> Table:
    if base is None or base == table.base:
        return table
    # Variances were taken against the base before.
    return replace(table, base=base, reference=float(table.raw[base]), variance=None)
