"""Put the service together from files: product files, plans, promoted models and stores."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from features.load import default_spec
from models.errors import (
    ArtifactError,
    DemandError,
    MismatchError,
    PlanStateError,
    PriceTestError,
    RegistryError,
)
from models.history_rules import check_history
from models.recommend.actions import read_contact_rules
from models.registry import Registry
from models.segments import read_segments
from pricing.bundles import read_bundles
from pricing.errors import BookError, DefinitionError, PlanNotEffectiveError, nearest
from pricing.plan import plan_on, read_plan
from pricing.product import Product, read_product
from serving.challenge import Rival
from serving.clock import wall_clock
from serving.contacts import ContactLog
from serving.engine import InService
from serving.errors import NotInServiceError, UnknownProductError
from serving.experience import rated_products
from serving.golden import check_golden
from serving.live import LiveStore
from serving.offer_tests import open_offer_tests
from serving.offers import read_policies
from serving.price_tests import open_price_tests
from serving.records import open_records
from serving.service import QuoteService
from serving.showing import Showing
from serving.signatures import Signer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from features.spec import FeatureSpec
    from models.plan_log import PlanLog
    from pricing.plan import RatingPlan
    from serving.clock import Clock
    from serving.settings import Settings
    from serving.wire import Quote, QuoteRequest


# What keeps one product out of service, and no other.
UNUSABLE = (
    ArtifactError,
    BookError,
    DefinitionError,
    DemandError,
    PlanNotEffectiveError,
    PriceTestError,
    RegistryError,
    OSError,
    UnicodeError,
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
        If it was changed after it was approved.
    NotInServiceError
        If there is none.
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
        raise NotInServiceError(f"no rating plan of {product.code} is active. Hint: premia plan activate")
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
            services[code] = load_service(product, settings, spec, moment, registry)
            tests.of(code)
        except NotInServiceError as error:
            out_of_service[code] = str(error)
        except UNUSABLE as error:
            services.pop(code, None)
            out_of_service[code] = str(error)
    return services, out_of_service


def load_service(
    product: Product,
    settings: Settings,
    spec: FeatureSpec,
    day: date,
    registry: Registry,
    before: InService | None = None,
) -> InService:
    """Load what prices one product, and price its golden risks.

    Parameters
    ----------
    product, settings, spec, day, registry
        Product file, where things are, feature definitions, when it will price, and the registry.
    before
        What priced it before: its model is taken over when it is still the one in service.

    Raises
    ------
    NotInServiceError
        If nobody has put a model or a plan into service.
    ArtifactError, BookError, DefinitionError, DemandError, PlanNotEffectiveError, PlanStateError
        If model, plan or policy cannot serve.
    """
    check_history(product, spec, f"{product.code}.toml")
    current = registry.current(product.code)
    if current is None:
        raise NotInServiceError("no model has been promoted. Hint: premia train")
    found = (current.version, current.identity.model_hash, product.hash)
    if before is not None and found == (before.model_version, before.model_hash, before.product.hash):
        bundle = before.bundle
    else:
        promoted = registry.champion(product.code, expected_product=product, expected_spec=spec)
        assert promoted is not None  # noqa: S101 - the log only grows
        bundle, found = promoted.bundle, (promoted.version, promoted.artifact_hash, product.hash)
    plans = active_plans(product, settings.plans, registry.plans)
    plan = _current_or_next(plans, day)
    policies = read_policies(plans, product, settings.plans)
    service = InService(product, plan, bundle, found[0], found[1], plans, policies)
    registry.archive.keep(product, *plans)
    check_golden(service, registry.golden)
    return service


def load_rival(service: InService, registry: Registry, before: Rival | None = None) -> Rival | None:
    """Load the challenger or shadow of a product; None when none runs.

    Parameters
    ----------
    service
        What prices the product.
    registry
        Where it lies.
    before
        The one that ran before: its model is taken over when it is still the same.

    Raises
    ------
    ArtifactError, RegistryError
        If its model is damaged or missing, or not the one that was approved.
    """
    running = registry.challenges.running(service.product.code)
    if running is None:
        return None
    wanted = (running.version, running.model_hash, service.product.hash)
    old = None if before is None else before.service
    if old is not None and wanted == (old.model_version, old.model_hash, old.product.hash):
        bundle = old.bundle
    else:
        bundle, found = registry.stored(running.product, running.version, running.family)
        for what, stored, expected in (
            ("models", found, running.model_hash),
            ("products", bundle.product.hash, service.product.hash),
            ("feature definitions", bundle.spec_hash, service.bundle.spec_hash),
        ):
            if stored != expected:
                raise MismatchError(what, stored, expected)
    own = replace(
        service, bundle=bundle, model_version=running.version, model_hash=running.model_hash, rival=None
    )
    check_golden(own, registry.golden)
    return Rival(running.kind, running.share, own)


def with_challengers(services: Mapping[str, InService], registry: Registry) -> dict[str, InService]:
    """Give products with the challengers that run, as quotes are priced."""
    return {code: replace(one, rival=load_rival(one, registry)) for code, one in services.items()}


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
    live = LiveStore(settings.live, spec)
    from serving.loading import DiskLoader  # it loads by means of this module

    loader = DiskLoader(settings, spec, clock)
    generation = loader.load()
    live.keep_sums_of(rated_products(generation.products))
    service = QuoteService(
        generation=generation,
        segments=read_segments(spec),
        spec=spec,
        live=live,
        records=open_records(settings),
        signer=Signer(settings.signing, clock()),
        clock=clock,
        loader=loader,
        bundles=read_bundles(settings.bundles),
        showing=Showing(settings.random_offers, open_offer_tests(settings)),
        contacts=ContactLog(settings.contacts),
        contact_rules=read_contact_rules(settings.contact_rules),
    )
    service.forget_known()
    return service


async def quote_and_close(service: QuoteService, request: QuoteRequest) -> Quote:
    """Give and store one quote, for a command, which asks for no other."""
    try:
        return await service.quote(request)
    finally:
        await service.aclose()
