"""The report of a comparison: one HTML page with its pictures in it, for actuaries; nothing is fetched."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from data.page import html_page
from models.comparison import NULL
from models.diagnostics import Units, double_lift, one_way, over_time
from models.judged import IN_SERVICE
from models.losses import FIGURES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from matplotlib.figure import Figure

    from models.comparison import Comparison
    from models.diagnostics import OneWay
    from models.judged import Judged
    from models.promotion import Decision
    from pricing.product import Product

ONE_WAYS = 6
SURE = 0.05
HEADINGS = {
    "deviance_x100": ("deviance x100 per policy", "{:.4f}"),
    "deviance": ("deviance per unit of exposure", "{:.4f}"),
    "logloss": ("log loss", "{:.5f}"),
    "d2": ("D2", "{:.4f}"),
    "gini": ("Gini", "{:.4f}"),
    "ae": ("A/E", "{:.4f}"),
    "balance_p": ("balance, p", "{:.3f}"),
    "autocalibration_p": ("auto-calibration, p", "{:.3f}"),
    "dominated_by": ("Murphy: dominated by", "{:.0f}"),
    "auc": ("AUC", "{:.4f}"),
    "severity_deviance": ("severity deviance", "{:.4f}"),
    "cost_gini": ("Gini of the cost", "{:.4f}"),
    "cost_ae": ("A/E of the cost", "{:.4f}"),
    "seconds": ("seconds to score", "{:.2f}"),
}
LEAST = ("deviance_x100", "deviance", "logloss", "severity_deviance")
MOST = ("d2", "gini", "auc", "cost_gini")
STYLE = (
    ".good { font-weight: 700; color: #14532d; } td.n { white-space: nowrap; } "
    ".pictures { grid-auto-flow: dense; }"
)
CLASSES = {"promoted": "pass", "refused": "fail", "insufficient_evidence": "warn"}
FINDINGS = {"met": "pass", "missed": "fail", "undecided": "warn", "not judged": "unknown"}


@dataclass(frozen=True)
class Circumstances:
    """What a report says beside the figures.

    Attributes
    ----------
    at
        Time, UTC without zone.
    author
        Who made it.
    facts
        Rows, claims, exposure, seeds, settings.
    versions
        Exact versions of the libraries.
    """

    at: datetime
    author: str
    facts: Mapping[str, float | int | str]
    versions: Mapping[str, str]


def comparison_page(
    product: Product, judged: Judged, decisions: Mapping[str, Decision], around: Circumstances
) -> str:
    """Give the HTML of the report.

    Parameters
    ----------
    product
        Product file: names of the factors, split, thresholds.
    judged
        Test rows with what each model says of them.
    decisions
        What the thresholds say, by model.
    around
        Time, author, data, seeds, versions.
    """
    response = judged.response
    name = escape(f"{product.name.en}: comparison of models")
    best = str(judged.comparison[FIGURES[response.held.objective]].drop(NULL).idxmin())
    candidate = next(iter(decisions), best)
    body = [
        f'<h1>{name}</h1><p class="dim">{around.at:%Y-%m-%d %H:%M} UTC, by {escape(around.author)}. '
        f"All figures are of the {len(response.held.actual):,} test rows.</p>",
        *(_decision(model, decision) for model, decision in decisions.items()),
        f"<h2>Figures</h2>{_figures(judged.comparison)}",
        f"<h2>Is the difference more than chance?</h2>{_tests(response)}",
        f"<h2>Pictures</h2>{embedded_pictures(_judging(product, response, candidate))}",
        "<h2>Actual and expected along the factors</h2>",
        embedded_pictures(_along(product, response, candidate)),
        f"<h2>Data, seeds and versions</h2>{_facts(product, judged, around)}",
    ]
    return html_page(
        name, "".join(body), ".good { font-weight: 700; color: #14532d; } td.n { white-space: nowrap; }"
    )


def _decision(model: str, decision: Decision) -> str:
    badge = f'<span class="badge {CLASSES[decision.outcome]}">{decision.outcome.replace("_", " ")}</span>'
    against = f", held against version {decision.against} in service" if decision.against else ""
    shown = [rule for rule in decision.rules if rule.finding != "not judged"]
    rows = "".join(
        f"<tr><td>{escape(r.rule)}</td><td>{escape(r.of)}</td><td class='n'>{_number(r.candidate)}</td>"
        f"<td class='n'>{_number(r.champion)}</td><td>{escape(r.threshold)}</td>"
        f'<td><span class="badge {FINDINGS[r.finding]}">{r.finding}</span></td></tr>'
        for r in shown
    )
    few = len(decision.rules) - len(shown)
    return (
        f"<h2>{escape(model)} {badge}</h2><p>By the thresholds of the product file{against}. "
        "A second person puts a model into service.</p>"
        "<table><tr><th>Rule</th><th>Of</th><th class='n'>Candidate</th>"
        f"<th class='n'>Held against</th><th>Asked</th><th>Finding</th></tr>{rows}</table>"
        + f'<p class="dim">Segments with too few claims to be judged: {few}.</p>'
        * bool(few)
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"


def _figures(table: pd.DataFrame) -> str:
    shown = [figure for figure in HEADINGS if figure in table.columns]
    head = "".join(f"<th class='n'>{HEADINGS[figure][0]}</th>" for figure in shown)
    ranked = table.drop(NULL)
    best = {f: ranked[f].min() for f in LEAST if f in shown} | {
        f: ranked[f].max() for f in MOST if f in shown
    }
    lines = []
    for model, line in table.iterrows():
        cells = []
        for figure in shown:
            value = line[figure]
            text = "" if pd.isna(value) else HEADINGS[figure][1].format(value)
            if figure == "gini" and not pd.isna(line["gini_low"]):
                text += f"<br><span class='dim'>{line['gini_low']:.3f} to {line['gini_high']:.3f}</span>"
            good = " good" if figure in best and value == best[figure] and model != NULL else ""
            cells.append(f"<td class='n{good}'>{text}</td>")
        lines.append(f"<tr><td>{escape(str(model))}</td>{''.join(cells)}</tr>")
    return (
        f"<table><tr><th>Model</th>{head}</tr>{''.join(lines)}</table><p class='dim'>Bold: best. "
        "D2 is the explained share of the deviance of the null model, the average of the learn rows. Small p "
        "of balance or auto-calibration speak against a model. Dominated by: how many other models are "
        "better whatever the loss. Interval of the Gini: 95 % bootstrap.</p>"
    )


def _tests(response: Comparison) -> str:
    tests, figure = response.tests, HEADINGS[FIGURES[response.held.objective]][0]
    shown = tests[(tests["model"] != NULL) & (tests["against"] != NULL)]
    sentences = "".join(f"<li>{_sentence(line, figure)}</li>" for line in shown.to_dict("records"))
    rows = "".join(
        f"<tr><td>{escape(t['model'])}</td><td>{escape(t['against'])}</td>"
        f"<td class='n'>{t['difference']:+.5f}</td>"
        f"<td class='n'>{t['low']:+.5f} to {t['high']:+.5f}</td><td class='n'>{t['statistic']:+.2f}</td>"
        f"<td class='n'>{_p(t['p'])}</td><td class='n'>{_p(t['p_holm'])}</td></tr>"
        for t in tests.to_dict("records")
    )
    clusters = int(tests["clusters"].iloc[0])
    return (
        f"<ul>{sentences}</ul><table><tr><th>Model</th><th>Against</th><th class='n'>Difference</th>"
        "<th class='n'>95 % interval</th><th class='n'>Diebold-Mariano</th><th class='n'>p</th>"
        f"<th class='n'>p, Holm</th></tr>{rows}</table><p class='dim'>Difference of {figure}; below zero "
        f"favours the first model. Paired over {clusters:,} independent clusters of rows: bootstrap "
        "interval, Diebold-Mariano statistic, p corrected by Holm over all pairs.</p>"
    )


def _sentence(test: dict[str, float | str], figure: str) -> str:
    first, second = escape(str(test["model"])), escape(str(test["against"]))
    if not float(test["p_holm"]) <= SURE:
        return f"{first} and {second} cannot be told apart (p = {_p(float(test['p_holm']))})."
    if float(test["difference"]) > 0:
        first, second = second, first
    low, high = sorted((abs(float(test["low"])), abs(float(test["high"]))))
    gained = abs(float(test["difference"]))
    return (
        f"<b>{first}</b> is better than {second}: {gained:.4g} less {figure} ({low:.4g} to {high:.4g}), "
        f"p = {_p(float(test['p_holm']))}."
    )


def _p(value: float) -> str:
    return "&lt; 0.0001" if value < 1e-4 else f"{value:.4f}"


def _judging(product: Product, response: Comparison, candidate: str) -> list[Figure]:
    units, held = _units(product, response), response.held
    judging = response.judging
    figures = [judging.lorenz.figure(units)]
    other = _other(response, candidate)
    if other is not None:
        two = {model: response.expected[model] for model in (candidate, other)}
        figures.append(
            double_lift(
                held.actual, two, held.exposure, new=candidate, old=other, objective=held.objective
            ).figure(units)
        )
    return [*figures, judging.murphy.figure(units), judging.calibration.figure(units)]


def _other(response: Comparison, candidate: str) -> str | None:
    """Give what the candidate is drawn against: the model in service, else the best of the others."""
    if IN_SERVICE in response.expected:
        return IN_SERVICE
    others = response.table[FIGURES[response.held.objective]].drop([candidate, NULL])
    return str(others.idxmin()) if len(others) else None


def _along(product: Product, response: Comparison, candidate: str) -> list[Figure]:
    """Draw the strongest factors, the segments and the time."""
    held, units = response.held, _units(product, response)
    labels = {factor.name: factor.label.en for factor in product.factors}
    expected = {model: totals for model, totals in response.expected.items() if model != NULL}
    ways = {
        name: one_way(
            held.actual,
            expected,
            held.exposure,
            held.factors[name],
            name=labels.get(name, name),
            objective=held.objective,
        )
        for name in map(str, held.factors.columns)
    }
    chosen = sorted(ways, key=lambda name: -_spread(ways[name], candidate))[:ONE_WAYS]
    chosen += [name for name in held.segments if name not in chosen]
    figures = [ways[name].figure(units) for name in chosen]
    if held.time is not None and np.issubdtype(held.time.dtype, np.datetime64):
        rows = (held.actual, expected, held.exposure)
        figures.append(over_time(*rows, pd.Series(held.time), objective=held.objective).figure(units))
    return figures


def _spread(found: OneWay, model: str) -> float:
    rate = found.frame[f"{model}.rate"]
    return float(np.average((rate - rate.mean()) ** 2, weights=found.frame["exposure"]))


def _units(product: Product, response: Comparison) -> Units:
    actual = {"poisson": "claims", "binary": "events"}.get(response.held.objective, "minor units")
    return Units(actual, product.exposure.unit)


def embedded_pictures(figures: list[Figure]) -> str:
    """Give figures as HTML with the pictures in it."""
    shown = []
    for figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        picture = base64.b64encode(buffer.getvalue()).decode("ascii")
        title = escape(figure.axes[0].get_title(loc="left"))
        wide = ' style="grid-column: 1 / -1"' if figure.get_figwidth() > 9 else ""
        shown.append(f'<figure{wide}><img alt="{title}" src="data:image/png;base64,{picture}"></figure>')
    return f'<div class="pictures">{"".join(shown)}</div>'


def _facts(product: Product, judged: Judged, around: Circumstances) -> str:
    facts = around.facts
    sides = "".join(
        f"<tr><td>{side} rows</td><td class='n'>{facts[f'{side}_rows']:,}</td>"
        f"<td class='n'>{facts[f'{side}_claims']:,.0f}</td>"
        f"<td class='n'>{facts[f'{side}_exposure']:,.1f}</td></tr>"
        for side in ("learn", "test")
    )
    split = product.split
    described = ", ".join(f"{k} {v}" for k, v in split.model_dump(exclude_defaults=True).items())
    sided = ("learn_", "test_", "buffer_rows")
    rest = {key: value for key, value in facts.items() if not key.startswith(sided) and value != ""}
    lines = {
        "Split": described,
        "Rows left out as buffer": f"{facts['buffer_rows']:,}",
        "Rows refused": "none: a table with a row that breaks the product file is refused whole",
        "Clusters of the paired tests": f"{int(judged.response.tests['clusters'].iloc[0]):,}",
        "Seed of the bootstraps": str(judged.response.seed),
        "Settings": ", ".join(f"{key} {value}" for key, value in rest.items()),
        "Product file": f"{product.code} version {product.version}, {product.hash}",
        "Versions": ", ".join(f"{name} {version}" for name, version in around.versions.items()),
    }
    if judged.own:
        moved = float(np.mean([relativity != 1.0 for relativity in judged.own.values()]))
        lines["Own history"] = f"judged with its relativity, which is not 1 on {moved:.1%} of the test rows"
    if judged.not_compared:
        lines["Model in service"] = f"not compared: {judged.not_compared}"
    told = "".join(f"<tr><td class='w'>{key}</td><td>{escape(text)}</td></tr>" for key, text in lines.items())
    return (
        "<table><tr><th></th><th class='n'>Rows</th><th class='n'>Claims</th>"
        f"<th class='n'>Exposure, {escape(product.exposure.unit)}</th></tr>{sides}</table>"
        f"<table>{told}</table>"
    )
