"""The whole API against its own document: no fault of the service, no status that is not documented."""

from __future__ import annotations

import os
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings

from serving.api import create_app
from serving.compose import open_service

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("insurer"),
    pytest.mark.filterwarnings("ignore"),  # of schemathesis
]
# Requests an operation; PREMIA_FUZZ=10000 for the full count.
EXAMPLES = int(os.environ.get("PREMIA_FUZZ", "20"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
QUICK: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
}


@pytest.fixture(scope="module")
def url(insurer) -> Iterator[str]:
    app = create_app(lambda: open_service(insurer.settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_every_answer_is_one_that_the_document_names(url):
    found = schemathesis.openapi.from_url(f"{url}/openapi.json")
    tried = set()
    for result in found.get_all_operations():
        operation = result.ok()

        @settings(max_examples=EXAMPLES, **QUICK)
        @given(case=operation.as_strategy())
        def send(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        send()
        tried.add((operation.method.upper(), operation.path))
    assert ("POST", "/v1/quotes/{quote_id}/accept") in tried
    assert len(tried) >= 25
