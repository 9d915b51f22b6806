"""Price tests: declared before the start, assigned by hash, watched while they run, learned from by batch."""

from pricing.experiments.assignment import (
    Assignment,
    TestedPrice,
    TestedPrices,
    assign,
    assign_cells,
    price_in_test,
    prices_in_test,
)
from pricing.experiments.experiment import Experiment, parse_experiment, read_experiments
from pricing.experiments.power import Design
from pricing.experiments.sequential import CellTotals, ConfidenceSequence, Monitor
from pricing.experiments.shares import CellShares, Evidence, SharesLog
from pricing.experiments.thompson import next_shares

__all__ = [
    "Assignment",
    "CellShares",
    "CellTotals",
    "ConfidenceSequence",
    "Design",
    "Evidence",
    "Experiment",
    "Monitor",
    "SharesLog",
    "TestedPrice",
    "TestedPrices",
    "assign",
    "assign_cells",
    "next_shares",
    "parse_experiment",
    "price_in_test",
    "prices_in_test",
    "read_experiments",
]
