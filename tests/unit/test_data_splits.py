import numpy as np
import pytest

from data.errors import SplitError
from data.hashing import price_cell, splitmix64, unit_share
from data.splits import split_by_column, split_by_group, split_by_time, split_randomly


def test_time_split_keeps_an_instant_together_and_tests_the_latest():
    times = np.array([5, 1, 5, 2, 3, 5, 4, 1, 2, 3], "datetime64[D]")
    mask = split_by_time(times, 0.4)
    assert mask.sum() == 4
    assert times[mask].min() > times[~mask].max()
    assert split_by_time(times, 0.35).sum() == 3


def test_time_split_refuses_missing_and_constant_times():
    with pytest.raises(SplitError, match="on every row"):
        split_by_time(np.array(["2024-01-01", "NaT"], "datetime64[D]"), 0.5)
    with pytest.raises(SplitError, match="one side"):
        split_by_time(np.full(5, 3), 0.4)


def test_column_split_refuses_unknown_and_shared_values():
    values = np.array(["L", "T", "L"])
    assert split_by_column(values, ["L"], ["T"]).tolist() == [False, True, False]
    with pytest.raises(SplitError, match="neither"):
        split_by_column(np.array(["L", "X", "T"]), ["L"], ["T"])
    with pytest.raises(SplitError, match="both sides"):
        split_by_column(values, ["L", "T"], ["T"])


def test_group_split_keeps_groups_whole_and_near_the_share():
    keys = np.repeat(np.arange(20_000), 3)
    mask = split_by_group(keys, 0.2)
    assert (mask.reshape(-1, 3) == mask.reshape(-1, 3)[:, :1]).all()
    assert abs(mask.mean() - 0.2) < 3 * np.sqrt(0.2 * 0.8 / 20_000)
    other = split_by_group(keys, 0.2, "other")
    assert abs((mask & other)[::3].mean() - 0.04) < 3 * np.sqrt(0.04 * 0.96 / 20_000)


def test_random_split_is_exact_and_seeded():
    assert split_randomly(1_000, 0.25, 1).sum() == 250
    assert (split_randomly(1_000, 0.25, 1) == split_randomly(1_000, 0.25, 1)).all()
    assert (split_randomly(1_000, 0.25, 1) != split_randomly(1_000, 0.25, 2)).any()
    with pytest.raises(SplitError, match="between 0 and 1"):
        split_randomly(10, 1.0, 1)


def test_splitmix64_gives_the_published_sequence():
    # First outputs of the reference generator with state 1234567, whose states step by the golden gamma.
    gamma = 0x9E3779B97F4A7C15
    states = np.array([(1_234_567 + i * gamma) % 2**64 for i in range(3)], np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert splitmix64(states).tolist() == expected


def test_cells_of_two_experiments_are_independent():
    units = np.arange(90_000)
    one, other = price_cell(units, "a", 9), price_cell(units, "b", 9)
    table = np.histogram2d(one, other, bins=(9, 9))[0]
    expected = len(units) / 81
    chi2 = ((table - expected) ** 2 / expected).sum()
    assert chi2 < 80 + 4 * np.sqrt(160)
    assert unit_share(units, "a").min() >= 0
    assert unit_share(units, "a").max() < 1
