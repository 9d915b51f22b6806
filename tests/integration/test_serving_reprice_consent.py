"""A batch refuses and withholds what the service refuses and withholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.store import connect
from features.load import default_spec
from serving.compose import find_product, load_services, open_service
from serving.jobs import portfolio_in_force, withdrawn_consents
from serving.reprice import read_prices, reprice
from serving.wire import QuoteRequest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Insurer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]
SPEC = default_spec()


def priced(
    insurer: Insurer, book: Path, out: Path, withdrawn: dict[str, list[int]] | None = None
) -> pa.Table:
    services, _ = load_services(insurer.settings, SPEC)
    with connect(insurer.settings.lake) as con:
        reprice(book, out, services, SPEC, con, insurer.end, lake=insurer.settings.lake, withdrawn=withdrawn)
    return read_prices(out)


@pytest.fixture
def book(insurer: Insurer, tmp_path: Path) -> Path:
    path = tmp_path / "book.parquet"
    portfolio_in_force(insurer.settings, find_product(insurer.settings, "motor"), insurer.end, path)
    return path


def test_a_row_without_the_id_whose_history_is_priced_is_refused(
    insurer: Insurer, book: Path, tmp_path: Path
) -> None:
    table = pq.read_table(book)
    ids = table["customer_id"].to_pylist()
    ids[3] = None
    nameless = table.set_column(
        table.column_names.index("customer_id"), "customer_id", pa.array(ids, pa.int64())
    )
    pq.write_table(nameless, book)
    result = priced(insurer, book, tmp_path / "out")
    assert result["status"][3].as_py() == "refused"
    assert result["codes"][3].as_py() == "customer_id:missing"
    assert pc.sum(pc.equal(result["status"], "refused")).as_py() == 1


def test_withdrawn_consent_prices_alike_in_service_and_batch(
    insurer: Insurer, book: Path, tmp_path: Path
) -> None:
    before = priced(insurer, book, tmp_path / "before")
    table = pq.read_table(book)
    service = open_service(insurer.settings, clock=lambda: insurer.end)
    factors = [factor.name for factor in service.products["motor"].product.factors]
    changed = 0
    for row in range(25):
        risk = table.slice(row, 1).to_pylist()[0]
        service.set_consent(risk["customer_id"], "pricing", granted=False)
        body = {"product": "motor", "channel": risk["channel"], "customer_id": risk["customer_id"]}
        body["expiring_premium_minor"] = risk["premium_minor"]
        quote = service.price(
            QuoteRequest.model_validate({**body, "risk": {name: risk[name] for name in factors}})
        ).answer
        assert set(quote.withheld) == set(service.products["motor"].product.profile.features)
        one = tmp_path / f"one{row}.parquet"
        pq.write_table(table.slice(row, 1), one)
        result = priced(insurer, one, tmp_path / f"out{row}", withdrawn_consents(insurer.settings, SPEC))
        assert result["price_minor"][0].as_py() == (quote.price.minor if quote.price else None)
        changed += result["price_minor"][0].as_py() != before["price_minor"][row].as_py()
        service.set_consent(risk["customer_id"], "pricing", granted=True)
    service.close()
    assert changed > 0, "history matters for some"
