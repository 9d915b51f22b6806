"""What the command line shows: tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from models.impact_page import cause_label
from pricing.money import from_minor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from rich.console import RenderableType

    from data.events import Settlement
    from data.ingest import IngestReport
    from data.simulate import SimulationSummary
    from models.audit import Period
    from models.challenge_log import Challenge
    from models.demand import Verdict
    from models.impact import Impact
    from models.promotion import Decision
    from models.scoring_table import ScoringSummary
    from pricing.product import Product
    from serving.challenge_jobs import ChallengeStatus
    from serving.ingest_quotes import MovedQuotes
    from serving.replay import Replay
    from serving.reprice import RepriceSummary
    from serving.wire import Quote, Recommendations, RiskProfile

# Figures that only the report shows: the terminal is narrow.
UNSHOWN = ("gini_low", "gini_high", "balance_p", "dominated_by", "seconds")
# Names whose longest word would make a column wider than its numbers.
SHORT = {
    "autocalibration_p": "auto-\ncalib\np",
    "deviance": "dev.",
    "deviance_x100": "dev.\nx100",
    "logloss": "log\nloss",
    "severity_deviance": "sev.\ndev.",
}
# So that the figures of a motor product stand side by side in 80 columns; the report has all digits.
FAMILY_WIDTH = 10
DIGITS = dict.fromkeys(
    ("deviance_x100", "gini", "ae", "autocalibration_p", "severity_deviance", "cost_gini", "cost_ae"), 3
)
FINDINGS = {"met": "green", "missed": "bold red", "undecided": "yellow", "not judged": "dim"}
LARGEST_CAUSES = 8
BANDS = (-0.30, -0.15, -0.05, 0.05, 0.15, 0.30)


def quote_panel(quote: Quote) -> RenderableType:
    """Draw a quote: the ladder, the reasons and what priced it."""
    ladder = Table(show_header=True, header_style="bold", expand=True)
    ladder.add_column("step")
    ladder.add_column("步骤")
    ladder.add_column("amount", justify="right")
    for step in quote.ladder:
        ladder.add_row(step.label.en, step.label.zh, step.amount)
    if quote.price:
        ladder.add_section()
        ladder.add_row("[bold]Price", "[bold]价格", f"[bold]{quote.price.amount} {quote.price.currency}")
    grid = Table.grid(padding=(0, 1))
    if quote.ladder:
        grid.add_row(ladder)
    if quote.score:
        name = quote.score.name
        grid.add_row(f"score {quote.score.points} of 1000, band {quote.score.band}: {name.en} {name.zh}")
    for outcome in quote.outcomes:
        grid.add_row(f"[yellow]{outcome.effect}[/]: {outcome.message.en} {outcome.message.zh}")
    for reason in quote.reasons:
        grid.add_row(f"x {reason.relativity:5.2f}  {reason.text.en}  ·  {reason.text.zh}")
    versions = quote.versions
    grid.add_row(
        f"[dim]model {versions.model} v{versions.model_version} · "
        f"plan {versions.plan} v{versions.plan_version} · filing {versions.filing}"
    )
    title = f"{quote.product} · {quote.status} · {quote.quote_id} · until {quote.expires_at:%Y-%m-%d %H:%M}"
    return Panel(grid, title=title, expand=False)


def comparison_table(product: str, comparison: pd.DataFrame, champion: str) -> RenderableType:
    """Draw the figures of every family on the test rows; the report has the rest of them."""
    table = Table(title=f"{product}: families on the test rows")
    table.add_column("family", min_width=FAMILY_WIDTH)
    shown = [name for name in comparison.columns if name not in UNSHOWN]
    # With a fixed benefit, cost and events say the same.
    repeated = [c for c in ("cost_gini", "cost_ae") if c in shown and _same(comparison, c, c[5:])]
    shown = [name for name in shown if name not in repeated]
    for figure in shown:
        table.add_column(
            SHORT.get(str(figure), str(figure)).replace("_", "\n"), justify="right", overflow="fold"
        )
    for family, figures in comparison[shown].iterrows():
        short = str(family) if len(str(family)) <= FAMILY_WIDTH else str(family).replace("_", "_\n")
        name = f"[bold]{short} (champion)[/]" if family == champion else short
        numbers = (
            "" if value != value else f"{value:.{DIGITS.get(str(figure), 4)}f}"
            for figure, value in figures.items()
        )
        table.add_row(name, *numbers)
    return table


def _same(comparison: pd.DataFrame, one: str, other: str) -> bool:
    return other in comparison and bool((comparison[one] - comparison[other]).abs().max() < 1e-6)


def decision_table(title: str, decision: Decision) -> RenderableType:
    """Draw every threshold with what was found."""
    table = Table(title=f"{title}: {decision.outcome.replace('_', ' ')}")
    for heading in ("rule", "of", "candidate", "held against", "asked", "finding"):
        figure = heading in {"candidate", "held against"}
        table.add_column(heading, justify="right" if figure else "left", overflow="fold")
    for rule in decision.rules:
        numbers = ("" if x is None else f"{x:.4g}" for x in (rule.candidate, rule.champion))
        colour = FINDINGS[rule.finding]
        table.add_row(
            rule.rule.replace("_", " "),
            escape(rule.of.replace("_", " ")),
            *numbers,
            escape(rule.threshold),
            f"[{colour}]{rule.finding}[/]",
        )
    return table


def replay_table(replay: Replay) -> RenderableType:
    """Draw a stored quote beside its recomputation."""
    versions = replay.quote.versions
    table = Table(
        title=f"quote {replay.quote.quote_id} of {replay.quote.created_at:%Y-%m-%d %H:%M:%S}, minor units",
        caption=f"plan {versions.plan} v{versions.plan_version} ({versions.plan_hash[:12]}), model "
        f"{versions.model} v{versions.model_version} ({versions.model_hash[:12]}), product file "
        f"v{versions.product_version} ({versions.product_hash[:12]}); record {replay.seal}",
    )
    for heading in ("step", "stored", "recomputed", ""):
        table.add_column(heading, justify="left" if heading in ("step", "") else "right")
    for line in replay.lines:
        same = line.stored == line.recomputed
        table.add_row(
            line.name.replace("_", " "),
            _shown(line.stored),
            _shown(line.recomputed),
            "" if same else "[red]differs",
        )
    return table


def _shown(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else escape(str(value))


def history_table(product: str, periods: Sequence[Period]) -> RenderableType:
    """Draw what priced when; hashes are cut to twelve characters."""
    table = Table(title=f"{product}: what priced")
    for heading in ("from", "until", "model", "tables", "product", "features", "plan", "trained", "approved"):
        table.add_column(heading)
    for period in periods:
        what = period.identity
        table.add_row(
            f"{period.since:%Y-%m-%d %H:%M:%S}",
            "now" if period.until is None else f"{period.until:%Y-%m-%d %H:%M:%S}",
            f"{what.family} v{period.version}",
            what.model_hash[:12],
            what.product_hash[:12],
            what.spec_hash[:12] or "none",
            f"{what.plan} v{what.plan_version} ({what.plan_hash[:12]}), filing {what.filing}",
            escape(what.author),
            escape(period.approver),
        )
    return table


def challenges_table(product: str, periods: Sequence[Challenge]) -> RenderableType:
    """Draw which versions were tried beside the one in service, how and when."""
    table = Table(title=f"{product}: what was tried beside it")
    for heading in ("from", "until", "model", "tables", "as", "customers", "beside", "trained", "approved"):
        table.add_column(heading)
    for one in periods:
        table.add_row(
            f"{one.since:%Y-%m-%d %H:%M:%S}",
            "now" if one.until is None else f"{one.until:%Y-%m-%d %H:%M:%S}",
            f"{one.family} v{one.version}",
            one.model_hash[:12],
            one.kind,
            f"{one.share / 1e6:.1%}" if one.share else "none",
            f"v{one.champion}",
            escape(one.author),
            escape(one.approver),
        )
    return table


def arms_table(product: str, status: ChallengeStatus) -> RenderableType:
    """Draw how the arms of a challenge compare."""
    now = status.challenge
    table = Table(title=f"{product}: v{now.version} is {now.kind} of v{now.champion} since {now.since}")
    for heading in status.frame.columns:
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for line in status.frame.itertuples(index=False):
        table.add_row(*(escape(one) if isinstance(one, str) else f"{one:,.4g}" for one in line))
    return table


def simulation_table(summary: SimulationSummary) -> RenderableType:
    """Draw what a simulated insurer holds."""
    table = Table(
        title=f"{summary.customers:,} customers, {summary.sellers:,} sellers, {summary.orders:,} orders, "
        f"{summary.returns:,} returns"
    )
    for heading in ("product", "quotes", "policies", "claims", "take-up", "loss ratio"):
        table.add_column(heading, justify="left" if heading == "product" else "right")
    for code, item in summary.products.items():
        table.add_row(
            code,
            f"{item.quotes:,}",
            f"{item.policies:,}",
            f"{item.claims:,}",
            f"{item.take_up:.1%}",
            f"{item.loss_ratio:.1%}",
        )
    return table


def ingest_table(report: IngestReport) -> RenderableType:
    """Draw what became of every row of a source; the counts add up."""
    table = Table(title=f"{report.source} into {report.table}")
    table.add_column("rows")
    table.add_column("count", justify="right")
    for label, count in (
        ("read", report.rows_read),
        ("merged into an equal one", report.rows_merged),
        ("in", report.rows_in),
        ("stored", report.rows_stored),
        ("quarantined", report.rows_quarantined),
    ):
        table.add_row(label, f"{count:,}")
    table.add_section()
    for reason, count in sorted(report.reasons.items()):
        table.add_row(reason, f"{count:,}")
    if report.quarantine:
        table.caption = f"quarantine: {report.quarantine}"
    return table


def settlement_table(added: int, settlements: Sequence[Settlement]) -> RenderableType:
    """Draw what events add to the tables, and which of them wait."""
    table = Table(title=f"{added:,} new events", title_justify="left")
    for heading in ("table", "", "count"):
        table.add_column(heading, justify="right" if heading == "count" else "left")
    for done in settlements:
        table.add_section()
        table.add_row(done.table, "rows that stand on events alone", f"{done.stored:,}")
        if done.table == "orders":
            table.add_row("", "returns set on the company's own rows", f"{done.returned:,}")
        table.add_row("", "events that wait", f"{done.waiting:,}")
        for reason, count in done.reasons.items():
            table.add_row("", f"  {reason}", f"{count:,}")
    waiting = [str(done.quarantine) for done in settlements if done.quarantine]
    if waiting:
        table.caption = "quarantine: " + ", ".join(waiting)
    return table


def moved_quotes_table(moved: MovedQuotes) -> RenderableType:
    """Draw which quotes are in the lake with their answer, and which are not."""
    done = moved.replaced
    table = Table(title=f"{done.stored:,} quotes of the service in the lake", title_justify="left")
    table.add_column("")
    table.add_column("count", justify="right")
    table.add_row("accepted", f"{moved.accepted:,}")
    table.add_row("declined, or expired unanswered", f"{moved.refused:,}")
    for why, count in moved.left_out.items():
        table.add_row(f"left out: {why}", f"{count:,}")
    table.add_row("that wait", f"{done.waiting:,}")
    for reason, count in done.reasons.items():
        table.add_row(f"  {reason}", f"{count:,}")
    if done.quarantine:
        table.caption = f"quarantine: {done.quarantine}"
    return table


def reprice_table(summary: RepriceSummary) -> RenderableType:
    """Draw what repricing a portfolio does to its premium."""
    table = Table(title=f"{summary.rows:,} policies repriced")
    table.add_column("outcome")
    table.add_column("policies", justify="right")
    for status, count in sorted(summary.by_status.items()):
        table.add_row(status, f"{count:,}")
    table.add_section()
    for label, count in change_bands(summary.changes).items():
        table.add_row(f"change of price {label}", f"{count:,}")
    table.add_section()
    for currency, (before, after) in summary.premium.items():
        table.add_row("premium before", f"{from_minor(before, currency)} {currency}")
        table.add_row("premium after", f"{from_minor(after, currency)} {currency}")
        table.add_row("mean change", f"{after / before - 1:+.1%}")
    return table


def impact_table(impact: Impact, product: Product) -> RenderableType:
    """Draw what new prices do to a book; the page has the rest."""
    found, currency = impact.dislocation.summary, product.currency
    table = Table(title=f"{product.code}: {impact.rows:,} policies priced both ways")
    table.add_column("", overflow="fold")
    table.add_column("policies", justify="right")
    table.add_column("premium", justify="right")
    for name, line in impact.dislocation.frame.iterrows():
        table.add_row(f"change of price {name}", f"{line['policies']:,.0f}", f"{line['share']:.1%}")
    table.add_section()
    for (old, new), count in impact.statuses.items():
        if old != new or old != "quoted":
            table.add_row(f"{old} before, {new} now", f"{count:,}")
    table.add_section()
    for label, minor in (("before", found["before"]), ("after", found["after"])):
        table.add_row(f"premium {label}", "", f"{from_minor(round(minor), currency)} {currency}")
    table.add_row("off-balance", "", f"{found['change']:+.2%}")
    table.add_row("factor that keeps the premium", "", f"{impact.neutral_factor:.6f}")
    table.add_section()
    for cause, part in sorted(impact.causes.items(), key=lambda item: -abs(item[1]))[:LARGEST_CAUSES]:
        share = f"{part / found['before']:+.2%}"
        table.add_row(cause_label(cause, product), f"{impact.touched[cause]:,}", share)
    return table


def demand_sentence(impact: Impact, verdict: Verdict | None) -> str:
    """Say what the book is expected to sell and earn, or why that is not known."""
    if verdict is None:
        return "volume and profit: no demand model was given (--demand)"
    if not verdict.identified:
        return "volume and profit: the elasticity is not identified: " + "; ".join(verdict.reasons)
    moved = {
        name: line["new"] / line["old"] - 1 for name, line in impact.demand.iterrows() if line["old"] > 0
    }
    shown = ", ".join(
        f"{name} {moved[name]:+.2%}" for name in ("volume", "premium", "profit") if name in moved
    )
    return f"expected under demand (slope {verdict.slopes['controlled']:+.3f} per log price): {shown}"


def change_bands(changes: list[float]) -> Mapping[str, int]:
    """Count relative changes by band."""
    edges = [float("-inf"), *BANDS, float("inf")]
    bands: dict[str, int] = {}
    for low, high in zip(edges, edges[1:], strict=False):
        label = f"above {low:+.0%}" if high == float("inf") else f"{low:+.0%} to {high:+.0%}"
        label = f"below {high:+.0%}" if low == float("-inf") else label
        bands[label] = sum(low < change <= high for change in changes)
    return bands


def portrait_panel(profile: RiskProfile) -> RenderableType:
    """Draw who a customer is, with the scores of the last scoring."""
    grid = Table.grid(padding=(0, 1))
    if profile.segment:
        grid.add_row(f"[bold]{profile.segment.name.en} {profile.segment.name.zh}[/]")
        grid.add_row(profile.segment.portrait.en)
        grid.add_row(profile.segment.portrait.zh)
    for item in profile.scores:
        grid.add_row(f"{item.product}: {item.points} points, band {item.band} ({', '.join(item.reasons)})")
    return Panel(grid, title=f"customer {profile.customer_id}", expand=False)


def score_table(summaries: Sequence[ScoringSummary]) -> RenderableType:
    """Draw how many customers were scored; scored, unknown and refused add up."""
    table = Table(title="scores")
    for heading in ("product", "customers", "scored", "no risk known", "refused"):
        table.add_column(heading, justify="left" if heading == "product" else "right")
    for item in summaries:
        counts = (item.customers, item.scored, item.unknown, item.refused)
        table.add_row(item.product, *(f"{count:,}" for count in counts))
    return table


def recommendation_table(found: Recommendations) -> RenderableType:
    """Draw ranked offers and what was left out."""
    table = Table(title=f"Recommendations for customer {found.customer_id}")
    for heading in ("rank", "product", "rate a month", "why"):
        table.add_column(
            heading, justify="right" if heading in {"rank", "rate a month"} else "left", overflow="fold"
        )
    for rank, offer in enumerate(found.offers, 1):
        why = " ".join(f"{reason.en} {reason.zh}" for reason in offer.reasons)
        table.add_row(str(rank), f"{offer.name.en} {offer.name.zh}", f"{offer.rate:.2%}", why)
    for item in found.excluded:
        table.add_row("-", item.product, "", f"[dim]not offered: {', '.join(item.codes)}")
    return table
