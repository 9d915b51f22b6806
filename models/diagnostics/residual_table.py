"""Residuals: deviance, Pearson and randomised quantile residuals, by row and by band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from models import metrics
from models.diagnostics.bands import band
from models.diagnostics.inputs import check_rows
from models.diagnostics.lift_chart import prediction_bands
from models.diagnostics.simulation import pearson_dispersion
from models.diagnostics.style import REFERENCE, band_labels, colours, legend, new_panels, title
from models.drawn import Drawn
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.bands import Bands
    from models.diagnostics.inputs import Rows, Totals
    from models.families.base import Objective

    Array = NDArray[np.float64]

BANDS = 20
KINDS = ("deviance", "pearson", "quantile")
EDGE = 1e-15


@dataclass(frozen=True, eq=False)
class Residuals(Drawn):
    """Residuals of every row and their summary.

    Attributes
    ----------
    frame
        Long, by band: `model`, `band`, `rows`, mean `deviance`, `pearson` and `quantile` residual, `spread`
        (standard deviation of the quantile residual, 1 where the distribution is right).
    rows
        Model -> residuals of each row, columns `deviance`, `pearson`, `quantile`.
    dispersion
        One line per model: `pearson` (mean squared Pearson residual), `deviance` (mean deviance),
        `quantile_mean` and `quantile_spread` (0 and 1 where the distribution is right).
    by
        What the bands are of.
    """

    frame: pd.DataFrame
    rows: dict[str, pd.DataFrame]
    dispersion: pd.DataFrame
    by: str

    def figure(self) -> Figure:
        """Draw mean quantile residuals by band, and their quantiles against the normal ones."""
        groups = dict(list(self.frame.groupby("model", sort=False)))
        figure, panels = new_panels(10.4, 4.6, 1, 2)
        left, right = panels[0]
        longest = max(groups.values(), key=len)
        place = pd.Series(np.arange(len(longest)), index=longest["band"])
        half = 2.0 / np.sqrt(longest["rows"].to_numpy())
        left.fill_between(
            place, -half, half, color=REFERENCE, alpha=0.25, linewidth=0, label="2 s.e. around 0"
        )
        chance = np.append(np.geomspace(1e-4, 0.5, 60), 1.0 - np.geomspace(0.5, 1e-4, 60))
        normal = special.ndtri(chance)
        right.plot(
            normal[[0, -1]], normal[[0, -1]], color=REFERENCE, linewidth=1.0, label="right distribution"
        )
        for model, colour in colours(groups).items():
            lines = groups[model]
            left.plot(place.reindex(lines["band"]), lines["quantile"], "o-", color=colour, label=model)
            found = np.quantile(self.rows[model]["quantile"], chance)
            right.plot(
                normal,
                found,
                color=colour,
                label=f"{model}, dispersion {self.dispersion.loc[model, 'pearson']:.3g}",
            )
        band_labels(left, list(longest["band"]), self.by)
        left.set_ylabel("mean quantile residual")
        title(left, f"Residuals by {self.by}", "a pattern is what the model lacks")
        right.set(xlabel="standard normal quantile", ylabel="quantile of the residuals")
        title(
            right, "Distribution of quantile residuals", "off the line: tails heavier or lighter than assumed"
        )
        left.margins(y=0.25)
        legend(left, "upper center", 3)
        legend(right, "upper left")
        return figure


def residuals(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    factor: ArrayLike | pd.Series | None = None,
    *,
    name: str | None = None,
    objective: Objective = "poisson",
    power: float = metrics.POWER,
    dispersion: float | None = None,
    bands: int = BANDS,
    seed: int = 1,
) -> Residuals:
    """Work out residuals, with their means by band of a factor or of the prediction.

    Of counts, deviance and Pearson residuals lie on curves and look like nothing; the randomised quantile
    residual is standard normal whenever the distribution is right: Phi^-1(u), u uniform between the
    distribution function just below and at the actual total (Dunn and Smyth 1996).

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`. Counts and events must be whole numbers.
    factor, name, bands
        See `band`; without a factor the bands are those of each model's prediction.
    objective, power
        Distribution, and variance power of `tweedie`.
    dispersion
        Of `gamma` and `tweedie`; Pearson's estimate when absent. Counts and events have 1.
    seed
        Of the randomisation.

    Raises
    ------
    DiagnosticError
        If counts or events are not whole numbers.
    """
    rows = check_rows(actual, expected, exposure, objective)
    if objective in ("poisson", "binary") and (odd := int(np.count_nonzero(rows.actual % 1))):
        raise DiagnosticError([f"actual: {odd} rows are no whole numbers, which {objective} residuals need"])
    shared = None if factor is None else band(factor, rows.exposure, bands=bands, name=name)
    uniform = np.random.default_rng(seed).random(len(rows.actual))
    frames, each, summary = [], {}, {}
    for model in rows.models:
        spread = dispersion or pearson_dispersion(rows, model, objective, power)
        found = _residual_rows(rows, model, objective, power, spread, uniform)
        frames.append(_by_band(found, shared or prediction_bands(rows, model, bands), model))
        each[model] = found
        summary[model] = {
            "pearson": float((found["pearson"] ** 2).mean()),
            "deviance": float((found["deviance"] ** 2).mean()),
            "quantile_mean": float(found["quantile"].mean()),
            "quantile_spread": float(found["quantile"].std()),
        }
    table = pd.DataFrame.from_dict(summary, orient="index").rename_axis("model")
    by = "band of the prediction, safest first" if shared is None else shared.name
    return Residuals(pd.concat(frames, ignore_index=True), each, table, by)


def _by_band(found: pd.DataFrame, groups: Bands, model: str) -> pd.DataFrame:
    part = found.groupby(groups.codes).mean()
    part.insert(0, "rows", np.bincount(groups.codes))
    part.insert(0, "band", list(groups.labels))
    part.insert(0, "model", model)
    part["spread"] = found["quantile"].groupby(groups.codes).std().to_numpy()
    return part


def _residual_rows(
    rows: Rows, model: str, objective: Objective, power: float, dispersion: float, uniform: Array
) -> pd.DataFrame:
    actual, expected, exposure = rows.actual, rows.expected[model], rows.exposure
    off = actual - expected
    deviance = np.maximum(metrics.deviance_rows(actual, expected, exposure, objective, power), 0.0)
    below, at = _distribution(actual, expected, exposure, objective, power, dispersion)
    chance = np.clip(below + uniform * (at - below), EDGE, 1.0 - EDGE)
    return pd.DataFrame(
        {
            "deviance": np.sign(off) * np.sqrt(deviance),
            "pearson": off / np.sqrt(metrics.variance_rows(expected, exposure, objective, power)),
            "quantile": special.ndtri(chance),
        }
    )


def _distribution(
    actual: Array, expected: Array, exposure: Array, objective: Objective, power: float, dispersion: float
) -> tuple[Array, Array]:
    """Give the distribution function of each row's total just below and at the actual one."""
    if objective == "poisson":
        below = np.where(actual > 0, special.pdtr(np.maximum(actual - 1.0, 0.0), expected), 0.0)
        return below, special.pdtr(actual, expected)
    if objective == "binary":
        trials = np.maximum(np.rint(exposure), 1.0)
        chance = expected / exposure
        # The binomial distribution function at k is I(1 - p; n - k, k + 1), 1 at k = n.
        below = np.where(
            actual > 0, special.betainc(trials - actual + 1.0, np.maximum(actual, 1.0), 1.0 - chance), 0.0
        )
        at = special.betainc(np.maximum(trials - actual, 1.0), actual + 1.0, 1.0 - chance)
        return below, np.where(actual >= trials, 1.0, at)
    if objective == "gamma":
        at = special.gammainc(exposure / dispersion, actual / (dispersion * expected / exposure))
        return at, at
    return _tweedie_distribution(actual, expected, exposure, power, dispersion)


def _tweedie_distribution(
    actual: Array, expected: Array, exposure: Array, power: float, dispersion: float
) -> tuple[Array, Array]:
    """Sum the gamma distribution functions of k claims over the Poisson chance of k claims."""
    rate = expected / exposure
    claims = exposure * rate ** (2.0 - power) / (dispersion * (2.0 - power))
    at = np.exp(-claims)
    below = np.where(actual > 0, at, 0.0)
    paid = np.flatnonzero(actual > 0)
    mean = claims[paid]
    scaled = actual[paid] / (dispersion * (power - 1.0) * rate[paid] ** (power - 1.0))
    form = (2.0 - power) / (power - 1.0)
    chance, total = np.exp(-mean), np.exp(-mean)
    most = float(mean.max()) if len(mean) else 0.0
    for k in range(1, int(most + 10.0 * np.sqrt(most) + 20.0)):
        chance = chance * mean / k
        total += chance * special.gammainc(k * form, scaled)
    at[paid] = total
    below[paid] = total
    return below, at
