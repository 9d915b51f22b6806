"""Standard errors and intervals of a GLM's cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.families.glm import POWERS, GlmFit
from models.links import respond

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from models.families.base import Design
    from models.families.glm import Layout
    from models.families.glm_terms import Block


@dataclass(frozen=True, eq=False)
class Effect:
    """One-way effect of an input on the scale of the link, cell by cell, each shape (cells,).

    Attributes
    ----------
    effect
        Against the average of the learn rows (weighted by exposure).
    error
        Its standard error.
    error_to_base
        Standard error of the difference to cell `base`.
    exposure
        Exposure of the learn rows in the cell; cells without any have no error of their own (NaN).
    base
        Cell with the most exposure.
    """

    effect: NDArray[np.float64]
    error: NDArray[np.float64]
    error_to_base: NDArray[np.float64]
    exposure: NDArray[np.float64]
    base: int

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Effect:
        """Read the fields by name; what has no error is null."""
        names = ("effect", "error", "error_to_base", "exposure")
        effect, *others = (np.array(content[name], dtype=np.float64) for name in names)
        return cls(effect, others[0], others[1], others[2], int(content["base"]))


def effects_of(fit: GlmFit, design: Design) -> dict[int, Effect]:
    """Give the one-way effects with standard errors, by input.

    The covariance of the coefficients is phi (X' W X + S)^-1 with the working weights W of Fisher information
    and the penalty S; its intervals hold their level on average over a curve although the fit is penalised
    (Wood 2017, Generalized Additive Models, 6.10). phi is one for claims and events, Pearson's for amounts.
    An absolute penalty (elastic net) is left out of S, and bounds are taken as not binding.

    Parameters
    ----------
    fit
        From `solve_glm`.
    design
        The rows it was fitted on.
    """
    layout = fit.layout
    if layout is None:
        return {}
    covariance, dispersion = _covariance(fit, layout, design)
    found = {}
    for block, part in _parts(layout, covariance * dispersion):
        if block.groups is not None:
            continue
        i = block.inputs[0]
        counted = layout.counted[i]
        basis = np.eye(block.width) if block.basis is None else block.basis
        base = int(counted.argmax())
        found[i] = Effect(
            fit.model.mains[i],
            _errors(basis - counted / counted.sum() @ basis, part, counted),
            _errors(basis - basis[base], part, counted),
            counted,
            base,
        )
    return found


def relativity_variances(
    fit: GlmFit, design: Design, bases: Mapping[int, int]
) -> dict[tuple[int, ...], NDArray[np.float64]]:
    """Give the variance of the logarithm of each relativity at dispersion 1, by inputs of the table.

    With the covariance of `effects_of`, all columns fitted together. A cell of one input is held against its
    base cell, one of two inputs against the average of the learn rows. Zero where there is nothing to know:
    at the base, and in cells without exposure.

    Parameters
    ----------
    fit
        From `solve_glm`.
    design
        The rows it was fitted on.
    bases
        Input -> base cell.
    """
    layout = fit.layout
    if layout is None:
        return {}
    covariance, _ = _covariance(fit, layout, design)
    found = {}
    for block, part in _parts(layout, covariance):
        if block.groups is None:
            i = block.inputs[0]
            basis = np.eye(block.width) if block.basis is None else block.basis
            errors = _errors(basis - basis[bases[i]], part, layout.counted[i])
        else:
            held = np.asarray(block.matrix(layout.cells).transpose_matvec(design.weight))
            coarse = _errors(np.eye(block.width) - held / held.sum(), part, held)
            errors = coarse.reshape(-1, int(block.groups[1].max()) + 1)[np.ix_(*block.groups)]
        found[block.inputs] = np.nan_to_num(errors) ** 2
    return found


def _parts(layout: Layout, covariance: NDArray[np.float64]) -> Iterator[tuple[Block, NDArray[np.float64]]]:
    """Give each block with the covariance of its columns; the intercept stands first."""
    for block, start, stop in zip(layout.blocks, layout.bounds, layout.bounds[1:], strict=False):
        yield block, covariance[start + 1 : stop + 1, start + 1 : stop + 1]


def _errors(
    contrast: NDArray[np.float64], covariance: NDArray[np.float64], counted: NDArray[np.float64]
) -> NDArray[np.float64]:
    squared = np.einsum("ij,jk,ik->i", contrast, covariance, contrast, optimize=True)
    return np.where(counted > 0, np.sqrt(np.maximum(squared, 0.0)), np.nan)


def _covariance(fit: GlmFit, layout: Layout, design: Design) -> tuple[NDArray[np.float64], float]:
    """Covariance of intercept and coefficients at dispersion 1, (1 + columns) squared, and the dispersion."""
    mean = respond(layout.matrix.matvec(fit.coefficients) + fit.intercept, design.link)
    power = POWERS.get(design.objective)
    variance = mean * (1.0 - mean) if power is None else mean**power
    slope = mean * (1.0 - mean) if power is None else mean
    work = design.weight * slope**2 / variance
    size = len(fit.coefficients)
    information = np.zeros((size + 1, size + 1))
    information[0, 0] = work.sum()
    information[0, 1:] = information[1:, 0] = layout.matrix.transpose_matvec(work)
    information[1:, 1:] = layout.matrix.sandwich(work) + layout.penalty * design.weight.sum()
    inverse = np.asarray(np.linalg.pinv(information, hermitian=True), dtype=np.float64)
    if design.objective in {"poisson", "binary"}:
        return inverse, 1.0
    pearson = float(design.weight @ ((design.target - mean) ** 2 / variance))
    return inverse, pearson / max(len(mean) - size - 1, 1)
