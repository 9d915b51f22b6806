"""The command that chooses prices of a portfolio under constraints."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data.store import connect
from features.load import default_spec
from models.demand import read_demand
from serving.clock import wall_clock
from serving.compose import load_services
from serving.console import refusals, share_bar
from serving.errors import UnknownProductError
from serving.jobs import withdrawn_consents
from serving.optimise_jobs import optimise_portfolio, read_optimise_spec, write_optimised
from serving.settings import Settings

console = Console()

_AsOf = Annotated[datetime | None, typer.Option("--as-of", help="UTC time; only what was known counts.")]
_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of tables and models.")]


def optimise(
    portfolio: Annotated[Path, typer.Argument(help="Parquet file of one product, as for premia reprice.")],
    constraints: Annotated[Path, typer.Argument(help="TOML file: mode, ladder, constraints, frontier.")],
    demand: Annotated[Path, typer.Option(help="Demand model of premia demand fit.")],
    out: Annotated[Path, typer.Option(help="Folder of the result.")],
    as_of: _AsOf = None,
    lake: _Lake = None,
) -> None:
    """Choose a multiplier of each price under constraints: certificate, shadow prices, frontier, policy."""
    with refusals(console):
        settings, spec = Settings() if lake is None else Settings(lake=lake), default_spec()
        wanted, known = read_optimise_spec(constraints), read_demand(demand)
        moment = as_of or wall_clock(settings.clock)()
        services, why = load_services(settings, spec, moment.date())
        if known.product not in services:
            raise UnknownProductError(known.product, services, why.get(known.product))
        with share_bar(console, f"optimise {known.product}") as progress, connect(settings.lake) as con:
            found = optimise_portfolio(
                portfolio,
                services[known.product],
                known,
                wanted,
                spec,
                con,
                moment,
                lake=settings.lake,
                withdrawn=withdrawn_consents(settings, spec),
                progress=progress,
            )
        name = f"{known.product}-{moment:%Y%m%d}"
        path, checksum = write_optimised(found, out, name)
        chosen, base = found.chosen, found.cost_only
        table = Table(
            title=f"{chosen.mode}: profit {chosen.profit / abs(base.profit):.4f} of that by cost alone"
        )
        for heading in ("constraint", "to spare", "shadow price"):
            table.add_column(heading, justify="left" if heading == "constraint" else "right")
        for one, spare in chosen.slack.items():
            price = chosen.shadow_prices.get(one)
            table.add_row(escape(one), f"{spare:,.6g}", "" if price is None else f"{price:,.4g}")
        console.print(table)
        console.print(
            f"gap to the bound {chosen.gap:.2g}, {chosen.violations} constraints missed", highlight=False
        )
        console.print(
            f"{found.priced.left_out:,} rows without a price left out, "
            f"{int((~found.priced.known).sum()):,} kept their price by cost alone",
            highlight=False,
        )
        console.print(f"multipliers, certificate, frontier in {out}", highlight=False)
        if chosen.mode != "cost_only":
            console.print(
                f'the plan names it by\n\n[price_policy]\nfile = "{path.name}"\nsha256 = "{checksum}"\n'
                f'mode = "{chosen.mode}"',
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
