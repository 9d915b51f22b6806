"""Time of a price: one ladder, and a million in a batch, identical to the minor unit.

The plan has every step there is: two relativity tables, claims inflation, reinsurance, all loadings, renewal
cap, cover cap and maximum, and each risk comes with a relativity of its own claims and the multipliers of a
price policy and a price test. `plain_us` is a plan without any of them. Of the rounds the quietest counts, as
whatever else the machine does only adds; each ladder of a sample is held against its row of the batch.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pricing.errors import NoPriceError
from pricing.ladder import PriceInputs, build_ladder, build_ladders
from pricing.plan import MILLION, RatingPlan

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, SAMPLE, CALLS, ROUNDS = 1_000_000, 20_000, 2_000, 15
PLAIN: dict[str, Any] = {
    "code": "bench",
    "version": 1,
    "filing": "F",
    "product": "bench",
    "currency": "CNY",
    "effective_from": "2026-01-01",
    "expense": {"fixed": "5.00", "variable": "0.08"},
    "commission": {"web": "0.12"},
    "margin": "0.05",
    "tax": "0.06",
    "minimum_premium": "20.00",
    "rounding": {"unit": "0.10"},
    "corridor": {"lowest": "20.00", "highest": "9000.00"},
}
EVERY: dict[str, Any] = PLAIN | {
    "relativities": {
        "region": {"levels": {"a": "1.1", "b": "0.9"}},
        "age": {"bands": [{"at_least": 18, "relativity": "1.2"}]},
    },
    "claims_inflation": {"annual_rate": "0.03", "base_date": "2025-01-01", "target_date": "2026-07-01"},
    "reinsurance": "0.02",
    "maximum_premium": "4000.00",
    "renewal_cap": {"rise": "0.20", "fall": "0.20"},
    "cover_cap": {"share": "0.50"},
}


def run() -> dict[str, float]:
    """Time single ladders and a batch, and compare them.

    Returns
    -------
    dict of str to float
        one_us (every step), plain_us, batch_s of a million, rows_per_s, differences between both ways, and
        the share of rows that is priced.
    """
    every, plain = RatingPlan.model_validate(EVERY), RatingPlan.model_validate(PLAIN)
    columns = _columns(np.random.default_rng(1))
    risks = [_row(columns, row) for row in range(CALLS)]
    batch_s, table = np.inf, build_ladders(columns, every, "web")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        table = build_ladders(columns, every, "web")
        batch_s = min(batch_s, time.perf_counter() - start)
    return {
        "one_us": _microseconds(lambda inputs: build_ladder(inputs, every, "web"), risks),
        "plain_us": _microseconds(lambda inputs: build_ladder(inputs, plain, "web"), _bare(risks)),
        "batch_s": batch_s,
        "rows_per_s": ROWS / batch_s,
        "differences": float(sum(_differs(columns, row, every, table) for row in range(SAMPLE))),
        "priced_share": float((table.refusal == "").mean()),
    }


def _columns(rng: np.random.Generator) -> PriceInputs:
    risk = rng.lognormal(np.log(20_000.0), 0.8, ROWS)

    def around(spread: float) -> Any:  # noqa: ANN401 - an int64 column
        return np.rint(MILLION * rng.lognormal(0.0, spread, ROWS)).astype(np.int64)

    return PriceInputs(
        risk,
        (around(0.2), around(0.2)),
        experience=around(0.3),
        price_policy=around(0.05),
        price_test=around(0.03),
        cover_minor=rng.integers(100_000, 5_000_000, ROWS),
        expiring_minor=np.where(rng.random(ROWS) < 0.5, np.rint(risk * 1.6).astype(np.int64), 0),
    )


def _row(columns: PriceInputs, row: int) -> PriceInputs:
    """Give one risk of the columns, as plain numbers."""
    one = columns.take(np.array([row]))

    def number(value: Any) -> Any:  # noqa: ANN401 - an array of one
        return value[0].item()

    return PriceInputs(
        number(one.risk_premium_minor),
        tuple(number(relativity) for relativity in one.relativities),
        *(number(getattr(one, name)) for name in ("experience", "price_policy", "price_test")),
        cover_minor=number(one.cover_minor),
        expiring_minor=number(one.expiring_minor),
    )


def _bare(risks: list[PriceInputs]) -> list[PriceInputs]:
    return [PriceInputs(one.risk_premium_minor) for one in risks]


def _microseconds(price: Callable[[PriceInputs], object], risks: list[PriceInputs]) -> float:
    """Give the mean time of one price over the quietest round; what is referred takes its time, too."""
    best = np.inf
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for inputs in risks:
            try:
                price(inputs)
            except NoPriceError:
                continue
        best = min(best, time.perf_counter() - start)
    return 1e6 * best / len(risks)


def _differs(columns: PriceInputs, row: int, plan: RatingPlan, table: Any) -> bool:  # noqa: ANN401 - LadderTable
    try:
        ladder = build_ladder(_row(columns, row), plan, "web")
    except NoPriceError as error:
        return bool(table.refusal[row] != error.kind)
    same = table.refusal[row] == "" and table.price_minor[row] == ladder.price_minor
    return not same or any(table.steps[name][row] != minor for name, minor in ladder.steps)
