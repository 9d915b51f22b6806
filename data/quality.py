"""Quality gates: whether what an ingest brought is like what earlier ones brought.

Five gates judge a run by earlier ones: freshness, volume, quarantine, missing values, new texts.
A gate never holds rows back, it says what is odd with the numbers and what to do next. All of them are pure
functions of run records and `Thresholds`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from data.contracts import contract
from data.runs import last_runs
from data.statistics import RARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data.runs import RunRecord

__all__ = [
    "DEFAULT_THRESHOLDS",
    "GateResult",
    "Thresholds",
    "Verdict",
    "judge_latest",
    "judge_run",
    "overall",
]

Verdict = Literal["pass", "warn", "fail", "insufficient history"]

_ORDER: tuple[Verdict, ...] = ("pass", "insufficient history", "warn", "fail")
_SECONDS_OF_DAY = 86_400.0
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of the gates.

    Parameters
    ----------
    least_runs, most_runs : int
        With fewer earlier runs than `least_runs` the gates on volume and missing values give no verdict; of
        more than `most_runs` the last are taken.
    stale_warn_days, stale_fail_days : float
        Age of the newest stored event at the time of the run.
    volume_warn_ratio, volume_fail_ratio : float
        Rows over the median of earlier runs, or that median over the rows, whichever is larger. A run is odd
        only when it is also beyond the robust z score.
    volume_warn_z, volume_fail_z : float
        Distance from the median in robust standard deviations: 1.4826 x the median absolute deviation, at
        least the square root of the median (what counts vary by when nothing changes).
    nulls_warn_points, nulls_fail_points : float
        Difference of a column's share of missing values from the median of earlier runs, as a share of 1. It
        counts only beyond the binomial tolerance.
    nulls_warn_z, nulls_fail_z : float
        Binomial tolerance, in standard errors of the difference between the run's share and the median.
    quarantine_warn_share, quarantine_fail_share : float
        Quarantined rows per row in.
    quarantine_rise : float
        Rise of that share over the median of earlier runs that is odd even below `quarantine_warn_share`,
        when beyond `nulls_warn_z` standard errors.
    new_texts_warn_share : float
        Stored rows with a text that no earlier run had in that column.
    """

    least_runs: int = 3
    most_runs: int = 20
    stale_warn_days: float = 3.0
    stale_fail_days: float = 14.0
    volume_warn_ratio: float = 1.5
    volume_fail_ratio: float = 3.0
    volume_warn_z: float = 3.5
    volume_fail_z: float = 7.0
    nulls_warn_points: float = 0.01
    nulls_fail_points: float = 0.05
    nulls_warn_z: float = 4.0
    nulls_fail_z: float = 8.0
    quarantine_warn_share: float = 0.01
    quarantine_fail_share: float = 0.05
    quarantine_rise: float = 0.002
    new_texts_warn_share: float = 0.005


DEFAULT_THRESHOLDS = Thresholds()


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate says.

    Parameters
    ----------
    gate : str
        ``freshness``, ``volume``, ``quarantine``, ``missing values`` or ``new texts``.
    subject : str
        What was judged: a column, or the table's rows.
    verdict : {"pass", "warn", "fail", "insufficient history"}
        What it came to.
    value, expected : float or None
        The figure and what earlier runs or the limit would have it be: days, rows, or shares of 1.
    finding, advice : str
        The numbers in words, and what to do next; no advice when there is nothing to do.
    """

    gate: str
    subject: str
    verdict: Verdict
    value: float | None
    expected: float | None
    finding: str
    advice: str = ""


def judge_latest(
    runs: list[RunRecord], thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> tuple[RunRecord, tuple[GateResult, ...]] | None:
    """Judge the newest run of a log by those before it.

    Returns
    -------
    tuple of RunRecord and GateResult, or None
        None when there is no run.
    """
    return (runs[-1], judge_run(runs[-1], runs[:-1], thresholds)) if runs else None


def judge_run(
    run: RunRecord, earlier: list[RunRecord], thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> tuple[GateResult, ...]:
    """Judge a run by earlier ones.

    Parameters
    ----------
    run : RunRecord
        The run to judge.
    earlier : list of RunRecord
        Runs before it, oldest first. Those of the same file are left out, of each other file the last counts.
    thresholds : Thresholds
        Limits.

    Returns
    -------
    tuple of GateResult
        Freshness, volume, quarantine, then missing values of every column and new texts of every column that
        holds few different ones.
    """
    others = [r for r in last_runs(earlier, len(earlier) or 1) if r.checksum != run.checksum]
    base = others[-thresholds.most_runs :]
    return (
        _freshness(run, thresholds),
        _volume(run, base, thresholds),
        _quarantine(run, base, thresholds),
        *(_missing(run, base, column, thresholds) for column in run.statistics.nulls),
        *(_new_texts(run, base, column, thresholds) for column in run.statistics.levels),
    )


def overall(results: Sequence[GateResult]) -> Verdict:
    """Give the worst verdict; without a failure or a warning, too little history is worse than a pass."""
    return max((result.verdict for result in results), key=_ORDER.index, default="insufficient history")


def _freshness(run: RunRecord, limits: Thresholds) -> GateResult:
    newest = run.statistics.newest
    column = contract(run.table).event_time
    if newest is None:
        return GateResult(
            "freshness", column, "fail", None, None, "no row was stored", "see the reasons of the quarantine"
        )
    days = (run.now - newest).total_seconds() / _SECONDS_OF_DAY
    verdict: Verdict = (
        "fail" if days > limits.stale_fail_days else "warn" if days > limits.stale_warn_days else "pass"
    )
    limit = limits.stale_fail_days if verdict == "fail" else limits.stale_warn_days
    finding = f"newest event {newest:%Y-%m-%d %H:%M}, {days:.1f} days before the run"
    if verdict == "pass":
        return GateResult("freshness", column, verdict, days, limit, finding)
    advice = "ask the source for the missing days; for a load of old data this is expected"
    return GateResult("freshness", column, verdict, days, limit, f"{finding}; limit {limit:g}", advice)


def _volume(run: RunRecord, base: list[RunRecord], limits: Thresholds) -> GateResult:
    rows = run.rows_in
    if rows == 0:
        return GateResult("volume", "rows", "fail", 0.0, None, "the source has no row", "ask for it anew")
    if len(base) < limits.least_runs:
        return _insufficient("volume", "rows", float(rows), f"{rows:,} rows", len(base), limits)
    usual = median(r.rows_in for r in base)
    spread = _MAD_TO_SIGMA * median(abs(r.rows_in - usual) for r in base)
    score = (rows - usual) / max(spread, math.sqrt(usual), 1.0)
    ratio = max(rows, usual) / max(min(rows, usual), 1.0)
    verdict: Verdict = "pass"
    if ratio > limits.volume_fail_ratio and abs(score) > limits.volume_fail_z:
        verdict = "fail"
    elif ratio > limits.volume_warn_ratio and abs(score) > limits.volume_warn_z:
        verdict = "warn"
    finding = f"{rows:,} rows, median of the last {len(base)} runs {usual:,.0f}, robust z {score:+.1f}"
    advice = (
        "look for a cut-off file or a lost day"
        if rows < usual
        else "look for a period that is wider than usual or delivered twice"
    )
    return GateResult(
        "volume", "rows", verdict, float(rows), float(usual), finding, advice * (verdict != "pass")
    )


def _quarantine(run: RunRecord, base: list[RunRecord], limits: Thresholds) -> GateResult:
    share = run.rows_quarantined / run.rows_in if run.rows_in else 0.0
    finding = f"{run.rows_quarantined:,} of {run.rows_in:,} rows ({share:.2%})"
    usual: float | None = None
    risen = False
    if len(base) >= limits.least_runs and run.rows_in:
        shares = [r.rows_quarantined / r.rows_in for r in base if r.rows_in]
        usual, error = _usual_share(shares, [r.rows_in for r in base if r.rows_in], run.rows_in)
        finding += f", median of the last {len(base)} runs {usual:.2%}"
        risen = share - usual > max(limits.quarantine_rise, limits.nulls_warn_z * error)
    verdict: Verdict = "pass"
    if share > limits.quarantine_fail_share:
        verdict = "fail"
    elif share > limits.quarantine_warn_share or risen:
        verdict = "warn"
    most = max(run.reasons, key=lambda why: run.reasons[why], default="")
    advice = f"most often: {most}; mend the source or the map and ingest the file again" if most else ""
    return GateResult("quarantine", "rows", verdict, share, usual, finding, advice * (verdict != "pass"))


def _missing(run: RunRecord, base: list[RunRecord], column: str, limits: Thresholds) -> GateResult:
    gate, rows = "missing values", run.statistics.rows
    known = [r.statistics for r in base if r.statistics.rows and column in r.statistics.nulls]
    share = run.statistics.nulls[column] / rows if rows else 0.0
    if len(known) < limits.least_runs or not rows:
        return _insufficient(gate, column, share, f"{share:.2%} missing", len(known), limits)
    sizes = [s.rows for s in known]
    usual, error = _usual_share([s.nulls[column] / s.rows for s in known], sizes, rows)
    gap, score = share - usual, (share - usual) / error
    verdict: Verdict = "pass"
    # A fall is odd as well (a default filled in for what is not known), but it never fails a run.
    if gap > limits.nulls_fail_points and score > limits.nulls_fail_z:
        verdict = "fail"
    elif abs(gap) > limits.nulls_warn_points and abs(score) > limits.nulls_warn_z:
        verdict = "warn"
    finding = f"{share:.2%} missing, median of the last {len(known)} runs {usual:.2%}, z {score:+.1f}"
    advice = (
        "see whether the source dropped or renamed the field"
        if gap > 0
        else "see whether the source now fills in a default"
    )
    return GateResult(gate, column, verdict, share, usual, finding, advice * (verdict != "pass"))


def _new_texts(run: RunRecord, base: list[RunRecord], column: str, limits: Thresholds) -> GateResult:
    gate, levels = "new texts", run.statistics.levels[column]
    known = [r.statistics.levels[column] for r in base if column in r.statistics.levels]
    if len(known) < limits.least_runs:
        return _insufficient(gate, column, 0.0, f"{len(levels)} different texts", len(known), limits)
    seen = {RARE}.union(*known)
    new = {text: rows for text, rows in levels.items() if text not in seen}
    share = sum(new.values()) / max(sum(levels.values()), 1)
    if share <= limits.new_texts_warn_share:
        return GateResult(
            gate, column, "pass", share, None, f"{len(new)} new of {len(levels)} texts ({share:.2%})"
        )
    names = ", ".join(repr(text) for text in sorted(new, key=lambda text: -new[text])[:3])
    finding = f"{share:.2%} of the rows have a text that the last {len(known)} runs did not have: {names}"
    advice = "see whether the source renamed a code; the map can translate it"
    return GateResult(gate, column, "warn", share, None, finding, advice)


def _usual_share(shares: list[float], sizes: list[int], rows: int) -> tuple[float, float]:
    """Give the median of earlier shares and the standard error of a further share of `rows` rows around it.

    The variance is p (1 - p) / rows for the new share, the same over all earlier rows times pi / 2 for the
    median, and the square of 1.4826 x the median absolute deviation for what runs differ by among themselves.
    In p half a hit is added, so that a column that was always full has an error above zero.
    """
    usual, total = median(shares), sum(sizes)
    smooth = min(max(usual, 0.5 / total), 1 - 0.5 / total)
    spread = _MAD_TO_SIGMA * median(abs(share - usual) for share in shares)
    variance = smooth * (1 - smooth) * (1 / rows + math.pi / 2 / total) + spread**2
    return usual, math.sqrt(variance)


def _insufficient(
    gate: str, subject: str, value: float, finding: str, runs: int, limits: Thresholds
) -> GateResult:
    text = f"{finding}; {runs} earlier runs, {limits.least_runs} are needed to judge"
    return GateResult(gate, subject, "insufficient history", value, None, text)
