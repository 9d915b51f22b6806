"""Load generations from the folders that the settings name."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from models.registry import Registry
from pricing.errors import DefinitionError
from pricing.product import read_product
from serving.compose import UNUSABLE, load_rival, load_service
from serving.errors import NotInServiceError, StoreError
from serving.experience import Rated
from serving.generation import REFUSALS, Generation
from serving.offers import POLICIES
from serving.price_tests import ProductTests, open_price_tests
from serving.snapshot import Snapshots, identity

if TYPE_CHECKING:
    from features.spec import FeatureSpec
    from pricing.product import Product
    from serving.clock import Clock
    from serving.engine import InService
    from serving.price_tests import PriceTests
    from serving.settings import Settings
    from serving.snapshot import Signature, Snapshot

STORE, TESTS = "serving store", "price tests"


@dataclass
class _Draft:
    """A generation while it is loaded."""

    before: Generation | None
    products: dict[str, InService] = field(default_factory=dict)
    out_of_service: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    tests: dict[str, ProductTests] = field(default_factory=dict)

    def last(self, code: str) -> InService | None:
        """Give what priced a product so far."""
        return None if self.before is None else self.before.products.get(code)


class DiskLoader:
    """Loads generations from the disk.

    Parameters
    ----------
    settings, spec, clock
        Where things are, feature definitions, and the time.
    """

    def __init__(self, settings: Settings, spec: FeatureSpec, clock: Clock) -> None:
        self._settings = settings
        self._spec = spec
        self._clock = clock
        self._registry = Registry(settings.registry)
        self._snapshots = Snapshots(settings, spec)

    def signature(self) -> Signature:
        """Identify the files on the disk."""
        settings = self._settings
        folders = (settings.products, settings.plans, settings.plans / POLICIES, settings.experiments)
        files = [path for folder in folders for path in sorted(folder.glob("*.*"))]
        files.append(self._registry.audit.path)
        named = [(zlib.crc32(str(path).encode()), *(identity(path) or ())) for path in files]
        return (*named, *self._snapshots.signature())

    def load(self, before: Generation | None = None) -> Generation:
        """Load them; what is as it was before is taken over, what cannot serve is refused.

        Raises
        ------
        StoreError
            If there is no serving store that can be read, and none was read before.
        DefinitionError
            If the files of the price tests are faulty, and none were read before.
        """
        signature = self.signature()  # before anything is read, so that a later change is seen
        draft = _Draft(before)
        tests = self._price_tests(draft)
        products = self._read_products(draft)
        for product in products.values():
            self._load_product(product, tests, draft)
        for code in set(before.products if before else ()) - {*products, *draft.products}:
            draft.out_of_service.setdefault(code, "its product file was removed")
        snapshot = self._snapshot(draft)
        return Generation(
            snapshot=snapshot,
            products=draft.products,
            out_of_service=draft.out_of_service,
            refused=draft.refused,
            tests=draft.tests,
            number=1 if before is None else before.number + 1,
            signature=signature,
        )

    def _price_tests(self, draft: _Draft) -> PriceTests | None:
        try:
            return open_price_tests(self._settings)
        except (DefinitionError, OSError, UnicodeError) as error:
            if draft.before is None:
                raise
            draft.refused[TESTS] = str(error)
            return None

    def _read_products(self, draft: _Draft) -> dict[str, Product]:
        """Read the product files; of a faulty one the last good product stays, by the name of its file."""
        found: dict[str, Product] = {}
        for path in sorted(self._settings.products.glob("*.toml")):
            try:
                product = read_product(path)
                if product.code in found:
                    twice = f"code {product.code!r} is declared by another file, too"
                    raise DefinitionError(path.name, [twice])  # noqa: TRY301 - one way to refuse a file
            except (DefinitionError, OSError, UnicodeError) as error:
                self._keep_last(path.stem, str(error), draft)
                continue
            found[product.code] = product
        return found

    def _load_product(self, product: Product, tests: PriceTests | None, draft: _Draft) -> None:
        code, day = product.code, self._clock().date()
        last = draft.last(code)
        try:
            service = load_service(product, self._settings, self._spec, day, self._registry, last)
            running = self._kept_tests(code, draft) if tests is None else tests.of(code)
        except NotInServiceError as error:
            draft.out_of_service[code] = str(error)
        except UNUSABLE as error:
            self._keep_last(code, str(error), draft)
        else:
            draft.products[code] = self._with_rival(service, last, draft)
            draft.tests[code] = running

    def _with_rival(self, service: InService, last: InService | None, draft: _Draft) -> InService:
        """Add the challenger or shadow; while it cannot be loaded, the champion prices everybody."""
        try:
            rival = load_rival(service, self._registry, None if last is None else last.rival)
        except UNUSABLE as error:
            draft.refused[f"challenger of {service.product.code}"] = str(error)
            return service
        return replace(service, rival=rival)

    def _keep_last(self, code: str, why: str, draft: _Draft) -> None:
        """Let what priced a product go on; its plans only as far as nobody has retired them."""
        last = draft.last(code)
        active = {one.hash for one in self._registry.plans.active(code)}
        if last is None or not active:
            draft.out_of_service[code] = why
            return
        all_plans = last.plans or (last.plan,)
        plans = tuple(plan for plan in all_plans if plan.hash in active) or all_plans
        plan = last.plan if last.plan in plans else plans[0]
        kept = replace(last, plan=plan, plans=plans, rival=None)
        draft.products[code] = self._with_rival(kept, last, draft)
        draft.tests[code] = self._kept_tests(code, draft)
        draft.refused[code] = why

    def _kept_tests(self, code: str, draft: _Draft) -> ProductTests:
        """Give the tests as their files were, as they stand now: a stopped one has stopped."""
        before = None if draft.before is None else draft.before.tests.get(code)
        return ProductTests() if before is None else before.as_of_now(self._registry.audit)

    def _snapshot(self, draft: _Draft) -> Snapshot:
        before = draft.before
        found = None if before is None else before.snapshot
        if found is None or found.signature != self._snapshots.signature():
            try:
                found = self._snapshots.open(whole=before is not None)
            except REFUSALS as error:
                if found is None:
                    raise
                draft.refused[STORE] = str(error)
        for code, service in list(draft.products.items()):
            why = _without_own_history(found, service)
            if why is None:
                continue
            last = draft.last(code)
            if last is not None and last is not service and _without_own_history(found, last) is None:
                draft.products[code], draft.refused[code] = last, why
                continue
            del draft.products[code]
            draft.refused.pop(code, None)
            draft.out_of_service[code] = why
        return self._snapshots.reading(found, draft.products)


def _without_own_history(snapshot: Snapshot, service: InService) -> str | None:
    """Say why a product cannot price own claims as the serving store stands; None when it can."""
    if Rated.of(service):
        try:
            snapshot.history.own_history(service)
        except StoreError as error:
            return str(error)
    return None
