"""How much of a model a tariff keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.links import respond
from models.metrics import gini
from models.tariff.distil import lost_pairs
from models.tariff.rows import deviance_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.risk_model import RiskModel
    from models.tariff.rows import Rows
    from models.tariff.tariff import Tariff

PREMIUM = "risk premium"


@dataclass(frozen=True, eq=False)
class Fidelity:
    """How much of a model a tariff keeps, on test rows.

    Attributes
    ----------
    frame
        One line per component and one for the risk premium: `correlation` and `r2` of the logarithms;
        `deviance_model`, `deviance_tariff`, `deviance_kept` (of what the model explains against the mean, the
        share that the tariff explains); `gini_model`, `gini_tariff`, `gini_kept`; a share is NaN where the
        model itself explains nothing; `deviation_99`, `largest`:
        absolute deviation from the model that 99 % of the rows stay within, and the largest.
    lost
        One line per component and pair of inputs that the tariff has no table of (see `lost_pairs`).
    """

    frame: pd.DataFrame
    lost: pd.DataFrame


def fidelity(tariff: Tariff, model: RiskModel, test: Rows) -> Fidelity:
    """Compare a tariff with the model it stands for.

    Parameters
    ----------
    tariff, model
        Tariff, and model with the same components.
    test
        Test rows; nothing is chosen on them.
    """
    own = tariff.model()
    lines, lost = {}, []
    for component in tariff.components:
        name, design = component.name, test.designs[component.name]
        scorer = model.components[name]
        one, two = (respond(m.predict_raw(design.values), m.link) for m in (scorer, own.components[name]))
        null = np.full(len(design.target), np.average(design.target, weights=design.weight))
        base, theirs, mine = (deviance_of(design, part) for part in (null, one, two))
        line = _alike(one, two, design.weight) | {
            "deviance_model": theirs,
            "deviance_tariff": mine,
            "deviance_kept": (base - mine) / (base - theirs) if theirs < base else np.nan,
        }
        lines[str(name)] = line | _ginis(design.target * design.weight, one, two, design.weight)
        raw = scorer.predict_raw(test.values)
        pairs = lost_pairs(component, tariff.encoding, test.values, raw, test.exposure)
        pairs.insert(0, "component", name)
        lost.append(pairs)
    one, two = model.risk_premium(test.values), own.risk_premium(test.values)
    lines[PREMIUM] = _alike(one, two, test.exposure) | _ginis(test.cost, one, two, test.exposure)
    frame = pd.DataFrame.from_dict(lines, orient="index").rename_axis("component")
    return Fidelity(frame, pd.concat(lost, ignore_index=True))


def _alike(
    model: NDArray[np.float64], tariff: NDArray[np.float64], weight: NDArray[np.float64]
) -> dict[str, float]:
    one, two = np.log(model), np.log(tariff)
    one_mean, two_mean = (float(np.average(each, weights=weight)) for each in (one, two))
    spread = float(np.average((one - one_mean) ** 2, weights=weight))
    both = float(np.average((one - one_mean) * (two - two_mean), weights=weight))
    other = float(np.average((two - two_mean) ** 2, weights=weight))
    deviation = np.abs(tariff / model - 1.0)
    return {
        "correlation": both / np.sqrt(spread * other) if spread * other > 0 else np.nan,
        "r2": 1.0 - float(np.average((one - two) ** 2, weights=weight)) / spread if spread > 0 else np.nan,
        "deviation_99": float(np.quantile(deviation, 0.99)),
        "largest": float(deviation.max()),
    }


def _ginis(
    actual: NDArray[np.float64],
    model: NDArray[np.float64],
    tariff: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> dict[str, float]:
    theirs, mine = (gini(actual, rate, weight) for rate in (model, tariff))
    return {"gini_model": theirs, "gini_tariff": mine, "gini_kept": mine / theirs if theirs > 0 else np.nan}
