"""The page of an impact: one HTML file with its pictures in it, for actuaries; nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from data.page import html_page
from models.impact import LEAST_POLICIES
from models.impact_pictures import causes_figure, segment_figures
from models.report import STYLE, embedded_pictures
from pricing.money import from_minor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import pandas as pd
    from matplotlib.figure import Figure

    from models.demand import Verdict
    from models.impact import Impact
    from pricing.product import Product

SEGMENTS = 8
REASONS = 3
FOLLOWING = "steps that follow the risk premium"
EXTRA_STYLE = ".narrow { max-width: 640px; } td.n.why { white-space: normal; text-align: left; width: 45%; }"
FIGURES = {
    "volume": "Expected policies",
    "premium": "Expected premium",
    "claims": "Expected claims",
    "expenses": "Expenses, commission and tax",
    "profit": "Expected profit",
}


@dataclass(frozen=True)
class Compared:
    """What a page says beside the figures.

    Attributes
    ----------
    product
        Product file: names of the factors, currency.
    old, new
        What prices on each side, in words.
    portfolio
        Name of the file.
    as_of
        UTC without zone.
    whole
        Why the change of the risk premium is not split by factor; empty where it is.
    verdict
        Whether the elasticity is known; None without a demand model.
    source
        Where demand was learned from, in words.
    renewal
        Whether prices are compared with the premium in force.
    tested
        Whether it is known which prices were tested.
    picture
        Slopes of acceptance; None where there is none.
    table
        File with a line per policy.
    """

    product: Product
    old: str
    new: str
    portfolio: str
    as_of: datetime
    whole: str = ""
    verdict: Verdict | None = None
    source: str = ""
    renewal: bool = False
    tested: bool = True
    picture: Figure | None = None
    table: str = ""


def impact_page(impact: Impact, about: Compared, falls: pd.DataFrame, rises: pd.DataFrame) -> str:
    """Give the HTML of the page.

    Parameters
    ----------
    impact
        What new prices do.
    about
        What was compared.
    falls, rises
        Lines of the policies that move most, by place in the portfolio.
    """
    name = escape(f"{about.product.name.en}: impact of new prices")
    body = [
        f'<h1>{name}</h1><p class="dim">{escape(about.portfolio)}, {impact.rows:,} policies, as of '
        f"{about.as_of:%Y-%m-%d %H:%M} UTC.<br>Old: {escape(about.old)}<br>New: {escape(about.new)}"
        + f"<br>A line per policy: {escape(about.table)}" * bool(about.table)
        + "</p>",
        f"<h2>In short</h2>{_summary(impact, about)}",
        f"<h2>Whose price moves how far</h2>{embedded_pictures([impact.dislocation.figure()])}",
        f"<h2>What the change is due to</h2>{_causes(impact, about)}",
        f"<h2>Winners and losers</h2>{_segments(impact, about)}",
        f"<h2>Who is no longer quoted, who is now</h2>{_statuses(impact)}",
        f"<h2>Volume and profit</h2>{_demand(impact, about)}",
        f"<h2>Largest movers</h2>{_movers('Falls', falls, about)}{_movers('Rises', rises, about)}",
    ]
    return html_page(name, "".join(body), STYLE + EXTRA_STYLE)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], last: str = "") -> str:
    """Write a table: the first column is text, the others are figures; the last may have a class."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["n"] * (len(cells) - 2) + [f"n {last}".strip()]
        figures = "".join(
            f'<{tag} class="{kind}">{escape(cell)}</{tag}>'
            for kind, cell in zip(kinds, cells[1:], strict=True)
        )
        return f"<tr><{tag}>{escape(cells[0])}</{tag}>{figures}</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _summary(impact: Impact, about: Compared) -> str:
    found = impact.dislocation.summary
    money = _Money(about.product.currency)
    rows = [
        ("Policies with a price both ways", f"{found['policies']:,.0f} of {impact.rows:,}"),
        ("Old premium", money(found["before"])),
        ("New premium", money(found["after"])),
        ("Change (off-balance)", f"{found['change']:+.3%}"),
        ("Factor on all new prices that keeps the premium", f"{impact.neutral_factor:.6f}"),
        ("Policies whose price falls / rises", f"{impact.winners:.1%} / {impact.losers:.1%}"),
        ("Median change", f"{found['median']:+.2%}"),
        ("Largest fall / rise", f"{found['largest_fall']:+.1%} / {found['largest_rise']:+.1%}"),
        ("Policies quoted before, not now", f"{_lost(impact):,}"),
        ("Policies not quoted before, now quoted", f"{_gained(impact):,}"),
    ]
    return (
        f"<div class='narrow'>{_table(('', ''), rows)}</div><p class='dim'>The factor is exact for prices "
        "that may take any value; minimum premium, caps and rounding of the plan then move the book a "
        "little again.</p>"
    )


def _lost(impact: Impact) -> int:
    return sum(n for (old, new), n in impact.statuses.items() if old == "quoted" != new)


def _gained(impact: Impact) -> int:
    return sum(n for (old, new), n in impact.statuses.items() if new == "quoted" != old)


class _Money:
    """Writes minor units as an amount with its currency."""

    def __init__(self, currency: str) -> None:
        self._currency = currency

    def __call__(self, minor: float, sign: str = "") -> str:
        whole, _, digits = from_minor(abs(round(minor)), self._currency).partition(".")
        mark = "-" if minor < 0 else "+" if sign else ""
        return f"{mark}{int(whole):,}{'.' * bool(digits)}{digits} {self._currency}"


def labels(product: Product) -> dict[str, str]:
    """Give the names of rating factors for people."""
    return {factor.name: factor.label.en for factor in product.factors}


def cause_label(column: str, product: Product) -> str:
    """Say in words what a column of the table is due to, for example `plan_commission_minor`."""
    kind, _, name = column.removesuffix("_minor").partition("_")
    shown = labels(product).get(name, name.replace("_", " "))
    return {
        "factor": f"model: {shown}",
        "follows": f"{shown}, following the risk premium",
        "plan": f"plan: {shown}",
    }[kind]


def _causes(impact: Impact, about: Compared) -> str:
    before, money = impact.dislocation.summary["before"], _Money(about.product.currency)
    if not impact.causes:
        return "<p>No price moves.</p>"
    drawn: dict[str, int] = {}
    for cause, part in impact.causes.items():
        name = FOLLOWING if cause.startswith("follows_") else cause_label(cause, about.product)
        drawn[name] = drawn.get(name, 0) + part
    groups = {
        "Model, through the risk premium": "factor_",
        f"Model, through {FOLLOWING}": "follows_",
        "Plan": "plan_",
    }
    totals = {
        group: sum(part for cause, part in impact.causes.items() if cause.startswith(mark))
        for group, mark in groups.items()
    }
    rows = [(group, money(part, "+"), f"{part / before:+.3%}", "") for group, part in totals.items()]
    rows += [
        (cause_label(cause, about.product), money(part, "+"), f"{part / before:+.3%}",
         f"{impact.touched[cause]:,}")
        for cause, part in sorted(impact.causes.items(), key=lambda item: -abs(item[1]))
    ]  # fmt: skip
    ladder = [
        (
            step.replace("_", " "),
            money(line["old"]),
            money(line["new"]),
            money(line["new"] - line["old"], "+"),
        )
        for step, line in impact.ladder.iterrows()
        if line.any()
    ]
    return (
        f"{embedded_pictures([causes_figure(drawn, before)])}"
        f"{_table(('Cause', 'Change', 'of old premium', 'Policies it moves'), rows)}"
        "<p class='dim'>The causes of every policy add up to its change exactly, in the smallest unit. Model "
        "and plan: mean of the effect that comes first and last (Shapley). Factors: exact contributions to "
        "the risk premium along the straight line between the models (Aumann and Shapley).</p>"
        + f"<p>{escape(about.whole)}</p>" * bool(about.whole)
        + f"<h3>The ladder, all policies together</h3>{_table(('Step', 'Old', 'New', 'Change'), ladder)}"
    )


def _segments(impact: Impact, about: Compared) -> str:
    names, ranked = labels(about.product), impact.ranked()
    money = _Money(about.product.currency)

    def rows(part: pd.DataFrame) -> list[tuple[str, ...]]:
        return [
            (f"{names.get(factor, factor)}: {level}", f"{line['policies']:,.0f}", money(line["before"]),
             money(line["after"]), f"{line['change']:+.1%}", f"{line['winners']:.0%}",
             f"{line['losers']:.0%}", f"{line['best']:+.1%}", f"{line['worst']:+.1%}")
            for (factor, level), line in part.iterrows()
        ]  # fmt: skip

    head = ("Segment", "Policies", "Old", "New", "Change", "pay less", "pay more", "largest fall", "rise")
    winners = ranked[ranked["change"] < 0].head(SEGMENTS)
    losers = ranked[ranked["change"] > 0].tail(SEGMENTS)[::-1]
    return (
        embedded_pictures(segment_figures(impact, names))
        + f"<h3>Segments that gain most</h3>{_table(head, rows(winners))}"
        + f"<h3>Segments that lose most</h3>{_table(head, rows(losers))}"
        + f"<p class='dim'>Of segments with at least {LEAST_POLICIES} policies.</p>"
    )


def _statuses(impact: Impact) -> str:
    moved = {pair: n for pair, n in impact.statuses.items() if pair[0] != pair[1]}
    rows = [(f"{old} before, {new} now", f"{n:,}") for (old, new), n in moved.items()]
    stay = [(f"{old} both ways", f"{n:,}") for (old, new), n in impact.statuses.items() if old == new]
    codes = [
        (str(code), f"{line['old']:,}", f"{line['new']:,}", f"{line['new'] - line['old']:+,}")
        for code, line in impact.codes.iterrows()
    ]
    told = "" if moved else "<p>No policy changes its status.</p>"
    table = _table(("Why there is no price", "Old", "New", "Change"), codes) if codes else ""
    return told + _table(("Status", "Policies"), [*rows, *stay]) + table


def _demand(impact: Impact, about: Compared) -> str:
    verdict = about.verdict
    if verdict is None:
        return (
            "<p><b>No demand model was given</b>: everything on this page is at the volume of the book. "
            "Hint: --demand lake, or --demand FILE with a price test.</p>"
        )
    picture = "" if about.picture is None else embedded_pictures([about.picture])
    if not verdict.identified:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
        return (
            f"<p><b>The elasticity is not identified</b> by {escape(about.source)}, so no volume and no "
            f"profit is given:</p><ul>{reasons}</ul>{picture}"
        )
    money, demand = _Money(about.product.currency), impact.demand
    rows = []
    for name, shown in FIGURES.items():
        old, new = float(demand.loc[name, "old"]), float(demand.loc[name, "new"])
        texts = [f"{x:,.1f}" if name == "volume" else money(x) for x in (old, new)]
        rows.append((shown, *texts, f"{new / old - 1:+.2%}" if old > 0 else ""))
    policies, outside = float(demand.loc["policies", "new"]), float(demand.loc["outside", "new"])
    base = "premium in force" if about.renewal else "old price"
    reach = (
        f"{outside:,.0f} ({outside / policies:.1%}) move further from the {base} than any price that was "
        "tested: for those demand is an extrapolation."
        if about.tested
        else f"how many move further from the {base} than the tested prices is not known."
    )
    slope = verdict.slopes["controlled"]
    return (
        _table(("", "Old", "New", "Change"), rows)
        + f"<p>Learned from {escape(about.source)}; acceptance changes by {slope:+.3f} per unit of log "
        f"price. Of {policies:,.0f} policies, {reach} Claims are the new side's on both sides.</p>{picture}"
    )


def _movers(name: str, lines: pd.DataFrame, about: Compared) -> str:
    if lines.empty:
        return f"<h3>{name}</h3><p>None.</p>"
    money = _Money(about.product.currency)
    causes = [column for column in lines.columns if column.startswith(("factor_", "plan_"))]
    rows = []
    for place, line in lines.iterrows():
        sizes = line[causes].astype(float)
        first = sizes[sizes != 0].abs().sort_values(ascending=False, kind="stable").index[:REASONS]
        why = "; ".join(f"{cause_label(c, about.product)} {money(sizes[c], '+')}" for c in first)
        policy = "" if line["policy_id"] != line["policy_id"] else f", policy {line['policy_id']:.0f}"
        old, new = line["old_price_minor"], line["new_price_minor"]
        rows.append((f"row {place}{policy}", money(old), money(new), f"{new / old - 1:+.1%}", why))
    table = _table(("Policy", "Old", "New", "Change", "Largest causes"), rows, "why")
    return f"<h3>{name}</h3>{table}"
