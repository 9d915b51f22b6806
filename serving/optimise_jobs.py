"""Choose prices of a portfolio under constraints: policy, certificate, multipliers and frontier as files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from data.manifest import write_text_atomic
from data.parquet import write_parquet_atomic
from models.bundle import PREMIUM
from models.price_frontier import PriceFrontier, price_frontier
from pricing.definitions import parse_definition
from pricing.errors import BookError
from pricing.factors import CategoryFactor, Frozen, Name
from pricing.ladder import offer_basis
from pricing.optimiser import (
    Book,
    PricePolicy,
    frontier,
    loss_ratio_cap,
    optimise,
    premium_floor,
    rate_change_cap,
    volume_floor,
)
from pricing.plan import MILLION, RatingPlan, millionths
from serving.batch_inputs import batch_inputs
from serving.errors import PortfolioError
from serving.experience import relativities_of
from serving.offers import rated_frame
from serving.reprice import inspect_portfolio, price_batches, read_histories, sales_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime
    from pathlib import Path

    import duckdb
    from numpy.typing import NDArray

    from features.spec import FeatureSpec
    from models.demand import StoredDemand
    from pricing.optimiser import Constraint, Solution
    from pricing.product import Product
    from serving.engine import InService
    from serving.reprice import PricedBatch

    Array = NDArray[np.float64]

Step = Annotated[str, Field(pattern=r"^[0-2]\.\d{1,6}$")]
Positive = Annotated[float, Field(gt=0.0)]


class LadderSpec(Frozen):
    """Multipliers that a policy may choose from."""

    lowest: Step
    highest: Step
    step: Step

    @property
    def multipliers(self) -> Array:
        """Ascending, exact millionths, shape (k,)."""
        low, high, by = (millionths(one) for one in (self.lowest, self.highest, self.step))
        return np.arange(low, high + 1, max(by, 1)) / MILLION

    @model_validator(mode="after")
    def _ordered(self) -> LadderSpec:
        if not 2 <= len(self.multipliers) <= 126 or MILLION not in np.rint(self.multipliers * MILLION):
            raise ValueError(
                f"{self.lowest} to {self.highest} by {self.step} gives {len(self.multipliers)} multipliers; "
                "allowed: 2 to 126, one of them 1"
            )
        return self


class Limits(Frozen):
    """Constraints; each is absent or one figure.

    Attributes
    ----------
    volume, premium
        Least expected volume and premium of what is sold, as a share of those at prices by cost alone.
    loss_ratio
        Largest expected cost over expected premium of what is sold.
    """

    volume: Positive | None = None
    premium: Positive | None = None
    loss_ratio: Positive | None = None


class Demands(Limits):
    """Constraints of the whole book, and of segments by level.

    Attributes
    ----------
    rate_change
        Largest mean change of the prices quoted to all, against prices by cost alone.
    segments
        By level of the segmenting factor.
    """

    rate_change: Annotated[float, Field(gt=-1.0)] | None = None
    segments: dict[str, Limits] = Field(default_factory=dict)


class FrontierSpec(Frozen):
    """Targets of the volume floor, as shares of the volume at prices by cost alone."""

    lowest: Positive
    highest: Positive
    points: Annotated[int, Field(ge=2, le=60)] = 15


class OptimiseSpec(Frozen):
    """What is asked of the prices of a portfolio.

    Attributes
    ----------
    mode
        `cost_only` (the default), `group` or `individual`.
    segment_by
        Category among the rating factors whose levels are groups and segments; absent: one segment.
    ladder, constraints, frontier
        Multipliers, demands, and the frontier that is drawn.
    """

    mode: Literal["cost_only", "group", "individual"] = "cost_only"
    segment_by: Name | None = None
    ladder: LadderSpec
    constraints: Demands = Demands()
    frontier: FrontierSpec | None = None


def read_optimise_spec(path: Path) -> OptimiseSpec:
    """Read a file of constraints (see `parse_definition` for what is refused)."""
    return parse_definition(OptimiseSpec, path.read_text(encoding="utf-8"), path.name)


@dataclass(frozen=True, eq=False)
class PricedBook:
    """A portfolio as the optimiser takes it.

    Attributes
    ----------
    book
        Policies that have a price.
    rows
        Their places in the portfolio, shape (n,).
    policy_id
        As the portfolio has it.
    known
        Whether demand is known, shape (n,); where not, the price by cost alone stands.
    left_out
        Rows without a price.
    """

    book: Book
    rows: NDArray[np.int64]
    policy_id: pa.Array
    known: NDArray[np.bool_]
    left_out: int


@dataclass(frozen=True, eq=False)
class Optimised:
    """Chosen prices.

    Attributes
    ----------
    priced, cost_only, chosen
        Book, its prices by cost alone, and the chosen ones.
    policy
        What a live quote needs of them.
    constraints
        As they were solved.
    frontier
        None when none was asked for.
    """

    priced: PricedBook
    cost_only: Solution
    chosen: Solution
    policy: PricePolicy
    constraints: tuple[Constraint, ...]
    frontier: PriceFrontier | None


def optimise_portfolio(
    portfolio: Path,
    service: InService,
    demand: StoredDemand,
    wanted: OptimiseSpec,
    spec: FeatureSpec,
    con: duckdb.DuckDBPyConnection,
    as_of: datetime,
    *,
    lake: Path | None = None,
    withdrawn: Mapping[str, Collection[int]] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Optimised:
    """Price a portfolio by cost, and choose multipliers under constraints.

    Parameters
    ----------
    portfolio, spec, con, as_of, lake, withdrawn
        As for `reprice`; all rows are of one product.
    service
        What prices it.
    demand
        Acceptance by price.
    wanted
        What is asked.
    progress
        Told (step, share done).

    Raises
    ------
    DemandError
        If prices would rest on an elasticity that is not identified.
    InfeasibleError
        If no prices meet all constraints, with those that conflict.
    """
    report = progress or (lambda _step, _share: None)
    product = service.product
    demand.check_made_for(product)
    demand.verdict.check_usable(wanted.mode, demand.source)
    segments = _segments(product, wanted.segment_by)
    service = replace(service.on(as_of.date()), plans=(), policies={})
    # Read anew: a copy would keep the hash and the terms of the plan it was made from.
    by_cost = RatingPlan.model_validate(service.plan.model_dump(exclude={"price_policy"}))
    service = replace(service, plan=by_cost)
    counts, schema = inspect_portfolio(portfolio, {product.code: service}, spec)
    total = sum(counts.values())
    report("histories", 0.02)
    history = read_histories(con, portfolio, service, spec, as_of, schema, total, withdrawn or {}, lake)
    parts = []
    done = 0
    for batch in price_batches(portfolio, {product.code: service}, spec, {product.code: history}):
        parts.append(_part(service, demand, wanted, segments, batch))
        done += batch.own.num_rows
        report("price", 0.05 + 0.45 * done / total)
    priced = _joined(parts, wanted, segments, total)
    report("optimise", 0.55)
    cost_only = optimise(priced.book)
    constraints = _constraints(priced.book, cost_only, wanted.constraints)
    chosen = optimise(priced.book, constraints, wanted.mode)
    made_for = {
        "segment_by": wanted.segment_by or "",
        "product": product.code,
        "product_hash": product.hash,
        "demand": demand.to_json() if wanted.mode == "individual" else None,
    }
    policy = PricePolicy.of(priced.book, constraints, chosen, **made_for)
    drawn = _frontier(priced.book, cost_only, chosen, constraints, wanted, report)
    report("done", 1.0)
    return Optimised(priced, cost_only, chosen, policy, constraints, drawn)


def _segments(product: Product, name: str | None) -> tuple[str, ...]:
    if name is None:
        return ("all",)
    factors = {factor.name: factor for factor in product.factors}
    factor = factors.get(name)
    if not isinstance(factor, CategoryFactor):
        allowed = ", ".join(one.name for one in product.factors if isinstance(one, CategoryFactor))
        raise BookError(
            [f"segment_by {name!r} is no category of {product.code}; allowed: {allowed or 'none'}"]
        )
    return factor.levels


def _part(
    service: InService,
    demand: StoredDemand,
    wanted: OptimiseSpec,
    segments: tuple[str, ...],
    batch: PricedBatch,
) -> dict[str, Any]:
    """Turn the priced rows of a batch into columns of the book, and find the steps that each may take."""
    multipliers = wanted.ladder.multipliers
    micros = [round(one * MILLION) for one in multipliers]
    quoted = np.flatnonzero(np.array(batch.decided.column("status").to_pylist()) == "quoted")
    scored = service.bundle.score(batch.risks)
    premium = scored.column(PREMIUM).fill_null(np.nan).to_numpy(zero_copy_only=False)
    sales = sales_of(service, batch.own)
    experience = relativities_of(service, batch.risks, scored)
    inputs = batch_inputs(service.product, service.plan, batch.risks, premium, sales, experience)
    size = batch.own.num_rows
    base, cost, kept = np.ones(size), np.zeros(size), np.ones(size)
    allowed = np.zeros((len(micros), size), dtype=bool)
    for outlet in service.plan.outlets:
        own = quoted[[sales.outlets[row] == outlet for row in quoted]]
        terms = service.plan.terms(*outlet)
        basis = offer_basis(inputs.take(own), terms)
        base[own], cost[own] = np.asarray(basis.net_micros) / MILLION, np.asarray(basis.cost_micros) / MILLION
        kept[own] = (MILLION - terms.variable - terms.commission) / MILLION
        for step, one in enumerate(micros):
            allowed[step, own] = basis.allows(one)
    rated = rated_frame(service.product, batch.risks)
    accept, known = demand.model.accept_known(rated, multipliers)
    place = np.zeros(size, dtype=np.int64)
    if wanted.segment_by:
        index = {level: i for i, level in enumerate(segments)}
        place = np.array([index.get(str(level), 0) for level in rated[wanted.segment_by]])
    ids = (
        batch.own.column("policy_id") if "policy_id" in batch.own.schema.names else pa.nulls(size, pa.int64())
    )
    return {
        "rows": batch.rows[quoted],
        "policy_id": ids.cast(pa.int64()).take(pa.array(quoted)),
        "base": base[quoted],
        "cost": cost[quoted],
        "kept": kept[quoted],
        "allowed": allowed[:, quoted],
        "accept": accept[:, quoted],
        "known": known[quoted],
        "segment": place[quoted],
    }


def _joined(
    parts: list[dict[str, Any]], wanted: OptimiseSpec, segments: tuple[str, ...], total: int
) -> PricedBook:
    def column(name: str, axis: int = -1) -> Any:  # noqa: ANN401 - arrays of several kinds
        return np.concatenate([part[name] for part in parts], axis=axis)

    allowed, accept, known = column("allowed"), column("accept"), column("known")
    if not known.any():
        raise PortfolioError("demand is known of no policy that has a price")
    neutral = int(np.argmin(np.abs(wanted.ladder.multipliers - 1.0)))
    # Where demand is not known, or no step fits, the price by cost alone stands, accepted as on average.
    held = ~known | ~allowed.any(axis=0)
    accept[:, ~known] = accept[:, known].mean(axis=1)[:, None]
    low = np.where(held, neutral, allowed.argmax(axis=0))
    high = np.where(held, neutral, len(allowed) - 1 - allowed[::-1].argmax(axis=0))
    book = Book(
        wanted.ladder.multipliers,
        column("base"),
        column("cost"),
        column("kept"),
        np.ascontiguousarray(accept),
        low.astype(np.int8),
        high.astype(np.int8),
        column("segment"),
        segments,
    )
    ids = pa.concat_arrays([part["policy_id"] for part in parts])
    rows = column("rows")
    return PricedBook(book, rows, ids, known & ~held, total - len(rows))


def _constraints(book: Book, base: Solution, wanted: Demands) -> tuple[Constraint, ...]:
    found = _limits(base, wanted, slice(None), None)
    if wanted.rate_change is not None:
        found.append(rate_change_cap(book, wanted.rate_change))
    strangers = sorted(set(wanted.segments) - set(book.segments))
    if strangers:
        raise BookError([f"constraints.segments.{', '.join(strangers)}: allowed: {', '.join(book.segments)}"])
    for level, limits in wanted.segments.items():
        place = book.segments.index(level)
        found += _limits(base, limits, slice(place, place + 1), level)
    return tuple(found)


def _limits(base: Solution, wanted: Limits, rows: slice, segment: str | None) -> list[Constraint]:
    found = []
    if wanted.volume is not None:
        found.append(volume_floor(wanted.volume * float(base.totals.volume[rows].sum()), segment))
    if wanted.premium is not None:
        found.append(premium_floor(wanted.premium * float(base.totals.premium[rows].sum()), segment))
    if wanted.loss_ratio is not None:
        found.append(loss_ratio_cap(wanted.loss_ratio, segment))
    return found


def _frontier(
    book: Book,
    base: Solution,
    chosen: Solution,
    constraints: tuple[Constraint, ...],
    wanted: OptimiseSpec,
    report: Callable[[str, float], None],
) -> PriceFrontier | None:
    if wanted.frontier is None:
        return None
    volume = float(base.totals.volume.sum())
    others = [one for one in constraints if not (one.volume and one.segment is None)]
    targets = np.linspace(wanted.frontier.lowest, wanted.frontier.highest, wanted.frontier.points) * volume
    points = frontier(
        book,
        volume_floor(volume),
        targets.tolist(),
        others,
        progress=lambda done, total: report("frontier", 0.6 + 0.38 * done / total),
    )
    return price_frontier(points, base, chosen, "the volume floor")


def write_optimised(found: Optimised, out: Path, name: str) -> tuple[Path, str]:
    """Write multipliers, certificate, policy and frontier; give the file of the policy and its checksum."""
    out.mkdir(parents=True, exist_ok=True)
    book, chosen = found.priced.book, found.chosen
    multiplier = np.rint(book.multipliers[chosen.steps] * MILLION).astype(np.int64)
    accept, _ = book.chosen(chosen.steps)
    table = pa.table(
        {
            "row": found.priced.rows,
            "policy_id": found.priced.policy_id,
            "segment": np.array(book.segments)[book.segment],
            "base_minor": book.base,
            "multiplier_micros": multiplier,
            "acceptance": accept,
            "demand_known": found.priced.known,
        }
    )
    write_parquet_atomic(table, out / "multipliers.parquet")
    certificate = {
        "mode": chosen.mode,
        "policies": book.size,
        "left_out": found.priced.left_out,
        "demand_not_known": int((~found.priced.known).sum()),
        "profit": chosen.profit,
        "profit_by_cost_alone": found.cost_only.profit,
        "bound": chosen.bound,
        "gap": chosen.gap,
        "slack": chosen.slack,
        "shadow_prices": chosen.shadow_prices,
        "violations": chosen.violations,
    }
    write_text_atomic(json.dumps(certificate, indent=1, ensure_ascii=False) + "\n", out / "certificate.json")
    if found.frontier is not None:
        write_text_atomic(found.frontier.frame.to_csv(index=False), out / "frontier.csv")
        found.frontier.figure().savefig(out / "frontier.png", dpi=110)
    path = out / f"{name}.json"
    text = found.policy.to_json()
    write_text_atomic(text, path)
    return path, hashlib.sha256(text.encode()).hexdigest()
