"""Model families, their comparison, the bundle that serves, and the recommender.

The registry stays in `models.registry`: it imports mlflow, which takes seconds.
"""

from models.bundle import Bundle
from models.compare import Judged, headline
from models.encoding import Encoded, Encoding
from models.errors import (
    ArtifactError,
    CompileError,
    EncodingError,
    FitError,
    MismatchError,
    ModelError,
    PromotionError,
    RegistryError,
    TrainingDataError,
)
from models.families import FitSettings
from models.recommend import PurchaseRates, Ranking, Recommendation, fit_rates, rank
from models.risk_model import Reason, RiskModel, Scored
from models.tables import TableModel
from models.training import TrainingResult, train
from models.training_table import attach_profiles, training_table

__all__ = [
    "ArtifactError",
    "Bundle",
    "CompileError",
    "Encoded",
    "Encoding",
    "EncodingError",
    "FitError",
    "FitSettings",
    "Judged",
    "MismatchError",
    "ModelError",
    "PromotionError",
    "PurchaseRates",
    "Ranking",
    "Reason",
    "Recommendation",
    "RegistryError",
    "RiskModel",
    "Scored",
    "TableModel",
    "TrainingDataError",
    "TrainingResult",
    "attach_profiles",
    "fit_rates",
    "headline",
    "rank",
    "train",
    "training_table",
]
