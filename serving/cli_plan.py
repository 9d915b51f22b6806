"""Commands on rating plans: list, check, approve, activate, retire."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.console import refusals
from serving.plan_jobs import activate_plan, approve_plan, check_plans, list_plans, retire_plan
from serving.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Rating plans: list, check, approve, activate, retire.")
console = Console()

_Code = Annotated[str, typer.Argument(help="Code of the plan, the name of its file.")]
_By = Annotated[str, typer.Option(help="Who does it, for the record.")]
_Lake = Annotated[Path | None, typer.Option("--lake", help="Folder of models (default: PREMIA_LAKE).")]


@app.command("list")
def list_(
    product: Annotated[str | None, typer.Argument(help="Product code; all when absent.")] = None,
    lake: _Lake = None,
) -> None:
    """Show every version of every plan with its state, its days and who approved it."""
    with refusals(console):
        table = Table()
        for heading in ("product", "plan", "state", "from", "to", "hash", "approved", "note"):
            # A code, state or day that is cut off cannot be copied into the next command.
            whole = heading in {"plan", "state", "from"}
            cut = heading in {"product", "hash"}
            table.add_column(heading, no_wrap=whole, overflow="ellipsis" if cut else "fold")
        for line in list_plans(_settings(lake), product):
            table.add_row(
                line.product,
                f"{line.code} v{line.version}",
                line.state,
                str(line.effective_from or "not known"),
                str(line.effective_to or ""),
                line.hash[:12],
                escape(line.approver),
                line.note,
            )
        console.print(table)


@app.command("check")
def check(
    code: Annotated[str | None, typer.Argument(help="Code of the plan; all when absent.")] = None,
    lake: _Lake = None,
) -> None:
    """Hold plan files against the rules, their product files and what was approved; exit 1 on a fault."""
    with refusals(console):
        faults = check_plans(_settings(lake), code)
        for fault in faults:
            console.print(f"[bold red]fault[/] {escape(fault)}", highlight=False, soft_wrap=True)
        if faults:
            raise typer.Exit(1)
        console.print("no faults")


@app.command("approve")
def approve(code: _Code, by: _By, lake: _Lake = None) -> None:
    """Approve a draft as a second person; its file cannot be changed from then on."""
    with refusals(console):
        found = approve_plan(_settings(lake), code, by)
        console.print(f"plan {found.name} ({found.hash[:12]}) approved by {escape(found.approver)}")


@app.command("activate")
def activate(code: _Code, by: _By, lake: _Lake = None) -> None:
    """Let an approved plan price from its first day on."""
    with refusals(console):
        found = activate_plan(_settings(lake), code, by)
        console.print(
            f"plan {found.name} prices from {found.effective_from} on; activated by {escape(found.who)}"
        )


@app.command("retire")
def retire(code: _Code, by: _By, lake: _Lake = None) -> None:
    """End a plan; it never prices again, and its quotes can still be replayed."""
    with refusals(console):
        found = retire_plan(_settings(lake), code, by)
        console.print(f"plan {found.name} retired by {escape(found.who)}")


def _settings(lake: Path | None) -> Settings:
    return Settings() if lake is None else Settings(lake=lake)
