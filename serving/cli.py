"""The command line: `premia --help` lists the commands."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from data.column_map import load_column_map
from data.ingest import ingest as ingest_table
from data.simulate import simulate as simulate_insurer
from data.store import connect
from data.thresholds import load_thresholds
from features.load import default_spec
from models.registry import Registry
from models.tuned import read_tuned, tuned_path
from pricing.product import read_product
from serving import render
from serving.api import create_app
from serving.cli_access import app as access_app
from serving.cli_challenge import challenge
from serving.cli_demand import app as demand_app
from serving.cli_experiment import app as experiment_app
from serving.cli_features import app as features_app
from serving.cli_governance import card, fairness, filing
from serving.cli_impact import impact
from serving.cli_models import compare, history, promote
from serving.cli_offers import actions, propensity
from serving.cli_offers import app as offers_app
from serving.cli_optimise import optimise
from serving.cli_plan import app as plan_app
from serving.cli_profile import profile
from serving.cli_quality import Gate, Limits, erase, quality, show_gates
from serving.cli_records import records as records_app
from serving.cli_replay import replay
from serving.cli_tariff import app as tariff_app
from serving.cli_tune import tune
from serving.cli_webhook import app as webhook_app
from serving.clock import wall_clock
from serving.compose import (
    find_product,
    load_services,
    open_service,
    quote_and_close,
    read_products,
    with_challengers,
)
from serving.console import count_bar, refusals, share_bar
from serving.demo import run_demo
from serving.errors import RequestError
from serving.http.logs import logging_to
from serving.http.server import build_server
from serving.ingest_live import ingest_live as move_events
from serving.ingest_quotes import ingest_quotes as move_quotes
from serving.jobs import (
    portfolio_in_force,
    score_all,
    sync_serving,
    train_product,
    withdrawn_consents,
)
from serving.portfolio_file import portfolio_file
from serving.price_tests import open_price_tests
from serving.reprice import reprice as reprice_portfolio
from serving.settings import Settings
from serving.wire import LARGEST_INTEGER, QuoteRequest, RecommendationRequest

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Pricing for internet insurance."
)
app.add_typer(access_app, name="access")
app.add_typer(demand_app, name="demand")
app.add_typer(experiment_app, name="experiment")
app.add_typer(features_app, name="features")
app.add_typer(tariff_app, name="tariff")
app.add_typer(plan_app, name="plan")
app.add_typer(webhook_app, name="webhook")
app.add_typer(records_app, name="records")
app.add_typer(offers_app, name="offers")
console = Console()

Lake = Annotated[
    Path | None, typer.Option("--lake", help="Folder of tables, models and quotes (default: PREMIA_LAKE).")
]
ClockStart = Annotated[
    datetime | None, typer.Option("--clock", help="Start the clock here (UTC); default: now.")
]
AsOf = Annotated[
    datetime | None, typer.Option("--as-of", help="UTC time; only what was known strictly before counts.")
]


def _settings(
    lake: Path | None = None, clock: datetime | None = None, log_level: str | None = None
) -> Settings:
    given = {"lake": lake, "clock": clock, "log_level": log_level}
    return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _read_request(text: str, source: str) -> QuoteRequest:
    try:
        return QuoteRequest.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise RequestError(f"{source} is no request for a quote: {faults}") from error


@app.command()
def simulate(
    customers: Annotated[int, typer.Option(help="Number of customers.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads; they change nothing but the time.")] = 2,
    lake: Lake = None,
) -> None:
    """Write the tables of a simulated insurer, with the truth beside them."""
    with refusals(console):
        with share_bar(console, "simulate") as progress:
            summary = simulate_insurer(_settings(lake).lake, customers, seed, threads, progress=progress)
        console.print(render.simulation_table(summary))


@app.command()
def ingest(
    source: Annotated[Path, typer.Argument(help="Parquet or CSV file.")],
    column_map: Annotated[
        Path, typer.Argument(help="TOML file: contract column = SQL over the source's columns.")
    ],
    thresholds: Limits = None,
    gate: Gate = False,
    lake: Lake = None,
) -> None:
    """Bring a table into the lake; rows that break its contract go to quarantine with the reason."""
    with refusals(console):
        root = _settings(lake).lake
        load_thresholds(thresholds)  # refused before anything is stored
        with console.status(f"ingest {source.name}"):
            report = ingest_table(source, load_column_map(column_map), root, created=_now())
        console.print(render.ingest_table(report))
        verdict = show_gates(root, report.table, thresholds, console)
    if gate and verdict == "fail":
        raise typer.Exit(1)


@app.command("ingest-live")
def ingest_live(lake: Lake = None) -> None:
    """Move the events that the service has taken into the lake; what breaks a contract waits, with why."""
    with refusals(console):
        with console.status("ingest-live"):
            added, settlements = move_events(_settings(lake), default_spec(), _now())
        console.print(render.settlement_table(added, settlements))


@app.command("ingest-quotes")
def ingest_quotes(lake: Lake = None) -> None:
    """Move the quotes that customers have answered into the lake: demand and offers are learned from them."""
    with refusals(console):
        settings = _settings(lake)
        with console.status("ingest-quotes"):
            moved = move_quotes(settings, wall_clock(settings.clock)())
        console.print(render.moved_quotes_table(moved))


@app.command()
def train(
    product: Annotated[Path, typer.Argument(help="Product file (TOML).")],
    data: Annotated[
        Path | None, typer.Option(help="Training table (parquet, CSV); default: the lake.")
    ] = None,
    as_of: AsOf = None,
    seed: Annotated[int, typer.Option(help="Seed of the fits.")] = 1,
    settings: Annotated[
        Path | None,
        typer.Option(help="What `premia tune` chose; default: settings/<code>.toml beside the product file."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Second person who puts the champion into service; else: proposed."),
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for the pictures.")] = None,
    lake: Lake = None,
) -> None:
    """Train the families of a product, compare them and propose the champion."""
    with refusals(console):
        with share_bar(console, f"train {product.stem}") as progress:
            declared = read_product(product)
            beside = tuned_path(product, declared.code)
            chosen = settings or (beside if beside.is_file() else None)
            tuned = None if chosen is None else read_tuned(chosen)
            outcome = train_product(
                declared,
                _settings(lake),
                default_spec(),
                data=data,
                as_of=as_of or _now(),
                seed=seed,
                tuned=tuned,
                approver=by,
                pictures=pictures,
                progress=progress,
            )
        champion = outcome.result.product.models.champion
        console.print(
            render.comparison_table(outcome.result.product.code, outcome.result.comparison, champion)
        )
        console.print(render.decision_table(f"{outcome.result.product.code} {champion}", outcome.decision))
        console.print(outcome.verdict, highlight=False)
        console.print(f"report: {outcome.report}", highlight=False, soft_wrap=True)


@app.command()
def sync(as_of: AsOf = None, lake: Lake = None) -> None:
    """Copy histories from the lake to the serving store and fit the recommender's purchase rates."""
    with refusals(console), share_bar(console, "sync") as progress:
        sync_serving(_settings(lake), default_spec(), as_of or _now(), progress)


@app.command()
def score(as_of: AsOf = None, lake: Lake = None) -> None:
    """Score all customers for every product in service: a table per product, and what the service shows."""
    with refusals(console):
        settings = _settings(lake)
        with share_bar(console, "score") as progress:
            summaries = score_all(settings, default_spec(), as_of or _now(), progress)
        console.print(render.score_table(summaries))
        console.print(f"tables in {settings.lake / 'scores'}")


@app.command()
def quote(
    request: Annotated[Path, typer.Argument(help="JSON file with the request, - for standard input.")],
    clock: ClockStart = None,
    lake: Lake = None,
) -> None:
    """Price one risk as the service would, store the quote and draw its ladder."""
    with refusals(console):
        text = sys.stdin.read() if str(request) == "-" else request.read_text(encoding="utf-8")
        wanted = _read_request(text, str(request))
        console.print(
            render.quote_panel(asyncio.run(quote_and_close(open_service(_settings(lake, clock)), wanted)))
        )


@app.command()
def recommend(
    customer: Annotated[int, typer.Argument(min=0, max=LARGEST_INTEGER, help="Customer id.")],
    k: Annotated[int, typer.Option(min=1, max=50)] = 3,
    clock: ClockStart = None,
    lake: Lake = None,
) -> None:
    """Rank the products that suit a customer."""
    with refusals(console), closing(open_service(_settings(lake, clock))) as service:
        found = service.recommend(RecommendationRequest(customer_id=customer, k=k))
        console.print(render.recommendation_table(found))


@app.command()
def portfolio(
    product: Annotated[str, typer.Argument(help="Product code.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    as_of: AsOf = None,
    lake: Lake = None,
) -> None:
    """Write the policies in force of a product, ready to be repriced."""
    with refusals(console):
        settings = _settings(lake)
        rows = portfolio_in_force(settings, find_product(settings, product), as_of or _now(), out)
        console.print(f"{rows:,} policies in force written to {out}")


@app.command()
def reprice(
    portfolio: Annotated[Path, typer.Argument(help="File of policies or risks (parquet, CSV).")],
    out: Annotated[Path, typer.Option(help="Folder of the result.")],
    as_of: AsOf = None,
    lake: Lake = None,
) -> None:
    """Price every row of a portfolio with the models and plans in service."""
    with refusals(console):
        settings, spec = _settings(lake), default_spec()
        moment = as_of or _now()
        services, out_of_service = load_services(settings, spec, moment.date())
        for code, why in out_of_service.items():
            console.print(f"[yellow]{code} is not in service:[/] {why}")
        services = with_challengers(services, Registry(settings.registry))
        withdrawn = withdrawn_consents(settings, spec)
        with (
            portfolio_file(portfolio, read_products(settings.products).values()) as rows,
            count_bar(console, "reprice") as progress,
            connect(settings.lake) as con,
        ):
            summary = reprice_portfolio(
                rows,
                out,
                services,
                spec,
                con,
                moment,
                lake=settings.lake,
                withdrawn=withdrawn,
                tests=open_price_tests(settings),
                progress=progress,
            )
        console.print(render.reprice_table(summary))
        console.print(f"prices and manifest in {out}")


@app.command()
def serve(
    clock: ClockStart = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error (default: PREMIA_LOG_LEVEL).")
    ] = None,
    lake: Lake = None,
) -> None:
    """Serve quotes over HTTP."""
    with refusals(console):
        settings = _settings(lake, clock, log_level)
        with logging_to(level=settings.log_level, style=settings.log_format):
            service_app = create_app(lambda: open_service(settings), settings)
            build_server(service_app, settings).run()


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the service."""
    settings = _settings()
    typer.echo(json.dumps(create_app(lambda: open_service(settings)).openapi(), indent=2))


@app.command()
def demo(
    customers: Annotated[int, typer.Option(help="Size of the simulated insurer.")] = 150_000,
    pictures: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo-output"),
) -> None:
    """Walk the whole path: simulate, train, compare, quote, recommend, reprice."""
    with refusals(console):
        run_demo(console, _settings(), customers, pictures)


app.command("optimise")(optimise)
app.command("promote")(promote)
app.command("challenge")(challenge)
app.command("compare")(compare)
app.command("replay")(replay)
app.command("history")(history)
app.command("quality")(quality)
app.command("erase")(erase)
app.command("profile")(profile)
app.command("tune")(tune)
app.command("card")(card)
app.command("fairness")(fairness)
app.command("filing")(filing)
app.command("impact")(impact)
app.command("propensity")(propensity)
app.command("actions")(actions)


def main() -> None:
    """Enter the command line."""
    app()
