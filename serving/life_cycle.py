"""The life of a quote: what a channel, a customer, a reviewer and the insurer may do with it, step by step.

Nothing is done here: each method reads how things stand and gives a `Deed`, which `Repeats` makes durable.
When another step came first, the deed is worked out anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pricing.errors import CorridorError, RiskError, UnknownChannelError
from pricing.ladder import Step as LadderStep
from pricing.quote_states import State, current, moved
from serving import views
from serving.bundles import together
from serving.clock import utc_text, without_zone
from serving.errors import DecisionError, MissingEntityError, PriceMismatchError, UnknownQuoteError
from serving.http.exchange import note_quote
from serving.problems import PROBLEMS
from serving.records import QuoteRecord, Step, Write, encode_body
from serving.repeats import Deed
from serving.texts import REVIEW_STEP
from serving.wire import QuoteAnswer, QuoteRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pricing.plan import ChannelTerms
    from serving.access.caller import Caller
    from serving.service import QuoteService
    from serving.wire import ProblemItem
    from serving.wire_quotes import (
        AcceptRequest,
        Completion,
        DecisionRequest,
        DeclineRequest,
        ReviewRequest,
        RevokeRequest,
    )

DRAFT_KEPT = timedelta(days=30)
CUSTOMER, REVIEWER = "customer", "reviewer"


@dataclass(frozen=True)
class Life:
    """A stored quote and what has become of it.

    Attributes
    ----------
    record, steps
        As stored.
    answer
        The quote as it stands now.
    """

    record: QuoteRecord
    steps: tuple[Step, ...]
    answer: dict[str, Any]

    @property
    def state(self) -> State:
        """State of the quote now."""
        state: State = self.answer["status"]
        return state


def as_it_stands(record: QuoteRecord, steps: Sequence[Step], now: datetime) -> dict[str, Any]:
    """Give a quote as it was answered, changed by the steps since, and by the clock.

    Raises
    ------
    UnknownQuoteError
        If its content was erased.
    """
    if "answer" not in record.body:
        raise UnknownQuoteError(f"the content of quote {record.quote_id!r} was erased")
    answer: dict[str, Any] = dict(record.body["answer"])
    state = record.status
    for step in steps:
        answer.update(step.body.get("changes", {}))
        state = step.state
    for name in ("created_at", "expires_at", "as_of"):
        if not answer[name].endswith("Z"):  # older records name no zone
            answer[name] += "Z"
    expires_at = without_zone(datetime.fromisoformat(answer["expires_at"]))
    answer["status"] = current(state, expires_at, now)  # type: ignore[arg-type]
    return answer


class QuoteLife:
    """What can be done with quotes.

    Parameters
    ----------
    service
        Prices, signs and keeps them.
    """

    def __init__(self, service: QuoteService) -> None:
        self._service = service

    async def load(self, quote_id: str, caller: Caller) -> Life:
        """Give a quote of the caller's.

        Raises
        ------
        UnknownQuoteError
            If there is none: one of another channel looks the same.
        """
        records = self._service.records
        record = await records.get(quote_id)
        if not caller.owns(record.channel, record.sub_channel):
            raise UnknownQuoteError(f"no quote has the id {quote_id!r}")
        steps = await records.steps(quote_id)
        return Life(record, steps, as_it_stands(record, steps, self._service.clock()))

    async def create(self, request: QuoteRequest, caller: Caller) -> Deed:
        """Price a risk, and put an earlier quote out of force where one is named.

        Raises
        ------
        NotAllowedError, UnknownQuoteError, QuoteStateError
            If the caller may not sell this, or the earlier quote is not to be superseded. What else is
            refused: see `QuoteService.price`.
        """
        return await self._create(request, caller, "supersede")

    async def _create(self, request: QuoteRequest, caller: Caller, move: str) -> Deed:
        caller.need_sale(request.product, request.channel, request.sub_channel)
        before = None if request.supersedes is None else await self.load(request.supersedes, caller)
        if before is not None:
            state = moved(before.state, move)  # type: ignore[arg-type]
        priced = self._service.price(request, caller)
        steps: tuple[Step, ...] = ()
        if before is not None:
            steps = (self._step(before, state, caller, None, {"by": priced.record.quote_id}),)
        return _created(priced.shown, Write(quotes=(priced.record,), steps=steps))

    async def draft(self, request: QuoteRequest, caller: Caller) -> Deed:
        """Keep a request that cannot be priced yet, and say what is missing.

        Raises
        ------
        UnknownProductError
            If the product is not in service.
        """
        caller.need_sale(request.product, request.channel, request.sub_channel)
        now = self._service.clock()
        missing: list[ProblemItem] = []
        try:
            self._service.price(request, caller, sign=False)
        except (RiskError, MissingEntityError, UnknownChannelError) as error:
            missing = PROBLEMS[type(error)][3](error)
        quote = QuoteAnswer(
            quote_id=str(uuid4()),
            status="draft",
            product=request.product,
            channel=request.channel,
            sub_channel=request.sub_channel,
            expiring_premium_minor=request.expiring_premium_minor,
            customer_id=request.customer_id,
            seller_id=request.seller_id,
            customer_known=False,
            sandbox=caller.sandbox,
            created_at=now,
            expires_at=now + DRAFT_KEPT,
            as_of=now,
            price=None,
            ladder=[],
            reasons=[],
            outcomes=[],
            risk=dict(request.risk),
            profile={},
            missing=missing,
            supersedes=request.supersedes,
            versions=None,
        )
        answer = quote.model_dump(mode="json")
        record = QuoteRecord(
            quote_id=quote.quote_id,
            created_at=now,
            expires_at=quote.expires_at,
            channel=quote.channel,
            sub_channel=quote.sub_channel,
            product=quote.product,
            status="draft",
            price_minor=None,
            text=encode_body({"answer": answer, "request": request.model_dump(mode="json")}),
            customer_id=quote.customer_id,
            sandbox=caller.sandbox,
        )
        return _created(answer, Write(quotes=(record,)))

    async def complete(self, quote_id: str, given: Completion, caller: Caller) -> Deed:
        """Price a draft with what was missing; the quote that comes of it takes the place of the draft.

        Raises
        ------
        UnknownQuoteError, QuoteStateError
            If it is no draft.
        """
        draft = await self.load(quote_id, caller)
        moved(draft.state, "complete")
        held = draft.record.body["request"]
        changed = given.model_dump(exclude_unset=True)
        risk = {**held["risk"], **changed.pop("risk", {})}
        request = QuoteRequest.model_validate({**held, **changed, "risk": risk, "supersedes": quote_id})
        return await self._create(request, caller, "complete")

    async def accept(self, quote_id: str, asked: AcceptRequest, caller: Caller) -> Deed:
        """Bind a quote at its price.

        Raises
        ------
        QuoteStateError, PriceMismatchError
            If it cannot be accepted, or at another price only.
        """
        life = await self.load(quote_id, caller)
        if life.state == "accepted" and life.answer["accepted_price_minor"] == asked.price_minor:
            return Deed(life.answer)
        state = moved(life.state, "accept")
        price = life.answer["price"]["minor"]
        if price != asked.price_minor:
            raise PriceMismatchError(asked.price_minor, price)
        deed = self._moved(life, state, caller, None, {}, {"accepted_price_minor": price})
        others = [other for other in together(life.record.body) if other != quote_id]
        steps = [await self._accepted_too(other, caller) for other in others]
        return replace(deed, write=Write(steps=(*deed.write.steps, *steps))) if steps else deed

    async def _accepted_too(self, quote_id: str, caller: Caller) -> Step:
        """Accept another quote of the same bundle; when it cannot be, none of them is."""
        life = await self.load(quote_id, caller)
        state = moved(life.state, "accept")
        changes = {"accepted_price_minor": life.answer["price"]["minor"]}
        return self._step(life, state, caller, None, {"changes": changes})

    async def decline(self, quote_id: str, asked: DeclineRequest, caller: Caller) -> Deed:
        """Record that the customer does not want it.

        Raises
        ------
        QuoteStateError
            If there is nothing to decline.
        """
        life = await self.load(quote_id, caller)
        last = life.steps[-1] if life.steps else None
        if last is not None and last.body.get("code") == asked.reason:
            return Deed(life.answer)
        state = moved(life.state, "decline")
        customer = life.record.customer_id
        if self._service.contacts is not None and customer is not None:  # too early, should the step fail
            self._service.contacts.decline(customer, self._service.clock())
        return self._moved(life, state, caller, asked.text, {"by": CUSTOMER, "code": asked.reason}, {})

    async def review(self, quote_id: str, asked: ReviewRequest, caller: Caller) -> Deed:
        """Hand a quote to a person; its price is not on offer while it waits.

        Raises
        ------
        QuoteStateError
            If there is nothing to review.
        """
        life = await self.load(quote_id, caller)
        state = moved(life.state, "review")
        changes = {
            "indication": life.answer["price"],
            "price": None,
            "ladder": [],
            "settlement": None,
            "certificate": None,
        }
        return self._moved(life, state, caller, asked.text, {"by": CUSTOMER}, changes)

    async def decide(self, quote_id: str, asked: DecisionRequest, caller: Caller) -> Deed:
        """Record what a person decides on a referred quote.

        Raises
        ------
        QuoteStateError, DecisionError, CorridorError, UnknownProductError, PlanNotEffectiveError
            If it does not wait for a decision, or this is none.
        """
        life = await self.load(quote_id, caller)
        if life.state != "referred":
            moved(life.state, "decide", "declined")  # says what can be done instead
        before = self._before_review(life) if asked.decision == "confirm" else None
        by = {"by": REVIEWER, "decision": asked.decision}
        declined = asked.decision == "decline" or (before is not None and before["price"] is None)
        if declined:
            state = moved(life.state, "decide", "declined")
            return self._moved(life, state, caller, asked.reason, by, {"indication": None})
        price = before["price"]["minor"] if before is not None else asked.price_minor
        if price is None:
            raise DecisionError("/price_minor", "missing", "a quote needs a price", "an integer")
        state = moved(life.state, "decide", "quoted")
        return self._moved(life, state, caller, asked.reason, by, self._offered(life, price))

    async def revoke(self, quote_id: str, asked: RevokeRequest, caller: Caller) -> Deed:
        """Take a quote back.

        Raises
        ------
        QuoteStateError
            If it is past that.
        """
        life = await self.load(quote_id, caller)
        state = moved(life.state, "revoke")
        return self._moved(life, state, caller, asked.reason, {"by": REVIEWER}, {})

    @staticmethod
    def _before_review(life: Life) -> dict[str, Any]:
        asked = max((i for i, step in enumerate(life.steps) if step.state == "referred"), default=None)
        if asked is None:
            raise DecisionError(
                "/decision",
                "nothing_to_confirm",
                "the quote was referred from its begin, so that there is nothing to confirm",
                "quote or decline",
            )
        return as_it_stands(life.record, life.steps[:asked], life.record.created_at)

    def _offered(self, life: Life, price: int) -> dict[str, Any]:
        """Give what a quote says once a person has set its price, by the plan that priced it."""
        now = self._service.clock()
        product, terms, plan = self._terms(life, now)
        if not terms.lowest_minor <= price <= terms.highest_minor:
            raise CorridorError(price, terms.lowest_minor, terms.highest_minor, plan)
        expires = now + timedelta(minutes=product.quote_valid_minutes)
        first = life.record.body
        ladder = first["answer"]["ladder"] or self._indicated(
            first["indicated"], product.currency, terms.payee
        )
        rest = price - sum(step["minor"] for step in ladder)
        if rest:
            label = {"en": REVIEW_STEP.en, "zh": REVIEW_STEP.zh}
            amount = views.money(rest, product.currency).amount
            ladder = [
                *ladder,
                {"step": "review", "label": label, "amount": amount, "minor": rest, "payee": None},
            ]
        return {
            "price": views.money(price, product.currency).model_dump(),
            "indication": None,
            "ladder": ladder,
            "settlement": views.settled(price, terms, product.currency),
            "expires_at": utc_text(expires),
            "certificate": self._service.signer.certify(life.record.quote_id, product, price, expires),
        }

    @staticmethod
    def _indicated(steps: Sequence[Any], currency: str, payee: str) -> list[dict[str, Any]]:
        return [views.ladder_step(LadderStep(*step), currency, payee) for step in steps]

    def _terms(self, life: Life, now: datetime) -> tuple[Any, ChannelTerms, str]:
        quote = life.answer
        service = self._service.in_service(quote["product"]).on(now.date())
        if service.plan.hash != quote["versions"]["plan_hash"]:
            raise DecisionError(
                "/decision",
                "plan_changed",
                f"plan {quote['versions']['plan']} is not in force any more. Hint: ask for a new quote",
                "decline",
            )
        return service.product, service.plan.terms(quote["channel"], quote["sub_channel"]), service.plan.code

    def _moved(
        self,
        life: Life,
        state: State,
        caller: Caller,
        reason: str | None,
        body: dict[str, Any],
        changes: dict[str, Any],
    ) -> Deed:
        step = self._step(life, state, caller, reason, {**body, "changes": changes})
        answer = as_it_stands(life.record, (*life.steps, step), step.at)
        return Deed(answer, Write(steps=(step,)))

    def _step(
        self, life: Life, state: State, caller: Caller, reason: str | None, body: dict[str, Any]
    ) -> Step:
        at = self._service.clock()
        note_quote(life.record.product, life.record.channel, state)  # counted when the answer is a good one
        return Step(life.record.quote_id, len(life.steps) + 1, state, at, caller.key_id, reason, body)


def _created(answer: dict[str, Any], write: Write) -> Deed:
    return Deed(answer, write, 201, {"Location": f"/v1/quotes/{answer['quote_id']}"})
