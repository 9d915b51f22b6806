"""What a tariff keeps of a free booster that it is distilled from: frequency of freMTPL2."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from models.encoding import Encoding
from models.families import FitSettings
from models.response import read_observed
from models.splits import mark_test_rows
from models.tariff import Distilling, Rows, distil, fidelity
from models.training import fit_risk_model
from pricing.product import read_product

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "motor_fr.toml"
# Every so many learn rows; no choice rests on the figures, and all test rows judge.
EVERY, ROUNDS, PAIRS = 3, 200, (0, 3)


def run() -> dict[str, float]:
    """Fit a LightGBM, distil it, and compare both on the test rows.

    Returns
    -------
    dict of str to float
        By number of pairs: R2 of the logarithms of the frequency, shares kept of the deviance explained and
        of the Gini, deviation that 99 % of the rows stay within, cells, seconds of distilling.
    """
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit("distil: PREMIA_SHARED_DATA must name the folder that holds freMTPL2")
    product = read_product(PRODUCT)
    table = pq.read_table(Path(folder) / "freMTPL2freq_clean_learntest.parquet")
    encoding, observed = Encoding.of(product), read_observed(product, table)
    values, test = encoding.encode(table).matrix, mark_test_rows(product.split, table)
    learn = np.zeros(len(test), dtype=np.bool_)
    learn[np.flatnonzero(~test)[::EVERY]] = True
    settings = FitSettings(rounds=ROUNDS)
    model = fit_risk_model(product, "gbm", encoding, values, observed, learn, settings)
    fitted, judged = (Rows.of(product, encoding, values, observed, part) for part in (learn, test))
    figures: dict[str, float] = {}
    for pairs in PAIRS:
        start = time.perf_counter()
        tariff = distil(product, encoding, model, fitted, Distilling(strongest=pairs))
        seconds = time.perf_counter() - start
        kept = fidelity(tariff, model, judged).frame.loc["frequency"]
        found = {name: float(kept[name]) for name in ("r2", "deviance_kept", "gini_kept", "deviation_99")}
        cells = float(sum(t.raw.size for t in tariff.component("frequency").tables))
        for name, value in (found | {"cells": cells, "seconds": seconds}).items():
            figures[f"{name}_{pairs}_pairs"] = value
    return figures


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:24} {value:,.4g}")
