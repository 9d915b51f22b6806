"""Rank 302 categories of goods that a household has not bought yet: 44 weeks to learn, 8 weeks to judge."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from data.public import read_shared
from models.recommend import RankingComparison, RankingTask, compare_rankers, window_task

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

WEEKS, TEST_FROM, HORIZON, K = 52, 45, 8, 10
CUTS = (13, 21, 29, 37, TEST_FROM)


def shared(name: str) -> pd.DataFrame:
    """Read a real table from the folder that PREMIA_SHARED_DATA names."""
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit(f"PREMIA_SHARED_DATA must name the folder that holds {name}.parquet")
    return read_shared(Path(folder), name).to_pandas()


def task() -> RankingTask:
    """Make the task of the `cj` tables: at each cut, categories that a household buys for the first time."""
    lines = shared("cj_transactions")[["household_id", "week", "product_id"]]
    kinds = shared("cj_products")[["product_id", "product_category"]]
    lines = lines[lines["week"] <= WEEKS].merge(kinds, on="product_id").dropna()
    names = {"household_id": "customer", "week": "time", "product_category": "product"}
    return window_task(lines.rename(columns=names), CUTS, HORIZON)


def figures(found: RankingComparison) -> dict[str, float]:
    """Name the figures of a comparison; those of the blend come first and bear no name."""
    result = {}
    for name, line in found.table.sort_index(key=lambda names: names != "blend", kind="stable").iterrows():
        end = "" if name == "blend" else f"_{name}"
        for metric in ("hr", "mrr", "ndcg"):
            result[f"{metric}{found.k}{end}"] = float(line[metric])
        if name != "popularity":
            result |= {f"{part}{end}": float(line[part]) for part in ("gain", "gain_low", "gain_high")}
        if line["ece"] == line["ece"]:  # noqa: PLR0124 - not a number where scores are no probabilities
            result[f"ece{end}"] = float(line["ece"])
    return result


def run(progress: Callable[[str], None] | None = None) -> dict[str, float]:
    """Compare all rankers.

    Returns
    -------
    dict of str to float
        HR@10, MRR@10 and NDCG@10 by ranker, NDCG gain on popularity with its bounds, ECE of propensities.
    """
    return figures(compare_rankers(task(), test_from=TEST_FROM, k=K, progress=progress))


if __name__ == "__main__":
    for name, value in run(print).items():
        print(f"{name:28} {value:.4f}")
