"""What people read: sentences of reasons, bands of change, panels and tables; and the clock."""

from __future__ import annotations

import datetime as dt
import io
import math
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from pricing.errors import NoPriceError
from pricing.factors import Text
from pricing.ladder import STEP_NAMES
from pricing.plan import RatingPlan, read_plan
from pricing.product import read_product
from pricing.quote_states import State
from serving.clock import EPOCH, to_micros, wall_clock
from serving.engine import REFERRALS, refusal
from serving.governance_jobs import banded
from serving.history import CustomerFacts
from serving.life_cycle import as_it_stands
from serving.records import QuoteRecord, Step, encode_body
from serving.render import BANDS, change_bands, comparison_table, recommendation_table, reprice_table
from serving.reprice import RepriceSummary
from serving.texts import REFERRAL_TEXTS, STEP_LABELS, reason_text
from serving.views import money, table_reasons
from serving.wire import Excluded, LocalText, Moment, Offer, Quote, Recommendations

LABEL = Text(en="Returns", zh="退货")

REFERENCE = Path(__file__).parents[2] / "data" / "reference"


@pytest.mark.parametrize(
    ("value", "unit", "relativity", "en", "zh"),
    [
        (3, "orders", 1.25, "Returns (3 orders): raises the risk by 25 %", "退货（3）：风险上升25%"),
        (3.0, "orders", 0.4, "Returns (3 orders): lowers the risk by 60 %", "退货（3）：风险下降60%"),
        (0.123456, "1", 2.0, "Returns (0.1235): raises the risk by 100 %", "退货（0.1235）：风险上升100%"),
        (7, "", 1.004, "Returns (7): no effect", "退货（7）：无影响"),
        (7, "", 0.996, "Returns (7): no effect", "退货（7）：无影响"),
        (None, "days", 1.1, "Returns (no record): raises the risk by 10 %", "退货（无记录）：风险上升10%"),
        (math.nan, "", 0.5, "Returns (no record): lowers the risk by 50 %", "退货（无记录）：风险下降50%"),
        ("toys", "", 3.0, "Returns (toys): raises the risk by 200 %", "退货（toys）：风险上升200%"),
        (0, "orders", 1.02, "Returns (0 orders): raises the risk by 2 %", "退货（0）：风险上升2%"),
    ],
)
def test_a_reason_is_a_sentence_in_both_languages(value, unit, relativity, en, zh):
    assert reason_text(LABEL, value, unit, relativity) == Text(en=en, zh=zh)


def test_tables_of_the_plan_are_reasons_in_both_languages():
    product = read_product(REFERENCE / "products" / "motor.toml")
    plan = read_plan(REFERENCE / "plans" / "motor-2026-01.toml")
    levels = {"petrol": "1", "diesel": "1.07", "electric": "0.9"}
    bands = [{"at_least": 18, "below": 25, "relativity": "1.1"}, {"at_least": 25, "relativity": "1"}]
    tables = {"fuel": {"levels": levels}, "driver_age": {"bands": bands}}
    plan = RatingPlan.model_validate(plan.model_dump() | {"relativities": tables})
    young = table_reasons(plan, product, {"fuel": "diesel", "driver_age": 20.0})
    assert [(reason["input"], reason["relativity"]) for reason in young] == [
        ("fuel", 1.07),
        ("driver_age", 1.1),
    ]
    assert young[0]["text"]["en"].endswith("(diesel), rating plan: x 1.07")
    assert young[1]["text"]["zh"].endswith("费率表：×1.1")
    assert table_reasons(plan, product, {"fuel": "petrol", "driver_age": 40.0}) == []


def test_every_step_and_every_referral_has_a_text():
    assert tuple(STEP_LABELS) == STEP_NAMES
    assert {refusal(kind).code for kind in REFERRALS} == set(REFERRAL_TEXTS)
    assert {error.kind for error in NoPriceError.__subclasses__()} == set(REFERRALS)
    with pytest.raises(KeyError):
        refusal("something else")


def test_bands_hold_every_change_once_and_their_upper_end():
    changes = [-0.5, -0.30, -0.15, -0.05, 0.0, 0.05, 0.150001, 0.30, 0.3000001, 12.0]
    bands = change_bands(changes)
    assert list(bands) == [
        "below -30%",
        "-30% to -15%",
        "-15% to -5%",
        "-5% to +5%",
        "+5% to +15%",
        "+15% to +30%",
        "above +30%",
    ]
    assert list(bands.values()) == [2, 1, 1, 2, 0, 2, 2]
    assert sum(bands.values()) == len(changes)
    assert len(bands) == len(BANDS) + 1
    assert sum(change_bands([]).values()) == 0


@pytest.mark.parametrize(
    ("minor", "currency", "amount"),
    [
        (1250, "CNY", "12.50"),
        (5, "EUR", "0.05"),
        (-13, "CNY", "-0.13"),
        (0, "CNY", "0.00"),
        (120, "JPY", "120"),
    ],
)
def test_money_is_written_in_the_currency_of_the_product(minor, currency, amount):
    found = money(minor, currency)
    assert (found.amount, found.minor, found.currency) == (amount, minor, currency)
    assert Decimal(found.amount).scaleb(0 if currency == "JPY" else 2) == minor


def drawn(thing: object) -> str:
    page = io.StringIO()
    Console(width=160, file=page).print(thing)
    return page.getvalue()


def test_the_repricing_table_shows_counts_premiums_and_mean_change():
    summary = RepriceSummary(
        rows=4,
        by_status={"quoted": 3, "refused": 1},
        premium={"CNY": (100_00, 110_00)},
        changes=[0.2, 0.0, -0.4],
    )
    shown = [" ".join(line.split()) for line in drawn(reprice_table(summary)).splitlines()]
    for line in (
        "│ quoted │ 3 │",
        "│ refused │ 1 │",
        "│ change of price below -30% │ 1 │",
        "│ change of price +15% to +30% │ 1 │",
        "│ premium before │ 100.00 CNY │",
        "│ premium after │ 110.00 CNY │",
        "│ mean change │ +10.0% │",
    ):
        assert line in shown, line


def test_the_comparison_marks_the_champion_and_leaves_gaps_empty():
    figures = pd.DataFrame({"d2": [0.1, 0.25], "auc": [math.nan, 0.5]}, index=["glm", "ga2m"])
    shown = [
        " ".join(line.split()) for line in drawn(comparison_table("motor", figures, "ga2m")).splitlines()
    ]
    assert "│ glm │ 0.1000 │ │" in shown
    assert "│ ga2m (champion) │ 0.2500 │ 0.5000 │" in shown


def test_the_comparison_fits_a_terminal_of_80_columns():
    names = [
        "deviance_x100",
        "d2",
        "gini",
        "ae",
        "autocalibration_p",
        "severity_deviance",
        "cost_gini",
        "cost_ae",
    ]
    figures = pd.DataFrame([[23.51234] + [0.25] * 7], columns=names, index=["ga2m_ensemble"])
    figures["cost_ae"] = 1.5
    figures["cost_gini"] = 0.5
    page = io.StringIO()
    Console(width=80, file=page).print(comparison_table("motor", figures, "ga2m_ensemble"))
    shown = page.getvalue()
    for text in ("23.512", "0.2500", "1.500", "0.500", "ga2m_", "ensemble", "(champion)"):
        assert text in shown, text
    assert "\u2026" not in shown


def test_recommendations_show_what_is_not_offered_and_why():
    text = LocalText(en="Motor", zh="车险")
    found = Recommendations(
        customer_id=7,
        as_of=dt.datetime(2026, 1, 1),
        mode="personal",
        model=None,
        notice=text,
        offers=[Offer(product="motor", name=text, rate=0.0123, reasons=[text])],
        excluded=[Excluded(product="medical", codes=["already_held", "age"])],
    )
    shown = drawn(recommendation_table(found))
    assert "1.23%" in shown
    assert "车险" in shown
    assert "not offered: already_held, age" in shown


def test_a_clock_that_was_set_runs_on_from_there():
    clock = wall_clock(dt.datetime(2026, 1, 1))
    first, second = clock(), clock()
    assert first.tzinfo is None
    assert dt.datetime(2026, 1, 1) <= first <= second < dt.datetime(2026, 1, 1, 0, 5)
    china = dt.timezone(dt.timedelta(hours=8))
    assert dt.datetime(2025, 12, 31, 16) <= wall_clock(dt.datetime(2026, 1, 1, tzinfo=china))()
    assert abs(wall_clock()() - dt.datetime.now(dt.UTC).replace(tzinfo=None)) < dt.timedelta(minutes=5)


@pytest.mark.parametrize(
    ("moment", "micros"),
    [
        (EPOCH, 0),
        (dt.datetime(1970, 1, 1, 0, 0, 0, 1), 1),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 999_999), -1),
        (dt.datetime(2026, 1, 1, 0, 0, 0, 123_456), 1_767_225_600_123_456),
    ],
)
def test_microseconds_are_exact(moment, micros):
    assert to_micros(moment) == micros


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:30:00",
        "2026-01-01T00:30:00Z",
        "2026-01-01T08:30:00+08:00",
        "2025-12-31T20:30:00.000000-04:00",
    ],
)
def test_a_time_is_read_with_any_offset_and_answered_in_utc(text):
    times = TypeAdapter(Moment)
    moment = times.validate_json(f'"{text}"', strict=True)
    assert moment == dt.datetime(2026, 1, 1, 0, 30)
    assert times.dump_python(moment, mode="json") == "2026-01-01T00:30:00Z"
    assert times.json_schema()["format"] == "date-time"


def test_a_time_before_the_first_year_is_refused():
    with pytest.raises(ValidationError, match="years 1 to 9999"):
        TypeAdapter(Moment).validate_json('"0001-01-01T00:00:00+10:00"')


def test_records_whose_times_name_no_zone_are_answered_with_one():
    now = dt.datetime(2026, 1, 1)
    times = {"created_at": "2026-01-01T00:00:00", "as_of": "2026-01-01T00:00:00"}
    certificate = {"expires_at": "2026-01-01T00:30:00"}  # as it was signed
    answer = {**times, "expires_at": "2026-01-01T00:30:00", "certificate": certificate}
    record = QuoteRecord(
        quote_id="q",
        created_at=now,
        expires_at=now + dt.timedelta(minutes=30),
        channel="direct",
        sub_channel=None,
        product="motor",
        status="quoted",
        price_minor=1,
        text=encode_body({"answer": answer}),
        customer_id=None,
    )
    later = {"expires_at": "2026-01-02T00:00:00"}
    step = Step("q", 1, "quoted", now, "key", None, {"changes": later})
    assert as_it_stands(record, (), now + dt.timedelta(minutes=30))["status"] == "expired"
    found = as_it_stands(record, (step,), now + dt.timedelta(minutes=31))
    assert found == {
        "created_at": "2026-01-01T00:00:00Z",
        "as_of": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "certificate": certificate,
        "status": "quoted",
    }


@pytest.mark.parametrize(
    ("born", "today", "age"),
    [
        (dt.date(2008, 1, 1), dt.datetime(2026, 1, 1), 18),
        (dt.date(2008, 1, 2), dt.datetime(2026, 1, 1, 23, 59), 17),
        (dt.date(2008, 2, 29), dt.datetime(2026, 2, 28), 17),
        (dt.date(2008, 2, 29), dt.datetime(2026, 3, 1), 18),
        (None, dt.datetime(2026, 1, 1), None),
    ],
)
def test_a_customer_ages_on_the_birthday(born, today, age):
    facts = CustomerFacts(7, born, dt.datetime(2025, 12, 30, 12), "CN-GD", 3, None, frozenset())
    known = facts.as_facts(today)
    assert known["customer.age"] == age
    assert known["customer.owns_shop"] is False
    assert known["customer.region"] == "CN-GD"


def test_tenure_counts_whole_days_and_an_unknown_start_is_unknown():
    facts = CustomerFacts(7, None, dt.datetime(2025, 12, 30, 12), None, None, 9, frozenset({"motor"}))
    assert facts.as_facts(dt.datetime(2026, 1, 1, 11, 59))["customer.tenure_days"] == 1
    assert facts.as_facts(dt.datetime(2026, 1, 1, 12))["customer.tenure_days"] == 2
    assert facts.as_facts(dt.datetime(2026, 1, 1))["customer.owns_shop"] is True
    nobody = CustomerFacts(7, None, None, None, None, None, frozenset())
    assert nobody.as_facts(dt.datetime(2026, 1, 1))["customer.tenure_days"] is None


def test_the_wire_knows_every_status():
    assert set(get_args(Quote.model_fields["status"].annotation)) == set(get_args(State))


def test_levels_of_a_category_are_never_cut_into_bands():
    levels = pd.Series([f"R{k}" for k in range(30)] * 2)
    assert levels.dtype != object  # what pandas 3 makes of texts
    assert banded(levels) == list(levels)
    assert len(set(banded(pd.Series(range(60), dtype=float)))) == 10
