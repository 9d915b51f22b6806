"""What changed between two tariffs, in plain words, and what it does to the premium of a portfolio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.canvas import Canvas
from models.drawn import Drawn
from models.errors import MismatchError
from models.links import respond
from models.tariff.scale import Scale, label, names, union_axis
from models.tariff.tariff import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from models.risk_model import RiskModel
    from models.tariff.tariff import Component, Table, Tariff

COLUMNS = [
    "component", "table", "cell", "before", "after", "change", "exposure_share", "premium_effect",
]  # fmt: skip
BASE_RATE, LOAD = "base rate", "large-loss load"
MOST_BARS = 15


@dataclass(frozen=True, eq=False)
class Diff(Drawn):
    """What changed between two tariffs.

    Attributes
    ----------
    frame
        One line per changed cell, largest effect first: `component`, `table` (label of the input, `base rate`
        or `large-loss load`), `cell`, `before` and `after` (relativity or rate), `change` (share),
        `exposure_share` and `premium_effect`, the change of the total premium if this cell alone changed.
    premium_before, premium_after
        Total risk premium of the portfolio, minor units (expected claims where no benefit is named).
    """

    frame: pd.DataFrame
    premium_before: float
    premium_after: float

    @property
    def total_effect(self) -> float:
        """Change of the total premium, as a share."""
        return self.premium_after / self.premium_before - 1.0

    @property
    def off_balance(self) -> float:
        """Factor on all premiums that would keep the total."""
        return self.premium_before / self.premium_after

    def sentences(self) -> list[str]:
        """Give one sentence per changed cell, largest effect first, and one on the total."""
        found = [_sentence(line) for line in self.frame.to_dict("records")]
        total = (
            f"In all: premium effect {100 * self.total_effect:+.2f} % "
            f"({self.premium_before:,.0f} -> {self.premium_after:,.0f}); "
            f"off-balance: x {self.off_balance:.6f} on every premium keeps the total"
        )
        return [*(found or ["No relativity changed."]), total]

    def __str__(self) -> str:
        """Give all sentences, one a line."""
        return "\n".join(self.sentences())

    def figure(self) -> Figure:
        """Draw the largest effects as bars."""
        top = self.frame.head(MOST_BARS).iloc[::-1]
        figure = Canvas(figsize=(9, 1.2 + 0.36 * max(len(top), 1)), layout="constrained")
        axes = figure.add_subplot()
        texts = [_place(line) for line in top.to_dict("records")]
        effects = 100 * top["premium_effect"].to_numpy()
        axes.barh(np.arange(len(top)), effects, color=np.where(effects < 0, "tab:blue", "tab:red"))
        axes.axvline(0.0, color="0.3", linewidth=0.8)
        axes.set_yticks(np.arange(len(top)), texts)
        for height, line in enumerate(top.to_dict("records")):
            axes.annotate(
                f" {_figures(line['before'], line['after'])} ",
                (100 * line["premium_effect"], height),
                ha="left" if line["premium_effect"] >= 0 else "right",
                va="center",
                fontsize=8,
            )
        axes.margins(x=0.35)
        rest = len(self.frame) - len(top)
        axes.set(
            xlabel="effect on the total premium, %",
            title=f"Premium {100 * self.total_effect:+.2f} % in all"
            + (f"; {rest} smaller changes not drawn" if rest else ""),
        )
        return figure


def diff(before: Tariff, after: Tariff, values: NDArray[np.float64], exposure: NDArray[np.float64]) -> Diff:
    """Compare two tariffs of one product on a portfolio.

    Where the tariffs cut an input differently, their common finer cells are compared; a table that one of
    them does not have counts as relativity 1.

    Parameters
    ----------
    before, after
        Tariffs of one product.
    values
        Encoded risks of the portfolio, shape (n, inputs).
    exposure
        Shape (n,).

    Raises
    ------
    MismatchError
        If they rate different products, inputs or components.
    """
    for what, one, two in (
        ("products", before.product, after.product),
        ("inputs", repr(before.encoding), repr(after.encoding)),
        ("components", *(str([c.name for c in t.components]) for t in (before, after))),
    ):
        if one != two:
            raise MismatchError(what, one, two)
    model, other = before.model(), after.model()
    premium = model.risk_premium(values)
    total = float(exposure @ premium)
    lines: list[dict[str, object]] = []
    for component, new in zip(before.components, after.components, strict=True):
        factor = _other_components(model, values, component) * exposure
        lines += _component_lines(before, component, new, values, exposure, factor, total)
    if before.load_minor != after.load_minor:
        change = (after.load_minor - before.load_minor) * float(exposure.sum()) / total
        lines.append(_line("", LOAD, "", before.load_minor, after.load_minor, 1.0, change))
    frame = pd.DataFrame(lines, columns=COLUMNS)
    order = frame["premium_effect"].abs().sort_values(ascending=False, kind="stable").index
    return Diff(frame.loc[order].reset_index(drop=True), total, float(exposure @ other.risk_premium(values)))


def _other_components(
    model: RiskModel, values: NDArray[np.float64], component: Component
) -> NDArray[np.float64]:
    """Give what a component is multiplied with, shape (n,)."""
    out = np.full(len(values), model.benefit_minor)
    for name, part in model.predict(values).items():
        if name != component.name:
            out = out * part
    return out


def _component_lines(
    tariff: Tariff,
    before: Component,
    after: Component,
    values: NDArray[np.float64],
    exposure: NDArray[np.float64],
    factor: NDArray[np.float64],
    total: float,
) -> Iterator[dict[str, object]]:
    scorer = tariff.model().components[before.name]
    raw = scorer.predict_raw(values)
    now = respond(raw, before.link)

    def effects(delta: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray((respond(raw + delta, before.link) - now) * factor / total)

    if before.base_rate != after.base_rate:
        found = effects(after.base_raw - before.base_raw).sum()
        yield _line(before.name, BASE_RATE, "", before.base_rate, after.base_rate, 1.0, float(found))
    one, two = ({table.inputs: table for table in each.tables} for each in (before, after))
    for inputs in dict.fromkeys([*one, *two]):
        scales = _common(one.get(inputs), two.get(inputs))
        old, new = (_spread(each.get(inputs), scales) for each in (one, two))
        changed = np.flatnonzero(
            [shown(a) != shown(b) for a, b in zip(np.exp(old), np.exp(new), strict=True)]
        )
        if not len(changed):
            continue
        cell = _locate(scales, tariff, values)
        found = np.bincount(cell, effects((new - old)[cell]), len(old))
        share = np.bincount(cell, exposure, len(old)) / exposure.sum()
        called = " x ".join(label(name, tariff.encoding) for name in inputs)
        for place, name in _named(scales, tariff, changed):
            yield _line(
                before.name,
                called,
                name,
                shown(float(np.exp(old[place]))),
                shown(float(np.exp(new[place]))),
                float(share[place]),
                float(found[place]),
            )


def _common(one: Table | None, two: Table | None) -> tuple[Scale, ...]:
    tables = [table for table in (one, two) if table is not None]
    sides = zip(*(table.scales for table in tables), strict=True)
    return tuple(Scale.of(side[0].input, union_axis(side)) for side in sides)


def _spread(table: Table | None, scales: tuple[Scale, ...]) -> NDArray[np.float64]:
    """Give logarithms of relativities on common cells, flat."""
    size = int(np.prod([scale.cells for scale in scales]))
    if table is None:
        return np.zeros(size)
    raw = table.raw - table.reference
    for side, (own, common) in enumerate(zip(table.scales, scales, strict=True)):
        raw = raw.take(own.spread(common.axis), axis=side)
    return raw.ravel()


def _locate(scales: tuple[Scale, ...], tariff: Tariff, values: NDArray[np.float64]) -> NDArray[np.int64]:
    cell = np.zeros(len(values), dtype=np.int64)
    for scale in scales:
        cell = cell * scale.cells + scale.locate(values[:, tariff.encoding.inputs.index(scale.input)])
    return cell


def _named(scales: tuple[Scale, ...], tariff: Tariff, places: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    sides = [names(scale, tariff.encoding) for scale in scales]
    for place in places.tolist():
        parts = (
            [sides[0][place]]
            if len(sides) == 1
            else [side[at] for side, at in zip(sides, divmod(place, len(sides[1])), strict=True)]
        )
        if None not in parts:
            yield place, " and ".join(str(part) for part in parts)


def _line(
    component: str, table: str, cell: str, before: float, after: float, share: float, effect: float
) -> dict[str, object]:
    change = after / before - 1.0 if before else float("inf")
    return dict(zip(COLUMNS, (component, table, cell, before, after, change, share, effect), strict=True))


def _place(line: dict[str, object]) -> str:
    parts = [str(line[key]) for key in ("table", "cell") if line[key]]
    return " ".join(parts) + (f" ({line['component']})" if line["component"] else "")


def _figures(before: float, after: float) -> str:
    """Give both figures with as few decimals, and at least three digits, as tell them apart."""
    smallest = max(min(abs(before), abs(after)), 1e-9)
    for decimals in range(max(2, 2 - math.floor(math.log10(smallest)) - (smallest >= 0.1)), 12):
        one, two = (f"{figure:.{decimals}f}" for figure in (before, after))
        if one != two:
            return f"{one} -> {two}"
    return f"{before!r} -> {after!r}"


def _sentence(line: dict[str, object]) -> str:
    before, after = float(str(line["before"])), float(str(line["after"]))
    what = "" if line["table"] in (BASE_RATE, LOAD) else "relativity "
    exposure = "" if not what else f", {100 * float(str(line['exposure_share'])):.1f} % of exposure"
    return (
        f"{_place(line)}: {what}{_figures(before, after)} ({100 * float(str(line['change'])):+.1f} %)"
        f"{exposure}, premium effect {100 * float(str(line['premium_effect'])):+.2f} %"
    )
