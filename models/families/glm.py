"""A generalised linear model by glum, as one- and two-way tables, with standard errors of its cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tabmat  # type: ignore[import-untyped]
from glum import GeneralizedLinearRegressor, TweedieDistribution
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.errors import FitError
from models.families.base import TWEEDIE_POWER, Design, FitSettings
from models.families.glm_terms import Block, block_of, cells_of, pair_block, term_of
from models.tables import TableModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.tables import Axis
    from pricing.glm import Glm

FAMILIES = {"binary": "binomial", "tweedie": TweedieDistribution(TWEEDIE_POWER)}
POWERS = {"poisson": 1.0, "gamma": 2.0, "tweedie": TWEEDIE_POWER}
# Path of the elastic net, as in glmnet: so many strengths from the one that leaves nothing, down by LEAST.
PATH, LEAST, FOLDS = 12, 1e-3, 5


@dataclass(frozen=True, eq=False)
class Layout:
    """A GLM before it is solved.

    Attributes
    ----------
    axes, cells
        Axis of each input, and the cell of each row by input.
    counted
        Exposure of each cell by input.
    blocks
        Columns of the model matrix by term.
    matrix
        Model matrix, shape (n, columns).
    penalty
        Shape (columns, columns), in units of glum's objective: the mean over exposure.
    """

    axes: tuple[Axis, ...]
    cells: dict[int, NDArray[np.int64]]
    counted: list[NDArray[np.float64]]
    blocks: tuple[Block, ...]
    matrix: tabmat.SplitMatrix
    penalty: NDArray[np.float64]

    @property
    def bounds(self) -> NDArray[np.int64]:
        """First column of each block, and the number of columns."""
        return np.cumsum([0, *(block.width for block in self.blocks)])


@dataclass(frozen=True, eq=False)
class GlmFit:
    """A solved GLM.

    Attributes
    ----------
    model
        Its tables.
    layout
        What was solved.
    coefficients
        Shape (columns,).
    intercept
        On the scale of the link.
    alpha
        Strength of the elastic net.
    """

    model: TableModel
    layout: Layout | None
    coefficients: NDArray[np.float64]
    intercept: float
    alpha: float


def fit_glm(design: Design, settings: FitSettings) -> TableModel:
    """Fit a GLM on levels, bins and curves; what its coefficients say of each cell are the tables.

    Parameters
    ----------
    design
        Learn rows.
    settings
        Threads and terms; only the folds of `alpha = "cv"` are drawn.
    """
    return solve_glm(design, settings).model


def solve_glm(design: Design, settings: FitSettings) -> GlmFit:
    """Fit a GLM as `fit_glm` does, and keep what standard errors need.

    Raises
    ------
    FitError
        If terms or interactions do not fit the inputs.
    """
    glm = settings.glm
    if np.ptp(design.target) == 0:  # glum refuses what needs no fit
        axes = tuple(cells_of(design, i, term_of(glm, name))[0] for i, name in enumerate(design.inputs))
        level = float(_linked(design))
        return GlmFit(TableModel(design.link, level, axes, {}, {}), None, np.empty(0), level, 0.0)
    with threadpool_limits(settings.threads):
        layout = lay_out(design, settings)
        alpha = _chosen_alpha(design, layout, glm, settings.seed) if glm.alpha == "cv" else float(glm.alpha)
        solver = regressor(design, layout, alpha, glm.l1_ratio)
        solver.set_params(check_input=False)  # the layout is known to be finite and its penalty definite
        solver.fit(layout.matrix, design.target, sample_weight=design.weight)
    coefficients = np.asarray(solver.coef_, dtype=np.float64)
    intercept = float(solver.intercept_)
    return GlmFit(_tables(design, layout, coefficients, intercept), layout, coefficients, intercept, alpha)


def lay_out(design: Design, settings: FitSettings) -> Layout:
    """Give the model matrix and its penalties.

    Parameters
    ----------
    design
        Learn rows.
    settings
        Terms, interactions and penalties.

    Raises
    ------
    FitError
        If terms or interactions do not fit the inputs.
    """
    glm = settings.glm
    named = list(zip(design.inputs, design.levels, strict=True))
    numbers, categories = [n for n, k in named if not k], [n for n, k in named if k]
    faults = glm.faults(numbers, categories, dict(zip(design.inputs, design.monotone, strict=True)))
    if faults:
        raise FitError("; ".join(faults))
    terms = [term_of(glm, name) for name in design.inputs]
    cut = [cells_of(design, i, term) for i, term in enumerate(terms)]
    axes = tuple(axis for axis, _, _ in cut)
    cells = {i: cell for i, (_, cell, _) in enumerate(cut)}
    found = [block_of(design, i, settings, axis, cells[i]) for i, axis in enumerate(axes)]
    blocks = [block for block in found if block is not None]
    if not blocks:
        raise FitError("glm.terms leaves every input out")
    place = {name: i for i, name in enumerate(design.inputs)}
    pairs = [tuple(sorted((place[a], place[b]))) for a, b in glm.interactions]
    blocks += [pair_block((i, j), axes, cells, design.weight, settings) for i, j in sorted(pairs)]
    size, start = sum(block.width for block in blocks), 0
    penalty = np.zeros((size, size))
    for block in blocks:
        stop = start + block.width
        penalty[start:stop, start:stop] = block.penalty
        start = stop
    penalty *= claim_unit(design) / float(design.weight.sum())
    matrix = tabmat.SplitMatrix([block.matrix(cells) for block in blocks])
    return Layout(axes, cells, [counted for _, _, counted in cut], tuple(blocks), matrix, penalty)


def regressor(design: Design, layout: Layout, alpha: float, l1_ratio: float) -> GeneralizedLinearRegressor:
    """Give glum's estimator for a layout, not fitted.

    Its objective: mean deviance / 2 + b' S b / 2 (smoothing) + alpha (l1_ratio |b| + (1 - l1_ratio) b'b / 2).
    """
    given: dict[str, Any] = {"alpha": 1.0, "l1_ratio": 0.0, "P2": layout.penalty}
    size = len(layout.penalty)
    if alpha:  # twice a half each, so that both penalties stand as they are
        given = {
            "alpha": 2.0,
            "l1_ratio": 0.5,
            "P1": np.full(size, alpha * l1_ratio),
            "P2": layout.penalty + alpha * (1.0 - l1_ratio) * np.eye(size),
        }
    if any(block.lower is not None for block in layout.blocks):
        for name, free in (("lower", -np.inf), ("upper", np.inf)):
            parts = [getattr(block, name) for block in layout.blocks]
            given[f"{name}_bounds"] = np.concatenate(
                [
                    np.full(b.width, free) if p is None else p
                    for b, p in zip(layout.blocks, parts, strict=True)
                ]
            )
    return GeneralizedLinearRegressor(
        family=FAMILIES.get(design.objective, design.objective),
        link=design.link,
        gradient_tol=1e-6,
        max_iter=50,
        **given,
    )


def _tables(
    design: Design, layout: Layout, coefficients: NDArray[np.float64], intercept: float
) -> TableModel:
    """Give the tables, each centred over the exposure; what is taken out goes into the intercept."""
    mains: dict[int, NDArray[np.float64]] = {}
    pairs: dict[tuple[int, int], NDArray[np.float64]] = {}
    bounds = layout.bounds
    for number, block in enumerate(layout.blocks):
        table = block.table(coefficients[bounds[number] : bounds[number + 1]])
        i, axis = block.inputs[0], layout.axes[block.inputs[0]]
        if block.groups is not None:
            j = block.inputs[1]
            centre = float(design.weight @ table[layout.cells[i], layout.cells[j]] / design.weight.sum())
            pairs[i, j] = table - centre
        else:
            counted = layout.counted[i]
            if block.basis is None:
                table = _monotone(table, counted, axis, design.monotone[i])
            centre = float(table @ counted / counted.sum())
            mains[i] = np.where(_unrated(axis, counted), 0.0, table - centre)
        intercept += centre
    return TableModel(design.link, intercept, layout.axes, mains, pairs)


def _unrated(axis: Axis, counted: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark levels that no learn row had, and "not known" where all was known: rated as the average."""
    alone = counted == 0 if axis.edges is None else np.arange(axis.cells) == axis.cells - 1
    marked: NDArray[np.bool_] = alone & (counted == 0)
    return marked


def _chosen_alpha(design: Design, layout: Layout, glm: Glm, seed: int) -> float:
    """Choose the strength of the elastic net by the deviance on folds of the learn rows."""
    weight = design.weight / design.weight.sum()
    mean = float(weight @ design.target)
    power = POWERS.get(design.objective)
    slope = 1.0 if power is None else mean ** (1.0 - power)
    score = np.abs(layout.matrix.transpose_matvec(weight * (design.target - mean) * slope)).max()
    alphas = float(score) / max(glm.l1_ratio, 1e-3) * np.geomspace(1.0, LEAST, PATH)
    dealt = design.folds(FOLDS, seed)
    losses = np.zeros(PATH)
    for fold in range(FOLDS):
        learn, judge = np.flatnonzero(dealt != fold), np.flatnonzero(dealt == fold)
        inside, outside = layout.matrix[learn], layout.matrix[judge]
        for k, alpha in enumerate(alphas):
            solver = regressor(design, layout, float(alpha), glm.l1_ratio)
            solver.fit(inside, design.target[learn], sample_weight=design.weight[learn])
            losses[k] += design.weight[judge].sum() * solver.family_instance.deviance(
                design.target[judge], solver.predict(outside), sample_weight=design.weight[judge]
            )
    return float(alphas[int(np.argmin(losses))])


def _linked(design: Design) -> float:
    mean = float(design.target[0])
    return float(np.log(mean) if design.link == "log" else np.log(mean / (1.0 - mean)))


def claim_unit(design: Design) -> float:
    """Information that one claim carries in glum's objective, so that penalties can be said in claims.

    One for a Poisson count and close to one for a rare event; more for amounts, whose dispersion drowns it.
    """
    weight, target = design.weight, design.target
    mean = float(weight @ target / weight.sum())
    if design.objective == "gamma":
        return float(np.clip(weight @ (target / mean - 1.0) ** 2 / len(target), 1.0, 50.0))
    if design.objective == "tweedie":
        return float(mean ** (2.0 - TWEEDIE_POWER) * weight.sum() / max(np.count_nonzero(target), 1))
    return 1.0


def _monotone(
    table: NDArray[np.float64], counted: NDArray[np.float64], axis: Axis, sign: int
) -> NDArray[np.float64]:
    """Pool neighbours that run against the declared direction (the cell "not known" stays)."""
    if not sign or axis.edges is None:
        return table
    fitted = IsotonicRegression(increasing=sign > 0).fit_transform(
        np.arange(len(table) - 1), table[:-1], sample_weight=np.maximum(counted[:-1], 1e-9)
    )
    return np.append(fitted, table[-1])
