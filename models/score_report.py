"""Does the score say what it promises? Actual against expected cost on test rows, band by band."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.style import ACTUAL, COLOURS, band_labels, exposure_bars, legend, new_figure, title
from pricing.score import scale_of, score_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from models.judged import Judged
    from pricing.product import Product


def score_report(product: Product, judged: Judged, family: str | None = None) -> pd.DataFrame:
    """Compare actual and expected cost by score band.

    Parameters
    ----------
    product
        Product file with a `[score]` table.
    judged
        Test rows with what each family says of them (`TrainingResult.judged`).
    family
        Family that scores; the product's champion when absent.

    Returns
    -------
    pandas.DataFrame
        One line per band that holds rows, from the safest up, indexed by its code: `lowest` points, `rows`,
        `exposure`, `actual` and `expected` cost per unit of exposure in minor units, `ae` (actual over
        expected), `ae_error` (its standard error, from the scatter of the rows).

    Raises
    ------
    DefinitionError
        If the product declares no score.
    """
    scored = family or product.models.champion
    expected = judged.expected[scored]
    # The score is that of the risk, before own claims.
    _, bands = score_array(expected / judged.own.get(scored, 1.0) / judged.exposure, product)
    lines = {}
    for position, band in enumerate(scale_of(product).bands):
        rows = bands == position
        if rows.any():
            lines[band.code] = {"lowest": band.lowest} | _figures(
                judged.actual[rows], expected[rows], judged.exposure[rows]
            )
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("band")


def _figures(
    actual: NDArray[np.float64], expected: NDArray[np.float64], exposure: NDArray[np.float64]
) -> dict[str, float]:
    scatter = float(np.sqrt(np.sum((actual - expected) ** 2)))
    return {
        "rows": len(actual),
        "exposure": float(exposure.sum()),
        "actual": float(actual.sum() / exposure.sum()),
        "expected": float(expected.sum() / exposure.sum()),
        "ae": float(actual.sum() / expected.sum()),
        "ae_error": scatter / float(expected.sum()),
    }


def score_figure(report: pd.DataFrame) -> Figure:
    """Draw actual and expected cost by band over the exposure each band holds.

    Parameters
    ----------
    report
        From `score_report`.
    """
    figure, axes = new_figure(7.2, 4.4)
    exposure_bars(axes, report["exposure"].to_numpy())
    place = np.arange(len(report))
    error = 2 * report["ae_error"] * report["expected"]
    axes.errorbar(place, report["actual"], yerr=error, color=ACTUAL, marker="o", label="actual, 2 s.e.")
    axes.plot(place, report["expected"], color=COLOURS[0], linestyle="--", marker="s", label="expected")
    band_labels(
        axes, [f"{code}\nfrom {low}" for code, low in report["lowest"].items()], "score band, safest first"
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("minor units per unit of exposure")
    title(axes, "Cost by score band")
    legend(axes, "upper left")
    return figure
