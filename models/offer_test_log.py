"""Life cycle of offer tests: draft, approved by a second person, stopped; kept in the log of the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.audit import Entry
from models.errors import OfferTestError
from models.promotion import check_second_person

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from models.audit import AuditLog
    from pricing.experiments import OfferTest


@dataclass(frozen=True)
class OfferTestState:
    """Where a test stands.

    Attributes
    ----------
    state
        `draft`, `approved` or `stopped`; only an approved one gives arms.
    who, at
        Who changed the state last, and when; None for a draft.
    reasons
        Why it was stopped.
    """

    state: Literal["draft", "approved", "stopped"]
    who: str | None = None
    at: datetime | None = None
    reasons: tuple[str, ...] = ()


class OfferTestLog:
    """States of all offer tests.

    Parameters
    ----------
    audit
        Log of the registry.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def state(self, test: OfferTest) -> OfferTestState:
        """Give where a test stands.

        Raises
        ------
        OfferTestError
            If its file was changed after it was approved.
        """
        found = OfferTestState("draft")
        for entry in self._audit.entries(_stream(test)):
            if entry.action == "stopped":
                found = OfferTestState("stopped", entry.who, entry.at, tuple(entry.detail["reasons"]))
                continue
            found = OfferTestState("approved", entry.who, entry.at)
            if entry.detail["hash"] != test.hash:
                raise OfferTestError(
                    f"the file of offer test {test.name} is not what {entry.who} approved. "
                    "Hint: restore it, or file the change under a new name"
                )
        return found

    def approve(self, test: OfferTest, *, by: str, at: datetime) -> OfferTestState:
        """Let a test run from its first day on; its file cannot be changed any more.

        Raises
        ------
        OfferTestError
            If it is no draft, or its days are over.
        PromotionError
            If the author approves.
        ExperimentError
            If it cannot find the effect that it is made to find.
        """
        found = self.state(test)
        if found.state != "draft":
            raise OfferTestError(f"offer test {test.name} is {found.state} already, by {found.who}")
        if at.date() >= test.end:
            raise OfferTestError(f"offer test {test.name} ended on {test.end}")
        detail = {"hash": test.hash, "detectable": test.check_power()}
        name = check_second_person(test.author, by)
        self._audit.append([Entry(at, _stream(test), "0", "approved", name, detail)])
        return self.state(test)

    def stop(self, test: OfferTest, reasons: Sequence[str], *, by: str, at: datetime) -> OfferTestState:
        """End a test: from now on everybody sees the ranker's offers.

        Raises
        ------
        OfferTestError
            If it is not approved, or nobody or no reason is named.
        """
        found = self.state(test)
        if found.state != "approved":
            raise OfferTestError(f"offer test {test.name} is {found.state}; only an approved one is stopped")
        if not by.strip() or not any(reason.strip() for reason in reasons):
            raise OfferTestError("somebody and a reason must be named. Hint: --by NAME --reason TEXT")
        self._audit.append([Entry(at, _stream(test), "0", "stopped", by.strip(), {"reasons": [*reasons]})])
        return self.state(test)


def _stream(test: OfferTest) -> str:
    """Give the name under which the log keeps a test; no product has a space in its code."""
    return f"offer test {test.name}"
