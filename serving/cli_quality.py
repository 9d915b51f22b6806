"""Commands on the quality of the data: the report, the verdict of an ingest, the erasure of a customer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data.contracts import contract
from data.quality import judge_latest, overall
from data.quality_report import write_quality_report
from data.runs import read_runs
from data.thresholds import load_thresholds
from features.load import default_spec
from serving.console import refusals
from serving.erase import erase_everywhere
from serving.settings import Settings
from serving.wire import LARGEST_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from data.quality import GateResult, Verdict

console = Console()

Limits = Annotated[
    Path | None, typer.Option("--thresholds", help="TOML file with the limits of the quality gates.")
]
Gate = Annotated[
    bool, typer.Option("--gate/--no-gate", help="Exit with status 1 when a gate fails; nothing is undone.")
]
_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of tables (default: PREMIA_LAKE).")]
_COLOURS = {"pass": "green", "insufficient history": "dim", "warn": "yellow", "fail": "bold red"}


def quality(
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("quality.html"),
    table: Annotated[str | None, typer.Option(help="Only this table.")] = None,
    thresholds: Limits = None,
    gate: Gate = False,
    lake: _Lake = None,
) -> None:
    """Write the data-quality report: gates, volume, missing values, quarantine, freshness."""
    with refusals(console):
        names = None if table is None else [contract(table).name]
        limits = load_thresholds(thresholds)
        found = write_quality_report(
            _root(lake), out, now=datetime.now(UTC).replace(tzinfo=None), tables=names, thresholds=limits
        )
        for item in found:
            console.print(f"[{_COLOURS[item.verdict]}]{item.verdict}[/] {item.table}")
        console.print(f"report in {out}", highlight=False)
    if gate and any(item.verdict == "fail" for item in found):
        raise typer.Exit(1)


def erase(
    customer: Annotated[int, typer.Argument(min=0, max=LARGEST_INTEGER, help="Customer id.")],
    lake: _Lake = None,
) -> None:
    """Erase a customer from the lake, its quarantine, its profiles and the serving store."""
    with refusals(console):
        settings = Settings() if lake is None else Settings(lake=lake)
        now = datetime.now(UTC).replace(tzinfo=None)
        report, elsewhere = erase_everywhere(settings, default_spec(), customer, now)
        for name, rows in {**report.removed, **elsewhere}.items():
            console.print(f"{rows:>10,}  {name}", highlight=False)
        if not report.removed:
            console.print(f"the lake holds no row of customer {customer}")
            return
        console.print(
            f"{report.files} files rewritten. Take the customer out of these inputs too, else their next "
            f"ingest brings the rows back: {', '.join(report.sources)}",
            markup=False,
            highlight=False,
        )


def show_gates(lake: Path, table: str, thresholds: Path | None, console: Console) -> Verdict:
    """Print what the gates say of the newest ingest of a table, and give the worst verdict."""
    judged = judge_latest(read_runs(lake, table), load_thresholds(thresholds)[table])
    results = judged[1] if judged else ()
    console.print(_gates(results))
    return overall(results)


def _gates(results: Sequence[GateResult]) -> RenderableType:
    """Draw the verdict: table gates always, gates of a column when they are not as usual."""
    verdict = overall(results)
    table = Table(title=f"quality gates: {verdict}", title_style=_COLOURS[verdict])
    for heading in ("gate", "of", "verdict", "finding", "what to do"):
        table.add_column(heading)
    for result in results:
        if result.subject == "rows" or result.gate == "freshness" or result.verdict in ("warn", "fail"):
            verdict_text = f"[{_COLOURS[result.verdict]}]{result.verdict}[/]"
            # A finding quotes texts of the data, which may look like markup.
            rest = (escape(result.finding), escape(result.advice))
            table.add_row(result.gate, result.subject, verdict_text, *rest)
    return table


def _root(lake: Path | None) -> Path:
    return Settings().lake if lake is None else Settings(lake=lake).lake
