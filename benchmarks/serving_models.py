"""The score of one quote by tables, by a free booster, and by a free booster with reasons."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from models.families import FitSettings
from models.training import train
from pricing.product import read_product

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.bundle import Bundle

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "motor_fr.toml"
ROWS, RISKS, ROUNDS = 60_000, 200, 5
SETTINGS = FitSettings(rounds=600, stopping_share=0.0)


def run() -> dict[str, float]:
    """Fit both families with 600 rounds, and score single risks as a quote does, in turns.

    Returns
    -------
    dict of str to float
        Microseconds a risk, median of the rounds: with and without reasons, checks and encoding included.
    """
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit("serving_models: PREMIA_SHARED_DATA must name the folder that holds freMTPL2")
    product = read_product(PRODUCT)
    models = product.models.model_copy(update={"families": ("ga2m", "gbm"), "champion": "ga2m"})
    product = product.model_copy(update={"models": models})
    table = pq.read_table(Path(folder) / "freMTPL2freq_clean_learntest.parquet")
    table = table.take(np.random.default_rng(1).permutation(table.num_rows)[:ROWS])
    result = train(product, table, settings=SETTINGS)
    columns = {factor.name: table[factor.source].to_pylist()[:RISKS] for factor in product.factors}
    risks = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    arms = [(family, explained) for family in ("ga2m", "gbm") for explained in (True, False)]
    times: dict[tuple[str, bool], list[float]] = {arm: [] for arm in arms}
    for _ in range(ROUNDS):
        for family, explained in arms:
            times[family, explained].append(_one(result.bundle(family), risks, explained))
    found = {arm: float(np.median(values)) for arm, values in times.items()}
    return {
        "tables_with_reasons_us": found["ga2m", True],
        "tables_us": found["ga2m", False],
        "booster_with_reasons_us": found["gbm", True],
        "booster_us": found["gbm", False],
        "reasons_booster_vs_tables": found["gbm", True] / found["ga2m", True],
    }


def _one(bundle: Bundle, risks: Sequence[dict[str, object]], explained: bool) -> float:
    begun = time.perf_counter()
    for risk in risks:
        bundle.score_one(risk, {}, explained=explained)
    return 1e6 * (time.perf_counter() - begun) / len(risks)
