"""Diagnostics by which models are judged: each gives a frame and a picture (docs/diagnostics.md)."""

from models.diagnostics.accumulated_effects import PairEffect, ale, ale_pair
from models.diagnostics.auto_calibration import Bias, Calibration, bias, calibration
from models.diagnostics.concentration_curve import Concentration, concentration
from models.diagnostics.dependence_effects import partial_dependence
from models.diagnostics.deviance_table import Deviance, deviance
from models.diagnostics.drift_table import Drift, PopulationShift, drift, psi
from models.diagnostics.effects import Effects, contribution_effects
from models.diagnostics.interaction import Interactions, friedman_h, table_interactions
from models.diagnostics.lift_chart import DoubleLift, Lift, double_lift, lift
from models.diagnostics.lorenz_curve import Lorenz, lorenz
from models.diagnostics.murphy_diagram import Decomposition, Murphy, decomposition, murphy
from models.diagnostics.one_way_table import OneWay, one_way
from models.diagnostics.refit_stability import Stability, stability
from models.diagnostics.residual_table import Residuals, residuals
from models.diagnostics.style import Diagnostic, Units
from models.diagnostics.time_table import over_time
from models.diagnostics.two_way_table import TwoWayFit, two_way

__all__ = [
    "Bias",
    "Calibration",
    "Concentration",
    "Decomposition",
    "Deviance",
    "Diagnostic",
    "DoubleLift",
    "Drift",
    "Effects",
    "Interactions",
    "Lift",
    "Lorenz",
    "Murphy",
    "OneWay",
    "PairEffect",
    "PopulationShift",
    "Residuals",
    "Stability",
    "TwoWayFit",
    "Units",
    "ale",
    "ale_pair",
    "bias",
    "calibration",
    "concentration",
    "contribution_effects",
    "decomposition",
    "deviance",
    "double_lift",
    "drift",
    "friedman_h",
    "lift",
    "lorenz",
    "murphy",
    "one_way",
    "over_time",
    "partial_dependence",
    "psi",
    "residuals",
    "stability",
    "table_interactions",
    "two_way",
]
