"""Tariffs of events: relativities act on the odds, base rates are probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.encoding import Encoding
from models.families import FitSettings
from models.response import read_observed
from models.tariff import (
    Banding,
    Distilling,
    Rounding,
    Rows,
    diff,
    distil,
    factor_figure,
    fidelity,
    make_tariff,
    read_tariff,
    restrict,
    write_tariff,
)
from models.training import fit_risk_model
from pricing.product import read_product

PRODUCT = read_product(Path(__file__).parents[2] / "data" / "reference" / "products" / "flight_delay.toml")
ENCODING = Encoding.of(PRODUCT)


class Flights:
    """Learn and test rows of simulated flights, a GA2M and a booster."""

    def __init__(self) -> None:
        rng, n = np.random.default_rng(4), 6000
        month, hour, airline = rng.integers(1, 13, n), rng.integers(0, 24, n), rng.integers(0, 8, n)
        odds = 0.15 * np.exp(
            0.08 * hour + 0.6 * np.isin(month, (6, 7, 8)) + 0.2 * (airline - 3) * (hour > 15)
        )
        table = pa.table(
            {
                "month": month,
                "departure_hour": hour,
                "airline": np.array([f"A{k + 1}" for k in airline]),
                "distance_km": np.round(rng.uniform(100, 15000, n)),
                "claimed": rng.random(n) < odds / (1 + odds),
            }
        )
        values, observed = ENCODING.encode(table).matrix, read_observed(PRODUCT, table)
        test = rng.random(n) < 0.3
        self.learn, self.test = (Rows.of(PRODUCT, ENCODING, values, observed, part) for part in (~test, test))
        self.ga2m, self.gbm = (
            fit_risk_model(PRODUCT, family, ENCODING, values, observed, ~test, FitSettings(rounds=60))
            for family in ("ga2m", "gbm")
        )
        self.tariff = make_tariff(PRODUCT, ENCODING, self.ga2m, self.learn)


@pytest.fixture(scope="module")
def flights() -> Flights:
    return Flights()


def test_two_way_tables_travel_and_price_as_the_model(flights, tmp_path):
    tables = flights.tariff.component("probability").tables
    assert any(len(table.inputs) == 2 for table in tables)
    back = read_tariff(write_tariff(flights.tariff, tmp_path / "t.xlsx"))
    values = flights.test.values
    np.testing.assert_array_equal(back.model().risk_premium(values), flights.ga2m.risk_premium(values))


def test_an_edited_relativity_moves_the_odds(flights, tmp_path):
    path = write_tariff(flights.tariff, tmp_path / "t.json")
    content = json.loads(path.read_text())
    cell = next(c for c in content["cells"] if (c["table"], c.get("cell_1")) == ("airline", "A5"))
    cell["relativity"] *= 1.25
    path.write_text(json.dumps(content))
    edited = read_tariff(path, "actuary")
    values, exposure = flights.test.values, flights.test.exposure
    before, after = (t.model().predict(values)["probability"] for t in (flights.tariff, edited))
    ratio = (after / (1 - after)) / (before / (1 - before))
    np.testing.assert_allclose(ratio, np.where(values[:, 2] == 4, 1.25, 1.0), rtol=1e-11)
    found = diff(flights.tariff, edited, values, exposure)
    assert found.frame["premium_effect"].item() == pytest.approx(found.total_effect, rel=1e-9)
    assert 0 < found.total_effect < 0.25


def test_restrictions_of_odds_keep_the_number_of_events(flights):
    total = flights.tariff.model().predict(flights.learn.values)["probability"].sum()
    tariff = flights.tariff
    for restriction in (
        Banding("probability", "distance_km", loss=0.1),
        Rounding("probability", ("airline",), 1),
    ):
        tariff = restrict(tariff, restriction, flights.learn)
        predicted = tariff.model().predict(flights.learn.values)["probability"]
        assert predicted.sum() == pytest.approx(total, rel=1e-9)
    assert [record.component for record in tariff.records] == ["probability"] * 2
    # The bands of the one-way table do not cut the two-way tables anew.
    widths = [t.scales for t in tariff.component("probability").tables if "distance_km" in t.inputs]
    assert len({len(s.edges) for scales in widths for s in scales if s.input == "distance_km"}) == 2


def test_a_booster_of_events_is_distilled(flights):
    plain, pairs = (
        distil(PRODUCT, ENCODING, flights.gbm, flights.learn, Distilling(strongest=k)) for k in (0, 1)
    )
    assert pairs.component("probability").tables[-1].inputs == ("departure_hour", "airline")
    one, two = (fidelity(t, flights.gbm, flights.test).frame.loc["probability"] for t in (plain, pairs))
    assert one["r2"] > 0.5
    assert two["r2"] > one["r2"]
    for tariff in (plain, pairs):
        parts = [m.predict(flights.learn.values)["probability"].sum() for m in (tariff.model(), flights.gbm)]
        assert parts[0] == pytest.approx(parts[1], rel=1e-9)


def test_the_page_says_that_odds_are_drawn(flights):
    figure = factor_figure(flights.tariff, "probability", "airline")
    assert "relativity (odds)" in [axes.get_ylabel() for axes in figure.axes]
