"""Judge families on test rows: one table of families by figures, and what the pictures need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models import metrics
from models.families.base import TWEEDIE_POWER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.response import Observed
    from models.risk_model import RiskModel
    from pricing.product import Product

EMPTY = ""
NULL = "null"


@dataclass(frozen=True, eq=False)
class Judged:
    """Test rows with what each family says of them.

    Attributes
    ----------
    comparison
        One line per family and `null`, one column per figure.
    actual
        Cost of each test row, shape (n,): minor units, or claims where the benefit is fixed.
    exposure
        Shape (n,).
    expected
        Family -> expected cost of each test row, same unit.
    matrix
        Encoded test rows, shape (n, inputs).
    inputs
        Names of the inputs.
    """

    comparison: pd.DataFrame
    actual: NDArray[np.float64]
    exposure: NDArray[np.float64]
    expected: dict[str, NDArray[np.float64]]
    matrix: NDArray[np.float64]
    inputs: tuple[str, ...]


def judge(
    product: Product,
    models: dict[str, RiskModel],
    values: NDArray[np.float64],
    observed: Observed,
    test: NDArray[np.bool_],
) -> Judged:
    """Score the test rows by every family and work out the figures.

    Figures by kind: `deviance_x100` (Poisson, per policy), `severity_deviance` (gamma, per claim),
    `deviance` (Tweedie, per unit of exposure), `logloss` and `auc` for events, `d2` against the null model,
    `gini` of the risk premium, `ae`.

    Parameters
    ----------
    product
        Product file.
    models
        Fitted families.
    values, observed
        All rows.
    test
        Test rows, shape (n,).
    """
    held = values[test]
    predicted = {family: model.predict(held) for family, model in models.items()}
    premiums = {family: models[family].combine(parts) for family, parts in predicted.items()}
    predicted[NULL] = null_prediction(observed, ~test, int(test.sum()), tuple(next(iter(predicted.values()))))
    one = next(iter(models.values()))
    premiums[NULL] = one.combine(predicted[NULL])
    exposure = observed.exposure[test]
    fixed = product.cover.kind == "fixed_benefit"
    actual = observed.count[test] * one.benefit_minor if fixed else observed.amount_minor[test]
    expected = {family: premium * exposure for family, premium in premiums.items()}
    lines = {
        family: _component_figures(parts, predicted[NULL], observed, test)
        | {
            "gini": metrics.gini(actual, premiums[family], exposure),
            "ae": metrics.actual_over_expected(actual, expected[family]),
        }
        for family, parts in predicted.items()
    }
    comparison = pd.DataFrame.from_dict(lines, orient="index").rename_axis("family")
    return Judged(comparison, actual, exposure, expected, held, one.inputs)


def null_prediction(
    observed: Observed, learn: NDArray[np.bool_], size: int, components: tuple[str, ...]
) -> dict[str, NDArray[np.float64]]:
    """Give the average of the learn rows as prediction of every component, each shape (size,)."""
    count, exposure = observed.count[learn], observed.exposure[learn]
    capped = observed.capped_minor[learn]
    averages = {
        "probability": float(count.mean()),
        "frequency": float(count.sum() / exposure.sum()),
        "severity": float(capped.sum() / max(count.sum(), 1.0)),
        "pure_premium": float(capped.sum() / exposure.sum()),
    }
    return {name: np.full(size, averages[name]) for name in components}


def _component_figures(
    parts: dict[str, NDArray[np.float64]],
    null: dict[str, NDArray[np.float64]],
    observed: Observed,
    test: NDArray[np.bool_],
) -> dict[str, float]:
    figures: dict[str, float] = {}
    count, exposure, capped = observed.count[test], observed.exposure[test], observed.capped_minor[test]
    for name, part in parts.items():
        if name == "probability":
            figures["logloss"] = metrics.logloss(count, part)
            figures["d2"] = metrics.d2(figures["logloss"], metrics.logloss(count, null[name]))
            figures["auc"] = metrics.auc(count, part)
        elif name == "frequency":
            found = metrics.poisson_deviance(count, part * exposure)
            figures["deviance_x100"] = 100.0 * found
            figures["d2"] = metrics.d2(found, metrics.poisson_deviance(count, null[name] * exposure))
            figures["claims_ae"] = metrics.actual_over_expected(count, part * exposure)
        elif name == "severity":
            paid = capped > 0
            if paid.any():
                mean = capped[paid] / count[paid]
                figures["severity_deviance"] = metrics.gamma_deviance(mean, part[paid], count[paid])
        else:
            rate = capped / exposure
            found = metrics.tweedie_deviance(rate, part, exposure, TWEEDIE_POWER)
            figures["deviance"] = found
            figures["d2"] = metrics.d2(
                found, metrics.tweedie_deviance(rate, null[name], exposure, TWEEDIE_POWER)
            )
    return figures


def headline(comparison: pd.DataFrame) -> str:
    """Name the figure that ranks families (smaller is better): deviance or log loss."""
    return next(name for name in ("deviance_x100", "logloss", "deviance") if name in comparison.columns)
