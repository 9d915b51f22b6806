"""From what was shown to a verdict: answered quotes reach the lake once, rankings and tests are judged."""

from __future__ import annotations

import asyncio
import datetime as dt
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from typer.testing import CliRunner

from data.store import connect
from features.load import default_spec
from serving.access.caller import OPEN
from serving.cli import app
from serving.compose import open_service
from serving.ingest_quotes import ingest_quotes, lake_id
from serving.offer_evaluation import evaluate_offers, watch_offers
from serving.offer_tests import open_offer_tests
from serving.records import Step, Write, open_sync_records
from serving.settings import REFERENCE
from serving.showing import read_exposures
from serving.wire import QuoteRequest, RecommendationRequest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Insurer

    from serving.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]
PLATFORM = replace(OPEN, channel="platform")
RISK = {"order_amount": 129.0, "category": "apparel"}
TEST = """
name = "quick"
version = 1
author = "A. Author"
unit = "customer"
start = 2026-01-01
end = 2026-02-01
horizon_days = 2
[arms]
ranker = "0.5"
popularity = "0.5"
[stop]
measure = "bought"
alpha = 0.05
spread = 0.5
effect = 0.3
power = 0.8
largest_loss = 0.2
customers = 120
"""


@pytest.fixture(scope="module")
def settings(insurer: Insurer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("offer_tests")
    (folder / "quick.toml").write_text(TEST, encoding="utf-8")
    return insurer.settings.model_copy(update={"offer_tests": folder, "random_offers": 0.3})


@pytest.fixture(scope="module")
def answered(settings: Settings, insurer: Insurer) -> dict[str, str]:
    """Show offers to customers, quote the first one, and answer: every second one accepts."""
    now = insurer.end
    tests = open_offer_tests(settings)
    tests.log.approve(tests.find("quick"), by="B. Approver", at=now)
    states: dict[str, str] = {}

    async def serve() -> None:
        with closing(open_service(settings, clock=lambda: now)) as service:
            for customer in range(1, 201):
                ask = RecommendationRequest(customer_id=customer, scene="order")
                shown = await service.show_offers(ask, PLATFORM)
                if not any(offer.product == "return_freight" for offer in shown.offers):
                    continue
                request = QuoteRequest(
                    product="return_freight",
                    channel="platform",
                    customer_id=customer,
                    seller_id=50,
                    exposure_id=shown.exposure_id,
                    risk=RISK,
                )
                quote = await service.quote(request)
                if quote.status == "quoted":
                    states[quote.quote_id] = ("accepted", "declined", "open")[customer % 3]

    asyncio.run(serve())
    with closing(open_sync_records(settings)) as records:
        for quote_id, state in states.items():
            if state != "open":
                records.commit(Write(steps=(Step(quote_id, 1, state, now, "test"),)))
    tests.log.stop(tests.find("quick"), ["enough"], by="B. Approver", at=now)
    return states


def in_lake(settings: Settings) -> dict[int, bool]:
    with connect(settings.lake) as con:
        rows = con.execute(
            "SELECT quote_id, accepted FROM quotes WHERE service_quote_id IS NOT NULL"
        ).fetchall()
    assert len(rows) == len(dict(rows))
    return dict(rows)


def test_answered_quotes_reach_the_lake_once_and_expire_unanswered(settings, insurer, answered):
    wanted = {lake_id(one): state == "accepted" for one, state in answered.items() if state != "open"}
    assert len(wanted) > 80
    with connect(settings.lake) as con:
        before = con.execute("SELECT count(*) FROM quotes").fetchall()[0][0]
    first = ingest_quotes(settings, insurer.end)
    found = in_lake(settings)
    assert {one: found[one] for one in wanted} == wanted
    assert first.left_out["not answered yet"] >= sum(state == "open" for state in answered.values())
    again = ingest_quotes(settings, insurer.end)
    assert again == first
    assert in_lake(settings) == found
    later = insurer.end + dt.timedelta(days=5)
    ingest_quotes(settings, later)
    found = in_lake(settings)
    late = [lake_id(one) for one, state in answered.items() if state == "open"]
    assert late
    assert not any(found[one] for one in late)
    with connect(settings.lake) as con:
        after = con.execute("SELECT count(*) FROM quotes").fetchall()[0][0]
        row = con.execute(
            "SELECT product, price_minor, technical_minor, order_amount, exposure_id FROM quotes "
            "WHERE service_quote_id = $id",
            {"id": next(iter(answered))},
        ).fetchall()[0]
    assert after == before + len(found)
    assert row[0] == "return_freight"
    assert row[1] == row[2] > 0
    assert row[3] == 129.0
    with closing(open_sync_records(settings)) as records:
        assert row[4] in {one.exposure_id for one in read_exposures(records)}


def test_rankings_are_valued_and_the_test_is_judged(settings, insurer, answered, monkeypatch, tmp_path):
    later = insurer.end + dt.timedelta(days=5)
    moved = ingest_quotes(settings, later)
    accepted = sum(state == "accepted" for state in answered.values())
    assert moved.accepted >= accepted
    found = evaluate_offers(settings, default_spec(), later)
    ranker = found.table.set_index(["ranking", "measure", "estimator"]).loc[("ranker", "take_up", "IPS")]
    assert 0 < ranker["low"] < ranker["value"] < ranker["high"] < 1
    assert found.exposures >= 200
    watched = watch_offers(settings, "quick", later)
    assert watched.arms["judged"].sum() == watched.arms["entered"].sum() == 200
    assert 0.1 < watched.arms["mean"].min() < watched.arms["mean"].max() < 0.6
    line = watched.differences.loc["ranker - popularity"]
    assert line["low"] < 0 < line["high"]  # the answer did not depend on the arm
    assert not watched.warnings
    assert "planned 120 customers" in " ".join(watched.reasons)
    monkeypatch.setattr("serving.cli_offers.console", Console(width=200))
    lake = ["--lake", str(settings.lake), "--as-of", later.isoformat()]
    monkeypatch.setenv("PREMIA_OFFER_TESTS", str(settings.offer_tests))
    said = CliRunner().invoke(app, ["offers", "evaluate", "--out", str(tmp_path), *lake])
    assert said.exit_code == 0, said.output
    assert "popularity" in said.output
    assert (tmp_path / "offers_take_up.png").is_file()
    said = CliRunner().invoke(app, ["offers", "test", "status", "quick", *lake])
    assert said.exit_code == 0, said.output
    assert "stopped: enough" in said.output


def test_an_unknown_test_and_a_draft_are_refused(settings, monkeypatch):
    monkeypatch.setattr("serving.cli_offers.console", Console(width=200))
    for words, text in ((["x"], "no offer test"), (["offers_2026"], "is a draft")):
        monkeypatch.setenv("PREMIA_OFFER_TESTS", str(REFERENCE / "offer_tests"))
        said = CliRunner().invoke(app, ["offers", "test", "status", *words, "--lake", str(settings.lake)])
        assert said.exit_code == 1
        assert text in said.output
