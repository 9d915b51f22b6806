"""Attribution: parts add up to the change in whole units, whatever the models, plans and prices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.attribution import (
    BASE,
    BENEFIT,
    LOAD,
    Steps,
    apportion,
    comparable,
    premiums,
    split_premium,
    split_steps,
)
from models.families.boosting import BoosterModel
from models.risk_model import RiskModel
from models.tables import Axis, TableModel

INPUTS = ("age", "power", "area")
AXES = (Axis(np.array([25.0, 60.0])), Axis(np.array([5.0])), Axis(None, 2))
EFFECTS = st.floats(-3.0, 3.0)
MINOR = st.integers(-(10**9), 10**9)


def tables(link: str, numbers: list[float]) -> TableModel:
    """Make a model of three one-way tables and one two-way table from a flat list of effects."""
    values = iter(numbers)
    mains = {i: np.array([next(values) for _ in range(axis.cells)]) for i, axis in enumerate(AXES)}
    shape = (AXES[0].cells, AXES[2].cells)
    pair = np.array([next(values) for _ in range(shape[0] * shape[1])]).reshape(shape)
    return TableModel(link, next(values), AXES, mains, {(0, 2): pair})


COUNT = sum(axis.cells for axis in AXES) + AXES[0].cells * AXES[2].cells + 1
NUMBERS = st.lists(EFFECTS, min_size=COUNT, max_size=COUNT)


def cost(numbers: list[float], severity: list[float], benefit: float, load: float) -> RiskModel:
    components = {"frequency": tables("log", numbers), "severity": tables("log", severity)}
    return RiskModel("frequency_severity", "glm", INPUTS, components, benefit, load)


def event(numbers: list[float], benefit: float, load: float) -> RiskModel:
    return RiskModel("event", "glm", INPUTS, {"probability": tables("logit", numbers)}, benefit, load)


MODELS = st.one_of(
    st.tuples(
        *[st.builds(cost, NUMBERS, NUMBERS, st.floats(1.0, 500.0), st.floats(0.0, 50.0)) for _ in range(2)]
    ),
    st.tuples(*[st.builds(event, NUMBERS, st.floats(1.0, 500.0), st.floats(0.0, 50.0)) for _ in range(2)]),
)
RISKS = hnp.arrays(np.float64, (5, 3), elements=st.floats(0.0, 90.0))


@given(st.lists(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6), min_size=1, max_size=1), st.data())
def test_whole_units_add_up_and_stay_next_to_their_parts(rows, data):
    parts = np.array(rows)
    total = np.rint(parts.sum(axis=1)).astype(np.int64) + data.draw(st.sampled_from([-1, 0, 1]))
    found = apportion(parts, total)
    assert (found.sum(axis=1) == total).all()
    assert (np.abs(found - parts) < 2.0 + 1e-6).all()


def test_missing_units_go_to_the_largest_remainders_the_first_of_equal_ones():
    assert apportion(np.array([[1.5, 1.5, 0.9]]), np.array([4])).tolist() == [[2, 1, 1]]
    assert apportion(np.array([[-0.5, 0.5]]), np.array([0])).tolist() == [[0, 0]]
    assert apportion(np.array([[2.0, 3.0]]), np.array([4])).tolist() == [[2, 2]]


@given(MODELS, RISKS)
def test_causes_of_the_risk_premium_add_up_and_are_turned_round_with_the_sides(models, values):
    old, new = (premiums(model, values) for model in models)
    parts = split_premium(old, new)
    change = models[1].risk_premium(values) - models[0].risk_premium(values)
    scale = np.abs(np.stack(list(parts.values()))).sum(axis=0) + models[1].risk_premium(values)
    assert np.sum(list(parts.values()), axis=0) == pytest.approx(change, abs=float(1e-6 * scale.max()))
    back = split_premium(new, old)
    for name, part in parts.items():
        assert back[name] == pytest.approx(-part, abs=float(1e-9 * scale.max())), name


@given(NUMBERS, NUMBERS, RISKS)
def test_an_input_that_both_models_read_alike_is_due_nothing(numbers, severity, values):
    old, new = cost(numbers, severity, 100.0, 5.0), cost([n + 0.0 for n in numbers], severity, 120.0, 7.0)
    parts = split_premium(premiums(old, values), premiums(new, values))
    for name in (*INPUTS, BASE):
        assert not parts[name].any()
    assert (parts[BENEFIT] > 0).all()
    assert parts[LOAD] == pytest.approx(np.full(5, 2.0))


@given(NUMBERS, st.floats(-1e-5, 1e-5), RISKS)
def test_a_tiny_move_is_split_as_the_slope_says(numbers, tiny, values):
    moved = [*numbers[:-1], numbers[-1] + tiny]
    old, new = event(numbers, 100.0, 0.0), event(moved, 100.0, 0.0)
    parts = split_premium(premiums(old, values), premiums(new, values))
    u = old.risk_premium(values) / 100.0
    assert parts[BASE] == pytest.approx(100.0 * u * (1 - u) * (moved[-1] - numbers[-1]), rel=1e-4, abs=1e-10)


def test_models_without_tables_are_not_split():
    booster = BoosterModel("log", "", 0.0)
    free = RiskModel("claim_count", "gbm", INPUTS, {"frequency": booster}, 1.0, 0.0)
    table = RiskModel("claim_count", "glm", INPUTS, {"frequency": tables("log", [0.0] * COUNT)}, 1.0, 0.0)
    assert comparable(table, table)
    assert not comparable(table, free)
    assert not comparable(table, event([0.0] * COUNT, 1.0, 0.0))
    with pytest.raises(ValueError, match="links differ: log, logit"):
        split_premium(*(premiums(m, np.zeros((1, 3))) for m in (table, event([0.0] * COUNT, 1.0, 0.0))))


STEPS = st.fixed_dictionaries({name: st.lists(MINOR, min_size=4, max_size=4) for name in ("risk", "tax")})


@st.composite
def ladders(draw, priced: bool | None = None):
    amounts = {name: np.array(values) for name, values in draw(STEPS).items()}
    flags = np.full(4, True) if priced else np.array(draw(st.lists(st.booleans(), min_size=4, max_size=4)))
    return Steps({name: np.where(flags, part, 0) for name, part in amounts.items()}, flags)


@given(ladders(True), ladders(True), ladders(), ladders())
def test_model_and_plan_add_up_to_every_step(old, new, model_first, plan_first):
    by_model, by_plan = split_steps(old, new, model_first, plan_first, "risk")
    for name in ("risk", "tax"):
        change = new.amounts[name] - old.amounts[name]
        assert np.array_equal(by_model[name] + by_plan[name], change)
        alone = model_first.priced & ~plan_first.priced
        first = model_first.amounts[name] - old.amounts[name]
        assert np.array_equal(by_model[name][alone], first[alone])
        neither = ~model_first.priced & ~plan_first.priced
        assert np.array_equal(by_model[name][neither], (change if name == "risk" else 0 * change)[neither])


@given(ladders(True), ladders(True), ladders(True), ladders(True))
def test_sides_turned_round_turn_the_parts(old, new, model_first, plan_first):
    there, _ = split_steps(old, new, model_first, plan_first, "risk")
    back, _ = split_steps(new, old, plan_first, model_first, "risk")
    for name, part in there.items():
        assert np.array_equal(part, -back[name])
