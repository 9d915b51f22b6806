"""Acceptance of a quote or a renewal by price, and whether its elasticity is known (docs/demand.md)."""

from models.demand.artifact import StoredDemand, Verdict, read_demand
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
    "StoredDemand",
    "Verdict",
    "partially_linear",
    "price_elasticity",
    "read_demand",
]
