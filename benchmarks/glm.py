"""What the GLM family costs beside bare glum: 500,000 rows of freMTPL2, the same model matrix."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from models.encoding import Encoding
from models.families import Design, FitSettings, fit_family
from models.families.glm import Layout, lay_out, regressor, solve_glm
from models.families.glm_errors import effects_of
from models.response import read_observed
from pricing.product import read_product

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "motor_fr.toml"
ROWS, ROUNDS = 500_000, 7


def run() -> dict[str, float]:
    """Fit by the family and by bare glum in turns, one thread each; seconds are the processor's.

    The family's time holds all from encoded rows to balanced tables: cells, model matrix, penalty, solver,
    tables, balance. Bare glum is called as its users call it, on a data frame whose numbers are cut into the
    same bins already, with the ready penalty; `vs_glum_matrix` gives it the ready model matrix too.

    Returns
    -------
    dict of str to float
        Median seconds of each, medians of the ratios, seconds of the standard errors, and how far the raw
        scores of tables and glum lie apart.
    """
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit("glm: PREMIA_SHARED_DATA must name the folder that holds freMTPL2")
    design, settings = _design(Path(folder)), FitSettings()
    layout = lay_out(design, settings)
    frame = pd.DataFrame({name: _binned(layout, i) for i, name in enumerate(design.inputs)})
    ours, bare, matrix = [], [], []
    for _ in range(ROUNDS):
        start = time.process_time()
        tables = fit_family("glm", design, settings)
        ours.append(time.process_time() - start)
        for given, seconds in ((frame, bare), (layout.matrix, matrix)):
            with threadpool_limits(settings.threads):
                start = time.process_time()
                solver = regressor(design, layout, 0.0, 0.0)
                solver.fit(given, design.target, sample_weight=design.weight)
                seconds.append(time.process_time() - start)
    fitted = solve_glm(design, settings)
    apart = tables.predict_raw(design.values) - solver.linear_predictor(layout.matrix)
    start = time.process_time()
    effects_of(fitted, design)
    errors = time.process_time() - start
    return {
        "seconds": statistics.median(ours),
        "seconds_glum": statistics.median(bare),
        "vs_glum": statistics.median(a / b for a, b in zip(ours, bare, strict=True)),
        "vs_glum_matrix": statistics.median(a / b for a, b in zip(ours, matrix, strict=True)),
        "seconds_errors": errors,
        "columns": float(len(solver.coef_)),
        "max_abs_diff": float(np.ptp(apart)),  # but for the balance, one constant
    }


def _binned(layout: Layout, position: int) -> pd.Categorical:
    kind = pd.CategoricalDtype(pd.RangeIndex(layout.blocks[position].width))
    return pd.Categorical.from_codes(layout.cells[position], dtype=kind)


def _design(folder: Path) -> Design:
    product = read_product(PRODUCT)
    table = pq.read_table(folder / "freMTPL2freq_clean_learntest.parquet").slice(0, ROWS)
    encoding, observed = Encoding.of(product), read_observed(product, table)
    levels = tuple(len(levels) for levels in encoding.levels)
    rate = observed.count / observed.exposure
    values = encoding.encode(table).matrix
    return Design(values, rate, observed.exposure, encoding.inputs, levels, (0,) * len(levels), "poisson")


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:16} {value:,.3f}")
