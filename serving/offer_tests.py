"""Which offer test runs now: files of the tests, and the log that says how they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.errors import OfferTestError
from models.offer_test_log import OfferTestLog
from models.registry import Registry
from pricing.errors import nearest
from pricing.experiments import read_offer_tests
from serving.errors import UnknownOfferTestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from models.offer_test_log import OfferTestState
    from pricing.experiments import OfferTest
    from serving.settings import Settings


class OfferTests:
    """Offer tests; one runs at a time.

    Parameters
    ----------
    tests
        By name.
    log
        What was approved and stopped.
    path
        File of the log: it is read again when it has changed, so that a test that is stopped stops at once.
    """

    def __init__(self, tests: Mapping[str, OfferTest], log: OfferTestLog, path: Path) -> None:
        self.tests = dict(tests)
        self.log = log
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._states: dict[str, OfferTestState] = {}

    def find(self, name: str) -> OfferTest:
        """Give a test by name.

        Raises
        ------
        UnknownOfferTestError
            If no file declares it.
        """
        if name not in self.tests:
            raise UnknownOfferTestError(
                f"no offer test is called {name!r}; there are {', '.join(sorted(self.tests)) or 'none'}. "
                f"Hint: {nearest(name, self.tests) or 'its file lies in the folder of offer tests'}"
            )
        return self.tests[name]

    def running(self, moment: datetime) -> OfferTest | None:
        """Give the approved test of a day; None when none runs, or its file is not what was approved."""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = (0, 0)
        if seen != self._seen:
            self._states = {name: state for name in self.tests if (state := self._state(name))}
            self._seen = seen
        day = moment.date()
        for name, test in self.tests.items():
            if test.runs_on(day) and name in self._states and self._states[name].state == "approved":
                return test
        return None

    def _state(self, name: str) -> OfferTestState | None:
        try:
            return self.log.state(self.tests[name])
        except OfferTestError:  # the commands say so; who asks for offers gets the ranker's meanwhile
            return None


def open_offer_tests(settings: Settings) -> OfferTests:
    """Read the files of the tests and the log of the registry."""
    audit = Registry(settings.registry).audit
    return OfferTests(read_offer_tests(settings.offer_tests), OfferTestLog(audit), audit.path)
