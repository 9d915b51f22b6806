"""Commands on price tests: how they stand, approve, stop, freeze shares, audit."""

from __future__ import annotations

from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.price_test_picture import price_test_figure
from pricing.plan import MILLION
from serving.clock import wall_clock
from serving.console import refusals
from serving.price_test_jobs import approve_test, audit_test, freeze_shares, stop_test, watch
from serving.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Price tests: status, approve, stop, freeze, audit.")
console = Console()

_Name = Annotated[str, typer.Argument(help="Name of the test, as its file says.")]
_By = Annotated[str, typer.Option(help="Who does it, for the record.")]
_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of tables and models.")]
_At = Annotated[datetime | None, typer.Option("--as-of", help="UTC time; nothing later is looked at.")]


@app.command()
def approve(
    name: _Name,
    by: Annotated[str, typer.Option(help="Who approves; not the author.")],
    lake: _Lake = None,
) -> None:
    """Let a test run from its first day on, when it can tell what it is made to tell."""
    with refusals(console):
        settings = _settings(lake)
        found = approve_test(settings, name, by, _now(settings))
        console.print(f"price test {name} is {found.state} by {found.who}", highlight=False)


@app.command()
def status(
    name: _Name,
    out: Annotated[Path | None, typer.Option(help="Folder for the table and the picture.")] = None,
    as_of: _At = None,
    lake: _Lake = None,
) -> None:
    """Show what the cells have brought so far; a stop rule that is met stops the test."""
    with refusals(console):
        settings = _settings(lake)
        found = watch(settings, name, as_of or _now(settings))
        stop = found.test.stop
        table = Table(title=f"{name}: {found.state.state}, {stop.measure} against the holdout")
        for heading in found.frame.columns:
            table.add_column(heading, justify="right")
        for line in found.frame.itertuples(index=False):
            table.add_row(*(f"{value:,.4g}" if isfinite(value) else "-" for value in line))
        console.print(table)
        for reason in found.state.reasons or found.reasons:
            console.print(f"[yellow]stopped:[/] {escape(reason)}", highlight=False)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            found.frame.to_csv(out / f"{name}.csv")
            figure = price_test_figure(found.frame, name, stop.measure, stop.largest_loss)
            figure.savefig(out / f"{name}.png", dpi=110)
            console.print(f"table and picture in {out}")


@app.command()
def stop(
    name: _Name,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    by: _By,
    lake: _Lake = None,
) -> None:
    """End a test: from now on every quote has the price without it."""
    with refusals(console):
        settings = _settings(lake)
        found = stop_test(settings, name, reason, by, _now(settings))
        console.print(f"price test {name} is {found.state} by {found.who}", highlight=False)


@app.command()
def freeze(
    name: _Name,
    by: _By,
    method: Annotated[Literal["beta", "logistic"], typer.Option(help="How shares are learned.")] = "logistic",
    as_of: _At = None,
    lake: _Lake = None,
) -> None:
    """Learn the shares of the next batch (Thompson sampling between the filed cells) and freeze them."""
    with refusals(console):
        settings = _settings(lake)
        shares = freeze_shares(settings, name, method, by, as_of or _now(settings))
        shown = ", ".join(
            f"{multiplier / MILLION:.2f}: {share / MILLION:.1%}"
            for multiplier, share in zip(shares.multipliers, shares.shares, strict=True)
        )
        console.print(f"version {shares.version} of the shares of {name}: {shown}", highlight=False)


@app.command()
def audit(name: _Name, lake: _Lake = None) -> None:
    """Assign every stored quote anew and hold it against what was logged and shown; exit 1 on a fault."""
    with refusals(console):
        found = audit_test(_settings(lake), name)
        console.print(
            f"{name}: versions of the shares {found.versions}, quotes that took part {found.quotes:,}, "
            f"that did not {found.left_out:,}, faults {len(found.faults)}",
            highlight=False,
        )
        for fault in found.faults[:20]:
            console.print(f"[bold red]fault[/] {escape(fault)}", highlight=False, soft_wrap=True)
        if found.faults:
            raise typer.Exit(1)


def _now(settings: Settings) -> datetime:
    return wall_clock(settings.clock)()


def _settings(lake: Path | None) -> Settings:
    return Settings() if lake is None else Settings(lake=lake)
