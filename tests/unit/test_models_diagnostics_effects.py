"""Effects of a known function: additive ones are found exactly, interactions measured as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from model_diagnostics.xai import compute_partial_dependence

from models import DiagnosticError
from models.diagnostics import (
    ale,
    ale_pair,
    contribution_effects,
    friedman_h,
    partial_dependence,
    table_interactions,
)
from models.purify import purify
from models.tables import Axis, TableModel

LEVELS = {"a": 0.0, "b": 0.4, "c": -0.3}


def book(n: int = 1500, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Give factors that are tied to each other, and exposure."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    frame = pd.DataFrame(
        {
            "age": age,
            "power": age / 20 + rng.normal(size=n),
            "fuel": pd.Categorical(rng.choice(["a", "b", "c"], n), ["a", "b", "c"]),
        }
    )
    return frame, rng.uniform(0.2, 1.0, n)


def additive(frame: pd.DataFrame) -> np.ndarray:
    assert isinstance(frame["fuel"].dtype, pd.CategoricalDtype)
    fuel = frame["fuel"].astype(str).map(LEVELS).to_numpy(dtype=float)
    return np.exp(0.02 * frame["age"].to_numpy() + np.sin(frame["power"].to_numpy()) + fuel)


def crossed(frame: pd.DataFrame) -> np.ndarray:
    joint = np.where(frame["fuel"].astype(str) == "b", 0.3, 0.0) * frame["power"].to_numpy()
    return additive(frame) * np.exp(joint)


@pytest.mark.parametrize("effects", [ale, partial_dependence])
def test_effects_of_an_additive_function_are_exact(effects):
    frame, exposure = book()
    found = effects(additive, frame, exposure=exposure, scale="log")
    age = found.frame[found.frame["factor"] == "age"]
    np.testing.assert_allclose(np.diff(age["effect"]), 0.02 * np.diff(age["place"].astype(float)), atol=1e-10)
    power = found.frame[found.frame["factor"] == "power"]
    np.testing.assert_allclose(
        np.diff(power["effect"]), np.diff(np.sin(power["place"].astype(float))), atol=1e-10
    )
    fuel = found.frame[found.frame["factor"] == "fuel"].set_index("value")["effect"]
    assert fuel["b"] - fuel["a"] == pytest.approx(0.4)
    assert fuel["c"] - fuel["a"] == pytest.approx(-0.3)
    for _, lines in found.frame.groupby("factor"):
        assert lines["effect"] @ lines["exposure"] == pytest.approx(0.0, abs=1e-9)
    assert isinstance(found.figure(), Figure)


def test_partial_dependence_is_that_of_model_diagnostics():
    frame, exposure = book(300)
    found = partial_dependence(crossed, frame, ["power"], exposure=exposure).frame
    grid = found["place"].to_numpy(dtype=float)
    plain = compute_partial_dependence(crossed, frame, 1, grid=grid, weights=exposure)
    np.testing.assert_allclose(np.diff(found["effect"]), np.diff(plain))


def test_ale_does_not_mix_tied_factors_and_leaves_missing_rows_out():
    frame, _ = book()
    frame.loc[::7, "power"] = np.nan

    def rate(part: pd.DataFrame) -> np.ndarray:
        return np.exp(0.5 * np.nan_to_num(part["power"].to_numpy()))

    found = ale(rate, frame, ["age", "power"], scale="log").frame
    assert found.loc[found["factor"] == "age", "effect"].abs().max() == pytest.approx(0.0, abs=1e-12)
    power = found[found["factor"] == "power"]
    np.testing.assert_allclose(np.diff(power["effect"]), 0.5 * np.diff(power["place"].astype(float)))


def test_second_order_ale():
    frame, exposure = book()
    for pair in (("age", "power"), ("age", "fuel"), ("fuel", "power")):
        flat = ale_pair(additive, frame, *pair, exposure=exposure, scale="log")
        assert np.abs(flat.frame.to_numpy()).max() == pytest.approx(0.0, abs=1e-9)
    found = ale_pair(crossed, frame, "fuel", "power", exposure=exposure, scale="log")
    assert isinstance(found.figure(), Figure)
    # Only the product is left of exp(0.3 power) for fuel b: second differences are those of the function.
    power = found.frame.columns.astype(float).to_numpy()
    slope = np.diff(found.frame.loc["b"] - found.frame.loc["a"])
    np.testing.assert_allclose(slope, 0.3 * np.diff(power), rtol=0.02, atol=0.02)
    with pytest.raises(DiagnosticError, match="two factors; got age twice"):
        ale_pair(additive, frame, "age", "age")


def test_friedman_h_of_additive_and_crossed_functions():
    frame, exposure = book()
    none = friedman_h(additive, frame, exposure=exposure, rows=25).frame
    assert none["strength"].max() == pytest.approx(0.0, abs=1e-9)
    found = friedman_h(crossed, frame, exposure=exposure, rows=25)
    assert set(found.frame.loc[0, ["first", "second"]]) == {"power", "fuel"}
    assert found.frame["strength"].iloc[1:].max() == pytest.approx(0.0, abs=1e-9)
    assert 0 < found.frame.loc[0, "h2"] < 1
    assert isinstance(found.figure(), Figure)


def test_interactions_of_tables_are_exact():
    a = np.repeat([-1.0, 1.0], 2)
    b = np.tile([-2.0, 2.0], 2)
    found = table_interactions({"a": a, "b": b}, {("a", "b"): 0.5 * a * b}, np.ones(4))
    line = found.frame.iloc[0]
    assert line["strength"] == pytest.approx(1.0)
    assert line["share"] == pytest.approx(1 / 6)
    assert line["h2"] == pytest.approx(1 / 6)
    assert isinstance(found.figure(), Figure)
    with pytest.raises(DiagnosticError, match="no two-way table"):
        table_interactions({"a": a}, {}, np.ones(4))
    with pytest.raises(DiagnosticError, match="one value for each of 4 rows"):
        table_interactions({"a": a[:2]}, {("a", "b"): a}, np.ones(4))


def test_interactions_of_a_fitted_model_are_those_of_its_tables():
    rng = np.random.default_rng(3)
    axes = tuple(Axis(np.array([0.0, 1.0])) for _ in range(3))
    pairs = {(0, 1): rng.normal(size=(4, 4)), (1, 2): 0.1 * rng.normal(size=(4, 4))}
    mains = {k: rng.normal(size=4) for k in range(3)}
    values = rng.normal(0.5, 1.0, (2000, 3))
    model = purify(TableModel("log", -1.0, axes, mains, pairs), values, np.ones(2000))
    only = replace(model, intercept=0.0, mains={}, pairs={})
    names = ("a", "b", "c")
    found = table_interactions(
        {names[i]: replace(only, mains={i: t}).predict_raw(values) for i, t in model.mains.items()},
        {
            (names[i], names[j]): replace(only, pairs={(i, j): t}).predict_raw(values)
            for (i, j), t in model.pairs.items()
        },
        np.ones(2000),
    )
    assert list(found.frame["first"] + found.frame["second"]) == ["ab", "bc"]
    cells = model.pairs[0, 1][axes[0].locate(values[:, 0]), axes[1].locate(values[:, 1])]
    assert found.frame.loc[0, "strength"] == pytest.approx(cells.std(), rel=1e-6)
    # On independent factors the exact figure and Friedman's estimate are of the same thing.
    frame = pd.DataFrame(values, columns=list(names))
    sampled = friedman_h(lambda part: np.exp(model.predict_raw(part.to_numpy())), frame, rows=150).frame
    assert sampled.loc[0, "strength"] == pytest.approx(found.frame.loc[0, "strength"], rel=0.2)
    assert (sampled.loc[0, "first"], sampled.loc[0, "second"]) == ("a", "b")


def test_contributions_by_band():
    frame, exposure = book()
    parts = pd.DataFrame(
        {
            "age": 0.02 * frame["age"],
            "fuel": frame["fuel"].astype(str).map(LEVELS) + 0.1 * np.sign(frame["power"] - 2),
        }
    )
    found = contribution_effects(parts, frame, exposure)
    fuel = found.frame[found.frame["factor"] == "fuel"].set_index("value")
    assert fuel.loc["b", "effect"] - fuel.loc["a", "effect"] == pytest.approx(0.4, abs=0.05)
    assert fuel.loc["b", "high"] - fuel.loc["b", "low"] == pytest.approx(0.2)
    age = parts["age"] - np.average(parts["age"], weights=exposure)
    assert found.importance["age"] == pytest.approx(np.sqrt(np.average(age**2, weights=exposure)), rel=0.05)
    assert isinstance(found.figure(), Figure)
    with pytest.raises(DiagnosticError, match="contributions have 1500 rows, X has 10"):
        contribution_effects(parts, frame.head(10), exposure)


def test_bad_predictions_are_refused():
    frame, _ = book(50)
    with pytest.raises(DiagnosticError, match="shape"):
        ale(lambda part: np.ones((len(part), 2)), frame)
    with pytest.raises(DiagnosticError, match="50 of 50 rows that are not positive"):
        ale(lambda part: np.zeros(len(part)), frame, scale="log")
    with pytest.raises(DiagnosticError, match="50 of 50 rows that are not finite"):
        ale(lambda part: np.full(len(part), np.nan), frame)
    with pytest.raises(DiagnosticError, match="no column 'colour'"):
        partial_dependence(additive, frame, ["colour"])
    with pytest.raises(DiagnosticError, match="one level on all 50 rows"):
        ale(lambda part: np.ones(len(part)), frame.assign(fuel="a"), ["fuel"])
    with pytest.raises(DiagnosticError, match="exposure has 3 rows, X has 50"):
        ale(additive, frame, exposure=np.ones(3))
