"""The command that recomputes a stored quote."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.registry import Registry
from serving import render
from serving.console import refusals
from serving.errors import UnknownQuoteError
from serving.records import has_records, open_sync_records
from serving.replay import replay as replay_quote
from serving.settings import Settings

console = Console()

_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of models and quotes.")]


def replay(
    quote_id: Annotated[str, typer.Argument(help="Id of a stored quote.")],
    lake: _Lake = None,
) -> None:
    """Recompute a stored quote with the plan, product file and model of its time; exit 1 when it differs."""
    with refusals(console):
        settings = Settings() if lake is None else Settings(lake=lake)
        if not has_records(settings):
            raise UnknownQuoteError(f"no quote has the id {quote_id!r}: {settings.quotes} is missing")
        with closing(open_sync_records(settings)) as store:
            found = replay_quote(quote_id, store, Registry(settings.registry))
        console.print(render.replay_table(found))
        first = found.first_difference
        if first is not None:
            console.print(
                f"first difference: {first.name} is {first.stored} on record, {first.recomputed} recomputed",
                highlight=False,
                markup=False,
            )
        if found.seal == "changed":
            console.print("the record was changed after it was stored: it does not fit its seal")
        if first is not None or found.seal == "changed":
            raise typer.Exit(1)
        console.print("equal to the last minor unit")
