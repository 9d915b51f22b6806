"""Products that suit a customer: who may be offered what, how likely it is bought, in which order."""

from models.recommend.judge import (
    Blend,
    BlendScorer,
    RankingComparison,
    compare_rankers,
    default_rankers,
)
from models.recommend.ranking import (
    HELD,
    NOT_IN_SCENE,
    Excluded,
    PurchaseRates,
    Ranking,
    Recommendation,
    Segment,
    exclusion_codes,
    fit_rates,
    rank,
    segment_of,
)
from models.recommend.task import RankingTask, event_task, window_task

__all__ = [
    "HELD",
    "NOT_IN_SCENE",
    "Blend",
    "BlendScorer",
    "Excluded",
    "PurchaseRates",
    "Ranking",
    "RankingComparison",
    "RankingTask",
    "Recommendation",
    "Segment",
    "compare_rankers",
    "default_rankers",
    "event_task",
    "exclusion_codes",
    "fit_rates",
    "rank",
    "segment_of",
    "window_task",
]
