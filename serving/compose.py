"""Put the service together from files: product files, plans, promoted models and stores."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from features.load import default_spec
from models.errors import ArtifactError, DemandError, PlanStateError, PriceTestError
from models.history_rules import check_history
from models.registry import Registry
from models.segments import read_segments
from pricing.errors import BookError, DefinitionError, PlanNotEffectiveError, nearest
from pricing.plan import plan_on, read_plan
from pricing.product import Product, read_product
from serving.clock import wall_clock
from serving.engine import InService
from serving.errors import StoreError, UnknownProductError
from serving.experience import Rated, rated_products
from serving.history import HistoryStore
from serving.live import LiveStore
from serving.offers import read_policies
from serving.price_tests import open_price_tests
from serving.records import open_records
from serving.service import QuoteService
from serving.snapshot import Snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from features.spec import FeatureSpec
    from models.plan_log import PlanLog
    from pricing.plan import RatingPlan
    from serving.clock import Clock
    from serving.settings import Settings


# What keeps one product out of service, and no other.
UNUSABLE = (
    ArtifactError,
    BookError,
    DefinitionError,
    DemandError,
    PlanNotEffectiveError,
    PlanStateError,
    PriceTestError,
)


def read_products(folder: Path) -> dict[str, Product]:
    """Read every product file of a folder, by code.

    Raises
    ------
    DefinitionError
        If a file is faulty or two files declare one code.
    """
    found: dict[str, Product] = {}
    for path in sorted(folder.glob("*.toml")):
        product = read_product(path)
        if product.code in found:
            raise DefinitionError(path.name, [f"code {product.code!r} is declared by another file, too"])
        found[product.code] = product
    return found


def product_plan(product: Product, folder: Path, code: str | None = None) -> RatingPlan:
    """Read the rating plan that a product names, or another of its plans.

    Raises
    ------
    DefinitionError
        If the plan is missing, made for another product or currency, or does not fit its factors; or if the
        price policy that it names is (see `read_policy`).
    BookError, DemandError
        If that policy is damaged, or rests on an elasticity that is not identified.
    """
    path = folder / f"{code or product.plan}.toml"
    if not path.is_file():
        hint = nearest(path.stem, [other.stem for other in folder.glob("*.toml")])
        raise DefinitionError(path.name, [f"there is no such rating plan in {folder} ({hint})"])
    plan = read_plan(path)
    problems = plan.product_problems(product)
    if problems:
        raise DefinitionError(path.name, problems)
    read_policies([plan], product, folder)
    return plan


def active_plans(product: Product, folder: Path, log: PlanLog) -> tuple[RatingPlan, ...]:
    """Read the plans of a product that may price on some day.

    Raises
    ------
    DefinitionError
        If the file of an active plan is missing or does not fit the product.
    PlanStateError
        If it was changed after it was approved, or there is none.
    """
    found = []
    for one in log.active(product.code):
        plan = product_plan(product, folder, one.code)
        log.check_unchanged(plan)
        if plan.version != one.version:
            raise PlanStateError(
                f"{plan.code}.toml holds version {plan.version}, which nobody has put into service; active "
                f"is version {one.version}. Hint: premia plan approve and activate, or premia promote"
            )
        found.append(plan)
    if not found:
        raise PlanStateError(f"no rating plan of {product.code} is active. Hint: premia plan activate")
    return tuple(found)


def _current_or_next(plans: Sequence[RatingPlan], day: date) -> RatingPlan:
    """Give the plan of a day, or the first that comes into force later; refuse when all have expired."""
    later = [plan for plan in plans if plan.effective_from > day]
    if later and not any(plan.is_effective(day) for plan in plans):
        return min(later, key=lambda plan: plan.effective_from)
    return plan_on(plans, day)


def plan_to_promote(product: Product, settings: Settings, log: PlanLog, day: date) -> RatingPlan:
    """Give the plan that a model enters service with: the product's, or if that is retired the active one."""
    plan = product_plan(product, settings.plans)
    known = log.check_unchanged(plan)
    if known is None or known.state != "retired":
        return plan
    return plan_on(active_plans(product, settings.plans, log), day)


def find_product(settings: Settings, code: str) -> Product:
    """Give the product file of a code."""
    products = read_products(settings.products)
    if code not in products:
        raise UnknownProductError(code, products)
    return products[code]


def load_services(
    settings: Settings, spec: FeatureSpec, day: date | None = None
) -> tuple[dict[str, InService], dict[str, str]]:
    """Load what prices each product.

    Parameters
    ----------
    settings, spec
        Where things are, and the feature definitions.
    day
        On which it will price; today when absent. A product whose plans have all expired by then is left out.

    Returns
    -------
    tuple of dict
        What prices each product that has a promoted model, and why the others are not in service, by code.
        One product that cannot serve does not stop the others.
    """
    registry = Registry(settings.registry)
    moment = day or wall_clock(settings.clock)().date()
    tests = open_price_tests(settings)
    services: dict[str, InService] = {}
    out_of_service: dict[str, str] = {}
    for code, product in read_products(settings.products).items():
        try:
            check_history(product, spec, f"{code}.toml")
            promoted = registry.champion(code, expected_product=product, expected_spec=spec)
            if promoted is None:
                out_of_service[code] = "no model has been promoted. Hint: premia train"
                continue
            plans = active_plans(product, settings.plans, registry.plans)
            plan = _current_or_next(plans, moment)
            policies = read_policies(plans, product, settings.plans)
            tests.check(code)
        except UNUSABLE as error:
            out_of_service[code] = str(error)
            continue
        registry.archive.keep(product, *plans)
        services[code] = InService(
            product, plan, promoted.bundle, promoted.version, promoted.artifact_hash, plans, policies
        )
    return services, out_of_service


def without_own_history(settings: Settings, services: Mapping[str, InService]) -> dict[str, str]:
    """Say why products cannot price own claims as the serving store stands; one does not stop the others."""
    found: dict[str, str] = {}
    with closing(HistoryStore(settings.history)) as history:
        for code, service in services.items():
            if Rated.of(service):
                try:
                    history.own_history(service)
                except StoreError as error:
                    found[code] = str(error)
    return found


def open_service(settings: Settings, clock: Clock | None = None) -> QuoteService:
    """Open stores and models as the settings say.

    Parameters
    ----------
    settings
        Where things are.
    clock
        Gives the time; absent, a clock that runs from `settings.clock`.
    """
    spec = default_spec()
    clock = clock or wall_clock(settings.clock)
    services, out_of_service = load_services(settings, spec, clock().date())
    for code, reason in without_own_history(settings, services).items():
        del services[code]
        out_of_service[code] = reason
    live = LiveStore(settings.live, spec, rated_products(services))
    snapshots = Snapshots(settings, spec, services)
    service = QuoteService(
        products=services,
        out_of_service=out_of_service,
        snapshot=snapshots.open(),
        snapshots=snapshots,
        segments=read_segments(spec),
        spec=spec,
        live=live,
        records=open_records(settings),
        clock=clock,
        tests=open_price_tests(settings),
    )
    service.forget_known()
    return service
