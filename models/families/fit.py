"""Fit a family by name, and read back what it stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from models.errors import ArtifactError
from models.families.base import Design, FitSettings, Scorer, balanced
from models.families.boosting import fit_ga2m, fit_gbm, load_booster
from models.families.ensemble import fit_ga2m_ensemble
from models.families.glm import fit_glm
from models.tables import load_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FITTERS: dict[str, Callable[[Design, FitSettings], Scorer]] = {
    "glm": fit_glm,
    "gbm": fit_gbm,
    "ga2m": fit_ga2m,
    "ga2m_ensemble": fit_ga2m_ensemble,
}


def fit_family(family: str, design: Design, settings: FitSettings, total: float | None = None) -> Scorer:
    """Fit a family and restore the total of the learn rows (see `balanced`).

    Parameters
    ----------
    family
        `glm`, `gbm`, `ga2m` or `ga2m_ensemble`.
    design
        Learn rows.
    settings
        Seed, threads, rounds.
    total
        Actual total to restore, sum of weight x target when absent.
    """
    return balanced(FITTERS[family](design, settings), design, total)


def load_scorer(folder: Path, name: str) -> Scorer:
    """Read a stored component, whichever family wrote it.

    Raises
    ------
    ArtifactError
        If the files are absent or damaged.
    """
    try:
        if (folder / f"{name}.txt").exists():
            return load_booster(folder, name)
        return load_tables(folder, name)
    except (OSError, json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"component {name!r} cannot be read: {error}") from error
