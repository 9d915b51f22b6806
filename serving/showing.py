"""What is shown to who asks for offers, and what the log keeps of it.

Most see the ranker's offers. A share of customers and days sees the eligible products in random order, and
while an offer test runs each customer has an arm. Who has opted out of profiling takes part in neither: the
general order is shown, and the log keeps it without customer, eligible products and chances. What comes of it
is known by the exposure that a quote names (PIPL Art. 24: an option that is not based on the person; Art. 6:
no more than is needed).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from models.recommend import UNLIKELY, Ranking, as_drawn, rank_general
from models.recommend.showing import Exposure, is_random, mixed, random_order
from serving.records import Exposure as StoredExposure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from models.recommend import PurchaseRates
    from models.recommend.showing import Source
    from pricing.product import Product
    from serving.access.caller import Caller
    from serving.offer_tests import OfferTests
    from serving.records import SyncRecords
    from serving.wire import RecommendationRequest

KIND = "recommendation"


@dataclass(frozen=True)
class Shown:
    """What is answered, and what is stored before.

    Attributes
    ----------
    ranking
        Offers as shown.
    exposure
        What the log keeps.
    """

    ranking: Ranking
    exposure: Exposure

    @property
    def record(self) -> StoredExposure:
        """The row of the record store."""
        one = self.exposure
        return StoredExposure(
            exposure_id=one.exposure_id,
            at=one.at,
            channel=one.channel or "",
            kind=KIND,
            body=one.to_json(),
            customer_id=one.customer_id,
        )


@dataclass(frozen=True)
class Showing:
    """Decides who sees which order.

    Attributes
    ----------
    random
        Share of customers and days that see a random order.
    tests
        Offer tests; None when there are none.
    """

    random: float = 0.0
    tests: OfferTests | None = None

    def personal(
        self,
        request: RecommendationRequest,
        who: Caller,
        now: datetime,
        ranking: Ranking,
        products: Sequence[Product],
        rates: PurchaseRates | None,
        model: str | None,
    ) -> Shown:
        """Show the ranker's offers, or what random traffic or the arm of a test sees instead.

        Parameters
        ----------
        request, who, now
            What was asked, by whom, when.
        ranking
            The ranker's answer.
        products, rates
            Products on offer, and purchase rates of all customers.
        model
            Checksum of the propensities.
        """
        barred = {one.product for one in ranking.excluded if one.codes != (UNLIKELY,)}
        excluded = [one for one in ranking.excluded if one.product in barred]
        allowed = {one.code: one for one in products if one.code not in barred}
        test = self.tests.running(now) if self.tests else None
        shares = test.shares if test else {"ranker": 1.0}
        popular = rank_general(list(allowed.values()), excluded, rates, request.k)
        orders = {"ranker": ranking, "popularity": popular}
        lists = {name: [one.product for one in found.offers] for name, found in orders.items()}
        arm = test.arm_of(request.customer_id) if test else "ranker"
        shown, source = orders.get(arm, Ranking((), tuple(excluded))), arm
        if arm in orders and is_random(request.customer_id, now.date(), self.random):
            order = random_order(request.customer_id, now.date(), list(allowed))
            shown = as_drawn([allowed[code] for code in order[: request.k]], excluded, rates)
            source = "random"
        exposure = Exposure(
            exposure_id=str(uuid4()),
            at=now,
            customer_id=request.customer_id,
            channel=who.channel,
            sandbox=who.sandbox,
            source=source,  # type: ignore[arg-type]
            shown=tuple(one.product for one in shown.offers),
            chances=mixed(list(allowed), request.k, self.random, lists, shares),
            test=test.name if test else None,
            test_hash=test.hash if test else None,
            arm=arm if test else None,
            model=model,
            rates=rates.as_of if rates else None,
            scene=request.scene,
        )
        return Shown(shown, exposure)

    def general(self, who: Caller, now: datetime, ranking: Ranking) -> Shown:
        """Show the general order to who has opted out of profiling."""
        source: Source = "general"
        codes = tuple(one.product for one in ranking.offers)
        exposure = Exposure(str(uuid4()), now, None, who.channel, who.sandbox, source, codes, None)
        return Shown(ranking, exposure)


def read_exposures(records: SyncRecords) -> list[Exposure]:
    """Give the offers that were logged, oldest first; those of erased customers are gone."""
    return [
        Exposure.from_json(one.exposure_id, one.at, one.customer_id, one.body)
        for one in records.exposures(KIND)
    ]
