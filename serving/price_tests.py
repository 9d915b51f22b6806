"""Which price test runs on a product now: files of the tests, and the log that says how they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.price_test_log import PriceTestLog
from models.registry import Registry
from pricing.errors import nearest
from pricing.experiments import read_experiments
from serving.errors import UnknownPriceTestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from models.price_test_log import PriceTestState
    from pricing.experiments import CellShares, Experiment
    from pricing.plan import RatingPlan
    from serving.settings import Settings


class PriceTests:
    """Price tests of all products.

    Parameters
    ----------
    tests
        By name.
    log
        What was approved, frozen and stopped.
    path
        File of the log: it is read again when it has changed, so that a test that is stopped stops at once.
    """

    def __init__(self, tests: Mapping[str, Experiment], log: PriceTestLog, path: Path) -> None:
        self.tests = dict(tests)
        self.log = log
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._states: dict[str, PriceTestState] = {}

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

    def check(self, product: str) -> None:
        """Refuse tests of a product whose files are not what was approved."""
        for test in self._of(product):
            self.log.state(test)

    def running(self, plan: RatingPlan, moment: datetime) -> CellShares | None:
        """Give the shares of the test that runs on a plan now; None when none does."""
        self._refresh()
        for test in self._of(plan.product):
            if test.plan == plan.code and test.runs_on(moment.date()):
                return self._states[test.name].in_force(test, moment)
        return None

    def at(self, plan: RatingPlan, moment: datetime) -> CellShares | None:
        """Give the shares of the test that ran on a plan at a moment, by what was known then."""
        for test in self._of(plan.product):
            if test.plan == plan.code and test.runs_on(moment.date()):
                return self.log.state(test, moment).in_force(test, moment)
        return None

    def _of(self, product: str) -> list[Experiment]:
        return [test for test in self.tests.values() if test.product == product]

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = (0, 0)
        if seen != self._seen:
            self._states = {name: self.log.state(test) for name, test in self.tests.items()}
            self._seen = seen


def open_price_tests(settings: Settings) -> PriceTests:
    """Read the files of the tests and the log of the registry."""
    audit = Registry(settings.registry).audit
    return PriceTests(read_experiments(settings.experiments), PriceTestLog(audit), audit.path)
