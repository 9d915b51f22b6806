"""Whittaker-Henderson smoothing with the strength of smoothing by restricted maximum likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Natural logarithm of the strengths that are tried, in units of the mean information.
WEAKEST, STRONGEST = -12.0, 18.0
# Keeps the system solvable where whole lines of cells have no data.
TINY = 1e-10


def smooth(
    raw: NDArray[np.float64],
    information: NDArray[np.float64],
    order: int = 2,
    strengths: Sequence[float] | None = None,
) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """Smooth values along one or two sides.

    Minimises `(y - z)' W (y - z) + sum over sides of lambda z' P z`, where `P` holds the squared differences
    of the given order along a side. With `W = I / dispersion` this is the posterior mode of values with a
    Gaussian prior, and lambda maximises the restricted likelihood (Biessy 2023, "Whittaker-Henderson
    smoothing revisited: a modern statistical framework for practical use", ASTIN Bulletin 56). Neighbouring
    cells count as equally far apart. Cells without information are inter- and extrapolated.

    Parameters
    ----------
    raw
        Values y, shape (k,) or (k, m).
    information
        Weights W, same shape.
    order
        Order of the differences; 2 pulls towards a straight line.
    strengths
        Lambda of each side; by restricted maximum likelihood when absent.

    Returns
    -------
    tuple
        Smoothed values, same shape, and lambda of each side.
    """
    values, weight = raw.ravel(), information.ravel()
    penalties = [_penalty(raw.shape, side, order) for side in range(raw.ndim)]
    unit = float(weight.mean())
    spectra = _joint_spectra(raw.shape, order)

    def criterion(logs: NDArray[np.float64]) -> float:
        inside = np.clip(logs, WEAKEST, STRONGEST)
        lambdas = unit * np.exp(inside)
        fitted, half_log = _solve(values, weight, penalties, lambdas)
        spectrum = sum(lam * s for lam, s in zip(lambdas, spectra, strict=True))
        penalised = np.asarray(spectrum)
        rough = sum(lam * float(fitted @ p @ fitted) for lam, p in zip(lambdas, penalties, strict=True))
        # Twice the negative restricted log likelihood without constants.
        held = penalised[penalised > TINY * penalised.max(initial=0.0)]
        found = weight @ (values - fitted) ** 2 + rough + 2.0 * half_log - np.log(held).sum()
        return float(found + np.sum((logs - inside) ** 2))

    if strengths is None:
        # The criterion can have two valleys; a coarse look at the diagonal finds the right one.
        looks = np.linspace(WEAKEST, STRONGEST, 16)
        start = min(looks, key=lambda look: criterion(np.full(raw.ndim, look)))
        found = minimize(criterion, np.full(raw.ndim, start), method="Nelder-Mead", options={"maxiter": 80})
        strengths = tuple(unit * np.exp(np.clip(found.x, WEAKEST, STRONGEST)))
    fitted, _ = _solve(values, weight, penalties, np.array(strengths))
    return fitted.reshape(raw.shape), tuple(float(strength) for strength in strengths)


def _solve(
    values: NDArray[np.float64],
    weight: NDArray[np.float64],
    penalties: Sequence[NDArray[np.float64]],
    lambdas: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """Give the fit and half the logarithm of the determinant of the system."""
    system = sum(lam * penalty for lam, penalty in zip(lambdas, penalties, strict=True))
    system = np.asarray(system) + np.diag(weight + TINY * weight.mean())
    factor = cho_factor(system, lower=True)
    return cho_solve(factor, weight * values), float(np.log(np.diag(factor[0])).sum())


def _penalty(shape: tuple[int, ...], side: int, order: int) -> NDArray[np.float64]:
    return _kron([_differences(size, order) if i == side else np.eye(size) for i, size in enumerate(shape)])


def _differences(size: int, order: int) -> NDArray[np.float64]:
    if size <= order:
        return np.zeros((size, size))
    rows = np.diff(np.eye(size), n=order, axis=0)
    return np.asarray(rows.T @ rows)


def _joint_spectra(shape: tuple[int, ...], order: int) -> list[NDArray[np.float64]]:
    """Give the eigenvalues of each side's penalty in the basis that the sides have in common."""
    values = [np.linalg.eigvalsh(_differences(size, order)) for size in shape]
    held = [np.where(v > 1e-9, v, 0.0) for v in values]
    ones = [np.ones(size) for size in shape]
    return [
        _kron([held[i] if i == side else ones[i] for i in range(len(shape))]) for side in range(len(shape))
    ]


def _kron(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    out = parts[0]
    for part in parts[1:]:
        out = np.asarray(np.kron(out, part), dtype=np.float64)
    return out
