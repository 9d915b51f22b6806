"""What is shown is logged with its chances, asked again it is the same, and opting out leaves no trace."""

from __future__ import annotations

import asyncio
import datetime as dt
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models.recommend.evaluation import LoggedOffers, evaluate, everything_random
from models.recommend.off_policy import Target
from serving.access.caller import OPEN
from serving.compose import open_service
from serving.offer_tests import open_offer_tests
from serving.records import open_sync_records
from serving.service import RECOMMENDATION, QuoteService
from serving.settings import REFERENCE
from serving.showing import read_exposures
from serving.wire import RecommendationRequest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Insurer

    from models.recommend.showing import Exposure
    from serving.access.caller import Caller
    from serving.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]
AGENT = replace(OPEN, channel="agent", key_id="a")


@pytest.fixture
def settings(insurer: Insurer, tmp_path: Path) -> Settings:
    """Give the insurer with a copy of what changes, and a test that runs on its day."""
    (tmp_path / "tests").mkdir()
    text = (REFERENCE / "offer_tests" / "offers_2026.toml").read_text(encoding="utf-8")
    text = text.replace("start = 2026-02-01", "start = 2025-12-31").replace("offers_2026", "offers_day")
    (tmp_path / "tests" / "offers.toml").write_text(text, encoding="utf-8")
    return insurer.settings.model_copy(update={"offer_tests": tmp_path / "tests", "random_offers": 0.3})


def ask(service: QuoteService, customers: range, who: Caller = AGENT) -> list[str]:
    """Ask for offers inside an order, where there are several."""

    async def all_of_them() -> list[str]:
        found = []
        for customer in customers:
            request = RecommendationRequest(customer_id=customer, scene="order")
            found.append((await service.show_offers(request, who)).exposure_id or "")
        return found

    return asyncio.run(all_of_them())


def logged(settings: Settings, ids: list[str]) -> list[Exposure]:
    with closing(open_sync_records(settings)) as records:
        found = {one.exposure_id: one for one in read_exposures(records)}
    return [found[one] for one in ids]


def test_what_is_shown_is_logged_with_its_chances_and_repeats_itself(settings):
    with closing(open_service(settings)) as service:
        first = logged(settings, ask(service, range(1, 301)))
        again = logged(settings, ask(service, range(1, 301)))
        answer = asyncio.run(service.show_offers(RecommendationRequest(customer_id=5, scene="order"), AGENT))
    assert [one.shown for one in first] == [one.shown for one in again]
    assert tuple(offer.product for offer in answer.offers) == first[4].shown
    assert {one.source for one in first} == {"ranker", "random"}
    assert 50 < sum(one.source == "random" for one in first) < 130
    assert {(one.channel, one.test, one.arm) for one in first} == {("agent", None, None)}
    for one in first:
        assert one.chances is not None
        for place, code in enumerate(one.shown):
            assert one.chances.of(code, place) >= 0.3 / len(one.chances.eligible)
    offers = LoggedOffers.of(first)
    targets = {"ranker": Target(offers.ranker()), "random": everything_random(offers)}
    found = evaluate(offers, {"take_up": (offers.log.shown >= 0).astype(float)}, targets)
    assert not [said for said in found.warnings if "does not follow" in said]


def test_arms_follow_the_test_and_stop_with_it(settings):
    tests = open_offer_tests(settings)
    test = tests.find("offers_day")
    settings.lake.joinpath("_registry").mkdir(exist_ok=True)
    moment = dt.datetime(2026, 1, 1)
    with closing(open_service(settings)) as service:
        tests.log.approve(test, by="B. Approver", at=moment)
        running = logged(settings, ask(service, range(1, 401)))
        tests.log.stop(test, ["enough"], by="C. Calm", at=moment)
        after = logged(settings, ask(service, range(1, 401)))
    assert {one.test for one in after} == {None}
    assert [one.arm for one in running] == [test.arm_of(one.customer_id) for one in running]
    nothing = [one for one in running if one.arm == "nothing"]
    assert nothing
    assert {one.shown for one in nothing} == {()}
    assert {one.source for one in nothing} == {"nothing"}
    popular = [one for one in running if one.source == "popularity"]
    assert popular
    for one in popular:
        lists = {name: codes for name, _, codes in one.chances.lists}
        assert one.shown == lists["popularity"]
        assert one.test_hash == test.hash


def test_who_opted_out_leaves_nothing_personal_and_the_sandbox_teaches_nothing(settings, monkeypatch):
    def never(*_, **__):
        raise AssertionError("who has opted out was drawn")

    with closing(open_service(settings)) as service:
        service.set_consent(17, RECOMMENDATION, granted=False)
        try:
            with monkeypatch.context() as patch:
                patch.setattr("serving.showing.is_random", never)
                out = logged(settings, ask(service, range(17, 18)))
        finally:
            service.set_consent(17, RECOMMENDATION, granted=True)
        sandbox = logged(settings, ask(service, range(18, 21), replace(AGENT, sandbox=True)))
    assert (out[0].customer_id, out[0].chances, out[0].source) == (None, None, "general")
    assert out[0].scene is None
    assert out[0].shown
    kept = LoggedOffers.of([*logged(settings, [one.exposure_id for one in out + sandbox]), *_some(settings)])
    assert kept.left_out["opted out of profiling"] >= 1
    assert kept.left_out["sandbox"] >= 3


def _some(settings: Settings) -> list[Exposure]:
    with closing(open_service(settings)) as service:
        return logged(settings, ask(service, range(30, 40)))
