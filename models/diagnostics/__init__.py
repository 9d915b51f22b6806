"""Diagnostics by which models are judged: each gives a frame and a picture."""

from models.diagnostics.calibration import Bias, Calibration, bias, calibration
from models.diagnostics.deviance import Deviance, deviance
from models.diagnostics.lift import DoubleLift, Lift, double_lift, lift
from models.diagnostics.lorenz import Lorenz, lorenz
from models.diagnostics.murphy import Decomposition, Murphy, decomposition, murphy
from models.diagnostics.one_way import OneWay, one_way
from models.diagnostics.over_time import over_time
from models.diagnostics.style import Diagnostic, Units

__all__ = [
    "Bias",
    "Calibration",
    "Decomposition",
    "Deviance",
    "Diagnostic",
    "DoubleLift",
    "Lift",
    "Lorenz",
    "Murphy",
    "OneWay",
    "Units",
    "bias",
    "calibration",
    "decomposition",
    "deviance",
    "double_lift",
    "lift",
    "lorenz",
    "murphy",
    "one_way",
    "over_time",
]
