import datetime as dt
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data.quality import Thresholds
from data.store import read_table
from serving.cli import app

MAP = """
[table]
name = "orders"
[columns]
order_id = "id"
customer_id = "who"
seller_id = "shop"
category = "kind"
ordered_at = "day"
amount_minor = "price"
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("PREMIA_LAKE", raising=False)
    (tmp_path / "map.toml").write_text(MAP)

    def run(*words):
        return CliRunner().invoke(app, [*map(str, words), "--lake", str(tmp_path / "lake")])

    return run


def orders(path, first, day, *, rows=50, kind="toys", price=100):
    lines = [f"{first + n},{n},3,{kind},{day:%Y-%m-%d},{price}" for n in range(rows)]
    path.write_text("id,who,shop,kind,day,price\n" + "\n".join(lines) + "\n")
    return path


def test_ingest_prints_the_verdict_and_fails_only_when_asked_and_after_storing(command, tmp_path):
    old = orders(tmp_path / "old.csv", 0, dt.date(2020, 5, 1))
    shown = command("ingest", old, tmp_path / "map.toml")
    assert shown.exit_code == 0
    assert "quality gates: fail" in shown.stdout
    assert "newest event 2020-05-01 00:00" in shown.stdout
    assert "insufficient history" in shown.stdout
    gated = command("ingest", old, tmp_path / "map.toml", "--gate")
    assert gated.exit_code == 1
    assert read_table(tmp_path / "lake", "orders").num_rows == 50
    limits = tmp_path / "limits.toml"
    limits.write_text("[orders]\nstale_warn_days = 1e6\nstale_fail_days = 1e6\n")
    passed = command("ingest", old, tmp_path / "map.toml", "--gate", "--thresholds", limits)
    assert passed.exit_code == 0
    assert "quality gates: insufficient history" in passed.stdout


def test_wrong_thresholds_are_refused_before_anything_is_stored(command, tmp_path):
    limits = tmp_path / "limits.toml"
    limits.write_text("[orders]\nstale = 3\n")
    source = orders(tmp_path / "a.csv", 0, dt.date(2020, 5, 1))
    refused = command("ingest", source, tmp_path / "map.toml", "--thresholds", limits)
    assert refused.exit_code == 1
    assert "refused QualityError" in refused.stdout
    assert not (tmp_path / "lake").exists()


def test_texts_that_look_like_markup_are_printed_as_they_are(command, tmp_path):
    for day in range(3):
        source = orders(tmp_path / f"{day}.csv", 100 * day, dt.date(2020, 5, 1 + day))
        assert command("ingest", source, tmp_path / "map.toml").exit_code == 0
    odd = orders(tmp_path / "odd.csv", 900, dt.date(2020, 5, 9), kind="[/red] [bold]")
    shown = command("ingest", odd, tmp_path / "map.toml")
    assert shown.exit_code == 0, shown.output
    assert "[/red]" in shown.stdout


def test_quality_writes_the_page_and_erase_names_what_went(command, tmp_path):
    source = orders(tmp_path / "a.csv", 0, dt.date(2020, 5, 1))
    command("ingest", source, tmp_path / "map.toml")
    out = tmp_path / "report.html"
    shown = command("quality", "--table", "orders", "--out", out)
    assert (shown.exit_code, "fail orders" in shown.stdout) == (0, True)
    assert out.read_text(encoding="utf-8").count("<svg") == 5
    assert command("quality", "--out", out, "--gate").exit_code == 1
    wrong = command("quality", "--table", "order", "--out", out)
    assert (wrong.exit_code, "did you mean 'orders'" in wrong.stdout) == (1, True)
    erased = command("erase", 7)
    assert erased.exit_code == 0
    assert "1  orders" in erased.stdout
    assert "a-" in erased.stdout
    assert 7 not in read_table(tmp_path / "lake", "orders").column("customer_id").to_pylist()
    assert "holds no row of customer 7" in command("erase", 7).stdout
    missing = CliRunner().invoke(app, ["erase", "7", "--lake", str(tmp_path / "none")])
    assert (missing.exit_code, "no lake at" in missing.stdout.replace("\n", " ")) == (1, True)


def test_the_docs_name_every_limit():
    page = (Path(__file__).parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")
    for name in Thresholds.__dataclass_fields__:
        assert f"| `{name}` | {getattr(Thresholds(), name):g} |" in page
