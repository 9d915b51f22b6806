"""Development: the published chain ladder, delays found despite the end of history, young rows set right."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from models.errors import MissingExtraError, TrainingDataError
from models.preparation.development import (
    Triangle,
    build_triangle,
    develop,
    report_pattern,
    reported_share,
)

VALUATION = pd.Timestamp("2026-01-01")
MEAN_DELAY = 60.0
# Mack (1993): the general liability triangle of the Reinsurance Association of America, 1981 to 1990.
RAA = """
5012 8269 10907 11805 13539 16181 18009 18608 18662 18834
106 4285 5396 10666 13782 15599 15496 16169 16704
3410 8992 13873 16141 18735 22214 22863 23466
5655 11555 15766 21266 23425 26083 27067
1092 9565 15836 22169 25955 26180
1513 6445 11702 12935 15852
557 4020 10946 12314
1351 6947 13112
3133 5395
2063"""


def claims(n: int = 12_000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    happened = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.uniform(0, 731, n), "D"))
    known = happened + pd.to_timedelta(rng.exponential(MEAN_DELAY, n), "D")
    return pd.DataFrame({"happened": happened, "known": known, "paid": rng.gamma(2, 500, n)})


def mack() -> Triangle:
    rows = [line.split() for line in RAA.strip().splitlines()]
    cells = np.full((10, 10), np.nan)
    for i, row in enumerate(rows):
        cells[i, : len(row)] = np.array(row, float)
    origins = pd.period_range("1981", "1990", freq="Y").start_time.rename("origin")
    return Triangle(
        pd.DataFrame(cells, origins, pd.RangeIndex(1, 11, name="age")), "year", pd.Timestamp("1991")
    )


@pytest.mark.slow  # importing chainladder takes seconds
def test_chain_ladder_gives_the_published_reserve_and_error():
    pytest.importorskip("chainladder")
    found = develop(mack())
    assert found.frame["unreported"].sum() == pytest.approx(52135, abs=1)
    assert found.total_std_error == pytest.approx(26909, rel=0.01)
    assert found.frame["ultimate"].iloc[1] == pytest.approx(16858, abs=1)
    assert found.pattern.iloc[-1] == 1.0
    assert found.frame["share_known"].iloc[-1] == pytest.approx(1 / 8.920234, rel=1e-6)


@pytest.mark.slow
def test_a_tail_raises_every_ultimate():
    pytest.importorskip("chainladder")
    with pytest.raises(TrainingDataError, match="cape_cod needs a positive exposure for each of 10"):
        develop(mack(), "cape_cod")
    plain, tailed = develop(mack()), develop(mack(), tail=1.05)
    assert tailed.frame["ultimate"].to_numpy() == pytest.approx(1.05 * plain.frame["ultimate"].to_numpy())
    curve = develop(mack(), tail="exponential")
    assert (curve.frame["ultimate"] > plain.frame["ultimate"]).all()


def test_the_triangle_sums_claims_and_knows_no_future():
    frame = claims(500)
    triangle = build_triangle(frame, occurred="happened", known="known", valuation=VALUATION, amount="paid")
    known = frame[frame["known"] < VALUATION]
    latest = triangle.frame.to_numpy()[np.arange(24), np.arange(24)[::-1]]
    assert latest.sum() == pytest.approx(known["paid"].sum())
    assert np.isnan(triangle.frame.iloc[-1, 1:]).all()
    assert triangle.frame.notna().sum().sum() == 24 * 25 // 2
    may = known[(known["happened"] >= "2024-05-01") & (known["happened"] < "2024-06-01")]
    early = may[may["known"] < "2024-07-01"]["paid"].sum()
    assert triangle.frame.loc["2024-05-01", 2] == pytest.approx(early)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["chain_ladder", "bornhuetter_ferguson", "cape_cod"])
def test_ultimates_of_all_that_happened_are_found(method):
    pytest.importorskip("chainladder")
    frame = claims()
    triangle = build_triangle(frame, occurred="happened", known="known", valuation=VALUATION)
    days = pd.period_range("2024-01", "2025-12", freq="M").days_in_month
    found = develop(triangle, method, exposure=np.asarray(days, float), apriori=len(frame) / 731)
    room = 3 * develop(triangle).total_std_error
    assert found.frame["ultimate"].sum() == pytest.approx(len(frame), abs=room)
    assert found.frame["known"].sum() < len(frame) - room  # there was something to find
    assert len(found.figure().axes) == 2


def test_the_daily_pattern_is_that_of_the_delays():
    frame = claims(30_000)
    known = frame[frame["known"] < VALUATION]
    pattern = report_pattern(known["happened"], known["known"], VALUATION)
    ages = np.array([10.0, 30.5, 60.0, 120.0, 300.0])
    truth = 1 - np.exp(-ages / MEAN_DELAY)
    assert pattern.share(ages) == pytest.approx(truth, abs=0.015)
    assert pattern.share([-1.0, 0.0, 9999.0]).tolist() == [0.0, 0.0, 1.0]
    naive = [(known["known"] - known["happened"] < pd.Timedelta(days=age)).mean() for age in ages]
    assert naive[2] > truth[2] + 0.02  # a histogram of known delays is too short
    assert (pattern.frame["share"].diff().dropna() >= 0).all()
    assert len(pattern.figure().axes) == 1


def test_the_share_of_a_row_is_the_exact_mean_over_its_exposure():
    known = claims(30_000)
    known = known[known["known"] < VALUATION]
    pattern = report_pattern(known["happened"], known["known"], VALUATION)
    start = pd.Series(VALUATION - pd.to_timedelta([400.0, 20.3, 730.0, 0.4], "D"))
    end = pd.Series(
        [
            VALUATION + pd.Timedelta(days=99),
            *start[1:2] + pd.Timedelta(days=10.1),
            *start[2:] + pd.Timedelta(days=0.3),
        ]
    )
    found = reported_share(start, end, VALUATION, pattern)
    oldest = ((VALUATION - start) / pd.Timedelta(days=1)).to_numpy()
    youngest = np.maximum(((VALUATION - end) / pd.Timedelta(days=1)).to_numpy(), 0)
    for i in range(4):
        grid = youngest[i] + (np.arange(20_000) + 0.5) / 20_000 * (oldest[i] - youngest[i])
        assert found[i] == pytest.approx(pattern.share(grid).mean(), rel=1e-4)


def test_young_rows_with_their_share_give_the_true_frequency():
    rng = np.random.default_rng(5)
    n = 20_000
    start = pd.Series(pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.uniform(0, 360, n), "D"))
    end = pd.concat([start + pd.Timedelta(days=365), pd.Series([VALUATION] * n)], axis=1).min(axis=1)
    exposure = ((end - start) / pd.Timedelta(days=365)).to_numpy()
    count = rng.poisson(0.5 * exposure)
    row = np.repeat(np.arange(n), count)
    happened = start.iloc[row].reset_index(drop=True)
    happened += pd.to_timedelta(rng.uniform(0, 1, len(row)) * exposure[row] * 365, "D")
    known = happened + pd.to_timedelta(rng.exponential(MEAN_DELAY, len(row)), "D")
    seen = (known < VALUATION).to_numpy()
    pattern = report_pattern(happened[seen], known[seen], VALUATION)
    share = reported_share(start, end, VALUATION, pattern)
    frequency = seen.sum() / (exposure * share).sum()
    assert frequency == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(seen.sum()) * 1.5)
    assert seen.sum() / exposure.sum() < 0.42


def test_bad_claims_and_wants_are_refused():
    frame = claims(300)
    with pytest.raises(
        TrainingDataError, match="the valuation 2026-01-15 00:00:00 cuts a month: take 2026-01-01"
    ):
        build_triangle(frame, occurred="happened", known="known", valuation="2026-01-15")
    wrong = frame.assign(known=frame["happened"] - pd.Timedelta(days=1))
    with pytest.raises(TrainingDataError, match="300 claims: known before it happened"):
        build_triangle(wrong, occurred="happened", known="known", valuation=VALUATION)
    few = frame[frame["known"] < VALUATION].iloc[:20]
    with pytest.raises(TrainingDataError, match="20 claims are too few"):
        report_pattern(few["happened"], few["known"], VALUATION)


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "chainladder", None)
    with pytest.raises(
        MissingExtraError, match=r"needs chainladder; install it with: pip install 'premia\[reserving\]'"
    ):
        develop(mack())
