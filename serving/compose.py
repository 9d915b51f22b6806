"""Put the service together from files: product files, plans, promoted models and stores."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from features.load import default_spec
from models.errors import ArtifactError
from models.experience import check_counted_once
from models.registry import Registry
from models.segments import read_segments
from pricing.errors import DefinitionError, nearest
from pricing.plan import read_plan
from pricing.product import Product, read_product
from serving.clock import wall_clock
from serving.engine import InService
from serving.errors import StoreError, UnknownProductError
from serving.experience import Rated, rated_products
from serving.history import HistoryStore
from serving.live import LiveStore
from serving.quotes import QuoteStore
from serving.service import QuoteService
from serving.snapshot import Snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from features.spec import FeatureSpec
    from pricing.plan import RatingPlan
    from serving.clock import Clock
    from serving.settings import Settings


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


def product_plan(product: Product, folder: Path) -> RatingPlan:
    """Read the rating plan that a product names.

    Raises
    ------
    DefinitionError
        If the plan is missing, made for another product or currency, or does not fit its factors.
    """
    path = folder / f"{product.plan}.toml"
    if not path.is_file():
        hint = nearest(product.plan, [other.stem for other in folder.glob("*.toml")])
        raise DefinitionError(path.name, [f"there is no such rating plan in {folder} ({hint})"])
    plan = read_plan(path)
    problems = plan.product_problems(product)
    if problems:
        raise DefinitionError(path.name, problems)
    return plan


def find_product(settings: Settings, code: str) -> Product:
    """Give the product file of a code."""
    products = read_products(settings.products)
    if code not in products:
        raise UnknownProductError(code, products)
    return products[code]


def load_services(settings: Settings, spec: FeatureSpec) -> tuple[dict[str, InService], dict[str, str]]:
    """Load what prices each product.

    Returns
    -------
    tuple of dict
        What prices each product that has a promoted model, and why the others are not in service, by code.
        One product that cannot serve does not stop the others.
    """
    registry = Registry(settings.registry)
    services: dict[str, InService] = {}
    out_of_service: dict[str, str] = {}
    for code, product in read_products(settings.products).items():
        try:
            check_counted_once(product, spec, f"{code}.toml")
            promoted = registry.champion(code, expected_product=product, expected_spec=spec)
            plan = product_plan(product, settings.plans)
        except (ArtifactError, DefinitionError) as error:
            out_of_service[code] = str(error)
            continue
        if promoted is None:
            out_of_service[code] = "no model has been promoted. Hint: premia train"
            continue
        approved = promoted.period
        if approved.identity.plan_hash != plan.hash:
            out_of_service[code] = (
                f"plan {plan.code} is not what {approved.approver} approved on {approved.since:%Y-%m-%d}. "
                f"Hint: premia promote {code} {promoted.version} --by NAME"
            )
            continue
        services[code] = InService(product, plan, promoted.bundle, promoted.version, promoted.artifact_hash)
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
    services, out_of_service = load_services(settings, spec)
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
        quotes=QuoteStore(settings.quotes),
        clock=clock or wall_clock(settings.clock),
    )
    service.forget_known()
    return service
