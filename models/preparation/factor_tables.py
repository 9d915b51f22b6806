"""One-way and two-way tables: what was insured and what it cost, by level, with intervals.

Intervals: claims are Poisson given the level (exact, Garwood 1936); the mean of a level's claims is gamma,
with the dispersion of a single claim pooled over levels; the pure premium is log-normal with the sum of
both variances, (1 + dispersion) / claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import chi2, gamma, norm

from models.drawn import Drawn
from models.errors import TrainingDataError
from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

MISSING, UNKNOWN = "missing", "unknown"
Measure = Literal["frequency", "severity", "pure_premium", "average_premium", "loss_ratio"]
RATES: tuple[Measure, ...] = ("frequency", "severity", "pure_premium", "average_premium", "loss_ratio")


@dataclass(frozen=True)
class Columns:
    """Where a table holds what happened.

    Attributes
    ----------
    exposure
        Units of exposure, positive.
    claims, amount, premium
        Claims, their amount and the premium earned; what is absent has no figures.
    """

    exposure: str
    claims: str | None = None
    amount: str | None = None
    premium: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """Kind -> column, of those given."""
        pairs = {
            "exposure": self.exposure,
            "claims": self.claims,
            "amount": self.amount,
            "premium": self.premium,
        }
        return {kind: name for kind, name in pairs.items() if name is not None}


@dataclass(frozen=True, eq=False)
class OneWay(Drawn):
    """A factor by level.

    Attributes
    ----------
    factor
        Its name.
    frame
        Index `level`, missing and unknown values last as lines of their own; columns `rows`, `exposure`,
        `share` (of exposure) and, as far as given, `claims`, `amount`, `premium`, `frequency`, `severity`,
        `pure_premium` (each with `_low` and `_high`), `average_premium`, `loss_ratio`.
    dispersion
        Of a single claim (gamma); NaN without amounts.
    """

    factor: str
    frame: pd.DataFrame
    dispersion: float

    def figure(self, measure: Measure = "frequency") -> Figure:
        """Draw exposure as bars and one measure as a line with its interval."""
        from models.canvas import Canvas  # here: matplotlib takes a third of a second

        shown, middle = self.frame, _overall(self.frame, measure)
        figure = Canvas(figsize=(max(6.0, 0.35 * len(shown)), 4), layout="constrained")
        bars = figure.add_subplot()
        place = np.arange(len(shown))
        bars.bar(place, shown["exposure"], color="0.85")
        bars.set(ylabel="exposure (bars)", ylim=(0, 2.2 * shown["exposure"].max()))
        lines = bars.twinx()
        value = shown[measure].to_numpy(np.float64)
        if f"{measure}_low" in shown:
            reach = np.abs(shown[[f"{measure}_low", f"{measure}_high"]].to_numpy(np.float64).T - value)
            lines.errorbar(place, value, yerr=reach, marker="o", capsize=3, color="C0")
        else:
            lines.plot(place, value, marker="o", color="C0")
        # An interval far beyond all values, of a level with one claim, runs out of the picture.
        spread = 0.6 * (float(np.nanmax(value) - np.nanmin(value)) or float(np.nanmax(value)) or 1.0)
        lines.set_ylim(max(0.0, float(np.nanmin(value)) - spread), float(np.nanmax(value)) + spread)
        lines.axhline(middle, color="0.4", linewidth=0.8, linestyle="--")
        lines.set(ylabel=measure.replace("_", " "), title=f"{self.factor}: {measure.replace('_', ' ')}")
        turned = sum(len(str(level)) + 2 for level in shown.index) > 10 * figure.get_size_inches()[0]
        bars.set_xticks(place, [str(level) for level in shown.index], rotation=60 if turned else 0)
        return figure


@dataclass(frozen=True, eq=False)
class TwoWayTable(Drawn):
    """Two factors by level.

    Attributes
    ----------
    factors
        Their names.
    frame
        One line per pair that has rows, index of both levels; columns as of `OneWay`.
    dispersion
        Of a single claim (gamma); NaN without amounts.
    """

    factors: tuple[str, str]
    frame: pd.DataFrame
    dispersion: float

    def figure(self, measure: Measure = "frequency") -> Figure:
        """Draw one measure over its average as colours, with the share of exposure in each cell."""
        from models.canvas import Canvas  # here: matplotlib takes a third of a second

        long = self.frame.assign(over=self.frame[measure] / _overall(self.frame, measure)).reset_index()
        relative, share = (
            long.pivot_table(value, "row", "column", observed=True) for value in ("over", "share")
        )
        rows, columns = list(relative.index), list(relative.columns)
        size = (max(5.0, 0.75 * len(columns) + 2), max(3.0, 0.42 * len(rows) + 1.4))
        figure = Canvas(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        spread = max(0.1, min(1.0, float(np.nanmax(np.abs(relative.to_numpy() - 1.0)))))
        image = axes.imshow(relative, cmap="RdBu_r", vmin=1 - spread, vmax=1 + spread, aspect="auto")
        for i, j in zip(*np.nonzero(share.notna().to_numpy()), strict=True):
            text = f"{relative.iloc[i, j]:.2f}\n{share.iloc[i, j]:.1%}"
            dark = abs(relative.iloc[i, j] - 1.0) > 0.65 * spread
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        axes.set_xticks(
            range(len(columns)), [str(x) for x in columns], rotation=60 if len(columns) > 8 else 0
        )
        axes.set_yticks(range(len(rows)), [str(x) for x in rows])
        axes.set(xlabel=self.factors[1], ylabel=self.factors[0])
        axes.set_title(f"{measure.replace('_', ' ')} over its average, and share of exposure")
        figure.colorbar(image, ax=axes)
        return figure


def one_way(
    table: pd.DataFrame,
    factor: str,
    columns: Columns,
    *,
    levels: Sequence[str] | None = None,
    bands: int | Sequence[float] | None = None,
    confidence: float = 0.95,
) -> OneWay:
    """Sum a table by the levels of one factor.

    Parameters
    ----------
    table
        One row per policy or order.
    factor
        Column of the factor.
    columns
        Columns of exposure, claims, amount, premium.
    levels
        Levels that the product file knows, in order; others become `unknown`. As found when absent.
    bands
        For a number: how many bands of equal exposure, or the inner bounds of bands (a bound belongs to the
        band that it begins).
    confidence
        Of the intervals.

    Raises
    ------
    TrainingDataError
        If a column is absent or holds what cannot be summed, with row counts.
    """
    values = _read(table, columns, [factor])
    keys = level_of(table[factor], values["exposure"], levels=levels, bands=bands)
    frame, dispersion = _figures(values, [keys], confidence)
    return OneWay(factor, frame, dispersion)


def two_way(
    table: pd.DataFrame,
    factors: tuple[str, str],
    columns: Columns,
    *,
    levels: Mapping[str, Sequence[str]] | None = None,
    bands: Mapping[str, int | Sequence[float]] | None = None,
    confidence: float = 0.95,
) -> TwoWayTable:
    """Sum a table by the levels of two factors.

    Parameters
    ----------
    table, columns, confidence
        See `one_way`.
    factors
        Columns of the two factors.
    levels, bands
        By factor, see `one_way`.
    """
    values = _read(table, columns, list(factors))
    keys = [
        level_of(
            table[name],
            values["exposure"],
            levels=(levels or {}).get(name),
            bands=(bands or {}).get(name),
        )
        for name in factors
    ]
    frame, dispersion = _figures(values, keys, confidence)
    return TwoWayTable(factors, frame, dispersion)


def equal_exposure_bounds(value: ArrayLike, exposure: ArrayLike, bands: int) -> Floats:
    """Give the inner bounds that cut a number into bands of about equal exposure; equal values stay together.

    Parameters
    ----------
    value, exposure
        Shape (n,); values that are not finite play no part.
    bands
        How many, at least 2; fewer come back where one value holds more exposure than a band.
    """
    if bands < 2:
        raise TrainingDataError([f"at least 2 bands are needed, got {bands}"])
    number, weight = np.asarray(value, np.float64), np.asarray(exposure, np.float64)
    finite = np.isfinite(number)
    distinct, place = np.unique(number[finite], return_inverse=True)
    if len(distinct) < 2:
        return np.zeros(0)
    before = np.cumsum(np.append(0.0, np.bincount(place, weight[finite])))
    wanted = before[-1] * np.arange(1, bands) / bands
    # The bound is the value at which the exposure before it comes closest to the wanted share.
    nearest_value = np.abs(before[1:-1, None] - wanted).argmin(axis=0)
    return np.asarray(distinct[1:][np.unique(nearest_value)])


def level_of(
    column: pd.Series,
    exposure: Floats,
    *,
    levels: Sequence[str] | None = None,
    bands: int | Sequence[float] | None = None,
) -> pd.Categorical:
    """Give the level of each row, in order, with `missing` and `unknown` last where they occur."""
    missing = column.isna().to_numpy()
    if bands is not None:
        names, codes = _banded(column, exposure, bands)
    elif levels is not None:
        names = [str(level) for level in levels]
        codes = pd.Index(names).get_indexer(column.astype("string").fillna("").to_numpy(object))
    else:
        found = pd.Index(column[~missing].unique())
        names = sorted(found, key=lambda level: (isinstance(level, str), level))
        codes = pd.Index(names).get_indexer(column)
    extra = {MISSING: missing, UNKNOWN: ~missing & (codes < 0)}
    codes = codes.copy()
    for name, rows in extra.items():
        if rows.any():
            codes[rows] = len(names)
            names = [*names, name]
    return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype=object))


def _banded(
    column: pd.Series, exposure: Floats, bands: int | Sequence[float]
) -> tuple[list[str], NDArray[np.int64]]:
    if not pd.api.types.is_numeric_dtype(column):
        raise TrainingDataError([f"column {column.name!r} is {column.dtype}: only numbers have bands"])
    number = column.to_numpy(np.float64, na_value=np.nan)
    bounds = (
        equal_exposure_bounds(number, exposure, bands) if isinstance(bands, int) else np.asarray(bands, float)
    )
    if (np.diff(bounds) <= 0).any():
        raise TrainingDataError([f"the bounds of bands must rise, got {bounds.tolist()}"])
    codes = np.searchsorted(bounds, number, side="right")
    codes[np.isnan(number)] = -1
    ends = [f"{bound:g}" for bound in bounds]
    names = [f"below {ends[0]}", *(f"{a} to {b}" for a, b in zip(ends[:-1], ends[1:], strict=True))]
    return [*names, f"from {ends[-1]}"] if ends else ["all"], codes


def _read(table: pd.DataFrame, columns: Columns, factors: list[str]) -> dict[str, Floats]:
    absent = [name for name in [*factors, *columns.named.values()] if name not in table.columns]
    if absent:
        hints = [f"column {name!r} is absent ({nearest(name, list(table.columns))})" for name in absent]
        raise TrainingDataError(hints)
    values = {kind: table[name].to_numpy(np.float64) for kind, name in columns.named.items()}
    problems = [
        f"{int(rows.sum())} rows: {columns.named[kind]} is missing, not finite or "
        f"{'zero or negative' if kind == 'exposure' else 'negative'}"
        for kind, value in values.items()
        if (rows := ~np.isfinite(value) | (value <= 0 if kind == "exposure" else value < 0)).any()
    ]
    if problems:
        raise TrainingDataError(problems)
    return values


def _figures(
    values: dict[str, Floats], keys: list[pd.Categorical], confidence: float
) -> tuple[pd.DataFrame, float]:
    rows = pd.DataFrame({"rows": 1, **values})
    grouped = rows.groupby(keys, observed=True, sort=True)
    frame = grouped.sum()
    frame.index.names = ["level"] if len(keys) == 1 else ["row", "column"]
    frame.insert(2, "share", frame["exposure"] / frame["exposure"].sum())
    dispersion = float("nan")
    if "claims" in values:
        frame = _with_frequency(frame, confidence)
    if "amount" in values:
        frame["pure_premium"] = frame["amount"] / frame["exposure"]
        if "claims" in values:
            dispersion = _dispersion(values, grouped.ngroup().to_numpy(), frame)
            frame = _with_amounts(frame, dispersion, confidence)
    if "premium" in values:
        frame["average_premium"] = frame["premium"] / frame["exposure"]
        if "amount" in values:
            frame["loss_ratio"] = _ratio(frame["amount"], frame["premium"])
    return frame, dispersion


def _with_frequency(frame: pd.DataFrame, confidence: float) -> pd.DataFrame:
    tail = (1 - confidence) / 2
    claims, exposure = frame["claims"].to_numpy(), frame["exposure"].to_numpy()
    frame["frequency"] = claims / exposure
    low = np.where(claims > 0, chi2.ppf(tail, 2 * np.maximum(claims, 0.5)), 0.0)
    frame["frequency_low"] = low / 2 / exposure
    frame["frequency_high"] = chi2.ppf(1 - tail, 2 * claims + 2) / 2 / exposure
    return frame


def _with_amounts(frame: pd.DataFrame, dispersion: float, confidence: float) -> pd.DataFrame:
    tail = (1 - confidence) / 2
    claims = frame["claims"].to_numpy(np.float64)
    severity = _ratio(frame["amount"], frame["claims"])
    frame["severity"] = severity
    frame["severity_low"] = frame["severity_high"] = np.nan
    paid = (claims > 0) & (severity > 0) & np.isfinite(dispersion) & (dispersion > 0)
    shape = claims[paid] / dispersion if paid.any() else np.ones(0)
    # The mean of the level over a gamma of mean 1: exact where its claims are gamma.
    frame.loc[paid, "severity_low"] = severity[paid] / (gamma.ppf(1 - tail, shape) / shape)
    frame.loc[paid, "severity_high"] = severity[paid] / (gamma.ppf(tail, shape) / shape)
    reach = norm.ppf(1 - tail) * np.sqrt((1 + dispersion) / claims[paid]) if paid.any() else np.ones(0)
    frame["pure_premium_low"] = frame["pure_premium_high"] = np.nan
    frame.loc[paid, "pure_premium_low"] = frame.loc[paid, "pure_premium"] * np.exp(-reach)
    frame.loc[paid, "pure_premium_high"] = frame.loc[paid, "pure_premium"] * np.exp(reach)
    return frame


def _dispersion(values: dict[str, Floats], group: NDArray[np.int64], frame: pd.DataFrame) -> float:
    """Pearson dispersion of a claim around the mean of its level: mean of n (x / m - 1)^2 over rows."""
    claims, amount = values["claims"], values["amount"]
    mean = _ratio(frame["amount"], frame["claims"])[group]
    rows = (claims > 0) & (mean > 0)
    free = int(rows.sum()) - len(np.unique(group[rows]))
    if free < 1:
        return float("nan")
    return float((claims[rows] * (amount[rows] / claims[rows] / mean[rows] - 1.0) ** 2).sum() / free)


def _ratio(top: pd.Series, bottom: pd.Series) -> Floats:
    a, b = top.to_numpy(np.float64), bottom.to_numpy(np.float64)
    return np.asarray(np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0))


def _overall(frame: pd.DataFrame, measure: Measure) -> float:
    top, bottom = {
        "frequency": ("claims", "exposure"),
        "severity": ("amount", "claims"),
        "pure_premium": ("amount", "exposure"),
        "average_premium": ("premium", "exposure"),
        "loss_ratio": ("amount", "premium"),
    }[measure]
    absent = [name for name in (top, bottom) if name not in frame]
    if absent:
        raise TrainingDataError([f"{measure} needs {' and '.join(absent)}, which the table was not given"])
    return float(frame[top].sum() / frame[bottom].sum())
