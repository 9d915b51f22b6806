"""Development of claims to ultimate: triangles, factors and tails, and what a young row has shown so far.

Triangles are developed by the library chainladder (the extra `reserving`). Models do not need a triangle:
they need, row by row, the share of its claims that is known by now (`reported_share`). Multiply the
exposure by it, and a young row enters training with the claims it can have shown.

References
----------
Mack, Distribution-free calculation of the standard error of chain ladder reserve estimates (1993);
Bornhuetter and Ferguson, The actuary and IBNR (1972); Gluck, Balancing development and trend (1997), for
Cape Cod; Kalbfleisch and Lawless, Regression models for right truncated data (1991), for the daily pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from models.drawn import Drawn
from models.errors import MissingExtraError, TrainingDataError

if TYPE_CHECKING:
    from types import ModuleType

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

Grain = Literal["month", "quarter", "year"]
Method = Literal["chain_ladder", "bornhuetter_ferguson", "cape_cod"]
PERIODS: dict[Grain, str] = {"month": "M", "quarter": "Q", "year": "Y"}
# Ages at which fewer claims could be looked at say nothing: one late claim of one would halve all before it.
FEWEST_AT_RISK = 50


@dataclass(frozen=True, eq=False)
class Triangle:
    """Claims by period of occurrence and age, cumulative.

    Attributes
    ----------
    frame
        Index `origin` (start of the period), one column per age in periods from 1; NaN after the valuation.
    grain
        Length of a period and of an age.
    valuation
        Until when claims are known.
    """

    frame: pd.DataFrame
    grain: Grain
    valuation: pd.Timestamp


@dataclass(frozen=True, eq=False)
class Developed(Drawn):
    """Ultimates of a triangle.

    Attributes
    ----------
    frame
        One line per origin: `age` (periods), `known`, `share_known`, `ultimate`, `unreported` and `std_error`
        (Mack, of the ultimate; NaN for other methods).
    pattern
        Share of the ultimate known at each age, in periods.
    total_std_error
        Of the sum of ultimates (Mack; NaN for other methods).
    method
        How.
    """

    frame: pd.DataFrame
    pattern: pd.Series
    total_std_error: float
    method: Method

    def figure(self) -> Figure:
        """Draw what is known and what is still to come by origin, and the share known by age."""
        from models.canvas import Canvas  # here: matplotlib takes a third of a second

        figure = Canvas(figsize=(9, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[2, 1])
        place = np.arange(len(self.frame))
        left.bar(place, self.frame["known"], label="known")
        left.bar(
            place,
            self.frame["unreported"],
            bottom=self.frame["known"],
            color="C1",
            label="to come",
            yerr=self.frame["std_error"].fillna(0.0),
        )
        step = max(1, len(place) // 8)
        left.set_xticks(place[::step], [f"{day:%Y-%m}" for day in self.frame.index[::step]], rotation=30)
        left.set(xlabel="period of occurrence", title=f"Ultimate by {self.method.replace('_', ' ')}")
        left.legend(loc="lower left")
        right.plot(self.pattern.index, self.pattern, marker=".")
        right.set(xlabel="age (periods)", title="share known", ylim=(0, 1.05))
        return figure


@dataclass(frozen=True, eq=False)
class ReportPattern(Drawn):
    """Share of claims that is known so many days after they happened.

    Attributes
    ----------
    frame
        Index `days` (0, 1, ...); columns `share` (known before that age) and `at_risk` (claims, or their
        weight, that the step to the next day rests on). Linear between days, the last value after them.
    """

    frame: pd.DataFrame

    def share(self, days: ArrayLike) -> Floats:
        """Give the share known at ages in days, shape (n,); 0 before the claim."""
        known = self.frame["share"].to_numpy()
        return np.asarray(np.interp(np.asarray(days, np.float64), np.arange(len(known)), known, left=0.0))

    def figure(self) -> Figure:
        """Draw the share known by age."""
        from models.canvas import Canvas  # here: matplotlib takes a third of a second

        figure = Canvas(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.frame.index, self.frame["share"])
        axes.set(xlabel="days after the claim happened", ylabel="share known", ylim=(0, 1.05))
        return figure


def build_triangle(
    claims: pd.DataFrame,
    *,
    occurred: str,
    known: str,
    valuation: pd.Timestamp | str,
    grain: Grain = "month",
    amount: str | None = None,
) -> Triangle:
    """Sum claims by period of occurrence and age.

    Parameters
    ----------
    claims
        One row per claim, or per payment; those known from the valuation on are left out.
    occurred, known
        Columns: when it happened, when it was reported or paid.
    valuation
        Until when claims are known: the first moment of a period, so that every period is whole.
    grain
        Length of a period.
    amount
        Column to sum; claims are counted when absent.

    Raises
    ------
    TrainingDataError
        If a time is missing or out of order, or the valuation cuts a period, with row counts.
    """
    until = pd.Timestamp(valuation)
    code = PERIODS[grain]
    if until != until.to_period(code).start_time:
        raise TrainingDataError(
            [f"the valuation {until} cuts a {grain}: take {until.to_period(code).start_time:%Y-%m-%d}"]
        )
    value = np.ones(len(claims)) if amount is None else claims[amount].to_numpy(np.float64)
    _check_times(claims[occurred], claims[known], value)
    kept = (claims[known] < until).to_numpy()
    if not kept.any():
        raise TrainingDataError([f"none of {len(claims)} claims was known before {until}"])
    origin = claims.loc[kept, occurred].dt.to_period(code)
    age = _ordinal(claims.loc[kept, known].dt.to_period(code)) - _ordinal(origin) + 1
    origins = pd.period_range(origin.min(), until.to_period(code) - 1, freq=code)
    place = _ordinal(origin) - origins[0].ordinal
    size = len(origins)
    cells = np.bincount(place * size + age - 1, value[kept], size * size).reshape(size, size).cumsum(axis=1)
    cells[np.add.outer(np.arange(size), np.arange(size)) >= size] = np.nan
    frame = pd.DataFrame(cells, origins.start_time.rename("origin"), pd.RangeIndex(1, size + 1, name="age"))
    return Triangle(frame, grain, until)


def develop(
    triangle: Triangle,
    method: Method = "chain_ladder",
    *,
    tail: float | Literal["exponential", "inverse_power"] = 1.0,
    exposure: ArrayLike | None = None,
    apriori: float | None = None,
) -> Developed:
    """Develop a triangle to ultimate by volume-weighted factors.

    Parameters
    ----------
    triangle
        Cumulative claims or amounts.
    method
        `chain_ladder` trusts what is known, `bornhuetter_ferguson` the a-priori rate for what is not,
        `cape_cod` a rate that it takes from the triangle.
    tail
        Factor after the oldest age, or the curve that extends the factors.
    exposure
        Of each origin, shape (origins,); needed by the last two methods.
    apriori
        Expected ultimate per unit of exposure; needed by Bornhuetter-Ferguson.

    Raises
    ------
    MissingExtraError
        If the extra `reserving` is not installed.
    TrainingDataError
        If exposure or rate are absent or the triangle holds fewer than three periods.
    """
    cl = _chainladder()
    shape = triangle.frame.shape
    if shape[0] < 3:
        raise TrainingDataError([f"{shape[0]} periods make no triangle; at least 3 are needed"])
    given = None if exposure is None else np.asarray(exposure, np.float64)
    if method != "chain_ladder" and (given is None or given.shape != shape[:1] or not (given > 0).all()):
        raise TrainingDataError([f"{method} needs a positive exposure for each of {shape[0]} periods"])
    if method == "bornhuetter_ferguson" and apriori is None:
        raise TrainingDataError(["bornhuetter_ferguson needs an a-priori rate"])
    data = _as_library(cl, triangle)
    # The library divides by empty cells and extrapolates variances; what comes of it is checked below.
    with np.errstate(all="ignore"):
        ready = cl.Development().fit_transform(data)
        if tail != 1.0:
            tailed = cl.TailConstant(tail) if isinstance(tail, int | float) else cl.TailCurve(curve=tail)
            ready = tailed.fit_transform(ready)
        weight = None if given is None else _weights(data, given)
        model = {
            "chain_ladder": lambda: cl.MackChainladder(),
            "bornhuetter_ferguson": lambda: cl.BornhuetterFerguson(apriori=apriori),
            "cape_cod": lambda: cl.CapeCod(),
        }[method]().fit(ready, sample_weight=weight)
        found = _developed(triangle, model, ready, method)
    bad = ~np.isfinite(found.frame["ultimate"].to_numpy())
    if bad.any():
        raise TrainingDataError(
            [f"{int(bad.sum())} of {shape[0]} periods have no finite ultimate: take a longer grain"]
        )
    return found


def report_pattern(
    occurred: pd.Series,
    known: pd.Series,
    valuation: pd.Timestamp | str,
    *,
    amount: ArrayLike | None = None,
    tail: float = 1.0,
) -> ReportPattern:
    """Estimate the share of claims known by age in days: the chain ladder day by day.

    Claims that will be known later than the valuation are not seen, so a histogram of delays is too short.
    Of the claims with a delay below j + 1 days that happened at least j + 1 days ago, the share with a
    delay of j days is unbiased; the pattern is the product of one minus these shares, from the oldest age
    down.

    Parameters
    ----------
    occurred, known
        Times of each known claim, shape (n,).
    valuation
        Until when claims are known.
    amount
        Weight of each claim, for amounts in place of counts, shape (n,).
    tail
        Share known at the oldest age at which `FEWEST_AT_RISK` claims could be looked at.
    """
    until = pd.Timestamp(valuation)
    value = np.ones(len(occurred)) if amount is None else np.asarray(amount, np.float64)
    _check_times(occurred, known, value)
    if not 0 < tail <= 1:
        raise TrainingDataError(
            [f"the share known at the oldest age must lie above 0 and up to 1, got {tail}"]
        )
    kept = (known < until).to_numpy()
    delay, room = (_days(occurred, end)[kept] for end in (known, until))
    size = int(room.max()) + 1 if kept.any() else 0
    seen = _at_risk(delay, room, np.ones(len(delay)), size)[1]
    enough = np.flatnonzero(seen >= FEWEST_AT_RISK)
    if not len(enough):
        raise TrainingDataError(
            [f"{int(kept.sum())} claims are too few for a pattern: {FEWEST_AT_RISK} must be of one age"]
        )
    hits, at_risk = _at_risk(delay, room, value[kept], size)
    first, last = int(enough[0]), int(enough[-1]) + 1
    # Where nothing of the weight was at risk there is no step.
    stays = 1.0 - np.divide(hits, at_risk, out=np.zeros(size), where=at_risk > 0)[:last]
    stays[:first] = 1.0
    share = np.append(np.cumprod(stays[::-1])[::-1], 1.0) * tail
    share[0] = 0.0  # nothing is known before any time has passed
    frame = pd.DataFrame({"share": share, "at_risk": np.append(at_risk[:last], np.nan)})
    return ReportPattern(frame.rename_axis("days"))


def reported_share(
    start: pd.Series, end: pd.Series, valuation: pd.Timestamp | str, pattern: ReportPattern
) -> Floats:
    """Give the share of a row's claims that is known at the valuation, shape (n,).

    Claims happen evenly while the row is exposed, from `start` to the earlier of `end` and the valuation; the
    share is the mean of the pattern over their ages, exact since the pattern is linear between days. Exposure
    times this share is what the known claims are to be set against.

    Parameters
    ----------
    start, end
        When each row is exposed, shape (n,).
    valuation
        Until when claims are known.
    pattern
        See `report_pattern`.

    Raises
    ------
    TrainingDataError
        If a row starts at or after the valuation, or ends before it starts, with row counts.
    """
    until = pd.Timestamp(valuation)
    oldest = _days(start, until)
    youngest = np.maximum(_days(end, until), 0.0)
    wrong = ~(oldest > youngest)
    if wrong.any():
        raise TrainingDataError([f"{int(wrong.sum())} rows: no exposure lies before the valuation {until}"])
    known = pattern.frame["share"].to_numpy()
    areas = np.append(0.0, np.cumsum((known[1:] + known[:-1]) / 2))

    def area(age: Floats) -> Floats:
        whole = np.minimum(np.floor(age).astype(np.int64), len(known) - 1)
        part = age - whole
        slope = np.append(np.diff(known), 0.0)[whole]
        return np.asarray(areas[whole] + known[whole] * part + slope * part**2 / 2)

    return np.asarray((area(oldest) - area(youngest)) / (oldest - youngest))


def _chainladder() -> ModuleType:
    try:
        import chainladder
    except ImportError as error:
        raise MissingExtraError("developing a triangle", "chainladder", "reserving") from error
    module: ModuleType = chainladder
    return module


def _ordinal(periods: pd.Series) -> NDArray[np.int64]:
    return np.asarray(pd.PeriodIndex(periods).asi8, np.int64)


def _as_library(cl: ModuleType, triangle: Triangle) -> Any:  # noqa: ANN401 - the library has no types
    code = PERIODS[triangle.grain]
    steps = triangle.frame.diff(axis=1).fillna(triangle.frame.iloc[:, [0]])
    long = steps.reset_index().melt("origin", var_name="age", value_name="value").dropna()
    origin = long["origin"].dt.to_period(code)
    known = (origin + (long["age"].astype(np.int64) - 1)).dt.start_time
    frame = pd.DataFrame({"origin": long["origin"], "known": known, "value": long["value"]})
    return cl.Triangle(
        frame, origin="origin", development="known", columns="value", cumulative=False
    ).incr_to_cum()


def _weights(data: Any, exposure: Floats) -> Any:  # noqa: ANN401 - the library has no types
    weight = data.latest_diagonal * 0.0
    return weight + exposure.reshape(1, 1, -1, 1)


def _cells(triangle: Any) -> Floats:  # noqa: ANN401 - the library has no types
    return np.asarray(triangle.values, np.float64)  # noqa: PD011 - a triangle, not a frame


def _developed(triangle: Triangle, model: Any, ready: Any, method: Method) -> Developed:  # noqa: ANN401
    size = len(triangle.frame)
    age = np.arange(size, 0, -1)
    known = triangle.frame.to_numpy()[np.arange(size), age - 1]
    ultimate = _cells(model.ultimate_)[0, 0, :, -1]
    factors = np.append(_cells(ready.cdf_)[0, 0, 0, :], 1.0)[:size]
    pattern = pd.Series(1.0 / factors, pd.RangeIndex(1, size + 1, name="age"), name="share_known")
    error, total = np.full(size, np.nan), float("nan")
    if method == "chain_ladder":
        error = np.nan_to_num(_cells(model.mack_std_err_)[0, 0, :, -1])
        total = float(np.asarray(model.total_mack_std_err_).ravel()[0])
    frame = pd.DataFrame(
        {
            "age": age,
            "known": known,
            "share_known": pattern.to_numpy()[age - 1],
            "ultimate": ultimate,
            "unreported": ultimate - known,
            "std_error": error,
        },
        index=triangle.frame.index,
    )
    return Developed(frame, pattern, total, method)


def _check_times(occurred: pd.Series, known: pd.Series, value: Floats) -> None:
    problems = [
        f"{int(rows.sum())} claims: {sentence}"
        for rows, sentence in (
            (occurred.isna() | known.isna(), "a time is missing"),
            (known < occurred, "known before it happened"),
            (pd.Series(~np.isfinite(value)), "the amount is missing or not finite"),
        )
        if rows.any()
    ]
    if problems:
        raise TrainingDataError(problems)


def _days(start: pd.Series, end: pd.Series | pd.Timestamp) -> Floats:
    return np.asarray((end - start) / pd.Timedelta(days=1), np.float64)


def _at_risk(delay: Floats, room: Floats, value: Floats, size: int) -> tuple[Floats, Floats]:
    """Give the weight that became known on each day, and what could be looked at, shape (size,)."""
    day, last = delay.astype(np.int64), room.astype(np.int64)
    whole = last > day  # the day on which it became known had passed whole when all were counted
    hits = np.bincount(day[whole], value[whole], size)[:size]
    until = np.cumsum(np.bincount(day, value, size))[:size]
    too_young = np.cumsum(np.bincount(last, value, size))[:size]
    return np.asarray(hits), np.asarray(until - too_young)
