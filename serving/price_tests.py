"""Which price test runs on a product now: files of the tests, and the log that says how they stand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from models.price_test_log import PriceTestLog
from models.registry import Registry
from pricing.errors import nearest
from pricing.experiments import read_experiments
from serving.errors import UnknownPriceTestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from models.audit import AuditLog
    from models.price_test_log import PriceTestState
    from pricing.experiments import CellShares, Experiment
    from pricing.plan import RatingPlan
    from serving.settings import Settings


@dataclass(frozen=True)
class ProductTests:
    """Price tests of one product as they stood when they were read; nothing of it changes.

    Attributes
    ----------
    tests, states
        Files of the tests, and how each stands, by name.
    """

    tests: tuple[Experiment, ...] = ()
    states: Mapping[str, PriceTestState] = field(default_factory=dict)

    def running(self, plan: RatingPlan, moment: datetime) -> CellShares | None:
        """Give the shares of the test that runs on a plan at a moment; None when none does."""
        for test in self.tests:
            if test.plan == plan.code and test.runs_on(moment.date()):
                return self.states[test.name].in_force(test, moment)
        return None

    def as_of_now(self, audit: AuditLog) -> ProductTests:
        """Give the same files in the states that the log of the registry holds now."""
        log = PriceTestLog(audit)
        return replace(self, states={test.name: log.state(test) for test in self.tests})


class PriceTests:
    """Price tests of all products.

    Parameters
    ----------
    tests
        By name.
    log
        What was approved, frozen and stopped.
    """

    def __init__(self, tests: Mapping[str, Experiment], log: PriceTestLog) -> None:
        self.tests = dict(tests)
        self.log = log

    def find(self, name: str) -> Experiment:
        """Give a test by name.

        Raises
        ------
        UnknownPriceTestError
            If no file declares it.
        """
        if name not in self.tests:
            raise UnknownPriceTestError(
                f"no price test is called {name!r}; there are {', '.join(sorted(self.tests)) or 'none'}. "
                f"Hint: {nearest(name, self.tests) or 'its file lies in the folder of experiments'}"
            )
        return self.tests[name]

    def of(self, product: str) -> ProductTests:
        """Give the tests of a product as they stand now.

        Raises
        ------
        PriceTestError
            If the file of one is not what was approved.
        """
        tests = tuple(self._of(product))
        return ProductTests(tests, {test.name: self.log.state(test) for test in tests})

    def at(self, plan: RatingPlan, moment: datetime) -> CellShares | None:
        """Give the shares of the test that ran on a plan at a moment, by what was known then."""
        for test in self._of(plan.product):
            if test.plan == plan.code and test.runs_on(moment.date()):
                return self.log.state(test, moment).in_force(test, moment)
        return None

    def _of(self, product: str) -> list[Experiment]:
        return [test for test in self.tests.values() if test.product == product]


def open_price_tests(settings: Settings) -> PriceTests:
    """Read the files of the tests and the log of the registry."""
    log = PriceTestLog(Registry(settings.registry).audit)
    return PriceTests(read_experiments(settings.experiments), log)
