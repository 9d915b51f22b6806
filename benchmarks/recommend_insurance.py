"""Rank 24 insurance products for real buyers: fit on earlier purchases, judge on the last fifth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from benchmarks.recommend_grocery import figures, shared
from models.recommend import RankingTask, compare_rankers, event_task

if TYPE_CHECKING:
    from collections.abc import Callable

K = 3


def task() -> RankingTask:
    """Make the task of the `tryg_multimodal` tables.

    Purchase events are numbered in order of time: wherever the visits before one purchase of a customer are
    the first visits before another, the first has the smaller number. So the number is the time. The table of
    visits repeats the visits of earlier purchases and holds none after a purchase; visits, too, are numbered
    in order of time, each kind for itself, which gives how long ago they were, in purchase events of the
    whole company. No portfolio and no eligibility are published, and products are bought again (14 % of the
    purchases of returning customers), so every product is a candidate.
    """
    visits = shared("tryg_multimodal_users")
    bought = shared("tryg_multimodal_purchase_events")
    events = int(visits["purchase_event_id"].max())
    age = pd.DataFrame(
        {
            kind: visits["purchase_event_id"] - visits[f"{kind}_id"] / visits[f"{kind}_id"].max() * events
            for kind in ("session", "conversation")
        }
    )
    by = age.groupby(visits["purchase_event_id"])
    last = visits.sort_values("event_number").groupby("purchase_event_id").tail(1)
    last = last.set_index("purchase_event_id")
    features = pd.DataFrame(
        {
            "customer": last["user_id"],
            "sessions": by["session"].count(),
            "conversations": by["conversation"].count(),
            "last_is_conversation": last["conversation_id"].notna(),
            "visits": last["event_number"],
            "session_age": by["session"].min(),
            "first_session_age": by["session"].max(),
            "conversation_age": by["conversation"].min(),
        }
    )
    features = features.rename_axis("time").reset_index()
    purchases = bought.rename(columns={"purchase_event_id": "time", "item_id": "product"})
    purchases = purchases.assign(customer=purchases["time"].map(last["user_id"]))
    return event_task(purchases, features)


def run(progress: Callable[[str], None] | None = None) -> dict[str, float]:
    """Compare all rankers.

    Returns
    -------
    dict of str to float
        HR@3, MRR@3 and NDCG@3 by ranker, NDCG gain on popularity with its 95 % bounds, ECE of propensities.
    """
    return figures(compare_rankers(task(), k=K, progress=progress))


if __name__ == "__main__":
    for name, value in run(print).items():
        print(f"{name:28} {value:.4f}")
