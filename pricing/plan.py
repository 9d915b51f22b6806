"""The rating plan: an immutable file that says how a risk premium becomes a price."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pricing.definitions import parse_definition
from pricing.errors import DefinitionError, PlanNotEffectiveError, UnknownChannelError
from pricing.factors import CategoryFactor, Frozen, Name
from pricing.integers import ROUNDING, multiply_divide
from pricing.money import exponent, to_minor
from pricing.relativities import MILLION as MILLION
from pricing.relativities import RelativityTable
from pricing.relativities import millionths as millionths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pricing.factors import FactorValue
    from pricing.integers import Integers
    from pricing.product import Product

# Below it every product of the ladder's arithmetic stays inside int64 (see `multiply_divide`).
LARGEST_NET_MICROS = 9_000_000_000_000_000
LARGEST_COVER_MINOR = 9_000_000_000_000
DAYS_OF_A_YEAR = Decimal("365.25")
Amount = Annotated[str, Field(pattern=r"^\d{1,12}(\.\d{1,3})?$")]
Share = Annotated[str, Field(pattern=r"^0(\.\d{1,6})?$")]
Discount = Annotated[str, Field(pattern=r"^0\.[0-4]\d{0,5}$")]
Change = Annotated[str, Field(pattern=r"^\d(\.\d{1,6})?$")]


class Expense(Frozen):
    """Cost of doing business.

    Attributes
    ----------
    fixed
        Per cover sold, major units.
    variable
        Share of the net premium.
    """

    fixed: Amount
    variable: Share


class ClaimsInflation(Frozen):
    """From the claims level of the models to that of the covers sold, one filed factor.

    Attributes
    ----------
    annual_rate
        Rise of claims a year.
    base_date
        Day to whose level the models' claims were brought.
    target_date
        Day to whose level the plan prices: the middle of its covers' time.
    """

    annual_rate: Share
    base_date: date
    target_date: date

    @model_validator(mode="after")
    def _ordered(self) -> ClaimsInflation:
        if self.target_date < self.base_date:
            raise ValueError(f"target_date {self.target_date} lies before base_date {self.base_date}")
        if self.factor > 100 * MILLION:
            raise ValueError(
                f"the factor of {self.factor / MILLION:g} is out of reason; allowed: at most 100"
            )
        return self

    @cached_property
    def factor(self) -> int:
        """(1 + annual rate)^years with years of 365.25 days, millionths, from decimals."""
        years = Decimal((self.target_date - self.base_date).days) / DAYS_OF_A_YEAR
        grown = (1 + Decimal(self.annual_rate)) ** years * MILLION
        return int(grown.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


class RenewalCap(Frozen):
    """Largest rise and fall of the price against the expiring premium, shares of it; absent: not capped."""

    rise: Change | None = None
    fall: Share | None = None

    @model_validator(mode="after")
    def _some(self) -> RenewalCap:
        if self.rise is None and self.fall is None:
            raise ValueError("renewal_cap needs rise, fall or both")
        return self


class CoverCap(Frozen):
    """Largest price as a share of what the cover pays at most.

    Attributes
    ----------
    share
        Of the cover amount.
    factor
        Rating factor that is the cover amount, major units; absent: the limit or benefit of the product.
    """

    share: Share
    factor: Name | None = None


class Rounding(Frozen):
    """How the price is rounded, once, at the end.

    Attributes
    ----------
    unit
        Smallest step of a price, major units.
    mode
        `half_even`, `half_up` or `up`.
    """

    unit: Amount
    mode: Literal["half_even", "half_up", "up"] = "half_even"


class PolicyFile(Frozen):
    """A price policy of the optimiser that chooses a multiplier of each price (docs/optimiser.md).

    Attributes
    ----------
    file
        Its file in the folder `policies` beside the plan.
    sha256
        Checksum of the file's content: the policy is approved with the plan.
    mode
        How the policy chooses; it must be that of the file.
    """

    file: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,80}\.json$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    mode: Literal["group", "individual"]


class Corridor(Frozen):
    """Lowest and highest price that is filed, tax included, major units."""

    lowest: Amount
    highest: Amount


class RatingPlan(Frozen):
    """How the risk premium of one product becomes the price, in effect between two dates.

    What is None is no part of the plan.

    Attributes
    ----------
    code, version, filing
        Identity; `filing` is the number under which the rates are filed.
    effective_from, effective_to
        First day and first day after (UTC); open when absent.
    author
        Who wrote it; somebody else approves.
    relativities
        By rating factor, what the plan makes of it beside the model.
    claims_inflation
        From the level of the models' claims to that of the covers sold.
    reinsurance
        Share of the risk premium (after the steps above) that is added for it.
    expense, commission, margin, tax
        Loadings. Commission is a share of the net premium by channel, or by channel and sub-channel; tax a
        share on top of it.
    minimum_premium, maximum_premium
        Net of tax, major units.
    renewal_cap, cover_cap
        Bounds of the price from the expiring premium and from what the cover pays.
    price_policy
        Policy of the optimiser that moves the price; absent: prices by cost alone.
    bundles
        By bundle, the discount of the cover when it is sold in it, share of the net premium.
    rounding, corridor
        How the price is rounded, and what is filed.
    """

    code: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
    version: Annotated[int, Field(ge=1)]
    filing: Annotated[str, Field(min_length=1)]
    product: Name
    currency: str
    effective_from: date
    effective_to: date | None = None
    author: Annotated[str, Field(min_length=1)] | None = None
    relativities: Annotated[dict[Name, RelativityTable], Field(min_length=1)] | None = None
    claims_inflation: ClaimsInflation | None = None
    reinsurance: Share | None = None
    expense: Expense
    commission: Annotated[
        dict[Name, Share | Annotated[dict[Name, Share], Field(min_length=1)]], Field(min_length=1)
    ]
    margin: Share
    tax: Share
    minimum_premium: Amount
    maximum_premium: Amount | None = None
    renewal_cap: RenewalCap | None = None
    cover_cap: CoverCap | None = None
    price_policy: PolicyFile | None = None
    bundles: Annotated[dict[Name, Discount], Field(min_length=1)] | None = None
    rounding: Rounding
    corridor: Corridor

    @model_validator(mode="after")
    def _consistent(self) -> RatingPlan:
        exponent(self.currency)
        lowest, highest = (
            to_minor(self.corridor.lowest, self.currency),
            to_minor(self.corridor.highest, self.currency),
        )
        if not lowest < highest:
            raise ValueError(
                f"corridor.lowest {self.corridor.lowest} is not below highest {self.corridor.highest}"
            )
        if to_minor(self.rounding.unit, self.currency) < 1:
            raise ValueError("rounding.unit must be at least one minor unit")
        if self.effective_to is not None and self.effective_to <= self.effective_from:
            raise ValueError("effective_to must come after effective_from")
        self._check_amounts()
        problems = [fault for terms in self._terms.values() for fault in terms.problems()]
        if problems:
            raise ValueError("; ".join(dict.fromkeys(problems)))
        return self

    def _check_amounts(self) -> None:
        largest = LARGEST_NET_MICROS // MILLION
        amounts = {
            "expense.fixed": self.expense.fixed,
            "minimum_premium": self.minimum_premium,
            "maximum_premium": self.maximum_premium,
            "rounding.unit": self.rounding.unit,
        }
        for name, amount in amounts.items():
            if amount is not None and to_minor(amount, self.currency) > largest:
                raise ValueError(f"{name} {amount} is above what can be priced, {largest} minor units")

    @cached_property
    def hash(self) -> str:
        """Sha256 over the canonical content of the file, for quotes."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    @property
    def canonical(self) -> str:
        """The content as text, whatever the layout of the file."""
        return self.model_dump_json(exclude={name for name in _LATER_KEYS if getattr(self, name) is None})

    @cached_property
    def outlets(self) -> tuple[Outlet, ...]:
        """Every channel, or channel and sub-channel, that the plan has a commission for."""
        return tuple(
            (channel, sub_channel)
            for channel, own in self.commission.items()
            for sub_channel in (own if isinstance(own, dict) else (None,))
        )

    @cached_property
    def _terms(self) -> dict[Outlet, ChannelTerms]:
        found = {}
        for channel, sub_channel in self.outlets:
            own = self.commission[channel]
            share = own if isinstance(own, str) else own[str(sub_channel)]
            found[channel, sub_channel] = _channel_terms(self, channel, sub_channel, share)
        return found

    def terms(self, channel: str, sub_channel: str | None = None) -> ChannelTerms:
        """Give the terms of a channel as the integers that the ladder is built from.

        Raises
        ------
        UnknownChannelError
            If the plan has no commission for the channel, or for its sub-channel.
        """
        found = self._terms.get((channel, sub_channel))
        if found is None:
            own = self.commission.get(channel)
            if own is None:
                raise UnknownChannelError(channel, self.commission)
            raise UnknownChannelError(
                sub_channel, own if isinstance(own, dict) else (), field="sub_channel", of=channel
            )
        return found

    def bundle_multiplier(self, bundle: str | None) -> int | None:
        """Give what a bundle leaves of the net premium, millionths; None where it gives no discount."""
        discount = None if bundle is None else (self.bundles or {}).get(bundle)
        return None if discount is None else MILLION - millionths(discount)

    def is_effective(self, day: date) -> bool:
        """Say whether the plan is in force on a day."""
        return self.effective_from <= day < (self.effective_to or date.max)

    def relativities_of(self, risk: Mapping[str, FactorValue]) -> tuple[int, ...]:
        """Give what each table makes of a rated risk, millionths, in the order of the tables."""
        return tuple(table.relativity(risk[name]) for name, table in (self.relativities or {}).items())

    def cover_of(self, product: Product, risk: Mapping[str, FactorValue]) -> int | None:
        """Give what the cover of a rated risk pays at most, minor units; None where the plan does not ask."""
        if self.cover_cap is None:
            return None
        if self.cover_cap.factor is None:
            return to_minor(product.cover_amount, self.currency)
        return round(float(risk[self.cover_cap.factor]) * int(10 ** exponent(self.currency)))

    def product_problems(self, product: Product) -> list[str]:
        """Hold the plan against its product file; one sentence per fault, naming table and cell."""
        if (self.product, self.currency) != (product.code, product.currency):
            return [f"made for {self.product} in {self.currency}; {product.code} is in {product.currency}"]
        factors = {factor.name: factor for factor in product.factors}
        found = []
        for name, table in (self.relativities or {}).items():
            if name not in factors:
                allowed = ", ".join(factors) or "none"
                found.append(f"relativities.{name}: {product.code} has no such factor; allowed: {allowed}")
                continue
            found += [f"relativities.{name}: {fault}" for fault in table.problems(factors[name])]
        found += [
            f"relativities.{name} is missing: the product file says that the plan alone rates it"
            for name in product.plan_only
            if name not in (self.relativities or {})
        ]
        return found + self._cover_problems(product)

    def _cover_problems(self, product: Product) -> list[str]:
        """Say whether the cover cap can be met by any price."""
        if self.cover_cap is None:
            return []
        factors = {factor.name: factor for factor in product.factors}
        least = to_minor(product.cover_amount, self.currency)
        if self.cover_cap.factor is not None:
            factor = factors.get(self.cover_cap.factor)
            if factor is None or isinstance(factor, CategoryFactor) or factor.missing != "refuse":
                return [
                    f"cover_cap.factor {self.cover_cap.factor!r} must be a number among the factors of "
                    f"{product.code} that is never missing"
                ]
            # Dearest cover: a cap that even it contradicts can never be met.
            least = round(factor.maximum * 10 ** exponent(self.currency))
            if least > LARGEST_COVER_MINOR:
                return [
                    f"cover_cap.factor {factor.name!r} goes up to {factor.maximum:g}; allowed: "
                    f"{LARGEST_COVER_MINOR} minor units"
                ]
        problems = []
        for terms in self._terms.values():
            highest = terms.cover_bound(least)
            lowest = max(terms.minimum_price_minor, terms.lowest_minor)
            if highest < lowest:
                problems.append(
                    f"cover_cap.share {self.cover_cap.share} of the cover amount allows a price of at most "
                    f"{highest} minor units, below the least one of {lowest} (minimum premium, corridor)"
                )
        return list(dict.fromkeys(problems))


Outlet = tuple[str, str | None]
# Keys that came after plans were approved: where they are absent, hash and price are what they were.
_LATER_KEYS = (
    "author",
    "relativities",
    "claims_inflation",
    "reinsurance",
    "maximum_premium",
    "renewal_cap",
    "cover_cap",
    "price_policy",
    "bundles",
)


@dataclass(frozen=True)
class ChannelTerms:
    """A plan's terms for one channel or sub-channel, integers.

    Attributes
    ----------
    payee
        Who gets the commission: `channel` or `channel/sub_channel`.
    inflation
        Claims inflation, millionths; None where the plan has none.
    reinsurance
        Millionths of the risk premium; None where the plan has none.
    variable, commission, margin, loadings
        Millionths of the net premium; `loadings` is their sum.
    tax
        Millionths on top of the net premium.
    fixed_micros, minimum_micros, unit_micros
        Fixed expense, minimum premium and rounding unit, millionths of a minor unit.
    unit_minor, lowest_minor, highest_minor
        Rounding unit and filed bounds of the price, minor units.
    mode
        How the price is rounded.
    minimum_price_minor
        Price at the minimum premium, minor units; 0 where there is no minimum.
    maximum_price_minor
        Largest price that the maximum premium allows, whole rounding units; None where the plan has none.
    rise, fall
        Largest rise and fall at renewal, millionths of the expiring premium; None: not capped.
    cover_share
        Largest price, millionths of the cover amount; None where the plan has no such cap.
    """

    payee: str
    inflation: int | None
    reinsurance: int | None
    variable: int
    commission: int
    margin: int
    loadings: int
    tax: int
    fixed_micros: int
    minimum_micros: int
    unit_micros: int
    unit_minor: int
    lowest_minor: int
    highest_minor: int
    mode: Literal["half_even", "half_up", "up"]
    minimum_price_minor: int
    maximum_price_minor: int | None
    renewal: bool
    rise: int | None
    fall: int | None
    cover_share: int | None

    @cached_property
    def largest_risk_micros(self) -> int:
        """Largest loaded risk premium that the exact arithmetic holds, millionths of a minor unit."""
        return LARGEST_NET_MICROS // MILLION * (MILLION - self.loadings) - self.fixed_micros

    def cover_bound(self, cover_minor: Integers) -> Integers:
        """Give the largest price of a cover, whole rounding units in minor units."""
        return cover_minor * (self.cover_share or 0) // self.unit_micros * self.unit_minor

    def problems(self) -> list[str]:
        """Say what the terms contradict, one sentence a fault."""
        if self.loadings >= MILLION:
            return [f"loadings of channel {self.payee!r} reach 100 % of the premium"]
        found = []
        if self.minimum_price_minor and not (
            self.lowest_minor <= self.minimum_price_minor <= self.highest_minor
        ):
            found.append(
                f"the corridor excludes the minimum premium: its price is {self.minimum_price_minor} minor "
                f"units, filed are {self.lowest_minor} to {self.highest_minor}"
            )
        top = self.highest_minor
        if self.maximum_price_minor is not None:
            top = min(top, self.maximum_price_minor)
            least = max(self.minimum_price_minor, self.lowest_minor)
            if self.maximum_price_minor < least:
                found.append(
                    f"maximum_premium allows a price of at most {self.maximum_price_minor} minor units, "
                    f"below the least one of {least} (minimum premium, corridor)"
                )
        if not found and not self.pays_for_itself(top):
            found.append(
                f"the highest price of {top} minor units does not cover tax, expenses and the commission of "
                f"{self.payee!r}: every price lies below commission plus tax"
            )
        return found

    def pays_for_itself(self, price_minor: int) -> bool:
        """Say whether a price leaves anything for claims after tax, expenses and commission."""
        net = multiply_divide(price_minor * MILLION, MILLION, MILLION + self.tax)
        return bool(multiply_divide(net, self.variable + self.commission, MILLION) + self.fixed_micros < net)


def _channel_terms(plan: RatingPlan, channel: str, sub_channel: str | None, commission: str) -> ChannelTerms:
    def minor(amount: str) -> int:
        return to_minor(amount, plan.currency)

    def optional(share: str | None) -> int | None:
        return None if share is None else millionths(share)

    tax, unit = millionths(plan.tax), minor(plan.rounding.unit)
    shares = [millionths(share) for share in (plan.expense.variable, commission, plan.margin)]
    minimum, maximum = minor(plan.minimum_premium) * MILLION, None
    if plan.maximum_premium is not None:
        net = minor(plan.maximum_premium) * MILLION
        maximum = int(net + multiply_divide(net, tax, MILLION)) // (unit * MILLION) * unit
    gross = minimum + multiply_divide(minimum, tax, MILLION)
    return ChannelTerms(
        payee=channel if sub_channel is None else f"{channel}/{sub_channel}",
        inflation=None if plan.claims_inflation is None else plan.claims_inflation.factor,
        reinsurance=optional(plan.reinsurance),
        variable=shares[0],
        commission=shares[1],
        margin=shares[2],
        loadings=sum(shares),
        tax=tax,
        fixed_micros=minor(plan.expense.fixed) * MILLION,
        minimum_micros=minimum,
        unit_micros=unit * MILLION,
        unit_minor=unit,
        lowest_minor=minor(plan.corridor.lowest),
        highest_minor=minor(plan.corridor.highest),
        mode=plan.rounding.mode,
        minimum_price_minor=int(ROUNDING[plan.rounding.mode](gross, unit * MILLION)) * unit,
        maximum_price_minor=maximum,
        renewal=plan.renewal_cap is not None,
        rise=None if plan.renewal_cap is None else optional(plan.renewal_cap.rise),
        fall=None if plan.renewal_cap is None else optional(plan.renewal_cap.fall),
        cover_share=None if plan.cover_cap is None else optional(plan.cover_cap.share),
    )


def plan_on(plans: Sequence[RatingPlan], day: date) -> RatingPlan:
    """Give the plan that is in force on a day: of several, the one that came into force last.

    Raises
    ------
    PlanNotEffectiveError
        If none is.
    """
    found = [plan for plan in plans if plan.is_effective(day)]
    if not found:
        known = "; ".join(
            f"plan {plan.code} is in force from {plan.effective_from} until "
            f"{plan.effective_to or 'further notice'}"
            for plan in plans
        )
        raise PlanNotEffectiveError(f"{known}; none on {day}. Hint: file and activate the plan of that day")
    return max(found, key=lambda plan: plan.effective_from)


def read_plan(path: Path) -> RatingPlan:
    """Read a rating plan file (see `parse_definition` for what is refused)."""
    plan = parse_definition(RatingPlan, path.read_text(encoding="utf-8"), path.name)
    if path.stem != plan.code:
        raise DefinitionError(
            path.name, [f"code {plan.code!r} must equal the name of the file, {path.stem!r}"]
        )
    return plan
