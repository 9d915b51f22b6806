"""Commands on the records: the chain of seals, and what is kept of one customer."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serving.console import count_bar, refusals
from serving.errors import StoreError
from serving.records import Head, has_records, open_sync_records
from serving.settings import Settings
from serving.wire import LARGEST_INTEGER

console = Console()
records = typer.Typer(
    no_args_is_help=True, help="Verify the record store, and show what it keeps of a customer."
)

_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of the records (default: PREMIA_LAKE).")]


@records.command()
def verify(
    head: Annotated[
        str | None, typer.Option(help="Head that was noted at an earlier time: NUMBER:SEAL.")
    ] = None,
    lake: _Lake = None,
) -> None:
    """Walk the whole chain of seals; exit 1 and name each row that was removed, changed or put in."""
    with refusals(console):
        noted = None if head is None else _read_head(head)
        with closing(open_sync_records(_settings(lake))) as store, count_bar(console, "verify") as progress:
            found = store.verify(noted, progress)
    for fault in found.faults:
        console.print(fault, markup=False, highlight=False)
    console.print(f"head {found.head}", highlight=False, soft_wrap=True)
    if found.faults:
        raise typer.Exit(1)
    console.print(
        f"{found.head.number:,} rows are what was stored. Note the head elsewhere.", highlight=False
    )


@records.command()
def customer(
    customer_id: Annotated[int, typer.Argument(min=0, max=LARGEST_INTEGER, help="Customer id.")],
    lake: _Lake = None,
) -> None:
    """Print every quote that is kept of a customer, with its steps, one JSON object a line."""
    with refusals(console), closing(open_sync_records(_settings(lake))) as store:
        for quote in store.of_customer(customer_id):
            steps = [
                {
                    "state": step.state,
                    "at": step.at.isoformat(),
                    "reason": step.reason,
                    "body": dict(step.body),
                }
                for step in store.steps(quote.quote_id)
            ]
            shown = {"quote_id": quote.quote_id, "created_at": quote.created_at.isoformat(), **quote.body}
            typer.echo(json.dumps(shown | {"steps": steps}, ensure_ascii=False))


def _read_head(text: str) -> Head:
    found = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text.strip())
    if found is None:
        raise StoreError(f"{text!r} is no head; allowed: NUMBER:SEAL as `premia records verify` prints it")
    return Head(int(found[1]), found[2])


def _settings(lake: Path | None) -> Settings:
    settings = Settings() if lake is None else Settings(lake=lake)
    if not has_records(settings):
        raise StoreError(f"there are no records: {settings.quotes} is missing")
    return settings
