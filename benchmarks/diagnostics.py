"""Seconds of every diagnostic on the 678,007 policies of freMTPL2, by a GLM and a booster; and memory."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models import diagnostics as dx
from models.families import GLM, LightGBM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FACTORS = ["VehPower", "VehAge", "DrivAge", "BonusMalus", "Density", "Area", "VehBrand", "VehGas", "Region"]


def run() -> dict[str, float]:
    """Fit two quick models on the learn rows and time each diagnostic on all rows.

    Returns
    -------
    dict of str to float
        Seconds by diagnostic (two models where it compares, 200 draws where it draws), the `slowest` of
        them, and `peak_gb` of the process.
    """
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit("diagnostics: PREMIA_SHARED_DATA must name the folder that holds freMTPL2")
    data = pd.read_parquet(Path(folder) / "freMTPL2freq_clean_learntest.parquet")
    learn = (data["LearnTest"] == "L").to_numpy()
    X, exposure, claims = data[FACTORS], data["Exposure"].to_numpy(), data["ClaimNb"].to_numpy(dtype=float)  # noqa: N806
    models = {"glm": GLM(objective="poisson"), "gbm": LightGBM(objective="poisson", rounds=100)}
    for model in models.values():
        model.fit(X[learn], (claims / exposure)[learn], exposure[learn])
    expected = {name: np.asarray(model.predict(X)) * exposure for name, model in models.items()}
    figures = {}
    for name, call in _calls(data, claims, expected, exposure, models["gbm"]):
        start = time.perf_counter()
        call()
        figures[name] = time.perf_counter() - start
    figures["slowest"] = max(figures.values())
    return figures | {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def _calls(
    data: pd.DataFrame,
    claims: np.ndarray,
    expected: dict[str, np.ndarray],
    exposure: np.ndarray,
    booster: LightGBM,
) -> Iterator[tuple[str, Callable[[], object]]]:
    rows = (claims, expected, exposure)
    X = data[FACTORS]  # noqa: N806
    when = pd.Timestamp(2020, 1, 1) + pd.to_timedelta(np.arange(len(X)) % 1000, unit="D")
    years = pd.Series(when).dt.year
    shaken = {f"refit {k}": expected["gbm"] * (1 + 0.01 * k * np.sin(np.arange(len(X)))) for k in range(5)}
    early, late = years.to_numpy() == 2020, years.to_numpy() > 2020
    sample = X.head(5000)
    parts = pd.concat([booster.explain(sample)] * 136, ignore_index=True).head(len(X))
    options = {"exposure": exposure, "scale": "log"}
    yield "deviance", lambda: dx.deviance(*rows, sample=data["LearnTest"])
    yield "lorenz", lambda: dx.lorenz(*rows)
    yield "lift", lambda: dx.lift(*rows)
    yield "double_lift", lambda: dx.double_lift(*rows, new="gbm", old="glm")
    yield "one_way", lambda: dx.one_way(*rows, data["DrivAge"])
    yield "two_way", lambda: dx.two_way(*rows, data["DrivAge"], data["BonusMalus"])
    yield "over_time", lambda: dx.over_time(*rows, when)
    yield "calibration", lambda: dx.calibration(*rows)
    yield "bias", lambda: dx.bias(*rows, data["Region"])
    yield "murphy", lambda: dx.murphy(*rows)
    yield "decomposition", lambda: dx.decomposition(*rows)
    yield "concentration", lambda: dx.concentration(*rows)
    yield "residuals", lambda: dx.residuals(*rows)
    yield "contribution_effects", lambda: dx.contribution_effects(parts, X, exposure)
    yield "partial_dependence", lambda: dx.partial_dependence(booster.predict, X, **options)
    yield "ale", lambda: dx.ale(booster.predict, X, **options)
    yield "ale_pair", lambda: dx.ale_pair(booster.predict, X, "DrivAge", "BonusMalus", **options)
    yield "friedman_h", lambda: dx.friedman_h(booster.predict, X, **options)
    yield "stability", lambda: dx.stability(shaken, exposure, X)
    yield "drift", lambda: dx.drift(*rows, years)
    yield "psi", lambda: dx.psi(X[early], X[late], exposure[early], exposure[late])


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:22} {value:.2f}")
