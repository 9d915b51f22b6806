"""What a comparison names on each side: a plan, a model, both, what is in service, or stored prices."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.manifest import read_manifest
from models.errors import MismatchError
from models.fitted import inputs_hash
from models.registry import Registry
from pricing.plan import read_plan
from serving.compose import find_product, load_services, product_plan, read_products
from serving.engine import InService
from serving.errors import ImpactError, UnknownProductError
from serving.offers import read_policies
from serving.reprice import TABLE

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from features.spec import FeatureSpec
    from pricing.plan import RatingPlan
    from serving.settings import Settings

IN_SERVICE = "service"
FORMS = (
    "service | model=PRODUCT@VERSION | plan=FILE.toml or plan=CODE@VERSION | both with a comma between | "
    "prices=FOLDER of premia reprice"
)


@dataclass(frozen=True)
class SideSpec:
    """One side as it was named, not yet opened.

    Attributes
    ----------
    text
        As given.
    model
        Product and version; None: the model in service.
    plan
        File, or code and version; None: the plan of the product.
    prices
        Output of a repricing; None: priced now.
    """

    text: str
    model: tuple[str, str] | None = None
    plan: str | None = None
    prices: Path | None = None


@dataclass(frozen=True)
class Side:
    """One side, ready to price.

    Attributes
    ----------
    label
        What it is, for people.
    service
        What prices; None where prices are stored.
    prices
        Folder of stored prices.
    model_key, plan_key
        Identity of the model and of what it knew, and of the plan.
    portfolio
        Checksum of the portfolio behind stored prices.
    """

    label: str
    service: InService | None
    prices: Path | None
    model_key: str
    plan_key: str
    portfolio: str = ""


def parse_side(text: str) -> SideSpec:
    """Read how one side is named.

    Raises
    ------
    ImpactError
        If it has none of the forms.
    """
    if text == IN_SERVICE:
        return SideSpec(text)
    found: dict[str, str] = {}
    for part in re.split(r",(?=[a-z]+=)", text):
        key, equals, value = part.partition("=")
        if not equals or not value or key not in ("model", "plan", "prices") or key in found:
            raise ImpactError(f"{text!r} does not say what prices; allowed: {FORMS}")
        found[key] = value
    if "prices" in found and len(found) > 1:
        raise ImpactError(f"{text!r}: stored prices have their model and plan; allowed: {FORMS}")
    model = None
    if "model" in found:
        named = re.fullmatch(r"([a-z][a-z0-9_]*)@(\d+)", found["model"])
        if named is None:
            raise ImpactError(f"model={found['model']} is no PRODUCT@VERSION, for example motor@3")
        model = (named[1], named[2])
    prices = Path(found["prices"]) if "prices" in found else None
    return SideSpec(text, model, found.get("plan"), prices)


def open_sides(
    old: str,
    new: str,
    products: Collection[str],
    settings: Settings,
    spec: FeatureSpec,
    as_of: datetime,
) -> tuple[str, Side, Side]:
    """Open both sides for one product.

    Parameters
    ----------
    old, new
        As named on the command line.
    products
        Products of the portfolio.
    settings, spec
        Where models and plans are, and the feature definitions.
    as_of
        Time of the prices that are not stored.

    Returns
    -------
    tuple
        Code of the product, old and new side.

    Raises
    ------
    ImpactError
        If a side cannot be read, or they price different products or currencies.
    """
    specs = parse_side(old), parse_side(new)
    plans = [None if one.plan is None else find_plan(one.plan, settings) for one in specs]
    named = {one.model[0] for one in specs if one.model} | {plan.product for plan in plans if plan}
    if len(named) > 1:
        raise ImpactError(f"{old!r} and {new!r} price different products: {', '.join(sorted(named))}")
    if not named and len(products) != 1:
        raise ImpactError(
            f"the portfolio holds {', '.join(sorted(products)) or 'no rows'}; the impact is that on one "
            "product. Hint: premia portfolio CODE, or name a model or plan"
        )
    code = next(iter(named or products))
    sides = [_open(one, plan, code, settings, spec, as_of) for one, plan in zip(specs, plans, strict=True)]
    currencies = {side.service.plan.currency for side in sides if side.service}
    if len(currencies) > 1:
        raise ImpactError(f"old and new prices are in different currencies: {', '.join(sorted(currencies))}")
    return code, sides[0], sides[1]


def find_plan(text: str, settings: Settings) -> RatingPlan:
    """Read a plan by file, or by code and version from the folder of plans, else from the archive.

    Raises
    ------
    ImpactError
        If there is no such plan or version.
    """
    named = re.fullmatch(r"([a-z0-9][a-z0-9_.-]*)@(\d+)", text)
    path = Path(text) if named is None else settings.plans / f"{named[1]}.toml"
    if named is not None:
        version = int(named[2])
        filed = read_plan(path) if path.is_file() else None
        if filed is not None and filed.version == version:
            return filed
        archived = _archived(named[1], version, settings)
        if archived is not None:
            return archived
        if filed is not None:
            raise ImpactError(f"{path} is version {filed.version} of {filed.code}, not {version}")
    if not path.is_file():
        kept = ", ".join(sorted(other.stem for other in settings.plans.glob("*.toml")))
        raise ImpactError(f"there is no rating plan {path}; allowed: a file, or CODE@VERSION of {kept}")
    return read_plan(path)


def _archived(code: str, version: int, settings: Settings) -> RatingPlan | None:
    """Give an approved version of a plan, whose file may hold another one by now."""
    registry = Registry(settings.registry)
    for product in read_products(settings.products):
        known = registry.plans.versions(product).get((code, version))
        if known is not None:
            return registry.archive.plan(known.hash)
    return None


def _open(
    one: SideSpec,
    plan: RatingPlan | None,
    code: str,
    settings: Settings,
    spec: FeatureSpec,
    as_of: datetime,
) -> Side:
    if one.prices is not None:
        return _stored(one, code)
    if one.model is None:
        service = _in_service(code, settings, spec, as_of)
    else:
        bundle, artifact_hash = Registry(settings.registry).stored(code, one.model[1])
        if bundle.encoding.features:
            expected = inputs_hash(spec, bundle.product.profile)
            if bundle.spec_hash != expected:
                raise MismatchError("feature definitions", bundle.spec_hash, expected)
        own = plan or product_plan(find_product(settings, code), settings.plans)
        policies = read_policies([own], bundle.product, settings.plans)
        service = InService(bundle.product, own, bundle, one.model[1], artifact_hash, policies=policies)
    if plan is not None:
        policies = read_policies([plan], service.product, settings.plans)
        service = replace(service, plan=plan, plans=(), policies=policies)
    problems = service.plan.product_problems(service.product)
    if problems:
        raise ImpactError(f"{one.text!r}: plan {service.plan.code}: " + "; ".join(problems))
    family = service.bundle.model.family
    label = f"model {family} v{service.model_version}, plan {service.plan.code} v{service.plan.version}"
    return Side(label, service, None, f"{service.model_hash} {as_of.isoformat()}", service.plan.hash)


def _in_service(code: str, settings: Settings, spec: FeatureSpec, as_of: datetime) -> InService:
    services, out_of_service = load_services(settings, spec, as_of.date())
    if code not in services:
        raise UnknownProductError(code, services, out_of_service.get(code))
    return services[code]


def _stored(one: SideSpec, code: str) -> Side:
    assert one.prices is not None  # noqa: S101 - the caller has looked
    manifest = read_manifest(one.prices)
    if manifest.table != TABLE:
        raise ImpactError(f"{one.prices} holds {manifest.table}, not the prices of a repricing")
    if f"model.{code}" not in manifest.versions:
        raise ImpactError(f"{one.prices} holds no prices of {code}")
    version, _, model = manifest.versions[f"model.{code}"].partition(" ")
    name, _, plan = manifest.versions[f"plan.{code}"].partition(" ")
    made = next(iter(manifest.inputs.values()), "")
    # Prices of another day rest on other histories, so that the risk premium differs as by another model.
    model = f"{model} {manifest.created}"
    label = f"prices of {manifest.created[:16]} (model v{version}, plan {name})"
    return Side(label, None, one.prices, model, plan, made)
