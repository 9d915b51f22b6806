"""Life cycle of price tests: draft, approved by a second person, stopped; and which shares were in force.

A test of which the log says nothing is a draft and prices nobody. An approved test runs between its days with
the shares that its file names, until another version of the shares is frozen; a stopped one never runs again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.audit import Entry
from models.errors import PriceTestError
from models.promotion import check_second_person
from pricing.experiments import CellShares, Design, SharesLog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from models.audit import AuditLog
    from pricing.experiments import Experiment
    from pricing.plan import RatingPlan

State = Literal["draft", "approved", "stopped"]


@dataclass(frozen=True)
class PriceTestState:
    """Where a test stands.

    Attributes
    ----------
    state
        `draft`, `approved` or `stopped`.
    shares
        Versions of the shares so far, the last of which is in force; None for a draft.
    who, at
        Who changed the state last, and when; None for a draft.
    reasons
        Why it was stopped.
    """

    state: State
    shares: SharesLog | None = None
    who: str | None = None
    at: datetime | None = None
    reasons: tuple[str, ...] = ()

    def in_force(self, test: Experiment, moment: datetime) -> CellShares | None:
        """Give the shares by which a quote of a moment is assigned; None when the test does not run."""
        runs = self.state == "approved" and self.shares is not None and test.runs_on(moment.date())
        return self.shares.current if runs and self.shares else None


class PriceTestLog:
    """States of all price tests.

    Parameters
    ----------
    audit
        Log of the registry.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def state(self, test: Experiment, at: datetime | None = None) -> PriceTestState:
        """Give where a test stands, as of a moment (UTC without zone).

        Raises
        ------
        PriceTestError
            If its file was changed after it was approved.
        ExperimentError
            If the versions of its shares do not follow from each other.
        """
        found = PriceTestState("draft")
        lines = ""
        for entry in self._audit.entries(_stream(test.name)):
            if at is not None and entry.at > at:
                break
            if entry.action == "stopped":
                found = PriceTestState(
                    "stopped", found.shares, entry.who, entry.at, tuple(entry.detail["reasons"])
                )
                continue
            lines += str(entry.detail["line"])
            found = PriceTestState("approved", SharesLog.from_lines(lines), entry.who, entry.at)
        if found.shares is not None and found.shares.current.experiment_hash != test.hash:
            raise PriceTestError(
                f"the file of price test {test.name} is not what {found.who} approved. "
                "Hint: restore it, or file the change under a new name"
            )
        return found

    def approve(self, test: Experiment, plan: RatingPlan, *, by: str, at: datetime) -> PriceTestState:
        """Let a test run from its first day on.

        Parameters
        ----------
        test
            As its file stands; from now on it cannot be changed.
        plan
            Whose prices it multiplies.
        by
            Who approves; not the author.
        at
            Time, UTC without zone.

        Raises
        ------
        PriceTestError
            If it is no draft, or its days are over.
        PromotionError
            If the author approves.
        DefinitionError, ExperimentError
            If the plan is not the test's, or the test cannot tell what it is made to tell.
        """
        found = self.state(test)
        if found.state != "draft":
            raise PriceTestError(
                f"price test {test.name} is {found.state} already, since {found.at} by {found.who}"
            )
        if at.date() >= test.end:
            raise PriceTestError(f"price test {test.name} ended on {test.end}")
        test.check_plan(plan)
        error = Design.planned(test).check_power()
        name = check_second_person(test.author, by)
        detail = {"line": SharesLog((CellShares.filed(test),)).to_lines(), "slope_error": error}
        self._audit.append([Entry(at, _stream(test.name), "0", "approved", name, detail)])
        return self.state(test)

    def freeze(self, test: Experiment, shares: CellShares, *, by: str, at: datetime) -> PriceTestState:
        """Put the next version of the shares in force; what was in force before stays on record.

        Raises
        ------
        PriceTestError
            If the test does not run, or nobody is named.
        ExperimentError
            If the version does not follow from the one in force.
        """
        found = self.state(test)
        if found.in_force(test, at) is None or found.shares is None:
            raise PriceTestError(
                f"price test {test.name} does not run at {at} (it is {found.state}); no shares to change"
            )
        line = found.shares.add(shares).to_lines().splitlines(keepends=True)[-1]
        entry = Entry(at, _stream(test.name), str(shares.version), "shares", _named(by), {"line": line})
        self._audit.append([entry])
        return self.state(test)

    def stop(self, test: Experiment, reasons: Sequence[str], *, by: str, at: datetime) -> PriceTestState:
        """End a test: from now on every quote has the price without it.

        Raises
        ------
        PriceTestError
            If it is not approved, or nobody or no reason is named.
        """
        found = self.state(test)
        if found.state != "approved":
            raise PriceTestError(f"price test {test.name} is {found.state}; only an approved test is stopped")
        if not reasons:
            raise PriceTestError("a reason must be named. Hint: --reason TEXT")
        detail = {"reasons": list(reasons)}
        self._audit.append([Entry(at, _stream(test.name), "0", "stopped", _named(by), detail)])
        return self.state(test)


def _stream(name: str) -> str:
    """Give the name under which the log keeps a test; no product has a space in its code."""
    return f"price test {name}"


def _named(by: str) -> str:
    if not by.strip():
        raise PriceTestError("somebody must be named. Hint: --by NAME")
    return by.strip()
