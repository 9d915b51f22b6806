"""Model families, their comparison, the bundle that serves, the registry and the recommender."""

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
    "Reason",
    "RegistryError",
    "RiskModel",
    "Scored",
    "TableModel",
    "TrainingDataError",
    "TrainingResult",
    "attach_profiles",
    "headline",
    "train",
    "training_table",
]
