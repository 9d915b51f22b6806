"""Commands of governance: model card, fairness audit, filing pack."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from features.load import default_spec
from serving.clock import wall_clock
from serving.compose import find_product
from serving.console import refusals, share_bar
from serving.governance_jobs import audit_version, card_of, write_filing
from serving.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

console = Console()

_Product = Annotated[str, typer.Argument(help="Product code.")]
_Version = Annotated[int | None, typer.Option(help="Version in the registry; default: the one in service.")]
_Data = Annotated[Path | None, typer.Option(help="Table of policies (parquet, CSV); default: the lake.")]
_AsOf = Annotated[datetime | None, typer.Option("--as-of", help="UTC time; nothing later is looked at.")]
_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of tables and models.")]


def card(
    product: _Product,
    version: _Version = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write; default: the terminal.")] = None,
    lake: _Lake = None,
) -> None:
    """Print the model card: nine fields of EIOPA and what ASOP 56 adds."""
    with refusals(console):
        found = card_of(_settings(lake), product, version)
        if out is None:
            console.print(Markdown(found.markdown()))
        else:
            out.write_text(found.markdown(), encoding="utf-8")
            console.print(f"model card written to {out}")
        if found.gaps:
            console.print(f"[yellow]not stated:[/] {', '.join(found.gaps)} (docs/governance.md)")


def fairness(
    product: _Product,
    version: _Version = None,
    data: _Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for pictures and tables.")] = None,
    as_of: _AsOf = None,
    lake: _Lake = None,
) -> None:
    """Audit a model for fairness: proxies, premium at equal risk, discrimination-free price."""
    with refusals(console):
        settings = _settings(lake)
        with console.status(f"audit {product}"):
            audits = audit_version(
                settings, default_spec(), product, version, data, as_of or wall_clock(settings.clock)()
            )
        found = find_product(settings, product)
        for audit in audits:
            console.print(_frame(f"What gives {audit.attribute!r} away", audit.proxies.frame.head(8)))
            console.print(_frame(f"Premium by {audit.attribute!r}, minor units", audit.gap.frame.T))
            console.print(_frame("Best estimate, discrimination-free, charged", audit.prices.frame))
            findings = audit.findings(found)
            console.print("\n".join(findings) or f"{audit.attribute}: within the limits of the product file")
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
                for name, part in (("proxies", audit.proxies), ("premium", audit.gap)):
                    part.frame.to_csv(out / f"{name}_{audit.attribute}.csv")
                    part.figure().savefig(out / f"{name}_{audit.attribute}.png", dpi=110)
        if any(audit.findings(found) for audit in audits):
            raise typer.Exit(1)


def filing(
    product: _Product,
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist.")],
    version: _Version = None,
    against: Annotated[int | None, typer.Option(help="Version in force, for the rate disruption.")] = None,
    data: _Data = None,
    as_of: _AsOf = None,
    lake: _Lake = None,
) -> None:
    """Write the filing pack: card, tariff, lift, actual against expected, fairness, rate disruption."""
    with refusals(console):
        settings = _settings(lake)
        with share_bar(console, f"file {product}") as progress:
            paths = write_filing(
                settings,
                default_spec(),
                product,
                out,
                version=version,
                against=against,
                data=data,
                as_of=as_of or wall_clock(settings.clock)(),
                progress=progress,
            )
        console.print(f"{len(paths)} files in {out}; {paths[-1].name} holds a checksum of each")


def _frame(title: str, frame: pd.DataFrame) -> Table:
    table = Table(title=title)
    table.add_column(str(frame.index.name or ""))
    for name in frame.columns:
        table.add_column(str(name).replace("_", " "), justify="right")
    for index, row in frame.iterrows():
        table.add_row(str(index), *(f"{value:,.4g}" for value in row))
    return table


def _settings(lake: Path | None) -> Settings:
    return Settings() if lake is None else Settings(lake=lake)
