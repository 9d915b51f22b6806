"""The command that tries a registered model beside the one in service."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it at run time
from typing import Annotated

import typer
from rich.console import Console

from serving import render
from serving.challenge_jobs import begin_challenge, challenge_status, stop_challenge
from serving.console import refusals
from serving.settings import Settings

console = Console()


def challenge(
    product: Annotated[str, typer.Argument(help="Product code.")],
    version: Annotated[int | None, typer.Argument(help="Version in the registry that is tried.")] = None,
    share: Annotated[
        float | None, typer.Option(help="Share of the customers whom it prices, at most 0.5.")
    ] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Score beside; price nobody.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End what is tried.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Compare the arms.")] = False,
    by: Annotated[str, typer.Option(help="Who does it; to begin, not who trained the version.")] = "",
    lake: Annotated[Path | None, typer.Option("--lake", help="Folder of models and quotes.")] = None,
) -> None:
    """Try a model beside the one in service: on a share of the customers, or as a shadow."""
    with refusals(console):
        settings = Settings() if lake is None else Settings(lake=lake)
        if sum((version is not None, stop, status)) != 1:
            raise typer.BadParameter("give a VERSION to try, --stop or --status")
        if status:
            found = challenge_status(settings, product)
            console.print(render.arms_table(product, found))
            low, high = found.interval
            if found.challenge.kind == "challenger":
                console.print(
                    f"accepted, challenger less champion: {found.difference:+.4f}, at every moment within "
                    f"[{low:+.4f}, {high:+.4f}] (95 %)",
                    highlight=False,
                )
            return
        if stop:
            ended = stop_challenge(settings, product, by)
            console.print(f"version {ended.version} of {product} is {ended.kind} no longer", highlight=False)
            return
        if version is None or shadow == (share is not None):
            raise typer.BadParameter("give --share SHARE, or --shadow")
        begun = begin_challenge(settings, product, version, share, by)
        how = "shadow" if share is None else f"challenger of {share:.1%} of the customers"
        console.print(
            f"version {begun.version} of {product} is {how} of version {begun.champion}, "
            f"approved by {begun.approver}",
            highlight=False,
        )
