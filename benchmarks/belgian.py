"""Belgian motor (beMTPL97) frequency by the six folds of Henckaerts, Cote, Antonio and Verbelen (2021)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.accuracy import Task, shared_table
from models.tuned import TunedSettings
from pricing.product import Split, read_product

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "motor_be.toml"
FAMILIES = ("glm", "gbm", "ga2m")
FOLDS = range(1, 7)


def run() -> dict[str, float]:
    """Fit each family on five folds with the settings that need no tuning, and judge it on the sixth.

    Returns
    -------
    dict of str to float
        Mean Poisson deviance per policy x100 of each held-out fold by family, and the mean of the folds.
    """
    table = shared_table("beMTPL97_folds", "belgian")
    product = read_product(PRODUCT)
    untuned = TunedSettings(product=product.code)
    figures: dict[str, float] = {}
    for fold in FOLDS:
        task = Task.of(product, table, Split(method="column", column="fold", test=fold), untuned)
        figures[f"null_{fold}"] = task.null()
        figures |= {f"{family}_{fold}": task.deviance(task.fit(family)) for family in FAMILIES}
    means = {
        family: float(np.mean([figures[f"{family}_{fold}"] for fold in FOLDS]))
        for family in ("null", *FAMILIES)
    }
    return means | figures


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:14} {value:.4f}")
