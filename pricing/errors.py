"""Errors of the pricing domain.

PricingError
├── DefinitionError          a product file, a rating plan or a price test cannot be used
├── RiskError                the risk as described cannot be priced; holds one RiskProblem per field
├── NeedsError               answers that a product does not allow; holds one RiskProblem per answer
├── UnknownChannelError      the plan has no commission for this channel
├── PlanNotEffectiveError    the plan is not in force on the date asked for
├── NoPriceError             a risk that is referred: there is no price that the plan allows
│   ├── TechnicalPremiumError    the risk premium is no number that a price can rest on
│   ├── LimitsError              minimum, caps and change at renewal contradict each other for this risk
│   ├── BelowExpensesError       caps leave less than tax, commission and expenses
│   └── CorridorError            the price lies outside what is filed
├── BookError                a book, a ladder or a constraint that cannot be optimised; one sentence per fault
├── ExperimentError          figures of a price test that cannot be, or a log of its versions that was changed
├── ExperienceError          parameters or events of experience rating that cannot be
├── QuoteStateError          a quote in this state cannot take this step
├── InfeasibleError          no prices meet all constraints; holds those that conflict
└── CurrencyError            two currencies met in one sum
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class PricingError(Exception):
    """Root of everything the pricing room refuses."""


class DefinitionError(PricingError):
    """A product file or a rating plan cannot be used.

    Parameters
    ----------
    source
        File (or other origin) of the definition.
    problems
        One sentence per fault: where, what was found, what is allowed.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(f"{source}: " + "; ".join(problems))


@dataclass(frozen=True)
class RiskProblem:
    """One field of a risk that cannot be used.

    Attributes
    ----------
    field
        Name of the rating factor.
    code
        `missing`, `unknown`, `type`, `below`, `above` or `level`.
    value
        What was given (`None` when missing).
    allowed
        What the product file allows, in words.
    hint
        What to do next.
    """

    field: str
    code: str
    value: object
    allowed: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.field}: {self.value!r} is not usable ({self.code}); allowed: {self.allowed}"
        return f"{text}. Hint: {self.hint}" if self.hint else text


class RiskError(PricingError):
    """The risk as described cannot be priced."""

    def __init__(self, problems: Sequence[RiskProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in problems))


class NeedsError(PricingError):
    """Answers to questions on needs that no product asks, or that it does not allow."""

    def __init__(self, problems: Sequence[RiskProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in problems))


class UnknownChannelError(PricingError):
    """The rating plan has no commission for this channel or sub-channel.

    Attributes
    ----------
    channel
        What was named; None where a sub-channel is needed and none was.
    field, code
        `channel` or `sub_channel`, and `unknown` or `missing`.
    allowed
        What the plan has; empty where a channel has no sub-channels.
    """

    def __init__(
        self, channel: str | None, allowed: Iterable[str], *, field: str = "channel", of: str = ""
    ) -> None:
        self.channel = channel
        self.field = field
        self.code = "missing" if channel is None else "unknown"
        self.allowed = tuple(sorted(allowed))
        named = (
            f"{field} {channel!r} is not" if channel is not None else f"no {field} is named, and one must be,"
        )
        where = f" of channel {of!r}" if of else ""
        super().__init__(
            f"{named} in the plan{where}; allowed: {', '.join(self.allowed) or 'none, leave it out'}"
        )


class PlanNotEffectiveError(PricingError):
    """The rating plan is not in force on the date asked for."""


class NoPriceError(PricingError):
    """There is no price that the plan allows; the risk is referred to a person.

    Attributes
    ----------
    kind
        Which of its kinds, as a batch marks the row.
    """

    kind = ""


class TechnicalPremiumError(NoPriceError):
    """The risk premium is no number that a price can rest on (NaN, infinite, negative or too large)."""

    kind = "technical_premium"


class LimitsError(NoPriceError):
    """Minimum premium, maximum, cover cap and change at renewal leave no price for this risk."""

    kind = "limits"

    def __init__(self, lowest_minor: int, highest_minor: int, plan: str) -> None:
        super().__init__(
            f"plan {plan} allows this risk no price: at least {lowest_minor} minor units (minimum premium, "
            f"largest fall at renewal) and at most {highest_minor} (maximum premium, cover, largest rise)"
        )


class BelowExpensesError(NoPriceError):
    """Caps and multipliers leave less than tax, commission and expenses."""

    kind = "below_expenses"

    def __init__(self, price_minor: int, plan: str) -> None:
        super().__init__(
            f"price of {price_minor} minor units leaves nothing for claims after tax, commission and "
            f"expenses of plan {plan}"
        )


class CorridorError(NoPriceError):
    """The price lies outside what is filed; it is refused, never clipped.

    Attributes
    ----------
    price_minor, lowest_minor, highest_minor
        Price found and filed bounds, minor units.
    plan
        Identity of the rating plan.
    """

    kind = "corridor"

    def __init__(self, price_minor: int, lowest_minor: int, highest_minor: int, plan: str) -> None:
        self.price_minor = price_minor
        self.lowest_minor = lowest_minor
        self.highest_minor = highest_minor
        self.plan = plan
        super().__init__(
            f"price of {price_minor} minor units lies outside the corridor filed in plan {plan}: "
            f"{lowest_minor} to {highest_minor}"
        )


class BookError(PricingError):
    """A book, a ladder of prices or a constraint that cannot be optimised.

    Parameters
    ----------
    problems
        One sentence per fault, with the number of policies.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class ExperimentError(PricingError):
    """Figures of a price test that cannot be, or a log of its versions that does not hold together."""


class ExperienceError(PricingError, ValueError):
    """Parameters or events of experience rating, a bonus-malus scale or a use of cover that cannot be."""


class QuoteStateError(PricingError):
    """A quote in this state cannot take this step.

    Attributes
    ----------
    state, move
        State of the quote, and what was asked of it.
    sources, allowed
        States from which it could be done, and what can be done from this one.
    """

    def __init__(self, state: str, move: str, sources: Iterable[str], allowed: Sequence[str]) -> None:
        self.state = state
        self.move = move
        self.sources = tuple(sorted(sources))
        self.allowed = tuple(allowed)
        super().__init__(
            f"cannot {move} a quote that is {state}; it must be {' or '.join(self.sources)}. From {state} "
            f"one can {', '.join(self.allowed) or 'do nothing more'}"
        )


class InfeasibleError(PricingError):
    """No prices within the bounds meet all constraints.

    Attributes
    ----------
    conflicting
        Names of constraints that cannot be met together; without any one of them the others can.
    best
        Constraint -> what it could have to spare at most if it stood alone (negative: cannot be met at all).
    """

    def __init__(self, conflicting: Sequence[str], best: dict[str, float]) -> None:
        self.conflicting = tuple(conflicting)
        self.best = best
        alone = [f"{name!r} misses by {-best[name]:,.6g} at best" for name in conflicting if best[name] < 0]
        text = "cannot be met" if len(self.conflicting) == 1 else "cannot be met together"
        named = ", ".join(repr(name) for name in self.conflicting)
        super().__init__(
            f"constraints {named} {text} within the allowed prices"
            + (f": {'; '.join(alone)}" if alone else "")
            + ". Hint: loosen one of them, or widen corridor and caps"
        )


class CurrencyError(PricingError, ValueError):
    """Two currencies met in one sum, a currency is unknown, or an amount is not exact.

    It is a `ValueError` so that a definition file with such an amount is refused with all its other faults.
    """


def nearest(name: str, options: Iterable[str]) -> str:
    """Say which allowed name is closest, as a hint; empty when none is close.

    Parameters
    ----------
    name
        What was given.
    options
        What is allowed.
    """
    close = get_close_matches(name, list(options), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""
