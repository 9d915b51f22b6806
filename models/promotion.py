"""May a model price? By thresholds that the product file set before; a second person has the last word."""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from models.comparison import NULL, Comparison
from models.errors import PromotionError
from models.judged import IN_SERVICE, Judged
from models.losses import FIGURES
from models.paired import gain_test

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from pricing.promotion import BySegment, Promotion

    Array = NDArray[np.float64]

Outcome = Literal["promoted", "refused", "insufficient_evidence"]
Finding = Literal["met", "missed", "undecided", "not judged"]
BANDS = 5
MOST_SEGMENTS = 50


@dataclass(frozen=True)
class Rule:
    """One threshold and what was found.

    Attributes
    ----------
    rule
        What is asked.
    of
        Segment, or `all` test rows.
    candidate, champion
        Figures of the candidate and of the model it is held against; None where there is none.
    threshold
        What is allowed, in words.
    finding
        `undecided` where chance may account for a miss; `not judged` where a segment is too small.
    """

    rule: str
    of: str
    candidate: float | None
    champion: float | None
    threshold: str
    finding: Finding

    @property
    def is_gain(self) -> bool:
        """Whether it asks for a gain on the model in service."""
        return self.of == "all" and self.rule in FIGURES.values()


@dataclass(frozen=True)
class Decision:
    """What the thresholds say of a candidate.

    Attributes
    ----------
    candidate
        Family.
    against
        Version in service that it was held against; empty when none was in service.
    rules
        Every threshold with the numbers.
    """

    candidate: str
    against: str
    rules: tuple[Rule, ...]

    @property
    def outcome(self) -> Outcome:
        """`promoted` when every rule is met, `refused` when one is missed, else `insufficient_evidence`."""
        findings = {rule.finding for rule in self.rules}
        if "missed" in findings:
            return "refused"
        return "insufficient_evidence" if "undecided" in findings else "promoted"

    @property
    def frame(self) -> pd.DataFrame:
        """One line per rule."""
        return pd.DataFrame([asdict(rule) for rule in self.rules])

    def problems(self, *, undecided_gain: bool = False) -> list[str]:
        """Give one sentence per rule that is not met.

        Parameters
        ----------
        undecided_gain
            Whether the gain on the model in service may be undecided.
        """
        return [
            _sentence(rule)
            for rule in self.rules
            if rule.finding == "missed"
            or (rule.finding == "undecided" and not (undecided_gain and rule.is_gain))
        ]

    def words(self) -> str:
        """Say the outcome in a sentence."""
        if self.outcome == "promoted":
            shown = ", ".join(f"{r.rule} {r.candidate:.4g}" for r in self.rules if r.of == "all")
            return f"meets all {len(self.rules)} thresholds ({shown})"
        return f"{self.outcome.replace('_', ' ')}: " + "; ".join(self.problems())

    def to_json(self) -> dict[str, Any]:
        """Give the decision as a JSON object."""
        return asdict(self) | {"outcome": self.outcome}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Decision:
        """Read what `to_json` wrote."""
        return cls(content["candidate"], content["against"], tuple(Rule(**rule) for rule in content["rules"]))


def assess(thresholds: Promotion, judged: Judged, candidate: str, against: str = "") -> Decision:
    """Hold a candidate against the thresholds, against the model in service, and segment by segment.

    Parameters
    ----------
    thresholds
        Of the product file.
    judged
        Test rows, with the line `in_service` when a model prices.
    candidate
        Family.
    against
        Version in service.

    Returns
    -------
    Decision
        Never promotes by itself: see `check_second_person`.
    """
    rules = [*_absolute(thresholds, judged, candidate)]
    if against:
        rules.append(_gain(thresholds, judged, candidate))
    rules += _segments(thresholds.segments, thresholds.champion.significance, judged.response, candidate)
    return Decision(candidate, against, tuple(rules))


def check_second_person(author: str, approver: str) -> str:
    """Give the approver's name, and refuse an approver who trained the model.

    Raises
    ------
    PromotionError
        If the name is empty or that of the author, however it is written.
    """
    name = approver.strip()
    if not name:
        raise PromotionError(["an approver must be named. Hint: --by NAME"])
    if _folded(name) == _folded(author):
        raise PromotionError([f"{name} is the author; a second person approves. Hint: --by ANOTHER"])
    return name


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _absolute(thresholds: Promotion, judged: Judged, candidate: str) -> Iterator[Rule]:
    held, figures = judged.response.held, judged.response.table.loc[candidate]
    claims = float(np.count_nonzero(held.actual) if held.objective == "tweedie" else held.actual.sum())
    yield Rule(
        "claims on test rows",
        "all",
        claims,
        None,
        f"at least {thresholds.least_claims}",
        "met" if claims >= thresholds.least_claims else "undecided",
    )
    d2 = float(figures["d2"])
    yield Rule("d2", "all", d2, None, f"above {thresholds.least_d2:g}", _met(d2 > thresholds.least_d2))
    bounds = (thresholds.lowest_ae, thresholds.highest_ae)
    yield _balance("all", held.actual, judged.response.expected[candidate], bounds)
    for name, least in (
        ("gini", thresholds.least_gini),
        ("autocalibration_p", thresholds.least_autocalibration_p),
    ):
        if least is not None:
            found = float(figures[name])
            yield Rule(name, "all", found, None, f"at least {least:g}", _met(found >= least))


def _balance(of: str, actual: Array, expected: Array, bounds: tuple[float, float]) -> Rule:
    """Judge actual over expected; two standard errors are allowed where claims are few."""
    found = float(actual.sum() / expected.sum())
    slack = 2.0 * float(np.sqrt(np.sum((actual - expected) ** 2)) / expected.sum())
    low, high = min(bounds[0], 1.0 - slack), max(bounds[1], 1.0 + slack)
    text = f"{low:.3f} to {high:.3f}"
    return Rule("actual over expected", of, found, None, text, _met(low <= found <= high))


def _gain(thresholds: Promotion, judged: Judged, candidate: str) -> Rule:
    """Judge the gain on the model in service: reached and sure, out of reach, or neither."""
    limits, response = thresholds.champion, judged.response
    figure = FIGURES[response.held.objective]
    text = f"gain of at least {limits.least_gain:.2%}, p at most {limits.significance:g}"
    own = float(response.table.loc[candidate, figure])
    if judged.not_compared:
        return Rule(figure, "all", own, None, f"{text}; not comparable: {judged.not_compared}", "undecided")
    gain, statistic = gain_test(
        response.losses(candidate), response.losses(IN_SERVICE), limits.least_gain, response.held.cluster
    )
    finding = _decided(statistic, limits.significance)
    found = f"{text}; found {gain:.2%}, p {stats.norm.sf(statistic):.3g}"
    return Rule(figure, "all", own, float(response.table.loc[IN_SERVICE, figure]), found, finding)


def _decided(statistic: float, significance: float) -> Finding:
    if stats.norm.sf(statistic) <= significance:
        return "met"
    return "missed" if stats.norm.cdf(statistic) <= significance else "undecided"


def _segments(limits: BySegment, significance: float, response: Comparison, candidate: str) -> Iterator[Rule]:
    held, other = response.held, IN_SERVICE if IN_SERVICE in response.expected else NULL
    own, base = response.losses(candidate), response.losses(other)
    figure, expected = FIGURES[held.objective], response.expected[candidate]
    for column in limits.columns:
        codes, labels = segment_codes(held.factors[column])
        for position, label in enumerate(labels):
            rows = codes == position
            of = f"{column} = {label}"
            claims = np.count_nonzero(held.actual[rows])
            if claims < limits.least_claims:
                few = f"segments of at least {limits.least_claims} rows with claims"
                yield Rule("claims of the segment", of, float(claims), None, few, "not judged")
                continue
            yield _balance(of, held.actual[rows], expected[rows], (limits.lowest_ae, limits.highest_ae))
            cluster = None if held.cluster is None else held.cluster[rows]
            gain, statistic = gain_test(own[rows], base[rows], -limits.most_loss, cluster)
            # A segment is not asked to prove anything; a loss must only not be more than chance explains.
            finding: Finding = "met" if gain >= -limits.most_loss else "undecided"
            if finding == "undecided" and stats.norm.cdf(statistic) <= significance:
                finding = "missed"
            yield Rule(
                figure,
                of,
                float(own[rows].mean()),
                float(base[rows].mean()),
                f"at most {1 + limits.most_loss:g} x that of {other}",
                finding,
            )


def segment_codes(column: pd.Series) -> tuple[NDArray[np.int64], list[str]]:
    """Give the segment of each row and the segments' names; numbers are cut into five bands of like size.

    Raises
    ------
    PromotionError
        If a column has more than 50 levels.
    """
    if pd.api.types.is_numeric_dtype(column.dtype) and column.nunique() > 2 * BANDS:
        column = pd.qcut(column, BANDS, duplicates="drop", precision=2)
    codes, levels = pd.factorize(column, sort=True, use_na_sentinel=True)
    if len(levels) > MOST_SEGMENTS:
        raise PromotionError(
            [f"segment column {column.name!r} has {len(levels)} levels; at most {MOST_SEGMENTS}"]
        )
    codes = np.where(codes < 0, len(levels), codes).astype(np.int64)
    names = [f"{x.left:g} to {x.right:g}" if isinstance(x, pd.Interval) else str(x) for x in levels]
    return codes, names + ["missing"] * bool((codes == len(levels)).any())


def _met(condition: bool) -> Finding:
    return "met" if condition else "missed"


def _sentence(rule: Rule) -> str:
    against = "" if rule.champion is None else f" against {rule.champion:.4g}"
    found = "" if rule.candidate is None else f" is {rule.candidate:.4g}{against}"
    where = "" if rule.of == "all" else f" of {rule.of}"
    return f"{rule.rule}{where}{found}; asked: {rule.threshold}"
