"""Price tests: the file, the assignment, power, intervals that always hold, shares learned by batch."""

import math
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.hashing import unit_share
from pricing.errors import DefinitionError, ExperimentError
from pricing.experiments import (
    CellShares,
    CellTotals,
    ConfidenceSequence,
    Design,
    Monitor,
    SharesLog,
    assign,
    assign_cells,
    cell_multiplier,
    next_shares,
    parse_experiment,
    read_experiments,
    takes_part,
)
from pricing.experiments.assignment import place
from pricing.experiments.experiment import mean_effect
from pricing.experiments.shares import Evidence
from pricing.ladder import CAPS, PriceInputs, build_ladder, offer_basis
from pricing.plan import MILLION, read_plan
from pricing.product import read_product

REFERENCE = Path(__file__).parents[2] / "data" / "reference"
FILE = REFERENCE / "experiments" / "return_freight_2026.toml"
TEXT = FILE.read_text(encoding="utf-8")
TEST = parse_experiment(TEXT, FILE.name)
FILED = CellShares.filed(TEST)
PLAN = read_plan(REFERENCE / "plans" / "return_freight-2026-01.toml")
UNITS = np.arange(50_000, dtype=np.int64) * 7919


def test_shipped_tests_fit_their_products_and_plans():
    for test in read_experiments(REFERENCE / "experiments").values():
        test.check_plan(read_plan(REFERENCE / "plans" / f"{test.plan}.toml"))
        assert read_product(REFERENCE / "products" / f"{test.product}.toml").plan == test.plan
        assert len(test.cells) >= 9
    assert TEST.runs_on(date(2026, 4, 30))
    assert not TEST.runs_on(date(2026, 5, 1))
    with pytest.raises(DefinitionError, match="found plan 'motor-2026-01'"):
        TEST.check_plan(read_plan(REFERENCE / "plans" / "motor-2026-01.toml"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('share = "0.20"', 'share = "0.30"', r"add up to 1\.1, not to 1"),
        ('multiplier = "0.80"', 'multiplier = "0.79"', "0.79 lies outside the corridor 0.80 to 1.20"),
        ('multiplier = "1.00"', 'multiplier = "1.01"', "no holdout"),
        ('multiplier = "0.85"', 'multiplier = "0.90"', "0.9 stands in more than one cell"),
        ("end = 2026-05-01", "end = 2026-01-01", "must come after start"),
        ('least_share = "0.01"', 'least_share = "0.15"', "below least_share"),
        ('least_share = "0.01"', 'least_share = "0.0"', "above 0"),
        ('multiplier = "0.80"', 'multiplier = "1.125"', "mean premium moves by \\+0.03"),
        ('unit = "customer"', 'unit = "quote"', "unit: .*customer"),
        ("alpha = 0.05", "alfa = 0.05", "unknown key 'stop.alfa'"),
    ],
)
def test_a_faulty_test_is_refused_by_name(old, new, message):
    assert old in TEXT
    with pytest.raises(DefinitionError, match=message):
        parse_experiment(TEXT.replace(old, new, 1), "test.toml")


def test_tests_of_one_name_or_at_the_same_time_are_refused(tmp_path):
    (tmp_path / "a.toml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "b.toml").write_text(TEXT, encoding="utf-8")
    with pytest.raises(DefinitionError, match=r"is taken by a\.toml"):
        read_experiments(tmp_path)
    other = TEXT.replace('name = "return_freight_2026"', 'name = "other"')
    (tmp_path / "b.toml").write_text(other, encoding="utf-8")
    with pytest.raises(DefinitionError, match="same time as 'return_freight_2026'"):
        read_experiments(tmp_path)
    later = other.replace("start = 2026-02-01", "start = 2026-05-01").replace(
        "end = 2026-05-01", "end = 2026-06-01", 1
    )
    (tmp_path / "b.toml").write_text(later.replace("start = 2026-06-01", "start = 2026-05-01"), "utf-8")
    assert set(read_experiments(tmp_path)) == {"return_freight_2026", "other"}


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30), st.text(max_size=10))
def test_one_unit_and_a_column_share_places_with_the_data_room(units, name):
    column = np.array(units, dtype=np.int64)
    places = place(column, name)
    assert [place(one, name) for one in units] == places.tolist()
    assert (places.astype(float) * 2.0**-53 == unit_share(column, name)).all()
    assert [assign(FILED, one).cell for one in units] == assign_cells(FILED, column).tolist()


def test_cells_come_by_their_shares_and_stay():
    cells = assign_cells(FILED, UNITS)
    expected = np.array(FILED.shares) / MILLION * len(UNITS)
    assert stats.chisquare(np.bincount(cells, minlength=9), expected).pvalue > 1e-4
    one = assign(FILED, 7919)
    assert one == assign(FILED, 7919)
    assert (one.cell, one.propensity) == (cells[1], FILED.shares[cells[1]] / MILLION)
    assert (one.experiment, one.experiment_hash) == (TEST.name, TEST.hash)


def test_experiments_do_not_depend_on_each_other():
    names = [f"experiment_{i}" for i in range(16)]
    cells = [np.asarray(place(UNITS[:20_000], name)) * 9 >> 53 for name in names]
    p_values = []
    for i, one in enumerate(cells):
        for other in cells[:i]:
            table = np.bincount((one * 9 + other).astype(np.int64), minlength=81).reshape(9, 9)
            p_values.append(stats.chi2_contingency(table).pvalue)
    assert len(p_values) == 120
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


@given(st.floats(0.5, 1200.0), st.integers(0, 10**12))
def test_one_unit_and_a_column_are_priced_alike_within_the_corridor(risk, unit):
    terms = PLAN.terms("platform")
    one = PriceInputs(risk)
    basis = offer_basis(one, terms)
    column = offer_basis(PriceInputs(np.array([risk])), terms)
    multiplier = cell_multiplier(FILED, unit, basis)
    assert cell_multiplier(FILED, np.array([unit]), column).tolist() == [multiplier]
    if not takes_part(FILED, basis):
        assert multiplier == MILLION
        return
    assert multiplier == assign(FILED, unit).multiplier
    plain = build_ladder(one, PLAN, "platform").price_minor
    shown = build_ladder(replace(one, price_test=multiplier), PLAN, "platform")
    assert terms.lowest_minor <= shown.price_minor <= terms.highest_minor
    assert not any(shown.amount(cap) for cap in CAPS)
    assert abs(shown.price_minor - plain * multiplier / MILLION) <= 1.2 * terms.unit_minor


def test_a_test_that_cannot_tell_the_slope_is_refused_with_the_quotes_that_would_do():
    weak = parse_experiment(TEXT.replace("slope_error = 0.05", "slope_error = 0.01"), FILE.name)
    with pytest.raises(ExperimentError, match=r"too weak.*3,004,7\d\d quotes"):
        Design.planned(weak).check_power()
    assert Design.planned(TEST).check_power() < TEST.power.slope_error


def test_the_error_of_the_slope_is_what_fits_of_simulated_tests_show():
    design = Design(TEST, 0.4, -3.0)
    rng = np.random.default_rng(1)
    n = 20_000
    x = np.log(np.array(TEST.multipliers) / MILLION)
    p = 1 / (1 + np.exp(-(np.log(0.4 / 0.6) - 3.0 * x)))
    quotes = rng.multinomial(n, np.array(TEST.shares) / MILLION, size=400)
    # One weighted least-squares step from the truth is the fit, as far as its error goes.
    score = rng.binomial(quotes, p) - quotes * p
    w = quotes * p * (1 - p)
    mean = (w @ x) / w.sum(axis=1)
    moved = x - mean[:, None]
    found = (score * moved).sum(axis=1) / (w * moved**2).sum(axis=1)
    assert found.std() == pytest.approx(design.slope_error(n), rel=0.12)
    quick = 1 / (x.std() * math.sqrt(n * 0.24))
    assert design.slope_error(n) == pytest.approx(quick, rel=0.15)
    assert design.slope_error(design.quotes_for_slope(0.05)) == pytest.approx(0.05, rel=1e-3)
    for call in (lambda: design.slope_error(0), lambda: Design(TEST, 1.0, -3.0)):
        with pytest.raises(ExperimentError, match="allowed"):
            call()


def test_the_detectable_difference_is_found_as_often_as_promised():
    design = Design(TEST, 0.3, -3.0)
    n = 50_000
    difference = design.detectable_difference(0, n, 0.05, 0.8)
    assert design.quotes_for_difference(0, difference, 0.05, 0.8) == pytest.approx(n, abs=1)
    rng = np.random.default_rng(2)
    cell = rng.binomial(n // 10, 0.3 + difference, 4000) / (n // 10)
    holdout = rng.binomial(n // 5, 0.3, 4000) / (n // 5)
    error = np.sqrt(cell * (1 - cell) / (n // 10) + holdout * (1 - holdout) / (n // 5))
    assert (np.abs(cell - holdout) / error > stats.norm.ppf(0.975)).mean() == pytest.approx(0.8, abs=0.03)


def _ever_excludes(outcomes: np.ndarray, truth: float, spread: float) -> bool:
    """Look after every pair of quotes, outcomes of shape (n, 2): does the interval ever miss the truth?"""
    n = len(outcomes)
    sums, squares = outcomes.cumsum(axis=0), (outcomes**2).cumsum(axis=0)
    sequence = ConfidenceSequence.planned(0.05, spread, n / 2, n / 2)
    for i in range(99, n):
        totals = [CellTotals(i + 1, float(sums[i, j]), float(squares[i, j])) for j in (0, 1)]
        sequence = sequence.update(totals[0], totals[1])
        if not sequence.lower <= truth <= sequence.upper:
            return True
    return False


@pytest.mark.parametrize("conversion", [0.05, 0.4])
def test_a_false_alarm_is_rare_however_often_one_looks(conversion):
    rng = np.random.default_rng(3)
    runs = 200
    spread = math.sqrt(conversion * (1 - conversion))
    alarms = sum(
        _ever_excludes((rng.random((600, 2)) < conversion).astype(float), 0.0, spread) for _ in range(runs)
    )
    # At the promised 5 % 19 or more of 200 come with probability 0.7 %.
    assert alarms < 19


def test_the_interval_of_skewed_profit_holds_a_true_difference():
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(100):
        bought = rng.random((600, 2)) < [0.3, 0.4]
        missed += _ever_excludes(np.where(bought, rng.normal(30, 10, (600, 2)), 0.0), -3.0, 15.0)
    assert missed < 12


def _totals(counts, conversion, profit):
    sold = np.asarray(counts) * conversion
    return [CellTotals(int(n), s * profit, s * profit**2) for n, s in zip(counts, sold, strict=True)]


def test_a_monitor_narrows_and_stops_on_harm_and_at_the_plan():
    rule = TEXT.replace("largest_loss = 30.0", "largest_loss = 0.5").replace("spread = 25.0", "spread = 12.0")
    test = parse_experiment(rule, FILE.name)
    monitor = Monitor.start(test)
    per = np.array([1000] * 4 + [2000] + [1000] * 4)
    calm = np.full(9, 0.4)
    widths = []
    for _ in range(5):
        monitor = monitor.add(_totals(per, calm, 24.0))
        assert not monitor.stops()
        widths.append(monitor.sequences[0].upper - monitor.sequences[0].lower)
    assert all(after < before for before, after in pairwise(widths))
    assert monitor.premium_effect() == pytest.approx(0.0)
    harmed = calm.copy()
    harmed[8] = 0.2
    stopped = Monitor.start(test).add(_totals(per * 5, harmed, 24.0))
    assert ["cell 1.20 loses at least" in reason for reason in stopped.stops()] == [True]
    assert stopped.sequences[8].differs
    for _ in range(15):
        monitor = monitor.add(_totals(per, calm, 24.0))
    assert monitor.stops() == ("the planned 200000 quotes are reached",)
    drifted = ConfidenceSequence(0.05, 1e-4).update(CellTotals(9000, 900, 900), CellTotals(9000, 4500, 4500))
    drifted = drifted.update(CellTotals(99000, 49500, 49500), CellTotals(99000, 49500, 49500))
    assert drifted.contradicts
    with pytest.raises(ExperimentError, match="cannot have sum"):
        CellTotals(10, 11.0, 11.0)
    with pytest.raises(ExperimentError, match="2 totals for 9 cells"):
        monitor.add([CellTotals(), CellTotals()])


@settings(max_examples=60)
@given(st.lists(st.integers(0, 100), min_size=9, max_size=9).filter(any))
def test_later_shares_keep_the_floor_the_sum_and_the_cap(weights):
    wished = np.array(weights) / sum(weights)
    after = FILED.following(TEST, wished.tolist(), Evidence("beta"))
    assert sum(after.shares) == MILLION
    assert min(after.shares) >= 10_000
    assert abs(mean_effect(after.multipliers, after.shares)) <= 0.01
    assert (after.version, after.previous) == (1, FILED.hash)
    if abs(float(wished @ (np.array(TEST.multipliers) / MILLION - 1))) < 0.009:
        assert np.allclose(np.array(after.shares) / MILLION, 0.01 + 0.91 * wished, atol=1e-5)


@pytest.mark.parametrize("method", ["beta", "logistic"])
def test_shares_go_to_the_best_cell_and_the_log_only_grows(method):
    wide = parse_experiment(TEXT.replace('cap = "0.01"', 'cap = "0.2"'), "wide.toml")
    x = np.array(wide.multipliers) / MILLION
    conversion = 1 / (1 + np.exp(5.0 * np.log(x)))
    profit = 100.0 * x - 60.0
    best = int((conversion * profit).argmax())
    quotes = np.full(9, 20_000)
    sold = (quotes * conversion).astype(np.int64)
    log = SharesLog((CellShares.filed(wide),))
    for _ in range(2):
        rng = np.random.default_rng(5)
        log = log.add(next_shares(wide, log.current, quotes, sold, profit, method, rng))
    assert np.argmax(log.current.shares) == best
    assert log.current.evidence.sold == tuple(sold.tolist())
    text = log.to_lines()
    assert SharesLog.from_lines(text) == log
    assert text.startswith(SharesLog(log.versions[:2]).to_lines())
    lines = text.splitlines(keepends=True)
    for changed, message in [
        (text.replace('"version": 1', '"version": 2'), "its hash does not fit"),
        (lines[0] + lines[2], "does not follow"),
        (text + "{}\n", "line 4 is no version"),
        ("", "starts with the shares of the file"),
    ]:
        with pytest.raises(ExperimentError, match=message):
            SharesLog.from_lines(changed)
    with pytest.raises(ExperimentError, match="was changed while the test ran"):
        next_shares(TEST, log.current, quotes, sold, profit, method, rng)
    with pytest.raises(ExperimentError, match="between 0 and quotes"):
        next_shares(wide, log.current, sold, quotes, profit, method, rng)


@pytest.mark.parametrize("sold", [0, 1000])
def test_demand_of_nobody_or_everybody_is_still_learned_from(sold):
    quotes = np.full(9, 1000)
    found = next_shares(
        TEST, FILED, quotes, np.full(9, sold), np.ones(9), "logistic", np.random.default_rng(6)
    )
    assert sum(found.shares) == MILLION
