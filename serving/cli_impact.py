"""The command that measures the impact of new prices before they are released."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from data.store import connect
from features.load import default_spec
from serving import render
from serving.clock import wall_clock
from serving.compose import find_product, read_products
from serving.console import count_bar, refusals
from serving.impact import PAGE, measure_impact
from serving.impact_demand import find_demand
from serving.impact_pairs import Book
from serving.jobs import withdrawn_consents
from serving.portfolio_file import portfolio_file
from serving.reprice import portfolio_products
from serving.settings import Settings
from serving.sides import FORMS, open_sides

console = Console()

_Demand = Annotated[
    str | None,
    typer.Option(
        help="Price tests of the `lake`, a table with accepted and price_multiplier, or a model (.json)."
    ),
]
_Renewal = Annotated[
    bool, typer.Option("--renewal", help="Multipliers of the table are new over last premium.")
]
_AsOf = Annotated[datetime | None, typer.Option(help="UTC time; only what was known strictly before counts.")]
_Lake = Annotated[
    Path | None, typer.Option("--lake", help="Folder of tables and models (default: PREMIA_LAKE).")
]


def impact(
    old: Annotated[str, typer.Argument(help=f"What prices now: {FORMS}.")],
    new: Annotated[str, typer.Argument(help="What shall price; the same forms.")],
    portfolio: Annotated[
        Path, typer.Argument(help="File of policies (parquet, CSV), as for premia reprice.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the page and the table.")],
    demand: _Demand = None,
    renewal: _Renewal = False,
    as_of: _AsOf = None,
    lake: _Lake = None,
) -> None:
    """Price a portfolio by old and new models and plans: who moves how far, and what it is due to."""
    with refusals(console):
        settings, spec = Settings() if lake is None else Settings(lake=lake), default_spec()
        moment = as_of or wall_clock(settings.clock)()
        withdrawn = withdrawn_consents(settings, spec)
        with (
            portfolio_file(portfolio, read_products(settings.products).values()) as rows,
            connect(settings.lake) as con,
        ):
            code, before, after = open_sides(old, new, portfolio_products(rows), settings, spec, moment)
            service = after.service or before.service
            product = service.product if service else find_product(settings, code)
            known = None
            if demand is not None:
                with console.status(f"demand from {demand}"):
                    known = find_demand(demand, product, con, renewal=renewal)
            book = Book(product, rows, spec, con, moment, settings.lake, withdrawn)
            with count_bar(console, "impact") as progress:
                found = measure_impact(book, before, after, out, demand=known, progress=progress)
        console.print(render.impact_table(found, product))
        verdict = None if known is None else known.verdict
        console.print(render.demand_sentence(found, verdict), highlight=False)
        console.print(f"page {out / PAGE}, table and manifest in {out}", highlight=False, soft_wrap=True)
