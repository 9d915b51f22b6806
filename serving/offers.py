"""What is done to a price beside its cost: the stored price policy, and the cell of a running price test."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from models.demand import StoredDemand
from pricing.errors import DefinitionError, TechnicalPremiumError
from pricing.experiments import TestedPrice, assign, cell_multiplier, takes_part
from pricing.factors import NumberFactor
from pricing.ladder import build_ladder, offer_basis
from pricing.optimiser import PricePolicy, policy_multiplier
from pricing.plan import MILLION
from serving.batch_inputs import rated_levels, rated_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from pricing.experiments import CellShares
    from pricing.factors import FactorValue
    from pricing.ladder import OfferBasis, PriceInputs
    from pricing.plan import ChannelTerms, PolicyFile, RatingPlan
    from pricing.product import Product

POLICIES = "policies"


@dataclass(frozen=True, eq=False)
class LivePolicy:
    """A price policy that serves.

    Attributes
    ----------
    policy
        Prices of the constraints, or the step of each group.
    demand
        Demand model; None for group prices.
    """

    policy: PricePolicy
    demand: StoredDemand | None

    @property
    def log_ladder(self) -> NDArray[np.float64]:
        """Logarithms of the multipliers, shape (k,)."""
        return np.log(np.asarray(self.policy.multipliers, dtype=np.float64))

    def one(self, risk: Mapping[str, FactorValue], basis: OfferBasis) -> tuple[int, bool]:
        """Give the multiplier of one risk, millionths, and whether its demand is known."""
        policy = self.policy
        place = policy.segments.index(str(risk[policy.segment_by])) if policy.segment_by else 0
        if self.demand is None:
            return int(policy_multiplier(policy, basis, place)), True
        accept = self.demand.model.accept_one(risk, self.log_ladder)
        if accept is None:
            return MILLION, False
        return int(policy_multiplier(policy, basis, place, accept.astype(np.float64).tolist())), True

    def many(self, rated: pd.DataFrame, basis: OfferBasis) -> NDArray[np.int64]:
        """Give the multipliers of rated risks, shape (n,); equal to `one` by row."""
        policy = self.policy
        place = np.zeros(len(rated), dtype=np.int64)
        if policy.segment_by:
            place = pd.Index(policy.segments).get_indexer(rated[policy.segment_by])
        if self.demand is None:
            return np.asarray(policy_multiplier(policy, basis, place), dtype=np.int64)
        accept, known = self.demand.model.accept_known(rated, policy.multipliers)
        found = policy_multiplier(policy, basis, place, list(accept.astype(np.float64)), known)
        return np.asarray(found, dtype=np.int64)


@dataclass(frozen=True)
class Asking:
    """A running price test and the unit that asks.

    Attributes
    ----------
    shares
        Version of the shares in force.
    unit
        Customer; None when nobody is named, who then takes no part.
    """

    shares: CellShares
    unit: int | None


@dataclass(frozen=True)
class Offer:
    """What policy and test did to one price.

    Attributes
    ----------
    policy_multiplier
        Millionths; None without a policy.
    demand_known
        Whether the policy knew the demand of the risk; where not, the price by cost alone stands.
    tested
        What the log of the test keeps; None where the quote takes no part.
    left_out
        Why it takes no part; empty when it does, or no test runs.
    """

    policy_multiplier: int | None = None
    demand_known: bool = True
    tested: TestedPrice | None = None
    left_out: str = ""

    def record(self, plan: RatingPlan, tested: Asking | None) -> dict[str, Any]:
        """Give what is stored with the quote."""
        found: dict[str, Any] = {}
        if plan.price_policy is not None:
            found["price_policy"] = plan.price_policy.model_dump() | {
                "multiplier": self.policy_multiplier,
                "demand_known": self.demand_known,
            }
        if self.tested is not None:
            found["price_test"] = {"takes_part": True, **asdict(self.tested)}
        elif tested is not None:
            found["price_test"] = {
                "takes_part": False,
                "experiment": tested.shares.experiment,
                "shares_version": tested.shares.version,
                "why": self.left_out,
            }
        return found


def offer_one(
    plan: RatingPlan,
    policy: LivePolicy | None,
    inputs: PriceInputs,
    outlet: tuple[str, str | None],
    risk: Mapping[str, FactorValue],
    tested: Asking | None,
) -> tuple[PriceInputs, Offer]:
    """Add the choice of the policy and the cell of the test to what a price is built from.

    Parameters
    ----------
    plan, policy
        Rating plan, and the policy that it names.
    inputs
        Without both multipliers.
    outlet
        Channel and sub-channel.
    risk
        Rated values of the factors.
    tested
        Running test; None when none runs.
    """
    terms = plan.terms(*outlet)
    try:
        return _offered(plan, policy, inputs, outlet, terms, risk, tested)
    except TechnicalPremiumError:  # the ladder refuses it, with or without an offer
        neutral = MILLION if policy is not None else None
        return replace(inputs, price_policy=neutral), Offer(neutral, left_out="no price" if tested else "")


def _offered(
    plan: RatingPlan,
    policy: LivePolicy | None,
    inputs: PriceInputs,
    outlet: tuple[str, str | None],
    terms: ChannelTerms,
    risk: Mapping[str, FactorValue],
    tested: Asking | None,
) -> tuple[PriceInputs, Offer]:
    multiplier, known = None, True
    if policy is not None:
        multiplier, known = policy.one(risk, offer_basis(inputs, terms))
        inputs = replace(inputs, price_policy=multiplier)
    if tested is None:
        return inputs, Offer(multiplier, known)
    if tested.unit is None:
        return inputs, Offer(multiplier, known, left_out="no customer is named")
    basis = offer_basis(inputs, terms)
    if not takes_part(tested.shares, basis):
        return inputs, Offer(multiplier, known, left_out="a cell's price would be bounded or refused")
    chosen = assign(tested.shares, tested.unit)
    technical = build_ladder(inputs, plan, *outlet).price_minor
    inputs = replace(inputs, price_test=chosen.multiplier)
    shown = build_ladder(inputs, plan, *outlet).price_minor
    price = TestedPrice(chosen, technical, shown, terms.lowest_minor, terms.highest_minor)
    return inputs, Offer(multiplier, known, price)


def offer_many(
    plan: RatingPlan,
    policy: LivePolicy | None,
    inputs: PriceInputs,
    outlet: tuple[str, str | None],
    rated: pd.DataFrame | None,
    shares: CellShares | None,
    customers: pa.Array | None,
) -> PriceInputs:
    """Add both multipliers to columns, as `offer_one` does for one risk.

    Parameters
    ----------
    plan, policy, inputs, outlet
        As for `offer_one`; `inputs` of columns.
    rated
        Rated factors of the rows, where there is a policy (`rated_frame`).
    shares
        Of a running test; None when none runs.
    customers
        Who asks, by row; null or None: nobody is named.
    """
    terms = plan.terms(*outlet)
    if policy is not None and rated is not None:
        inputs = replace(inputs, price_policy=policy.many(rated, offer_basis(inputs, terms)))
    if shares is None or customers is None:
        return inputs
    named = customers.is_valid().to_numpy(zero_copy_only=False)
    units = customers.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    chosen = np.asarray(cell_multiplier(shares, units, offer_basis(inputs, terms)))
    return replace(inputs, price_test=np.where(named, chosen, MILLION))


def rated_frame(product: Product, batch: pa.RecordBatch) -> pd.DataFrame:
    """Give the rated factors of a batch, as `read_risk` gives those of one risk; missing where it refuses."""
    columns: dict[str, Any] = {}
    for factor in product.factors:
        column = batch.column(factor.name)
        if isinstance(factor, NumberFactor):
            columns[factor.name] = rated_numbers(factor, column)
            continue
        levels, place = rated_levels(factor, column)
        known = np.array([level if isinstance(level, str) else None for level in levels], dtype=object)
        columns[factor.name] = known[place]
    return pd.DataFrame(columns)


def read_policy(wanted: PolicyFile, product: Product, plans: Path) -> LivePolicy:
    """Read the price policy that a rating plan names.

    Parameters
    ----------
    wanted
        Of the plan.
    product
        It must have been made for this product file.
    plans
        Folder of the plans; policies lie in `policies` there.

    Raises
    ------
    DefinitionError
        If it is absent, was changed since it was named, or is of another product or mode.
    DemandError
        If its prices would rest on an elasticity that is not identified.
    """
    path = plans / POLICIES / wanted.file
    if not path.is_file():
        raise DefinitionError(wanted.file, [f"there is no such price policy in {path.parent}"])
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != wanted.sha256:
        raise DefinitionError(
            wanted.file,
            [f"its checksum is {found[:12]}, the plan names {wanted.sha256[:12]}: it was changed since"],
        )
    policy = PricePolicy.from_json(content.decode())
    problems = []
    if policy.mode != wanted.mode:
        problems.append(f"its mode is {policy.mode}, the plan names {wanted.mode}")
    if (policy.product, policy.product_hash) != (product.code, product.hash):
        problems.append(f"made for another file of product {policy.product!r} than {product.code!r} has now")
    if policy.mode == "individual" and policy.demand is None:
        problems.append("individual prices need a demand model, which it does not hold")
    if problems:
        raise DefinitionError(wanted.file, problems)
    if policy.demand is None:
        return LivePolicy(policy, None)
    demand = StoredDemand.from_json(policy.demand)
    demand.check_made_for(product)
    demand.verdict.check_usable(policy.mode, demand.source)
    return LivePolicy(policy, demand if policy.needs_demand else None)


def read_policies(plans: Iterable[RatingPlan], product: Product, folder: Path) -> dict[str, LivePolicy]:
    """Read the price policies that rating plans of a product name, by checksum (see `read_policy`)."""
    named = [plan.price_policy for plan in plans if plan.price_policy is not None]
    return {one.sha256: read_policy(one, product, folder) for one in named}
