"""What the scikit-learn estimators have in common; they fit by `fit_family`, as `train` does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import d2_log_loss_score, d2_tweedie_score
from sklearn.utils.validation import check_is_fitted, validate_data

from models.errors import ArtifactError, EncodingError, TrainingDataError
from models.families.base import TWEEDIE_POWER, Design, FitSettings, Objective, library_versions
from models.families.fit import fit_family, load_scorer
from models.families.frame import FrameEncoding
from models.families.rows import read_rows, refuse_protected, without_offset
from models.links import respond
from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray
    from sklearn.utils import Tags

    from models.families.base import Scorer

    Frame: TypeAlias = pd.DataFrame | ArrayLike

FORMAT = "premia-estimator-1"
OBJECTIVES = ("poisson", "gamma", "tweedie", "binary")
POWERS = {"poisson": 1.0, "gamma": 2.0, "tweedie": TWEEDIE_POWER}


class Family(Protocol):
    """What every model family does, whatever it fits.

    The target is a rate per unit of exposure (`poisson`: frequency, `tweedie`: pure premium), a mean amount
    per claim with the number of claims as exposure (`gamma`: severity), or an event 0/1 (`binary`).
    """

    def fit(
        self,
        X: Frame,
        y: ArrayLike,
        exposure: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Learn from rows."""

    def predict(self, X: Frame, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """Give rates, mean amounts or probabilities, shape (n,)."""

    def explain(self, X: Frame) -> pd.DataFrame:
        """Give contributions by input on the scale of the link, shape (n, inputs)."""

    def to_artifact(self, folder: Path, name: str) -> list[Path]:
        """Write native text, JSON and Arrow files."""

    @classmethod
    def from_artifact(cls, folder: Path, name: str) -> Self:
        """Read what `to_artifact` wrote."""


@dataclass(eq=False, repr=False)
class Estimator(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What the estimators have in common: reading rows, scoring, explaining, storing.

    After `fit`: `scorer_` (the model behind, see `Scorer`), `encoding_`, `intercept_`, `versions_` (exact
    versions of the libraries), `n_features_in_`, `feature_names_in_`.

    Parameters
    ----------
    objective
        `poisson` (frequency), `gamma` (severity), `tweedie` (pure premium) or `binary` (events).
    inputs
        Columns of a DataFrame to read, in this order; all when absent.
    categorical
        Columns whose values are levels (`x0`, `x1` and so on for an array); `auto` takes those that are not
        numbers.
    monotone
        +1 or -1 by column where the rate may only rise or only fall with it.
    unknown
        What `predict` does with a level, or a missing value, for which the fit had no like: `refuse`, or
        `average`: the raw score averaged over the column's share of exposure in the fit.
    protected
        Attributes that must not be among the columns.
    """

    family: ClassVar[str]
    objective: Objective = "poisson"
    _: KW_ONLY
    inputs: Sequence[str] | None = None
    categorical: Collection[str] | str = "auto"
    monotone: Mapping[str, int] | None = None
    unknown: str = "refuse"
    protected: Collection[str] = ()

    @classmethod
    def of(cls, settings: FitSettings, objective: Objective = "poisson", **given: Any) -> Self:  # noqa: ANN401
        """Build the estimator with what it takes of given, for example tuned, settings.

        Parameters
        ----------
        settings
            Seed, threads, rounds and all else that the family reads.
        objective
            Distribution of the target.
        **given
            Other parameters.
        """
        taken = {
            f.name: getattr(settings, f.name) for f in fields(settings) if f.name in cls._get_param_names()
        }
        return cls(objective, **{**taken, **given})

    def fit(
        self,
        X: Frame,
        y: ArrayLike,
        exposure: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Learn from rows.

        Parameters
        ----------
        X
            Raw columns, DataFrame or array of shape (n, inputs).
        y
            Shape (n,): rate per unit of exposure, mean amount per claim, or event 0/1.
        exposure
            Shape (n,), the weight of each row. With a log link, a Poisson rate weighted by exposure has the
            same likelihood as a count with the offset ln(exposure).
        offset
            Shape (n,), log link only: a base tariff's ln(rate) that stays fixed.
        groups
            Shape (n,): rows of one customer or policy, which never stand on both sides of an early stop.

        Raises
        ------
        TrainingDataError
            Naming what cannot be true, with row counts.
        EncodingError
            If a column cannot be read.
        """
        self._check_parameters()
        frame = self._frame(X, reset=True)
        refuse_protected(map(str, frame.columns), self.protected)
        target, weight, base = read_rows(self.objective, len(frame), y, exposure, offset)
        encoding = FrameEncoding.learn(frame, weight, self.categorical)
        rate, load = without_offset(self.objective, target, weight, base)
        design = Design(
            encoding.encode(frame, "average"),
            rate,
            load,
            encoding.inputs,
            tuple(len(levels) for levels in encoding.levels),
            self._signs(encoding),
            self.objective,
            None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1],
        )
        scorer = self._fit(design)
        if base.any():  # the total of y, not that of y without its offset
            fitted = respond(scorer.predict_raw(design.values) + base, scorer.link)
            scorer = scorer.shifted(float(np.log((weight @ target) / (weight @ fitted))))
        self._learned(scorer, encoding, library_versions())
        return self

    def _fit(self, design: Design) -> Scorer:
        return fit_family(self.family, design, self._settings())

    def _settings(self) -> FitSettings:
        given = self.get_params(deep=False)
        return FitSettings(**{f.name: given[f.name] for f in fields(FitSettings) if f.name in given})

    def _learned(self, scorer: Scorer, encoding: FrameEncoding, versions: dict[str, str]) -> None:
        self.scorer_ = scorer
        self.encoding_ = encoding
        self.intercept_ = scorer.intercept
        self.versions_ = versions

    def predict(self, X: Frame, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """Give the rate per unit of exposure, mean amount per claim or probability.

        Parameters
        ----------
        X
            Columns as in the fit.
        offset
            Shape (n,), as in the fit; zero when absent.

        Returns
        -------
        ndarray
            Shape (n,).

        Raises
        ------
        EncodingError
            If `unknown` is `refuse` and a value has no like in the fit, with row counts.
        """
        values = self._encoded(X)
        raw = self.encoding_.averaged(self.scorer_.predict_raw, values)
        return respond(
            raw if offset is None else raw + np.asarray(offset, dtype=np.float64), self.scorer_.link
        )

    def explain(self, X: Frame) -> pd.DataFrame:
        """Give what each input adds on the scale of the link.

        Exact table effects (a two-way cell is shared in halves), TreeSHAP values for `LightGBM`. With
        `intercept_` a row adds up to ln(rate) or the logit of the probability.

        Parameters
        ----------
        X
            Columns as in the fit.

        Returns
        -------
        DataFrame
            One column per input, index of `X`.
        """
        values = self._encoded(X)
        parts = self.encoding_.averaged(self.scorer_.contributions, values)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return pd.DataFrame(parts, columns=list(self.encoding_.inputs), index=index)

    def score(self, X: Frame, y: ArrayLike, exposure: ArrayLike | None = None) -> float:
        """Give D2, the share of the null model's deviance (events: log loss) that is explained."""
        predicted = self.predict(X)
        if self.objective == "binary":
            both = np.column_stack([1.0 - predicted, predicted])
            return float(d2_log_loss_score(y, both, sample_weight=exposure, labels=[0, 1]))
        return float(d2_tweedie_score(y, predicted, sample_weight=exposure, power=POWERS[self.objective]))

    def to_artifact(self, folder: Path, name: str) -> list[Path]:
        """Write the model's own files and `<name>.estimator.json` (parameters, columns, versions, checksums).

        Parameters
        ----------
        folder
            Existing folder.
        name
            Stem of the files.
        """
        check_is_fitted(self)
        paths = self.scorer_.save(folder, name)
        head = {
            "format": FORMAT,
            "class": type(self).__name__,
            "parameters": self.get_params(deep=False),
            "columns": self.encoding_.to_json(),
            "named": hasattr(self, "feature_names_in_"),
            "versions": self.versions_,
            "learned": self._stored(),
            "files": {path.name: _checksum(path) for path in paths},
        }
        path = folder / f"{name}.estimator.json"
        path.write_text(json.dumps(head, indent=1, default=_plain) + "\n", encoding="utf-8")
        return [*paths, path]

    @classmethod
    def from_artifact(cls, folder: Path, name: str) -> Self:
        """Read what `to_artifact` wrote.

        Raises
        ------
        ArtifactError
            If a file is absent or damaged, or another class wrote it.
        """
        try:
            head = json.loads((folder / f"{name}.estimator.json").read_text(encoding="utf-8"))
            if head["format"] != FORMAT or head["class"] != cls.__name__:
                raise ArtifactError(
                    f"{name}: {head['format']} of {head['class']}; expected {FORMAT} of {cls.__name__}"
                )
            damaged = [file for file, sum_ in head["files"].items() if _checksum(folder / file) != sum_]
            if damaged:
                raise ArtifactError(f"{name}: {', '.join(damaged)} do not match their checksum")
            estimator = cls(**{key: _frozen(value) for key, value in head["parameters"].items()})
            estimator._learned(
                load_scorer(folder, name), FrameEncoding.from_json(head["columns"]), head["versions"]
            )
            estimator._restore(head["learned"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"estimator {name!r} cannot be read: {error}") from error
        estimator.n_features_in_ = len(estimator.encoding_.inputs)
        if head["named"]:
            estimator.feature_names_in_ = np.array(estimator.encoding_.inputs, dtype=object)
        return estimator

    def _stored(self) -> dict[str, Any]:
        """Give what a family learned beside its scorer, as JSON."""
        return {}

    def _restore(self, content: Mapping[str, Any]) -> None:
        """Take back what `_stored` gave."""

    def _check_parameters(self) -> None:
        for name, allowed in (("objective", OBJECTIVES), ("unknown", ("refuse", "average"))):
            given = getattr(self, name)
            if given not in allowed:
                raise TrainingDataError(
                    [f"{name} is {given!r}; allowed: {', '.join(allowed)} ({nearest(str(given), allowed)})"]
                )

    def _frame(self, X: Frame, *, reset: bool) -> pd.DataFrame:
        if not isinstance(X, pd.DataFrame):
            array = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=reset)
            names = [f"x{i}" for i in range(array.shape[1])] if reset else list(self.encoding_.inputs)
            return pd.DataFrame(array, columns=names)
        if self.inputs is not None:
            absent = [name for name in self.inputs if name not in X.columns]
            if absent:
                hints = "; ".join(filter(None, (nearest(name, map(str, X.columns)) for name in absent)))
                raise TrainingDataError(
                    [f"inputs {absent} are not among the columns ({hints or 'none is near'})"]
                )
            X = X[list(self.inputs)]
        repeated = sorted({str(name) for name in X.columns[X.columns.duplicated()]})
        if repeated:
            raise EncodingError([f"columns {repeated} are repeated"])
        validate_data(self, X, skip_check_array=True, reset=reset)
        return X

    def _encoded(self, X: Frame) -> NDArray[np.float64]:
        check_is_fitted(self)
        return self.encoding_.encode(self._frame(X, reset=False), self.unknown)

    def _signs(self, encoding: FrameEncoding) -> tuple[int, ...]:
        given = dict(self.monotone or {})
        numbers = {column.name for column in encoding.columns if not column.category}
        faults = [
            f"monotone[{name!r}] = {sign!r}: "
            + ("not a number column" if name not in numbers else "not -1, 0 or 1")
            for name, sign in given.items()
            if name not in numbers or sign not in {-1, 0, 1}
        ]
        if faults:
            raise TrainingDataError(faults)
        return tuple(int(given.get(name, 0)) for name in encoding.inputs)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.target_tags.positive_only = True
        return tags


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):  # JSON has no NaN
        return np.where(np.isnan(value), None, value).tolist()  # type: ignore[call-overload]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a parameter of type {type(value).__name__} cannot be stored")


def _frozen(value: Any) -> Any:  # noqa: ANN401
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
