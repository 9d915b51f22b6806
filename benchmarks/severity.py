"""Frequency, severity and pure premium of freMTPL2 by the protocol of the glum tutorial, and its figures.

Claims cut at 100,000 each, claim counts of policies without amount set to zero, ShuffleSplit with a tenth of
the rows for the test (random_state 42). Published: frequency 0.45793 (Poisson deviance per
policy-year), severity 1.2976 (gamma, per claim; the mean model 1.3115), pure premium 72.353 (Tweedie 1.5, per
policy-year). The mean model gives 1.2826 here, so the test rows are not quite those of the tutorial: read the
figures beside `null`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from sklearn.model_selection import ShuffleSplit

from benchmarks.accuracy import PRODUCT, THREADS, shared_table
from models import metrics
from models.families import FitSettings
from models.families.base import TWEEDIE_POWER
from models.training import train
from pricing.product import Models, Response, Split, read_product

if TYPE_CHECKING:
    import pandas as pd

    from models.training import TrainingResult

CUT = 100_000
FAMILIES = ("glm", "ga2m")


def run() -> dict[str, float]:
    """Fit the GLM and the GA2M to each response and judge them on the tutorial's test rows.

    Returns
    -------
    dict of str to float
        Deviance by response and family, `null` for the mean of the learn rows.
    """
    frame = glum_tutorial_table()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    test = frame[frame["part"] == "test"]
    base = read_product(PRODUCT).model_copy(
        update={
            "split": Split(method="column", column="part", test="test"),
            "models": Models(families=FAMILIES, champion="ga2m"),
        }
    )
    amounts = {"amount": "ClaimAmountCut", "amount_unit": "major"}
    both = Response(kind="frequency_severity", count="ClaimNb", **amounts)  # type: ignore[arg-type]
    alone = Response(kind="claim_amount", **amounts)  # type: ignore[arg-type]
    settings = FitSettings(threads=THREADS)
    figures: dict[str, float] = {}
    for response in (both, alone):
        result = train(base.model_copy(update={"response": response}), table, settings=settings)
        figures |= _figures(result, test, frame[frame["part"] == "learn"])
    return figures


def glum_tutorial_table() -> pd.DataFrame:
    """Give freMTPL2 as the tutorial prepares it, on its raw factors, with `part` learn or test."""
    frame = shared_table("freMTPL2freq_raw", "severity").to_pandas()
    claims = shared_table("freMTPL2sev_26444", "severity").to_pandas()
    claims["ClaimAmountCut"] = claims["ClaimAmount"].clip(upper=CUT)
    frame = frame.merge(claims.groupby("IDpol", as_index=False)["ClaimAmountCut"].sum(), "left", on="IDpol")
    frame["ClaimAmountCut"] = frame["ClaimAmountCut"].fillna(0.0)
    frame["ClaimNb"] = frame["ClaimNb"].where(frame["ClaimAmountCut"] > 0, 0).clip(upper=4)
    frame["Exposure"] = frame["Exposure"].clip(upper=1.0)
    _, test = next(ShuffleSplit(n_splits=1, test_size=0.1, random_state=42).split(frame))
    frame["part"] = np.where(np.isin(np.arange(len(frame)), test), "test", "learn")
    return frame


def _figures(result: TrainingResult, test: pd.DataFrame, learn: pd.DataFrame) -> dict[str, float]:
    """Judge every component of a training in euro (components are in cent)."""
    exposure, count = test["Exposure"].to_numpy(float), test["ClaimNb"].to_numpy(float)
    amount = test["ClaimAmountCut"].to_numpy(float)
    paid = amount > 0
    means = {
        "frequency": learn["ClaimNb"].sum() / learn["Exposure"].sum(),
        "severity": 100 * learn["ClaimAmountCut"].sum() / learn["ClaimNb"].sum(),
        "pure_premium": 100 * learn["ClaimAmountCut"].sum() / learn["Exposure"].sum(),
    }
    figures: dict[str, float] = {}
    for family in ("null", *result.models):
        predicted = {} if family == "null" else result.models[family].predict(result.judged.matrix)
        for name in next(iter(result.models.values())).components:
            rate = predicted.get(name, np.full(len(test), means[name]))
            if name == "frequency":
                found = metrics.poisson_deviance_per_exposure(count, rate * exposure, exposure)
            elif name == "severity":
                mean = amount[paid] / count[paid]
                found = metrics.gamma_deviance(mean, rate[paid] / 100, count[paid])
            else:
                found = metrics.tweedie_deviance(amount / exposure, rate / 100, exposure, TWEEDIE_POWER)
            figures[f"{name}_{family}"] = found
    return figures


if __name__ == "__main__":
    for key, value in run().items():
        print(f"{key:22} {value:.5f}")
