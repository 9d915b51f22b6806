"""The score of one quote by tables and by a free booster, with reasons and without; and a swap of models.

A swap is loaded in a thread while quotes are priced one after the other, as the watcher of the service does
it; the worst gap is the longest time from the end of one quote to the end of the next meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from benchmarks.http.servers import insurer
from benchmarks.http.shop import PRODUCT as SOLD
from benchmarks.http.shop import shop
from models.families import FitSettings
from models.training import train
from pricing.product import read_product
from serving.compose import open_service
from serving.generation import short_turns
from serving.wire import QuoteRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.bundle import Bundle
    from serving.generation import Generation
    from serving.service import QuoteService

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "motor_fr.toml"
ROWS, RISKS, ROUNDS = 60_000, 200, 5
SWAPS = 9
SETTINGS = FitSettings(rounds=600, stopping_share=0.0)


def run() -> dict[str, float]:
    """Time single scores, and swaps of one model and of all.

    Returns
    -------
    dict of str to float
        Microseconds a risk, median of the rounds: with and without reasons, checks and encoding included;
        of swaps the seconds to load (median), the milliseconds to put in place and the worst gap between
        quotes (the largest of all), beside that of as long a time without a swap.
    """
    return _scores() | _swaps()


def _scores() -> dict[str, float]:
    """Fit both families with 600 rounds, and score single risks as a quote does, in turns."""
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit("serving_models: PREMIA_SHARED_DATA must name the folder that holds freMTPL2")
    product = read_product(PRODUCT)
    models = product.models.model_copy(update={"families": ("ga2m", "gbm"), "champion": "ga2m"})
    product = product.model_copy(update={"models": models})
    table = pq.read_table(Path(folder) / "freMTPL2freq_clean_learntest.parquet")
    table = table.take(np.random.default_rng(1).permutation(table.num_rows)[:ROWS])
    result = train(product, table, settings=SETTINGS)
    columns = {factor.name: table[factor.source].to_pylist()[:RISKS] for factor in product.factors}
    risks = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    arms = [(family, explained) for family in ("ga2m", "gbm") for explained in (True, False)]
    times: dict[tuple[str, bool], list[float]] = {arm: [] for arm in arms}
    for _ in range(ROUNDS):
        for family, explained in arms:
            times[family, explained].append(_one(result.bundle(family), risks, explained))
    found = {arm: float(np.median(values)) for arm, values in times.items()}
    return {
        "tables_with_reasons_us": found["ga2m", True],
        "tables_us": found["ga2m", False],
        "booster_with_reasons_us": found["gbm", True],
        "booster_us": found["gbm", False],
        "reasons_booster_vs_tables": found["gbm", True] / found["ga2m", True],
    }


def _one(bundle: Bundle, risks: Sequence[dict[str, object]], explained: bool) -> float:
    begun = time.perf_counter()
    for risk in risks:
        bundle.score_one(risk, {}, explained=explained)
    return 1e6 * (time.perf_counter() - begun) / len(risks)


def _swaps() -> dict[str, float]:
    """Put other generations into a service that prices quotes."""
    with tempfile.TemporaryDirectory(prefix="premia-swap-") as name:
        settings = insurer(Path(name))
        asked = [QuoteRequest.model_validate_json(body) for body in shop(settings).asked]
        service = open_service(settings)
        try:
            return asyncio.run(_swapped(service, asked))
        finally:
            service.close()


async def _swapped(service: QuoteService, asked: Sequence[QuoteRequest]) -> dict[str, float]:
    one: list[float] = []
    whole: list[float] = []
    placed: list[float] = []
    gaps: list[float] = []
    for _ in range(SWAPS):
        others = {code: each for code, each in service.products.items() if code != SOLD}
        for times, known in ((one, others), (whole, {})):
            before = replace(service.generation, products=known)
            loading = asyncio.create_task(_load(service, before))
            gaps.append(await _worst_gap(service, asked, loading))
            newest, seconds = await loading
            times.append(seconds)
            begun = time.perf_counter()
            service.take(newest)
            placed.append(1e3 * (time.perf_counter() - begun))
    idle = asyncio.create_task(asyncio.sleep(sum(one) + sum(whole)))
    return {
        "swap_one_load_s": statistics.median(one),
        "swap_all_load_s": statistics.median(whole),
        "swap_products": float(len(service.products)),
        "swap_place_ms": max(placed),
        "swap_worst_gap_ms": max(gaps),
        "no_swap_worst_gap_ms": await _worst_gap(service, asked, idle),
    }


async def _load(service: QuoteService, before: Generation) -> tuple[Generation, float]:
    """Load what is not known before beside the loop; give it with the seconds it took."""
    assert service.loader is not None  # noqa: S101 - opened from the disk
    begun = time.perf_counter()
    with short_turns():
        newest = await asyncio.to_thread(service.loader.load, before)
    return newest, time.perf_counter() - begun


async def _worst_gap(
    service: QuoteService, asked: Sequence[QuoteRequest], meanwhile: asyncio.Task[object]
) -> float:
    """Price quotes until a task is done; give the longest time from one to the next, ms."""
    worst, number, last = 0.0, 0, time.perf_counter()
    while not meanwhile.done():
        service.price(asked[number % len(asked)])
        await asyncio.sleep(0)
        now = time.perf_counter()
        worst, last, number = max(worst, now - last), now, number + 1
    return 1e3 * worst
