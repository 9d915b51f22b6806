"""Commands on tariffs: out to a file that people edit, back as a version, differences, distillation."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from features.load import default_spec
from models.tariff.distil import Distilling
from models.tariff.figures import draw_tariff
from models.tariff.files import write_tariff
from models.tariff.proposal import named_bases
from serving.console import refusals
from serving.render import decision_table
from serving.settings import Settings
from serving.tariff_jobs import Desk, compare_tariffs, distil_tariff, export_tariff, import_tariff

if TYPE_CHECKING:
    from models.tariff.fidelity import Fidelity
    from models.tariff.tariff import Tariff

app = typer.Typer(no_args_is_help=True, help="Tariffs: export, import, diff, distil.")
console = Console()

Product = Annotated[str, typer.Argument(help="Product code.")]
Version = Annotated[int, typer.Option(min=1, help="Version in the registry.")]
Family = Annotated[str | None, typer.Option(help="Another family of the same training.")]
Out = Annotated[Path, typer.Option(help="File to write: .xlsx, .csv or .json.")]
Data = Annotated[Path | None, typer.Option(help="Table of policies (parquet, CSV); default: the lake.")]
AsOf = Annotated[datetime | None, typer.Option("--as-of", help="UTC time; nothing later is looked at.")]
Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of tables and models.")]
Pictures = Annotated[Path | None, typer.Option(help="Folder for a picture per table.")]
MOST_SENTENCES, MOST_PAIRS = 40, 10
SELDOM = (
    "An edit seldom gains on what it edits: a product file that shall let it pass says, before the model is "
    "trained, what may be lost (promotion.champion.least_gain below zero)."
)


@app.command("export")
def export(
    product: Product,
    version: Version,
    out: Out,
    family: Family = None,
    base: Annotated[list[str] | None, typer.Option(help="Base level, as input=level.")] = None,
    pictures: Pictures = None,
    data: Data = None,
    as_of: AsOf = None,
    lake: Lake = None,
) -> None:
    """Write the tariff of a registered model to a file that people read and edit."""
    with refusals(console):
        desk = _desk(data, as_of, lake)
        tariff = export_tariff(desk, product, str(version), family, named_bases(base or []))
        _write(tariff, out, pictures)


@app.command("import")
def bring_back(
    file: Annotated[Path, typer.Argument(help="File as exported, edited or not.")],
    editor: Annotated[str, typer.Option(help="Who edited it; stands in every changed cell.")],
    data: Data = None,
    as_of: AsOf = None,
    lake: Lake = None,
) -> None:
    """Register an edited tariff as a version that can be compared, promoted and served."""
    with refusals(console):
        found = import_tariff(_desk(data, as_of, lake), file, editor)
        _say(found.difference.sentences())
        _say([str(record) for record in found.tariff.records])
        code, parent = found.tariff.product, found.tariff.source.version or "none"
        console.print(decision_table(f"{code} version {found.version}", found.decision))
        console.print(
            f"{code} version {found.version} (tariff), parent version {parent}; it does not price until "
            f"somebody else than {editor} promotes it: premia promote {code} {found.version} --by NAME",
            markup=False,
            highlight=False,
        )
        if any(rule.finding == "undecided" and rule.champion is not None for rule in found.decision.rules):
            console.print(SELDOM, markup=False, highlight=False)


@app.command("diff")
def show_diff(
    before: Annotated[Path, typer.Argument(help="Tariff file.")],
    after: Annotated[
        Path | None, typer.Argument(help="Tariff file; absent: the first as written against as edited.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file for all changes.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG file with the largest effects.")] = None,
    data: Data = None,
    as_of: AsOf = None,
    lake: Lake = None,
) -> None:
    """Say in plain words what changed between two tariffs, and what it does to the premium."""
    with refusals(console):
        found = compare_tariffs(_desk(data, as_of, lake), before, after)
        _say(found.sentences())
        if out is not None:
            found.frame.to_csv(out, index=False)
        if picture is not None:
            found.figure().savefig(picture, dpi=110, metadata={"Software": None})


@app.command("distil")
def distil(
    product: Product,
    version: Version,
    out: Out,
    family: Family = None,
    bands: Annotated[int, typer.Option(help="Most bands of a number.")] = Distilling.bands,
    pairs: Annotated[int, typer.Option(min=0, help="Two-way tables to add, the strongest.")] = 0,
    pictures: Pictures = None,
    data: Data = None,
    as_of: AsOf = None,
    lake: Lake = None,
) -> None:
    """Distil a registered model into a multiplicative tariff, and say how much of it is kept."""
    with refusals(console):
        settings = Distilling(bands=bands, strongest=pairs)
        tariff, kept = distil_tariff(_desk(data, as_of, lake), product, str(version), family, settings)
        for table in _fidelity(kept):
            console.print(table)
        _write(tariff, out, pictures)


def _desk(data: Path | None, as_of: datetime | None, lake: Path | None) -> Desk:
    settings = Settings() if lake is None else Settings(lake=lake)
    return Desk(settings, default_spec(), data, as_of or datetime.now(UTC).replace(tzinfo=None))


def _write(tariff: Tariff, out: Path, pictures: Path | None) -> None:
    path = write_tariff(tariff, out)
    tables = sum(len(component.tables) for component in tariff.components)
    console.print(f"{tables} tables of {tariff.product} written to {path}", highlight=False)
    if pictures is not None:
        console.print(f"{len(draw_tariff(tariff, pictures))} pictures in {pictures}", highlight=False)


def _say(sentences: list[str]) -> None:
    shown = sentences if len(sentences) <= MOST_SENTENCES else sentences[: MOST_SENTENCES - 1]
    for sentence in shown:
        console.print(sentence, markup=False, highlight=False)
    if len(shown) < len(sentences):
        console.print(f"and {len(sentences) - len(shown) - 1} smaller changes")
        console.print(sentences[-1], markup=False, highlight=False)


def _fidelity(kept: Fidelity) -> list[Table]:
    figures = Table(title="what the tariff keeps, test rows")
    figures.add_column("component")
    for name in kept.frame.columns:
        figures.add_column(name.replace("_", " "), justify="right")
    for component, line in kept.frame.iterrows():
        figures.add_row(escape(str(component)), *(f"{value:.4f}" if value == value else "" for value in line))
    lost = Table(title="interactions it does not have, strongest first")
    for name in ("component", "input", "input", "share of the difference", "largest cell"):
        lost.add_column(name)
    for line in kept.lost.sort_values("share", ascending=False).head(MOST_PAIRS).to_dict("records"):
        share, largest = f"{line['share']:.1%}", f"{line['largest']:.1%}"
        lost.add_row(str(line["component"]), str(line["input_1"]), str(line["input_2"]), share, largest)
    return [figures, lost]
