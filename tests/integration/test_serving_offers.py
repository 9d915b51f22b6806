"""The propensities in service: API equals batch, opting out, and what a broken or absent artifact does."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from data.store import connect
from features.load import default_spec
from serving.cli import app
from serving.compose import open_service
from serving.offer_jobs import write_offers
from serving.service import RECOMMENDATION
from serving.wire import RecommendationRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Insurer

    from serving.service import QuoteService

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]
DAY = "2026-01-01"


@pytest.fixture(scope="module")
def fitted(insurer: Insurer) -> Iterator[str]:
    """Fit the propensities by the command, and take them away again for the other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.cli_offers.console", Console(width=150))
        command = ["propensity", "--as-of", DAY, "--lake", str(insurer.settings.lake)]
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    yield result.output
    insurer.settings.propensities.unlink()


@pytest.fixture
def service(insurer: Insurer, fitted: str) -> Iterator[QuoteService]:
    with closing(open_service(insurer.settings)) as opened:
        yield opened


def test_the_job_shows_what_was_learned(fitted):
    lines = dict(re.findall(r"│ (motor|flight_delay|return_freight) +│ +[\d,]+ │ +([\d,]+) │", fitted))
    assert set(lines) == {"motor", "flight_delay", "return_freight"}
    assert all(int(count.replace(",", "")) > 100 for count in lines.values())
    errors = [float(found) for found in re.findall(r"│ (0\.\d{4}) │\n", fitted)]
    assert len(errors) == 3
    assert max(errors) < 0.012  # mostly chance: three months of 6,000 customers, ten bins


def test_the_service_answers_what_the_batch_writes(insurer, service, tmp_path):
    out = tmp_path / "offers.parquet"
    rows = write_offers(insurer.settings, default_spec(), insurer.end, 3, out)
    table = pq.read_table(out).to_pandas()
    assert rows == len(table) > 10_000
    assert table["personal"].all()
    customers = table["customer_id"].unique()
    assert (table.groupby("customer_id")["rank"].max() == table.groupby("customer_id").size()).all()
    for customer in customers[:: len(customers) // 40]:
        found = service.recommend(RecommendationRequest(customer_id=int(customer)))
        written = table[table["customer_id"] == customer]
        assert [offer.product for offer in found.offers] == written["product"].tolist()
        assert [offer.rate for offer in found.offers] == pytest.approx(written["propensity"], rel=1e-4)
        assert found.mode == "personal"
        assert found.model == service.snapshot.propensities.checksum
    with connect(insurer.settings.lake) as con:
        con.register("offers", table)
        twice = """SELECT count(*) FROM offers o JOIN policies p USING (customer_id, product)
            WHERE p.expiry_at > $day AND p.quoted_at < $day AND o.product = 'motor'"""
        assert con.execute(twice, {"day": insurer.end}).fetchall() == [(0,)]


def test_who_opts_out_gets_an_order_without_anything_personal(insurer, service, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a personal feature was read")

    ask = RecommendationRequest(customer_id=17, k=5, scene="trip")
    personal = service.recommend(ask)
    service.set_consent(17, RECOMMENDATION, granted=False)
    try:
        monkeypatch.setattr(service.snapshot.offers, "read", never)
        refused = service.recommend(ask)
        off = RecommendationRequest(customer_id=18, k=5, scene="trip", personalised=False)
        asked = service.recommend(off)
        out = tmp_path / "offers.parquet"
        write_offers(insurer.settings, default_spec(), insurer.end, 3, out)
    finally:
        service.set_consent(17, RECOMMENDATION, granted=True)
    for found in (refused, asked):
        assert found.mode == "general"
        assert found.model is None
        assert "profile" in found.notice.en
        said = {reason.en for offer in found.offers for reason in offer.reasons}
        assert said == {"Often bought by customers who may buy it."}
    assert {offer.product for offer in refused.offers} | {item.product for item in refused.excluded} == {
        offer.product for offer in personal.offers
    } | {item.product for item in personal.excluded}
    table = pq.read_table(out).to_pandas()
    assert not table.loc[table["customer_id"] == 17, "personal"].any()
    assert table.loc[table["customer_id"] != 17, "personal"].all()


def test_a_damaged_artifact_is_refused_by_name(insurer, fitted):
    path = insurer.settings.propensities
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace('"bought": ', '"bought": 9', 1), encoding="utf-8")
    try:
        result = CliRunner().invoke(app, ["recommend", "17", "--lake", str(insurer.settings.lake)])
    finally:
        path.write_text(whole, encoding="utf-8")
    assert result.exit_code == 1


def test_offers_without_propensities_say_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.cli_offers.console", Console(width=200))
    words = ["offers", "write", "--out", str(tmp_path / "x.parquet"), "--lake", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "premia propensity" in result.output
