"""What the routes call: quotes, risk profiles, recommendations and products."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from models.recommend import (
    UNLIKELY,
    Context,
    Excluded,
    Ranking,
    exclusion_codes,
    rank,
    rank_general,
    rank_personal,
)
from pricing.factors import read_risk
from pricing.suitability import cover_facts, read_needs
from serving import views
from serving.access.caller import OPEN
from serving.actions import customer_margins, next_action
from serving.bundles import bundle_offers
from serving.challenge import choose_arm, record_arm
from serving.engine import Sale, decide
from serving.errors import (
    MissingEntityError,
    UnknownCustomerError,
    UnknownProductError,
    UnknownPurposeError,
    WithdrawnPurposeError,
)
from serving.experience import WITHHELD, priced_keys, rated_products, with_own_key
from serving.generation import tell_refused
from serving.history import CustomerFacts
from serving.http.exchange import mark, note_arm
from serving.offers import Asking
from serving.records import QuoteRecord, Write, encode_body
from serving.showing import Showing
from serving.wire import Consents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set
    from datetime import datetime

    from features.spec import FeatureSpec
    from models.recommend.actions import ContactRules
    from models.segments import Segmentation
    from pricing.bundles import Bundle
    from pricing.experience import OwnHistory
    from pricing.factors import FactorValue
    from pricing.product import Product
    from serving.access.caller import Caller
    from serving.clock import Clock
    from serving.contacts import ContactLog
    from serving.engine import Decision, InService
    from serving.events import EventAnswers, EventBatch
    from serving.generation import Generation, Loader
    from serving.live import LiveStore
    from serving.records import RecordStore
    from serving.signatures import Signer
    from serving.snapshot import Snapshot
    from serving.wire import (
        ActionRequest,
        BundleOffer,
        NextAction,
        ProductInfo,
        Quote,
        QuoteRequest,
        RecommendationRequest,
        Recommendations,
        RiskProfile,
    )


# Purpose of consent: without it, offers are not personal.
RECOMMENDATION = "recommendation"


@dataclass(frozen=True)
class Priced:
    """A price that nobody has stored yet.

    Attributes
    ----------
    shown
        What the channel gets, as JSON, as it is stored.
    record
        What is stored with it.
    """

    shown: dict[str, Any]
    record: QuoteRecord

    @cached_property
    def answer(self) -> Quote:
        """What the channel gets, as its wire type."""
        return views.stored_quote(self.shown)


class QuoteService:
    """Everything behind the HTTP routes.

    Parameters
    ----------
    generation
        Everything that prices; a later one may take its place between two requests.
    segments
        Portraits of customers.
    spec, live, records, signer, clock
        Feature definitions, events since the snapshot, record store, signatures, and the time.
    loader
        Where later generations come from; None when there will be no other.
    bundles
        What is sold together, by code.
    showing
        Who sees which order of offers.
    contacts, contact_rules
        Contacts made with customers, and how they may be made; None where nobody is contacted.
    """

    def __init__(
        self,
        generation: Generation,
        segments: Segmentation,
        spec: FeatureSpec,
        live: LiveStore,
        records: RecordStore,
        signer: Signer,
        clock: Clock,
        loader: Loader | None = None,
        bundles: Mapping[str, Bundle] | None = None,
        showing: Showing = Showing(),  # noqa: B008 - frozen
        contacts: ContactLog | None = None,
        contact_rules: ContactRules | None = None,
    ) -> None:
        self.generation = generation
        self.loader = loader
        self.swaps = 0
        self.refusals = 0
        self.shadow_failures = 0
        self._segments = segments
        self._spec = spec
        self._live = live
        self.records = records
        self.signer = signer
        self.clock = clock
        self._bundles = dict(bundles or {})
        self._showing = showing
        self.contacts = contacts
        self.contact_rules = contact_rules

    @property
    def bundles(self) -> dict[str, Bundle]:
        """What is sold together, by code: bundles all of whose members are in service."""
        on_offer = {code: one.product for code, one in self.products.items()}
        return {code: one for code, one in self._bundles.items() if not one.problems(on_offer)}

    @property
    def products(self) -> Mapping[str, InService]:
        """What prices each product, by code."""
        return self.generation.products

    @property
    def out_of_service(self) -> Mapping[str, str]:
        """Why the other products do not serve, by code."""
        return self.generation.out_of_service

    @property
    def snapshot(self) -> Snapshot:
        """What is known as of the last sync."""
        return self.generation.snapshot

    async def quote(self, request: QuoteRequest) -> Quote:
        """Price a risk and store the quote; when this returns, the quote is on the disk.

        Raises
        ------
        StoreError
            If it cannot be stored. What else is refused: see `price`.
        """
        priced = self.price(request)
        await self.records.commit(Write(quotes=(priced.record,)))
        return priced.answer

    def price(
        self, request: QuoteRequest, who: Caller = OPEN, *, sign: bool = True, bundle: str | None = None
    ) -> Priced:
        """Price a risk; nothing is stored. What nobody is to hold the service to is not signed.

        A member of a bundle is priced at its discount.

        Raises
        ------
        UnknownProductError, MissingEntityError, RiskError, UnknownChannelError, PlanNotEffectiveError,
        WithdrawnPurposeError
            If the request cannot be priced as it stands.
        """
        now, generation = self.clock(), self.generation
        service = _in_service(generation, request.product).on(now.date())
        service.plan.terms(request.channel, request.sub_channel)
        risk = read_risk(service.product.factors, request.risk)
        mark("read-risk")
        withdrawn = self._withdrawn(request.customer_id) | self._withdrawn_now(request.withdrawn_purposes)
        profile = self._profile(generation, request, risk, now, withdrawn)
        facts, known = _facts(generation, request, service.product, now)
        sale = Sale(request.channel, request.sub_channel, request.expiring_premium_minor or 0, bundle)
        own, unseen = self._own(generation, request, now, withdrawn)
        champion = service
        arm, service = choose_arm(champion, request.customer_id)
        tested = None if who.sandbox else _tested(generation, service, request.customer_id, now)
        mark("profile")
        decision = decide(service, risk, profile, facts, sale, own, tested)
        quote_id = str(uuid4()) if sign else ""
        expires_at = now + timedelta(minutes=service.product.quote_valid_minutes)
        price = decision.ladder.price_minor if decision.ladder else None
        certificate = self.signer.certify(quote_id, service.product, price, expires_at) if sign else None
        shown = views.quote_view(
            quote_id=quote_id,
            request=request,
            service=service,
            decision=decision,
            risk=risk,
            profile=profile,
            withheld=(*generation.snapshot.readers[request.product].withheld(withdrawn), *unseen),
            spec=self._spec,
            created_at=now,
            expires_at=expires_at,
            customer_known=known,
            sandbox=who.sandbox,
            certificate=certificate,
        )
        offered = decision.offer.record(service.plan, tested) if decision.offer else {}
        note_arm(quote_id, arm)
        tried = record_arm(champion, arm, risk, profile, sale, decision.inputs)
        self.shadow_failures += "failed" in tried.get("challenge", {}).get("shadow", {})
        body = views.quote_record(shown, request, decision, facts) | offered | tried
        span = (now, expires_at)
        return Priced(shown, _record(quote_id, request, decision, body, span, sandbox=who.sandbox))

    def take(self, newest: Generation) -> int:
        """Price with another generation from the next request on; give the events of the log that it holds.

        No request runs meanwhile: this waits for nothing.
        """
        self._live.keep_sums_of(rated_products(newest.products))
        before, self.generation = self.generation, newest
        self.swaps += 1
        self.refusals += tell_refused(before, newest.refused)
        return 0 if newest.snapshot.history is before.snapshot.history else self.forget_known()

    def refresh(self) -> bool:
        """Take up what has changed on the disk, where no watcher runs; say whether something had."""
        if self.loader is None or self.loader.signature() == self.generation.signature:
            return False
        self.take(self.loader.load(self.generation))
        return True

    def forget_known(self) -> int:
        """Drop events that the snapshot holds from the log, so that none counts twice; give their number."""
        return self._live.forget(self.snapshot.history.known_events())

    def risk_profile(self, customer_id: int) -> RiskProfile:
        """Give the features of a customer as of now.

        Raises
        ------
        UnknownCustomerError
            If the serving store has never heard of the customer.
        """
        now, snapshot = self.clock(), self.generation.snapshot
        facts = self._known_customer(snapshot, customer_id, now)
        withdrawn = self._withdrawn(customer_id)
        values = snapshot.overview.read({"customer_id": customer_id}, now, withdrawn)
        withheld = snapshot.overview.withheld(withdrawn)
        segment = None if set(self._segments.fields) & set(withheld) else self._segments.segment_of(values)
        stored = snapshot.scores
        scores = stored.read(customer_id) if stored and not withheld else []
        return views.profile_view(facts, values, withheld, segment, scores, self._spec, now)

    def take_events(self, batch: EventBatch) -> EventAnswers:
        """Take events; those accepted are on the disk when this returns, and the next quote sees them."""
        named = [(event.get("type"), event.get("claim_id", event.get("order_id"))) for event in batch.events]
        keys = [(kind, key) for kind, key in named if isinstance(kind, str) and isinstance(key, int)]
        snapshot = self.generation.snapshot
        answers, facts = self._live.accept(batch.events, self.clock(), snapshot.history.known(keys))
        for seller in {fact.row["seller_id"] for fact in facts}:
            for reader in (*snapshot.readers.values(), snapshot.overview):
                if isinstance(seller, int):
                    reader.forget(seller)
        return answers

    def set_consent(self, customer_id: int, purpose: str, *, granted: bool) -> Consents:
        """Record a consent or its withdrawal.

        Raises
        ------
        UnknownPurposeError
            If no source of features has this purpose.
        """
        if purpose not in self._purposes():
            raise UnknownPurposeError(purpose, self._purposes())
        self._live.set_consent(customer_id, purpose, granted=granted, now=self.clock())
        return self.consents(customer_id)

    def consents(self, customer_id: int) -> Consents:
        """Give what a customer has granted or withdrawn."""
        return Consents(customer_id=customer_id, purposes=self._live.consents(customer_id))

    async def show_offers(self, request: RecommendationRequest, who: Caller) -> Recommendations:
        """Show offers, and store what was shown with its chances; when this returns, it is on the disk.

        Raises
        ------
        StoreError
            If it cannot be stored. What else is refused: see `recommend`.
        """
        who.need_licence("recommend")
        now, generation = self.clock(), self.generation
        ranking, personal = self._ranked(generation, request, now)
        model = generation.snapshot.propensities if personal else None
        if personal:
            products, rates = _on_offer(generation), generation.snapshot.rates
            checksum = model.checksum if model else None
            shown = self._showing.personal(request, who, now, ranking, products, rates, checksum)
        else:
            shown = self._showing.general(who, now, ranking)
        await self.records.commit(Write(exposures=(shown.record,)))
        ranked = shown.exposure.source == "ranker"
        return views.recommendations_view(
            request.customer_id,
            shown.ranking,
            now,
            personal=ranked,
            model=model.checksum if model and ranked else None,
            bundles=self._bundle_offers(generation, ranking) if shown.exposure.source != "nothing" else (),
            exposure_id=shown.exposure.exposure_id,
        )

    def recommend(self, request: RecommendationRequest) -> Recommendations:
        """Rank the products that the customer may hold and does not hold yet; nothing is stored.

        Who has withdrawn the consent for `recommendation`, or asks without personalisation, gets an order in
        which nothing personal counts beyond who may buy what.

        Raises
        ------
        UnknownCustomerError
            If the serving store has never heard of the customer.
        """
        now, generation = self.clock(), self.generation
        ranking, personal = self._ranked(generation, request, now)
        model = generation.snapshot.propensities if personal else None
        return views.recommendations_view(
            request.customer_id,
            ranking,
            now,
            personal=personal,
            model=model.checksum if model else None,
            bundles=self._bundle_offers(generation, ranking),
        )

    def _bundle_offers(self, generation: Generation, ranking: Ranking) -> Sequence[BundleOffer]:
        barred = [item.product for item in ranking.excluded if item.codes != (UNLIKELY,)]
        return bundle_offers(self.bundles, _on_offer(generation), barred)

    def _ranked(
        self, generation: Generation, request: RecommendationRequest, now: datetime
    ) -> tuple[Ranking, bool]:
        """Rank, and say whether by what is known of the person."""
        facts = self._known_customer(generation.snapshot, request.customer_id, now)
        withdrawn = self._withdrawn(request.customer_id)
        if request.personalised and RECOMMENDATION not in withdrawn:
            return self._rank_personal(generation, request, facts, now, withdrawn), True
        return _rank_general(generation, request, facts, now), False

    def rank_all(self, request: RecommendationRequest) -> tuple[Ranking, bool]:
        """Rank products for a customer, and say whether anything personal counted."""
        return self._ranked(self.generation, request, self.clock())

    def next_action(self, request: ActionRequest, caller: Caller) -> NextAction:
        """Choose the next best action for a customer, and log the contact (see `next_action`)."""
        return next_action(self, request, caller)

    def _rank_personal(
        self,
        generation: Generation,
        request: RecommendationRequest,
        facts: CustomerFacts,
        now: datetime,
        withdrawn: Set[str],
    ) -> Ranking:
        snapshot = generation.snapshot
        products, since = _on_offer(generation), facts.days_since(now)
        known = facts.as_facts(now) | read_needs(products, request.needs)
        model = snapshot.propensities
        if model is None:  # until `premia propensity` has run, by age and city
            return rank(
                known,
                facts.bought,
                products,
                snapshot.rates,
                request.k,
                scene=request.scene,
                since=since,
            )
        features = snapshot.offers.read({"customer_id": request.customer_id}, now, withdrawn)
        return rank_personal(
            model,
            self._spec,
            products,
            known,
            features,
            facts.bought,
            facts.had,
            request.k,
            scene=request.scene,
            since=since,
            margins=None
            if request.channel is None
            else customer_margins(
                self,
                request.customer_id,
                request.risks,
                request.channel,
                request.sub_channel,
                request.seller_id,
            ),
        )

    def list_products(self) -> list[ProductInfo]:
        """Describe the products in service, by code."""
        return [
            views.product_view(service, priced_keys(self._spec, service.product))
            for _, service in sorted(self.products.items())
        ]

    def close(self) -> None:
        """Give the stores back."""
        self.snapshot.close()
        self._live.close()
        self.records.close()
        if self.contacts is not None:
            self.contacts.close()

    async def aclose(self) -> None:
        """Finish what is being stored, then give the stores back."""
        await self.records.aclose()
        self.snapshot.close()
        self._live.close()
        if self.contacts is not None:
            self.contacts.close()

    def in_service(self, product: str) -> InService:
        """Give what prices a product; UnknownProductError when nothing does."""
        return _in_service(self.generation, product)

    def _profile(
        self,
        generation: Generation,
        request: QuoteRequest,
        risk: Mapping[str, FactorValue],
        now: datetime,
        withdrawn: Set[str],
    ) -> dict[str, int | float | None]:
        reader = generation.snapshot.readers[request.product]
        needed = with_own_key(reader.keys, generation.products[request.product].product)
        levels = {name: value for name, value in risk.items() if isinstance(value, str)}
        keys = {**levels, "customer_id": request.customer_id, "seller_id": request.seller_id}
        for column in needed:
            if keys.get(column) is None:
                raise MissingEntityError(column, request.product)
        return reader.read(keys, now, withdrawn)

    def _own(
        self, generation: Generation, request: QuoteRequest, now: datetime, withdrawn: Set[str]
    ) -> tuple[OwnHistory | None, tuple[str, ...]]:
        """Give own history, and its name among what was withheld for lack of consent."""
        reader = generation.snapshot.own.get(request.product)
        if reader is None:
            return None, ()
        if not withdrawn.isdisjoint(reader.rated.purposes(self._spec)):
            return None, (WITHHELD,)
        ids = {"customer": request.customer_id, "seller": request.seller_id}
        unit = ids[reader.rated.own.unit]
        assert unit is not None  # noqa: S101 - `_profile` has refused the request
        return reader.read(unit, now), ()

    def _withdrawn(self, customer_id: int | None) -> Set[str]:
        recorded = {} if customer_id is None else self._live.consents(customer_id)
        return {purpose for purpose, granted in recorded.items() if not granted}

    def _withdrawn_now(self, purposes: Sequence[str]) -> Set[str]:
        # A misspelt purpose would withhold nothing, and history would be read against the customer's will.
        for place, purpose in enumerate(purposes):
            if purpose not in self._purposes():
                raise WithdrawnPurposeError(place, purpose, self._purposes())
        return set(purposes)

    def _purposes(self) -> Set[str]:
        return {source.purpose for source in self._spec.sources} | {RECOMMENDATION}

    def _known_customer(self, snapshot: Snapshot, customer_id: int, now: datetime) -> CustomerFacts:
        facts = snapshot.history.facts(customer_id, now)
        if facts is None:
            if not self._live.has_events(customer_id):
                raise UnknownCustomerError(
                    f"customer {customer_id} is not known. Hint: send the orders first"
                )
            return CustomerFacts(customer_id, None, None, None, None, None, frozenset())
        return facts


def _in_service(generation: Generation, product: str) -> InService:
    if product not in generation.products:
        why = generation.out_of_service.get(product)
        raise UnknownProductError(product, generation.products, why)
    return generation.products[product]


def _facts(
    generation: Generation, request: QuoteRequest, product: Product, now: datetime
) -> tuple[dict[str, float | str | bool | None], bool]:
    """Give the facts that rules speak of, and whether the customer is known.

    What renews a cover is not held back by that cover; and a quote is asked within its scene.
    """
    answers, customer = read_needs([product], request.needs), request.customer_id
    facts = None if customer is None else generation.snapshot.history.facts(customer, now)
    if facts is None:
        return answers, False
    if request.expiring_premium_minor is not None:
        return facts.as_facts(now) | answers, True
    covers = cover_facts(product, facts.bought, facts.days_since(now), scene=product.cover.per)
    return facts.as_facts(now) | answers | covers, True


def _tested(
    generation: Generation, service: InService, customer_id: int | None, now: datetime
) -> Asking | None:
    tests = generation.tests.get(service.product.code)
    shares = None if tests is None else tests.running(service.plan, now)
    return None if shares is None else Asking(shares, customer_id)


def _record(
    quote_id: str,
    request: QuoteRequest,
    decision: Decision,
    body: dict[str, Any],
    span: tuple[datetime, datetime],
    *,
    sandbox: bool,
) -> QuoteRecord:
    """Give what is stored of a quote that holds over a span of time."""
    return QuoteRecord(
        quote_id=quote_id,
        created_at=span[0],
        expires_at=span[1],
        channel=request.channel,
        sub_channel=request.sub_channel,
        product=request.product,
        status=decision.status,
        price_minor=decision.ladder.price_minor if decision.ladder else None,
        text=encode_body(body),
        customer_id=request.customer_id,
        sandbox=sandbox,
    )


def _on_offer(generation: Generation) -> list[Product]:
    return [service.product for service in generation.products.values()]


def _rank_general(
    generation: Generation, request: RecommendationRequest, facts: CustomerFacts, now: datetime
) -> Ranking:
    products, since = _on_offer(generation), facts.days_since(now)
    known = facts.as_facts(now) | read_needs(products, request.needs)
    codes = {one.code: exclusion_codes(one, known, facts.bought, request.scene, since) for one in products}
    allowed = [product for product in products if not codes[product.code]]
    excluded = [Excluded(code, found) for code, found in codes.items() if found]
    context = Context(now.month, request.channel, request.page)
    return rank_general(allowed, excluded, generation.snapshot.rates, request.k, context)
