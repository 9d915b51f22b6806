"""Thresholds decide, chance is said to be chance, and a second person has the last word."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from functools import cache

import numpy as np
import pandas as pd
import pytest

from models.audit import AuditLog, Entry, Identity, service_entries
from models.comparison import Held, compare_totals
from models.errors import PromotionError, RegistryError
from models.judged import IN_SERVICE, Judged
from models.promotion import Decision, assess, check_second_person, segment_codes
from pricing.promotion import AgainstChampion, BySegment, Promotion

NOW = dt.datetime(2026, 3, 1, 12)


@cache
def judged(n: int = 20_000, *, better: float = 0.5, noise: float = 0.0, worse_in: str = "") -> Judged:
    """A candidate that knows `better` of the effect of x, against one in service that knows 0.3 of it."""
    rng = np.random.default_rng(1)
    x, region = rng.normal(size=n), rng.choice(["north", "south", "tiny"], n, p=[0.6, 0.395, 0.005])
    exposure = np.ones(n)
    actual = rng.poisson(0.2 * np.exp(0.5 * x)).astype(float)

    def model(strength: float) -> np.ndarray:
        raw = np.exp(strength * x)
        return raw * actual.sum() / raw.sum()

    candidate = model(better) * np.exp(noise * rng.normal(size=n)) * np.where(region == worse_in, 2.0, 1.0)
    held = Held(
        actual,
        exposure,
        "poisson",
        0.2,
        pd.DataFrame({"region": pd.Categorical(region), "x": x}),
        ("region",),
    )
    response = compare_totals(held, {"ga2m": candidate, IN_SERVICE: model(0.3)}, {})
    return Judged(response.table, response, actual, exposure, response.expected, np.empty((n, 0)), ())


def findings(decision: Decision) -> dict[str, str]:
    return {f"{rule.rule}/{rule.of}": rule.finding for rule in decision.rules}


def test_a_better_model_is_promoted_and_the_numbers_are_kept():
    decision = assess(Promotion(), judged(), "ga2m", "3")
    assert decision.outcome == "promoted"
    assert decision.against == "3"
    gain = decision.rules[-1]
    assert gain.candidate < gain.champion
    assert list(decision.frame.columns) == ["rule", "of", "candidate", "champion", "threshold", "finding"]
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


def test_a_gain_that_chance_explains_is_insufficient_and_a_loss_is_refused():
    assert assess(Promotion(), judged(better=0.3, noise=0.02), "ga2m", "3").outcome == "insufficient_evidence"
    assert assess(Promotion(), judged(better=0.02), "ga2m", "3").outcome == "refused"
    # Not asked to be better, only not to be worse than by one percent.
    lenient = Promotion(champion=AgainstChampion(least_gain=-0.01))
    assert assess(lenient, judged(better=0.3, noise=0.02), "ga2m", "3").outcome == "promoted"
    greedy = Promotion(champion=AgainstChampion(least_gain=0.2))
    assert assess(greedy, judged(), "ga2m", "3").outcome == "refused"


def test_what_cannot_be_compared_with_the_champion_is_insufficient():
    found = judged()
    blind = Judged(**{**vars(found), "not_compared": "age: 3 rows refused (below)"})
    decision = assess(Promotion(), blind, "ga2m", "3")
    assert decision.outcome == "insufficient_evidence"
    assert "age: 3 rows refused" in decision.words()


@pytest.mark.parametrize(
    ("thresholds", "rule", "outcome"),
    [
        ({"least_claims": 1_000_000}, "claims on test rows", "insufficient_evidence"),
        ({"least_d2": 0.9}, "d2", "refused"),
        ({"least_gini": 0.9}, "gini", "refused"),
        ({"least_autocalibration_p": 0.9999}, "autocalibration_p", "refused"),
    ],
)
def test_absolute_thresholds(thresholds, rule, outcome):
    decision = assess(Promotion(**thresholds), judged(), "ga2m")
    assert decision.outcome == outcome
    assert [r.rule for r in decision.rules if r.finding != "met"] == [rule]
    assert rule in decision.problems()[0]


def test_a_segment_with_enough_claims_can_refuse_and_a_small_one_cannot():
    by_region = Promotion(segments=BySegment(columns=("region",)))
    fine = assess(by_region, judged(), "ga2m", "3")
    assert fine.outcome == "promoted"
    assert findings(fine)["claims of the segment/region = tiny"] == "not judged"
    wrong = assess(by_region, judged(worse_in="south"), "ga2m", "3")
    assert wrong.outcome == "refused"
    assert findings(wrong)["actual over expected/region = south"] == "missed"
    assert findings(wrong)["actual over expected/region = north"] == "met"
    assert assess(by_region, judged(worse_in="tiny"), "ga2m", "3").outcome == "promoted"


def test_segments_of_numbers_are_five_bands_and_of_texts_at_most_fifty_levels():
    codes, names = segment_codes(pd.Series(np.append(np.arange(100.0), np.nan), name="x"))
    assert len(names) == 6
    assert names[-1] == "missing"
    assert np.bincount(codes).tolist() == [20] * 5 + [1]
    with pytest.raises(PromotionError, match="60 levels"):
        segment_codes(pd.Series([f"p{i}" for i in range(60)], name="postcode"))


@pytest.mark.parametrize("approver", ["", "  ", "Ann  Lee", "ann lee", "ＡＮＮ LEE"])
def test_the_author_does_not_approve_however_written(approver):
    with pytest.raises(PromotionError):
        check_second_person("Ann Lee", approver)


def identity(**changes: object) -> Identity:
    given = ("ga2m", "p" * 64, "m" * 64, "", "plan-1", 1, "h" * 64, "F-1", "Ann", "2026-01-01", "")
    return Identity(**{**dict(zip(Identity.__dataclass_fields__, given, strict=True)), **changes})


def test_the_log_says_what_priced_on_any_past_date(tmp_path):
    log = AuditLog(tmp_path / "audit.db")
    day = dt.timedelta(days=1)
    log.append(service_entries("motor", "1", "Bob", NOW, identity(), None))
    log.append(service_entries("motor", "2", "Eve", NOW + 10 * day, identity(plan_version=2), "1"))
    log.append(service_entries("home", "1", "Bob", NOW, identity(), None))
    assert log.at("motor", NOW - dt.timedelta(microseconds=1)) is None
    first, second = log.at("motor", NOW), log.at("motor", NOW + 10 * day)
    assert (first.version, first.since, first.until, first.approver) == ("1", NOW, NOW + 10 * day, "Bob")
    assert (second.version, second.until, second.identity.plan_version) == ("2", None, 2)
    assert log.at("motor", NOW + 10 * day - dt.timedelta(microseconds=1)) == first
    assert log.at("home", NOW + 1000 * day).version == "1"
    actions = [(entry.version, entry.action) for entry in log.entries("motor")]
    assert actions[2:] == [("2", "approved"), ("1", "retired"), ("2", "in_service")]
    # The same version with another plan: two periods.
    log.append(service_entries("motor", "2", "Bob", NOW + 11 * day, identity(plan_version=3), "2"))
    assert [p.identity.plan_version for p in log.periods("motor")] == [1, 2, 3]


def test_the_log_cannot_be_changed_and_the_past_is_closed(tmp_path):
    log = AuditLog(tmp_path / "audit.db")
    log.append([Entry(NOW, "motor", "1", "proposed", "Ann", {"a": 1})])
    with sqlite3.connect(tmp_path / "audit.db") as con:
        for statement in ("UPDATE audit SET who = 'Eve'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                con.execute(statement)
    con.close()
    with pytest.raises(RegistryError, match="the clock"):
        log.append([Entry(NOW - dt.timedelta(days=1), "motor", "1", "approved", "Bob", {})])
    # A clock set back a little stands still.
    log.append([Entry(NOW - dt.timedelta(seconds=1), "motor", "1", "approved", "Bob", {})])
    assert [entry.at for entry in log.entries("motor")] == [NOW, NOW]


def test_entries_are_written_all_or_none(tmp_path):
    log = AuditLog(tmp_path / "audit.db")
    bad = [
        Entry(NOW, "motor", "1", "approved", "Bob", {}),
        Entry(NOW - dt.timedelta(days=9), "motor", "1", "in_service", "Bob", {}),
    ]
    with pytest.raises(RegistryError):
        log.append(bad)
    assert log.entries("motor") == []
