"""Small pictures as inline SVG: bars, horizontal bars, dots over ranges. Every text is escaped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bar", "Line", "Range", "bars", "dots", "horizontal_bars", "ranges"]

WIDTH = 680
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 12, 14, 34
_ROW = 24


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, the figure, and a second figure stacked on it."""

    label: str
    value: float
    more: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A level across a picture."""

    label: str
    value: float
    kind: str


@dataclass(frozen=True, slots=True)
class Range:
    """A share, what earlier shares were (lowest, median, highest; None without any) and its verdict."""

    label: str
    value: float
    low: float | None
    usual: float | None
    high: float | None
    kind: str


def bars(title: str, items: Sequence[Bar], lines: Sequence[Line] = (), height: int = 180) -> str:
    """Draw vertical bars; every few bars the label stands below."""
    top, scale = _scale([b.value + b.more for b in items] + [line.value for line in lines], height)
    step = (WIDTH - _LEFT - _RIGHT) / max(len(items), 1)
    wide = min(max(step * 0.8, 0.5), 48.0)
    parts = [_grid(top, scale, height), *_levels(lines, scale)]
    for place, bar in enumerate(items):
        x = _LEFT + place * step + (step - wide) / 2
        tip = f"{bar.label}: {_number(bar.value)}" + (f" + {_number(bar.more)}" if bar.more else "")
        floor, middle, roof = scale(0), scale(bar.value), scale(bar.value + bar.more)
        boxes = _box(x, middle, wide, floor - middle, "bar") + _box(x, roof, wide, middle - roof, "more")
        parts.append(f"<g><title>{escape(tip)}</title>{boxes}</g>")
    parts += _labels([b.label for b in items], step, height)
    return _svg(title, height, parts)


def dots(title: str, items: Sequence[Bar], lines: Sequence[Line], height: int = 160) -> str:
    """Draw one dot for each figure, joined by a line, over levels."""
    top, scale = _scale([b.value for b in items] + [line.value for line in lines], height)
    step = (WIDTH - _LEFT - _RIGHT) / max(len(items), 1)
    points = [(_LEFT + (place + 0.5) * step, scale(bar.value)) for place, bar in enumerate(items)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [_grid(top, scale, height), *_levels(lines, scale)]
    parts.append(f'<polyline class="path" points="{path}"/>')
    parts += [
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
        f"<title>{escape(f'{bar.label}: {bar.value:,.1f}')}</title></circle>"
        for (x, y), bar in zip(points, items, strict=True)
    ]
    parts += _labels([b.label for b in items], step, height)
    return _svg(title, height, parts)


def horizontal_bars(title: str, items: Sequence[Bar]) -> str:
    """Draw horizontal bars, the label before and the figure behind each."""
    left, right = 300, 80
    most = max((bar.value for bar in items), default=1.0) or 1.0
    parts = []
    for place, bar in enumerate(items):
        y = place * _ROW + 4
        wide = max((WIDTH - left - right) * bar.value / most, 1.0)
        parts.append(
            f'<text class="name" x="{left - 8}" y="{y + 13}">{escape(_short(bar.label, 46))}'
            f"<title>{escape(bar.label)}</title></text>{_box(left, y, wide, 16, 'more')}"
            f'<text class="figure" x="{left + wide + 6:.1f}" y="{y + 13}">{_number(bar.value)}</text>'
        )
    return _svg(title, len(items) * _ROW + 8, parts)


def ranges(title: str, items: Sequence[Range]) -> str:
    """Draw shares from 0 to 100 %: a band and a tick for earlier ones, a dot for the share."""
    left, right = 190, 80

    def across(share: float) -> float:
        return left + (WIDTH - left - right) * share

    foot = len(items) * _ROW + 6
    parts = [
        f'<line class="grid" x1="{across(at):.1f}" x2="{across(at):.1f}" y1="2" y2="{foot}"/>'
        f'<text class="tick middle" x="{across(at):.1f}" y="{foot + 14}">{at:.0%}</text>'
        for at in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    for place, item in enumerate(items):
        y = place * _ROW + 14
        parts.append(
            f'<text class="name" x="{left - 10}" y="{y + 4}">{escape(_short(item.label, 26))}</text>'
        )
        if item.low is not None and item.high is not None and item.usual is not None:
            wide = max(across(item.high) - across(item.low), 3.0)
            parts.append(_box(across(item.low) - 1.5, y - 6, wide, 12, "band"))
            parts.append(_box(across(item.usual) - 1, y - 8, 2, 16, "median"))
        parts.append(
            f'<circle class="dot {escape(item.kind)}" cx="{across(item.value):.1f}" cy="{y}" r="4"/>'
            f'<text class="figure" x="{WIDTH - right + 12}" y="{y + 4}">{item.value:.2%}</text>'
        )
    return _svg(title, foot + 20, parts)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    body = "".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img" '
        f'aria-label="{escape(title)}">{body}</svg>'
    )


def _box(x: float, y: float, wide: float, high: float, kind: str) -> str:
    if high <= 0:
        return ""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}"/>'


class _Scale:
    """From a figure to a height in the picture."""

    def __init__(self, top: float, height: int) -> None:
        self._top = top
        self._height = height

    def __call__(self, value: float) -> float:
        room = self._height - _TOP - _BOTTOM
        return self._height - _BOTTOM - room * value / self._top


def _scale(values: Sequence[float], height: int) -> tuple[float, _Scale]:
    most = max([*values, 0.0]) or 1.0
    unit = 10.0 ** math.floor(math.log10(most))
    top = next(unit * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if unit * step >= most)
    return top, _Scale(top, height)


def _grid(top: float, scale: _Scale, height: int) -> str:
    marks = []
    for part in (0.0, 0.5, 1.0):
        y = scale(top * part)
        marks.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick end" x="{_LEFT - 6}" y="{y + 4:.1f}">{_number(top * part)}</text>'
        )
    return "".join(marks)


def _levels(lines: Sequence[Line], scale: _Scale) -> list[str]:
    """Draw levels; their names stand side by side, so that close levels stay legible."""
    drawn = []
    for place, line in enumerate(lines):
        y = scale(line.value)
        drawn.append(
            f'<line class="level {escape(line.kind)}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/><text class="tick" x="{_LEFT + 6 + 60 * place}" '
            f'y="{y - 4:.1f}">{escape(line.label)}</text>'
        )
    return drawn


def _labels(labels: Sequence[str], step: float, height: int) -> list[str]:
    every = max(math.ceil(100 / step), 1)
    return [
        f'<text class="tick middle" x="{_LEFT + (place + 0.5) * step:.1f}" y="{height - _BOTTOM + 16}">'
        f"{escape(_short(label, 14))}</text>"
        for place, label in enumerate(labels)
        if place % every == 0
    ]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:,.2f}".rstrip("0").rstrip(".") + " M"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
