"""Impact of new prices: what is collected adds up, and the page says what was found and what is not known."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import data
from models.demand import Verdict
from models.errors import TrainingDataError
from models.impact import ImpactCollector
from models.impact_page import Compared, cause_label, impact_page
from pricing.product import read_product

MOTOR = read_product(Path(data.__file__).parent / "reference" / "products" / "motor_fr.toml")


def collected(size: int = 200, batch: int = 60) -> ImpactCollector:
    """Collect policies in batches: the young pay 10 more, others 5 less; one in ten is referred at first."""
    collector = ImpactCollector()
    for start in range(0, size, batch):
        places = np.arange(start, min(start + batch, size))
        referred = places % 10 == 0
        collector.add_outcomes(
            {
                "status": ["referred" if r else "quoted" for r in referred],
                "codes": ["corridor" if r else "" for r in referred],
            },
            {"status": ["quoted"] * len(places), "codes": [""] * len(places)},
        )
        both = places[~referred]
        age = 18.0 + both % 50
        change = np.where(age < 26, 10, -5)
        old = 100 + both % 7
        factors = pd.DataFrame({"driver_age": age, "channel": np.where(both % 2 == 0, "agent", "direct")})
        causes = {"factor_driver_age_minor": change + 1, "plan_margin_minor": np.full(len(both), -1)}
        ladders = {"risk_premium": (old - 20, old - 20 + change), "margin": (old * 0 + 20, old * 0 + 20)}
        collector.add_prices(both, old, old + change, factors, causes, ladders)
    return collector


def test_batches_add_up_whatever_their_size():
    found, again = collected(batch=60).result(), collected(batch=7).result()
    assert found.causes == again.causes
    assert found.movers == again.movers
    pd.testing.assert_frame_equal(found.dislocation.frame, again.dislocation.frame)
    pd.testing.assert_frame_equal(found.dislocation.segments, again.dislocation.segments)
    summary = found.dislocation.summary
    assert sum(found.causes.values()) == summary["after"] - summary["before"]
    assert found.ladder["new"].sum() == summary["after"]
    assert found.neutral_factor == pytest.approx(summary["before"] / summary["after"])
    assert found.statuses == {("quoted", "quoted"): 180, ("referred", "quoted"): 20}
    assert found.codes.loc["corridor"].tolist() == [20, 0]
    assert found.winners + found.losers == pytest.approx(1.0)
    falls, rises = found.movers
    assert len(falls) == len(rises) == 10
    ages = {18 + place % 50 for place in rises}
    assert all(age < 26 for age in ages)


def test_numbers_are_banded_in_their_order():
    segments = collected().result().dislocation.segments
    labels = list(segments.loc["driver_age"].index)
    assert len(labels) == 10
    assert [int(label.split(" to ")[0]) for label in labels] == sorted(
        int(x.split(" to ")[0]) for x in labels
    )


def test_causes_that_do_not_add_up_are_refused():
    one = np.array([1])
    with pytest.raises(ValueError, match="add up"):
        ImpactCollector().add_prices(
            one, one, one + 5, pd.DataFrame({"x": [1.0]}), {"plan_tax_minor": one}, {}
        )


def test_a_book_without_a_price_both_ways_says_why():
    collector = ImpactCollector()
    collector.add_outcomes(
        {"status": ["quoted"], "codes": [""]}, {"status": ["referred"], "codes": ["price_outside_corridor"]}
    )
    with pytest.raises(TrainingDataError, match="none of 1 policies.*price_outside_corridor"):
        collector.result()


def test_causes_have_names_for_people():
    assert cause_label("factor_driver_age_minor", MOTOR) == "model: Age of the driver"
    assert cause_label("follows_commission_minor", MOTOR) == "commission, following the risk premium"
    assert cause_label("plan_renewal_cap_minor", MOTOR) == "plan: renewal cap"


def page(impact, **about):
    lines = pd.DataFrame(
        {
            "policy_id": [7.0],
            "old_price_minor": [100],
            "new_price_minor": [90],
            "plan_margin_minor": [-10],
            "factor_driver_age_minor": [0],
        },
        index=[3],
    )
    compared = Compared(MOTOR, "model glm v1", "model <b>", "book", dt.datetime(2026, 1, 1), **about)
    return impact_page(impact, compared, lines, lines.iloc[:0])


def test_the_page_fetches_nothing_and_escapes_what_it_is_given():
    text = page(collected().result(), whole="Why <not>")
    assert text.count('src="data:image/png;base64,') >= 3
    assert "http" not in text.replace("http-equiv", "")
    assert "model &lt;b&gt;" in text
    assert "Why &lt;not&gt;" in text
    assert "No demand model was given" in text
    assert "Policies not quoted before, now quoted" in text


def test_the_page_gives_no_volume_where_the_elasticity_is_not_identified():
    verdict = Verdict(False, False, ("2 % of the price variance is left",), {"controlled": 0.1}, 0.02, 500)
    text = page(collected().result(), verdict=verdict, source="500 rows of a file")
    assert "not identified" in text
    assert "2 % of the price variance is left" in text
    assert "Expected profit" not in text


def test_the_page_gives_volume_and_profit_where_it_is():
    collector = collected()
    for _ in range(2):
        collector.add_demand(
            {"policies": (10, 10), "outside": (0, 5), "volume": (8, 7), "premium": (900, 800),
             "claims": (500, 450), "expenses": (100, 90), "profit": (300, 260)}
        )  # fmt: skip
    impact = collector.result()
    assert impact.demand.loc["profit"].tolist() == [600, 520]
    verdict = Verdict(True, False, (), {"controlled": -0.5}, 0.9, 500)
    text = page(impact, verdict=verdict, source="500 rows")
    assert "Expected profit" in text
    assert "10 (50.0%) move further from the old price" in text
    assert "is not known" in page(impact, verdict=verdict, source="a file", tested=False)
