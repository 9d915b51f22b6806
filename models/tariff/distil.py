"""Distil a booster, or any model, into a multiplicative tariff: a GLM on its predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tabmat  # type: ignore[import-untyped]
from glum import GeneralizedLinearRegressor, TweedieDistribution
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.compile import parse_trees
from models.errors import TariffError
from models.families import BoosterModel, balanced
from models.families.base import TWEEDIE_POWER
from models.links import respond
from models.risk_model import COMPONENTS
from models.tariff.making import based, measured
from models.tariff.scale import Scale
from models.tariff.tariff import Component, Source, Table, Tariff, table_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.encoding import Encoding
    from models.families import Objective, Scorer
    from models.risk_model import ComponentName, RiskModel
    from models.tariff.rows import Rows
    from pricing.product import Product

# Ridge in shares of the information of all rows: one-way cells only so much that the solution is unique;
# pairs more, so that what one input explains alone stays in its one-way table.
RIDGE, PAIR_RIDGE = 1e-7, 1e-5


@dataclass(frozen=True)
class Distilling:
    """How a model is distilled.

    Attributes
    ----------
    bands
        Most bands of a number.
    pairs
        Two-way tables that the tariff shall have.
    strongest
        Number of two-way tables added to `pairs`: those in which the one-way tariff loses most.
    pair_bands
        Most bands of a number in a two-way table.
    threads
        Threads of the fit. More than the idle cores make it many times slower.
    """

    bands: int = 24
    pairs: tuple[tuple[str, str], ...] = ()
    strongest: int = 0
    pair_bands: int = 8
    threads: int = 1


def distil(
    product: Product,
    encoding: Encoding,
    model: RiskModel,
    learn: Rows,
    settings: Distilling | None = None,
    source: Source | None = None,
) -> Tariff:
    """Fit a GLM of one-way and chosen two-way tables to the predictions of a model on the learn rows.

    Numbers are cut where the booster splits (equal shares of its gain), or into equal exposure where the
    model is no booster. No actual claim is looked at; the total of the learn rows stays that of the model.

    Parameters
    ----------
    product, encoding
        What the model rates, and how risks become inputs.
    model
        Any risk model.
    learn
        Learn rows.
    settings
        Bands and pairs.
    source
        Registered version of the model.

    Raises
    ------
    TariffError
        If a pair names no inputs of the product.
    """
    settings = settings or Distilling()
    if settings.bands < 2 or settings.pair_bands < 2:
        raise TariffError([f"bands are {settings.bands} and {settings.pair_bands}; at least 2 are needed"])
    components = []
    for teacher in _teachers(model, learn):
        pairs = [_pair(pair, encoding) for pair in settings.pairs]
        found = _fit(teacher, encoding, learn.values, settings, pairs)
        if settings.strongest:
            lost = lost_pairs(found, encoding, learn.values, teacher.raw, teacher.weight)
            strongest = lost.head(settings.strongest)
            pairs += [
                _pair(pair, encoding) for pair in zip(strongest.input_1, strongest.input_2, strict=True)
            ]
            found = _fit(teacher, encoding, learn.values, settings, pairs)
        fitted, design = table_model(found, encoding), learn.designs[teacher.name]
        shift = balanced(fitted, design, teacher.total).intercept - fitted.intercept
        components.append(replace(found, intercept=found.intercept + shift))
    tariff = Tariff(
        product.code,
        product.hash,
        product.currency,
        model.kind,
        model.benefit_minor,
        model.load_minor,
        encoding,
        tuple(components),
        source or Source(family=model.family),
    )
    return based(measured(tariff, learn))


def lost_pairs(
    component: Component,
    encoding: Encoding,
    values: NDArray[np.float64],
    raw: NDArray[np.float64],
    weight: NDArray[np.float64],
    bands: int = 8,
) -> pd.DataFrame:
    """Say which interactions of a model a component of a tariff does not have, the strongest first.

    Parameters
    ----------
    component
        Component of the tariff.
    encoding
        Names of the inputs.
    values
        Encoded risks, shape (n, inputs).
    raw
        Raw scores by the model, shape (n,).
    weight
        Exposure, shape (n,).
    bands
        Bands of a number into which the difference is sorted.

    Returns
    -------
    pandas.DataFrame
        `input_1`, `input_2`; `share`: of the weighted variance of the difference of raw scores, what the pair
        explains beyond its two inputs alone, less what chance would; `largest`: largest mean deviation of the
        tariff in a cell that holds 0.1 % of the weight or more.
    """
    share = weight / weight.sum()
    difference = table_model(component, encoding).predict_raw(values) - raw
    difference = difference - share @ difference
    variance = float(share @ difference**2)
    cells, sizes = [], []
    for position, levels in enumerate(encoding.levels):
        scale = _scale(encoding, position, _equal_exposure(values[:, position], weight), bands, bool(levels))
        cells.append(scale.locate(values[:, position]))
        sizes.append(scale.cells)
    alone = [_explained(c, size, share, difference)[0] for c, size in zip(cells, sizes, strict=True)]
    present = {table.inputs for table in component.tables}
    lines = []
    for i, j in combinations(range(len(sizes)), 2):
        names = (encoding.inputs[i], encoding.inputs[j])
        if names in present or names[::-1] in present:
            continue
        together, largest = _explained(cells[i] * sizes[j] + cells[j], sizes[i] * sizes[j], share, difference)
        chance = variance * (sizes[i] - 1) * (sizes[j] - 1) * float(share @ share)
        found = max(together - alone[i] - alone[j] - chance, 0.0) / max(variance, 1e-300)
        lines.append((*names, found, largest))
    frame = pd.DataFrame(lines, columns=["input_1", "input_2", "share", "largest"])
    return frame.sort_values("share", ascending=False, ignore_index=True, kind="stable")


def _explained(
    cell: NDArray[np.int64], size: int, share: NDArray[np.float64], difference: NDArray[np.float64]
) -> tuple[float, float]:
    """Give the variance of the cell means, and the largest deviation in a cell of some weight."""
    held = np.bincount(cell, share, size)
    mean = np.bincount(cell, share * difference, size) / np.maximum(held, 1e-300)
    counted = mean[held >= 1e-3]
    return float(held @ mean**2), float(np.abs(np.expm1(counted)).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class _Teacher:
    """A component of the model, and what it says of every learn row.

    Attributes
    ----------
    name, objective, scorer
        Component.
    raw, target
        Raw score and prediction, shape (n,).
    weight
        What a row counts, shape (n,).
    total
        Fitted total of the rows that the component was fitted on.
    """

    name: ComponentName
    objective: Objective
    scorer: Scorer
    raw: NDArray[np.float64]
    target: NDArray[np.float64]
    weight: NDArray[np.float64]
    total: float


def _teachers(model: RiskModel, learn: Rows) -> list[_Teacher]:
    found: list[_Teacher] = []
    for name, objective in COMPONENTS[model.kind].items():
        scorer, design = model.components[name], learn.designs[name]
        raw = scorer.predict_raw(learn.values)
        target = respond(raw, scorer.link)
        if name == "severity":
            # Every risk that may claim teaches, as often as it is expected to.
            weight = found[0].weight * found[0].target
            total = float(design.weight @ respond(scorer.predict_raw(design.values), scorer.link))
        else:
            weight, total = design.weight, float(design.weight @ target)
        found.append(_Teacher(name, objective, scorer, raw, target, weight, total))
    return found


def _pair(pair: tuple[str, str], encoding: Encoding) -> tuple[int, int]:
    unknown = [name for name in pair if name not in encoding.inputs]
    if unknown or pair[0] == pair[1]:
        raise TariffError([f"{pair} is no pair of inputs; inputs: {', '.join(encoding.inputs)}"])
    one, two = sorted(encoding.inputs.index(name) for name in pair)
    return one, two


def _fit(
    teacher: _Teacher,
    encoding: Encoding,
    values: NDArray[np.float64],
    settings: Distilling,
    pairs: list[tuple[int, int]],
) -> Component:
    objective, scorer, target, weight = teacher.objective, teacher.scorer, teacher.target, teacher.weight
    keys: list[tuple[int, ...]] = [(i,) for i in range(len(encoding.inputs))]
    keys += list(dict.fromkeys(pairs))
    candidates = _candidates(scorer, encoding, values, weight)
    tables = []
    for key in keys:
        bands = settings.bands if len(key) == 1 else settings.pair_bands
        scales = tuple(_scale(encoding, i, candidates[i], bands, bool(encoding.levels[i])) for i in key)
        nothing = np.zeros(tuple(scale.cells for scale in scales))
        tables.append(Table(scales, nothing, 0.0, None, nothing, nothing, nothing))
    cells = [table.locate(encoding, values) for table in tables]
    blocks = [
        tabmat.CategoricalMatrix(cell.astype(np.int32), categories=np.arange(table.raw.size))
        for cell, table in zip(cells, tables, strict=True)
    ]
    unit = float(weight @ target ** (2.0 - {"gamma": 2.0, "tweedie": TWEEDIE_POWER}.get(objective, 1.0)))
    ridge = np.repeat(
        [RIDGE if len(key) == 1 else PAIR_RIDGE for key in keys], [table.raw.size for table in tables]
    )
    families = {"binary": "binomial", "tweedie": TweedieDistribution(TWEEDIE_POWER)}
    glm = GeneralizedLinearRegressor(
        family=families.get(objective, objective),
        link=scorer.link,
        alpha=1.0,
        l1_ratio=0.0,
        P2=ridge * unit / float(weight.sum()),
        gradient_tol=1e-7,
        max_iter=50,
    )
    with threadpool_limits(settings.threads):
        glm.fit(tabmat.SplitMatrix(blocks), target, sample_weight=weight)
    ends = np.cumsum([table.raw.size for table in tables])
    parts = np.split(np.asarray(glm.coef_, dtype=np.float64), ends[:-1])
    filled = tuple(
        Table(t.scales, part.reshape(t.raw.shape), 0.0, None, t.exposure, t.claims, t.information)
        for t, part in zip(tables, parts, strict=True)
    )
    return Component(teacher.name, objective, scorer.link, float(glm.intercept_), filled, 1.0)


Edges = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def _candidates(
    scorer: Scorer, encoding: Encoding, values: NDArray[np.float64], weight: NDArray[np.float64]
) -> list[Edges]:
    """Give possible bounds of each number with what each counts: gain of the splits, or exposure."""
    if not isinstance(scorer, BoosterModel):
        return [_equal_exposure(values[:, i], weight) for i in range(values.shape[1])]
    gains: list[dict[float, float]] = [{} for _ in encoding.inputs]
    for tree in parse_trees(scorer.text):
        for feature, edge, gain, decision in zip(
            tree.feature, tree.threshold, tree.gain, tree.decision, strict=True
        ):
            if not decision & 1:
                gains[feature][edge] = gains[feature].get(edge, 0.0) + gain
    found = []
    for of_input in gains:
        edges = sorted(of_input)
        found.append((np.array(edges), np.array([of_input[edge] for edge in edges])))
    return found


def _equal_exposure(column: NDArray[np.float64], weight: NDArray[np.float64]) -> Edges:
    known = ~np.isnan(column)
    values, inverse = np.unique(column[known], return_inverse=True)
    held = np.bincount(inverse, weight[known], len(values))
    return (values[:-1] + values[1:]) / 2, (held[:-1] + held[1:]) / 2


def _scale(encoding: Encoding, position: int, edges: Edges, bands: int, levels: bool) -> Scale:
    """Cut an input: every level, or the bounds that part what counts into equal shares."""
    name = encoding.inputs[position]
    if levels:
        return Scale(name, None, tuple(range(len(encoding.levels[position]))))
    bounds, counts = edges
    if len(bounds) >= bands:
        middle = (np.cumsum(counts) - counts / 2) / counts.sum()
        wanted = np.searchsorted(middle, np.arange(1, bands) / bands)
        bounds = bounds[np.unique(np.minimum(wanted, len(bounds) - 1))]
    return Scale(name, tuple(bounds.tolist()))
