"""A tariff is its tables, bit for bit, in memory and through every file; an edit moves one cell alone."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.encoding import Encoding
from models.errors import TariffError
from models.tables import Axis, TableModel
from models.tariff import (
    Component,
    Record,
    Scale,
    Source,
    Table,
    Tariff,
    read_tariff,
    tariff_hash,
    write_tariff,
)
from models.tariff.form import cells_of
from models.tariff.state import to_state
from models.tariff.tariff import shown, table_model
from pricing.factors import CategoryFactor, NumberFactor

LABEL = {"en": "Label", "zh": "标"}
FACTORS = (
    NumberFactor(name="age", label=LABEL, type="integer", unit="years", minimum=18, maximum=80),
    CategoryFactor(name="fuel", label=LABEL, type="category", levels=("petrol", "=1+1", "007")),
    NumberFactor(name="value", label=LABEL, type="number", unit="", minimum=0, maximum=1e6, missing="level"),
)
ENCODING = Encoding(FACTORS, ("orders_90d",))
FORMS = (".xlsx", ".csv", ".json")

RAW = st.one_of(st.just(0.0), st.floats(-6, 6), st.floats(-1e-9, 1e-9))
NUMBERS = st.lists(st.floats(-50, 1e6).map(lambda x: x + 0.0), max_size=4, unique=True).map(sorted)
INTEGERS = st.lists(st.sampled_from([1e-35, *(k + 0.5 for k in range(15, 85))]), max_size=5, unique=True).map(
    sorted
)


@st.composite
def scales(draw, name):
    if name == "fuel":
        return Scale(name, None, draw(st.sampled_from([(0, 1, 2), (0, 0, 1), (1, 0, 1), (0, 0, 0)])))
    return Scale(name, tuple(draw(INTEGERS if name == "age" else NUMBERS)))


@st.composite
def tables(draw, inputs):
    parts = tuple(draw(scales(name)) for name in inputs)
    shape = tuple(scale.cells for scale in parts)
    size = math.prod(shape)

    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def filled():
        return np.round(
            rng.uniform(0, 1e4, size) * rng.integers(0, 2, size), draw(st.integers(0, 9))
        ).reshape(shape)

    raw = rng.choice([0.0, 1.0, 1e-9, 4.0], size).reshape(shape) * rng.normal(size=shape)
    base = draw(st.integers(0, size - 1)) if len(inputs) == 1 else None
    reference = 0.0 if base is None else float(raw[base])
    return Table(parts, raw, reference, base, filled(), filled(), filled())


@st.composite
def tariffs(draw):
    names = draw(st.sampled_from([("frequency", "severity"), ("probability",), ("pure_premium",)]))
    objectives = {
        "frequency": "poisson",
        "severity": "gamma",
        "probability": "binary",
        "pure_premium": "tweedie",
    }
    kinds = {"frequency": "frequency_severity", "probability": "event", "pure_premium": "claim_amount"}
    components = []
    for name in names:
        keys = draw(
            st.lists(
                st.sampled_from([("age",), ("fuel",), ("value",), ("orders_90d",)]), max_size=4, unique=True
            )
        )
        keys += draw(
            st.lists(
                st.sampled_from([("age", "fuel"), ("fuel", "value"), ("value", "orders_90d")]),
                max_size=1,
                unique=True,
            )
        )
        link = "logit" if name == "probability" else "log"
        made = tuple(draw(tables(key)) for key in keys)
        components.append(Component(name, objectives[name], link, draw(RAW), made, draw(st.floats(0.5, 9))))
    record = Record("frequency", "age", "capped", 9, 9, 0.3, 0.31, 1.01, 0.2)
    return Tariff(
        "trial",
        "0" * 64,
        "EUR",
        kinds[names[0]],
        1.0,
        draw(st.floats(0, 1e4)),
        ENCODING,
        tuple(components),
        Source("3", "f" * 64, "ga2m"),
        draw(st.sampled_from([(), (record,)])),
    )


VALUES = st.tuples(
    st.one_of(st.integers(18, 80).map(float), st.floats(0, 100)),
    st.integers(-1, 4).map(float),
    st.one_of(st.floats(-60, 2e6), st.just(math.nan)),
    st.one_of(st.floats(-60, 2e6), st.just(math.nan)),
)


@settings(deadline=None, max_examples=60)
@given(tariffs(), st.lists(VALUES, min_size=1, max_size=10))
def test_the_model_of_a_tariff_scores_as_its_tables_add_up(tariff, rows):
    values = np.array(rows)
    for component in tariff.components:
        total = np.full(len(values), component.intercept)
        for table in component.tables:
            total += table.raw.ravel()[table.locate(ENCODING, values)]
        model = table_model(component, ENCODING)
        np.testing.assert_array_equal(model.predict_raw(values), total)
        assert [model.predict_raw_one(row) for row in rows] == total.tolist()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_tariff_back(form, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")

    @settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(tariffs())
    def check(tariff):
        back = read_tariff(write_tariff(tariff, folder / f"t{form}"))
        assert to_state(back) == to_state(tariff)
        assert tariff_hash(back) == tariff_hash(tariff)
        for one, two in zip(back.components, tariff.components, strict=True):
            assert one.intercept == two.intercept
            for mine, given_ in zip(one.tables, two.tables, strict=True):
                assert mine.raw.tobytes() == given_.raw.tobytes()

    check()


def rewrite(path, place, value):
    """Change one relativity in a file, as a person would; `place` counts the cells of the form."""
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        content["cells"][place]["relativity"] = value
        path.write_text(json.dumps(content))
    elif path.suffix == ".csv":
        with path.open(newline="") as handle:
            rows = list(csv.reader(handle))
        head = next(i for i, row in enumerate(rows) if row[0] == "component")
        rows[head + 1 + place][8] = str(value)
        with path.open("w", newline="") as handle:
            csv.writer(handle).writerows(rows)
    else:
        raise AssertionError


@settings(deadline=None, max_examples=40)
@given(tariffs(), st.data(), st.floats(0.01, 90))
def test_an_edited_cell_moves_alone_and_shows_what_was_typed(tmp_path_factory, tariff, data, typed):
    form = cells_of(tariff)
    place = data.draw(st.integers(0, len(form) - 1))
    typed = min(typed, 0.9) if form[place].place < 0 else typed
    path = write_tariff(tariff, tmp_path_factory.mktemp("edit") / f"t{data.draw(st.sampled_from(FORMS[1:]))}")
    rewrite(path, place, typed)
    back = read_tariff(path, "actuary")
    now = cells_of(back)
    assert now[place].relativity == shown(typed)
    assert [c.relativity for i, c in enumerate(now) if i != place] == [
        c.relativity for i, c in enumerate(form) if i != place
    ]
    moved = sum(
        int((one.raw != two.raw).sum())
        for a, b in zip(back.components, tariff.components, strict=True)
        for one, two in zip(a.tables, b.tables, strict=True)
    )
    assert moved <= 1
    edits = [change for change in back.changes if change.editor == "actuary"]
    assert len(edits) == (shown(typed) != form[place].relativity)
    again = read_tariff(write_tariff(back, path))
    assert to_state(again) == to_state(back)


@settings(deadline=None, max_examples=200)
@given(RAW, st.floats(1e-3, 1e3))
def test_a_typed_relativity_is_shown_again_for_any_reference(reference, typed):
    scale = Scale("value", (1.0,))
    raw = np.array([reference + math.log(typed), reference, 0.0])
    nothing = np.zeros(3)
    table = Table((scale,), raw, reference, 1, nothing, nothing, nothing)
    assert table.relativities[0] == shown(typed)
    assert table.relativities[1] == 1.0


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_tables_of_a_model_come_back_bit_equal(data):
    edges = np.array(data.draw(INTEGERS))
    axes = (Axis(edges), Axis(None, 3), Axis(np.array(data.draw(NUMBERS))), Axis(np.empty(0)))

    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))

    def filled(*shape):
        return rng.choice([0.0, -0.0, 1.0, 1e-300], shape) * rng.normal(size=shape)

    cells = [axis.cells for axis in axes]
    model = TableModel(
        "log",
        data.draw(RAW),
        axes,
        {0: filled(cells[0]), 2: filled(cells[2]), 1: filled(cells[1])},
        {(0, 1): filled(cells[0], cells[1]), (1, 2): filled(cells[1], cells[2])},
    )
    from models.tariff.making import _component

    component = _component("frequency", "poisson", model, ENCODING)
    back = table_model(component, ENCODING)
    assert (back.intercept, list(back.mains), list(back.pairs)) == (
        model.intercept,
        list(model.mains),
        list(model.pairs),
    )
    for i, table in model.mains.items():
        assert back.mains[i].tobytes() == table.tobytes()
    for pair, table in model.pairs.items():
        assert back.pairs[pair].tobytes() == table.tobytes()
    for one, two in zip(back.axes[:3], axes[:3], strict=True):
        assert one.levels == two.levels
        if two.edges is not None:
            assert one.edges.tolist() == two.edges.tolist()


def test_a_double_table_is_refused():
    nothing = np.zeros(2)
    table = Table((Scale("value", ()),), nothing, 0.0, 0, nothing, nothing, nothing)
    component = Component("frequency", "poisson", "log", 0.0, (table, replace(table)), 1.0)
    tariff = Tariff("t", "", "EUR", "claim_count", 1.0, 0.0, ENCODING, (component,))
    from models.tariff.state import from_state

    with pytest.raises(TariffError, match="the table is there twice"):
        from_state(to_state(tariff))


@settings(deadline=None, max_examples=30)
@given(tariffs())
def test_a_spreadsheet_that_keeps_fifteen_digits_edits_nothing(tmp_path_factory, tariff):
    path = write_tariff(tariff, tmp_path_factory.mktemp("digits") / "t.json")
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        cell["relativity"] = float(f"{cell['relativity']:.15g}") * (1 + 2e-15)
    path.write_text(json.dumps(content))
    assert to_state(read_tariff(path)) == to_state(tariff)
