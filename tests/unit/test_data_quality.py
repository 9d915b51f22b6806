import dataclasses
import datetime as dt

import numpy as np
import pytest

from data.errors import QualityError
from data.quality import DEFAULT_THRESHOLDS, Thresholds, judge_latest, judge_run, overall
from data.runs import RunRecord, last_runs
from data.statistics import Statistics
from data.thresholds import load_thresholds

DAY = dt.timedelta(days=1)
START = dt.datetime(2026, 1, 1)


def run(number, rows=10_000, missing=100, bad=5, age_days=0.5, checksum=None):
    now = START + number * DAY
    newest = now - age_days * DAY
    return RunRecord(
        table="orders",
        source=f"day-{number}",
        checksum=checksum or f"{number:064d}",
        now=now,
        rows_read=rows,
        rows_merged=0,
        rows_in=rows,
        rows_stored=rows - bad,
        rows_quarantined=bad,
        reasons={"amount_minor: negative money": bad} if bad else {},
        statistics=Statistics(
            rows=rows,
            nulls={"order_id": 0, "freight_minor": missing},
            oldest=newest - DAY,
            newest=newest,
            by_month={"2026-01": rows},
            by_day={"2026-01-01": rows},
            levels={},
        ),
    )


PAST = [run(n, rows=10_000 + 150 * (n % 3), missing=100 + 5 * (n % 4)) for n in range(8)]


def verdicts(latest, earlier=None, limits=DEFAULT_THRESHOLDS):
    found = judge_run(latest, PAST if earlier is None else earlier, limits)
    return {(result.gate, result.subject): result for result in found}


def test_a_run_like_those_before_passes_every_gate():
    results = verdicts(run(9, rows=10_090, missing=108))
    assert {result.verdict for result in results.values()} == {"pass"}
    assert all(result.finding and not result.advice for result in results.values())
    assert set(results) == {
        ("freshness", "ordered_at"),
        ("volume", "rows"),
        ("quarantine", "rows"),
        ("missing values", "order_id"),
        ("missing values", "freight_minor"),
    }


@pytest.mark.parametrize(
    ("changes", "gate", "subject", "verdict", "words"),
    [
        ({"age_days": 4}, "freshness", "ordered_at", "warn", "4.0 days before the run; limit 3"),
        ({"age_days": 15}, "freshness", "ordered_at", "fail", "15.0 days before the run; limit 14"),
        ({"rows": 6_000, "missing": 60}, "volume", "rows", "warn", "6,000 rows, median of the last 8 runs"),
        ({"rows": 3_000, "missing": 30}, "volume", "rows", "fail", "cut-off file"),
        ({"rows": 40_000, "missing": 400}, "volume", "rows", "fail", "delivered twice"),
        ({"missing": 400}, "missing values", "freight_minor", "warn", "4.00% missing, median"),
        ({"missing": 9_000}, "missing values", "freight_minor", "fail", "dropped or renamed"),
        ({"bad": 150}, "quarantine", "rows", "warn", "150 of 10,000 rows (1.50%)"),
        ({"bad": 60}, "quarantine", "rows", "warn", "median of the last 8 runs 0.05%"),
        ({"bad": 600}, "quarantine", "rows", "fail", "most often: amount_minor: negative money"),
    ],
)
def test_each_gate_names_the_fault_the_numbers_and_what_to_do(changes, gate, subject, verdict, words):
    results = verdicts(run(9, **changes))
    found = results[gate, subject]
    assert found.verdict == verdict
    assert words in f"{found.finding} {found.advice}"
    assert found.advice
    others = {key: result.verdict for key, result in results.items() if key != (gate, subject)}
    assert set(others.values()) == {"pass"}


def test_too_few_earlier_runs_are_no_pass():
    results = verdicts(run(9), PAST[:2])
    assert results["volume", "rows"].verdict == "insufficient history"
    assert results["missing values", "freight_minor"].verdict == "insufficient history"
    assert "2 earlier runs, 3 are needed" in results["volume", "rows"].finding
    assert overall(tuple(results.values())) == "insufficient history"
    # What needs no history is judged all the same.
    assert verdicts(run(9, age_days=20), [])["freshness", "ordered_at"].verdict == "fail"
    assert overall(tuple(verdicts(run(9, bad=9_000), []).values())) == "fail"
    assert judge_latest([]) is None


def test_an_empty_run_fails():
    empty = dataclasses.replace(run(9, rows=0, missing=0, bad=0))
    empty = dataclasses.replace(empty, statistics=dataclasses.replace(empty.statistics, newest=None))
    results = verdicts(empty)
    assert results["volume", "rows"].verdict == "fail"
    assert results["freshness", "ordered_at"].verdict == "fail"


def test_a_fall_of_missing_values_warns_of_a_default():
    past = [run(n, missing=5_000 + n) for n in range(6)]
    found = verdicts(run(9, missing=0), past)["missing values", "freight_minor"]
    assert (found.verdict, "default" in found.advice) == ("warn", True)


def test_a_small_run_is_not_blamed_for_chance():
    # 3 of 100 against 1 %: chance. 3,000 of 100,000 against 1 %: not.
    assert verdicts(run(9, rows=100, missing=3, bad=0))["missing values", "freight_minor"].verdict == "pass"
    large = verdicts(run(9, rows=100_000, missing=3_000, bad=0))["missing values", "freight_minor"]
    assert large.verdict == "warn"


def test_the_same_file_again_is_neither_history_nor_compared_with_itself():
    again = [run(n, checksum="a" * 64) for n in range(5)]
    assert len(last_runs(again, 10)) == 1
    assert verdicts(run(9), again)["volume", "rows"].verdict == "insufficient history"
    assert verdicts(run(9, checksum="a" * 64), again)["volume", "rows"].finding.endswith(
        "0 earlier runs, 3 are needed to judge"
    )


def test_false_alarms_are_rare_and_faults_are_found():
    rng = np.random.default_rng(7)

    def drawn(number, share=0.02):
        rows = int(rng.normal(5_000, 400))
        return run(
            number, rows=rows, missing=int(rng.binomial(rows, share)), bad=int(rng.binomial(rows, 0.001))
        )

    alarms = found = 0
    for _ in range(300):
        past = [drawn(n) for n in range(10)]
        alarms += overall(judge_run(drawn(11), past)) != "pass"
        found += overall(judge_run(drawn(11, share=0.05), past)) == "warn"
    assert alarms <= 3
    assert found >= 290


def test_thresholds_are_read_per_table_and_wrong_ones_refused(tmp_path):
    path = tmp_path / "limits.toml"
    path.write_text("[default]\nstale_warn_days = 1.0\n[orders]\nleast_runs = 5\n")
    limits = load_thresholds(path)
    assert limits["orders"] == Thresholds(least_runs=5, stale_warn_days=1.0)
    assert limits["claims"] == Thresholds(stale_warn_days=1.0)
    assert load_thresholds(None)["orders"] == DEFAULT_THRESHOLDS
    for text, words in (
        ("[order]\n", r"section \[order\]; did you mean 'orders'"),
        ("[orders]\nstale_warn_day = 1.0\n", "did you mean 'stale_warn_days'"),
        ("[orders]\nleast_runs = 0\n", "'least_runs' for table 'orders' cannot be used: Input should be gre"),
        ("[orders]\nleast_runs = '3'\n", "valid integer"),
        ("orders = 3\n", "must be sections"),
        ("[orders", "not TOML"),
    ):
        path.write_text(text)
        with pytest.raises(QualityError, match=words):
            load_thresholds(path)
    with pytest.raises(QualityError, match="no file of thresholds"):
        load_thresholds(tmp_path / "none.toml")
