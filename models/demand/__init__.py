"""Acceptance of a quote or a renewal by price, and whether its elasticity is known (docs/demand.md)."""

from models.demand.elasticity import Elasticity, NotIdentified, price_elasticity
from models.demand.model import DemandModel, MonotoneDemand, SplineDemand
from models.demand.partially_linear import Slope, partially_linear

__all__ = [
    "DemandModel",
    "Elasticity",
    "MonotoneDemand",
    "NotIdentified",
    "Slope",
    "SplineDemand",
    "partially_linear",
    "price_elasticity",
]
