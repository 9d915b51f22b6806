"""An embedded insurer to work on: its population, orders, quotes, policies and claims, and the truth."""

from data.simulate.parameters import CATEGORIES, REGIONS, Parameters
from data.simulate.run import ProductSummary, SimulationSummary, simulate

__all__ = ["CATEGORIES", "REGIONS", "Parameters", "ProductSummary", "SimulationSummary", "simulate"]
