"""Life cycle of rating plans: draft, approved by a second person, active, retired; and what priced when.

A plan of which the log says nothing is a draft. A plan enters service by `activate`, or together with a model
that is promoted (`Registry.promote`): both are rows of the same append-only log. An approved plan cannot be
changed; a change is a new version, in a file of its own or in the same one, whose older version then retires.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Literal

from models.audit import Entry, Identity, Period
from models.errors import PlanStateError
from models.promotion import check_second_person

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.audit import AuditLog
    from pricing.plan import RatingPlan

State = Literal["draft", "approved", "active", "retired"]
Key = tuple[str, int]


@dataclass(frozen=True)
class PlanVersion:
    """One version of a plan as the log knows it.

    Attributes
    ----------
    code, version, filing, hash
        Identity.
    state
        Where it stands.
    effective_from, effective_to
        First day, and first day after; None when open or, for the first, not known.
    approver, at, who
        Who approved it; when its state was last changed, and by whom.
    """

    code: str
    version: int
    filing: str
    hash: str
    state: State
    effective_from: date | None
    effective_to: date | None
    approver: str
    at: datetime
    who: str

    @property
    def name(self) -> str:
        """Code and version."""
        return f"{self.code} v{self.version}"

    def covers(self, day: date) -> bool:
        """Say whether a day lies between its days."""
        return (self.effective_from or date.min) <= day < (self.effective_to or date.max)


class PlanLog:
    """States of the plans of all products.

    Parameters
    ----------
    audit
        Log of the registry.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def versions(self, product: str, at: datetime | None = None) -> dict[Key, PlanVersion]:
        """Give every version that the log knows, as of a moment (UTC without zone), oldest first."""
        known: dict[Key, PlanVersion] = {}
        for entry in self._entries(product):
            if at is not None and entry.at > at:
                break
            _apply(known, entry)
        return known

    def _entries(self, product: str) -> list[Entry]:
        """Give what was done to plans, and the promotions that put one into service, oldest first."""
        promoted = [
            replace(entry, detail=_detail_of(Identity(**entry.detail)))
            for entry in self._audit.entries(product)
            if entry.action == "in_service"
        ]
        return sorted([*promoted, *self._audit.entries(_stream(product))], key=lambda entry: entry.at)

    def check_unchanged(self, plan: RatingPlan) -> PlanVersion | None:
        """Give what the log knows of a plan; None for a draft.

        Raises
        ------
        PlanStateError
            If the version was approved with another content.
        """
        found = self.versions(plan.product).get((plan.code, plan.version))
        if found is not None and found.hash != plan.hash:
            raise PlanStateError(
                f"plan {found.name} is not what {found.approver} approved: its hash is {plan.hash[:12]}, "
                f"approved was {found.hash[:12]}. Hint: restore the file, or file the change as a new version"
            )
        return found

    def approve(self, plan: RatingPlan, *, by: str, at: datetime) -> PlanVersion:
        """Approve a draft.

        Parameters
        ----------
        plan
            As its file stands; from now on this version cannot be changed.
        by
            Who approves; not the author.
        at
            Time, UTC without zone.

        Raises
        ------
        PlanStateError
            If it is no draft, or names no author.
        PromotionError
            If the author approves.
        """
        found = self.check_unchanged(plan)
        if found is not None:
            raise PlanStateError(
                f"plan {found.name} is {found.state} already, since {found.at} by {found.who}"
            )
        if plan.author is None:
            raise PlanStateError(
                f"plan {plan.code} names no author, so that nobody can be a second person. "
                'Hint: author = "NAME" in its file'
            )
        name = check_second_person(plan.author, by)
        return self._write(plan, "approved", name, at)

    def activate(self, plan: RatingPlan, *, by: str, at: datetime) -> PlanVersion:
        """Let an approved plan price from its first day on; an older version of the same code is retired.

        Raises
        ------
        PlanStateError
            If it is not approved, or another active plan begins on the same day.
        """
        found = self.check_unchanged(plan)
        if found is None or found.state != "approved":
            state = "a draft" if found is None else found.state
            hint = " Hint: premia plan approve" if found is None else ""
            raise PlanStateError(
                f"plan {plan.code} v{plan.version} is {state}; only an approved plan is activated.{hint}"
            )
        for other in self.active(plan.product):
            if other.code != plan.code and other.effective_from in (None, plan.effective_from):
                raise PlanStateError(
                    f"plan {other.name} is active from {other.effective_from} on, too. "
                    f"Hint: premia plan retire {other.code}, or another effective_from"
                )
        return self._write(plan, "in_service", _named(by), at)

    def retire(self, product: str, code: str, *, by: str, at: datetime) -> PlanVersion:
        """End an approved or active plan; it never prices again.

        Raises
        ------
        PlanStateError
            If no version of it is approved or active.
        """
        standing = [
            one for one in self.versions(product).values() if one.code == code and one.state != "retired"
        ]
        if not standing:
            raise PlanStateError(f"no version of plan {code} is approved or active")
        for one in standing:
            detail = {"version": one.version}
            self._audit.append([Entry(at, _stream(product), code, "retired", _named(by), detail)])
        return self.versions(product)[code, standing[-1].version]

    def check_promotable(self, plan: RatingPlan, by: str) -> None:
        """Refuse a plan that may not enter service together with a model.

        Raises
        ------
        PlanStateError
            If it was changed after it was approved, or is retired.
        PromotionError
            If its author would approve it.
        """
        found = self.check_unchanged(plan)
        if found is not None and found.state == "retired":
            raise PlanStateError(f"plan {found.name} was retired by {found.who} on {found.at:%Y-%m-%d}")
        if found is None and plan.author is not None:
            check_second_person(plan.author, by)

    def active(self, product: str) -> list[PlanVersion]:
        """Give the versions that may price on some day."""
        return [one for one in self.versions(product).values() if one.state == "active"]

    def in_force(self, product: str, day: date) -> PlanVersion | None:
        """Give the active plan of a day: of several, the one that came into force last."""
        return _in_force(self.active(product), day)

    def periods(self, product: str) -> list[Period]:
        """Give what priced when: models and plans; a period ends when either changes.

        A plan prices from its first day on, which may lie before or after it was activated.
        """
        found: list[Period] = []
        for period in self._audit.periods(product):
            cuts = self._cuts(product, period)
            for since, until in zip(cuts, [*cuts[1:], period.until], strict=True):
                plan = _in_force(self.versions(product, since).values(), since.date())
                if plan is None:
                    continue
                identity = _with_plan(period.identity, plan)
                last = found[-1] if found else None
                if (
                    last
                    and last.until == since
                    and (last.version, last.identity) == (period.version, identity)
                ):
                    found[-1] = replace(last, until=until)
                    continue
                own = plan.hash == period.identity.plan_hash
                approver = period.approver if own else plan.approver
                found.append(Period(product, period.version, since, until, approver, identity))
        return found

    def _cuts(self, product: str, period: Period) -> list[datetime]:
        """Give the moments inside a period at which another plan may come into force, from its start on."""
        moments = {entry.at for entry in self._entries(product)}
        for one in self.versions(product).values():
            days = (one.effective_from, one.effective_to)
            moments |= {datetime.combine(day, time()) for day in days if day is not None}
        inside = sorted(moments)
        after = inside[bisect_right(inside, period.since) :]
        return [period.since, *(moment for moment in after if period.until is None or moment < period.until)]

    def _write(
        self, plan: RatingPlan, action: Literal["approved", "in_service"], who: str, at: datetime
    ) -> PlanVersion:
        detail = {
            "version": plan.version,
            "filing": plan.filing,
            "hash": plan.hash,
            "effective_from": plan.effective_from.isoformat(),
            "effective_to": "" if plan.effective_to is None else plan.effective_to.isoformat(),
        }
        self._audit.append([Entry(at, _stream(plan.product), plan.code, action, who, detail)])
        return self.versions(plan.product)[plan.code, plan.version]


def _stream(product: str) -> str:
    """Give the name under which the log keeps the plans of a product; no product has a space in its code."""
    return f"plans of {product}"


def _named(by: str) -> str:
    if not by.strip():
        raise PlanStateError("somebody must be named. Hint: --by NAME")
    return by.strip()


def _detail_of(identity: Identity) -> dict[str, object]:
    return {
        "code": identity.plan,
        "version": identity.plan_version,
        "filing": identity.filing,
        "hash": identity.plan_hash,
        "effective_from": identity.plan_from,
        "effective_to": identity.plan_to,
    }


def _with_plan(identity: Identity, plan: PlanVersion) -> Identity:
    return replace(
        identity,
        plan=plan.code,
        plan_version=plan.version,
        plan_hash=plan.hash,
        filing=plan.filing,
        plan_from=_iso(plan.effective_from),
        plan_to=_iso(plan.effective_to),
    )


def _iso(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


def _apply(known: dict[Key, PlanVersion], entry: Entry) -> None:
    """Take one row of the log into the states."""
    detail = entry.detail
    key = (str(detail.get("code", entry.version)), int(detail["version"]))
    before = known.get(key)
    if entry.action == "retired":
        if before is not None:
            known[key] = replace(before, state="retired", at=entry.at, who=entry.who)
        return
    begins = _day(str(detail["effective_from"]))
    if entry.action == "in_service":
        for other, one in known.items():
            replaced = other[0] == key[0] or one.effective_from in (None, begins)
            if replaced and other != key and one.state == "active":
                known[other] = replace(one, state="retired", at=entry.at, who=entry.who)
    known[key] = PlanVersion(
        code=key[0],
        version=key[1],
        filing=str(detail["filing"]),
        hash=str(detail["hash"]),
        state="active" if entry.action == "in_service" else "approved",
        effective_from=begins,
        effective_to=_day(str(detail["effective_to"])),
        approver=entry.who if before is None else before.approver,
        at=entry.at,
        who=entry.who,
    )


def _in_force(versions: Iterable[PlanVersion], day: date) -> PlanVersion | None:
    """Give the active plan of a day: of several, the one that came into force last."""
    active = [one for one in versions if one.state == "active" and one.covers(day)]
    return max(active, key=lambda one: one.effective_from or date.min, default=None)
