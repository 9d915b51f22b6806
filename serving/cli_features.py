"""The commands `premia features`: what the features are, one of them, and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from features.describe import facts, lineage
from features.errors import UnknownEntity
from features.load import default_spec, load_spec
from serving.console import refusals

if TYPE_CHECKING:
    from features.describe import Lineage
    from features.spec import FeatureSpec

app = typer.Typer(no_args_is_help=True, help="The definitions of the features.")
console = Console()

Name = Annotated[str, typer.Argument(help="Name of a feature.")]
Definitions = Annotated[
    Path | None,
    typer.Option(
        "--definitions", exists=True, dir_okay=False, help="File of definitions (default: the shipped one)."
    ),
]


def _spec(path: Path | None) -> FeatureSpec:
    return default_spec() if path is None else load_spec(path)


@app.command("list")
def list_features(
    entity: Annotated[str | None, typer.Option(help="Only the features of this entity.")] = None,
    definitions: Definitions = None,
) -> None:
    """List the features with unit and meaning."""
    with refusals(console):
        spec = _spec(definitions)
        if entity is not None and entity not in spec.entity:
            raise UnknownEntity(entity, spec.entity)
        names = [name for name in spec.names if entity in {None, spec.entity_of(name).name}]
        table = Table(title=f"{len(names)} features", title_justify="left")
        for heading in ("feature", "entity", "unit", "description", "说明"):
            table.add_column(heading, overflow="fold", no_wrap=heading in {"feature", "unit"})
        for name in names:
            item = spec.get(name)
            cells = (name, spec.entity_of(name).name, item.unit)
            table.add_row(*map(escape, (*cells, item.description.en, item.description.zh)))
        console.print(table)


@app.command()
def describe(name: Name, definitions: Definitions = None) -> None:
    """Describe one feature: meaning, formula, unit, owner, privacy class, purpose of use, hash."""
    with refusals(console):
        spec = _spec(definitions)
        item = spec.get(name)
        table = Table(title=escape(name), title_justify="left", show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for heading, value in {
            "description": item.description.en,
            "说明": item.description.zh,
            **facts(spec, name),
        }.items():
            table.add_row(heading, escape(value))
        console.print(table)


@app.command("lineage")
def show_lineage(name: Name, definitions: Definitions = None) -> None:
    """Trace a feature down to the columns of tables."""
    with refusals(console):
        found = lineage(_spec(definitions), name)
        tree = Tree(_node(found))
        _grow(tree, found)
        console.print(tree)


def _node(item: Lineage) -> str:
    return f"[bold]{escape(item.name)}[/]" + (f" = {escape(item.formula)}" if item.formula else "")


def _grow(tree: Tree, item: Lineage) -> None:
    for part in item.inputs:
        _grow(tree.add(_node(part)), part)
