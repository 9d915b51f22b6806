"""Rankers find what was planted, look at nothing later, and offer nothing outside the mask."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.errors import RecommendationError
from models.recommend import compare_rankers, default_rankers, event_task
from models.recommend.baselines import Als, Ease, cosine_weights, ease_weights, rates_as_of
from models.recommend.design import Encoder, signals
from models.recommend.judge import split
from models.recommend.learned import Boosted

PRODUCTS = ("car", "child", "flat", "house", "pet", "travel")
QUICK = {
    "ease": Ease(),
    "als": Als(2),
    "logistic": default_rankers(6)["logistic"],
    "boosted": Boosted(rounds=40, learning_rate=0.1, leaves=7, threads=1),
    "lambdarank": Boosted("lambdarank", rounds=20, learning_rate=0.1, leaves=7, threads=1),
}


@pytest.fixture(scope="module")
def tables():
    """Purchases in which a feature and the product held decide, beside popularity; one may not buy all."""
    rng = np.random.default_rng(5)
    n = 3000
    customer = rng.integers(0, 1500, n)
    group = np.array(["young", "old", None], object)[rng.integers(0, 3, 1500)]
    logits = np.tile([1.5, 0.0, 0.5, 0.8, 0.2, 0.6], (n, 1))
    logits[group[customer] == "young", 5] += 2.0
    logits[group[customer] == "old", 3] += 2.0
    eligible = rng.random((1500, 6)) < 0.8
    eligible[:, 0] = True
    held = np.full(1500, -1)
    lines = []
    for time in range(n):
        one = customer[time]
        p = np.exp(logits[time]) * eligible[one]
        if held[one] == 3:
            p[4] *= 6.0
        held[one] = rng.choice(6, p=p / p.sum())
        lines.append((int(one), time, PRODUCTS[held[one]]))
    purchases = pd.DataFrame(lines, columns=["customer", "time", "product"])
    features = pd.DataFrame({"customer": range(1500), "group": group, "noise": rng.normal(size=1500)})
    wide = pd.DataFrame(eligible, columns=PRODUCTS).assign(customer=range(1500))
    return purchases, features, wide


def test_models_beat_popularity_where_there_is_something_to_learn(tables):
    task = event_task(*tables)
    found = compare_rankers(task, rankers=QUICK, test_share=0.3, draws=200)
    table = found.table
    assert list(table.index) == [*QUICK, "popularity", "blend"]
    for name in ("logistic", "boosted", "lambdarank", "blend"):
        assert table.loc[name, "gain_low"] > 0.02, name
    assert table.loc["blend", "ndcg"] > table["ndcg"].max() - 0.01
    assert table.loc[["logistic", "boosted"], "ece"].max() < 0.03
    assert (table["hr"] >= table["mrr"]).all()
    assert sum(found.shares.values()) == pytest.approx(1)
    rows = np.repeat(np.arange(len(found.test)), found.k)
    offered = found.best.ravel()
    assert task.candidates[found.test][rows, offered][offered >= 0].all()
    again = found.model.score(task, found.test)
    assert np.isfinite(again[task.candidates[found.test]]).all()


def test_nothing_later_is_seen(tables):
    purchases, features, eligible = tables
    changed = purchases.copy()
    late = changed["time"] >= 2000
    changed.loc[late, "product"] = changed.loc[late, "product"].sample(frac=1, random_state=3).to_numpy()
    one, other = event_task(purchases, features, eligible), event_task(changed, features, eligible)
    before = np.flatnonzero(one.time <= 2000)
    assert (one.history[before] == other.history[before]).all()
    for mine, others in zip(signals(one).log_odds, signals(other).log_odds, strict=True):
        assert (mine[before] == others[before]).all()
    assert signals(one).ease[before] == pytest.approx(signals(other).ease[before], abs=1e-12)
    train, tail, test = split(one, 0.2)
    assert one.time[train].max() < one.time[test].min()
    assert set(tail) < set(train)


def test_rates_as_of_are_counts_of_earlier_rows(tables):
    task = event_task(*tables)
    rates = rates_as_of(task, 1e9)
    bought, offered = task.targets[:1000].sum(axis=0), task.candidates[:1000].sum(axis=0)
    assert rates[1000] == pytest.approx(bought / offered, rel=0.02)


def test_ease_and_cosine_by_their_definitions():
    rng = np.random.default_rng(2)
    held = (rng.random((300, 5)) < 0.4).astype(float)
    weights = ease_weights(held, 10.0)
    for product in range(5):  # each column is a ridge regression on the other products
        others = [i for i in range(5) if i != product]
        x = held[:, others]
        ridge = np.linalg.solve(x.T @ x + 10.0 * np.eye(4), x.T @ held[:, product])
        assert weights[others, product] == pytest.approx(ridge)
    a, b = held[:, 0], held[:, 1]
    assert cosine_weights(held)[0, 1] == pytest.approx(a @ b / np.sqrt(a.sum() * b.sum()))


def test_als_lowers_its_loss_and_finds_blocks():
    held = np.zeros((40, 6))
    held[:20, :3], held[20:, 3:] = 1, 1
    held[0, 2] = 0
    items = Als(2).learn(held).items
    near = items @ items.T
    assert near[:3, :3].min() > near[:3, 3:].max()


def test_text_unknown_at_fit_is_missing_and_times_are_refused():
    encoder = Encoder.of(pd.DataFrame({"a": ["x", "y", None], "b": [1, None, 3]}))
    found = encoder.encode(pd.DataFrame({"a": ["y", "z", None], "b": [True, None, 2]}))
    assert np.nan_to_num(found, nan=-1).tolist() == [[1, 1], [-1, -1], [-1, 2]]
    with pytest.raises(RecommendationError, match="days since"):
        Encoder.of(pd.DataFrame({"since": pd.to_datetime(["2025-01-01"])}))


@pytest.mark.parametrize(("settings", "said"), [({"k": 0}, "at least 1"), ({"test_share": 1.0}, "between 0")])
def test_settings_that_make_no_sense_are_refused(tables, settings, said):
    with pytest.raises(RecommendationError, match=said):
        compare_rankers(event_task(*tables), rankers=QUICK, **settings)


def test_too_few_rows_are_refused(tables):
    with pytest.raises(RecommendationError, match="rows"):
        compare_rankers(event_task(tables[0].head(30)))


@pytest.mark.slow
def test_the_page_shows_a_call_that_works(tables):
    page = (Path(__file__).parents[2] / "docs" / "recommend.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.S)[0]
    names = dict(zip(("purchases", "features", "eligibility"), tables, strict=True))
    quick = code.replace("compare_rankers(task", "compare_rankers(task, rankers=QUICK")
    exec(quick, names | {"QUICK": QUICK})  # noqa: S102 - a call of our own page
