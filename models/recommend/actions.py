"""Next best action: which customer is contacted through which channel with which product, or not at all.

    value = propensity x lift of the channel x expected margin - cost of a contact

The lift is the part of the propensity that a contact adds: without one the customer might buy all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, model_validator

from pricing.definitions import parse_definition
from pricing.factors import Frozen, Name
from pricing.money import to_minor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from models.recommend.task import Array, Mask, Rows

Hour = Annotated[int, Field(ge=0, le=24)]
NO_CONSENT, OUTSIDE_HOURS, CAP = "no_consent", "outside_hours", "contact_cap"
COOL_DOWN, NOTHING, NOT_WORTH = "cool_down", "nothing_to_offer", "not_worth_a_contact"
NOT_YOURS, NOT_ALLOWED = "not_your_channel", "no_channel_allowed"


class ContactChannel(Frozen):
    """What a contact through a channel costs, and when it is allowed.

    Attributes
    ----------
    cost
        Of one contact, major units.
    lift
        Contacts add this share of the propensity; measured by an uplift test, until then an assumption.
    from_hour, to_hour
        Allowed from the one, until before the other, in the time of the customers.
    most, window_days
        So many contacts of a customer within so many days.
    consents
        Purposes that the customer must not have withdrawn.
    """

    cost: Annotated[str, Field(pattern=r"^\d{1,6}(\.\d{1,3})?$")]
    lift: Annotated[float, Field(gt=0, le=1)]
    from_hour: Hour
    to_hour: Hour
    most: Annotated[int, Field(ge=1, le=1000)]
    window_days: Annotated[int, Field(ge=1, le=366)]
    consents: tuple[Name, ...] = ("recommendation",)

    @model_validator(mode="after")
    def _ordered(self) -> ContactChannel:
        if self.from_hour >= self.to_hour:
            raise ValueError(f"from_hour {self.from_hour} is not before to_hour {self.to_hour}")
        return self


class ContactRules(Frozen):
    """How customers are contacted.

    Attributes
    ----------
    currency
        Of costs and margins.
    utc_offset_hours
        From UTC to the time of the customers.
    cool_down_days
        Days without contact after a customer has declined a quote.
    channels
        By name, as rating plans name them.
    """

    currency: str
    utc_offset_hours: Annotated[int, Field(ge=-12, le=14)]
    cool_down_days: Annotated[int, Field(ge=0, le=366)]
    channels: Annotated[dict[Name, ContactChannel], Field(min_length=1)]

    def costs(self) -> Array:
        """Give the cost of a contact by channel, minor units, shape (channels,)."""
        return np.array([float(to_minor(one.cost, self.currency)) for one in self.channels.values()])

    def lifts(self) -> Array:
        """Give the lift by channel, shape (channels,)."""
        return np.array([one.lift for one in self.channels.values()])

    def in_hours(self, channel: str, now: datetime) -> bool:
        """Say whether a channel may be used at a moment, UTC."""
        one = self.channels[channel]
        return one.from_hour <= (now.hour + self.utc_offset_hours) % 24 < one.to_hour


def read_contact_rules(path: Path) -> ContactRules:
    """Read the file of contact rules (see `parse_definition` for what is refused)."""
    return parse_definition(ContactRules, path.read_text(encoding="utf-8"), path.name)


@dataclass(frozen=True)
class Actions:
    """What is done about each customer.

    Attributes
    ----------
    product, channel
        Positions, shape (n,); -1 where nothing is done.
    value_minor
        Expected value of the best action, minor units, shape (n,); -inf where there is none to choose from.
    """

    product: Rows
    channel: Rows
    value_minor: Array


def best_actions(p: Array, offered: Mask, margins: Array, rules: ContactRules, allowed: Mask) -> Actions:
    """Choose the action of the highest expected value; none that is not worth more than its cost.

    Parameters
    ----------
    p, offered
        Propensities, and what suits and may be offered, shape (n, m).
    margins
        Expected margin of a policy, minor units, shape (m,), (n, m) or (n, m, c); -inf without a price.
    rules
        Costs and lifts of c channels.
    allowed
        Channels that may be used, shape (n, c).
    """
    n, m = p.shape
    c = len(rules.channels)
    if not m:
        return Actions(np.full(n, -1), np.full(n, -1), np.full(n, -np.inf))
    each = margins if margins.ndim == 3 else np.broadcast_to(margins, (n, m))[:, :, None]
    usable = offered[:, :, None] & allowed[:, None, :] & np.isfinite(each)
    worth = np.where(usable, p[:, :, None] * np.where(np.isfinite(each), each, 0.0), 0.0)
    value = np.where(usable, worth * rules.lifts() - rules.costs(), -np.inf).reshape(n, m * c)
    best = np.argmax(value, axis=1)
    found = np.take_along_axis(value, best[:, None], axis=1)[:, 0]
    product, channel = np.divmod(best, c)
    return Actions(np.where(found > 0.0, product, -1), np.where(found > 0.0, channel, -1), found)


def product_margins(known: Sequence[float | None]) -> Array:
    """Give average margins of products; one of which nothing is known is worth nothing."""
    return np.array([0.0 if margin is None else margin for margin in known])
