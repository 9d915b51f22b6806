"""A tariff as CSV (one line per cell) or JSON, and the choice of the form by the name of the file."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import TariffError
from models.tariff.excel import read_excel, write_excel
from models.tariff.form import COLUMNS, Cell, Key, Line, cells_of, edited
from models.tariff.state import from_state, pack, tariff_hash, to_state, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from models.tariff.tariff import Tariff

# First fields of the lines before the heading; `#` lets other readers pass them by.
HEAD, STATE, INTERVALS = "#premia-tariff", "#state", "#intervals"
NUMBERS = ("above", "up_to", "exposure", "claims", "relativity", "low", "high")


def write_csv(tariff: Tariff, path: Path) -> None:
    """Write a tariff as CSV: lines with `#` that hold its identity and state, then one line per cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([HEAD, *(f"{name}={value}" for name, value in _identity(tariff).items())])
    writer.writerows([STATE, line] for line in pack(tariff))
    kinds = (f"{name}={kind}" for name, kind in _intervals(tariff).items())
    writer.writerow([INTERVALS, *kinds])
    writer.writerow(COLUMNS)
    for cell in cells_of(tariff):
        fields = _fields(cell)
        writer.writerow([_csv(fields[column]) for column in COLUMNS])
    path.write_text(out.getvalue(), encoding="utf-8")


def read_csv(path: Path) -> tuple[Tariff, list[Line]]:
    """Read from CSV the tariff as it was written, and the lines as they came back.

    Raises
    ------
    TariffError
        If it is no such file, or not of this tariff.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
        rows = list(enumerate(csv.reader(io.StringIO(content, newline=""), strict=True), start=1))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TariffError([f"{path.name} cannot be read as CSV: {error}"]) from error
    if not rows or not rows[0][1] or rows[0][1][0] != HEAD:
        raise TariffError([f"{path.name}, line 1: {HEAD} is needed, separated by commas"])
    tariff = unpack([row[1] for _, row in rows if row and row[0] == STATE and len(row) > 1])
    named = dict(part.split("=", 1) for part in rows[0][1][1:] if "=" in part)
    _check_identity(path.name + ", line 1", named, tariff)
    body = [(number, row) for number, row in rows if row and not row[0].startswith("#")]
    if not body or tuple(body[0][1][: len(COLUMNS)]) != COLUMNS:
        found = body[0][1] if body else []
        raise TariffError([f"{path.name}: the heading is {found}, it was {list(COLUMNS)}"])
    problems: list[str] = []
    lines = []
    for number, row in body[1:]:
        if len(row) < len(COLUMNS):
            problems.append(f"line {number}: {len(row)} columns, {len(COLUMNS)} are needed")
            continue
        fields = dict(zip(COLUMNS, row, strict=False))
        lines.append(_line(fields, f"line {number}"))
    if problems:
        raise TariffError(problems)
    return tariff, lines


def write_json(tariff: Tariff, path: Path) -> None:
    """Write a tariff as JSON: `cells` to read and edit, `state` for the exact values."""
    cells = [{k: v for k, v in _fields(cell).items() if v not in (None, "")} for cell in cells_of(tariff)]
    content = {
        "tariff": _identity(tariff),
        "intervals": _intervals(tariff),
        "cells": cells,
        "state": to_state(tariff),
    }
    path.write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )


def read_json(path: Path) -> tuple[Tariff, list[Line]]:
    """Read from JSON the tariff as it was written, and the lines as they came back.

    Raises
    ------
    TariffError
        If it is no such file, or not of this tariff.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        named, cells, state = content["tariff"], content["cells"], content["state"]
        fields = [{"cell_1": "", "cell_2": "", **cell} for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise TariffError([f"{path.name} is no tariff: {error!r}"]) from error
    tariff = from_state(state)
    _check_identity(path.name, named, tariff)
    lines = []
    for number, cell in enumerate(fields):
        key = Key(*(str(cell.get(name, "")) for name in COLUMNS[:4]))
        values = {name: cell.get(name) for name in NUMBERS}
        lines.append(Line(key, values, _places(f"cells[{number}]")))
    return tariff, lines


WRITERS: dict[str, Callable[[Tariff, Path], None]] = {
    ".xlsx": write_excel,
    ".csv": write_csv,
    ".json": write_json,
}
READERS: dict[str, Callable[[Path], tuple[Tariff, list[Line]]]] = {
    ".xlsx": read_excel,
    ".csv": read_csv,
    ".json": read_json,
}


def write_tariff(tariff: Tariff, path: Path) -> Path:
    """Write a tariff in the form that the name of the file asks for; it appears whole or not at all.

    Parameters
    ----------
    tariff
        Tariff.
    path
        Ends in `.xlsx`, `.csv` or `.json`.

    Raises
    ------
    TariffError
        If the name ends otherwise.
    """
    _known(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    staging = Path(name)
    try:
        WRITERS[path.suffix](tariff, staging)
        with staging.open("rb") as written:
            os.fsync(written.fileno())
        staging.chmod(0o644)
        staging.replace(path)
    finally:  # nothing is left to remove once it has its name
        staging.unlink(missing_ok=True)
    return path


def read_tariff(path: Path, editor: str = "") -> Tariff:
    """Read a tariff, with what was edited in it.

    Parameters
    ----------
    path
        As written by `write_tariff`.
    editor
        Who edited it; stands in every changed cell.

    Raises
    ------
    TariffError
        Naming the place of everything that may not be.
    """
    tariff, lines = _read(path)
    return edited(tariff, lines, editor)


def read_unedited(path: Path) -> Tariff:
    """Read a tariff as it was written, whatever was edited since."""
    return _read(path)[0]


def _read(path: Path) -> tuple[Tariff, list[Line]]:
    _known(path)
    return READERS[path.suffix](path)


def _known(path: Path) -> None:
    if path.suffix not in WRITERS:
        raise TariffError([f"{path.name} ends in {path.suffix!r}; allowed: {', '.join(WRITERS)}"])


def _identity(tariff: Tariff) -> dict[str, str]:
    return {
        "product": tariff.product,
        "product_hash": tariff.product_hash,
        "model_version": tariff.source.version,
        "model_hash": tariff.source.artifact_hash,
        "tariff_hash": tariff_hash(tariff),
    }


def _intervals(tariff: Tariff) -> dict[str, str]:
    """Say by what the intervals of each table are taken."""
    return {f"{c.name} {table.name}": table.interval_kind for c in tariff.components for table in c.tables}


def _check_identity(place: str, named: Mapping[str, Any], tariff: Tariff) -> None:
    problems = [
        f"{place}: {name} is {named.get(name)!r}, the cells were made for {value!r}"
        for name, value in _identity(tariff).items()
        if named.get(name) != value
    ]
    if problems:
        raise TariffError(problems)


def _fields(cell: Cell) -> dict[str, object]:
    return {
        **cell.key._asdict(),
        **{name: getattr(cell, name) for name in NUMBERS},
        "base": "base level" if cell.base else None,
    }


def _csv(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _line(fields: Mapping[str, str], place: str) -> Line:
    values: dict[str, object] = {}
    for name in NUMBERS:
        text = fields[name].strip()
        try:
            values[name] = float(text) if text else None
        except ValueError:
            values[name] = text
    return Line(Key(*(fields[name] for name in COLUMNS[:4])), values, _places(place))


def _places(place: str) -> Callable[[str], str]:
    return lambda column: f"{place}, {column}"
