"""Credibility of levels: published cases, planted structure, bounds, and an encoder that cannot leak."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.estimator_checks import check_estimator

from models.credibility_encoder import CredibilityEncoder
from models.errors import TrainingDataError
from models.level_credibility import buhlmann_straub, hierarchical, limited_fluctuation

# Hachemeister (1975): average claim amounts and numbers of claims of five states in twelve quarters.
AMOUNTS = """
1738 1642 1794 2051 2079 2234 2032 2035 2115 2262 2267 2517
1364 1408 1597 1444 1342 1675 1470 1448 1464 1831 1612 1471
1759 1685 1479 1763 1674 2103 1502 1622 1828 2155 2233 2059
1223 1146 1010 1257 1426 1532 1953 1123 1343 1243 1762 1306
1456 1499 1609 1741 1482 1572 1606 1735 1607 1573 1613 1690"""
CLAIMS = """
7861 9251 8706 8575 7917 8263 9456 8003 7365 7832 7849 9077
1622 1742 1523 1515 1622 1602 1964 1515 1527 1748 1654 1861
1147 1357 1329 1204 998 1077 1277 1218 896 1003 1108 1121
407 396 348 341 315 328 352 331 287 384 321 342
2902 3172 3046 3068 2693 2910 3275 2697 2663 3017 3242 3425"""


@pytest.fixture(scope="module")
def hachemeister() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    states = np.repeat(np.arange(1, 6), 12)
    return np.array(AMOUNTS.split(), float), np.array(CLAIMS.split(), float), states


def test_buhlmann_straub_gives_the_published_hachemeister_premiums(hachemeister):
    found = buhlmann_straub(*hachemeister)
    assert found.collective == pytest.approx(1683.713, abs=1e-3)
    assert found.between == pytest.approx(89639, abs=1)
    assert found.within == pytest.approx(139120026, abs=1)
    premiums = [2055.165, 1523.706, 1793.444, 1442.967, 1603.285]
    assert found.frame["estimate"].to_list() == pytest.approx(premiums, abs=1e-3)
    factors = [0.9847, 0.9276, 0.8985, 0.7279, 0.9588]
    assert found.frame["credibility"].to_list() == pytest.approx(factors, abs=1e-4)


def test_jewell_gives_the_published_hachemeister_premiums(hachemeister):
    cohort = np.repeat([1, 2, 1, 2, 2], 12)
    found = hierarchical(*hachemeister, cohort)
    assert found.collective == pytest.approx(1746, abs=0.5)
    assert (found.between, found.between_parents) == pytest.approx((10952, 88981), abs=1)
    assert found.frame["estimate"].round().to_list() == [2048, 1524, 1875, 1497, 1585]
    assert found.parents["estimate"].round().to_list() == [1949, 1543]
    assert found.parents["credibility"].to_list() == pytest.approx([0.9196, 0.9284], abs=1e-4)
    assert found.frame["parent"].to_list() == [1, 2, 1, 2, 2]


def test_planted_structure_is_found():
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(50_000), 5)
    theta = rng.gamma(1 / 0.09, 0.09, 50_000)
    weight = rng.uniform(50, 1000, len(group))
    value = theta[group] + rng.normal(size=len(group)) * np.sqrt(60 / weight)
    found = buhlmann_straub(value, weight, group)
    assert found.collective == pytest.approx(1.0, abs=3 * 0.3 / np.sqrt(50_000) * 1.5)
    assert found.within == pytest.approx(60, rel=3 * np.sqrt(2 / 200_000))
    assert found.between == pytest.approx(0.09, rel=0.05)
    raw = np.sqrt(np.mean((found.frame["mean"].to_numpy() - theta) ** 2))
    shrunk = np.sqrt(np.mean((found.frame["estimate"].to_numpy() - theta) ** 2))
    assert shrunk < 0.9 * raw


levels = st.lists(
    st.tuples(st.integers(0, 6), st.floats(0, 5), st.floats(0.05, 4)), min_size=3, max_size=60
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))


@given(levels)
@settings(max_examples=150, deadline=None)
def test_estimates_lie_between_level_and_collective_and_belief_rises_with_weight(rows):
    level, value, weight = rows
    found = buhlmann_straub(value, weight, level)
    frame = found.frame
    low = np.minimum(frame["mean"], found.collective) - 1e-9
    high = np.maximum(frame["mean"], found.collective) + 1e-9
    assert frame["estimate"].between(low, high).all()
    assert frame["credibility"].between(0, 1).all()
    by_weight = frame.sort_values("weight")["credibility"].to_numpy()
    assert (np.diff(by_weight) >= -1e-12).all()
    assert frame["weight"].sum() == pytest.approx(weight.sum())


@given(levels, st.floats(0.1, 100), st.floats(0.1, 100))
@settings(max_examples=60, deadline=None)
def test_units_of_value_and_weight_do_not_matter(rows, money, years):
    level, value, weight = rows
    one, other = buhlmann_straub(value, weight, level), buhlmann_straub(value * money, weight * years, level)
    if one.between > 1e-9:  # at the border of no variance between levels, rounding decides
        assert other.frame["estimate"].to_numpy() == pytest.approx(one.frame["estimate"] * money, rel=1e-6)


@given(levels)
@settings(max_examples=100, deadline=None)
def test_a_hierarchy_keeps_levels_between_their_mean_and_their_parent(rows):
    level, value, weight = rows
    level, value, weight = (
        np.concatenate([level, np.arange(7)]),
        np.append(value, np.ones(7)),
        np.append(weight, np.ones(7)),
    )
    found = hierarchical(value, weight, level, level % 2)
    parent = found.parents["estimate"].loc[found.frame["parent"]].to_numpy()
    mean, estimate = found.frame["mean"].to_numpy(), found.frame["estimate"].to_numpy()
    assert (estimate >= np.minimum(mean, parent) - 1e-9).all()
    assert (estimate <= np.maximum(mean, parent) + 1e-9).all()
    assert found.between >= 0
    assert found.between_parents >= 0


def test_limited_fluctuation_asks_for_1082_claims():
    found = limited_fluctuation([0, 1082.217 / 4, 1082.3, 9999])
    assert found == pytest.approx([0, 0.5, 1, 1], abs=1e-4)
    assert limited_fluctuation([1082.217], severity_cv=1.0) == pytest.approx([np.sqrt(0.5)], abs=1e-4)
    with pytest.raises(TrainingDataError, match="1 rows: claims are negative"):
        limited_fluctuation([-1.0, 2.0])


def book(rows: int = 4000, seed: int = 1) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    area = rng.integers(0, 60, rows)
    effect = np.exp(np.random.default_rng(0).normal(0, 0.5, 60))
    exposure = rng.uniform(0.2, 1.0, rows)
    claims = rng.poisson(0.4 * effect[area] * exposure)
    frame = pd.DataFrame({"area": [f"a{i}" for i in area], "region": [f"r{i // 12}" for i in area]})
    return frame, claims / exposure, exposure


@pytest.mark.parametrize("parents", [None, {"area": "region"}])
def test_a_row_never_sees_the_target_of_its_own_fold(parents):
    frame, rate, exposure = book()
    groups = np.arange(len(frame)) // 3
    encoder = CredibilityEncoder(["area"], parents=parents, folds=4)
    encoded = encoder.fit_transform(frame, rate, exposure, groups=groups)
    fold = encoder.fold_of(len(frame), groups)
    assert (fold == fold[groups * 3]).all()
    rng = np.random.default_rng(5)
    for number in range(4):
        own = np.flatnonzero(fold == number)
        other = rate.copy()
        other[own] = rng.permutation(rate[own]) * 3
        again = encoder.fit_transform(frame, other, exposure, groups=groups)
        assert (again[own] == encoded[own]).all()
        assert (again != encoded).any()


def test_pure_noise_gains_nothing_out_of_fold_though_it_does_in_sample():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"shop": rng.integers(0, 800, 4000)})
    noise = rng.poisson(1.0, 4000).astype(float)
    encoder = CredibilityEncoder()
    out_of_fold = encoder.fit_transform(frame, noise)[:, 0]
    # Summed rather than correlated, since the relativities may all be zero.
    centred = (noise - noise.mean()) / noise.std()
    assert out_of_fold @ centred <= 3 * np.sqrt(4000) * out_of_fold.std()
    in_sample = frame["shop"].map(pd.Series(noise).groupby(frame["shop"]).mean())
    assert np.corrcoef(in_sample, noise)[0, 1] > 0.3  # what an encoder without folds would leak


def test_unseen_levels_fall_back_on_parent_then_collective():
    frame, rate, exposure = book()
    encoder = CredibilityEncoder(["area"], parents={"area": "region"}).fit(frame, rate, exposure)
    found = encoder.credibilities_["area"]
    new = pd.DataFrame({"area": ["a0", "new", "new", None], "region": ["r0", "r0", "r9", "r1"]})
    encoded = encoder.transform(new)[:, 0]
    expected = [found.frame.loc["a0", "estimate"], found.parents.loc["r0", "estimate"]]
    expected += [found.collective, found.parents.loc["r1", "estimate"]]
    assert np.exp(encoded) * found.collective == pytest.approx(expected)
    assert CredibilityEncoder(["area"]).fit(frame, rate, exposure).transform(new)[1:, 0].tolist() == [0, 0, 0]


def test_what_a_base_model_already_explains_is_not_credited_again():
    frame, rate, exposure = book(20_000)
    effect = np.exp(np.random.default_rng(0).normal(0, 0.5, 60))
    truth = 0.4 * effect[frame["area"].str[1:].astype(int)]
    plain = CredibilityEncoder(["area"]).fit(frame, rate, exposure).transform(frame)
    residual = CredibilityEncoder(["area"]).fit(frame, rate, exposure, expected=truth).transform(frame)
    assert plain.std() > 0.3
    assert residual.std() < 0.1


def test_bad_input_is_refused_with_counts():
    frame, rate, exposure = book(100)
    with pytest.raises(TrainingDataError, match="2 rows: the weight .exposure. is zero"):
        CredibilityEncoder().fit(frame, rate, np.append(exposure[:98], [0, -1]))
    with pytest.raises(ValueError, match="3 rows: Input y contains NaN"):
        CredibilityEncoder().fit(frame, np.append(rate[:97], [np.nan] * 3), exposure)
    with pytest.raises(TrainingDataError, match="columns \\['town'\\] are absent"):
        CredibilityEncoder(["town"]).fit(frame, rate, exposure)
    with pytest.raises(TrainingDataError, match="folds = 1 must lie between 2 and the 100"):
        CredibilityEncoder(folds=1).fit_transform(frame, rate, exposure)
    with pytest.raises(TrainingDataError, match="levels lie in several parents, for example"):
        hierarchical(rate, exposure, frame["region"], frame["area"])
    with pytest.raises(TrainingDataError, match="1 rows: the value is missing"):
        buhlmann_straub([1.0, np.nan], [1.0, 1.0], ["a", "b"])


def test_the_encoder_is_a_scikit_learn_transformer():
    results = check_estimator(CredibilityEncoder(), on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 40


def test_the_picture_shows_every_level():
    frame, rate, exposure = book()
    figure = buhlmann_straub(rate, exposure, frame["area"]).figure()
    assert len(figure.axes[0].collections[0].get_offsets()) == 60
