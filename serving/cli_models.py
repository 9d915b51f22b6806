"""Commands on registered models: put into service, compare, what priced when."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from features.load import default_spec
from models.registry import Registry
from serving import render
from serving.clock import wall_clock
from serving.compose import find_product
from serving.console import refusals, share_bar
from serving.model_jobs import compare_versions, promote_model
from serving.settings import Settings

console = Console()

_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of models (default: PREMIA_LAKE).")]
_AsOf = Annotated[datetime | None, typer.Option(help="UTC time; nothing later is looked at.")]
_At = Annotated[datetime | None, typer.Option(help="UTC time; what priced then. All times when absent.")]
_Product = Annotated[str, typer.Argument(help="Product code.")]


def promote(
    product: _Product,
    version: Annotated[int, typer.Argument(help="Version in the registry.")],
    by: Annotated[str, typer.Option(help="Who approves; not who trained it.")],
    lake: _Lake = None,
) -> None:
    """Let a registered model price from now on, when it meets the thresholds and a second person approves."""
    with refusals(console):
        settings = _settings(lake)
        console.print(promote_model(find_product(settings, product), version, by, settings), highlight=False)


def compare(
    product: _Product,
    data: Annotated[
        Path | None, typer.Option(help="Table (parquet, CSV) whose test rows judge; default: the lake.")
    ] = None,
    versions: Annotated[
        list[int] | None, typer.Option("--version", help="Version to compare; default: the last four.")
    ] = None,
    out: Annotated[Path, typer.Option(help="HTML file of the report.")] = Path("comparison.html"),
    as_of: _AsOf = None,
    lake: _Lake = None,
) -> None:
    """Compare registered versions with the one in service, and hold them anew against the thresholds."""
    with refusals(console):
        settings = _settings(lake)
        moment = as_of or wall_clock(settings.clock)()
        with share_bar(console, f"compare {product}") as progress:
            found = compare_versions(
                find_product(settings, product),
                settings,
                default_spec(),
                versions=[str(number) for number in versions or ()],
                data=data,
                as_of=moment,
                out=out,
                progress=progress,
            )
        console.print(render.comparison_table(product, found.judged.comparison, ""))
        for name, decision in found.decisions.items():
            console.print(render.decision_table(f"{product} {name}", decision))
        for name, why in found.left_out.items():
            console.print(f"version {name} is left out: {why}", markup=False)
        console.print(f"report in {out}", highlight=False)


def history(
    product: _Product,
    at: _At = None,
    lake: _Lake = None,
) -> None:
    """Say which model, tables and plan priced, since when, until when, and who approved."""
    with refusals(console):
        moment = datetime.max if at is None else at.replace(tzinfo=None)
        periods, when = Registry(_settings(lake).registry).plans.periods(product), "yet"
        if at is not None:
            when = f"at {at:%Y-%m-%d %H:%M}"
            periods = [
                one for one in periods if one.since <= moment and (one.until is None or moment < one.until)
            ]
        if not periods:
            console.print(f"nothing priced {product} {when}", highlight=False)
            raise typer.Exit(1)
        console.print(render.history_table(product, periods))
        tried = [
            one
            for one in Registry(_settings(lake).registry).challenges.periods(product)
            if at is None or (one.since <= moment and (one.until is None or moment < one.until))
        ]
        if tried:
            console.print(render.challenges_table(product, tried))


def _settings(lake: Path | None) -> Settings:
    return Settings() if lake is None else Settings(lake=lake)
