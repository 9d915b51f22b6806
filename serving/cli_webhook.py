"""Commands for webhooks: who is told of what becomes of quotes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from serving.clock import to_micros, wall_clock
from serving.console import refusals
from serving.records import SyncRecords, open_sync_records
from serving.settings import Settings
from serving.webhooks.events import EVENTS
from serving.webhooks.outbox import list_webhooks, subscribe, unsubscribe
from serving.webhooks.outbox import replay as send_again

app = typer.Typer(no_args_is_help=True, help="Webhooks: tell channels what became of their quotes.")
console = Console()

Lake = Annotated[
    Path | None, typer.Option("--lake", help="Folder of tables, models and quotes (default: PREMIA_LAKE).")
]
Id = Annotated[str, typer.Argument(help="Id of the webhook, as `premia webhook list` shows it.")]


def _open(lake: Path | None) -> tuple[SyncRecords, int]:
    settings = Settings() if lake is None else Settings(lake=lake)
    return open_sync_records(settings), to_micros(wall_clock(settings.clock)())


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="https://..., or http:// to this machine.")],
    channel: Annotated[str | None, typer.Option(help="Whose quotes; default: all channels.")] = None,
    event: Annotated[
        list[str] | None, typer.Option(help=f"May be repeated; default: all of {', '.join(EVENTS)}.")
    ] = None,
    lake: Lake = None,
) -> None:
    """Tell a receiver of events from now on; the secret is shown once."""
    with refusals(console):
        records, now = _open(lake)
        with closing(records):
            webhook_id, secret = records.database.write_now(
                lambda found: subscribe(found, records.vault, url, channel, event or (), now)
            )
        console.print(f"webhook {webhook_id}", highlight=False)
        console.print(f"secret  {secret}", highlight=False, soft_wrap=True)


@app.command("list")
def show(lake: Lake = None) -> None:
    """Show who is told, and what is pending or was given up."""
    with refusals(console):
        records, _ = _open(lake)
        with closing(records):
            found = records.database.read_now(list_webhooks)
        table = Table("webhook", "channel", "url", "events", "pending", "delivered", "dead")
        for hook, counts in found:
            states = [f"{counts.get(state, 0):,}" for state in ("pending", "delivered", "dead")]
            events = "all" if hook.events == EVENTS else " ".join(hook.events)
            table.add_row(hook.webhook_id, hook.channel or "all", hook.url, events, *states)
        console.print(table)


@app.command()
def remove(webhook: Id, lake: Lake = None) -> None:
    """Tell a receiver of nothing more; what was not delivered is kept."""
    with refusals(console):
        records, now = _open(lake)
        with closing(records):
            records.database.write_now(lambda found: unsubscribe(found, webhook, now))
        console.print(f"webhook {webhook} is told of nothing more", highlight=False)


@app.command()
def replay(
    webhook: Id,
    event: Annotated[
        str | None, typer.Option(help="Id of one event; default: all that were given up.")
    ] = None,
    lake: Lake = None,
) -> None:
    """Send an event again, or all that were given up; a running service does it within a second."""
    with refusals(console):
        records, now = _open(lake)
        with closing(records):
            count = records.database.write_now(lambda found: send_again(found, webhook, event, now))
        console.print(f"{count:,} to be sent again")
