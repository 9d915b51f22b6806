"""How the two sides of a comparison are named, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import ImpactError
from serving.plan_jobs import approve_plan
from serving.settings import Settings
from serving.sides import SideSpec, find_plan, parse_side


def test_each_form_is_read():
    assert parse_side("service") == SideSpec("service")
    assert parse_side("model=motor@3") == SideSpec("model=motor@3", ("motor", "3"))
    both = parse_side("model=motor@3,plan=a,b/new.toml")
    assert (both.model, both.plan) == (("motor", "3"), "a,b/new.toml")
    assert parse_side("plan=motor-2026-01@1").plan == "motor-2026-01@1"
    assert parse_side("prices=out/before").prices == Path("out/before")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("motor@3", "does not say what prices"),
        ("plan=", "does not say what prices"),
        ("model=motor@1,model=motor@2", "does not say what prices"),
        ("price=out", "does not say what prices"),
        ("model=motor", "no PRODUCT@VERSION"),
        ("model=motor@latest", "no PRODUCT@VERSION"),
        ("prices=out,plan=new.toml", "stored prices have their model and plan"),
    ],
)
def test_other_forms_are_refused(text, words):
    with pytest.raises(ImpactError, match=words):
        parse_side(text)


def test_plans_are_found_by_code_and_version(tmp_path):
    settings = Settings(lake=tmp_path)
    assert find_plan("motor-2026-01@1", settings).code == "motor-2026-01"
    with pytest.raises(ImpactError, match="is version 1 of motor-2026-01, not 9"):
        find_plan("motor-2026-01@9", settings)
    with pytest.raises(ImpactError, match=r"no rating plan.*motor-2026-01"):
        find_plan("motor-2031@1", settings)


def test_an_approved_version_is_found_in_the_archive_when_its_file_has_moved_on(tmp_path):
    plans = tmp_path / "plans"
    plans.mkdir()
    text = (Settings().plans / "motor-2026-01.toml").read_text(encoding="utf-8")
    (plans / "motor-2026-01.toml").write_text(f'author = "A. Author"\n{text}', encoding="utf-8")
    settings = Settings(lake=tmp_path / "lake", plans=plans)
    approve_plan(settings, "motor-2026-01", by="B. Approver")
    moved_on = text.replace("version = 1", "version = 2").replace('margin = "0.05"', 'margin = "0.06"')
    (plans / "motor-2026-01.toml").write_text(moved_on, encoding="utf-8")
    assert find_plan("motor-2026-01@1", settings).margin == "0.05"
    assert find_plan("motor-2026-01@2", settings).margin == "0.06"
