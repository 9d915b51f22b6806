"""Price tests: declared before the start, assigned by hash, watched while they run, learned from by batch."""

from pricing.experiments.assignment import (
    Assignment,
    TestedPrice,
    assign,
    assign_cells,
    cell_multiplier,
    takes_part,
)
from pricing.experiments.experiment import Experiment, PowerTarget, parse_experiment, read_experiments
from pricing.experiments.offer_test import OfferTest, parse_offer_test, read_offer_tests, sample_ratio
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
    "OfferTest",
    "PowerTarget",
    "SharesLog",
    "TestedPrice",
    "assign",
    "assign_cells",
    "cell_multiplier",
    "next_shares",
    "parse_experiment",
    "parse_offer_test",
    "read_experiments",
    "read_offer_tests",
    "sample_ratio",
    "takes_part",
]
