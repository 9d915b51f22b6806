"""`premia features`: what the definitions say, in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from features.describe import lineage
from features.load import default_spec
from serving.cli import app

SPEC = default_spec()
FILE = Path(__file__).parents[2] / "data/reference/features.toml"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["features", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    return result.exit_code, result.output


def test_list_names_every_feature_or_those_of_an_entity() -> None:
    code, shown = run("list")
    assert code == 0
    assert all(name in shown for name in SPEC.names)
    code, shown = run("list", "--entity", "seller")
    assert code == 0
    assert "seller_orders_30d" in shown
    assert "tenure_days" not in shown


def test_describe_shows_both_languages_and_the_hash() -> None:
    code, shown = run("describe", "return_share_365d")
    assert code == 0
    for part in ("近365天退货率", "returns_365d / orders_365d", "personal", SPEC.hash(["return_share_365d"])):
        assert part in shown


def test_lineage_ends_at_columns() -> None:
    code, shown = run("lineage", "loss_ratio_1095d")
    assert code == 0
    assert all(column in shown for column in lineage(SPEC, "loss_ratio_1095d").columns())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("describe", "tenur_days"), "unknown feature 'tenur_days'. Hint: did you mean 'tenure_days'?"),
        (("lineage", "tenur_days"), "did you mean 'tenure_days'?"),
        (("list", "--entity", "seler"), "unknown entity 'seler'. Hint: did you mean 'seller'?"),
    ],
)
def test_unknown_names_are_refused_with_a_hint(arguments: tuple[str, ...], message: str) -> None:
    code, shown = run(*arguments)
    assert code == 1
    assert message in " ".join(shown.split())


def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE.read_text(encoding="utf-8").replace('"30d"', '"30"', 1), encoding="utf-8")
    code, shown = run("list", "--definitions", str(path))
    line = path.read_text(encoding="utf-8").splitlines().index('window = "30"') + 1
    assert code == 1
    assert f"mine.toml:{line}:" in "".join(shown.split())
