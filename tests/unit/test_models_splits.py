"""Splits with a buffer, by feature vector, and folds of the same kinds."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from models.errors import TrainingDataError
from models.splits import folds, repeated_rows, split_rows
from pricing.product import Split

START = dt.datetime(2025, 1, 1)
N = 1000


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Ten rows a day for a hundred days, in no order of time."""
    order = np.random.default_rng(1).permutation(N)
    return pa.table(
        {
            "day": pa.array([START + dt.timedelta(days=int(i) // 10) for i in order], pa.timestamp("us")),
            "year": pa.array((order // 500).astype(np.int64)),
            "who": pa.array([f"c{i % 97}" for i in order]),
            "age": pa.array([None if i % 50 == 0 else int(i % 7) for i in order], pa.int64()),
            "fuel": pa.array(["diesel" if i % 3 else None for i in order]).dictionary_encode(),
            "fold": pa.array((order % 4 + 1).astype(np.int8)),
        }
    )


def days(table: pa.Table, mask: np.ndarray) -> np.ndarray:
    return table["day"].to_numpy()[mask]


def test_the_buffer_before_the_test_rows_is_left_out(table):
    rows = split_rows(Split(method="time", column="day", share=0.2, buffer_days=15), table)
    first = days(table, rows.test).min()
    assert rows.test.sum() == 200
    assert rows.out.sum() == 150
    assert days(table, rows.learn).max() < first - np.timedelta64(15, "D")
    assert (days(table, rows.out) >= first - np.timedelta64(15, "D")).all()
    assert rows.frame["rows"].to_dict() == {"learn": 650, "out": 150, "test": 200}
    assert not (rows.learn & rows.test).any()


def test_no_buffer_leaves_nothing_out(table):
    rows = split_rows(Split(method="time", column="day"), table)
    assert not rows.out.any()


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        (
            {"method": "time", "column": "year", "share": 0.5, "buffer_days": 3},
            "buffer_days needs dates.*int64",
        ),
        ({"method": "time", "column": "day", "buffer_days": 900}, "leaves none of 750 rows to learn from"),
        ({"method": "group", "columns": ["age", "fule"]}, "'fule' is absent.*'fuel'"),
    ],
)
def test_unusable_splits_are_refused(table, split, sentence):
    with pytest.raises(TrainingDataError, match=sentence):
        split_rows(Split(**split), table)


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ({"method": "time", "column": "day", "columns": ["a"]}, "columns go with method 'group'"),
        ({"method": "group", "column": "day", "columns": ["a"]}, "in place of column"),
        ({"method": "group", "column": "day", "buffer_days": 3}, "goes with method 'time'"),
        ({"method": "group"}, "needs a column"),
    ],
)
def test_contradictions_in_the_product_file_are_refused(split, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Split(**split)


def test_equal_feature_vectors_stay_on_one_side(table):
    columns = ("age", "fuel")
    rows = split_rows(Split(method="group", columns=columns, share=0.4), table)
    vectors = list(zip(*(table[name].to_pylist() for name in columns), strict=True))
    learn = {vector for vector, held in zip(vectors, rows.learn, strict=True) if held}
    test = {vector for vector, held in zip(vectors, rows.test, strict=True) if held}
    assert learn
    assert test
    assert not learn & test
    assert len(learn | test) == 16  # ages 0 to 6 and none, with and without fuel
    assert not repeated_rows(table, columns, rows).any()
    by_time = split_rows(Split(method="time", column="day"), table)
    assert (repeated_rows(table, columns, by_time) == by_time.test).all()


def test_a_value_hashes_alike_in_every_type_of_column():
    one = pa.table({"a": pa.array(range(60), pa.int32()), "b": pa.array([f"{i}" for i in range(60)])})
    other = pa.table(
        {
            "a": pa.array(range(60), pa.float64()),
            "b": pa.array([f"{i}" for i in range(60)]).dictionary_encode(),
        }
    )
    split = Split(method="group", columns=("a", "b"))
    assert (split_rows(split, one).test == split_rows(split, other).test).all()


@pytest.mark.parametrize(
    "split",
    [
        Split(method="group", column="who"),
        Split(method="group", columns=("age", "fuel", "who")),
        Split(method="column", column="fold", test=1),
        Split(method="random"),
    ],
)
def test_folds_validate_on_every_chosen_row_once(table, split):
    among = np.arange(N) % 5 > 0
    found = folds(split, table, 4, rows=among)
    assert (np.sum([fold.test for fold in found], axis=0) == among).all()
    for fold in found:
        assert (fold.learn | fold.test == among).all()
        assert not (fold.learn & fold.test).any()


def test_folds_keep_groups_whole(table):
    who = np.array(table["who"].to_pylist())
    for fold in folds(Split(method="group", column="who"), table, 3):
        assert not set(who[fold.learn]) & set(who[fold.test])


def test_folds_by_time_walk_forward_behind_a_buffer(table):
    found = folds(Split(method="time", column="day", buffer_days=5), table, 3)
    ends = []
    for fold in found:
        first = days(table, fold.test).min()
        assert days(table, fold.learn).max() < first - np.timedelta64(5, "D")
        assert 240 <= fold.test.sum() <= 260
        ends.append(days(table, fold.test).max())
    assert ends == sorted(ends)
    assert [int(fold.learn.sum()) for fold in found] == [200, 450, 700]


def test_folds_without_claims_or_with_too_few_values_are_refused(table):
    claims = (np.array(table["fold"].to_pylist()) != 2).astype(float)
    split = Split(method="column", column="fold", test=1)
    with pytest.raises(TrainingDataError, match="fold 2 of 4: the 250 validation rows hold no claims"):
        folds(split, table, 4, claims=claims)
    with pytest.raises(TrainingDataError, match="'fold' makes 4 folds.*not 6"):
        folds(split, table, 6)
    with pytest.raises(TrainingDataError, match="at least 2 are needed, got 1"):
        folds(split, table, 1)
    with pytest.raises(TrainingDataError, match="fold 1 of 3 has no learn rows"):
        folds(Split(method="time", column="day", buffer_days=60), table, 3)


@pytest.mark.shared
def test_a_third_of_the_standard_test_rows_repeat_a_learn_row(shared_data):
    table = pq.read_table(shared_data / "freMTPL2freq_clean_learntest.parquet")
    factors = (
        "Area",
        "VehPower",
        "VehAge",
        "DrivAge",
        "BonusMalus",
        "VehBrand",
        "VehGas",
        "Density",
        "Region",
    )
    rows = split_rows(Split(method="column", column="LearnTest", test="T"), table)
    assert repeated_rows(table, factors, rows).sum() / rows.test.sum() == pytest.approx(0.35, abs=0.01)
    grouped = split_rows(Split(method="group", columns=factors, share=0.1), table)
    assert not repeated_rows(table, factors, grouped).any()
    assert grouped.test.mean() == pytest.approx(0.1, abs=0.01)
