"""Search for settings by cross-validation on learn rows: pruned, bound in time, resumed where it stopped."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna

from models.errors import TuningError
from models.families.boosting import CLAIM_HESSIAN, booster_parameters
from models.families.validation import EVERY, loss_curve
from models.response import check_enough
from models.risk_model import COMPONENTS
from models.splits import group_keys, split_rows
from models.training import design_of, read_table
from models.tuned import FamilySettings, TunedSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from models.families import Design, FitSettings
    from pricing.product import Product

    Progress = Callable[[str, float], None]

FOLDS = 5
# Trials drawn at random before the sampler learns from them and before any is pruned.
STARTUP_TRIALS = 3
# Boosting is searched at a quick learning rate. As much time is kept as trying the best settings once more at
# half of it needs; the better is kept.
SLOWER = 0.5
# An ensemble is judged by so many members at most; more of them only smooth its average further.
JUDGED_MEMBERS = 3
RATE = "learning_rate"
STATES = optuna.trial.TrialState
LIBRARIES = ("lightgbm", "glum", "numpy", "optuna", "scikit-learn")


@dataclass(frozen=True)
class Search:
    """How settings are searched for.

    Attributes
    ----------
    storage
        SQLite file that keeps every trial; a search that was killed goes on from there.
    seconds
        Time for all trials of one family and component, earlier runs included.
    trials
        Most trials, earlier runs included; None leaves it to the time.
    seed
        Seed of folds and sampler.
    """

    storage: Path
    seconds: float
    trials: int | None = None
    seed: int = 1


def tune(
    product: Product,
    table: pa.Table,
    settings: FitSettings,
    search: Search,
    families: Sequence[str] | None = None,
    components: Sequence[str] | None = None,
    progress: Progress | None = None,
    earlier: TunedSettings | None = None,
) -> TunedSettings:
    """Search settings of every family and component of a product; the rows set aside are never looked at.

    Parameters
    ----------
    product, table
        As for `train`.
    settings
        Start of the search, threads, and the members of an ensemble.
    search
        Storage, seed, and the time for all studies together, which share it equally.
    families
        Some of the product's families; all when absent.
    components
        Some of the response's components (`frequency`, `severity`, ...); all when absent.
    progress
        Told (step, share done).
    earlier
        Settings that a search which begins tries first.

    Raises
    ------
    TrainingDataError
        If the table cannot be used.
    TuningError
        If a family or component is not the product's, or no trial ended in time.
    """
    report = progress or (lambda _step, _share: None)
    designs = _learn_designs(product, table)
    chosen = _some(families, product.models.families, "families")
    parts = _some(components, tuple(designs), "components")
    studies = [(component, family) for component in parts for family in chosen]
    share = replace(search, seconds=search.seconds / len(studies))
    found: dict[str, dict[str, FamilySettings]] = {component: {} for component in parts}
    for number, (component, family) in enumerate(studies):
        found[component][family] = tune_family(
            family,
            designs[component],
            settings,
            share,
            f"{product.code}/{component}",
            lambda step, done, at=number, what=f"{component} {family}": report(  # type: ignore[misc]
                f"{what}: {step}", (at + done) / len(studies)
            ),
            None if earlier is None else earlier.apply(settings, component, family),
        )
    return TunedSettings.model_validate({"product": product.code, **found})


def _some(asked: Sequence[str] | None, there: tuple[str, ...], what: str) -> tuple[str, ...]:
    strangers = sorted(set(asked or ()) - set(there))
    if strangers:
        raise TuningError(f"{strangers} are not among the product's {what} {list(there)}")
    return tuple(asked or there)


def _learn_designs(product: Product, table: pa.Table) -> dict[str, Design]:
    encoding, matrix, observed = read_table(product, table)
    learn = split_rows(product.split, table).learn
    check_enough(observed.count[learn], observed.exposure[learn], "learn", product.response.kind)
    groups = group_keys(product.split, table)
    return {
        name: design_of(product, name, objective, encoding, matrix, observed, learn, groups)[0]
        for name, objective in COMPONENTS[product.response.kind].items()
    }


def tune_family(
    family: str,
    design: Design,
    settings: FitSettings,
    search: Search,
    name: str = "",
    progress: Progress | None = None,
    start: FitSettings | None = None,
) -> FamilySettings:
    """Search settings of one family on the learn rows of one component.

    The start is the first trial, so that what is found is never worse by cross-validation. Each trial fits
    `FOLDS` folds; after each fold it is given up when its mean loss so far lies above the median of other
    trials, or when the time is over. Boosting rounds are those of least mean loss over the folds; the fit on
    all learn rows then runs so many.

    Parameters
    ----------
    family
        `glm`, `gbm`, `ga2m` or `ga2m_ensemble`.
    design
        Learn rows, and no others.
    settings
        What is not searched (threads, members, learning rate), and the start unless another is given.
    search
        Storage, time, seed.
    name
        Names the study within the storage, for example `motor_fr/frequency`.
    progress
        Told (what was found so far, share of the time that is used).
    start
        What a search that begins tries first; one that goes on has its trials.

    Raises
    ------
    TuningError
        If no trial ended in time.
    """
    judged = replace(settings, members=min(settings.members, JUDGED_MEMBERS))
    study = _open(family, design, judged, search, name, start or settings)
    report = progress or (lambda _step, _share: None)
    objective = _Objective(
        family, design, judged, search, study, report, time.monotonic() - _seconds_used(study)
    )
    while objective.left() > 0 and _finished(study) < (search.trials or np.inf):
        study.optimize(objective, n_trials=1)
    if family != "glm" and _complete(study) and objective.used() < search.seconds:
        _enqueue_slower(study, settings)
        study.optimize(objective, n_trials=len(study.get_trials(states=(STATES.WAITING,))))
    report(_said(study, FOLDS - 1), 1.0)
    return _chosen(family, design, settings, search, study)


@dataclass(frozen=True, eq=False)
class _Objective:
    """Loss of one trial, fold by fold."""

    family: str
    design: Design
    settings: FitSettings
    search: Search
    study: optuna.Study
    report: Progress
    begun: float  # when the search would have begun had it never been stopped

    def used(self) -> float:
        """Seconds of all trials."""
        return time.monotonic() - self.begun

    def left(self) -> float:
        """Seconds for more trials at the quick learning rate."""
        kept = 0.0 if self.family == "glm" else _slower_seconds(self.study)
        return self.search.seconds - self.used() - kept

    def __call__(self, trial: optuna.Trial) -> float:
        drawn = _suggest(trial, self.family, self.design, self.settings)
        tried = replace(self.settings, **drawn, learning_rate=_rate(trial, self.settings))  # type: ignore[arg-type]
        first, slower = not _complete(self.study), RATE in trial.user_attrs
        value = np.inf
        for fold, (value, rounds) in enumerate(_folds(self.family, self.design, tried, self.search.seed)):
            trial.report(value, fold)
            trial.set_user_attr("rounds", rounds)
            self.report(_said(self.study, fold), min(self.used() / self.search.seconds, 1.0))
            late = self.used() > self.search.seconds and not first
            if fold + 1 < FOLDS and not slower and (late or trial.should_prune()):
                raise optuna.TrialPruned
        return float(value)


def _folds(family: str, design: Design, settings: FitSettings, seed: int) -> Iterator[tuple[float, int]]:
    """Give, after each fold, the least mean loss over rounds so far, and those rounds."""
    dealt = design.folds(FOLDS, seed)
    curves: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    for fold in range(FOLDS):
        held = dealt == fold
        curves.append(loss_curve(family, design.take(~held), design.take(held), settings))
        size = min(len(curve) for curve in curves)
        mean = np.mean([curve[:size] for curve in curves], axis=0)
        yield float(mean.min()), (int(mean.argmin()) + 1) * EVERY


def _open(
    family: str, design: Design, settings: FitSettings, search: Search, name: str, start: FitSettings
) -> optuna.Study:
    """Open the study of these very rows, settings and library versions, or begin it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    digest = hashlib.sha256(repr((settings, search.seed, FOLDS, _versions(), design.inputs)).encode())
    for part in (design.values, design.target, design.weight, design.groups):
        digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
    search.storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{search.storage}",
        study_name=f"{name}/{family}/{digest.hexdigest()[:16]}",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
    )
    for trial in study.get_trials(deepcopy=False, states=(STATES.RUNNING,)):
        study.tell(trial.number, state=STATES.FAIL)  # its process was killed
    # A resumed sampler must not draw again what it drew before.
    study.sampler = optuna.samplers.TPESampler(
        seed=search.seed + len(study.trials), n_startup_trials=STARTUP_TRIALS
    )
    if not _complete(study):
        study.enqueue_trial(_start(family, design, start))
    return study


def _versions() -> dict[str, str]:
    return {library: version(library) for library in LIBRARIES}


def _finished(study: optuna.Study) -> int:
    """Count the trials of the search, those at a lower learning rate apart."""
    return sum(
        trial.state.is_finished() and RATE not in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    done: list[optuna.trial.FrozenTrial] = study.get_trials(deepcopy=False, states=(STATES.COMPLETE,))
    return done


def _best(study: optuna.Study) -> optuna.trial.FrozenTrial:
    return min(_complete(study), key=lambda trial: np.inf if trial.value is None else trial.value)


def _rate(trial: optuna.Trial | optuna.trial.FrozenTrial, settings: FitSettings) -> float:
    return float(trial.user_attrs.get(RATE, settings.learning_rate))


def _tried_slower(study: optuna.Study) -> bool:
    best = _best(study)
    return any(RATE in trial.user_attrs and trial.params == best.params for trial in _complete(study))


def _slower_seconds(study: optuna.Study) -> float:
    """Guess how long the best settings take at the lower learning rate; zero once they were tried."""
    best = min(_complete(study), default=None, key=lambda trial: trial.value or np.inf)
    if best is None or best.duration is None or _tried_slower(study):
        return 0.0
    return float(best.duration.total_seconds()) / SLOWER


def _enqueue_slower(study: optuna.Study, settings: FitSettings) -> None:
    best = _best(study)
    if not _tried_slower(study):
        study.enqueue_trial(best.params, user_attrs={RATE: SLOWER * settings.learning_rate})


def _seconds_used(study: optuna.Study) -> float:
    done = (trial.duration for trial in study.trials)
    return sum((duration.total_seconds() for duration in done if duration is not None), 0.0)


def _said(study: optuna.Study, fold: int) -> str:
    found = f", least loss {_best(study).value:.6f}" if _complete(study) else ""
    return f"trial {len(study.trials)}, fold {fold + 1}{found}"


def _ranges(family: str, design: Design, settings: FitSettings) -> dict[str, tuple[float, float, bool]]:
    """Give the searched settings: lowest, highest, whether on a logarithmic scale."""
    if family == "glm":
        return {"level_claims": (1.0, 100.0, True), "bend_claims": (1.0, 1000.0, True)}
    rows = len(design.target)
    ranges: dict[str, tuple[float, float, bool]] = {
        "leaves": (6, 63, True),
        "leaf_rows": (max(10, rows // 10_000), max(40, rows // 300), True),
        "feature_share": (0.3, 1.0, False),
        "bagging_share": (0.4, 0.95, False),
        "ridge": (0.5, 200.0, True),
    }
    if design.objective in CLAIM_HESSIAN:
        ranges["leaf_claims"] = (0.5, 30.0, True)
    if any(design.levels):
        ranges |= {"category_smoothing": (3.0, 300.0, True), "category_levels": (4, 32, True)}
        ranges["category_onehot"] = (1, 32, True)
    if family != "gbm" and len(list(combinations(design.inputs, 2))) > settings.all_pairs:
        ranges["pairs"] = (5, settings.all_pairs, True)
    return ranges


def _start(family: str, design: Design, settings: FitSettings) -> dict[str, float]:
    """Give the settings as they would be without a search, held within the ranges."""
    now = booster_parameters(design, settings)
    given = {**vars(settings), "leaves": now["num_leaves"], "leaf_rows": now["min_data_in_leaf"]}
    ranges = _ranges(family, design, settings)
    return {name: type(low)(np.clip(given[name], low, high)) for name, (low, high, _) in ranges.items()}


def _suggest(
    trial: optuna.Trial, family: str, design: Design, settings: FitSettings
) -> dict[str, float | int]:
    for name, (low, high, log) in _ranges(family, design, settings).items():
        if isinstance(low, int):
            trial.suggest_int(name, low, int(high), log=log)
        else:
            trial.suggest_float(name, low, high, log=log)
    return _rounded(trial.params)


def _rounded(drawn: dict[str, Any]) -> dict[str, float | int]:
    """Keep three digits, so that a file says in full what was tried."""
    return {name: x if isinstance(x, int) else float(f"{x:.3g}") for name, x in drawn.items()}


def _chosen(
    family: str, design: Design, settings: FitSettings, search: Search, study: optuna.Study
) -> FamilySettings:
    done = _complete(study)
    if not done:
        raise TuningError(f"no trial of {family} ended; {search.seconds:g} seconds are too few")
    best = _best(study)
    record: dict[str, str | int | float] = {
        "loss": float(best.value or 0.0),
        "loss_before": float(min(done, key=lambda trial: trial.number).value or 0.0),
        "trials": _finished(study),
        "pruned": len(study.get_trials(deepcopy=False, states=(STATES.PRUNED,))),
        "folds": FOLDS,
        "seed": search.seed,
        "rows": len(design.target),
        "seconds": round(_seconds_used(study)),
        **_versions(),
    }
    found = _rounded(best.params)
    if family != "glm":
        found |= {RATE: _rate(best, settings), "rounds": best.user_attrs["rounds"], "stopping_share": 0.0}
    if family == "ga2m_ensemble":
        found["members"] = settings.members
        record["members_judged"] = min(settings.members, JUDGED_MEMBERS)
    return FamilySettings.model_validate({**found, "record": record})
