"""Definitions: what is read, what is refused and where, what changes the hash."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import features
from data.contracts import contract
from features.describe import describe, lineage, markdown
from features.errors import DefinitionError, UnknownFeature
from features.load import default_spec, load_spec, parse_spec
from features.spec import DAY_US

ROOT = Path(__file__).parents[2]
FILE = ROOT / "data/reference/features.toml"
TEXT = FILE.read_text(encoding="utf-8")

SMALL = """\
[[entity]]
name = "customer"
keys = ["customer_id"]

[[entity]]
name = "seller"
keys = ["seller_id"]
grain = "day"

[[source]]
name = "orders"
table = "orders"
time = "ordered_at"
keys = ["customer_id", "seller_id"]
measures = ["amount_minor"]
levels = ["category"]
owner = "commerce"
privacy = "personal"
purpose = "pricing"
description = { en = "orders", zh = "订单" }

[[feature]]
name = "orders_30d"
entity = "customer"
source = "orders"
aggregation = "count"
window = "30d"
unit = "orders"
description = { en = "orders", zh = "订单" }

[[feature]]
name = "amount_30d"
entity = "customer"
source = "orders"
aggregation = "sum"
measure = "amount_minor"
window = "30d"
unit = "minor"
description = { en = "amount", zh = "金额" }

[[feature]]
name = "seller_orders_30d"
entity = "seller"
source = "orders"
aggregation = "count"
window = "30d"
unit = "orders"
description = { en = "orders", zh = "订单" }

[[derived]]
name = "amount_mean_30d"
kind = "mean"
inputs = ["amount_30d", "orders_30d"]
unit = "minor"
description = { en = "mean amount", zh = "平均金额" }
"""


def line_of(text: str, part: str, after: str = "") -> int:
    start = text.index(after) if after else 0
    return text.count("\n", 0, text.index(part, start)) + 1


def refused(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(DefinitionError) as caught:
        parse_spec(text, origin="some.toml")
    assert all(line.startswith("some.toml:") for line in str(caught.value).splitlines())
    return [(problem.line, problem.message, problem.hint) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "after", "message", "hint"),
    [
        (
            'source = "orders"',
            'source = "oders"',
            "amount_30d",
            "unknown source 'oders'",
            "did you mean 'orders'?",
        ),
        (
            'entity = "customer"',
            'entity = "client"',
            "amount_30d",
            "unknown entity 'client'",
            "customer, seller",
        ),
        (
            '"amount_minor"\nw',
            '"amount"\nw',
            "amount_30d",
            "no measure 'amount'",
            "did you mean 'amount_minor'?",
        ),
        ('"amount_minor"\nw', '"category"\nw', "amount_30d", "no measure 'category'", "amount_minor"),
        ('window = "30d"', 'window = "30"', "amount_30d", "window '30' has no unit", '"30d"'),
        ('window = "30d"', 'window = "1y"', "amount_30d", "unknown unit 'y'", '"30d"'),
        ('window = "30d"', 'window = "month"', "amount_30d", "not a length of time", "lifetime"),
        ('window = "30d"', 'window = "0d"', "amount_30d", "is empty", "lifetime"),
        ('window = "30d"', 'window = "36h"', "seller_orders_30d", "no multiple of the grain", "whole days"),
        (
            '"amount_30d"\nentity',
            '"orders_30d"\nentity',
            "amount_30d",
            "'orders_30d' is defined twice",
            "line 23",
        ),
        ('"amount_30d"\nentity', '"as_of"\nentity', "amount_30d", "reserved name", "as_of"),
        ('"amount_30d"\nentity', '"order"\nentity', "amount_30d", "reserved name", "SQL key words"),
        ('aggregation = "sum"', 'aggregation = "mean"', "amount_30d", "found 'mean'", "docs/features.md"),
        ('unit = "minor"', 'units = "minor"', "amount_30d", "feature.1.units", "aggregation, measure"),
        ('"amount_30d", "o', '"amount_3d", "o', "amount_mean", "unknown input 'amount_3d'", "'amount_30d'"),
        ('"amount_30d", "o', '"seller_orders_30d", "o', "amount_mean", "different entities", "one entity"),
        ('kind = "mean"', 'kind = "trend"', "amount_mean", "trend cannot be made of", "short window"),
        ('kind = "mean"', 'kind = "recency"', "amount_mean", "recency has 2 inputs", "needs 1"),
        (
            "inputs = [",
            'inputs = ["amount_mean_30d", ',
            "amount_mean",
            "cycle, amount_mean_30d -> amount_mean_30d",
            "",
        ),
        (
            'unit = "minor"',
            'filter = { colour = ["red"] }\nunit = "minor"',
            "amount_30d",
            "no column 'colour'",
            "category",
        ),
        ('unit = "minor"', 'filter = { category = [1] }\nunit = "minor"', "amount_30d", "needs texts", "[1]"),
        (
            'unit = "minor"',
            'filter = { category = [] }\nunit = "minor"',
            "amount_30d",
            "has no value",
            "list",
        ),
        ('measures = ["amount_minor"]', 'measures = ["a; drop"]', "", "no plain name", "integers"),
        ('kind = "mean"', 'kind = "rate"', "amount_mean", "rate cannot be made of", "first event time"),
        (
            'kind = "mean"',
            'kind = "seasonality"',
            "amount_mean",
            "seasonality cannot be made of",
            "short window",
        ),
        (
            'time = "ordered_at"\n',
            'known = "ordered at"\ntime = "ordered_at"\n',
            "",
            "source.0.known: String should match pattern",
            "docs/features.md",
        ),
    ],
)
def test_a_wrong_definition_is_refused_on_its_line(
    old: str, new: str, after: str, message: str, hint: str
) -> None:
    start = SMALL.index(f'name = "{after}') if after else 0
    place = SMALL.index(old, start)
    text = SMALL[:place] + new + SMALL[place + len(old) :]
    found = [item for item in refused(text) if message in item[1]]
    assert found, refused(text)
    line, _, given = found[0]
    assert hint in given
    if "key" not in message and "a; drop" not in new:
        assert line == SMALL.count("\n", 0, place) + 1


def test_a_second_clock_that_is_none_is_refused() -> None:
    text = SMALL.replace('time = "ordered_at"\n', 'time = "ordered_at"\nknown = "ordered_at"\n')
    line, message, hint = refused(text)[0]
    assert line == line_of(text, "known")
    assert "'ordered_at', is the event time" in message
    assert "leave it out" in hint


def test_a_second_clock_changes_the_hash_of_its_source_alone() -> None:
    known = parse_spec(SMALL.replace('time = "ordered_at"\n', 'time = "ordered_at"\nknown = "paid_at"\n'))
    assert known.hash(["orders_30d"]) != parse_spec(SMALL).hash(["orders_30d"])
    assert "orders.paid_at" in lineage(known, "orders_30d").columns()


def test_a_long_cycle_and_what_hangs_on_it_are_refused_once_each() -> None:
    item = '\n[[derived]]\nname = "{}"\nkind = "ratio"\ninputs = ["{}", "orders_30d"]\nunit = "1"\n'
    item += 'description = {{ en = "e", zh = "z" }}\n'
    text = (
        SMALL + item.format("a", "b") + item.format("b", "c") + item.format("c", "b") + item.format("d", "a")
    )
    found = refused(text)
    assert [line for line, _, _ in found] == [line_of(text, '["b"'), line_of(text, '["c"')] + [
        line_of(text, 'inputs = ["b"', 'name = "c"'),
        line_of(text, 'inputs = ["a"'),
    ]
    assert all("cycle" in message for _, message, _ in found)


def test_all_problems_are_told_at_once() -> None:
    text = SMALL.replace('window = "30d"', 'window = "30"')
    assert [line for line, _, _ in refused(text)] == [
        n for n, t in enumerate(text.splitlines(), 1) if '"30"' in t
    ]


def test_broken_toml_is_refused_with_its_line() -> None:
    line, message, _ = refused(SMALL.replace('unit = "minor"', "unit = minor", 1))[0]
    assert line == line_of(SMALL, 'unit = "minor"')
    assert "not TOML" in message


def test_an_unknown_table_and_a_missing_key_are_refused() -> None:
    assert any("features" in message for _, message, _ in refused(SMALL + "\n[[features]]\nname = 'x'\n"))
    missing = refused(SMALL.replace('unit = "minor"\n', "", 1))[0]
    assert missing[0] == line_of(SMALL, '[[feature]]\nname = "amount_30d"')


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMALL.replace('"30d"', '"30"'), encoding="utf-8")
    with pytest.raises(DefinitionError, match=re.escape(f"{path}:27: ")):
        load_spec(path)
    assert load_spec(FILE) == default_spec()


def test_unknown_name_has_a_hint() -> None:
    with pytest.raises(UnknownFeature, match=r"unknown feature 'orders_31d'.*did you mean 'orders_30d'"):
        parse_spec(SMALL).hash(["orders_31d"])


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('table = "orders"', 'table = "ordrs"', 12, "orders: the lake has no table 'ordrs'"),
        ('"ordered_at"', '"orderd_at"', 13, "orders: table 'orders' has no column 'orderd_at'"),
        ('["amount_minor"]', '["amount"]', 15, "orders: table 'orders' has no column 'amount'"),
        ('["category"]', '["kind"]', 16, "orders: table 'orders' has no column 'kind'"),
    ],
)
def test_a_file_names_only_what_the_lake_has(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    path = tmp_path / "features.toml"
    text = SMALL.replace(
        'measure = "amount_minor"', f'measure = "{"amount" if "amount" in new else "amount_minor"}"'
    )
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        load_spec(path)
    assert f"{path}:{line}: {message}. Hint: " in str(caught.value)


def test_hash_follows_meaning_and_nothing_else() -> None:
    spec = parse_spec(SMALL)
    mean = spec.hash(["amount_mean_30d"])
    same = [
        SMALL.replace("平均金额", "均额").replace('owner = "commerce"', 'owner = "x"'),
        SMALL.replace('levels = ["category"]', 'levels = ["category", "brand"]'),
        SMALL.replace('"seller_orders_30d"', '"seller_orders_of_30d"'),
    ]
    assert [parse_spec(text).hash(["amount_mean_30d"]) for text in same] == [mean] * len(same)
    other = [
        SMALL.replace('"30d"', '"31d"'),
        SMALL.replace('time = "ordered_at"', 'time = "paid_at"'),
        SMALL.replace('table = "orders"', 'table = "all_orders"'),
        SMALL.replace('levels = ["category"]', 'levels = ["category"]\nwhere = { category = ["x"] }'),
    ]
    assert len({mean, *(parse_spec(text).hash(["amount_mean_30d"]) for text in other)}) == len(other) + 1
    assert spec.hash(["orders_30d", "amount_30d"]) == spec.hash(["amount_30d", "orders_30d", "amount_30d"])
    assert spec.hash(["orders_30d"]) != spec.hash(["orders_30d", "amount_30d"])


def test_hash_is_the_same_on_every_machine() -> None:
    assert (
        parse_spec(SMALL).hash(["amount_mean_30d"])
        == "359d84633c70489fa710b57f06797fc35b59fa67ceeced805ffca36307e6b3e7"
    )


def test_closure_puts_inputs_first_and_inherits_from_sources() -> None:
    spec = parse_spec(SMALL)
    assert [item.name for item in spec.closure(["amount_mean_30d"])] == [
        "amount_30d",
        "orders_30d",
        "amount_mean_30d",
    ]
    assert spec.privacy_of("amount_mean_30d") == "personal"
    assert spec.purposes_of("amount_mean_30d") == ("pricing",)
    assert spec.entity["seller"].floor(DAY_US + 5) == DAY_US
    assert spec.entity["customer"].floor(DAY_US + 5) == DAY_US + 5


def test_lineage_ends_at_columns() -> None:
    tree = lineage(default_spec(), "return_share_365d")
    assert tree.columns() == ("orders.customer_id", "orders.ordered_at", "orders.returned_at")
    assert next(tree.lines()) == "return_share_365d = returns_365d / orders_365d"
    assert "近365天退货率" in describe(default_spec(), "return_share_365d", language="zh")


def test_the_page_is_current() -> None:
    page = (ROOT / "docs/features.md").read_text(encoding="utf-8")
    assert page == markdown(default_spec()), "run: python -m features.describe > docs/features.md"


def test_sources_name_columns_that_the_contracts_have() -> None:
    for source in default_spec().sources:
        types = {column.name: str(column.type) for column in contract(source.table).columns}
        assert {types[name] for name in (source.time, source.known) if name} == {"timestamp[us]"}
        assert {types[name] for name in source.keys} <= {"int64", "string"}
        assert {types[name] for name in source.measures} <= {"int64"}
        assert {types[name] for name in source.levels} <= {"string"}


def test_public_names() -> None:
    assert sorted(features.__all__) == features.__all__
    assert all(hasattr(features, name) for name in features.__all__)
