"""The command that brings the profile tables of the lake to an as-of time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.load import default_spec
from features.refresh import MEMORY, refresh_profiles
from serving.console import refusals, share_bar
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from features.refresh import RefreshSummary

console = Console()

ENTITIES = ("customer", "seller")
_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of tables (default: PREMIA_LAKE).")]


def profile(
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", help="UTC time; only what was known strictly before counts. Default: now."),
    ] = None,
    entity: Annotated[
        list[str] | None, typer.Option("--entity", help="Whose profiles; may be given several times.")
    ] = None,
    memory: Annotated[str, typer.Option("--memory", help="Memory limit of the engine.")] = MEMORY,
    lake: _Lake = None,
) -> None:
    """Write the risk profiles of all customers and sellers, reading only what changed since the last run."""
    with refusals(console):
        root = (Settings() if lake is None else Settings(lake=lake)).lake
        moment = as_of or datetime.now(UTC).replace(tzinfo=None)
        done = []
        for name in entity or ENTITIES:
            with share_bar(console, f"profile {name}") as progress:
                done.append(
                    refresh_profiles(
                        root, default_spec(), None, name, moment, memory_limit=memory, progress=progress
                    )
                )
        console.print(_drawn(done))


def _drawn(done: Sequence[RefreshSummary]) -> RenderableType:
    table = Table(title="risk profiles")
    for heading in ("entity", "as of", "run", "rows", "changed", "looked up", "files read", "seconds"):
        table.add_column(heading, justify="left" if heading in {"entity", "as of", "run"} else "right")
    for item in done:
        run = f"{item.mode}: {item.reason}" if item.reason else item.mode
        counts = (f"{count:,}" for count in (item.rows, item.recomputed, item.looked_up))
        files = f"{item.files_read} of {item.files_total}"
        table.add_row(item.entity, str(item.as_of), run, *counts, files, f"{item.seconds:.1f}")
    return table
