"""The commands that fit the recommender and rank products for everybody."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from features.load import default_spec
from models.recommend.evaluation import MEASURES
from models.recommend.evaluation_picture import evaluation_figure
from serving.clock import wall_clock
from serving.console import refusals, share_bar
from serving.offer_evaluation import evaluate_offers, watch_offers
from serving.offer_jobs import fit_offer_model, write_actions, write_offers
from serving.offer_tests import open_offer_tests
from serving.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from models.recommend import PropensityModel
    from models.recommend.evaluation import Evaluation

app = typer.Typer(no_args_is_help=True, help="Offers: write them for everybody, evaluate, test.")
tests = typer.Typer(no_args_is_help=True, help="Tests of the ranker: approve, status, stop.")
app.add_typer(tests, name="test")
console = Console()

_Name = Annotated[str, typer.Argument(help="Name of the test, as its file says.")]

_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of tables (default: PREMIA_LAKE).")]
_AsOf = Annotated[
    datetime | None, typer.Option("--as-of", help="UTC time; nothing later is looked at. Default: now.")
]


def _settings(lake: Path | None) -> Settings:
    return Settings() if lake is None else Settings(lake=lake)


def _moment(as_of: datetime | None) -> datetime:
    return as_of or datetime.now(UTC).replace(tzinfo=None)


def propensity(as_of: _AsOf = None, lake: _Lake = None) -> None:
    """Fit how likely customers are to buy each product in a month; the service takes it up by itself."""
    with refusals(console):
        with share_bar(console, "propensity") as progress:
            model = fit_offer_model(_settings(lake), default_spec(), _moment(as_of), progress)
        console.print(propensity_table(model))


@app.command()
def write(
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    k: Annotated[int, typer.Option(min=1, max=50, help="Most offers a customer.")] = 3,
    as_of: _AsOf = None,
    lake: _Lake = None,
) -> None:
    """Rank products for all customers: a table of customer, rank, product and propensity."""
    with refusals(console):
        with share_bar(console, "offers") as progress:
            rows = write_offers(_settings(lake), default_spec(), _moment(as_of), k, out, progress)
        console.print(f"{rows:,} offers written to {out}")


@app.command()
def evaluate(
    candidate: Annotated[Path | None, typer.Option(help="Propensities (JSON) that have not served.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables and the pictures.")] = None,
    as_of: _AsOf = None,
    lake: _Lake = None,
) -> None:
    """Say what the ranker, popularity and a candidate are worth, from the offers that were shown."""
    with refusals(console):
        with console.status("offers evaluate"):
            found = evaluate_offers(_settings(lake), default_spec(), _moment(as_of), candidate)
        console.print(evaluation_table(found))
        for warning in found.warnings:
            console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            found.table.to_csv(out / "offers.csv", index=False)
            found.weights.to_csv(out / "weights.csv")
            for measure in MEASURES:
                evaluation_figure(found, measure).savefig(out / f"offers_{measure}.png", dpi=110)
            console.print(f"tables and pictures in {out}")


@tests.command()
def approve(
    name: _Name,
    by: Annotated[str, typer.Option(help="Who approves; not the author.")],
    lake: _Lake = None,
) -> None:
    """Let a test run from its first day on, when it can tell what it is made to tell."""
    with refusals(console):
        settings = _settings(lake)
        opened = open_offer_tests(settings)
        found = opened.log.approve(opened.find(name), by=by, at=_now(settings))
        console.print(f"offer test {name} is {found.state} by {found.who}", highlight=False)


@tests.command()
def status(name: _Name, as_of: _AsOf = None, lake: _Lake = None) -> None:
    """Show what the arms have brought so far; a stop rule that is met stops the test."""
    with refusals(console):
        settings = _settings(lake)
        found = watch_offers(settings, name, as_of or _now(settings))
        console.print(frame_table(f"{name}: {found.state.state}, {found.test.stop.measure}", found.arms))
        console.print(frame_table("intervals that hold at all moments", found.differences))
        for warning in found.warnings:
            console.print(f"[bold red]warning:[/] {escape(warning)}", highlight=False)
        for reason in found.state.reasons or found.reasons:
            console.print(f"[yellow]stopped:[/] {escape(reason)}", highlight=False)


@tests.command()
def stop(
    name: _Name,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    by: Annotated[str, typer.Option(help="Who does it, for the record.")],
    lake: _Lake = None,
) -> None:
    """End a test: from now on everybody sees the ranker's offers."""
    with refusals(console):
        settings = _settings(lake)
        opened = open_offer_tests(settings)
        found = opened.log.stop(opened.find(name), [reason], by=by, at=_now(settings))
        console.print(f"offer test {name} is {found.state} by {found.who}", highlight=False)


def _now(settings: Settings) -> datetime:
    return wall_clock(settings.clock)()


def evaluation_table(found: Evaluation) -> RenderableType:
    """Draw the values of rankings: take-up per 100 exposures, margin per 100 exposures in currency units."""
    shown = f"{found.exposures:,} exposures of {found.customers:,} customers"
    left = ", ".join(f"{why}: {count:,}" for why, count in found.left_out.items())
    table = Table(title=f"per 100 exposures, {shown}", caption=f"left out: {left}" if left else None)
    for heading in ("ranking", "measure", "IPS", "self-normalised", "doubly robust", "effective offers"):
        table.add_column(heading, justify="left" if heading in {"ranking", "measure"} else "right")
    for (name, measure), lines in found.table.groupby(["ranking", "measure"], sort=False):
        scale = 100.0 if measure == "take_up" else 1.0
        cells = [
            f"{scale * one.value:.3g} [{scale * one.low:.3g}, {scale * one.high:.3g}]"
            for one in lines.itertuples()
        ]
        table.add_row(str(name), str(measure), *cells, f"{found.weights.loc[name, 'effective']:,.0f}")
    return table


def frame_table(title: str, frame: pd.DataFrame) -> RenderableType:
    """Draw a small table of numbers."""
    table = Table(title=title)
    table.add_column(str(frame.index.name))
    for heading in frame.columns:
        table.add_column(str(heading), justify="right")
    for name, line in frame.iterrows():
        table.add_row(str(name), *(f"{value:,.4g}" for value in line))
    return table


def actions(
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    as_of: _AsOf = None,
    lake: _Lake = None,
) -> None:
    """Plan the next best action of all customers: channel and product, or nothing and why."""
    with refusals(console):
        rows = write_actions(_settings(lake), default_spec(), _moment(as_of), out)
        console.print(f"actions of {rows:,} customers written to {out}")


def propensity_table(model: PropensityModel) -> RenderableType:
    """Draw what was learned of each product."""
    table = Table(title=f"propensities as of {model.as_of}", caption=f"checksum {model.checksum[:12]}")
    for heading in ("product", "months open", "bought", "rate", "margin", "log loss", "ECE"):
        table.add_column(heading, justify="left" if heading == "product" else "right")
    for code, one in sorted(model.products.items()):
        margin = "" if one.margin_minor is None else f"{one.margin_minor / 100:,.2f}"
        judged = ("", "") if one.ece != one.ece else (f"{one.log_loss:.4f}", f"{one.ece:.4f}")  # noqa: PLR0124
        table.add_row(code, f"{one.months:,}", f"{one.bought:,}", f"{one.rate:.3%}", margin, *judged)
    return table
