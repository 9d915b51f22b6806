"""Challengers and shadows: which version was tried beside the one in service, on whom, when, and who let it.

A challenger prices a share of the customers, a shadow is scored beside and never priced. One of them runs on
a product at a time, from `begin` until it is stopped or another model or plan is promoted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from models.audit import Entry
from models.errors import RegistryError
from pricing.plan import MILLION

if TYPE_CHECKING:
    from datetime import datetime

    from models.audit import Action, AuditLog

Kind = Literal["challenger", "shadow"]
ACTIONS: dict[Kind, Action] = {"challenger": "challenged", "shadow": "shadowed"}
ENDED: Action = "challenge_stopped"
MOST = 0.5


@dataclass(frozen=True)
class Challenge:
    """A time during which a version was tried.

    Attributes
    ----------
    product, version, kind
        What, and how.
    share
        Of the customers whom a challenger prices, millionths; 0 for a shadow.
    champion
        Version in service.
    family, model_hash
        Identity of the model that is tried.
    author, approver
        Who trained it, and who let it be tried.
    since, until
        UTC without zone; `until` is the first moment after, None while it goes on.
    """

    product: str
    version: str
    kind: Kind
    share: int
    champion: str
    family: str
    model_hash: str
    author: str
    approver: str
    since: datetime
    until: datetime | None = None


class ChallengeLog:
    """Challenges of all products.

    Parameters
    ----------
    audit
        Log of the registry.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def periods(self, product: str) -> list[Challenge]:
        """Give every challenge, oldest first."""
        found: list[Challenge] = []
        for entry in self._audit.entries(product):
            if entry.action in ("in_service", ENDED) and found and found[-1].until is None:
                found[-1] = replace(found[-1], until=entry.at)
            if entry.action in ACTIONS.values():
                found.append(
                    Challenge(product, entry.version, since=entry.at, approver=entry.who, **entry.detail)
                )
        return found

    def running(self, product: str) -> Challenge | None:
        """Give the challenge that goes on; None when there is none."""
        periods = self.periods(product)
        return periods[-1] if periods and periods[-1].until is None else None

    def begin(self, wanted: Challenge) -> Challenge:
        """Let a version be tried from now on; the registry has checked that it may.

        Raises
        ------
        RegistryError
            If another one runs, or the share is none that a challenger may have.
        """
        if wanted.kind == "challenger" and not 0 < wanted.share <= MOST * MILLION:
            raise RegistryError(
                f"share is {wanted.share / MILLION:g}; a challenger prices more than none of the customers "
                f"and at most {MOST:.0%}. Hint: --share 0.10, or --shadow to price nobody"
            )
        now = self.running(wanted.product)
        if now is not None:
            raise RegistryError(
                f"version {now.version} of {now.product} is {now.kind} since {now.since}; one runs at a "
                f"time. Hint: premia challenge {now.product} --stop --by NAME"
            )
        detail = {
            key: value
            for key, value in vars(wanted).items()
            if key not in ("product", "version", "approver", "since", "until")
        }
        entry = Entry(
            wanted.since, wanted.product, wanted.version, ACTIONS[wanted.kind], wanted.approver, detail
        )
        self._audit.append([entry])
        return wanted

    def stop(self, product: str, *, by: str, at: datetime) -> Challenge:
        """End the challenge that runs.

        Raises
        ------
        RegistryError
            If none runs, or nobody is named.
        """
        now = self.running(product)
        if now is None:
            raise RegistryError(f"no version of {product} is challenger or shadow")
        if not by.strip():
            raise RegistryError("somebody must be named. Hint: --by NAME")
        self._audit.append([Entry(at, product, now.version, ENDED, by.strip(), {})])
        return replace(now, until=at)
