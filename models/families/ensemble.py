"""Averages of table models, which are table models: one set of tables, however many members."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.errors import FitError
from models.families.boosting import fit_ga2m
from models.tables import Axis, TableModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.families.base import Design, FitSettings


def fit_ga2m_ensemble(design: Design, settings: FitSettings) -> TableModel:
    """Fit GA2Ms of several seeds and average them on the scale of the link.

    Parameters
    ----------
    design
        Learn rows.
    settings
        As for `fit_ga2m`; `members` says how many seeds.
    """
    seeds = range(settings.seed, settings.seed + settings.members)
    return average([fit_ga2m(design, replace(settings, seed=seed)) for seed in seeds])


def average(members: Sequence[TableModel], weights: Sequence[float] | None = None) -> TableModel:
    """Merge table models into one whose raw score is the weighted mean of theirs.

    An axis of the result has the edges of all members, so that each of its cells lies within one cell of
    every member, and tables can be averaged cell by cell. On the scale of the response this is a weighted
    geometric mean of rates (log link), or the mean log-odds (logit link).

    Parameters
    ----------
    members
        Models with the same link and the same inputs.
    weights
        One positive number per member, scaled to sum to one; equal when absent.

    Raises
    ------
    FitError
        If there is nothing to merge, the models do not fit together, or a weight is not positive.
    """
    shares = _shares(members, weights)
    axes = tuple(_union([model.axes[i] for model in members], i) for i in range(len(members[0].axes)))
    mains: dict[int, NDArray[np.float64]] = {}
    pairs: dict[tuple[int, int], NDArray[np.float64]] = {}
    for model, share in zip(members, shares, strict=True):
        cells = [old.locate(_samples(new)) for old, new in zip(model.axes, axes, strict=True)]
        for i, main in model.mains.items():
            mains.setdefault(i, np.zeros(axes[i].cells))
            mains[i] += share * main[cells[i]]
        for (i, j), table in model.pairs.items():
            pairs.setdefault((i, j), np.zeros((axes[i].cells, axes[j].cells)))
            pairs[i, j] += share * table[np.ix_(cells[i], cells[j])]
    intercept = sum(share * model.intercept for model, share in zip(members, shares, strict=True))
    return TableModel(
        members[0].link, float(intercept), axes, dict(sorted(mains.items())), dict(sorted(pairs.items()))
    )


def _shares(members: Sequence[TableModel], weights: Sequence[float] | None) -> NDArray[np.float64]:
    if not members:
        raise FitError("an ensemble needs at least one member")
    kinds = sorted({(model.link, len(model.axes)) for model in members})
    if len(kinds) > 1:
        raise FitError(f"members of an ensemble differ in (link, number of inputs): {kinds}")
    given = np.ones(len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (len(members),) or not (np.isfinite(given) & (given > 0)).all():
        raise FitError(f"{len(members)} members need as many positive weights, found {given.tolist()}")
    shares: NDArray[np.float64] = given / given.sum()
    return shares


def _union(axes: Sequence[Axis], position: int) -> Axis:
    kinds = {None if axis.edges is not None else axis.levels for axis in axes}
    if len(kinds) > 1:
        raise FitError(f"input {position} is not the same in all members: numbers of levels {kinds}")
    if axes[0].edges is None:
        return axes[0]
    return Axis(np.unique(np.concatenate([axis.edges for axis in axes if axis.edges is not None])))


def _samples(axis: Axis) -> NDArray[np.float64]:
    """Give a value of every cell, shape (cells,)."""
    if axis.edges is None:
        return np.arange(axis.cells, dtype=np.float64)
    return np.concatenate([axis.edges, [np.inf, np.nan]])
