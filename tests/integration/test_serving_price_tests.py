"""A price test from its file to its end: approved, in quotes and batches, watched, learned from, stopped."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data.store import append_table, connect
from features.load import default_spec
from models.errors import PriceTestError, PromotionError
from pricing.errors import ExperimentError
from pricing.experiments import assign_cells
from serving.cli import app
from serving.compose import load_services, open_service
from serving.errors import UnknownPriceTestError
from serving.price_test_jobs import approve_test, audit_test, freeze_shares, stop_test, watch
from serving.price_tests import open_price_tests
from serving.reprice import read_prices, reprice
from serving.settings import REFERENCE, Settings
from serving.wire import QuoteRequest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

NAME = "return_freight_2026"
TEXT = (REFERENCE / "experiments" / f"{NAME}.toml").read_text(encoding="utf-8")
SOON = dt.datetime(2026, 1, 20)


@pytest.fixture
def settings(insurer, tmp_path: Path) -> Settings:
    """Let the shipped test run in January, with the simulated quotes of the year before as its log."""
    lake = tmp_path / "lake"
    lake.mkdir()
    for name in ("customers", "orders", "policies", "claims", "_fitted"):
        (lake / name).symlink_to(insurer.settings.lake / name)
    for name in ("_registry", "_serving"):
        shutil.copytree(insurer.settings.lake / name, lake / name)
    with connect(insurer.settings.lake) as con:
        quotes = con.sql(
            "SELECT * FROM quotes WHERE product = 'return_freight' AND experiment IS NOT NULL LIMIT 6000"
        ).to_arrow_table()
    days = np.datetime64("2026-01-01T06:00:00", "us") + np.arange(len(quotes)) % 15 * np.timedelta64(1, "D")
    for name, values in (("experiment", pa.array([NAME] * len(quotes))), ("quoted_at", pa.array(days))):
        at = quotes.schema.get_field_index(name)
        quotes = quotes.set_column(at, name, values.cast(quotes.schema.field(name).type))
    append_table(lake, "quotes", quotes, created=insurer.end, source="test")
    experiments = tmp_path / "experiments"
    experiments.mkdir()
    text = TEXT.replace("start = 2026-02-01", "start = 2026-01-01")
    (experiments / f"{NAME}.toml").write_text(text, encoding="utf-8")
    return insurer.settings.model_copy(update={"lake": lake, "experiments": experiments})


def request(customer: int, **more: Any) -> QuoteRequest:
    risk = {"order_amount": 199.0, "category": "apparel"}
    return QuoteRequest(
        product="return_freight", channel="platform", customer_id=customer, seller_id=1, risk=risk, **more
    )


def test_a_test_lives_from_its_approval_to_its_end(insurer, settings, tmp_path):
    with closing(open_service(settings, clock=lambda: insurer.end)) as service:
        plain = {one: service.price(request(one)).answer.price for one in range(1, 81)}
        customers = [one for one, price in plain.items() if price][:40]
        before = [plain[one].minor for one in customers]
        with pytest.raises(PromotionError, match="second person"):
            approve_test(settings, NAME, "Pricing  Team", insurer.end)
        approve_test(settings, NAME, "B. Second", insurer.end)
        with pytest.raises(PriceTestError, match="approved already"):
            approve_test(settings, NAME, "B. Second", insurer.end)
        # The running service sees the approval, and the batch gives what the quotes gave.
        assert service.refresh()
        assert not service.refresh()
        quotes = [asyncio.run(service.quote(request(one))) for one in customers]
        steps = [{step.step: step.minor for step in quote.ladder} for quote in quotes]
        shares = open_price_tests(settings).log.state(open_price_tests(settings).find(NAME)).shares.current
        cells = assign_cells(shares, np.array(customers))
        moved = np.array(shares.multipliers)[cells] - 1_000_000
        part = [place for place, one in enumerate(steps) if "price_test" in one]
        assert len(part) > 15
        assert {int(np.sign(steps[place]["price_test"])) for place in part} == {-1, 0, 1}
        assert all(steps[place]["price_test"] * moved[place] >= 0 for place in part)
        # Whose dearest or cheapest cell is not filed takes no part, whatever the own cell is.
        out = [place for place in range(len(customers)) if place not in part]
        assert all(quotes[place].price.minor == before[place] for place in out)
        assert batch_prices(insurer, settings, customers, tmp_path) == [quote.price.minor for quote in quotes]
        # A withdrawn consent does not change the cell.
        asked = request(customers[part[0]], withdrawn_purposes=["recommendation"])
        withdrawn = asyncio.run(service.quote(asked))
        logged = logged_test(service, withdrawn.quote_id)
        assert logged["assignment"]["cell"] == cells[part[0]]
        assert logged["assignment"]["propensity"] == shares.shares[cells[part[0]]] / 1_000_000
        assert logged["shown_minor"] == withdrawn.price.minor
        assert {"technical_minor", "lowest_minor", "highest_minor"} <= set(logged)
        # The next version of the shares, and an audit of both.
        freeze_shares(settings, NAME, "logistic", "B. Second", SOON)
        service.refresh()
        newer = asyncio.run(service.quote(request(customers[part[0]])))
        assert logged_test(service, newer.quote_id)["assignment"]["shares_version"] == 1
        audited = audit_test(settings, NAME)
        assert (audited.versions, audited.quotes, audited.faults) == (2, len(part) + 2, ())
        with pytest.raises(PriceTestError, match="no quotes"):
            freeze_shares(settings, NAME, "logistic", "B. Second", SOON)
        # Stopped: every quote has the price without the test.
        stop_test(settings, NAME, "enough", "B. Second", SOON)
        service.refresh()
        assert [service.price(request(one)).answer.price.minor for one in customers] == before
        assert batch_prices(insurer, settings, customers, tmp_path, SOON) == before
        with pytest.raises(PriceTestError, match="stopped; only an approved test"):
            stop_test(settings, NAME, "again", "B. Second", SOON)


def logged_test(service, quote_id: str) -> dict[str, Any]:
    return asyncio.run(service.records.get(quote_id)).body["price_test"]


def batch_prices(insurer, settings, customers, folder, as_of=None) -> list[int]:
    size = len(customers)
    table = pa.table(
        {
            "product": ["return_freight"] * size,
            "channel": ["platform"] * size,
            "customer_id": customers,
            "seller_id": [1] * size,
            "order_amount": [199.0] * size,
            "category": ["apparel"] * size,
        }
    )
    pq.write_table(table, folder / "risks.parquet")
    spec = default_spec()
    services, _ = load_services(settings, spec, insurer.end.date())
    tests = open_price_tests(settings)
    with connect(settings.lake) as con:
        moment = insurer.end
        if as_of is not None:  # the log as it stands later, histories as of the same moment
            tests.at = lambda plan, _moment: tests.of(plan.product).running(plan, as_of)
        reprice(
            folder / "risks.parquet",
            folder / "out",
            services,
            spec,
            con,
            moment,
            lake=settings.lake,
            tests=tests,
        )
    return read_prices(folder / "out")["price_minor"].to_pylist()


def test_a_test_is_watched_and_its_stop_rule_is_carried_out(insurer, settings, tmp_path):
    path = settings.experiments / f"{NAME}.toml"
    path.write_text(path.read_text().replace("quotes = 200_000", "quotes = 2_000"), encoding="utf-8")
    with pytest.raises(ExperimentError, match="too weak"):
        approve_test(settings, NAME, "B. Second", insurer.end)
    path.write_text(path.read_text().replace("slope_error = 0.05", "slope_error = 0.9"), encoding="utf-8")
    with pytest.raises(PriceTestError, match="is a draft"):
        watch(settings, NAME, SOON)
    approve_test(settings, NAME, "B. Second", insurer.end)
    early = watch(settings, NAME, dt.datetime(2026, 1, 3))
    assert early.state.state == "approved"
    assert (early.frame["quotes"] > 0).all()
    env = {"PREMIA_LAKE": str(settings.lake), "PREMIA_EXPERIMENTS": str(settings.experiments)}
    out = ["--out", str(tmp_path / "status"), "--as-of", SOON.isoformat()]
    shown = CliRunner().invoke(app, ["experiment", "status", NAME, *out], env=env)
    assert shown.exit_code == 0, shown.output
    assert "the planned 2000 quotes are reached" in shown.output
    assert (tmp_path / "status" / f"{NAME}.png").stat().st_size > 10_000
    assert watch(settings, NAME, SOON).state.state == "stopped"
    assert watch(settings, NAME, SOON).state.who == "stop rule"


def test_a_test_whose_file_was_changed_keeps_its_product_out_of_service(insurer, settings):
    approve_test(settings, NAME, "B. Second", insurer.end)
    path = settings.experiments / f"{NAME}.toml"
    path.write_text(
        path.read_text()
        .replace('share = "0.20"', 'share = "0.21"', 1)
        .replace('share = "0.10"', 'share = "0.09"', 1),
        encoding="utf-8",
    )
    services, why = load_services(settings, default_spec(), insurer.end.date())
    assert "return_freight" not in services
    assert "is not what B. Second approved" in why["return_freight"]
    with pytest.raises(UnknownPriceTestError, match="return_freight_2026"):
        open_price_tests(settings).find("return_freight_2025")
