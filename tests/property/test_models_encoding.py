"""One row and a batch are encoded alike, and refused alike."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoding import Encoding
from models.errors import EncodingError
from models.links import exp_array, exp_one, respond, respond_one
from pricing.errors import RiskError
from pricing.factors import CategoryFactor, NumberFactor, Text

LABEL = Text(en="x", zh="x")
FACTORS = (
    NumberFactor(name="age", label=LABEL, type="integer", unit="", minimum=18, maximum=90),
    NumberFactor(
        name="km",
        label=LABEL,
        type="number",
        unit="",
        minimum=1,
        maximum=60,
        outside="nearest",
        missing="level",
    ),
    CategoryFactor(
        name="fuel", label=LABEL, type="category", levels=("petrol", "diesel", "other"), unknown="other"
    ),
    CategoryFactor(name="zone", label=LABEL, type="category", levels=("1", "2"), missing="2"),
)
ENCODING = Encoding(FACTORS, ("orders_90d",))
NUMBER = st.one_of(
    st.none(),
    st.sampled_from([18.0, 90.0, 17.0, 91.0, 1.0, 60.0, 0.5, 18.5, math.nan, math.inf, -math.inf]),
    st.floats(0, 100),
)
ROW = st.fixed_dictionaries(
    {
        "age": NUMBER,
        "km": NUMBER,
        "fuel": st.sampled_from(["petrol", "diesel", "gas", None]),
        "zone": st.sampled_from(["1", "2", "3", None]),
        "orders_90d": st.one_of(st.none(), st.integers(0, 2**60)),
    }
)
SCHEMA = pa.schema(
    [
        ("age", pa.float64()),
        ("km", pa.float64()),
        ("fuel", pa.string()),
        ("zone", pa.string()),
        ("orders_90d", pa.int64()),
    ]
)


@settings(deadline=None)
@given(st.lists(ROW, min_size=1, max_size=12), st.booleans())
def test_batch_equals_one_by_one(rows, as_dictionary):
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    if as_dictionary:
        table = table.set_column(2, "fuel", table["fuel"].dictionary_encode())
    encoded = ENCODING.encode(table)
    for i, row in enumerate(rows):
        risk = {factor.name: row[factor.name] for factor in FACTORS}
        try:
            single = ENCODING.encode_one(risk, row)
        except RiskError as error:
            assert encoded.refused[i]
            assert ENCODING.problems(table, [i]) == [error.problems]
        else:
            assert not encoded.refused[i]
            np.testing.assert_array_equal(encoded.matrix[i], single)
    assert sum(encoded.counts.values()) >= encoded.refused.sum()


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=50))
def test_exponential_is_bit_equal_and_right(values):
    found = exp_array(np.array(values))
    for value, result in zip(values, found.tolist(), strict=True):
        assert exp_one(value) == result
        assert math.isclose(result, math.exp(min(max(value, -700), 700)), rel_tol=5e-16)
    for link in ("log", "logit"):
        assert respond(np.array(values), link).tolist() == [respond_one(value, link) for value in values]


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.uint8(), pa.float32()])
def test_number_types_are_alike(kind):
    table = pa.table(
        {
            "age": pa.array([20, 30], kind),
            "km": [1.0, 2.0],
            "fuel": ["petrol", "x"],
            "zone": [1, 2],
            "orders_90d": [1, None],
        }
    )
    encoded = ENCODING.encode(table)
    assert not encoded.refused.any()
    assert encoded.matrix[:, 0].tolist() == [20.0, 30.0]
    assert encoded.matrix[:, 3].tolist() == [0.0, 1.0]
    assert encoded.matrix[1, 2] == 2.0


def test_text_in_a_number_is_refused():
    table = pa.table({"age": ["20"], "km": [True], "fuel": ["petrol"], "zone": ["1"], "orders_90d": [1]})
    encoded = ENCODING.encode(table)
    assert encoded.counts == {("age", "type"): 1, ("km", "type"): 1}
    with pytest.raises(EncodingError, match="age: 1 rows refused"):
        encoded.raise_if_refused()


def test_absent_columns_are_named_with_a_hint():
    with pytest.raises(EncodingError, match="column 'age' is absent.*did you mean 'agee'"):
        ENCODING.encode(pa.table({"agee": [1], "km": [1], "fuel": ["a"], "zone": ["1"], "orders_90d": [1]}))
    with pytest.raises(EncodingError, match="orders_90d"):
        ENCODING.encode_one({"age": 20, "fuel": "petrol", "zone": "1"}, {})


def test_json_brings_the_encoding_back():
    assert Encoding.from_json(json.loads(json.dumps(ENCODING.to_json()))) == ENCODING
