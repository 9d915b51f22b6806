"""What a tariff that comes back may not say, with the place in the file."""

from __future__ import annotations

import csv
import json
import math
import shutil

import numpy as np
import openpyxl
import pytest

from models.encoding import Encoding
from models.errors import TariffError
from models.tariff import Component, Scale, Source, Table, Tariff, read_tariff, rebased, write_tariff
from models.tariff.tariff import table_model
from pricing.factors import CategoryFactor, NumberFactor

LABEL = {"en": "Driver age", "zh": "标"}
ENCODING = Encoding(
    (
        NumberFactor(name="age", label=LABEL, type="integer", unit="years", minimum=18, maximum=80),
        CategoryFactor(name="fuel", label=LABEL, type="category", levels=("petrol", "diesel")),
    ),
    (),
)


def one_way(scale: Scale, relativities: list[float], base: int) -> Table:
    raw = np.log(relativities) - 0.25
    counts = np.full(len(raw), 10.0)
    return Table((scale,), raw, float(raw[base]), base, counts * 2, counts, counts)


def tariff_of(link: str = "log") -> Tariff:
    age, fuel = Scale("age", (20.5, 40.5)), Scale("fuel", None, (0, 1))
    pair = np.log(np.arange(1.0, 13.0).reshape(4, 3))
    nothing = np.zeros((4, 3))
    tables = (
        one_way(age, [1.85, 1.0, 1.2, 1.0], 1),
        one_way(fuel, [1.0, 1.3, 1.0], 0),
        Table((age, fuel), pair, 0.0, None, nothing, nothing, nothing),
    )
    kind, name, objective = (
        ("claim_count", "frequency", "poisson") if link == "log" else ("event", "probability", "binary")
    )
    component = Component(name, objective, link, -2.0, tables, 1.5)
    return Tariff(
        "trial", "p" * 64, "EUR", kind, 1.0, 0.0, ENCODING, (component,), Source("3", "a" * 64, "glm")
    )


ONE, TWO = "1 freq age", "3 freq age x fuel"


@pytest.fixture
def book(tmp_path):
    return write_tariff(tariff_of(), tmp_path / "t.xlsx")


def edit(path, sheet, cell, value):
    workbook = openpyxl.load_workbook(path)
    workbook[sheet][cell] = value
    workbook.save(path)


def test_the_workbook_reads_as_people_write(book):
    workbook = openpyxl.load_workbook(book)
    sheet = workbook[ONE]
    assert [[cell.value for cell in row[:6]] for row in sheet.iter_rows(min_row=4)] == [
        ["18 to 20", None, 20.5, 20, 10, 1.85],
        ["21 to 40", 20.5, 40.5, 20, 10, 1],
        ["41 to 80", 40.5, None, 20, 10, 1.2],
    ]
    low, high = sheet["G4"].value, sheet["H4"].value
    half = 1.959963984540054 * math.sqrt(1.5 * (1 / 10 + 1 / 10))
    assert low == pytest.approx(1.85 * math.exp(-half))
    assert high == pytest.approx(1.85 * math.exp(half))
    assert sheet["G5"].value is None
    assert sheet["I5"].value == "base level"
    assert [cell.value for cell in workbook[TWO][3]][1:] == ["petrol", "diesel"]
    cover = {row[0]: row[1] for row in workbook["Tariff"].iter_rows(values_only=True)}
    assert (cover["product"], cover["model version"], cover["product hash"]) == ("trial", "3", "p" * 64)
    assert cover["frequency"] == pytest.approx(math.exp(-2.0 - 0.25 - 0.25), rel=1e-11)


def test_an_edit_of_each_kind_of_cell(book):
    before = table_model(tariff_of().components[0], ENCODING)
    edit(book, ONE, "F4", 1.7)
    edit(book, TWO, "C5", 5.5)
    edit(book, "Tariff", "B14", 0.1)
    back = read_tariff(book, "A. Actuary")
    assert [str(change) for change in back.changes] == [
        "frequency base rate: 0.082085 -> 0.1 (+21.8%) by A. Actuary",
        "frequency age 18 to 20: 1.85 -> 1.7 (-8.1%) by A. Actuary",
        "frequency age x fuel 21 to 40 and diesel: 5 -> 5.5 (+10.0%) by A. Actuary",
    ]
    after = table_model(back.components[0], ENCODING)
    rows = np.array([[age, fuel] for age in (19.0, 30.0, 60.0) for fuel in (0.0, 1.0)])
    ratio = np.exp(after.predict_raw(rows) - before.predict_raw(rows)) / (0.1 / math.exp(-2.5))
    np.testing.assert_allclose(ratio, [1.7 / 1.85, 1.7 / 1.85, 1, 1.1, 1, 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("sheet", "cell", "value", "sentence"),
    [
        (ONE, "A5", "18 to 20", r"sheet '1 freq age', cell A5: frequency age '18 to 20' is there twice"),
        (ONE, "A5", "21 to 41", r"sheet '1 freq age', cell A5: frequency age has no level '21 to 41'"),
        (ONE, "C4", 22, r"cell B5: the band '21 to 40' of frequency age begins above 20.5 and overlaps"),
        (ONE, "B5", 22, r"cell B5: .* begins above 22 and leaves a gap to the band before it"),
        (ONE, "C6", 70, r"cell C6: up_to of the band '41 to 80' of frequency age is 70, it was None"),
        (ONE, "F4", "1,70", r"sheet '1 freq age', cell F4: the relativity .* is '1,70', no number"),
        (ONE, "F4", None, r"cell F4: .* is empty"),
        (ONE, "F4", 0, r"cell F4: .* is 0.0; a number above 0 is needed"),
        (ONE, "F4", -1.2, r"cell F4: .* is -1.2; a number above 0"),
        (ONE, "F4", True, r"cell F4: .* is True, no number"),
        (ONE, "D4", 21, r"cell D4: exposure of frequency age '18 to 20' is 21, it was 20.0"),
        (ONE, "E3", "claim", r"row 3: headings are"),
        (TWO, "C3", "petrol", r"age x fuel '18 to 20 and petrol' is there twice"),
        (TWO, "C3", "gas", r"cell C3: frequency age x fuel has no level 'gas'"),
        (TWO, "B4", float("inf"), r"sheet '3 freq age x fuel', cell B4: "),
        ("Tariff", "B2", "motor", r"sheet 'Tariff', cell B2: product is 'motor', the sheets were made for"),
        ("Tariff", "B7", "0" * 64, r"cell B7: tariff hash"),
        ("_state", "A1", "x", r"the stored state of the tariff is absent or damaged"),
    ],
)
def test_what_a_workbook_may_not_say(book, sheet, cell, value, sentence):
    edit(book, sheet, cell, value)
    with pytest.raises(TariffError, match=sentence):
        read_tariff(book, "x")


def test_missing_levels_sheets_and_files(book, tmp_path):
    workbook = openpyxl.load_workbook(book)
    workbook[ONE].delete_rows(5)
    workbook.save(book)
    with pytest.raises(TariffError, match="frequency age '21 to 40' is missing"):
        read_tariff(book)
    del workbook[TWO]
    workbook.create_sheet("notes")
    workbook.save(book)
    with pytest.raises(
        TariffError, match=r"'notes' is not of this tariff; sheet '3 freq age x fuel' is missing"
    ):
        read_tariff(book)
    (tmp_path / "b.xlsx").write_bytes(b"no workbook")
    with pytest.raises(TariffError, match="no workbook that can be read"):
        read_tariff(tmp_path / "b.xlsx")
    with pytest.raises(TariffError, match="allowed: .xlsx, .csv, .json"):
        read_tariff(tmp_path / "t.ods")
    openpyxl.Workbook().save(tmp_path / "other.xlsx")
    with pytest.raises(TariffError, match="has the sheets Sheet"):
        read_tariff(tmp_path / "other.xlsx")


def test_all_faults_are_named_at_once(book):
    edit(book, ONE, "F4", "a")
    edit(book, ONE, "F6", math.nan)
    edit(book, TWO, "B4", 0)
    with pytest.raises(TariffError) as caught:
        read_tariff(book)
    assert len(caught.value.problems) == 3


def test_what_csv_and_json_may_not_say(tmp_path):
    plain = write_tariff(tariff_of(), tmp_path / "t.csv")
    with plain.open(newline="") as handle:
        rows = list(csv.reader(handle))
    head = next(i for i, row in enumerate(rows) if row[0] == "component")
    assert head == 3

    def refused(change, sentence):
        changed = [list(row) for row in rows]
        change(changed)
        with (tmp_path / "c.csv").open("w", newline="") as handle:
            csv.writer(handle).writerows(changed)
        with pytest.raises(TariffError, match=sentence):
            read_tariff(tmp_path / "c.csv")

    refused(lambda r: r[head + 2].__setitem__(8, "abc"), "line 6, relativity: .* is 'abc', no number")
    refused(lambda r: r[head + 2].__setitem__(8, "nan"), "line 6, relativity: .* is nan")
    refused(lambda r: r.pop(head + 2), "frequency age '18 to 20' is missing")
    refused(lambda r: r.append(r[head + 2]), "line 17, cell_1: frequency age '18 to 20' is there twice")
    refused(lambda r: r[head].__setitem__(0, "part"), "the heading is")
    refused(lambda r: r[0].__setitem__(1, "product=motor"), "line 1: product is 'motor'")
    refused(lambda r: r[1].__setitem__(1, r[1][1][:40]), "the stored state of the tariff is")
    refused(lambda r: r.__delitem__(slice(0, 2)), "line 1: #premia-tariff is needed")
    refused(lambda r: r[head + 3].__delitem__(slice(4, None)), "line 7: 4 columns, 12 are needed")
    path = write_tariff(tariff_of(), tmp_path / "t.json")
    content = json.loads(path.read_text())
    content["cells"][1]["relativity"] = "1.7"
    path.write_text(json.dumps(content))
    with pytest.raises(TariffError, match=r"cells\[1\], relativity: .* is '1.7', no number"):
        read_tariff(path)
    path.write_text("[]")
    with pytest.raises(TariffError, match="is no tariff"):
        read_tariff(path)


def test_a_probability_stays_below_one(tmp_path):
    path = write_tariff(tariff_of("logit"), tmp_path / "t.json")
    content = json.loads(path.read_text())
    assert content["cells"][0]["relativity"] == pytest.approx(1 / (1 + math.exp(2.5)))
    content["cells"][0]["relativity"] = 1.5
    path.write_text(json.dumps(content))
    with pytest.raises(TariffError, match="must lie below 1; found 1.5"):
        read_tariff(path)
    content["cells"][0]["relativity"] = 0.5
    path.write_text(json.dumps(content))
    assert read_tariff(path).components[0].base_raw == pytest.approx(0.0, abs=1e-12)


def test_another_base_level_moves_no_price(tmp_path):
    tariff = rebased(tariff_of(), "age", "18 to 20")
    assert tariff.table("frequency", "age").relativities[:3].tolist() == [
        1.0,
        pytest.approx(1 / 1.85),
        pytest.approx(1.2 / 1.85),
    ]
    one, two = (table_model(t.components[0], ENCODING) for t in (tariff, tariff_of()))
    assert one.intercept == two.intercept
    assert one.mains[0].tolist() == two.mains[0].tolist()
    with pytest.raises(TariffError, match="age has no level '18 to 21'"):
        rebased(tariff, "age", "18 to 21")
    with pytest.raises(TariffError, match="no table has the input 'aeg'"):
        rebased(tariff, "aeg", "18 to 20")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_tariff(tariff_of(), tmp_path / "t.csv")
    shutil.copy(path, tmp_path / "old.csv")
    monkeypatch.setattr("models.tariff.files.cells_of", lambda tariff: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_tariff(rebased(tariff_of(), "age", "18 to 20"), path)
    assert path.read_bytes() == (tmp_path / "old.csv").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"t.csv", "old.csv"}
