"""The terminal: one console, progress bars, and errors that end a command with what to do next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data.errors import DataError
from features.errors import FeatureError
from models.errors import ModelError
from pricing.errors import PricingError
from serving.errors import ServingError
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

# A file that is no UTF-8 text is a fault of the file, as one that is absent.
REFUSALS = (DataError, FeatureError, ModelError, PricingError, ServingError, OSError, UnicodeDecodeError)


@contextmanager
def refusals(console: Console) -> Iterator[None]:
    """End the command with the sentence of a known error and exit status 1."""
    try:
        yield
    except REFUSALS as error:
        console.print(f"[bold red]refused[/] {type(error).__name__}: ", end="")
        console.print(_sentence(error), markup=False, highlight=False)
        raise typer.Exit(1) from error
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        for fault in error.errors():  # without the value: it may be a secret
            name = f"PREMIA_{str(fault['loc'][0]).upper()}"
            console.print(f"[bold red]refused[/] {name}: {fault['msg']}. Hint: docs/settings.md")
        raise typer.Exit(1) from error


def _sentence(error: Exception) -> str:
    """Say what was wrong; the operating system says it by number and file."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"there is no file {error.filename}. Hint: check the path, or make it first"
    return str(error)


@contextmanager
def share_bar(console: Console, title: str) -> Iterator[Callable[[str, float], None]]:
    """Draw a bar for work that reports (step, share done)."""
    with Progress(
        TextColumn("{task.fields[title]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
    ) as bar:
        task = bar.add_task("", total=1.0, title=title)
        yield lambda step, share: bar.update(task, description=step, completed=share)


@contextmanager
def count_bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar for work that reports (done, in all)."""
    with Progress(
        TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
