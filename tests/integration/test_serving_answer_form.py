"""What is answered is written down as JSON at once; it must be what the wire type would say."""

from __future__ import annotations

import pytest

from serving.compose import open_service
from serving.views import stored_quote
from serving.wire import QuoteRequest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

RETURN = {"product": "return_freight", "channel": "platform", "customer_id": 7, "seller_id": 3}


@pytest.mark.parametrize(
    "asked",
    [
        {**RETURN, "risk": {"order_amount": 129.0, "category": "shoes"}},
        {**RETURN, "risk": {"order_amount": 99_000.5, "category": "electronics"}},
        {**RETURN, "withdrawn_purposes": ["pricing"], "risk": {"order_amount": 5, "category": "food"}},
    ],
)
def test_an_answer_is_what_its_wire_type_dumps(insurer, asked):
    service = open_service(insurer.settings)
    try:
        request = QuoteRequest.model_validate(asked)
        shown = service.price(request).shown
        dumped = stored_quote(shown).model_dump(mode="json")
        assert dumped == shown
        assert list(dumped) == list(shown)
        kinds = {name: type(value) for name, value in dumped["profile"].items()}
        assert kinds == {name: type(value) for name, value in shown["profile"].items()}
    finally:
        service.close()
