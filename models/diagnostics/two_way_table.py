"""Actual over expected on two factors, and a test of their interaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from scipy import stats
from scipy.special import xlogy

from models.diagnostics.bands import band, make_bands
from models.diagnostics.inputs import check_rows
from models.diagnostics.intervals import LEVEL, total_interval
from models.diagnostics.style import new_panels, title
from models.drawn import Drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.bands import Bands
    from models.diagnostics.inputs import Rows, Totals
    from models.families.base import Objective

    Array = NDArray[np.float64]

BANDS = 6
ROUNDS = 500
TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class TwoWayFit(Drawn):
    """Actual over expected by cells of two factors.

    Attributes
    ----------
    frame
        Long: `model`, the two factors, `rows`, `exposure`, `actual`, `expected`, `ae`, `ae_low`, `ae_high`.
        Cells that no row falls into are absent.
    tests
        One line per model: `gain` (deviance that an interaction would take, in units of the dispersion),
        `freedom`, `p_value`, and the largest correction `strongest` of a cell.
    factors
        Names.
    level
        Of the intervals.
    """

    frame: pd.DataFrame
    tests: pd.DataFrame
    factors: tuple[str, str]
    level: float

    def figure(self) -> Figure:
        """Draw one surface per model; cells whose interval leaves out 1 are written bold."""
        models = list(self.tests.index)
        first, second = (list(self.frame[name].cat.categories) for name in self.factors)
        width = max(5.0, 1.6 + 0.85 * len(second))
        figure, panels = new_panels(width * len(models), 1.9 + 0.42 * len(first), 1, len(models))
        for axes, model in zip(panels[0], models, strict=True):
            lines = self.frame[self.frame["model"] == model]
            ae = np.full((len(first), len(second)), np.nan)
            ae[tuple(lines[name].cat.codes.to_numpy() for name in self.factors)] = lines["ae"]
            norm = TwoSlopeNorm(1.0, 0.5, 1.5)
            axes.imshow(ae, cmap="RdBu_r", norm=norm, aspect="auto", alpha=0.85)
            for line in lines.to_dict("records"):
                sure = not line["ae_low"] <= 1.0 <= line["ae_high"]
                place = (second.index(line[self.factors[1]]), first.index(line[self.factors[0]]))
                axes.text(
                    *place, f"{line['ae']:.2f}", ha="center", va="center", fontsize=9,
                    fontweight="bold" if sure else "normal",
                    color="white" if abs(line["ae"] - 1.0) > 0.35 else "black",
                )  # fmt: skip
            axes.set_xticks(range(len(second)), second, rotation=30, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(first)), first)
            axes.set(xlabel=self.factors[1], ylabel=self.factors[0])
            axes.grid(visible=False)
            test = self.tests.loc[model]
            note = f"interaction p = {test['p_value']:.3g}; bold: {self.level:.0%} interval without 1"
            title(axes, f"Actual over expected, {model}", note)
        return figure


def two_way(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    first: ArrayLike | pd.Series,
    second: ArrayLike | pd.Series,
    *,
    names: tuple[str | None, str | None] = (None, None),
    objective: Objective = "poisson",
    dispersion: float = 1.0,
    bands: int = BANDS,
    level: float = LEVEL,
) -> TwoWayFit:
    """Compare actual and expected on two factors, and test whether a model lacks their interaction.

    Expected totals are first corrected by one factor for each band of each of the two (so that both one-ways
    fit, by iterative proportional fitting); what deviance then remains between the cells is the gain an
    interaction would bring:

        gain = 2 sum over cells of A log(A / E) - A + E, over the dispersion; chi-square under no interaction.

    For amounts the dispersion is the scatter of rows around what is expected over the expected total
    (quasi-likelihood), for events p(1 - p) over p.

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    first, second, names, bands
        The two factors, see `band`.
    objective, dispersion, level
        See `total_interval`.
    """
    rows = check_rows(actual, expected, exposure)
    one = band(first, rows.exposure, bands=bands, name=names[0])
    other = band(second, rows.exposure, bands=bands, name=names[1])
    flat = one.codes * len(other.labels) + other.codes
    held, codes = np.unique(flat, return_inverse=True)
    cells = make_bands("cell", codes, [str(k) for k in held], rows.exposure, ordered=False)
    low, high = total_interval(rows, cells, objective, dispersion, level)
    row_of, column_of = held // len(other.labels), held % len(other.labels)
    parts, tests = [], {}
    for model in rows.models:
        total = cells.total(rows.expected[model])
        columns = {
            "model": model,
            one.name: pd.Categorical.from_codes(row_of, one.labels, ordered=True),
            other.name: pd.Categorical.from_codes(column_of, other.labels, ordered=True),
            "rows": np.bincount(codes),
            "exposure": cells.exposure,
            "actual": cells.total(rows.actual),
            "expected": total,
            "ae": cells.total(rows.actual) / total,
            "ae_low": low / total,
            "ae_high": high / total,
        }
        parts.append(pd.DataFrame(columns))
        tests[model] = _interaction(rows, model, cells, row_of, column_of, objective, dispersion)
    table = pd.DataFrame.from_dict(tests, orient="index").rename_axis("model")
    return TwoWayFit(pd.concat(parts, ignore_index=True), table, (one.name, other.name), level)


def _interaction(
    rows: Rows,
    model: str,
    cells: Bands,
    row_of: NDArray[np.int64],
    column_of: NDArray[np.int64],
    objective: Objective,
    dispersion: float,
) -> dict[str, float]:
    actual = cells.total(rows.actual)
    fitted = _fit_margins(actual, cells.total(rows.expected[model]), row_of, column_of)
    sound = fitted > 0
    deviance = 2.0 * float(
        np.sum((xlogy(actual, actual / np.where(sound, fitted, 1.0)) - actual + fitted)[sound])
    )
    expected = rows.expected[model]
    if objective == "binary":
        dispersion *= float(np.sum(expected * (1.0 - expected / rows.exposure)) / expected.sum())
    elif objective != "poisson":
        dispersion = float(np.sum((rows.actual - expected) ** 2) / expected.sum())
    freedom = int(sound.sum()) - len(np.unique(row_of[sound])) - len(np.unique(column_of[sound])) + 1
    gain = deviance / dispersion
    return {
        "gain": gain,
        "freedom": freedom,
        "p_value": float(stats.chi2.sf(gain, freedom)) if freedom > 0 else np.nan,
        "strongest": float(np.max(np.abs(actual[sound] / fitted[sound] - 1.0))),
    }


def _fit_margins(
    actual: Array, expected: Array, row_of: NDArray[np.int64], column_of: NDArray[np.int64]
) -> Array:
    """Scale expected totals by rows and columns, in turns, until both margins are the actual ones."""
    fitted = expected.copy()
    for _ in range(ROUNDS):
        before = fitted.copy()
        for place in (row_of, column_of):
            have = np.bincount(place, fitted)
            want = np.bincount(place, actual)
            fitted *= np.divide(want, have, out=np.ones_like(have), where=have > 0)[place]
        if np.max(np.abs(fitted - before)) <= TOLERANCE * actual.sum():
            break
    return fitted
