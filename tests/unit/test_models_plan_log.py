"""Draft, approved by a second person, active, retired; and what priced when."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.archive import Archive
from models.audit import AuditLog, Entry, Identity, service_entries
from models.errors import ArtifactError, PlanStateError, PromotionError
from models.plan_log import PlanLog
from pricing.plan import RatingPlan, read_plan
from pricing.product import read_product

REFERENCE = Path(__file__).parents[2] / "data" / "reference"
NOW = datetime(2026, 1, 5, 12)
DAY = timedelta(days=1)


def plan(**changes: Any) -> RatingPlan:
    content = read_plan(REFERENCE / "plans" / "motor-2026-01.toml").model_dump()
    return RatingPlan.model_validate(content | {"author": "Ann"} | changes)


def promoted(
    audit: AuditLog, with_plan: RatingPlan, version: str, at: datetime, before: str | None = None
) -> Identity:
    identity = Identity(
        "ga2m",
        "p",
        "m",
        "s",
        with_plan.code,
        with_plan.version,
        with_plan.hash,
        with_plan.filing,
        "Ann",
        with_plan.effective_from.isoformat(),
    )
    audit.append(service_entries("motor", version, "Bob", at, identity, before))
    return identity


@pytest.fixture
def log(tmp_path: Path) -> PlanLog:
    return PlanLog(AuditLog(tmp_path / "audit.db"))


def test_a_plan_goes_from_draft_to_retired(log: PlanLog) -> None:
    new = plan()
    assert log.versions("motor") == {}
    with pytest.raises(PlanStateError, match="is a draft; only an approved plan is activated"):
        log.activate(new, by="Bob", at=NOW)
    with pytest.raises(PromotionError, match="is the author; a second person approves"):
        log.approve(new, by=" ann ", at=NOW)
    assert log.versions("motor") == {}, "what is refused leaves no trace"
    approved = log.approve(new, by="Bob", at=NOW)
    assert (approved.state, approved.approver, approved.hash) == ("approved", "Bob", new.hash)
    assert log.active("motor") == []
    with pytest.raises(PlanStateError, match="is approved already"):
        log.approve(new, by="Eve", at=NOW)
    active = log.activate(new, by="Eve", at=NOW + DAY)
    assert (active.state, active.approver, active.who, active.at) == ("active", "Bob", "Eve", NOW + DAY)
    assert log.in_force("motor", date(2025, 11, 30)) is None
    assert log.in_force("motor", date(2025, 12, 1)) == active
    with pytest.raises(PlanStateError, match="somebody must be named"):
        log.retire("motor", new.code, by=" ", at=NOW + DAY)
    assert log.retire("motor", new.code, by="Eve", at=NOW + 2 * DAY).state == "retired"
    for again in (
        lambda: log.activate(new, by="Eve", at=NOW + 3 * DAY),
        lambda: log.approve(new, by="Eve", at=NOW + 3 * DAY),
        lambda: log.check_promotable(new, "Bob"),
    ):
        with pytest.raises(PlanStateError, match="retired"):
            again()
    with pytest.raises(PlanStateError, match="no version of plan motor-2026-01 is approved or active"):
        log.retire("motor", new.code, by="Eve", at=NOW + 3 * DAY)


def test_a_plan_without_author_cannot_be_approved(log: PlanLog) -> None:
    with pytest.raises(PlanStateError, match="names no author"):
        log.approve(plan(author=None), by="Bob", at=NOW)


def test_an_approved_plan_cannot_be_changed(log: PlanLog) -> None:
    log.approve(plan(), by="Bob", at=NOW)
    dearer = plan(margin="0.06")
    for change in (
        lambda: log.activate(dearer, by="Bob", at=NOW),
        lambda: log.approve(dearer, by="Bob", at=NOW),
        lambda: log.check_promotable(dearer, "Bob"),
    ):
        with pytest.raises(PlanStateError, match="is not what Bob approved"):
            change()


def test_a_new_version_of_one_code_retires_the_older_one(log: PlanLog) -> None:
    for number, day in ((1, 0), (2, 1)):
        version = plan(version=number, margin=f"0.0{number}")
        log.approve(version, by="Bob", at=NOW + day * DAY)
        log.activate(version, by="Bob", at=NOW + day * DAY)
    states = {key: one.state for key, one in log.versions("motor").items()}
    assert states == {("motor-2026-01", 1): "retired", ("motor-2026-01", 2): "active"}


def test_of_two_active_plans_the_one_that_came_into_force_last_prices(log: PlanLog) -> None:
    spring = plan(code="motor-2026-04", effective_from=date(2026, 4, 1))
    for one in (plan(), spring):
        log.approve(one, by="Bob", at=NOW)
        log.activate(one, by="Bob", at=NOW)
    clash = plan(code="motor-2026-04b", effective_from=date(2026, 4, 1))
    log.approve(clash, by="Bob", at=NOW)
    with pytest.raises(PlanStateError, match="motor-2026-04 v1 is active from 2026-04-01 on, too"):
        log.activate(clash, by="Bob", at=NOW)
    names = [log.in_force("motor", date(2026, 3, 31)), log.in_force("motor", date(2026, 4, 1))]
    assert [one.code for one in names if one] == ["motor-2026-01", "motor-2026-04"]


def test_a_promotion_puts_its_plan_into_service(log: PlanLog, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.db")
    promoted(audit, plan(), "1", NOW)
    (one,) = log.active("motor")
    assert (one.name, one.approver, one.effective_from) == ("motor-2026-01 v1", "Bob", date(2025, 12, 1))


def test_a_promotion_of_the_past_knows_no_days(log: PlanLog, tmp_path: Path) -> None:
    """Rows that were written before plans had a life of their own."""
    audit = AuditLog(tmp_path / "audit.db")
    detail = asdict(promoted(audit, plan(), "1", NOW))
    old = {key: value for key, value in detail.items() if key not in ("plan_from", "plan_to")}
    audit.append([Entry(NOW, "medical", "1", "in_service", "Bob", old | {"plan": "medical-1"})])
    audit.append([Entry(NOW + DAY, "medical", "1", "in_service", "Bob", old | {"plan": "medical-2"})])
    assert [one.code for one in log.active("medical")] == ["medical-2"]
    assert [period.identity.plan for period in log.periods("medical")] == ["medical-1", "medical-2"]


def test_history_says_which_plan_priced_when(log: PlanLog, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.db")
    promoted(audit, plan(), "1", NOW)
    spring = plan(code="motor-2026-04", effective_from=date(2026, 4, 1))
    log.approve(spring, by="Eve", at=NOW + 1 * DAY)
    log.activate(spring, by="Kim", at=NOW + 2 * DAY)
    promoted(audit, plan(), "2", datetime(2026, 5, 1), before="1")
    log.retire("motor", spring.code, by="Kim", at=datetime(2026, 6, 1))
    log.retire("motor", plan().code, by="Kim", at=datetime(2026, 7, 1))
    told = [
        (one.since, one.until, one.version, one.identity.plan, one.approver) for one in log.periods("motor")
    ]
    april = datetime(2026, 4, 1)
    assert told == [
        (NOW, april, "1", "motor-2026-01", "Bob"),
        (april, datetime(2026, 5, 1), "1", "motor-2026-04", "Eve"),
        (datetime(2026, 5, 1), datetime(2026, 6, 1), "2", "motor-2026-04", "Eve"),
        (datetime(2026, 6, 1), datetime(2026, 7, 1), "2", "motor-2026-01", "Bob"),
    ]


def test_the_archive_gives_back_what_priced_or_says_why_not(tmp_path: Path) -> None:
    archive, product = Archive(tmp_path), read_product(REFERENCE / "products" / "motor.toml")
    archive.keep(plan(), product)
    archive.keep(plan(), product)
    assert archive.plan(plan().hash) == plan()
    assert archive.product(product.hash) == product
    with pytest.raises(ArtifactError, match=r"plan 000000000000 is not in the archive.*Hint: restore"):
        archive.plan("0" * 64)
    path = tmp_path / "plans" / f"{plan().hash}.json"
    path.write_text(path.read_text().replace('"0.05"', '"0.04"'), encoding="utf-8")
    with pytest.raises(ArtifactError, match="was changed: its sha256 is"):
        archive.plan(plan().hash)
