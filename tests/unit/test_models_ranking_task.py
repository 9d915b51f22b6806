"""Ranking tasks look back only, masks hold, and metrics are what they are called."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.errors import RecommendationError
from models.recommend import event_task, window_task
from models.recommend.metrics import bootstrap, calibration, row_metrics, top_k

BOUGHT = pd.DataFrame(
    [(1, 10, "a"), (1, 10, "b"), (1, 20, "a"), (2, 15, "c"), (2, 30, "a"), (1, 20, "a"), (3, None, "a")],
    columns=["customer", "time", "product"],
)


def test_a_row_is_one_moment_of_one_customer():
    task = event_task(BOUGHT)
    assert task.products == ("a", "b", "c")
    assert task.time.tolist() == [10, 15, 20, 30]
    assert task.targets.astype(int).tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0]]
    assert task.history.astype(int).tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert np.nan_to_num(task.since, nan=-1).tolist()[2:] == [[10, 10, -1], [-1, -1, 15]]
    assert task.visible.tolist() == [0, 1, 2, 3]
    assert task.notes == ("1 lines without customer, time or product left out", "1 repeated lines merged")


def test_what_is_held_is_no_candidate_without_rebuy():
    task = event_task(BOUGHT, rebuy=False)
    assert not (task.candidates & (task.history > 0)).any()
    assert not task.targets[2].any()
    assert "1 of 5 products bought were no candidates; not judged" in task.notes


def test_windows_look_forward_from_the_cut_and_history_back():
    task = window_task(BOUGHT, [12, 20], 10)
    assert task.time.tolist() == [12, 20, 20]
    assert task.history.astype(int).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert task.targets.sum() == 0  # 1 holds a and b already; 2 buys a at 30, which is past the window
    assert task.visible.tolist() == [0, 0, 0]
    again = window_task(BOUGHT, [12, 20], 8, rebuy=True)
    assert again.visible.tolist() == [0, 1, 1]
    assert again.targets.astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_features_and_eligibility_hold_as_of_the_row():
    features = pd.DataFrame({"customer": [1, 1, 1, 2], "time": [5, 10, 21, 40], "age": [30, 31, 32, 50]})
    eligible = pd.DataFrame(
        {"customer": [1, 1, 2], "time": [0, 15, 0], "a": [True, True, True], "b": [True, False, None]}
    )
    task = event_task(BOUGHT, features, eligible)
    assert np.nan_to_num(task.features["age"], nan=-1).tolist() == [31, -1, 31, -1]
    assert task.candidates.astype(int).tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert any("never names 1 of 3 products: ['c']" in note for note in task.notes)
    long = pd.DataFrame(
        [(1, 0, "a"), (1, 0, "b"), (1, 15, "a"), (2, 0, "a")], columns=["customer", "time", "product"]
    )
    assert (event_task(BOUGHT, features, long).candidates == task.candidates).all()


def test_dates_count_in_days():
    days = BOUGHT.assign(time=pd.to_datetime("2025-01-01") + pd.to_timedelta(BOUGHT["time"], "D"))
    assert np.nanmax(event_task(days).since) == 15
    texts = days.assign(time=days["time"].dt.strftime("%Y-%m-%d"))
    assert np.nanmax(event_task(texts).since) == 15
    cuts = pd.to_datetime(["2025-01-13", "2025-01-21"])
    assert len(window_task(days, list(cuts), pd.Timedelta("8D"))) == 3


@pytest.mark.parametrize(
    ("table", "features", "said"),
    [
        (BOUGHT.rename(columns={"product": "item"}), None, "lacks ['product']"),
        (BOUGHT.iloc[:0], None, "has no rows"),
        (BOUGHT.iloc[-1:], None, "no line has customer, time and product"),
        (BOUGHT.assign(time="soon"), None, "time must be a number, a date or a time"),
        (BOUGHT, pd.DataFrame({"customer": [1, 1], "age": [1, 2]}), "several lines of one customer"),
        (BOUGHT, pd.DataFrame({"age": [1]}), "features lacks ['customer']"),
        (
            BOUGHT,
            pd.DataFrame({"customer": [1], "time": pd.to_datetime(["2025-01-01"])}),
            "time is of another kind",
        ),
    ],
)
def test_tables_that_cannot_be_used_are_refused(table, features, said):
    with pytest.raises(RecommendationError) as refused:
        event_task(table, features)
    assert said in str(refused.value)


def test_metrics_by_hand():
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3]])
    candidates = np.array([[True, False, True], [True, True, True]])
    best = top_k(scores, candidates, 3, np.array([1.0, 3.0, 2.0]))
    assert best.tolist() == [[2, 0, -1], [1, 2, 0]]
    found = row_metrics(best, np.array([[True, False, False], [True, False, True]]), 3)
    assert found["hr"].tolist() == [1, 1]
    assert found["mrr"].tolist() == [0.5, 0.5]
    second, third, ideal = 1 / np.log2(3), 0.5, 1 + 1 / np.log2(3)
    assert found["ndcg"] == pytest.approx([second, (second + third) / ideal])
    assert row_metrics(best[:, :1], np.array([[True] * 3] * 2), 1)["ndcg"].tolist() == [1, 1]


def test_bootstrap_covers_the_mean_and_calibration_is_exact_when_it_is():
    rng = np.random.default_rng(1)
    values = rng.normal(2.0, 1.0, (900, 1))
    low, high = np.percentile(bootstrap(values, np.repeat(np.arange(300), 3))[:, 0], [2.5, 97.5])
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 30, rel=0.3)
    p = rng.random(200_000)
    y = rng.random(200_000) < p
    assert calibration(p, y)[1] < 0.005
    assert calibration(p / 2, y)[1] == pytest.approx(0.25, abs=0.01)
