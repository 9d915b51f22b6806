"""Calibration: balance, reliability diagram with isotonic fit, test of auto-calibration, bias by band."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from model_diagnostics.calibration import compute_bias
from scipy import stats
from sklearn.isotonic import isotonic_regression

from models import metrics
from models.diagnostics.bands import BANDS, band, make_bands
from models.diagnostics.inputs import check_rows
from models.diagnostics.intervals import LEVEL, band_test, total_interval
from models.diagnostics.lift_chart import prediction_bands
from models.diagnostics.resampling import cluster_codes
from models.diagnostics.simulation import design_effect, draw_totals, pearson_dispersion
from models.diagnostics.style import (
    ACTUAL,
    REFERENCE,
    UNITS,
    Units,
    band_labels,
    colours,
    exposure_bars,
    legend,
    log_ticks,
    model_panels,
    new_figure,
    title,
)
from models.drawn import Drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.bands import Bands
    from models.diagnostics.inputs import Rows, Totals
    from models.families.base import Objective

    Array = NDArray[np.float64]

# Rows of neighbouring predictions that are pooled before the isotonic fit: draws cost as much as groups.
GROUPS = 1000
DRAWS = 500
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Calibration(Drawn):
    """Whether a model's rates are what happens where it predicts them.

    Attributes
    ----------
    frame
        Long, by group of equal exposure: `model`, `exposure`, `predicted` (rate), `isotonic` (rate that
        happened, rising with the prediction), `low`, `high` (where the isotonic fit lies if the model is
        right).
    tests
        One line per model: `ae` with `ae_low`, `ae_high` and `balance_p`; `miscalibration` (deviance per
        unit of exposure that isotonic recalibration removes) = `global` (removed by one factor) + `local`;
        `local_p`, `auto_calibration_p` (parametric bootstrap); `chi2`, `bands`, `chi2_p` (bands of the
        prediction).
    level
        Of the intervals.
    """

    frame: pd.DataFrame
    tests: pd.DataFrame
    level: float

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw one reliability diagram per model."""
        groups = dict(list(self.frame.groupby("model", sort=False)))
        figure, panels = model_panels(list(groups))
        for axes, (model, lines), colour in zip(
            panels, groups.items(), colours(groups).values(), strict=True
        ):
            x = lines["predicted"].to_numpy()
            # The outermost hundredth of the exposure would stretch the axes and hide the rest.
            share = lines["exposure"].cumsum().to_numpy() / lines["exposure"].sum()
            inner = (share > 0.005) & (share < 0.995)
            limits = (0.9 * x[inner].min(), 1.05 * max(x[inner].max(), lines["isotonic"][inner].max()))
            axes.plot(limits, limits, color=REFERENCE, linewidth=1.0, label="perfect")
            label = f"{self.level:.0%} of right models"
            band_of = {"color": REFERENCE, "alpha": 0.25, "linewidth": 0, "label": label}
            axes.fill_between(x, lines["low"], lines["high"], **band_of)
            axes.plot(x, lines["isotonic"], color=colour, drawstyle="steps-mid", label="actual, isotonic fit")
            rug = np.interp(np.linspace(0.005, 0.995, 100), share, x)
            axes.plot(rug, np.full(100, limits[0]), "|", color=ACTUAL, markersize=9, label="1% of exposure")
            axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, xlabel=f"predicted {units.rate}")
            log_ticks(axes.xaxis)
            log_ticks(axes.yaxis)
            test = self.tests.loc[model]
            note = f"actual/expected {test['ae']:.3f}, auto-calibration p = {test['auto_calibration_p']:.3f}"
            title(axes, f"Reliability of {model}", note)
            legend(axes, "upper left")
            axes.set_ylabel(f"actual {units.rate}")
        return figure


@dataclass(frozen=True, eq=False)
class Bias(Drawn):
    """Mean of expected - actual by band, with a test.

    Attributes
    ----------
    frame
        Long: `model`, `band`, `rows`, `exposure`, `bias` (per unit of exposure), `error`, `p_value` (t-test).
    by
        What the bands are of.
    """

    frame: pd.DataFrame
    by: str

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw the bias of every model with two standard errors."""
        groups = dict(list(self.frame.groupby("model", sort=False)))
        figure, axes = new_figure(max(7.2, 0.42 * self.frame["band"].nunique()), 4.4)
        first = next(iter(groups.values()))
        place = pd.Series(np.arange(len(first)), index=first["band"])
        exposure_bars(axes, first["exposure"].to_numpy(), units)
        axes.axhline(0.0, color=REFERENCE, linewidth=1.0)
        for k, (model, colour) in enumerate(colours(groups).items()):
            lines = groups[model]
            at = place.reindex(lines["band"]).to_numpy() + 0.15 * (k - (len(groups) - 1) / 2)
            axes.errorbar(
                at,
                lines["bias"],
                2 * lines["error"],
                fmt="o",
                color=colour,
                label=f"{model}, 2 s.e.",
                capsize=2,
            )
        band_labels(axes, list(first["band"]), self.by)
        axes.set_ylabel(f"expected - actual, {units.rate}")
        title(axes, f"Bias by {self.by}", "above zero: the model expects too much")
        legend(axes, "upper right")
        return figure


def calibration(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    *,
    objective: Objective = "poisson",
    power: float = metrics.POWER,
    dispersion: float | None = None,
    cluster: ArrayLike | None = None,
    bands: int = BANDS,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 1,
) -> Calibration:
    """Test that a model is right on average wherever it predicts the same (auto-calibration).

    Neighbouring predictions are pooled into at most 1,000 groups of equal exposure. Statistic: the deviance
    that isotonic recalibration removes (miscalibration of the Murphy decomposition), on rows the model has
    not seen; its distribution is that of totals drawn from the model itself. Rejection says that premiums
    are systematically wrong at some level of risk (Denuit, Charpentier and Trufin 2021, Autocalibration and
    Tweedie-dominance; Wuthrich and Ziegel 2024, Isotonic recalibration under a low signal-to-noise ratio;
    split into global and local part by Brauer, Menzel and Wuthrich 2025, arXiv 2510.04556).

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    objective, power
        Distribution, and variance power of `tweedie`.
    dispersion
        Of the draws; when absent 1 for counts and events, Pearson's estimate for amounts.
    cluster
        Policy or customer of each row, shape (n,). Draws, intervals and tests vary as much more as the sums
        of one do than rows on their own (`design_effect`).
    bands
        Of the chi-square test.
    draws, seed
        Of the parametric bootstrap.
    level
        Of the intervals.
    """
    rows = check_rows(actual, expected, exposure, objective)
    codes = cluster_codes(cluster, len(rows.actual))
    counted = objective in ("poisson", "binary")
    frames, tests = [], {}
    for model in rows.models:
        design = design_effect(rows, model, codes)
        spread = dispersion or (1.0 if counted else pearson_dispersion(rows, model, objective, power))
        frame, found = _isotonic_test(rows, model, objective, power, spread * design, draws, level, seed)
        frames.append(frame)
        # Of amounts the tests see the scatter of the rows themselves.
        wider = (spread if counted else 1.0) * design
        chi2, freedom, p_value = band_test(
            rows, prediction_bands(rows, model, bands), model, objective, wider
        )
        tests[model] = _balance(rows, model, objective, wider, level) | found
        tests[model] |= {"chi2": chi2, "bands": freedom, "chi2_p": p_value}
    return Calibration(
        pd.concat(frames, ignore_index=True),
        pd.DataFrame.from_dict(tests, orient="index").rename_axis("model"),
        level,
    )


def bias(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    factor: ArrayLike | pd.Series | None = None,
    *,
    name: str | None = None,
    bands: int = BANDS,
) -> Bias:
    """Test expected - actual band by band (Fissler, Lorentzen and Mayer 2022; by `model_diagnostics`).

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    factor, name, bands
        See `band`; without a factor the bands are those of each model's prediction.
    """
    rows = check_rows(actual, expected, exposure)
    shared = None if factor is None else band(factor, rows.exposure, bands=bands, name=name)
    parts = []
    for model in rows.models:
        groups = shared or prediction_bands(rows, model, bands)
        parts.append(_bias_of(rows, model, groups))
    return Bias(pd.concat(parts, ignore_index=True), "predicted rate" if shared is None else shared.name)


def _bias_of(rows: Rows, model: str, groups: Bands) -> pd.DataFrame:
    # Codes of fixed width sort as bands do.
    with warnings.catch_warnings():
        # The one warning that model-diagnostics 1.5 raises under polars 2.
        warnings.filterwarnings("ignore", message="the string cache has been replaced")
        found = compute_bias(
            rows.actual / rows.exposure,
            rows.expected[model] / rows.exposure,
            feature=np.char.zfill(groups.codes.astype(str), 6),
            weights=rows.exposure,
            n_bins=len(groups.labels),
        )
    place = found["feature"].to_numpy().astype(np.int64)
    columns = {
        "model": model,
        "band": [groups.labels[k] for k in place],
        "rows": found["bias_count"].to_numpy(),
        "exposure": found["bias_weights"].to_numpy(),
        "bias": found["bias_mean"].to_numpy(),
        "error": found["bias_stderr"].to_numpy(),
        "p_value": found["p_value"].to_numpy(),
    }
    return pd.DataFrame(columns)


def _balance(
    rows: Rows, model: str, objective: Objective, dispersion: float, level: float
) -> dict[str, float]:
    whole = make_bands("all", np.zeros(len(rows.actual), np.int64), ["all"], rows.exposure, ordered=False)
    low, high = total_interval(rows, whole, objective, dispersion, level)
    total = float(rows.expected[model].sum())
    statistic, _, _ = band_test(rows, whole, model, objective, dispersion)
    return {
        "ae": float(rows.actual.sum()) / total,
        "ae_low": float(low[0]) / total,
        "ae_high": float(high[0]) / total,
        "balance_p": float(stats.chi2.sf(statistic, 1)),
    }


def _isotonic_test(
    rows: Rows,
    model: str,
    objective: Objective,
    power: float,
    dispersion: float,
    draws: int,
    level: float,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, float]]:
    groups = prediction_bands(rows, model, GROUPS)
    exposure, expected = groups.exposure, groups.total(rows.expected[model])
    drawn = draw_totals(expected, exposure, objective, dispersion, power, draws, seed)
    found = _miscalibration(groups.total(rows.actual), expected, exposure, objective, power)
    # A draw in which nothing happened has no deviance to speak of.
    drawn = drawn[drawn.sum(axis=1) > 0]
    null = [_miscalibration(line, expected, exposure, objective, power) for line in drawn]
    fits = np.array([fit for _, _, fit in null])
    low, high = np.quantile(fits, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
    frame = pd.DataFrame(
        {
            "model": model,
            "exposure": exposure,
            "predicted": expected / exposure,
            "isotonic": found[2],
            "low": low,
            "high": high,
        }
    )
    whole = np.array([part + local for part, local, _ in null])
    local = np.array([local for _, local, _ in null])
    test = {
        "miscalibration": found[0] + found[1],
        "global": found[0],
        "local": found[1],
        "local_p": (1 + int(np.sum(local >= found[1]))) / (1 + len(null)),
        "auto_calibration_p": (1 + int(np.sum(whole >= found[0] + found[1]))) / (1 + len(null)),
    }
    return frame, test


def _miscalibration(
    actual: Array, expected: Array, exposure: Array, objective: Objective, power: float
) -> tuple[float, float, Array]:
    """Give global and local miscalibration per unit of exposure, and the isotonic rates."""
    fit = np.asarray(isotonic_regression(actual / exposure, sample_weight=exposure))
    balanced = expected * (actual.sum() / expected.sum())
    if objective == "binary":
        balanced = np.minimum(balanced, exposure * (1.0 - 1e-12))
    as_is, by_factor, by_curve = (
        float(
            metrics.deviance_rows(
                actual, _inside(total, exposure, objective), exposure, objective, power
            ).sum()
        )
        for total in (expected, balanced, fit * exposure)
    )
    size = float(exposure.sum())
    return (as_is - by_factor) / size, (by_factor - by_curve) / size, fit


def _inside(expected: Array, exposure: Array, objective: Objective) -> Array:
    """Keep fitted totals off the edge of the domain, where the deviance has its limit."""
    kept = np.maximum(expected, TINY)
    return np.minimum(kept, exposure * (1.0 - 1e-15)) if objective == "binary" else kept
