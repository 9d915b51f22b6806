"""Model families, their comparison, the bundle that serves, and the recommender.

The registry stays in `models.registry`: it imports mlflow, which takes seconds.
"""

from models.bundle import Bundle
from models.comparison import Comparison, Held, compare, headline
from models.credibility import TwoWay, fit_two_way
from models.credibility_encoder import CredibilityEncoder
from models.encoding import Encoded, Encoding
from models.errors import (
    ArtifactError,
    CompileError,
    DiagnosticError,
    EncodingError,
    FitError,
    FittedMissingError,
    MismatchError,
    MissingExtraError,
    ModelError,
    PromotionError,
    RegistryError,
    TariffError,
    TrainingDataError,
    TuningError,
)
from models.families import FitSettings
from models.fitted import FITTED, attach_fitted, ensure_fitted
from models.judged import Judged
from models.level_credibility import (
    LevelCredibility,
    buhlmann_straub,
    hierarchical,
    limited_fluctuation,
)
from models.recommend import PurchaseRates, Ranking, Recommendation, fit_rates, rank
from models.risk_model import Reason, RiskModel, Scored
from models.scoring_table import ScoringSummary, score_customers, write_scores
from models.segments import Segmentation, read_segments
from models.splits import SplitRows, folds, repeated_rows, split_rows
from models.tables import TableModel
from models.training import TrainingResult, train
from models.training_table import attach_profiles, training_table
from models.tuned import TunedSettings, read_tuned

__all__ = [
    "FITTED",
    "ArtifactError",
    "Bundle",
    "Comparison",
    "CompileError",
    "CredibilityEncoder",
    "DiagnosticError",
    "Encoded",
    "Encoding",
    "EncodingError",
    "FitError",
    "FitSettings",
    "FittedMissingError",
    "Held",
    "Judged",
    "LevelCredibility",
    "MismatchError",
    "MissingExtraError",
    "ModelError",
    "PromotionError",
    "PurchaseRates",
    "Ranking",
    "Reason",
    "Recommendation",
    "RegistryError",
    "RiskModel",
    "Scored",
    "ScoringSummary",
    "Segmentation",
    "SplitRows",
    "TableModel",
    "TariffError",
    "TrainingDataError",
    "TrainingResult",
    "TunedSettings",
    "TuningError",
    "TwoWay",
    "attach_fitted",
    "attach_profiles",
    "buhlmann_straub",
    "compare",
    "ensure_fitted",
    "fit_rates",
    "fit_two_way",
    "folds",
    "headline",
    "hierarchical",
    "limited_fluctuation",
    "rank",
    "read_segments",
    "read_tuned",
    "repeated_rows",
    "score_customers",
    "split_rows",
    "train",
    "training_table",
    "write_scores",
]
