"""The same scoring function behind BentoML, in an environment of its own."""

from __future__ import annotations

import os
from typing import Any

import bentoml

from benchmarks.http.scoring import load_premium


# As its documents say for small work in CPU: an async API in one worker; no access log, metrics or traces.
@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"sample_rate": 0.0},
)
class Premium:
    """Risk premiums of one product."""

    def __init__(self) -> None:
        self._premium = load_premium(os.environ["PREMIA_BENCH_BUNDLE"])

    @bentoml.api(route="/score")
    async def score(self, risk: dict[str, Any], profile: dict[str, Any]) -> float:
        """Give the risk premium, minor units."""
        return self._premium(risk, profile)
