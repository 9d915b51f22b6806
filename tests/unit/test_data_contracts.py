import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from data.contracts import CONTRACTS, contract, contracts_markdown
from data.errors import ContractError, UnknownTableError


def test_docs_table_page_is_current():
    page = Path(__file__).parents[2] / "docs" / "tables.md"
    assert page.read_text(encoding="utf-8") == contracts_markdown()


def test_every_contract_is_consistent():
    for rules in CONTRACTS.values():
        assert len(set(rules.names)) == len(rules.names)
        key = rules.column(rules.key)
        assert key.type == pa.int64()
        assert not key.nullable
        for column in rules.columns:
            assert column.sql_type
            assert column.meaning
            if column.name.endswith("_minor"):
                assert (column.type, column.minimum) == (pa.int64(), 0)
            if column.name.endswith("_at"):
                assert column.type == pa.timestamp("us")
        for reference in rules.references:
            assert contract(reference.table).key == reference.target
            rules.column(reference.column)
        if rules.partition.month_of:
            assert not rules.column(rules.partition.month_of).nullable


def test_protected_columns_are_marked():
    assert contract("customers").column("gender").visibility == "protected"
    assert contract("customers").column("birth_date").visibility == "personal"
    assert contract("customers").column("birth_date").allowed == f"at least {dt.date(1901, 1, 1)}"


def test_unknown_names_get_a_hint():
    with pytest.raises(UnknownTableError, match="did you mean 'orders'"):
        contract("order")
    with pytest.raises(ContractError, match="did you mean 'amount_minor'"):
        contract("orders").column("amount")
