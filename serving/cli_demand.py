"""Commands on demand: fit it from a price test or renewals, and store it with its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data.store import connect
from models.demand import StoredDemand
from models.families import library_versions
from serving.compose import find_product
from serving.console import refusals
from serving.impact_demand import LAKE, learn_demand
from serving.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Demand models: fit.")
console = Console()


_Data = Annotated[
    Path | None,
    typer.Option(help="Table with the rating factors, accepted and price_multiplier; default: the lake."),
]


@app.command()
def fit(
    product: Annotated[str, typer.Argument(help="Product code.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    data: _Data = None,
    renewal: Annotated[
        bool, typer.Option("--renewal", help="Multipliers of the table are new over last premium.")
    ] = False,
    picture: Annotated[Path | None, typer.Option(help="PNG file for the slopes.")] = None,
    lake: Annotated[Path | None, typer.Option("--lake", help="Folder of tables.")] = None,
) -> None:
    """Fit acceptance by price from the price tests of the lake, or from a table, and judge its elasticity."""
    with refusals(console):
        settings = Settings() if lake is None else Settings(lake=lake)
        declared = find_product(settings, product)
        source = LAKE if data is None else data.name
        with console.status(f"demand of {product}"), connect(settings.lake) as con:
            found = learn_demand(source, declared, con, data, renewal=renewal)
        stored = StoredDemand(
            declared.code, declared.hash, found.source, found.model, found.verdict, library_versions()
        )
        stored.save(out)
        table = Table(title=f"{product}: slope of acceptance, {found.source}")
        for heading in found.verdict.slopes:
            table.add_column(heading, justify="right")
        table.add_row(*(f"{value:+.4f}" for value in found.verdict.slopes.values()))
        console.print(table)
        for reason in found.verdict.reasons:
            console.print(f"[yellow]not identified:[/] {escape(reason)}", highlight=False)
        if found.verdict.identified and not found.verdict.per_customer:
            console.print("differences between customers are not identified: group prices at most")
        if picture is not None and found.picture is not None:
            found.picture.savefig(picture, dpi=110)
        console.print(f"demand model in {out}", highlight=False)
