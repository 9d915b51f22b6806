"""A tariff as a workbook that an actuary edits, and back.

One sheet per table: bands and levels down the page with exposure, claims, relativity and interval; two-way
tables as a matrix. The cover names product, version, hash, base rates, and every restriction with its cost.
Cells that may be edited are yellow. The exact state travels in a hidden sheet (`models.tariff.state`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import openpyxl
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from models.errors import TariffError
from models.tariff.form import BASE_RATE, Key, Line, table_cells
from models.tariff.scale import label
from models.tariff.state import pack, tariff_hash, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from models.tariff.tariff import Component, Table, Tariff

COVER, STATE = "Tariff", "_state"
LONGEST_TITLE = 31
EDIT = PatternFill("solid", start_color="FFF2CC")
HEADING = PatternFill("solid", start_color="DDE5EE")
BOLD, TITLE, QUIET = Font(bold=True), Font(bold=True, size=14), Font(italic=True, color="666666")
# Heading of each column of a one-way sheet, and the column of the form.
ONE_WAY = {
    "level or band": "cell_1",
    "above": "above",
    "up to": "up_to",
    "exposure": "exposure",
    "claims": "claims",
    "relativity": "relativity",
    "low 95 %": "low",
    "high 95 %": "high",
    "": "base",
}
FIRST_ROW = 4
# Titles of sheets are short.
SHORT = {"frequency": "freq", "severity": "sev", "probability": "prob", "pure_premium": "pure"}
# Number formats of what is shown; the cells hold the whole figure.
FORMATS = {"exposure": "#,##0.00", "claims": "#,##0", "relativity": "0.0000", "low": "0.000", "high": "0.000"}


def write_excel(tariff: Tariff, path: Path) -> None:
    """Write a tariff as a workbook.

    Parameters
    ----------
    tariff
        Tariff.
    path
        File to write.
    """
    book = openpyxl.Workbook()
    cover = book.active
    cover.title = COVER
    titles = sheet_titles(tariff)
    _write_cover(cover, tariff, titles)
    for component in tariff.components:
        for table in component.tables:
            sheet = book.create_sheet(titles[component.name, table.name])
            write = _write_one_way if len(table.scales) == 1 else _write_two_way
            write(sheet, tariff, component, table)
    state = book.create_sheet(STATE)
    state.sheet_state = "hidden"
    for row, line in enumerate(pack(tariff), start=1):
        state.cell(row, 1, line)
    book.save(path)


def read_excel(path: Path) -> tuple[Tariff, list[Line]]:
    """Read from a workbook the tariff as it was written, and the lines as they came back.

    Raises
    ------
    TariffError
        If it is no such workbook, or naming sheet and cell of what is not of this tariff.
    """
    try:
        book = openpyxl.load_workbook(path, data_only=True)
    except (BadZipFile, InvalidFileException, KeyError, ValueError, TypeError) as error:
        raise TariffError([f"{path.name} is no workbook that can be read: {error}"]) from error
    if COVER not in book.sheetnames or STATE not in book.sheetnames:
        raise TariffError(
            [
                f"{path.name} has the sheets {', '.join(book.sheetnames)}; "
                f"{COVER} and the hidden {STATE} are needed"
            ]
        )
    tariff = unpack([str(row[0]) for row in book[STATE].iter_rows(max_col=1, values_only=True)])
    _check_cover(book[COVER], tariff)
    return tariff, list(_lines(book, tariff))


def sheet_titles(tariff: Tariff) -> dict[tuple[str, str], str]:
    """Give the title of the sheet of each table, by component and table."""
    found: dict[tuple[str, str], str] = {}
    for component in tariff.components:
        for table in component.tables:
            title = f"{len(found) + 1} {SHORT[component.name]} {table.name}"
            found[component.name, table.name] = title[:LONGEST_TITLE].rstrip()
    return found


def _write_cover(sheet: Any, tariff: Tariff, titles: dict[tuple[str, str], str]) -> None:  # noqa: ANN401
    sheet["A1"], sheet["A1"].font = f"Tariff {tariff.product}", TITLE
    for row, (name, value) in enumerate(_identity(tariff).items(), start=2):
        sheet.cell(row, 1, name).font = BOLD
        sheet.cell(row, 2, value)
    row = len(_identity(tariff)) + 3
    _headings(sheet, row, ["component", BASE_RATE, "meaning"])
    for component in tariff.components:
        row += 1
        sheet.cell(row, 1, component.name)
        sheet.cell(row, 2, component.base_rate).fill = EDIT
        odds = "; relativities act on the odds" if component.link == "logit" else ""
        sheet.cell(row, 3, f"where all relativities are 1{odds}")
    row += 2
    _headings(sheet, row, ["sheet", "component", "table", "base level"])
    for component in tariff.components:
        for table in component.tables:
            row += 1
            title = titles[component.name, table.name]
            sheet.cell(row, 1, title).hyperlink = f"#'{title}'!A1"
            level = None if table.base is None else tariff.cell_names(table)[0][table.base]
            for column, part in enumerate((component.name, table.name, level), start=2):
                sheet.cell(row, column, part)
    for heading, sentences in (("restrictions", tariff.records), ("edited cells", tariff.changes)):
        row += 2
        _headings(sheet, row, [heading])
        for sentence in sentences or ("none",):
            row += 1
            sheet.cell(row, 1, str(sentence))
    sheet.column_dimensions["A"].width, sheet.column_dimensions["B"].width = 30, 24


def _identity(tariff: Tariff) -> dict[str, str]:
    return {
        "product": tariff.product,
        "product hash": tariff.product_hash,
        "model version": tariff.source.version or "not registered",
        "model hash": tariff.source.artifact_hash or "not registered",
        "family": tariff.source.family,
        "tariff hash": tariff_hash(tariff),
        "currency": f"{tariff.currency} (amounts in minor units)",
        "large-loss load": f"{tariff.load_minor!r} per unit of exposure, on top of the components",
        "intervals": "95 %; cell G2 of each sheet says by what",
        "to edit": "yellow cells only; read it back with premia tariff import",
    }


def _check_cover(sheet: Any, tariff: Tariff) -> None:  # noqa: ANN401
    problems = []
    for row, (name, value) in enumerate(_identity(tariff).items(), start=2):
        found = sheet.cell(row, 2).value
        if (
            name in {"product", "product hash", "model version", "model hash", "tariff hash"}
            and found != value
        ):
            problems.append(
                f"sheet {COVER!r}, cell B{row}: {name} is {found!r}, the sheets were made for {value!r}"
            )
    if problems:
        raise TariffError(problems)


def _write_one_way(sheet: Any, tariff: Tariff, component: Component, table: Table) -> None:  # noqa: ANN401
    _caption(sheet, tariff, component, table)
    sheet["G2"], sheet["G2"].font = f"intervals by {table.interval_kind}", QUIET
    _headings(sheet, FIRST_ROW - 1, list(ONE_WAY))
    for row, cell in enumerate(table_cells(tariff, component, table), start=FIRST_ROW):
        for column, name in enumerate(ONE_WAY.values(), start=1):
            value = getattr(cell, name, None)
            if name == "cell_1":
                value = cell.key.cell_1
            elif name == "base":
                value = "base level" if cell.base else None
            written = sheet.cell(row, column, value)
            if name == "cell_1":
                written.data_type = "s"  # a level may begin with "="
            if name in FORMATS:
                written.number_format = FORMATS[name]
            if name == "relativity":
                written.fill = EDIT
    sheet.freeze_panes = f"B{FIRST_ROW}"
    sheet.column_dimensions["A"].width = 28


def _write_two_way(sheet: Any, tariff: Tariff, component: Component, table: Table) -> None:  # noqa: ANN401
    _caption(sheet, tariff, component, table)
    rows: dict[str, int] = {}
    columns: dict[str, int] = {}
    for cell in table_cells(tariff, component, table):
        row = rows.setdefault(cell.key.cell_1, FIRST_ROW + len(rows))
        column = columns.setdefault(cell.key.cell_2, 2 + len(columns))
        written = sheet.cell(row, column, cell.relativity)
        written.fill, written.number_format = EDIT, FORMATS["relativity"]
    _headings(sheet, FIRST_ROW - 1, [f"{table.inputs[0]} \\ {table.inputs[1]}", *columns])
    for name, row in rows.items():
        written = sheet.cell(row, 1, name)
        written.data_type, written.fill, written.font = "s", HEADING, BOLD
    sheet.freeze_panes = f"B{FIRST_ROW}"
    sheet.column_dimensions["A"].width = 28


def _caption(sheet: Any, tariff: Tariff, component: Component, table: Table) -> None:  # noqa: ANN401
    called = " x ".join(label(name, tariff.encoding) for name in table.inputs)
    sheet["A1"], sheet["A1"].font = f"{called}: {component.name}", TITLE
    sheet["A2"], sheet["A2"].font = f"{component.name} / {table.name}", QUIET


def _headings(sheet: Any, row: int, texts: list[str]) -> None:  # noqa: ANN401
    for column, text in enumerate(texts, start=1):
        cell = sheet.cell(row, column, text)
        cell.data_type, cell.fill, cell.font = "s", HEADING, BOLD
        cell.alignment = Alignment(wrap_text=True, vertical="top")


def _lines(book: Any, tariff: Tariff) -> Iterator[Line]:  # noqa: ANN401
    yield from _cover_lines(book[COVER], tariff)
    titles = sheet_titles(tariff)
    known = {COVER, STATE, *titles.values()}
    problems = [f"sheet {name!r} is not of this tariff" for name in book.sheetnames if name not in known]
    problems += [f"sheet {name!r} is missing" for name in titles.values() if name not in book.sheetnames]
    if problems:
        raise TariffError(problems)
    for component in tariff.components:
        for table in component.tables:
            sheet = book[titles[component.name, table.name]]
            read = _one_way_lines if len(table.scales) == 1 else _two_way_lines
            yield from read(sheet, component, table)


def _cover_lines(sheet: Any, tariff: Tariff) -> Iterator[Line]:  # noqa: ANN401
    first = len(_identity(tariff)) + 4
    for row in range(first, first + len(tariff.components)):
        name, rate = (sheet.cell(row, column).value for column in (1, 2))
        at = {"relativity": f"sheet {COVER!r}, cell B{row}"}
        yield Line(Key(_text(name), BASE_RATE, "", ""), {"relativity": rate}, _places(at, COVER, f"A{row}"))


def _one_way_lines(sheet: Any, component: Component, table: Table) -> Iterator[Line]:  # noqa: ANN401
    headings = [_text(cell.value) for cell in sheet[FIRST_ROW - 1][: len(ONE_WAY)]]
    if headings != list(ONE_WAY):
        raise TariffError(
            [
                f"sheet {sheet.title!r}, row {FIRST_ROW - 1}: headings are {headings}, "
                f"they were {list(ONE_WAY)}"
            ]
        )
    names = list(ONE_WAY.values())
    for cells in sheet.iter_rows(min_row=FIRST_ROW, max_col=len(ONE_WAY)):
        values = {name: cell.value for name, cell in zip(names, cells, strict=True)}
        if all(value is None for value in values.values()):
            continue
        at = {
            name: f"sheet {sheet.title!r}, cell {cell.coordinate}"
            for name, cell in zip(names, cells, strict=True)
        }
        key = Key(component.name, table.name, _text(values.pop("cell_1")), "")
        yield Line(key, values, _places(at, sheet.title, cells[0].coordinate))


def _two_way_lines(sheet: Any, component: Component, table: Table) -> Iterator[Line]:  # noqa: ANN401
    heading = sheet[FIRST_ROW - 1]
    columns = [_text(cell.value) for cell in heading[1:] if cell.value is not None]
    for cells in sheet.iter_rows(min_row=FIRST_ROW, max_col=1 + len(columns)):
        name = _text(cells[0].value)
        if name == "" and all(cell.value is None for cell in cells):
            continue
        for number, (other, cell) in enumerate(zip(columns, cells[1:], strict=True), start=2):
            at = {
                "relativity": f"sheet {sheet.title!r}, cell {cell.coordinate}",
                "cell_2": f"sheet {sheet.title!r}, cell {get_column_letter(number)}{FIRST_ROW - 1}",
            }
            key = Key(component.name, table.name, name, other)
            yield Line(key, {"relativity": cell.value}, _places(at, sheet.title, cells[0].coordinate))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _places(at: dict[str, str], title: str, otherwise: str) -> Callable[[str], str]:
    return lambda column: at.get(column, f"sheet {title!r}, cell {otherwise}")
