"""The commands that fit the recommender and rank products for everybody."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.load import default_spec
from serving.console import refusals, share_bar
from serving.offer_jobs import fit_offer_model, write_offers
from serving.settings import Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.recommend import PropensityModel

console = Console()

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


def offers(
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
