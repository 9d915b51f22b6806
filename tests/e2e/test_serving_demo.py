"""The demonstration walks the whole path in an empty folder."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from data.manifest import read_manifest
from serving.cli import app
from serving.records import open_sync_records
from serving.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def shown(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREMIA_LAKE", raising=False)
    monkeypatch.setattr("serving.cli.console", Console(width=220))
    result = CliRunner().invoke(app, ["demo", "--customers", "30000"])
    assert result.exit_code == 0, result.output[-3000:]
    return result.output


def test_the_demonstration_shows_ladder_comparison_repricing_and_pictures(shown, tmp_path):
    stages = re.findall(r"─ (\d)\. ", shown)
    assert stages == ["1", "2", "3", "4", "5", "6"]
    check_insurer(shown)
    check_models(shown)
    check_book(shown, tmp_path)
    check_quote(shown, tmp_path)
    pictures = sorted(
        path.relative_to(tmp_path).as_posix() for path in (tmp_path / "demo-output").rglob("*.png")
    )
    assert {"motor", "return_freight"} <= {path.split("/")[1] for path in pictures}
    assert "pictures, prices and manifest: demo-output/" in shown


def check_insurer(shown: str) -> None:
    assert "30,000 customers" in shown
    ratios = dict(re.findall(r"│ (\w+) +│(?: +[\d,]+ │){3} +[\d.]+% │ +([\d.]+)% │", shown))
    assert len(ratios) == 7
    assert all(10 < float(ratio) < 300 for ratio in ratios.values())


def check_models(shown: str) -> None:
    """The champion beats the average, and does not claim more than can be."""
    for code in ("motor", "return_freight"):
        table = shown.split(f"{code}: families on the test rows")[1].split("└")[0]
        folded = zip(*(line.split("┃") for line in re.findall(r"┃(.*)┃\n", table)), strict=True)
        header = [" ".join(part.strip() for part in parts).strip() for parts in folded]
        lines = {
            cells[0].split(" ")[0]: dict(zip(header[1:], map(float, filter(None, cells[1:])), strict=False))
            for line in re.findall(r"│(.*)│\n", table)
            if (cells := [cell.strip() for cell in line.split("│")])
        }
        assert set(lines) == {"glm", "gbm", "ga2m", "null"}
        assert 0.02 < lines["ga2m"]["d2"] < 0.6
        assert lines["null"]["d2"] == 0
        # Amounts of so few claims swing too far to be held against the model.
        assert 0.7 < lines["ga2m"]["ae"] < 1.4
        assert f"{code} ga2m: promoted" in shown
        approved = f"{code} version 1 (ga2m) is champion, approved by Zhou Heng (appointed actuary)"
        assert approved in re.sub(r"\s+", " ", shown)


def check_book(shown: str, folder: Path) -> None:
    count = int(re.search(r"([\d,]+) policies repriced", shown)[1].replace(",", ""))
    manifest = read_manifest(folder / "demo-output" / "repriced")
    prices = pq.read_table(folder / "demo-output" / "repriced" / manifest.files[0].path)
    assert count == manifest.rows == prices.num_rows > 1000
    bands = re.findall(r"change of price .*? │ +([\d,]+) │", shown)
    assert (
        sum(int(band.replace(",", "")) for band in bands)
        == prices.num_rows - prices["price_minor"].null_count
    )
    before, after = (
        float(re.search(rf"premium {word} +│ +([\d,.]+) CNY", shown)[1].replace(",", ""))
        for word in ("before", "after")
    )
    assert 0.5 < after / before < 2.0


def check_quote(shown: str, folder: Path) -> None:
    assert "Recommendations for customer" in shown
    identity = re.search(r"stored: GET /v1/quotes/([0-9a-f-]{36})", shown)[1]
    store = open_sync_records(Settings(lake=folder / "data" / "lake" / "demo"))
    record = store.get(identity)
    store.close()
    answer = record.body["answer"]
    assert answer["status"] == "quoted"
    assert 5 <= record.price_minor <= 900
    assert sum(step["minor"] for step in answer["ladder"]) == record.price_minor
    for step in answer["ladder"]:
        assert re.search(rf"{step['label']['en']} .*{step['label']['zh']}.* {step['amount']} ", shown)
    for reason in answer["reasons"]:
        assert reason["text"]["en"] in shown
        assert reason["text"]["zh"] in shown
