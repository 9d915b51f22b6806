"""What is done with rating plans: listed, checked, approved, activated, retired (see `models.plan_log`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.registry import Registry
from pricing.errors import DefinitionError, nearest
from pricing.plan import read_plan
from serving.clock import wall_clock
from serving.compose import find_product, read_products

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from models.plan_log import PlanVersion
    from pricing.plan import RatingPlan
    from serving.settings import Settings


@dataclass(frozen=True)
class PlanLine:
    """One version of a plan, as the log and the folder of plans know it.

    Attributes
    ----------
    product, code, version, hash
        Identity.
    state
        `draft`, `approved`, `active` or `retired`.
    effective_from, effective_to
        First day, and first day after; None when open or not known.
    approver
        Who approved it; empty for a draft.
    note
        What is wrong with its file, or why it does not price today; empty when nothing is.
    """

    product: str
    code: str
    version: int
    hash: str
    state: str
    effective_from: date | None
    effective_to: date | None
    approver: str
    note: str


def list_plans(settings: Settings, product: str | None = None) -> list[PlanLine]:
    """Give every version of every plan, by product and first day: those of the log, then drafts."""
    registry, today = Registry(settings.registry), wall_clock(settings.clock)().date()
    codes = [find_product(settings, product).code] if product else list(read_products(settings.products))
    files = _files(settings)
    lines: list[PlanLine] = []
    for code in codes:
        known = registry.plans.versions(code)
        in_force = registry.plans.in_force(code, today)
        for one in known.values():
            note = _file_note(one, files.get(one.code)) if one.state != "retired" else ""
            if not note and one.state == "active" and one != in_force:
                note = "expired" if one.effective_to and one.effective_to <= today else "not in force today"
            lines.append(_line(code, one, note))
        lines += [
            PlanLine(
                code,
                plan.code,
                plan.version,
                plan.hash,
                "draft",
                plan.effective_from,
                plan.effective_to,
                "",
                "",
            )
            for plan in files.values()
            if plan.product == code and (plan.code, plan.version) not in known
        ]
    return lines


def _line(product: str, one: PlanVersion, note: str) -> PlanLine:
    return PlanLine(
        product,
        one.code,
        one.version,
        one.hash,
        one.state,
        one.effective_from,
        one.effective_to,
        one.approver,
        note,
    )


def _file_note(one: PlanVersion, plan: RatingPlan | None) -> str:
    if plan is None:
        return "its file is missing"
    if plan.version != one.version:
        return f"its file holds version {plan.version}"
    return "" if plan.hash == one.hash else "its file was changed after it was approved"


def _files(settings: Settings) -> dict[str, RatingPlan]:
    """Read all plan files that can be read, by code; `check_plans` names the others."""
    found = {}
    for path in sorted(settings.plans.glob("*.toml")):
        try:
            found[path.stem] = read_plan(path)
        except DefinitionError:
            continue
    return found


def check_plans(settings: Settings, code: str | None = None) -> list[str]:
    """Hold plan files against the rules of plans, their product files and the log; one sentence per fault.

    Parameters
    ----------
    settings
        Where things are.
    code
        Of one plan; all of the folder when absent.

    Raises
    ------
    DefinitionError
        If there is no plan of this code.
    """
    paths = [_path(settings, code)] if code else sorted(settings.plans.glob("*.toml"))
    products, registry = read_products(settings.products), Registry(settings.registry)
    today = wall_clock(settings.clock)().date()
    faults: list[str] = []
    for path in paths:
        try:
            plan = read_plan(path)
        except DefinitionError as error:
            faults += [f"{path.name}: {problem}" for problem in error.problems]
            continue
        if plan.product not in products:
            hint = nearest(plan.product, products)
            faults.append(
                f"{path.name}: there is no product {plan.product!r}" + (f" ({hint})" if hint else "")
            )
            continue
        faults += [f"{path.name}: {problem}" for problem in plan.product_problems(products[plan.product])]
        known = registry.plans.versions(plan.product).get((plan.code, plan.version))
        if known is not None and known.hash != plan.hash:
            faults.append(f"{path.name}: changed after {known.approver} approved version {known.version}")
        if plan.effective_to is not None and plan.effective_to <= today:
            faults.append(f"{path.name}: expired on {plan.effective_to}")
    return faults


def approve_plan(settings: Settings, code: str, by: str) -> PlanVersion:
    """Approve a draft that fits its product; the author may not."""
    plan = _fitting(settings, code)
    registry = Registry(settings.registry)
    approved = registry.plans.approve(plan, by=by, at=wall_clock(settings.clock)())
    registry.archive.keep(plan)
    return approved


def activate_plan(settings: Settings, code: str, by: str) -> PlanVersion:
    """Let an approved plan price from its first day on; a running service takes it up within a second."""
    plan = _fitting(settings, code)
    registry = Registry(settings.registry)
    registry.archive.keep(plan)  # before anything can be priced by it
    return registry.plans.activate(plan, by=by, at=wall_clock(settings.clock)())


def retire_plan(settings: Settings, code: str, by: str) -> PlanVersion:
    """End a plan; whether its file is still there does not matter."""
    registry, at = Registry(settings.registry), wall_clock(settings.clock)()
    for product in read_products(settings.products):
        if any(
            one.code == code and one.state != "retired" for one in registry.plans.versions(product).values()
        ):
            return registry.plans.retire(product, code, by=by, at=at)
    raise DefinitionError(f"{code}.toml", ["no version of this plan is approved or active"])


def _fitting(settings: Settings, code: str) -> RatingPlan:
    """Read a plan and refuse one that does not fit its product or has expired."""
    faults = check_plans(settings, code)
    if faults:
        raise DefinitionError(f"{code}.toml", [fault.removeprefix(f"{code}.toml: ") for fault in faults])
    return read_plan(_path(settings, code))


def _path(settings: Settings, code: str) -> Path:
    path = settings.plans / f"{code}.toml"
    if not path.is_file():
        hint = nearest(code, [other.stem for other in settings.plans.glob("*.toml")])
        raise DefinitionError(path.name, [f"there is no such rating plan in {settings.plans} ({hint})"])
    return path
