"""The data-quality report: one HTML page with its pictures in it, for people; nothing is fetched."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from data.contracts import CONTRACTS, contract
from data.page import html_page, write_page
from data.quality import GateResult, Thresholds, judge_latest, overall
from data.runs import RunRecord, last_runs, read_runs
from data.statistics import Statistics, measure
from data.store import connect
from data.svg import Bar, Line, Range, bars, dots, horizontal_bars, ranges
from data.thresholds import load_thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from data.quality import Verdict

__all__ = ["TableQuality", "assess_table", "quality_page", "write_quality_report"]

_WORDS = {
    "pass": "pass 通过",
    "warn": "warn 警告",
    "fail": "fail 不通过",
    "insufficient history": "insufficient history 历史不足",
}
_CLASSES = {"pass": "pass", "warn": "warn", "fail": "fail", "insufficient history": "unknown"}
_GATES = {
    "freshness": "Freshness · 新鲜度",
    "volume": "Volume · 数据量",
    "quarantine": "Quarantine · 隔离",
    "missing values": "Missing values · 缺失值",
    "new texts": "New texts · 新取值",
}
_OF_COLUMNS = ("missing values", "new texts")
_STYLE = """
svg text { font-size: 14px; fill: #1d2733; } svg .tick { fill: #5b6875; }
svg .end, svg .name { text-anchor: end; }
svg .middle { text-anchor: middle; } svg .grid { stroke: #dde3e8; } svg .bar { fill: #3b7ea1; }
svg .more { fill: #d97706; } svg .level { stroke-width: 1.5; stroke-dasharray: 5 3; stroke: #5b6875; }
svg .level.warn { stroke: #d97706; } svg .level.fail { stroke: #b91c1c; }
svg .path { fill: none; stroke: #9fb4c2; }
svg .dot { fill: #3b7ea1; } svg .dot.warn { fill: #d97706; } svg .dot.fail { fill: #b91c1c; }
svg .dot.unknown { fill: #7c8894; } svg .band { fill: #c9dbe6; } svg .median { fill: #1d2733; }
"""


@dataclass(frozen=True, slots=True)
class TableQuality:
    """What is known of the quality of a table.

    Parameters
    ----------
    table : str
        Its name.
    stands : Statistics or None
        The table as it stands in the lake, None where the lake holds none.
    runs : tuple of RunRecord
        Last runs, oldest first, each file once.
    results : tuple of GateResult
        Gates of the newest run, none without runs.
    thresholds : Thresholds
        Limits by which they were judged.
    """

    table: str
    stands: Statistics | None
    runs: tuple[RunRecord, ...]
    results: tuple[GateResult, ...]
    thresholds: Thresholds

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the gates; insufficient history where nothing was ingested."""
        return overall(self.results)


def assess_table(root: Path, table: str, thresholds: Thresholds) -> TableQuality:
    """Look at a table of the lake and at its run log.

    Parameters
    ----------
    root : Path
        The lake.
    table : str
        A contract's table.
    thresholds : Thresholds
        Limits of the gates.
    """
    rules = contract(table)
    runs = read_runs(root, table)
    judged = judge_latest(runs, thresholds)
    with connect(root) as connection:
        shown = {str(row[0]) for row in connection.execute("SHOW TABLES").fetchall()}
        stands = measure(connection, rules, stored=table) if table in shown else None
    kept = tuple(last_runs(runs, thresholds.most_runs + 1))
    return TableQuality(table, stands, kept, judged[1] if judged else (), thresholds)


def write_quality_report(
    root: Path,
    out: Path,
    *,
    now: dt.datetime,
    tables: Sequence[str] | None = None,
    thresholds: Mapping[str, Thresholds] | None = None,
) -> tuple[TableQuality, ...]:
    """Write the report of some tables.

    Parameters
    ----------
    root : Path
        The lake.
    out : Path
        HTML file to write; it is replaced in one step.
    now : datetime
        Time to print on the page, naive UTC.
    tables : sequence of str, optional
        Tables to report; by default those that the lake holds or that have runs.
    thresholds : mapping of str to Thresholds, optional
        Limits by table, the shipped ones by default.

    Returns
    -------
    tuple of TableQuality
        What the page shows.
    """
    limits = thresholds or load_thresholds(None)
    found = tuple(assess_table(root, name, limits[contract(name).name]) for name in tables or CONTRACTS)
    if tables is None:
        found = tuple(item for item in found if item.stands is not None or item.runs)
    write_page(quality_page(found, now), out)
    return found


def quality_page(tables: Sequence[TableQuality], now: dt.datetime) -> str:
    """Give the HTML of the report."""
    rows = "".join(
        f'<tr><td><a href="#{item.table}">{item.table}</a></td><td>{_badge(item.verdict)}</td>'
        f'<td class="n">{item.stands.rows if item.stands else 0:,}</td><td class="n">{len(item.runs)}</td>'
        f"<td>{escape(_span(item.stands))}</td></tr>"
        for item in tables
    )
    empty = "" if tables else "<p>The lake holds no table and nothing was ingested. 数据湖中没有数据表。</p>"
    body = (
        f'<h1>Data quality · 数据质量报告</h1><p class="dim">{now:%Y-%m-%d %H:%M} UTC. The gates judge '
        "the newest ingest of each table by the ones before. They hold no row back.</p>"
        "<table><tr><th>Table · 数据表</th><th>Verdict · 结论</th>"
        '<th class="n">Rows · 行数</th><th class="n">Runs · 导入次数</th>'
        f"<th>Events · 事件时间</th></tr>{rows}</table>{empty}{''.join(_section(item) for item in tables)}"
    )
    return html_page("Data quality · 数据质量", body, _STYLE)


def _badge(verdict: Verdict) -> str:
    return f'<span class="badge {_CLASSES[verdict]}">{_WORDS[verdict]}</span>'


def _span(stands: Statistics | None) -> str:
    if stands is None or stands.oldest is None or stands.newest is None:
        return ""
    return f"{stands.oldest:%Y-%m-%d} to {stands.newest:%Y-%m-%d}"


def _section(item: TableQuality) -> str:
    head = f'<h2 id="{item.table}">{item.table} {_badge(item.verdict)}</h2>'
    meaning = f'<p class="dim">{escape(contract(item.table).meaning)}</p>'
    if not item.runs:
        note = "<p>Nothing was ingested into this table, so there is no run to judge. 没有导入记录。</p>"
        return head + meaning + note + _pictures(_volume_pictures(item))
    run = item.runs[-1]
    about = (
        f"<p>Newest ingest: <b>{escape(run.source)}</b>, {run.now:%Y-%m-%d %H:%M}: {run.rows_in:,} rows in, "
        f"{run.rows_stored:,} stored, {run.rows_quarantined:,} quarantined.</p>"
    )
    pictures = [*_run_pictures(item), *_volume_pictures(item)]
    return head + meaning + about + _gates(item) + _pictures(pictures)


def _gates(item: TableQuality) -> str:
    """List the gates; columns with nothing to look at are counted in one line."""
    loud = [r for r in item.results if r.gate not in _OF_COLUMNS or r.verdict in ("warn", "fail")]
    rows = "".join(
        f'<tr><td class="w">{escape(_GATES[r.gate])}</td><td>{escape(r.subject)}</td>'
        f"<td>{_badge(r.verdict)}</td><td>{escape(r.finding)}</td><td>{escape(r.advice)}</td></tr>"
        for r in loud
    )
    quiet = [r.verdict for r in item.results if r not in loud]
    passed, unknown = quiet.count("pass"), quiet.count("insufficient history")
    rest = ", ".join(
        text
        for count, text in ((passed, f"{passed} pass"), (unknown, f"{unknown} have too little history"))
        if count
    )
    return (
        "<h3>Gates · 质量关口</h3><table><tr><th>Gate · 关口</th><th>Of · 对象</th>"
        '<th class="w">Verdict · 结论</th><th>Finding · 发现</th><th>What to do · 建议</th></tr>'
        f"{rows}</table>" + f'<p class="dim">Of the other gates, each on one column, {rest}.</p>' * bool(rest)
    )


def _pictures(pictures: Sequence[tuple[str, str, str]]) -> str:
    shown = "".join(
        f"<figure><h3>{escape(title)}</h3>{picture}"
        f'<figcaption class="dim">{escape(note)}</figcaption></figure>'
        for title, picture, note in pictures
    )
    return f'<div class="pictures">{shown}</div>'


def _volume_pictures(item: TableQuality) -> list[tuple[str, str, str]]:
    if item.stands is None or not item.stands.by_month:
        return []
    time = contract(item.table).event_time
    months = [Bar(month, rows) for month, rows in _months(item.stands.by_month)]
    days = [Bar(day, rows) for day, rows in _days(item.stands.by_day)]
    by_month, by_day = "Rows by month · 每月行数", "Rows by day · 每日行数"
    return [
        (by_month, bars(by_month, months), f"The table as it stands, by {time}."),
        (by_day, bars(by_day, days), f"Up to the newest event, {len(days)} day{'s' * (len(days) > 1)}."),
    ]


def _run_pictures(item: TableQuality) -> list[tuple[str, str, str]]:
    limits, run = item.thresholds, item.runs[-1]
    # Only what the gate compares: without enough runs there is no usual volume to draw.
    usual = [Line("median before", r.expected, "") for r in item.results if r.gate == "volume" and r.expected]
    volume = [Bar(f"{r.now:%Y-%m-%d}", r.rows_stored, r.rows_quarantined) for r in item.runs]
    ages = [
        Bar(f"{r.now:%Y-%m-%d}", max((r.now - r.statistics.newest).total_seconds() / 86_400, 0.0))
        for r in item.runs
        if r.statistics.newest is not None
    ]
    stale = [Line("warn", limits.stale_warn_days, "warn"), Line("fail", limits.stale_fail_days, "fail")]
    titles = (
        "Rows of each run · 每次导入的行数",
        "Freshness: days from newest event to run · 新鲜度",
        "Missing values · 缺失率",
        "Reasons of quarantine · 隔离原因",
    )
    pictures = [
        (titles[0], bars(titles[0], volume, usual), "Stored, and on top of it quarantined (orange)."),
        (titles[1], dots(titles[1], ages, stale), "One dot for each run."),
        (titles[2], ranges(titles[2], _ranges(item)), "Dot: newest run. Band and tick: runs before, median."),
    ]
    if run.reasons:
        ordered = sorted(run.reasons.items(), key=lambda reason: (-reason[1], reason[0]))
        reasons = [Bar(why, rows) for why, rows in ordered[:15]]
        more = len(ordered) - len(reasons)
        note = (
            "Rows of the newest run; a row may have several reasons."
            + f" {more} rarer ones not shown." * (more > 0)
        )
        pictures.append((titles[3], horizontal_bars(titles[3], reasons), note))
    return pictures


def _ranges(item: TableQuality) -> list[Range]:
    run, found = item.runs[-1], []
    before = [r.statistics for r in item.runs[:-1]]
    verdicts = {r.subject: r for r in item.results if r.gate == "missing values"}
    for column, nulls in run.statistics.nulls.items():
        shares = [s.nulls[column] / s.rows for s in before if s.rows and column in s.nulls]
        result = verdicts.get(column)
        found.append(
            Range(
                column,
                nulls / run.statistics.rows if run.statistics.rows else 0.0,
                min(shares, default=None),
                result.expected if result else None,
                max(shares, default=None),
                _CLASSES[result.verdict] if result else "unknown",
            )
        )
    return found


def _months(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Give every month from the first to the last, with 0 where there is no row."""
    first, last = min(counts), max(counts)
    year, month = int(first[:4]), int(first[5:7])
    found = []
    while (label := f"{year:04d}-{month:02d}") <= last:
        found.append((label, counts.get(label, 0)))
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return found


def _days(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    first, last = dt.date.fromisoformat(min(counts)), dt.date.fromisoformat(max(counts))
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    return [(day.isoformat(), counts.get(day.isoformat(), 0)) for day in days]
