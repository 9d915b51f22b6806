"""Compare models on the same test rows: one table of figures, and paired tests of every pair."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from models import metrics
from models.bundle import Bundle
from models.diagnostics import Calibration, Lorenz, Murphy, calibration, lorenz, murphy
from models.diagnostics.inputs import check_rows
from models.errors import DiagnosticError
from models.losses import FIGURES, row_losses
from models.paired import paired_tests
from models.risk_model import COMPONENTS, RiskModel
from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from models.families.base import Objective

    Array = NDArray[np.float64]

NULL = "null"


class Predictor(Protocol):
    """A fitted estimator: `predict` gives rates per unit of exposure, or probabilities."""

    def predict(self, X: pd.DataFrame) -> Array:
        """Predict, shape (n,)."""


@dataclass(frozen=True, eq=False)
class Held:
    """Test rows.

    Attributes
    ----------
    actual
        Claims, amounts or events of each row, shape (n,).
    exposure
        Units of exposure (claims, for severities), shape (n,).
    objective
        Distribution whose deviance ranks the models.
    null_rate
        Rate per unit of exposure of the null model.
    factors
        Columns to look at the rows by, whether models use them or not: numbers and categories.
    segments
        Columns of `factors` by which models are judged one segment at a time.
    time
        When each row began, shape (n,), if known.
    cluster
        Policy or customer of each row, shape (n,), if rows hang together.
    """

    actual: Array
    exposure: Array
    objective: Objective
    null_rate: float
    factors: pd.DataFrame
    segments: tuple[str, ...] = ()
    time: NDArray[np.generic] | None = None
    cluster: NDArray[np.generic] | None = None


@dataclass(frozen=True, eq=False)
class Judging:
    """Diagnostics that the figures of a comparison come from, without the null model."""

    lorenz: Lorenz
    calibration: Calibration
    murphy: Murphy


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models on the same test rows.

    Attributes
    ----------
    table
        One line per model and `null`, one column per figure, see `compare`.
    tests
        One line per pair, see `models.paired.paired_tests`.
    held
        The rows.
    expected
        Model -> expected totals of each row, shape (n,).
    judging
        Diagnostics behind the table.
    seed
        Of the bootstraps.
    """

    table: pd.DataFrame
    tests: pd.DataFrame
    held: Held
    expected: dict[str, Array]
    judging: Judging
    seed: int

    def losses(self, model: str) -> Array:
        """Give the loss of each row, whose mean is the figure that ranks the model."""
        held = self.held
        return row_losses(held.objective, held.actual, self.expected[model], held.exposure)


def compare(
    models: Mapping[str, Predictor | RiskModel | Bundle | ArrayLike],
    data: pd.DataFrame,
    *,
    actual: str = "actual",
    exposure: str = "exposure",
    objective: Objective = "poisson",
    null_rate: float | None = None,
    segments: Sequence[str] = (),
    time: str | None = None,
    cluster: str | None = None,
    seed: int = 1,
) -> Comparison:
    """Compare models on test rows.

    Parameters
    ----------
    models
        Name -> fitted estimator (predicts rates from the columns of `data`), `Bundle` (encodes them itself),
        `RiskModel` (the columns are its encoded inputs) or expected totals, shape (n,).
    data
        Test rows: `actual` totals, `exposure`, the columns that models read, and any other to look at.
    actual, exposure, time, cluster
        Columns; `cluster` names policy or customer where rows hang together.
    objective
        Distribution whose deviance ranks the models.
    null_rate
        Average rate of the learn rows; that of these rows when absent.
    segments
        Columns by which models are judged one segment at a time.
    seed
        Of the bootstraps.

    Returns
    -------
    Comparison
        Its table has the figure that ranks (`deviance_x100` per policy for counts, `deviance`, `logloss`),
        `d2` against the null model, `gini` with its 95 % interval, `ae`, `balance_p` and `autocalibration_p`
        (see `models.diagnostics.calibration`), `dominated_by` (how many others lie nowhere above the model in
        the Murphy diagram: better whatever the loss) and the `seconds` it took to score.

    Raises
    ------
    DiagnosticError
        If columns are absent or totals cannot be compared, with row counts.
    EncodingError
        If a model refuses rows.
    """
    if not models:
        raise DiagnosticError(["no model is given"])
    held = _read_held(data, actual, exposure, objective, null_rate, segments, time, cluster)
    scored = {name: _score(name, model, held.factors, held) for name, model in models.items()}
    expected = {name: found for name, (found, _) in scored.items()}
    return compare_totals(held, expected, {name: seconds for name, (_, seconds) in scored.items()}, seed)


def _read_held(
    data: pd.DataFrame,
    actual: str,
    exposure: str,
    objective: Objective,
    null_rate: float | None,
    segments: Sequence[str],
    time: str | None,
    cluster: str | None,
) -> Held:
    """Read test rows from the columns that `compare` is told."""
    named = {actual, exposure, *segments} | {name for name in (time, cluster) if name is not None}
    problems = [f"column {n!r} is absent ({nearest(n, list(data))})" for n in sorted(named - set(data))]
    if problems:
        raise DiagnosticError(problems)
    totals, units = (data[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in (actual, exposure))
    # What is wrong with the rows is said below, with all else.
    rate = float(totals.sum()) / max(float(units.sum()), 1e-300) if null_rate is None else null_rate
    looked_at = data.drop(columns=[n for n in (actual, exposure, time, cluster) if n is not None])
    return Held(
        totals,
        units,
        objective,
        rate,
        looked_at,
        tuple(segments),
        None if time is None else data[time].to_numpy(),
        None if cluster is None else data[cluster].to_numpy(),
    )


def compare_totals(
    held: Held, expected: Mapping[str, Array], seconds: Mapping[str, float], seed: int = 1
) -> Comparison:
    """Compare expected totals on test rows (see `compare`); the null model is added.

    Parameters
    ----------
    held
        The rows.
    expected
        Model -> expected totals, shape (n,).
    seconds
        Model -> seconds it took to score, where known.
    seed
        Of the bootstraps.
    """
    check_rows(held.actual, expected, held.exposure, held.objective)
    rows = (held.actual, expected, held.exposure)
    judging = Judging(
        lorenz(*rows, cluster=held.cluster, seed=seed),
        calibration(*rows, objective=held.objective, cluster=held.cluster, seed=seed),
        murphy(*rows),
    )
    totals = {**expected, NULL: held.null_rate * held.exposure}
    losses = {m: row_losses(held.objective, held.actual, e, held.exposure) for m, e in totals.items()}
    base = float(losses[NULL].mean())
    lines: dict[str, dict[str, float]] = {}
    for model in totals:
        mean = float(losses[model].mean())
        lines[model] = {FIGURES[held.objective]: mean, "d2": metrics.d2(mean, base)}
        if model in expected:
            lines[model] |= _figures(judging, model)
        lines[model]["seconds"] = float(seconds.get(model, np.nan))
    lines[NULL] |= {"gini": 0.0, "ae": metrics.actual_over_expected(held.actual, totals[NULL])}
    tests = paired_tests(losses, held.cluster, seed=seed)
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")
    return Comparison(table, tests, held, totals, judging, seed)


def headline(comparison: pd.DataFrame) -> str:
    """Name the figure that ranks models (smaller is better): deviance or log loss."""
    return next(name for name in FIGURES.values() if name in comparison.columns)


def _score(
    name: str, model: Predictor | RiskModel | Bundle | ArrayLike, data: pd.DataFrame, held: Held
) -> tuple[Array, float]:
    """Give expected totals and the seconds it took to work them out."""
    start = time.perf_counter()
    if isinstance(model, Bundle):
        encoded = model.encoding.encode(pa.Table.from_pandas(data, preserve_index=False))
        encoded.raise_if_refused()
        rate = _component(name, model.model, encoded.matrix, held.objective)
    elif isinstance(model, RiskModel):
        rate = _component(name, model, data[list(model.inputs)].to_numpy(dtype=np.float64), held.objective)
    elif hasattr(model, "predict"):
        fitted_for = getattr(model, "objective", held.objective)
        if fitted_for != held.objective:
            raise DiagnosticError([f"{name} was fitted for {fitted_for!r}, the rows are {held.objective!r}"])
        columns = list(getattr(model, "feature_names_in_", data.columns))
        rate = np.asarray(model.predict(data[columns]), dtype=np.float64)
    else:
        return np.asarray(model, dtype=np.float64), np.nan
    return rate * held.exposure, time.perf_counter() - start


def _component(name: str, model: RiskModel, values: Array, objective: Objective) -> Array:
    found = [part for part, fitted_for in COMPONENTS[model.kind].items() if fitted_for == objective]
    if not found:
        raise DiagnosticError([f"{name} predicts {', '.join(COMPONENTS[model.kind])}; none is {objective!r}"])
    return model.predict(values)[found[0]]


def _figures(judging: Judging, model: str) -> dict[str, float]:
    gini, calibrated = judging.lorenz.gini.loc[model], judging.calibration.tests.loc[model]
    curves = judging.murphy.frame.pivot_table(index="eta", columns="model", values="score")
    others = curves.drop(columns=model)
    never_worse = others.le(curves[model], axis=0).all() & others.lt(curves[model], axis=0).any()
    return {
        "gini": float(gini["gini"]),
        "gini_low": float(gini["low"]),
        "gini_high": float(gini["high"]),
        "ae": float(calibrated["ae"]),
        "balance_p": float(calibrated["balance_p"]),
        "autocalibration_p": float(calibrated["auto_calibration_p"]),
        "dominated_by": float(never_worse.sum()),
    }
