"""Tariffs of models fitted on simulated motor rows: restrictions, distillation, differences, pictures."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.bundle import Bundle
from models.encoding import Encoding
from models.errors import ArtifactError, MismatchError, TariffError
from models.families import FitSettings
from models.families.glm import solve_glm
from models.families.glm_errors import relativity_variances
from models.links import respond
from models.response import read_observed
from models.tariff import (
    Banding,
    Capping,
    Distilling,
    Monotone,
    Rounding,
    Rows,
    Smoothing,
    Source,
    diff,
    distil,
    draw_tariff,
    fidelity,
    make_tariff,
    rebased,
    restrict,
)
from models.tariff.partition import fewest_groups
from models.tariff.proposal import check_parent, propose, tariff_of
from models.tariff.rows import deviance
from models.tariff.tariff import COVARIANCE, OWN_DATA, table_model
from models.tariff.whittaker import smooth
from models.training import fit_risk_model
from pricing.product import read_product

PRODUCT = read_product(Path(__file__).parents[2] / "data" / "reference" / "products" / "motor_fr.toml")
ENCODING = Encoding.of(PRODUCT)
BASES = dict.fromkeys(range(6), 0) | dict.fromkeys(range(7, 9), 0)


def motor_table(n: int, seed: int = 0) -> pa.Table:
    """Simulate rows with the columns of freMTPL2, more claims, and an interaction of age and fuel."""
    rng = np.random.default_rng(seed)
    age, bonus = rng.integers(18, 91, n), rng.choice([50, 50, 50, 60, 72, 90, 110], n)
    fuel, density = rng.integers(0, 2, n), np.exp(rng.uniform(1, 9, n)).astype(int) + 1
    exposure = rng.uniform(0.1, 1.0, n)
    young = age < 26
    rate = 0.15 * np.exp(0.8 * young + 0.02 * (bonus - 50) + 0.1 * np.log(density / 400) + 1.5 * young * fuel)
    claims = rng.poisson(rate * exposure)
    levels = {
        name: np.array(factor.levels)
        for factor in PRODUCT.factors
        if (name := factor.name) in {"area", "vehicle_brand", "region"}
    }
    return pa.table(
        {
            "Area": rng.choice(levels["area"], n),
            "VehPower": rng.integers(4, 16, n),
            "VehAge": rng.integers(0, 25, n),
            "DrivAge": age,
            "BonusMalus": bonus,
            "VehBrand": rng.choice(levels["vehicle_brand"], n),
            "VehGas": np.array(["Diesel", "Regular"])[fuel],
            "Density": density.astype(float),
            "Region": rng.choice(levels["region"][:6], n),
            "Exposure": exposure,
            "ClaimNb": claims,
            "ClaimTotal": np.round(rng.gamma(np.maximum(2.0 * claims, 1), 700.0) * (claims > 0), 2),
            "LearnTest": np.where(rng.random(n) < 0.3, "T", "L"),
        }
    )


class Motor:
    """Learn and test rows, and families fitted on the former."""

    def __init__(self) -> None:
        table = motor_table(9000)
        values, observed = ENCODING.encode(table).matrix, read_observed(PRODUCT, table)
        test = np.array(table["LearnTest"].to_pylist()) == "T"
        self.learn, self.test = (Rows.of(PRODUCT, ENCODING, values, observed, part) for part in (~test, test))
        self.glm, self.gbm = (
            fit_risk_model(PRODUCT, family, ENCODING, values, observed, ~test, FitSettings(rounds=80))
            for family in ("glm", "gbm")
        )
        self.tariff = make_tariff(PRODUCT, ENCODING, self.glm, self.learn)


@pytest.fixture(scope="module")
def motor() -> Motor:
    return Motor()


def test_a_tariff_prices_as_its_model(motor):
    model = motor.tariff.model()
    np.testing.assert_array_equal(
        model.risk_premium(motor.test.values), motor.glm.risk_premium(motor.test.values)
    )
    assert model.score_one(motor.test.values[0]) == motor.glm.score_one(motor.test.values[0])
    table = motor.tariff.table("frequency", "driver_age")
    assert table.exposure.sum() == pytest.approx(motor.learn.exposure.sum())
    assert table.claims.sum() == pytest.approx(motor.learn.claims.sum())
    low, high = table.interval(motor.tariff.component("frequency").dispersion)
    known = np.isfinite(low)
    assert known.sum() > 10
    assert (low[known] < table.relativities[known]).all()
    assert (high[known] > table.relativities[known]).all()
    assert table.exposure[table.base] == table.exposure.max()


def test_intervals_of_a_glm_are_those_of_its_covariance(motor):
    for name in ("frequency", "severity"):
        design = motor.learn.designs[name]
        variances = relativity_variances(
            solve_glm(design, FitSettings()), design, {6: motor.tariff.table(name, "fuel").base} | BASES
        )
        table = motor.tariff.table(name, "fuel")
        np.testing.assert_allclose(table.variance, variances[(6,)], rtol=1e-6)
        assert table.interval_kind == COVARIANCE
        low, high = table.interval(1.0)
        other = 1 - table.base
        assert np.log(high / low)[other] == pytest.approx(2 * 1.959964 * math.sqrt(table.variance[other]))
        assert np.isnan([low[table.base], low[-1]]).all()
    for restriction in RESTRICTIONS:
        table = restrict(motor.tariff, restriction, motor.learn).table(
            restriction.component, *restriction.inputs
        )
        kept = isinstance(restriction, Rounding)
        assert table.interval_kind == (COVARIANCE if kept else OWN_DATA)
    moved = rebased(
        motor.tariff, "fuel", "Diesel" if motor.tariff.table("frequency", "fuel").base else "Regular"
    )
    assert moved.table("frequency", "fuel").interval_kind == OWN_DATA


def test_intervals_are_of_the_cells_where_the_glm_cannot_be_solved_again(motor):
    for tariff in (
        make_tariff(PRODUCT, ENCODING, motor.glm, motor.test),
        distil(PRODUCT, ENCODING, motor.gbm, motor.learn),
    ):
        assert {t.interval_kind for c in tariff.components for t in c.tables} == {OWN_DATA}


def test_the_interval_of_the_cells_covers_the_truth(motor):
    """For a saturated factor the information interval is that of a ratio of Poisson counts."""
    component = motor.tariff.component("frequency")
    table = replace(component.table("fuel"), variance=None)
    design = motor.learn.designs["frequency"]
    mean = respond(table_model(component, ENCODING).predict_raw(design.values), "log")
    expected = np.bincount(design.values[:, 6].astype(int), mean * design.weight)
    np.testing.assert_allclose(table.information[:2], expected, rtol=1e-9)
    low, high = table.interval(1.0)
    other = 1 - table.base
    half = 1.959963984540054 * math.sqrt((1 / expected).sum())
    assert np.log(high / low)[other] == pytest.approx(2 * half)


def test_a_booster_has_no_tables(motor):
    with pytest.raises(TariffError, match="frequency of family 'gbm' is not made of tables. Hint: distil"):
        make_tariff(PRODUCT, ENCODING, motor.gbm, motor.learn)


RESTRICTIONS = [
    Banding("frequency", "driver_age", loss=0.05),
    Banding("frequency", "bonus_malus", edges=(55.0, 81.0)),
    Banding("frequency", "region", loss=0.2),
    Banding("frequency", "vehicle_brand", groups=(("B1", "B2"), ("B13", "B14"))),
    Smoothing("frequency", ("driver_age",)),
    Monotone("frequency", "driver_age", -1),
    Monotone("severity", "vehicle_power", 1),
    Capping("severity", ("region",), 0.97, 1.02),
    Rounding("frequency", ("density",), 2),
]


@pytest.mark.parametrize("restriction", RESTRICTIONS, ids=lambda r: f"{type(r).__name__}-{r.inputs[0]}")
def test_a_restriction_keeps_the_total_and_is_recorded(motor, restriction):
    before, after = motor.tariff, restrict(motor.tariff, restriction, motor.learn)
    design = motor.learn.designs[restriction.component]
    totals = [
        design.weight @ respond(t.model().components[restriction.component].predict_raw(design.values), "log")
        for t in (before, after)
    ]
    assert totals[1] == pytest.approx(totals[0], rel=1e-9)
    (record,) = after.records
    assert record.deviance_after == pytest.approx(
        deviance(design, after.model().components[restriction.component]), rel=1e-12
    )
    assert record.deviance_before == pytest.approx(
        deviance(design, before.model().components[restriction.component]), rel=1e-12
    )
    assert str(restriction) in str(record)
    for one, two in zip(before.components, after.components, strict=True):
        for table, other in zip(one.tables, two.tables, strict=True):
            if (one.name, table.inputs) != (restriction.component, restriction.inputs):
                assert other.raw.tobytes() == table.raw.tobytes()
    table = after.table(restriction.component, *restriction.inputs)
    assert table.relativities.ravel()[table.base] == 1.0


def test_what_each_restriction_promises(motor):
    tariff, learn = motor.tariff, motor.learn
    bands = restrict(tariff, RESTRICTIONS[0], learn)
    record = bands.records[0]
    assert 1 < record.cells_after < record.cells_before
    assert restrict(tariff, RESTRICTIONS[1], learn).table("frequency", "bonus_malus").scales[0].edges == (
        55.0,
        81.0,
    )
    merged = restrict(tariff, RESTRICTIONS[3], learn)
    assert "B1 + B2" in merged.cell_names(merged.table("frequency", "vehicle_brand"))[0]
    falling = restrict(tariff, RESTRICTIONS[5], learn).table("frequency", "driver_age")
    assert (np.diff(falling.raw[:-1]) <= 1e-12).all()
    capped = restrict(tariff, RESTRICTIONS[7], learn).table("severity", "region").relativities
    assert capped.min() >= 0.97
    assert capped.max() <= 1.02
    rounded = restrict(tariff, RESTRICTIONS[8], learn).table("frequency", "density").relativities
    np.testing.assert_array_equal(rounded, np.round(rounded, 2))
    smooth_one = restrict(tariff, RESTRICTIONS[4], learn).table("frequency", "driver_age")
    rough = [
        np.square(np.diff(t.raw[:-1], 2)).sum() for t in (tariff.table("frequency", "driver_age"), smooth_one)
    ]
    assert rough[1] < rough[0]
    twice = restrict(bands, Rounding("frequency", ("driver_age",), 2), learn)
    assert [r.restriction for r in twice.records] == [
        record.restriction,
        "relativities rounded to 2 decimals",
    ]


def test_a_direction_beside_a_two_way_table_is_recorded_with_a_caution(motor):
    pairs = distil(PRODUCT, ENCODING, motor.gbm, motor.learn, Distilling(strongest=1))
    (record,) = restrict(pairs, Monotone("frequency", "driver_age", -1), motor.learn).records
    assert "caution: driver_age x fuel may turn it" in str(record)
    (record,) = restrict(motor.tariff, Monotone("frequency", "driver_age", -1), motor.learn).records
    assert "caution" not in str(record)


@pytest.mark.parametrize(
    ("restriction", "sentence"),
    [
        (Banding("frequency", "driver_age"), "one of loss, edges, groups"),
        (Banding("frequency", "driver_age", loss=1.0), "a share from 0 to below 1"),
        (Banding("frequency", "driver_age", edges=(20.1,)), "bounds must ascend and be some of"),
        (Banding("frequency", "driver_age", groups=(("18",),)), "is a number: it is cut by edges"),
        (Banding("frequency", "region", edges=(1.0,)), "has levels: it is merged by groups"),
        (Banding("frequency", "region", groups=(("R11", "R12"),)), "region has no level 'R12'"),
        (Banding("frequency", "region", groups=(("R11", "R11"),)), "'R11' is named twice"),
        (Smoothing("frequency", ("region",)), "only numbers can be smoothed"),
        (Smoothing("frequency", ("driver_age",), 0), "order 0 must be 1 or more"),
        (Smoothing("frequency", ("driver_age",), 2, (-1.0,)), "one strength above 0 for each side"),
        (Monotone("frequency", "area", 1), "only numbers can be monotone"),
        (Monotone("frequency", "driver_age", 0), "sign is 0"),
        (Capping("frequency", ("area",), 2.0, 1.0), "0 < low < high is needed"),
        (Rounding("frequency", ("area",), 0), None),
        (Rounding("frequency", ("area",), 11), "allowed: 0 to 10"),
        (Capping("cost", ("area",), 0.5, 2.0), "there is no component 'cost'"),
        (Capping("frequency", ("town",), 0.5, 2.0), "frequency has no table town"),
    ],
)
def test_what_a_restriction_refuses(motor, restriction, sentence):
    if sentence is None:
        assert (
            restrict(motor.tariff, restriction, motor.learn).table("frequency", "area").relativities.max()
            == 1.0
        )
        return
    with pytest.raises(TariffError, match=sentence):
        restrict(motor.tariff, restriction, motor.learn)


def test_distilling_a_booster(motor):
    plain = distil(PRODUCT, ENCODING, motor.gbm, motor.learn)
    found = fidelity(plain, motor.gbm, motor.test)
    frame = found.frame
    assert list(frame.index) == ["frequency", "severity", "risk premium"]
    assert frame.loc["frequency", "correlation"] > 0.9
    assert frame.loc["frequency", "r2"] > 0.8
    assert frame.loc["frequency", "gini_kept"] > 0.9
    assert frame.loc["risk premium", "largest"] >= frame.loc["risk premium", "deviation_99"] > 0
    lost = found.lost[found.lost["component"] == "frequency"]
    assert len(lost) == 36
    assert set(lost.iloc[0][["input_1", "input_2"]]) == {"driver_age", "fuel"}
    pairs = distil(PRODUCT, ENCODING, motor.gbm, motor.learn, Distilling(strongest=1))
    assert pairs.component("frequency").tables[-1].inputs == ("driver_age", "fuel")
    better = fidelity(pairs, motor.gbm, motor.test)
    assert better.frame.loc["frequency", "r2"] > frame.loc["frequency", "r2"]
    assert len(better.lost) == 70
    named = distil(PRODUCT, ENCODING, motor.gbm, motor.learn, Distilling(pairs=(("fuel", "driver_age"),)))
    assert named.component("severity").tables[-1].inputs == ("driver_age", "fuel")
    for name, design in motor.learn.designs.items():
        totals = [
            design.weight @ respond(m.components[name].predict_raw(design.values), "log")
            for m in (motor.gbm, plain.model(), pairs.model())
        ]
        assert totals == pytest.approx([totals[0]] * 3, rel=1e-9)


def test_a_tariff_of_tables_is_distilled_to_itself_nearly(motor):
    again = distil(PRODUCT, ENCODING, motor.glm, motor.learn, Distilling(bands=40))
    frame = fidelity(again, motor.glm, motor.test).frame
    assert frame.loc["frequency", "r2"] > 0.99


def test_what_distilling_refuses(motor):
    with pytest.raises(TariffError, match="is no pair of inputs"):
        distil(PRODUCT, ENCODING, motor.glm, motor.learn, Distilling(pairs=(("fuel", "colour"),)))
    with pytest.raises(TariffError, match="at least 2 are needed"):
        distil(PRODUCT, ENCODING, motor.glm, motor.learn, Distilling(bands=1))


def edited(tariff, component, name, cell, factor):
    table = tariff.table(component, name)
    raw = table.raw.copy()
    raw[cell] += math.log(factor)
    return tariff.with_table(component, replace(table, raw=raw))


def test_a_difference_in_plain_words(motor):
    rows = motor.test
    after = edited(motor.tariff, "frequency", "fuel", 1, 0.9)
    found = diff(motor.tariff, after, rows.values, rows.exposure)
    (line,) = found.frame.to_dict("records")
    ratio = after.model().risk_premium(rows.values) / motor.tariff.model().risk_premium(rows.values)
    regular = rows.values[:, 6] == 1
    np.testing.assert_array_equal(ratio[~regular], 1.0)
    assert line["change"] == pytest.approx(-0.1)
    assert line["exposure_share"] == pytest.approx(rows.exposure[regular].sum() / rows.exposure.sum())
    assert line["premium_effect"] == pytest.approx(found.total_effect, rel=1e-9)
    assert found.off_balance * found.premium_after == pytest.approx(found.premium_before)
    first, total = found.sentences()
    assert first.startswith("Fuel Regular (frequency): relativity ")
    assert re.search(r"\(-10\.0 %\), \d\d\.\d % of exposure, premium effect -\d\.\d\d %$", first)
    assert total.startswith("In all: premium effect -")
    assert diff(after, after, rows.values, rows.exposure).sentences()[0] == "No relativity changed."


def test_a_difference_of_bands_and_base_rates(motor):
    rows = motor.test
    after = restrict(motor.tariff, RESTRICTIONS[0], motor.learn)
    after = edited(after, "severity", "region", 0, 1.5)
    found = diff(motor.tariff, after, rows.values, rows.exposure)
    effects = found.frame["premium_effect"].abs()
    assert effects.is_monotonic_decreasing
    assert "base rate" in set(found.frame["table"])
    # Every change but that of the severity acts on the frequency; small effects add up nearly.
    assert found.frame["premium_effect"].sum() == pytest.approx(found.total_effect, abs=0.02)
    found.figure().savefig("/dev/null", format="png")
    other = replace(motor.tariff, product="motor")
    with pytest.raises(MismatchError, match="products do not match"):
        diff(motor.tariff, other, rows.values, rows.exposure)


def test_pictures_of_every_table(motor, tmp_path):
    tariff = distil(PRODUCT, ENCODING, motor.gbm, motor.learn, Distilling(pairs=(("driver_age", "fuel"),)))
    frequency = tariff.components[0]
    few = (frequency.table("driver_age"), frequency.table("driver_age", "fuel"))
    tariff = replace(tariff, components=(replace(frequency, tables=few),))
    paths = draw_tariff(tariff, tmp_path, before=motor.tariff)
    assert [path.name for path in paths] == ["frequency_driver_age.png", "frequency_driver_age_x_fuel.png"]
    assert all(path.stat().st_size > 5000 for path in paths)


def test_fewest_groups_are_the_fewest():
    raw = np.array([0.0, 0.0, 0.1, 1.0, 1.0, 1.05, 3.0])
    weight = np.array([1.0, 2.0, 1.0, 1.0, 0.0, 1.0, 5.0])
    found = fewest_groups(raw, weight, 0.0)
    # A cell without weight joins either neighbour.
    assert np.delete(found, 4).tolist() == [0, 0, 1, 2, 3, 4]
    assert found[4] in (2, 3)
    assert fewest_groups(raw, weight, 0.01).tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert fewest_groups(raw, weight, 0.999).tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert fewest_groups(np.zeros(4), np.ones(4), 0.0).tolist() == [0] * 4


def test_smoothing_finds_the_curve():
    rng = np.random.default_rng(2)
    age = np.arange(60)
    truth = np.cos(age / 12)
    weight = rng.uniform(5, 60, 60)
    noisy = truth + rng.normal(size=60) / np.sqrt(weight)
    weight[20:23] = 0.0
    noisy[20:23] = 50.0
    fitted, (strength,) = smooth(noisy, weight)
    assert np.abs(fitted - truth).max() < 0.25
    assert np.square(fitted - truth)[weight > 0].mean() < 0.4 * np.square(noisy - truth)[weight > 0].mean()
    # The restricted likelihood is flat but not so flat that a tenfold strength could be better.
    assert 1 < strength < 1e6
    line, _ = smooth(noisy, weight, strengths=(1e12,))
    np.testing.assert_allclose(np.diff(line, 2), 0, atol=1e-6)
    np.testing.assert_allclose(smooth(noisy, weight + 1, strengths=(1e-9,))[0], noisy, atol=1e-6)


def test_smoothing_two_sides():
    rng = np.random.default_rng(3)
    one, two = np.meshgrid(np.arange(12) / 6, np.arange(9) / 4, indexing="ij")
    truth = np.sin(one) * two
    fitted, strengths = smooth(truth + rng.normal(size=truth.shape) * 0.2, np.full(truth.shape, 25.0))
    assert len(strengths) == 2
    assert np.square(fitted - truth).mean() < 0.4 * 0.04


def test_a_tariff_of_another_product_parent_or_table_is_not_proposed(motor, tmp_path):
    table = motor_table(9000)
    for change in ({"product": "motor"}, {"product_hash": "0" * 64}):
        with pytest.raises(MismatchError, match="products do not match"):
            propose(replace(motor.tariff, **change), PRODUCT, table, "")
    fewer = Encoding(ENCODING.factors[:-1], ())
    with pytest.raises(MismatchError, match="inputs do not match"):
        propose(replace(motor.tariff, encoding=fewer), PRODUCT, table, "")
    with pytest.raises(MismatchError, match="parent models do not match: stored none, expected abc"):
        check_parent(motor.tariff, "abc")


def test_a_proposed_tariff_is_stored_with_where_each_cell_comes_from(motor, tmp_path):
    tariff = restrict(motor.tariff, Rounding("frequency", ("driver_age",), 2), motor.learn)
    result = propose(tariff, PRODUCT, motor_table(9000), "")
    assert list(result.models) == ["tariff"]
    loaded = Bundle.load(result.bundle().save(tmp_path / "tariff"), expected_product=PRODUCT)
    values = motor.test.values
    np.testing.assert_array_equal(loaded.model.risk_premium(values), tariff.model().risk_premium(values))
    again = tariff_of(loaded, Source("2", "abc", "tariff"), motor.learn)
    assert again.records == tariff.records
    assert again.source.version == "2"
    (tmp_path / "tariff" / "tariff.json").write_text("{}")
    with pytest.raises(ArtifactError, match="tariff.json does not match its checksum"):
        Bundle.load(tmp_path / "tariff")
