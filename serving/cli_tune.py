"""The command that searches settings of model families."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads it at run time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.load import default_spec
from models.families import FitSettings
from models.tuned import read_tuned, tuned_path, write_tuned
from pricing.product import read_product
from serving.console import refusals, share_bar
from serving.jobs import tune_product
from serving.settings import Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.tuned import TunedSettings

console = Console()


def tune(
    product: Annotated[Path, typer.Argument(help="Product file (TOML).")],
    data: Annotated[
        Path | None, typer.Option(help="Training table (parquet, CSV); default: the lake.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.01, help="Time for all families together, earlier runs included.")
    ] = 10.0,
    family: Annotated[
        list[str] | None, typer.Option("--family", help="Families to tune; default: all of the product.")
    ] = None,
    component: Annotated[
        list[str] | None, typer.Option("--component", help="Components to tune; default: all.")
    ] = None,
    members: Annotated[
        int, typer.Option(min=1, max=1000, help="GA2Ms that a tuned ensemble averages.")
    ] = FitSettings.members,
    learning_rate: Annotated[
        float,
        typer.Option(min=0.001, max=1.0, help="Learning rate of the search; half of it is tried at the end."),
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of folds, sampler and fits.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads; idle cores only.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Settings file; default: settings/<code>.toml beside the product file."),
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", help="UTC time; only what was known strictly before counts. Default: now."),
    ] = None,
    lake: Annotated[
        Path | None, typer.Option("--lake", help="Folder of tables and trials (default: PREMIA_LAKE).")
    ] = None,
) -> None:
    """Search settings by cross-validation on the learn rows; killed and run again, it goes on."""
    with refusals(console):
        declared = read_product(product)
        settings = Settings() if lake is None else Settings(lake=lake)
        fit = FitSettings(
            seed=seed, threads=threads, members=members, learning_rate=learning_rate, rounds=20_000
        )
        path = out or tuned_path(product, declared.code)
        earlier = read_tuned(path) if path.exists() else None
        if earlier is not None:
            earlier.check_made_for(declared)
        with share_bar(console, f"tune {declared.code}") as progress:
            tuned = tune_product(
                declared,
                settings,
                default_spec(),
                fit,
                seconds=60 * minutes,
                seed=seed,
                families=family,
                components=component,
                data=data,
                as_of=as_of or datetime.now(UTC).replace(tzinfo=None),
                progress=progress,
                earlier=earlier,
            )
        write_tuned(path, tuned)
        console.print(_drawn(tuned))
        console.print(f"settings in {path}")


def _drawn(tuned: TunedSettings) -> RenderableType:
    table = Table(title=f"{tuned.product}: mean loss of the folds")
    for heading in ("component", "family", "before", "tuned", "trials", "chosen"):
        table.add_column(heading, justify="right" if heading in {"before", "tuned", "trials"} else "left")
    for component in ("probability", "frequency", "severity", "pure_premium"):
        for family, found in getattr(tuned, component).items():
            chosen = found.model_dump(exclude={"record"}, exclude_none=True)
            table.add_row(
                component,
                family,
                f"{found.record['loss_before']:.6f}",
                f"{found.record['loss']:.6f}",
                f"{found.record['trials']}",
                ", ".join(f"{name} {value:g}" for name, value in chosen.items()),
            )
    return table
