"""Commands of access: API keys, and what was denied."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pricing.errors import nearest
from pricing.plan import read_plan
from serving.access.caller import SCOPES, Caller
from serving.access.denials import read_denials
from serving.access.keys import CHANNEL_SCOPES, create_key, find_key, read_keys, revoke_key, rotate_key
from serving.clock import wall_clock
from serving.compose import read_products
from serving.console import refusals
from serving.errors import AccessKeyError
from serving.records.keys import open_vault
from serving.records.store import open_database
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from serving.access.credentials import Credentials
    from serving.access.keys import AccessKey
    from serving.records.databases import Database

app = typer.Typer(no_args_is_help=True, help="API keys of sales channels, and what was denied.")
console = Console()

_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of keys and quotes.")]
_KeyId = Annotated[str, typer.Argument(help="Key id, the third part of the key.")]
_By = Annotated[str | None, typer.Option(help="Who does it, for the record; default: PREMIA_AUTHOR.")]
_Bare = Annotated[bool, typer.Option("--bare", help="Print the key and nothing else, for scripts.")]


@contextmanager
def keys_of(settings: Settings) -> Iterator[Database]:
    """Open the database of the keys."""
    database = open_database(settings, open_vault(settings))
    try:
        yield database
    finally:
        database.close_now()


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is called, for people.")],
    channel: Annotated[str | None, typer.Option(help="Sales channel, as the rating plans name it.")] = None,
    all_channels: Annotated[bool, typer.Option("--all-channels", help="An administrator's key.")] = False,
    sub_channel: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    product: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help=f"May be repeated; default: {', '.join(CHANNEL_SCOPES)}. All: {', '.join(SCOPES)}."
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence number of the channel.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the key is good.")] = 365,
    rate: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Requests a second; default: by settings.")
    ] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="For trial: quotes are marked.")] = False,
    by: _By = None,
    bare: _Bare = False,
    lake: _Lake = None,
) -> None:
    """Make a key and show it, once."""
    with refusals(console):
        settings = _settings(lake)
        if (channel is None) is not all_channels:
            raise AccessKeyError("name either --channel or --all-channels")
        if not name.strip() or len(name) > 128 or not name.isprintable():
            raise AccessKeyError(f"{name!r} is no name: 1 to 128 printable characters")
        _check_named("product", product or (), read_products(settings.products))
        _check_outlets(settings, channel, sub_channel or ())
        who = Caller(
            "",
            name.strip(),
            channel,
            scopes=frozenset(scope or CHANNEL_SCOPES),
            sub_channels=frozenset(sub_channel or ()),
            products=frozenset(product or ()),
            licence=licence,
            sandbox=sandbox,
        )
        with keys_of(settings) as database:
            made = database.write_now(
                lambda connection: create_key(
                    connection, who, timedelta(days=days), by or settings.user, _now(), rate
                )
            )
        _show_once(made, bare=bare)


@app.command("list")
def list_keys(lake: _Lake = None) -> None:
    """Show all keys."""
    with refusals(console):
        with keys_of(_settings(lake)) as database:
            keys = database.read_now(read_keys)
        table = Table(title="API keys")
        for heading in ("key id", "name", "channel", "scopes", "expires", "state"):
            table.add_column(heading, overflow="fold", no_wrap=heading in {"key id", "expires", "state"})
        for key in keys:
            who = key.caller
            table.add_row(
                who.key_id,
                who.name,
                who.channel or "(all)",
                " ".join(sorted(who.scopes)),
                f"{key.expires_at:%Y-%m-%d}",
                _state(key),
            )
        console.print(table)


@app.command()
def show(key_id: _KeyId, lake: _Lake = None) -> None:
    """Show one key with its limits and its life; the secret is stored nowhere."""
    with refusals(console):
        with keys_of(_settings(lake)) as database:
            key = database.read_now(lambda connection: find_key(connection, key_id))
        who = key.caller
        table = Table(title=f"key {who.key_id}", show_header=False)
        for what, value in (
            ("name", who.name),
            ("channel", who.channel or "(all)"),
            ("sub-channels", ", ".join(sorted(who.sub_channels)) or "(all)"),
            ("products", ", ".join(sorted(who.products)) or "(all)"),
            ("scopes", "\n".join(sorted(who.scopes))),
            ("licence", who.licence or "none: no compare, preview or recommend"),
            ("sandbox", "yes" if who.sandbox else "no"),
            ("requests a second", str(key.rate or "by settings")),
            ("state", _state(key)),
            ("created", _when(key.created_at, key.created_by)),
            ("expires", f"{key.expires_at:%Y-%m-%d %H:%M}"),
            ("secret", f"number {key.secret}, rotated {_when(key.rotated_at, key.rotated_by)}"),
            ("old secret good until", f"{key.overlap_until:%Y-%m-%d %H:%M}" if key.overlap_until else "-"),
            ("revoked", _when(key.revoked_at, key.revoked_by)),
        ):
            table.add_row(what, value)
        console.print(table, highlight=False, markup=False)


@app.command()
def rotate(
    key_id: _KeyId,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=720, help="How long the old secret is still good; 0: it has leaked.")
    ] = 24,
    by: _By = None,
    bare: _Bare = False,
    lake: _Lake = None,
) -> None:
    """Give a key a new secret and show it, once."""
    with refusals(console):
        settings = _settings(lake)
        with keys_of(settings) as database:
            made = database.write_now(
                lambda connection: rotate_key(
                    connection, key_id, timedelta(hours=overlap_hours), by or settings.user, _now()
                )
            )
        _show_once(made, bare=bare)


@app.command()
def revoke(key_id: _KeyId, by: _By = None, lake: _Lake = None) -> None:
    """End a key and its tokens, for good and within a second."""
    with refusals(console):
        settings = _settings(lake)
        with keys_of(settings) as database:
            key = database.write_now(
                lambda connection: revoke_key(connection, key_id, by or settings.user, _now())
            )
        console.print(f"key {key_id} ({key.caller.name}) is revoked", highlight=False, markup=False)


@app.command()
def denials(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many rows.")] = 50, lake: _Lake = None
) -> None:
    """Show what was denied, newest first."""
    with refusals(console):
        with keys_of(_settings(lake)) as database:
            found = database.read_now(lambda connection: read_denials(connection, limit))
        table = Table(title="denied")
        for heading in ("last", "times", "answer", "why", "key id", "address", "route", "request id"):
            table.add_column(heading, overflow="fold", no_wrap=heading in {"last", "key id"})
        for denial, count in found:
            table.add_row(
                f"{count.last:%Y-%m-%d %H:%M:%S}",
                f"{count.times:,}",
                str(denial.status),
                denial.why,
                denial.key_id or "-",
                _plain(denial.address),
                _plain(f"{denial.method} {denial.path}"),
                _plain(count.request_id),
            )
        console.print(table)


def _check_named(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    allowed = sorted(known)
    for name in names:
        if name not in allowed:
            hint = nearest(name, allowed)
            raise AccessKeyError(f"there is no {what} {name!r}; allowed: {', '.join(allowed)}. Hint: {hint}")


def _check_outlets(settings: Settings, channel: str | None, sub_channels: Iterable[str]) -> None:
    """Refuse a channel or sub-channel that no rating plan has terms for: its key could sell nothing."""
    outlets = {outlet for path in sorted(settings.plans.glob("*.toml")) for outlet in read_plan(path).outlets}
    if channel is not None:
        _check_named("channel", [channel], {known for known, _ in outlets})
    named = {sub for known, sub in outlets if sub is not None and channel in {None, known}}
    _check_named("sub-channel", sub_channels, named)


def _show_once(made: Credentials, *, bare: bool) -> None:
    if bare:
        typer.echo(made.text)
        return
    console.print("the key, shown only now:")
    console.print(made.text, highlight=False, markup=False, soft_wrap=True)
    console.print("send it as: Authorization: Bearer <key>", highlight=False, markup=False)


def _state(key: AccessKey) -> str:
    return (key.ended(_now()) or "good") + (" (trial)" if key.caller.sandbox else "")


def _when(moment: datetime | None, who: str | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M} by {who}"


def _plain(text: str) -> str:
    """Show text of a stranger without what steers a terminal."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text).replace("[", r"\[")


def _now() -> datetime:
    return wall_clock()()


def _settings(lake: Path | None) -> Settings:
    return Settings() if lake is None else Settings(lake=lake)
