"""The demonstration: the whole path on a simulated insurer, from an order history to a stored quote."""

from __future__ import annotations

import asyncio
import shutil
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from data.events import LEDGER
from data.simulate import simulate
from data.store import connect
from features.load import default_spec
from models.errors import TrainingDataError
from serving import render
from serving.access.caller import Caller
from serving.access.keys import CHANNEL_SCOPES, create_key
from serving.cli_access import keys_of
from serving.cli_offers import propensity_table
from serving.clock import wall_clock
from serving.compose import load_services, open_service, quote_and_close, read_products
from serving.console import count_bar, share_bar
from serving.jobs import portfolio_in_force, score_all, sync_serving, train_product
from serving.offer_jobs import fit_offer_model
from serving.reprice import reprice
from serving.wire import QuoteRequest, RecommendationRequest

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from features.spec import FeatureSpec
    from serving.settings import Settings

SEED = 1
END = datetime(2026, 1, 1)  # noqa: DTZ001 - UTC; the simulated history ends here
BOOK = "motor"
# Two people, as in life: who trains does not approve.
AUTHOR, APPROVER = "Lin Ruoxi (pricing)", "Zhou Heng (appointed actuary)"


def run_demo(console: Console, settings: Settings, customers: int, pictures: Path) -> None:
    """Simulate, train, compare, quote, recommend and reprice, and draw each result.

    Parameters
    ----------
    console
        Where to draw.
    settings
        The folder `demo` of its lake is filled anew.
    customers
        Size of the simulated insurer.
    pictures
        Folder for the pictures.
    """
    start = time.perf_counter()
    spec = default_spec()
    settings = settings.model_copy(update={"lake": settings.lake / "demo", "clock": END, "author": AUTHOR})
    # Models, quotes and events of an earlier demonstration.
    for folder in (settings.registry, settings.history.parent, settings.lake / LEDGER):
        shutil.rmtree(folder, ignore_errors=True)
    console.rule("1. an insurer: orders, quotes, policies, claims")
    with share_bar(console, "simulate") as progress:
        console.print(render.simulation_table(simulate(settings.lake, customers, SEED, progress=progress)))
    console.rule("2. risk profiles as of each policy, models, comparison, promotion")
    _train_all(console, settings, spec, pictures)
    console.rule("3. the serving store")
    with share_bar(console, "sync") as progress:
        sync_serving(settings, spec, END, progress)
    with share_bar(console, "score") as progress:
        summaries = score_all(settings, spec, END, progress)
    with share_bar(console, "propensity") as progress:
        propensities = fit_offer_model(settings, spec, END, progress)
    console.print(render.score_table(summaries))
    console.print(propensity_table(propensities))
    console.rule("4. the book repriced overnight")
    _reprice_book(console, settings, spec, pictures)
    console.rule("5. offers and quotes while a shopper waits")
    _quotes(console, settings)
    console.print(f"pictures, prices and manifest: {pictures}/")
    console.print(
        f"the whole path took {time.perf_counter() - start:.0f} s. Next: `make serve`, then open /docs"
    )


def _train_all(console: Console, settings: Settings, spec: FeatureSpec, pictures: Path) -> None:
    for code, product in read_products(settings.products).items():
        if product.currency != "CNY":  # the others read a company's own table
            continue
        try:
            with share_bar(console, f"train {code}") as progress:
                outcome = train_product(
                    product,
                    settings,
                    spec,
                    as_of=END,
                    seed=SEED,
                    approver=APPROVER,
                    pictures=pictures,
                    progress=progress,
                )
        except TrainingDataError as error:  # a small insurer cannot price everything
            console.print(f"[yellow]{code} is not put into service:[/] {error}")
            continue
        console.print(render.comparison_table(code, outcome.result.comparison, product.models.champion))
        console.print(render.decision_table(f"{code} {product.models.champion}", outcome.decision))
        console.print(outcome.verdict, highlight=False)


def _reprice_book(console: Console, settings: Settings, spec: FeatureSpec, pictures: Path) -> None:
    services, _ = load_services(settings, spec)
    book = pictures / f"{BOOK}_in_force.parquet"
    portfolio_in_force(settings, services[BOOK].product, END, book)
    with count_bar(console, "reprice") as progress, connect(settings.lake) as con:
        summary = reprice(
            book, pictures / "repriced", services, spec, con, END, lake=settings.lake, progress=progress
        )
    console.print(render.reprice_table(summary))


def _quotes(console: Console, settings: Settings) -> None:
    service = open_service(settings)
    request = example_quote(settings)
    assert request.customer_id is not None  # noqa: S101 - the query below selects it
    offers = service.recommend(RecommendationRequest(customer_id=request.customer_id, scene="order"))
    console.print(render.portrait_panel(service.risk_profile(request.customer_id)))
    console.print(render.recommendation_table(offers))
    quote = asyncio.run(quote_and_close(service, request))
    console.print(render.quote_panel(quote))
    console.print(f"stored: GET /v1/quotes/{quote.quote_id}")
    console.rule("6. a key to try it over HTTP")
    _give_key(console, settings, request)


def _give_key(console: Console, settings: Settings, request: QuoteRequest) -> None:
    trial = Caller("", "trial", request.channel, frozenset(CHANNEL_SCOPES), sandbox=True)
    with keys_of(settings) as database:
        made = database.write_now(
            lambda connection: create_key(connection, trial, timedelta(days=30), AUTHOR, wall_clock()())
        )
    asked = request.model_dump_json(include={"product", "channel", "customer_id", "seller_id", "risk"})
    command = f"""curl -s http://{settings.host}:{settings.port}/v1/quotes \\
  -H 'Authorization: Bearer {made.text}' \\
  -H 'Content-Type: application/json' -d '{asked}'"""
    console.print(
        "with `make serve` in another terminal (the key is shown only now; it is for trial, 30 days):"
    )
    console.print(command, highlight=False, markup=False, soft_wrap=True)


def example_quote(settings: Settings) -> QuoteRequest:
    """Ask for the cover of an order like the last one of a buyer who has returned some."""
    query = """
        SELECT q.customer_id, q.seller_id, q.order_amount, q.category FROM quotes q
        JOIN (SELECT customer_id, count(*) AS orders, count(returned_at) AS returns FROM orders GROUP BY 1) o
            USING (customer_id)
        WHERE q.product = 'return_freight' AND o.returns >= 5 AND q.quoted_at < $moment
            AND q.price_minor BETWEEN 200 AND 500  -- neither the safest nor one that is referred
        ORDER BY q.quoted_at DESC, q.quote_id LIMIT 1
    """
    with connect(settings.lake) as con:
        customer, seller, amount, category = con.sql(query, params={"moment": END}).fetchall()[0]
    return QuoteRequest(
        product="return_freight",
        channel="platform",
        customer_id=customer,
        seller_id=seller,
        risk={"order_amount": amount, "category": category},
    )
