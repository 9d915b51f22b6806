"""Products that suit a customer: who may be offered what, how likely it is bought, in which order."""

from models.recommend.batch import offer_batches, score_and_order
from models.recommend.judge import (
    Blend,
    BlendScorer,
    RankingComparison,
    compare_rankers,
    default_rankers,
)
from models.recommend.months import fit_propensities
from models.recommend.offers import UNLIKELY, OfferRules, as_drawn, order_offers, rank_general, rank_personal
from models.recommend.propensity import PropensityModel
from models.recommend.ranking import (
    HELD,
    NOT_IN_SCENE,
    Context,
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
    "UNLIKELY",
    "Blend",
    "BlendScorer",
    "Context",
    "Excluded",
    "OfferRules",
    "PropensityModel",
    "PurchaseRates",
    "Ranking",
    "RankingComparison",
    "RankingTask",
    "Recommendation",
    "Segment",
    "as_drawn",
    "compare_rankers",
    "default_rankers",
    "event_task",
    "exclusion_codes",
    "fit_propensities",
    "fit_rates",
    "offer_batches",
    "order_offers",
    "rank",
    "rank_general",
    "rank_personal",
    "score_and_order",
    "segment_of",
    "window_task",
]
