"""A product is data: one TOML file declares it, these frozen types read it."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pricing.definitions import parse_definition
from pricing.experience import Experience
from pricing.factors import CategoryFactor, Factor, Frozen, Name, NumberFactor, Text
from pricing.glm import Glm
from pricing.money import exponent, to_minor
from pricing.promotion import Promotion
from pricing.rules import Rule
from pricing.score import ScoreScale
from pricing.suitability import Need, WaitingDays, admission_rules, need_problems, underwriting_rules

if TYPE_CHECKING:
    from pathlib import Path

Family = Literal["glm", "gbm", "ga2m", "ga2m_ensemble"]
FittedName = Literal["buyer_frailty", "seller_frailty"]
Amount = Annotated[str, Field(pattern=r"^\d{1,12}(\.\d{1,3})?$")]


class Cover(Frozen):
    """What is paid, and for how long.

    Attributes
    ----------
    kind
        `indemnity` (the loss, above a deductible, up to a limit) or `fixed_benefit`.
    per
        What one price is for: a year, an order or a trip.
    days
        Length of the cover in days.
    limit, deductible, benefit
        Decimal amounts in major units.
    """

    kind: Literal["indemnity", "fixed_benefit"]
    per: Literal["year", "order", "trip"]
    days: Annotated[int, Field(ge=1, le=3660)]
    limit: Amount | None = None
    deductible: Amount = "0"
    benefit: Amount | None = None

    @model_validator(mode="after")
    def _complete(self) -> Cover:
        if self.kind == "indemnity" and (self.limit is None or self.benefit is not None):
            raise ValueError("an indemnity cover has a limit and no benefit")
        if self.kind == "fixed_benefit" and (self.benefit is None or self.limit is not None):
            raise ValueError("a fixed_benefit cover has a benefit and no limit")
        return self


class Response(Frozen):
    """What is predicted, and in which columns of the training table it stands.

    Attributes
    ----------
    kind
        `event` (yes/no), `claim_count` (frequency), `frequency_severity` (count and amount) or
        `claim_amount` (pure premium from the amount alone).
    event, count, amount
        Columns; amounts are what was paid, after deductible and limit, in units of `amount_unit`.
    amount_unit
        `major` (euro, yuan) or `minor` (cent, fen).
    large_loss
        Amount per claim (major units) above which the excess is pooled over all policies.
    capped
        Column of amounts in which each claim was cut at `large_loss`; without it the threshold applies to the
        claims of a policy together, at so much per claim.
    development_days
        How long claims take to be reported: when a training table is built from policies and claims, exposure
        and occurrences of the last days before the cut are left out, reports of earlier claims are not.
    development
        `leave_out` as above, or `share`: nothing is left out, and exposure up to the cut is multiplied by the
        share of its claims that is reported by then.
    """

    kind: Literal["event", "claim_count", "frequency_severity", "claim_amount"]
    event: str | None = None
    count: str | None = None
    amount: str | None = None
    amount_unit: Literal["major", "minor"] = "minor"
    large_loss: Amount | None = None
    capped: str | None = None
    development_days: Annotated[int, Field(ge=0, le=3660)] = 0
    development: Literal["leave_out", "share"] = "leave_out"

    @model_validator(mode="after")
    def _columns(self) -> Response:
        needed = {
            "event": {"event"},
            "claim_count": {"count"},
            "frequency_severity": {"count", "amount"},
            "claim_amount": {"amount"},
        }[self.kind]
        given = {key for key in ("event", "count", "amount") if getattr(self, key) is not None}
        if given != needed:
            raise ValueError(f"kind {self.kind!r} needs the columns {sorted(needed)}, found {sorted(given)}")
        if self.capped is not None and (self.large_loss is None or self.amount is None):
            raise ValueError("capped goes with amount and large_loss")
        if self.development == "share" and (self.kind == "event" or self.development_days):
            raise ValueError("development = 'share' needs claims that add up, and no development_days")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the training table that hold the response."""
        columns = (self.event, self.count, self.amount, self.capped)
        return tuple(column for column in columns if column is not None)


class Periods(Frozen):
    """Columns of the training table that say when a policy was on risk.

    Attributes
    ----------
    policy
        Number of the policy or the contract.
    start, end
        First moment on risk, and first moment after it.
    """

    policy: str
    start: str
    end: str


class Exposure(Frozen):
    """How much insurance one row stands for.

    Attributes
    ----------
    column
        Column of the training table; absent when each row is one unit (an order, a trip).
    unit
        For example `policy-year`, `order`, `trip`.
    maximum
        Largest value a row may have.
    periods
        Where given, rows of one policy must not overlap in time.
    """

    column: str | None = None
    unit: str
    maximum: Annotated[float, Field(gt=0)] = 1.0
    # Left out of the content where absent, so that files without it keep their hash.
    periods: Periods | None = Field(default=None, exclude_if=lambda periods: periods is None)


class Profile(Frozen):
    """Which features of the risk profile the models use.

    Attributes
    ----------
    features
        Names from the feature definitions.
    fitted
        Estimates that are fitted anew as of the first of each month; model inputs after the features.
    monotone
        +1 or -1 by feature where the risk may only rise or only fall with it.
    customer, seller, as_of
        Columns of the training table that say whose history, and as of when.
    """

    features: tuple[Name, ...] = ()
    fitted: tuple[FittedName, ...] = ()
    monotone: dict[Name, Literal[-1, 1]] = Field(default_factory=dict)
    customer: str = "customer_id"
    seller: str = "seller_id"
    as_of: str = "quoted_at"

    @model_validator(mode="after")
    def _known(self) -> Profile:
        strangers = sorted(set(self.monotone) - set(self.inputs))
        if strangers:
            raise ValueError(f"monotone names {strangers}, which are not among the features")
        if len(set(self.inputs)) != len(self.inputs):
            raise ValueError("features are repeated")
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all model inputs from history: features, then what is fitted."""
        return self.features + self.fitted


class Split(Frozen):
    """Which rows judge the models.

    Attributes
    ----------
    method
        `time` (the last share by `column`), `column` (rows where `column` equals `test`), `group` (a hash of
        `column` or of all `columns`, so that one customer, or one feature vector, never stands on both sides)
        or `random`, only when asked for by name.
    columns
        Columns that make a group together (method `group`), such as all rating factors.
    buffer_days
        Rows so many days before the first test row are not learned from, since not all their claims were
        reported by then (method `time`).
    test
        The value that marks test rows (method `column`).
    share
        Share of test rows (other methods).
    seed
        Salt of the hash or seed of the draw.
    """

    method: Literal["time", "column", "group", "random"]
    column: str | None = None
    columns: tuple[str, ...] = ()
    buffer_days: Annotated[int, Field(ge=0, le=3660)] = 0
    test: str | int | None = None
    share: Annotated[float, Field(gt=0, lt=0.9)] = 0.25
    seed: int = 0

    @model_validator(mode="after")
    def _complete(self) -> Split:
        if self.columns and (self.method != "group" or self.column is not None):
            raise ValueError("columns go with method 'group', in place of column")
        if self.method != "random" and self.column is None and not self.columns:
            raise ValueError(f"split method {self.method!r} needs a column")
        if self.buffer_days and self.method != "time":
            raise ValueError("buffer_days goes with method 'time', and only with it")
        if (self.method == "column") != (self.test is not None):
            raise ValueError("test goes with method 'column', and only with it")
        return self


class Models(Frozen):
    """Which model families are fitted, and which one prices when nothing speaks against it."""

    families: Annotated[tuple[Family, ...], Field(min_length=1)] = ("glm", "gbm", "ga2m")
    champion: Family = "ga2m"
    glm: Glm = Glm()

    @model_validator(mode="after")
    def _champion_fitted(self) -> Models:
        if self.champion not in self.families:
            raise ValueError(f"champion {self.champion!r} is not among the families {list(self.families)}")
        return self


class Fairness(Frozen):
    """Limits of the fairness audit, set before it is made (docs/governance.md).

    Attributes
    ----------
    highest_proxy_share
        How much of a protected attribute's log loss the inputs may explain.
    widest_price_gap
        How far the premium of a group may lie from that of all at equal risk.
    """

    highest_proxy_share: Annotated[float, Field(gt=0, le=1)] = 0.10
    widest_price_gap: Annotated[float, Field(gt=0, le=1)] = 0.05


class Card(Frozen):
    """What only people can say of a model; the model card and the filing pack print it.

    Attributes
    ----------
    aim
        What the model decides, for whom, and what it must not be used for.
    risk_tier
        `minimal`, `limited` or `high` (EU AI Act: risk assessment and pricing in life and health is high).
    roles
        Who owns, builds, reviews and approves it.
    it_links
        Systems that it reads from and that read it.
    data
        Where the training data comes from, and over which period.
    exclusions
        What was left out, and why.
    preparation
        What was done to the data before fitting.
    security
        How data and model are protected.
    limits
        Known weaknesses, and where the model should not be relied on.
    reliance
        On whose data, models or expertise it rests.
    """

    aim: str
    risk_tier: Literal["minimal", "limited", "high"]
    roles: str
    it_links: str
    data: str
    exclusions: str
    preparation: str
    security: str
    limits: str
    reliance: str

    @model_validator(mode="after")
    def _filled(self) -> Card:
        empty = [name for name, value in self if not str(value).strip()]
        if empty:
            raise ValueError(f"the card leaves {empty} empty")
        return self


class Offer(Frozen):
    """What the recommender must know.

    Attributes
    ----------
    need
        Need group, for example `health`; one product per need is offered first.
    one_in_force
        Whether a customer may hold only one at a time.
    waiting_days
        Days since the last cover of the product began within which it may not be bought anew.
    """

    need: Name
    one_in_force: bool = True
    # Left out of the content where absent, so that files without it keep their hash.
    waiting_days: WaitingDays | None = Field(default=None, exclude_if=lambda days: days is None)


# Keys that came after models were trained: where they are absent, the hash is what it was.
_LATER_KEYS = ("experience", "demand_only", "plan_only", "suitability", "needs")


class Product(Frozen):
    """One insurance product, complete. The file format is described in docs/products.md."""

    code: Name
    version: Annotated[int, Field(ge=1)]
    name: Text
    currency: str
    plan: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
    quote_valid_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 90)]
    cover: Cover
    response: Response
    exposure: Exposure
    factors: tuple[Factor, ...] = ()
    profile: Profile = Profile()
    experience: Experience | None = None
    protected: tuple[str, ...] = ()
    demand_only: tuple[str, ...] = ()
    plan_only: tuple[str, ...] = ()
    split: Split
    models: Models = Models()
    promotion: Promotion = Promotion()
    score: ScoreScale | None = None
    fairness: Fairness = Fairness()
    card: Card | None = None
    offer: Offer
    eligibility: tuple[Rule, ...] = ()
    suitability: tuple[Rule, ...] = ()
    needs: tuple[Need, ...] = ()
    underwriting: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Product:
        exponent(self.currency)
        reference = None if self.score is None else self.score.reference
        cover = self.cover
        for amount in (cover.limit, cover.deductible, cover.benefit, self.response.large_loss, reference):
            if amount is not None:
                to_minor(amount, self.currency)
        names = [factor.name for factor in self.factors] + list(self.profile.inputs)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"factors and profile features repeat {repeated}")
        if not names:
            raise ValueError("a product needs at least one rating factor or profile feature")
        barred = {factor.name for factor in self.factors} | {factor.source for factor in self.factors}
        barred |= set(self.profile.inputs)
        for kind, named in (("protected", self.protected), ("demand-only", self.demand_only)):
            offending = sorted(set(named) & barred)
            if offending:
                raise ValueError(
                    f"{kind} attributes {offending} are never rating factors or profile features"
                )
        self._check_plan_only()
        self._check_cover_fits_response()
        self._check_experience()
        unmet = need_problems(self)
        if unmet:
            raise ValueError("; ".join(unmet))
        categories = {factor.name for factor in self.factors if isinstance(factor, CategoryFactor)}
        faults = self.models.glm.faults(set(names) - categories, categories, self.monotone)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _check_plan_only(self) -> None:
        factors = {factor.name: factor for factor in self.factors}
        strange = [name for name in self.plan_only if name not in factors]
        if strange:
            raise ValueError(f"plan_only names {strange}, which are no rating factors")
        scale = None if self.experience is None else self.experience.scale
        if scale is not None and scale.factor in self.plan_only:
            raise ValueError(
                f"{scale.factor!r} is the class of experience.scale; the plan may not rate it too"
            )
        bent = [name for name in self.plan_only if name in self.monotone]
        if bent:
            raise ValueError(f"monotone of {bent} holds models, and no model reads plan_only factors")

    def _check_cover_fits_response(self) -> None:
        fixed = self.cover.kind == "fixed_benefit"
        if fixed and self.response.kind not in {"event", "claim_count"}:
            raise ValueError(
                "a fixed_benefit cover is priced from an event or a claim count, not from amounts"
            )
        if not fixed and self.response.kind not in {"frequency_severity", "claim_amount"}:
            raise ValueError("an indemnity cover needs claim amounts: frequency_severity or claim_amount")

    def _check_experience(self) -> None:
        own = self.experience
        if own is None:
            return
        fitted = {"customer": "buyer_frailty", "seller": "seller_frailty"}[own.unit]
        if fitted in self.profile.fitted:
            raise ValueError(f"experience of the {own.unit} and {fitted} would count the same history twice")
        if own.method == "buhlmann_straub" and self.cover.kind == "fixed_benefit":
            raise ValueError("buhlmann_straub weighs cost: a fixed_benefit has poisson_gamma")
        if own.method != "buhlmann_straub" and self.response.kind == "claim_amount":
            raise ValueError(f"{own.method} counts claims: response claim_amount has buhlmann_straub")
        if self.response.kind == "event" and own.shape is None:
            raise ValueError(
                "an event happens once at most, so its counts show no shape: file experience.shape"
            )
        if own.scale is not None:
            factor = next((f for f in self.factors if f.name == own.scale.factor), None)
            if not isinstance(factor, NumberFactor) or (factor.type, factor.minimum) != ("integer", 0):
                raise ValueError(
                    f"experience.scale.factor {own.scale.factor!r} is no integer factor with minimum 0"
                )
            own.scale.over(int(factor.maximum) + 1)

    @cached_property
    def hash(self) -> str:
        """Sha256 over the canonical content of the file, for artifacts and quotes."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    @property
    def canonical(self) -> str:
        """The content as text, whatever the layout of the file."""
        unused = {name for name in _LATER_KEYS if not getattr(self, name)}
        return self.model_dump_json(exclude=unused)

    @cached_property
    def admission(self) -> tuple[Rule, ...]:
        """Rules that say who may buy: eligibility, suitability, needs, covers already bought, scene."""
        return admission_rules(self)

    @cached_property
    def quote_rules(self) -> tuple[Rule, ...]:
        """Rules that are decided in a quote: `admission`, then underwriting."""
        return self.admission + underwriting_rules(self)

    @property
    def cover_amount(self) -> str:
        """What the cover pays at most, major units: its limit or its benefit."""
        return self.cover.limit or self.cover.benefit or "0"

    @property
    def model_factors(self) -> tuple[NumberFactor | CategoryFactor, ...]:
        """Factors that the models read: all but those of the plan and the class of a bonus-malus scale."""
        scale = None if self.experience is None else self.experience.scale
        others = {*self.plan_only} if scale is None else {*self.plan_only, scale.factor}
        return tuple(factor for factor in self.factors if factor.name not in others)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all model inputs: rating factors, profile features, fitted features."""
        return tuple(factor.name for factor in self.model_factors) + self.profile.inputs

    @property
    def monotone(self) -> dict[str, int]:
        """Direction by model input, where one is declared."""
        signs = {
            factor.name: factor.monotone
            for factor in self.factors
            if isinstance(factor, NumberFactor) and factor.monotone
        }
        return {**signs, **self.profile.monotone}


def parse_product(text: str, source: str) -> Product:
    """Read a product from the text of its file, `source` (see `parse_definition`)."""
    return parse_definition(Product, text, source)


def read_product(path: Path) -> Product:
    """Read a product file (see `parse_definition` for what is refused)."""
    return parse_product(path.read_text(encoding="utf-8"), path.name)
