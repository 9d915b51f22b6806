"""Test deviance of the families on freMTPL2, the split of Wuthrich and Merz, by the product file motor_fr."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq

from models.training import train
from pricing.product import read_product

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "motor_fr.toml"


def run() -> dict[str, float]:
    """Train all families as `premia train` would and judge them on the given test rows.

    Returns
    -------
    dict of str to float
        Mean Poisson deviance per policy x100 of each family and of the null model, and seconds per family.
    """
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit("accuracy: PREMIA_SHARED_DATA must name the folder that holds freMTPL2")
    table = pq.read_table(Path(folder) / "freMTPL2freq_clean_learntest.parquet")
    result = train(read_product(PRODUCT), table)
    figures = {str(family): float(value) for family, value in result.comparison["deviance_x100"].items()}
    seconds = {key: float(value) for key, value in result.summary.items() if key.startswith("seconds_")}
    return figures | seconds


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:14} {value:.3f}")
