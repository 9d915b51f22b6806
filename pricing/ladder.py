"""From risk premium to price: a ladder of named steps in minor units that adds up exactly.

Floats end here. The risk premium enters as millionths of a minor unit, and from then on everything is
integer: the running total after each step is exact to a millionth, a step is the difference of two running
totals rounded to minor units (so the steps sum to the price by construction), and the price itself is
rounded once, at the end. The same lines run on one Python int and on an int64 column, so that the quote
and the book of a batch job agree to the last fen.

    loaded = risk x experience x relativities x claims inflation + reinsurance
    net    = (loaded + fixed expense) / (1 - variable expense - commission - margin)
    net    = max(max(max(net, minimum) x price policy, minimum) x price test, minimum)
    net    = max(net x (1 - discount of the bundle), minimum)
    price  = round(net x (1 + tax)), within renewal cap, cover cap and maximum

The three caps bound the price that the customer pays, in whole rounding units, so that tax and rounding
cannot lift it above them. Where they contradict the minimum premium or each other there is no price.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from pricing.errors import BelowExpensesError, CorridorError, LimitsError, TechnicalPremiumError
from pricing.integers import (
    ROUNDING,
    Integers,
    at_least,
    at_most,
    choose,
    multiply_divide,
)
from pricing.plan import LARGEST_NET_MICROS, MILLION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.plan import ChannelTerms, RatingPlan

StepName = Literal[
    "risk_premium",
    "experience",
    "relativities",
    "claims_inflation",
    "reinsurance",
    "fixed_expense",
    "variable_expense",
    "commission",
    "margin",
    "minimum_premium",
    "price_policy",
    "price_test",
    "bundle",
    "renewal_cap",
    "cover_cap",
    "maximum_premium",
    "tax",
    "rounding",
]
STEP_NAMES: tuple[StepName, ...] = get_args(StepName)
CAPS: tuple[StepName, ...] = ("renewal_cap", "cover_cap", "maximum_premium")
# Above every price; where nothing bounds it.
UNBOUNDED_MINOR = 4 * LARGEST_NET_MICROS // MILLION
LARGEST_EXPIRING_MINOR = 1_000_000_000
# Relativities of a risk that cannot be priced may not leave int64.
SATURATED = LARGEST_NET_MICROS + 1

Totals = list[tuple[StepName, Integers]]


@dataclass(frozen=True)
class PriceInputs:
    """Everything that a price is built from, beside the plan: of one risk, or columns of shape (n,).

    A multiplier that is None is no step of the ladder.

    Attributes
    ----------
    risk_premium_minor
        Risk premium of the whole cover, minor units, as the model gives it.
    relativities
        One for each table of the plan, in its order, millionths.
    experience
        Relativity of own claims, millionths.
    price_policy, price_test
        Multipliers that the optimiser's policy and a price test chose, millionths.
    bundle
        Multiplier of the bundle in which the cover is sold, millionths; None outside of one.
    cover_minor
        What the cover pays at most, minor units; the plan's cover cap needs it.
    expiring_minor
        Price of the cover that is renewed, minor units; 0 for new business.
    """

    risk_premium_minor: float | NDArray[np.float64]
    relativities: tuple[Integers, ...] = ()
    experience: Integers | None = None
    price_policy: Integers | None = None
    price_test: Integers | None = None
    cover_minor: Integers | None = None
    expiring_minor: Integers = 0
    bundle: Integers | None = None

    def check(self, plan: RatingPlan) -> None:
        """Refuse inputs that do not fit the plan: a step that is left out would change the price.

        Raises
        ------
        ValueError
            If a table has no relativity, or cover amount or choice of the price policy are missing.
        """
        tables = len(plan.relativities or ())
        if len(self.relativities) != tables:
            raise ValueError(f"{plan.code} has {tables} tables, found {len(self.relativities)} relativities")
        if plan.cover_cap is not None and self.cover_minor is None:
            raise ValueError(f"{plan.code} caps the price by the cover amount, which is not given")
        if plan.price_policy is not None and self.price_policy is None:
            raise ValueError(f"{plan.code} names a price policy, whose multiplier is not given")

    def take(self, rows: NDArray[np.int64]) -> PriceInputs:
        """Give some rows of columns; what is the same for all rows stays."""

        def some(value: Integers | None) -> Integers | None:
            return value[rows] if isinstance(value, np.ndarray) else value

        expiring = self.expiring_minor
        return PriceInputs(
            np.asarray(self.risk_premium_minor)[rows],
            tuple(one[rows] if isinstance(one, np.ndarray) else one for one in self.relativities),
            some(self.experience),
            some(self.price_policy),
            some(self.price_test),
            some(self.cover_minor),
            expiring[rows] if isinstance(expiring, np.ndarray) else expiring,
            some(self.bundle),
        )


class Step(NamedTuple):
    """One step of a price.

    Attributes
    ----------
    name
        Which step.
    minor
        What it adds, minor units (negative where it takes away).
    """

    name: StepName
    minor: int


@dataclass(frozen=True)
class Ladder:
    """A price and the steps that lead to it.

    Attributes
    ----------
    steps
        In the order in which they are applied; they sum to `price_minor`.
    price_minor
        What the customer pays, tax included, minor units.
    """

    steps: tuple[Step, ...]
    price_minor: int

    def amount(self, name: StepName) -> int:
        """Give what one step adds, minor units; 0 for a step that the plan does not have."""
        return next((step.minor for step in self.steps if step.name == name), 0)


@dataclass(frozen=True)
class Settlement:
    """Whose the parts of a price are: tax, commission and what the insurer keeps add up to it.

    Attributes
    ----------
    tax_minor
        Owed to the state: the tax contained in the price.
    commission_minor
        Owed to the channel: its share of the price without tax.
    kept_minor
        What remains.
    """

    tax_minor: Integers
    commission_minor: Integers
    kept_minor: Integers


def settle(price_minor: Integers, terms: ChannelTerms) -> Settlement:
    """Share out a price as it was charged, each part rounded to minor units.

    The ladder shows how a price came about; minimum, caps and rounding move it after commission and tax were
    added, so that what is owed follows from the price itself.

    Parameters
    ----------
    price_minor
        Price or column of prices, minor units.
    terms
        Of the channel.
    """
    tax = multiply_divide(price_minor, terms.tax, MILLION + terms.tax)
    commission = multiply_divide(price_minor - tax, terms.commission, MILLION)
    return Settlement(tax, commission, price_minor - tax - commission)


def price_bounds(inputs: PriceInputs, terms: ChannelTerms) -> tuple[Integers, Integers]:
    """Give the lowest and the highest price that minimum premium and caps allow, whole rounding units.

    Parameters
    ----------
    inputs
        Of one risk or of many.
    terms
        Of the channel.

    Returns
    -------
    tuple
        Minor units; the filed corridor is not part of it.
    """
    return _meet(_bounds(inputs, terms), terms)


class _Bounds(NamedTuple):
    """Bounds of the price, minor units: of the change at renewal, and of the cover (None: no such cap)."""

    lowest: Integers
    highest: Integers
    cover: Integers | None


def _bounds(inputs: PriceInputs, terms: ChannelTerms) -> _Bounds:
    expiring, unit = inputs.expiring_minor, terms.unit_micros
    lowest: Integers = 0
    highest: Integers = UNBOUNDED_MINOR
    if terms.rise is not None:
        most = expiring * (MILLION + terms.rise) // unit * terms.unit_minor
        highest = choose(expiring > 0, most, UNBOUNDED_MINOR)
    if terms.fall is not None:  # 0 for new business
        lowest = -(-expiring * (MILLION - terms.fall) // unit) * terms.unit_minor
    capped = terms.cover_share is not None and inputs.cover_minor is not None
    return _Bounds(lowest, highest, terms.cover_bound(inputs.cover_minor) if capped else None)  # type: ignore[arg-type]


def _meet(bounds: _Bounds, terms: ChannelTerms) -> tuple[Integers, Integers]:
    """Bring all bounds together."""
    highest = bounds.highest
    if bounds.cover is not None:
        highest = at_most(highest, bounds.cover)
    if terms.maximum_price_minor is not None:
        highest = at_most(highest, terms.maximum_price_minor)
    return at_least(bounds.lowest, terms.minimum_price_minor), highest


def _times(total: Integers, relativity: Integers) -> Integers:
    found = multiply_divide(total, relativity, MILLION)
    return at_most(found, SATURATED)


def _loaded(risk: Integers, inputs: PriceInputs, terms: ChannelTerms) -> Totals:
    """Totals up to the loaded risk premium, millionths of a minor unit."""
    totals: Totals = [("risk_premium", risk)]
    if inputs.experience is not None:
        risk = _times(risk, inputs.experience)
        totals.append(("experience", risk))
    if inputs.relativities:
        for relativity in inputs.relativities:
            risk = _times(risk, relativity)
        totals.append(("relativities", risk))
    if terms.inflation is not None:
        risk = _times(risk, terms.inflation)
        totals.append(("claims_inflation", risk))
    if terms.reinsurance is not None:
        risk = risk + multiply_divide(risk, terms.reinsurance, MILLION)
        totals.append(("reinsurance", risk))
    return totals


def _net(loaded: Integers, inputs: PriceInputs, terms: ChannelTerms) -> Totals:
    """Totals from the fixed expense to the net premium that is asked, before caps."""
    with_fixed = loaded + terms.fixed_micros
    net = multiply_divide(with_fixed, MILLION, MILLION - terms.loadings)
    with_variable = with_fixed + multiply_divide(net, terms.variable, MILLION)
    with_commission = with_variable + multiply_divide(net, terms.commission, MILLION)
    asked = at_least(net, terms.minimum_micros)
    totals: Totals = [
        ("fixed_expense", with_fixed),
        ("variable_expense", with_variable),
        ("commission", with_commission),
        ("margin", net),
        ("minimum_premium", asked),
    ]
    chosen: list[tuple[StepName, Integers | None]] = [
        ("price_policy", inputs.price_policy),
        ("price_test", inputs.price_test),
        ("bundle", inputs.bundle),
    ]
    for name, multiplier in chosen:
        if multiplier is not None:
            asked = at_least(_times(asked, multiplier), terms.minimum_micros)
            totals.append((name, asked))
    return totals


def _capped(net: Integers, bounds: _Bounds, terms: ChannelTerms) -> Totals:
    """Totals of the caps that the plan has, then with tax."""
    totals: Totals = []
    gross = net + multiply_divide(net, terms.tax, MILLION)

    def bound(name: StepName, bounded: Integers) -> None:
        nonlocal net, gross
        changed = bounded != gross
        if changed is not False:
            net = choose(changed, multiply_divide(bounded, MILLION, MILLION + terms.tax), net)
            gross = bounded
        totals.append((name, net))

    if terms.renewal:
        bound("renewal_cap", at_most(at_least(gross, bounds.lowest * MILLION), bounds.highest * MILLION))
    if bounds.cover is not None:
        bound("cover_cap", at_most(gross, bounds.cover * MILLION))
    if terms.maximum_price_minor is not None:
        bound("maximum_premium", at_most(gross, terms.maximum_price_minor * MILLION))
    totals.append(("tax", gross))
    return totals


def _steps(totals: Totals, price: Integers) -> list[tuple[StepName, Integers]]:
    """Turn running totals into steps in minor units, the last of which is the rounding to the price."""
    steps: list[tuple[StepName, Integers]] = []
    before: Integers = 0
    for name, total in totals:
        whole, rest = divmod(total, MILLION)  # half to even, as `divide_half_even`, without its call
        whole = whole + ((2 * rest + (whole & 1)) > MILLION)
        steps.append((name, whole - before))
        before = whole
    steps.append(("rounding", price - before))
    return steps


def _pays(net: Integers, terms: ChannelTerms) -> bool | NDArray[np.bool_]:
    """Whether anything is left for claims after expenses and commission."""
    spent = multiply_divide(net, terms.variable + terms.commission, MILLION) + terms.fixed_micros
    return spent < net


def build_ladder(
    inputs: PriceInputs, plan: RatingPlan, channel: str, sub_channel: str | None = None
) -> Ladder:
    """Price one risk.

    Parameters
    ----------
    inputs
        What the price is built from.
    plan
        Rating plan of the product.
    channel, sub_channel
        Through whom it is sold, as the plan names them.

    Raises
    ------
    UnknownChannelError
        If the plan has no commission for the channel.
    TechnicalPremiumError, LimitsError, BelowExpensesError, CorridorError
        If there is nothing to rest a price on, or no price that the plan allows.
    """
    terms = plan.terms(channel, sub_channel)
    inputs.check(plan)
    totals = _loaded_one(inputs, terms)
    totals += _net(totals[-1][1], inputs, terms)
    bounds = _bounds(inputs, terms)
    totals += _capped(totals[-1][1], bounds, terms)
    price = int(_price(totals[-1][1], terms))
    _check_price(price, totals[-2][1], _meet(bounds, terms), plan, terms)
    return Ladder(tuple(map(Step._make, _steps(totals, price))), price)


def _loaded_one(inputs: PriceInputs, terms: ChannelTerms) -> Totals:
    premium = inputs.risk_premium_minor
    if not 0.0 < premium <= LARGEST_NET_MICROS / MILLION:
        raise _unusable(premium, terms)
    totals = _loaded(round(float(premium) * MILLION), inputs, terms)
    if not 0 < totals[-1][1] <= terms.largest_risk_micros:
        raise _unusable(premium, terms)
    return totals


def _loaded_columns(inputs: PriceInputs, terms: ChannelTerms) -> tuple[Totals, NDArray[np.bool_]]:
    """Totals of columns, and which rows can be priced; what cannot goes on as one unit, within int64."""
    premium = np.asarray(inputs.risk_premium_minor)
    usable = (premium > 0.0) & (premium <= LARGEST_NET_MICROS / MILLION)
    totals = _loaded(np.rint(np.where(usable, premium, 1.0) * MILLION).astype(np.int64), inputs, terms)
    name, loaded = totals[-1]
    usable &= (loaded > 0) & (loaded <= terms.largest_risk_micros)
    totals[-1] = (name, np.where(usable, loaded, MILLION))
    return totals, usable


@dataclass(frozen=True)
class OfferBasis:
    """What price policy and price test multiply, and how far they may go: of one risk, or columns.

    Attributes
    ----------
    net_micros
        Net premium after the minimum, before policy and test, millionths of a minor unit.
    cost_micros
        Loaded risk premium and fixed expense, millionths.
    lowest_minor, highest_minor
        Prices that corridor, minimum premium and caps allow.
    new_lowest_minor, new_highest_minor
        The same of new business, which no renewal cap bounds.
    terms
        Of the channel.
    """

    net_micros: Integers
    cost_micros: Integers
    lowest_minor: Integers
    highest_minor: Integers
    new_lowest_minor: Integers
    new_highest_minor: Integers
    terms: ChannelTerms

    def allows(self, multiplier: Integers, *, new_business: bool = False) -> bool | NDArray[np.bool_]:
        """Say whether a multiplier (millionths) gives a price that nothing would bound or refuse."""
        lowest = self.new_lowest_minor if new_business else self.lowest_minor
        highest = self.new_highest_minor if new_business else self.highest_minor
        net = _times(self.net_micros, multiplier)
        price = _price(net + multiply_divide(net, self.terms.tax, MILLION), self.terms)
        return (net >= self.terms.minimum_micros) & (price >= lowest) & (price <= highest)


def _price(gross: Integers, terms: ChannelTerms) -> Integers:
    return ROUNDING[terms.mode](gross, terms.unit_micros) * terms.unit_minor


def offer_basis(inputs: PriceInputs, terms: ChannelTerms) -> OfferBasis:
    """Give what the multipliers of an offer act on; a policy that is set already counts as part of it.

    Raises
    ------
    TechnicalPremiumError
        If the premium of one risk cannot be priced; rows of columns go on as one unit, and are refused later.
    """
    if isinstance(inputs.risk_premium_minor, np.ndarray):
        loaded = _loaded_columns(inputs, terms)[0][-1][1]
    else:
        loaded = _loaded_one(inputs, terms)[-1][1]
    net = _net(loaded, replace(inputs, price_test=None, bundle=None), terms)[-1][1]
    lowest, highest = price_bounds(inputs, terms)
    new_lowest, new_highest = price_bounds(replace(inputs, expiring_minor=0), terms)
    return OfferBasis(
        net,
        loaded + terms.fixed_micros,
        at_least(lowest, terms.lowest_minor),
        at_most(highest, terms.highest_minor),
        at_least(new_lowest, terms.lowest_minor),
        at_most(new_highest, terms.highest_minor),
        terms,
    )


def _unusable(premium: object, terms: ChannelTerms) -> TechnicalPremiumError:
    return TechnicalPremiumError(
        f"risk premium of {premium!r} minor units cannot be priced; allowed: above 0 and, loaded, at most "
        f"{terms.largest_risk_micros / MILLION:g}. Hint: refer the risk to a person"
    )


def _check_price(
    price: int, net: Integers, bounds: tuple[Integers, Integers], plan: RatingPlan, terms: ChannelTerms
) -> None:
    lowest, highest = bounds
    if lowest > highest:
        raise LimitsError(int(lowest), int(highest), plan.code)
    if not _pays(net, terms):
        raise BelowExpensesError(price, plan.code)
    if not terms.lowest_minor <= price <= terms.highest_minor:
        raise CorridorError(price, terms.lowest_minor, terms.highest_minor, plan.code)


@dataclass(frozen=True)
class LadderTable:
    """Ladders of many risks.

    Attributes
    ----------
    steps
        By step name, what it adds, minor units; shape (n,). Zero where the row is refused; absent where the
        plan does not have the step.
    price_minor
        Shape (n,); zero where the row is refused.
    refusal
        Shape (n,), `""` where there is a price, else the kind of the error that `build_ladder` raises:
        `technical_premium`, `limits`, `below_expenses` or `corridor`.
    """

    steps: dict[StepName, NDArray[np.int64]]
    price_minor: NDArray[np.int64]
    refusal: NDArray[np.object_]


def build_ladders(
    inputs: PriceInputs, plan: RatingPlan, channel: str, sub_channel: str | None = None
) -> LadderTable:
    """Price many risks of one channel; the same arithmetic as `build_ladder`, a refused row keeps its reason.

    Parameters
    ----------
    inputs
        Columns of shape (n,).
    plan, channel, sub_channel
        As in `build_ladder`.
    """
    terms = plan.terms(channel, sub_channel)
    inputs.check(plan)
    premium = np.asarray(inputs.risk_premium_minor)
    totals, usable = _loaded_columns(inputs, terms)
    totals += _net(totals[-1][1], inputs, terms)
    bounds = _bounds(inputs, terms)
    totals += _capped(totals[-1][1], bounds, terms)
    price = _price(totals[-1][1], terms)
    lowest, highest = _meet(bounds, terms)
    refused = {
        TechnicalPremiumError.kind: ~usable,
        LimitsError.kind: np.broadcast_to(lowest > highest, premium.shape),
        BelowExpensesError.kind: ~np.asarray(_pays(totals[-2][1], terms)),
        CorridorError.kind: (price < terms.lowest_minor) | (price > terms.highest_minor),
    }
    refusal = np.full(premium.shape, "", dtype=object)
    for kind in reversed(refused):
        refusal[refused[kind]] = kind
    priced = refusal == ""
    columns = {name: np.where(priced, minor, 0) for name, minor in _steps(totals, price)}
    return LadderTable(columns, np.where(priced, price, 0), refusal)
