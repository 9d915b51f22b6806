"""Docs say what the code does."""

from __future__ import annotations

import importlib
import importlib.util
import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pricing.plan import RatingPlan
from pricing.product import Product
from serving.cli import app
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("data", "features", "models", "pricing", "serving")


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"`PREMIA_{name.upper()}`" in text, name


def test_no_setting_is_documented_that_does_not_exist_and_defaults_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `PREMIA_(\w+)` \| (.*?) \|", text, flags=re.MULTILINE))
    assert {name.lower() for name in rows} == set(Settings.model_fields)
    for name, shown in rows.items():
        default = Settings.model_fields[name.lower()].default
        if isinstance(default, str | int | float):
            assert shown == f"`{default}`", name


def test_numbers_among_the_settings_are_bounded() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float):
            bounds = {
                bound for part in field.metadata for bound in ("ge", "gt", "le") if hasattr(part, bound)
            }
            assert "le" in bounds, name
            assert bounds & {"ge", "gt"}, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("MAX_IN_WORK", "0"),
        ("TRACE_SHARE", "2"),
        ("LOG_LEVEL", "loud"),
        ("BODY_SECONDS", "x"),
    ],
)
def test_a_setting_out_of_bounds_ends_the_command_and_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PREMIA_{name}", value)
    shown = CliRunner().invoke(app, ["serve"])
    assert shown.exit_code == 1
    assert f"refused PREMIA_{name}: " in shown.output


@pytest.mark.parametrize(("kind", "page"), [(Product, "products.md"), (RatingPlan, "plans.md")])
def test_every_key_of_a_definition_is_documented(kind: type[Product | RatingPlan], page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for name, field in kind.model_fields.items():
        parts = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = [key for part in parts for key in getattr(part, "model_fields", {})]
        assert name in text, name
        assert all(f"`{key}`" in text or f".{key}`" in text for key in inner), name


def test_every_command_and_make_target_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    commands = [item.name or item.callback.__name__ for item in app.registered_commands if item.callback]
    assert len(commands) > 8
    missing = [name for name in commands if f"premia {name}" not in text]
    assert not missing
    for target in ("setup", "demo", "test", "test-fast", "check", "bench", "serve", "notebooks"):
        assert f"make {target}" in text


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_this_repository_s(name: str) -> None:
    """Other distributions can shadow names as common as these."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")
    assert (ROOT / name / "py.typed").is_file()
    assert set(packages_distributions().get(name, ["premia"])) == {"premia"}


def test_no_package_file_outgrows_its_room() -> None:
    for name in PACKAGES:
        for path in (ROOT / name).rglob("*.py"):
            if "lake" not in path.parts:
                assert path.read_text(encoding="utf-8").count("\n") <= 600, path


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_adrs_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
