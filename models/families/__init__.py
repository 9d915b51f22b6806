"""Model families behind one protocol."""

from models.families.base import Design, FitSettings, Objective, Scorer, balanced, library_versions
from models.families.boosting import BoosterModel, choose_pairs, fit_ga2m, fit_gbm
from models.families.ensemble import average, fit_ga2m_ensemble
from models.families.estimator import Estimator, Family
from models.families.estimators import GA2M, GLM, Ensemble, LightGBM
from models.families.fit import fit_family, load_scorer
from models.families.glm import fit_glm

__all__ = [
    "GA2M",
    "GLM",
    "BoosterModel",
    "Design",
    "Ensemble",
    "Estimator",
    "Family",
    "FitSettings",
    "LightGBM",
    "Objective",
    "Scorer",
    "average",
    "balanced",
    "choose_pairs",
    "fit_family",
    "fit_ga2m",
    "fit_ga2m_ensemble",
    "fit_gbm",
    "fit_glm",
    "library_versions",
    "load_scorer",
]
