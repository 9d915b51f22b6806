"""Scoring by compiled tables against the booster they were compiled from, on freMTPL2, one thread."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np
import pyarrow.parquet as pq

from models.compile import compile_booster
from models.encoding import Encoding
from models.families import Design, FitSettings
from models.families.boosting import boost_pairs
from models.purify import purify
from models.response import read_observed
from models.splits import mark_test_rows
from pricing.product import read_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from models.tables import TableModel

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "motor_fr.toml"
ROUNDS, SHAP_ROWS, ONE_ROWS = 5, 400, 2000


def run() -> dict[str, float]:
    """Fit a GA2M on the learn rows, compile it, and score all rows by both, in turns.

    Returns
    -------
    dict of str to float
        Rows per second of the tables (scores; scores and reasons), of `Booster.predict` and of its
        `pred_contrib`; their ratios; the largest difference of raw scores; microseconds for one row.
    """
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit("tables: PREMIA_SHARED_DATA must name the folder that holds freMTPL2")
    values, text, model = _fitted(Path(folder))
    booster, size = lgb.Booster(model_str=text), len(values)
    plain = np.ascontiguousarray(values)  # what each of them reads fastest
    compared: list[NDArray[np.float64]] = []
    by_booster, by_tables, with_reasons = [], [], []
    for part in np.array_split(np.arange(size), ROUNDS):
        rows = plain[part[0] : part[-1] + 1]
        by_booster.append(_seconds(lambda rows=rows: compared.append(_raw(booster, rows))))
        by_tables += [_seconds(lambda: model.predict_raw(values)) for _ in range(2)]
        with_reasons.append(_seconds(lambda: (model.predict_raw(values), model.contributions(values))))
    shap = _seconds(lambda: booster.predict(plain[:SHAP_ROWS], pred_contrib=True, num_threads=1))
    speed = {
        "rows_per_s": size / statistics.median(by_tables),
        "rows_per_s_with_reasons": size / statistics.median(with_reasons),
        "predict_rows_per_s": size / sum(by_booster),
        "pred_contrib_rows_per_s": SHAP_ROWS / shap,
    }
    ones = [row.tolist() for row in plain[:: size // ONE_ROWS]]
    return speed | {
        "speedup_vs_predict": speed["rows_per_s"] / speed["predict_rows_per_s"],
        "speedup_with_reasons": speed["rows_per_s_with_reasons"] / speed["predict_rows_per_s"],
        "speedup_vs_pred_contrib": speed["rows_per_s_with_reasons"] / speed["pred_contrib_rows_per_s"],
        "max_abs_diff": float(np.abs(np.concatenate(compared) - model.predict_raw(values)).max()),
        "one_row_us": _one_row(model.predict_raw_one, ones),
        "one_row_reasons_us": _one_row(model.contributions_one, ones),
        "trees": float(text.count("\nTree=")),
        "cells": float(model.cell_count),
    }


def _fitted(folder: Path) -> tuple[NDArray[np.float64], str, TableModel]:
    product = read_product(PRODUCT)
    table = pq.read_table(folder / "freMTPL2freq_clean_learntest.parquet")
    encoding, observed = Encoding.of(product), read_observed(product, table)
    values = encoding.encode(table).matrix
    learn = ~mark_test_rows(product.split, table)
    exposure = observed.exposure[learn]
    levels = tuple(len(levels) for levels in encoding.levels)
    rate, free = observed.count[learn] / exposure, (0,) * len(levels)
    design = Design(values[learn], rate, exposure, encoding.inputs, levels, free, "poisson")
    text = boost_pairs(design, FitSettings())
    return values, text, purify(compile_booster(text, levels, "log"), design.values, design.weight)


def _raw(booster: lgb.Booster, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(booster.predict(rows, raw_score=True, num_threads=1))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _one_row(score: Callable[[list[float]], object], rows: list[list[float]]) -> float:
    """Median microseconds of a call, each on another row."""
    score(rows[0])
    return 1e6 * statistics.median([_seconds(lambda row=row: score(row)) for row in rows])


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:24} {value:,.3g}")
