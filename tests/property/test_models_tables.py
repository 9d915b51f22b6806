"""Tables must say what the booster says, one row must say what the batch says, and reasons must add up."""

from __future__ import annotations

import math
from functools import cache

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.compile import compile_booster, parse_trees
from models.errors import CompileError
from models.families.base import Design, FitSettings
from models.families.boosting import fit_ga2m
from models.families.glm import fit_glm
from models.purify import purify
from models.tables import Axis, TableModel, load_tables

LEVELS = (0, 0, 6, 0, 4)


@cache
def sample() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    n = 6000
    matrix = np.column_stack(
        [
            rng.integers(-3, 12, n).astype(float),
            rng.normal(size=n),
            rng.integers(0, 6, n).astype(float),
            rng.normal(size=n),
            rng.integers(0, 4, n).astype(float),
        ]
    )
    matrix[rng.random(n) < 0.15, 1] = math.nan
    score = 0.1 * matrix[:, 0] * (matrix[:, 2] % 2) + np.nan_to_num(matrix[:, 1]) * (matrix[:, 4] == 1)
    return matrix, rng.poisson(np.exp(-0.5 + 0.3 * score + 0.3 * np.isnan(matrix[:, 1]))).astype(float)


@cache
def booster(monotone: bool, zero_edges: bool) -> str:
    matrix, target = sample()
    if zero_edges:
        matrix = matrix.copy()
        matrix[:, 3] = np.round(matrix[:, 3])
    parameters = {
        "objective": "poisson",
        "num_leaves": 15,
        "min_data_in_leaf": 20,
        "interaction_constraints": [[0, 1], [0, 2], [1, 4], [2, 3], [3, 4]],
        "monotone_constraints": [1, 0, 0, 0, 0] if monotone else [0] * 5,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        "min_data_per_group": 10,
    }
    data = lgb.Dataset(matrix, target, categorical_feature=[2, 4], params=parameters)
    return lgb.train(parameters, data, 60).model_to_string()


@cache
def compiled(monotone: bool, zero_edges: bool) -> TableModel:
    matrix, _ = sample()
    return purify(compile_booster(booster(monotone, zero_edges), LEVELS, "log"), matrix, np.ones(len(matrix)))


def thresholds() -> list[float]:
    found = {-0.0, 0.0, 1e-35, -1e-35, 1e-36, -1e-36, 1e-300}
    for zero_edges in (False, True):
        for tree in parse_trees(booster(False, zero_edges)):
            for decision, edge in zip(tree.decision, tree.threshold, strict=True):
                if not decision & 1:
                    found |= {edge, math.nextafter(edge, math.inf), math.nextafter(edge, -math.inf)}
    return sorted(found)


NUMBER = st.one_of(
    st.deferred(lambda: st.sampled_from(thresholds())),
    st.just(math.nan),
    st.floats(-1e6, 1e6),
)
CODE = st.one_of(st.integers(-2, 9).map(float), st.just(math.nan))
ROWS = st.lists(st.tuples(NUMBER, NUMBER, CODE, NUMBER, CODE), min_size=1, max_size=20)


@settings(deadline=None)
@given(ROWS, st.booleans(), st.booleans())
def test_tables_equal_the_booster(rows, monotone, zero_edges):
    matrix = np.array(rows)
    expected = lgb.Booster(model_str=booster(monotone, zero_edges)).predict(
        matrix, raw_score=True, num_threads=1
    )
    plain = compile_booster(booster(monotone, zero_edges), LEVELS, "log")
    np.testing.assert_allclose(plain.predict_raw(matrix), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        compiled(monotone, zero_edges).predict_raw(matrix), expected, rtol=0, atol=1e-12
    )


@settings(deadline=None)
@given(ROWS)
def test_one_row_is_bit_equal_to_the_batch_and_reasons_add_up(rows):
    model, matrix = compiled(False, False), np.array(rows)
    raw, parts = model.predict_raw(matrix), model.contributions(matrix)
    for i, row in enumerate(rows):
        assert model.predict_raw_one(row) == raw[i]
        assert model.contributions_one(row) == parts[i].tolist()
    np.testing.assert_allclose(model.intercept + parts.sum(axis=1), raw, rtol=0, atol=1e-12)


EDGES = st.one_of(
    st.lists(st.integers(-40, 40).map(lambda k: k + 0.5), min_size=1, max_size=40, unique=True),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12, unique=True),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6, unique=True),
)


@settings(deadline=None)
@given(EDGES, st.lists(st.floats(), max_size=20))
def test_the_grid_finds_the_cells_of_a_search(edges, values):
    edges = np.unique(edges)  # -0.0 and 0.0 are one edge
    with np.errstate(over="ignore"):  # nextafter of the largest float
        beside = [np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)]
    column = np.concatenate([values, *beside, edges, -edges, [np.nan, np.inf, -np.inf]])
    expected = np.searchsorted(np.append(edges, np.inf), column)
    np.testing.assert_array_equal(Axis(edges).locate(column), expected)


def test_edges_of_ages_and_densities_are_found_by_a_grid():
    assert Axis(np.arange(18.5, 90.0))._grid is not None
    assert Axis(np.append(np.arange(1.5, 200.0), [1000.5, 26999.5]))._grid is not None
    assert Axis(np.array([0.0, 1e-9, 1.0]))._grid is None


def test_purified_tables_average_to_zero_over_the_exposure():
    model, (matrix, _) = compiled(False, False), sample()
    cells = {i: model.axes[i].locate(matrix[:, i]) for i in range(5)}
    for i, table in model.mains.items():
        assert abs(table[cells[i]].mean()) < 1e-3
    for (i, j), table in model.pairs.items():
        counted = np.zeros(table.shape)
        np.add.at(counted, (cells[i], cells[j]), 1.0)
        held = counted.sum(axis=1) > 50
        means = (table * counted).sum(axis=1)[held] / counted.sum(axis=1)[held]
        assert np.abs(means).max() < 1e-2 * max(np.abs(table).max(), 1e-9) + 1e-4


def test_three_inputs_on_a_path_are_refused():
    matrix, target = sample()
    parameters = {"objective": "poisson", "num_leaves": 31, "verbosity": -1, "num_threads": 1}
    free = lgb.train(parameters, lgb.Dataset(matrix, target, categorical_feature=[2, 4]), 20)
    with pytest.raises(CompileError, match="at most two"):
        compile_booster(free.model_to_string(), LEVELS, "log")


def test_stored_tables_come_back_bit_equal(tmp_path):
    model, (matrix, _) = compiled(True, False), sample()
    model.save(tmp_path, "frequency")
    np.testing.assert_array_equal(
        load_tables(tmp_path, "frequency").predict_raw(matrix), model.predict_raw(matrix)
    )


@pytest.mark.parametrize("fit", [fit_glm, fit_ga2m])
def test_declared_direction_is_kept(fit):
    matrix, target = sample()
    # The data fall with input 1; the declaration says that they must not.
    data = np.column_stack([-matrix[:, 0], matrix[:, 1]])
    design = Design(data, target, np.ones(len(target)), ("a", "b"), (0, 0), (1, 0), "poisson")
    model = fit(design, FitSettings(rounds=50))
    grid = np.column_stack([np.linspace(-14, 5, 200), np.zeros(200)])
    assert np.diff(model.predict_raw(grid)).min() >= -1e-12
