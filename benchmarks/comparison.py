"""A full comparison on freMTPL2: four models trained on its learn rows, judged, tested, reported."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from data.page import write_page
from models.families.base import library_versions
from models.promotion import assess
from models.report import Circumstances, comparison_page
from models.training import train
from pricing.product import read_product

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "motor_fr.toml"
FAMILIES = ("glm", "gbm", "ga2m", "ga2m_ensemble")


def run() -> dict[str, float]:
    """Train, judge, test and report as `premia train` would.

    Returns
    -------
    dict of str to float
        `seconds` of the whole, of which `seconds_training`; `peak_gb`; `rows`; `report_mb`; the deviance of
        each model.
    """
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit("comparison: PREMIA_SHARED_DATA must name the folder that holds freMTPL2")
    start = time.perf_counter()
    table = pq.read_table(Path(folder) / "freMTPL2freq_clean_learntest.parquet")
    product = read_product(PRODUCT)
    families = product.models.model_copy(update={"families": FAMILIES, "champion": "ga2m"})
    product = product.model_copy(update={"models": families})
    result = train(product, table)
    decision = assess(product.promotion, result.judged, result.champion)
    now = datetime.now(UTC).replace(tzinfo=None)
    around = Circumstances(now, "benchmark", result.summary, library_versions())
    out = Path(os.environ.get("PREMIA_REPORT") or Path(tempfile.mkdtemp()) / "comparison.html")
    write_page(comparison_page(product, result.judged, {result.champion: decision}, around), out)
    training = sum(float(value) for key, value in result.summary.items() if key.startswith("seconds_"))
    return {
        "seconds": time.perf_counter() - start,
        "seconds_training": training,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "rows": float(table.num_rows),
        "report_mb": out.stat().st_size / 1e6,
        **{family: float(result.comparison.loc[family, "deviance_x100"]) for family in FAMILIES},
    }


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:18} {value:,.4f}")
