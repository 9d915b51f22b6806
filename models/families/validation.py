"""Loss on rows set aside, round by round: what tuning minimises."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np

from models import metrics
from models.families.base import TWEEDIE_POWER, Design, FitSettings
from models.families.boosting import booster_parameters, booster_rows, pair_constraints
from models.families.glm import fit_glm
from models.links import respond

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rounds between two looks at the rows set aside.
EVERY = 10


def loss(design: Design, predicted: NDArray[np.float64]) -> float:
    """Mean deviance (log loss for events) per unit of weight of rates or probabilities, shape (n,)."""
    target, weight = design.target, design.weight
    if design.objective == "binary":
        return metrics.logloss(target, predicted)
    if design.objective == "gamma":
        return metrics.gamma_deviance(target, predicted, weight)
    power = 1.0 if design.objective == "poisson" else TWEEDIE_POWER
    return metrics.tweedie_deviance(target, predicted, weight, power)


def loss_curve(family: str, learn: Design, judge: Design, settings: FitSettings) -> NDArray[np.float64]:
    """Fit a family on some rows and judge it on others.

    Parameters
    ----------
    family
        `glm`, `gbm`, `ga2m` or `ga2m_ensemble`.
    learn, judge
        Rows to fit on, and rows set aside.
    settings
        Boosting ends after `rounds`, or when `patience` rounds (or two over the learning rate, if that is
        more) brought no gain.

    Returns
    -------
    ndarray
        Loss after `EVERY`, 2 x `EVERY`, ... rounds, for an ensemble that of the average; one entry for a GLM.
    """
    if family == "glm":
        raw = fit_glm(learn, settings).predict_raw(judge.values)
        return np.array([loss(judge, respond(raw, learn.link))])
    members = _members(family, learn, judge, settings)
    patience = max(settings.patience, 2 / settings.learning_rate) / EVERY
    losses: list[float] = []
    while len(losses) * EVERY < settings.rounds and len(losses) - 1 - _best(losses) < patience:
        for member in members:
            for _ in range(EVERY):
                member.update()
        losses.append(loss(judge, _average([_judged(member) for member in members], learn)))
    return np.array(losses)


def _best(losses: list[float]) -> int:
    return int(np.argmin(losses)) if losses else 0


def _members(family: str, learn: Design, judge: Design, settings: FitSettings) -> list[lgb.Booster]:
    count = settings.members if family == "ga2m_ensemble" else 1
    members = []
    for seed in range(settings.seed, settings.seed + count):
        seeded = replace(settings, seed=seed)
        parameters = booster_parameters(learn, seeded)
        if family != "gbm":
            parameters["interaction_constraints"] = pair_constraints(learn, seeded)
        rows = booster_rows(learn, parameters)
        member = lgb.Booster(parameters, rows)
        members.append(member.add_valid(booster_rows(judge, parameters, rows), "judge"))
    return members


def _judged(member: lgb.Booster) -> NDArray[np.float64]:
    found: list[NDArray[np.float64]] = []

    def keep(predicted: NDArray[np.float64], _: lgb.Dataset) -> tuple[str, float, bool]:
        found.append(predicted)
        return "kept", 0.0, False

    member.eval_valid(keep)
    return found[0]


def _average(predicted: list[NDArray[np.float64]], design: Design) -> NDArray[np.float64]:
    """Average rates or probabilities on the scale of the link."""
    if len(predicted) == 1:
        return predicted[0]
    if design.link == "log":
        return np.asarray(np.exp(np.mean(np.log(predicted), axis=0)))
    odds = np.mean([np.log(part / (1.0 - part)) for part in predicted], axis=0)
    return respond(odds, "logit")
