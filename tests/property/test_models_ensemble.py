"""An average of table models must say what averaging their raw scores says, whatever their axes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import FitError
from models.families import Design, FitSettings, average, balanced, fit_family, fit_ga2m, fit_glm
from models.links import respond
from models.tables import Axis, TableModel

LEVELS = 4
EDGE = st.one_of(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0]), st.floats(-5, 5))
VALUE = st.one_of(EDGE, st.just(math.nan), st.just(math.inf), st.just(-math.inf), st.floats(-1e6, 1e6))
CODE = st.one_of(st.integers(-2, 7).map(float), st.just(math.nan))


@st.composite
def table_models(draw: st.DrawFn) -> TableModel:
    """Two numbers with edges of their own and a category; any terms may be absent."""
    edges = [np.unique(draw(st.lists(EDGE, max_size=6))).astype(float) for _ in range(2)]
    axes = (Axis(edges[0]), Axis(None, LEVELS), Axis(edges[1]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mains = draw(st.sets(st.sampled_from([0, 1, 2])))
    pairs = draw(st.sets(st.sampled_from([(0, 1), (0, 2), (1, 2)])))
    return TableModel(
        "log",
        rng.normal(),
        axes,
        {i: rng.normal(size=axes[i].cells) for i in sorted(mains)},
        {(i, j): rng.normal(size=(axes[i].cells, axes[j].cells)) for i, j in sorted(pairs)},
    )


@settings(deadline=None)
@given(
    st.lists(st.tuples(table_models(), st.floats(0.1, 9.0)), min_size=1, max_size=4),
    st.lists(st.tuples(VALUE, CODE, VALUE), min_size=1, max_size=20),
)
def test_average_equals_the_average_of_raw_scores(weighted, rows):
    models, weights = zip(*weighted, strict=True)
    matrix = np.array(rows)
    # Thresholds are met exactly, from either side.
    edges = [edge for model in models for i in (0, 2) for edge in model.axes[i].edges.tolist()]
    probes = [step for edge in edges for step in (edge, math.nextafter(edge, 9), math.nextafter(edge, -9))]
    matrix = np.vstack([matrix, np.array([(p, c, p) for p in probes for c in (0.0, 9.0)]).reshape(-1, 3)])
    merged = average(models, weights)
    expected = np.average([model.predict_raw(matrix) for model in models], axis=0, weights=weights)
    np.testing.assert_allclose(merged.predict_raw(matrix), expected, rtol=0, atol=1e-12)
    parts = np.average([model.contributions(matrix) for model in models], axis=0, weights=weights)
    np.testing.assert_allclose(merged.contributions(matrix), parts, rtol=0, atol=1e-12)


def design() -> Design:
    rng = np.random.default_rng(4)
    n = 5000
    values = np.column_stack([rng.normal(size=n), rng.integers(0, LEVELS, n).astype(float)])
    rate = np.exp(-1 + 0.5 * values[:, 0] * (values[:, 1] == 1))
    return Design(
        np.asfortranarray(values),
        rng.poisson(rate).astype(float),
        np.ones(n),
        ("a", "b"),
        (0, LEVELS),
        (1, 0),
        "poisson",
    )


def test_ensemble_averages_its_seeds_and_keeps_total_and_direction():
    data, chosen = design(), FitSettings(rounds=30, members=3)
    single = [
        fit_ga2m(data, FitSettings(rounds=30, seed=seed)).predict_raw(data.values) for seed in (1, 2, 3)
    ]
    assert np.abs(single[0] - single[1]).max() > 1e-3
    fitted = fit_family("ga2m_ensemble", data, chosen)
    shift = fitted.predict_raw(data.values) - np.mean(single, axis=0)
    assert np.ptp(shift) < 1e-12
    assert respond(fitted.predict_raw(data.values), "log").sum() == pytest.approx(data.target.sum(), rel=1e-9)
    grid = np.column_stack([np.linspace(-4, 4, 200), np.ones(200)])
    assert np.diff(fitted.predict_raw(grid)).min() >= -1e-12


def test_different_families_of_tables_can_be_averaged():
    data = design()
    glm, ga2m = fit_glm(data, FitSettings()), fit_ga2m(data, FitSettings(rounds=30))
    merged = balanced(average([glm, ga2m], [1, 3]), data)
    raw = 0.25 * glm.predict_raw(data.values) + 0.75 * ga2m.predict_raw(data.values)
    assert np.ptp(merged.predict_raw(data.values) - raw) < 1e-12


def test_what_does_not_fit_together_is_refused():
    one = TableModel("log", 0.0, (Axis(np.array([1.0])),), {}, {})
    logit = TableModel("logit", 0.0, one.axes, {}, {})
    category = TableModel("log", 0.0, (Axis(None, 3),), {}, {})
    other = TableModel("log", 0.0, (Axis(None, 2),), {}, {})
    for members, weights, sentence in (
        ([], None, "at least one"),
        ([one, logit], None, "differ"),
        ([one, category], None, "input 0 is not the same"),
        ([category, other], None, "input 0 is not the same"),
        ([one, one], [1.0, 0.0], "positive weights"),
        ([one, one], [1.0], "positive weights"),
        ([one, one], [1.0, math.nan], "positive weights"),
    ):
        with pytest.raises(FitError, match=sentence):
            average(members, weights)
