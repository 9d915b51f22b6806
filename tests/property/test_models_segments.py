"""Segments: everyone has exactly one, one customer and a table agree, and faulty files are refused."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.store import connect
from features.load import default_spec
from features.profiles import build_profiles
from models.errors import EncodingError
from models.segments import REFERENCE, read_segments
from pricing.errors import DefinitionError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Insurer

SPEC = default_spec()
SHIPPED = read_segments(SPEC)
TEXT = REFERENCE.read_text(encoding="utf-8")
EDGES = sorted(
    {float(c.value) for s in SHIPPED.segment for c in s.conditions if not isinstance(c.value, tuple)}
)
VALUES = st.none() | st.sampled_from(EDGES) | st.floats(-1e6, 1e9) | st.integers(0, 2**53)
PEOPLE = st.fixed_dictionaries(dict.fromkeys(SHIPPED.fields, VALUES))


def table_of(people: list[dict[str, float | int | None]]) -> pa.Table:
    columns = {
        name: pa.array([None if p[name] is None else float(p[name]) for p in people], pa.float64())
        for name in SHIPPED.fields
    }
    return pa.table(columns)


@given(st.lists(PEOPLE, min_size=1, max_size=30))
def test_everyone_has_one_segment_and_a_table_agrees(people: list[dict[str, float | int | None]]) -> None:
    one = [SHIPPED.segment_of(values).code for values in people]
    assert SHIPPED.column(table_of(people)).to_pylist() == one


@given(PEOPLE)
def test_it_is_the_first_whose_conditions_hold(values: dict[str, float | int | None]) -> None:
    found = SHIPPED.segment_of(values)
    before = SHIPPED.segment[: SHIPPED.segment.index(found)]
    assert all(condition.holds(values[condition.field]) for condition in found.conditions)
    assert not any(all(c.holds(values[c.field]) for c in segment.conditions) for segment in before)


def test_not_a_number_is_not_known() -> None:
    nobody = dict.fromkeys(SHIPPED.fields)
    nan = dict.fromkeys(SHIPPED.fields, math.nan)
    # Only the segment of those who have not ordered takes a customer of whom nothing is known.
    assert SHIPPED.segment_of(nobody).code == SHIPPED.segment_of(nan).code == "quiet"
    assert SHIPPED.column(table_of([nobody])).to_pylist() == ["quiet"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"tenure_days": 182}, "newcomer"),
        ({"tenure_days": 183, "days_since_last_order": 183}, "quiet"),
        ({"claims_1095d": 3, "claims_per_policy_1095d": 0.5}, "claims_heavy"),
        ({"claims_1095d": 3, "claims_per_policy_1095d": 0.1}, "occasional"),
        ({"orders_365d": 5, "return_share_365d": 0.4}, "frequent_returner"),
        ({"order_amount_365d": 600_000, "orders_365d": 20}, "big_spender"),
        ({"policies_1095d": 3, "claims_1095d": 0}, "covered_claim_free"),
        ({"orders_365d": 12, "claims_1095d": 1}, "steady_buyer"),
        ({}, "occasional"),
    ],
)
def test_what_the_portraits_say(values: dict[str, float], code: str) -> None:
    usual = dict.fromkeys(SHIPPED.fields, 0) | {"tenure_days": 900, "days_since_last_order": 10}
    assert SHIPPED.segment_of(usual | values).code == code


def test_portraits_are_sentences_in_both_languages() -> None:
    assert 6 <= len(SHIPPED.segment) <= 8
    for segment in SHIPPED.segment:
        assert segment.portrait.en.count(".") == 2, segment.code
        assert segment.portrait.zh.count("。") == 2, segment.code


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('field = "tenure_days"', 'field = "tenure_day"', r"unknown feature 'tenure_day' .*tenure_days"),
        ('field = "tenure_days"', 'field = "gender"', "'gender' is a protected attribute"),
        ('protected = ["gender"]', 'protected = ["tenure_days"]', "'tenure_days' is a protected attribute"),
        ('field = "tenure_days"', 'field = "seller_orders_90d"', "no feature of a customer"),
        ("value = 183", 'value = "183"', "compares numbers"),
        ('op = "=="\nvalue = 0', 'op = "=="\nvalue = "none"', "features are numbers"),
        ('code = "quiet"', 'code = "newcomer"', r"repeat the codes \['newcomer'\]"),
        ('when_unknown = "pass"', 'when_unknow = "pass"', "did you mean 'when_unknown'"),
        ("version = 1", "version = 1\nnote = 2", "unknown key 'note'"),
    ],
)
def test_what_a_segment_file_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    path = tmp_path / "segments.toml"
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DefinitionError, match=message):
        read_segments(SPEC, path)


def test_a_file_that_leaves_someone_out_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "segments.toml"
    path.write_text(TEXT[: TEXT.rindex("[[segment]]")], encoding="utf-8")
    with pytest.raises(DefinitionError, match="so that everyone has one"):
        read_segments(SPEC, path)


def test_an_absent_feature_is_named() -> None:
    values = dict.fromkeys(SHIPPED.fields, 1)
    del values["tenure_days"]
    with pytest.raises(EncodingError, match="tenure_days"):
        SHIPPED.segment_of(values)
    with pytest.raises(EncodingError, match="tenure_days"):
        SHIPPED.positions(pa.table({name: [1.0] for name in values}))


@pytest.mark.slow
@pytest.mark.xdist_group("insurer")
def test_no_segment_of_the_simulated_insurer_is_empty_or_all(insurer: Insurer) -> None:
    with connect(insurer.settings.lake) as con:
        ids = con.sql("SELECT customer_id FROM customers ORDER BY 1").to_arrow_table()["customer_id"]
        moment = pa.repeat(pa.scalar(insurer.end, pa.timestamp("us")), len(ids))
        labels = pa.table({"row_id": pa.array(range(len(ids))), "customer_id": ids, "as_of": moment})
        profiles = build_profiles(con, labels, SPEC, SHIPPED.fields)
    assert insurer.end == dt.datetime(2026, 1, 1)
    codes = SHIPPED.column(profiles).to_pylist()
    shares = {segment.code: codes.count(segment.code) / len(codes) for segment in SHIPPED.segment}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(0.02 < share < 0.5 for share in shares.values()), shares
    for row, code in list(zip(profiles.to_pylist(), codes, strict=True))[:500]:
        assert SHIPPED.segment_of(row).code == code
