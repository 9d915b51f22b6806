"""Train every family of a product on one table and judge them on the rows set aside by its file."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from models.errors import TrainingDataError
from models.experience import ExperienceFit, fit_experience
from models.families import Design, FitSettings, Objective, Scorer, fit_family
from models.fitted import inputs_hash
from models.judged import EMPTY, IN_SERVICE, Judged, judge
from models.risk_model import COMPONENTS, ComponentName, RiskModel
from models.sample import Sample
from models.sample import read_table as read_table  # the tuner reads it from here
from pricing.money import to_minor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from features.spec import FeatureSpec
    from models.bundle import Bundle
    from models.encoding import Encoding
    from models.own_history import OwnHistories
    from models.registry import Promoted
    from models.response import Observed
    from models.tuned import TunedSettings
    from pricing.product import Product

    Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """All families of a product, and how they did.

    Attributes
    ----------
    product
        Product as trained.
    spec_hash
        Identity of the feature definitions, empty when none were given.
    encoding
        From risks to model inputs.
    models
        Family -> fitted model.
    comparison
        One line per family (and `null`, the average), one column per figure, all on test rows.
    judged
        What the pictures are drawn from.
    summary
        Rows, claims, exposure, seconds, settings: plain numbers and texts.
    proposed
        Family that is proposed in place of the product's, such as a tariff; empty for the product's.
    attachments
        Texts stored with the proposed family, by file name.
    against
        Version in service that they were judged with; empty when none was.
    experience
        Experience rating, fitted with the product's champion; None where the product names none.
    """

    product: Product
    spec_hash: str
    encoding: Encoding
    models: dict[str, RiskModel]
    comparison: pd.DataFrame
    judged: Judged
    summary: dict[str, float | int | str] = field(default_factory=dict)
    proposed: str = EMPTY
    attachments: Mapping[str, str] = field(default_factory=dict)
    against: str = EMPTY
    experience: ExperienceFit | None = None

    @property
    def champion(self) -> str:
        """Family that is proposed: the product's, unless another was named."""
        return self.proposed or self.product.models.champion

    def bundle(self, family: str | None = None) -> Bundle:
        """Give one family (the product's champion when absent) as what serves and is stored."""
        from models.bundle import Bundle  # here, since a bundle is also what this module's callers import

        chosen = family or self.champion
        figures = {
            str(name): float(value)
            for name, value in self.comparison.loc[chosen].items()
            if not np.isnan(value) and name != "seconds"
        }
        return Bundle.of(
            self.product,
            self.models[chosen],
            self.encoding,
            self.spec_hash,
            # Without the seconds, so that the same training gives the same bytes.
            {key: value for key, value in self.summary.items() if not key.startswith("seconds_")}
            | {f"test_{name}": value for name, value in figures.items()},
            self.attachments if chosen == self.champion else None,
            self.experience,
        )


def train(
    product: Product,
    table: pa.Table,
    *,
    feature_spec: FeatureSpec | None = None,
    settings: FitSettings | None = None,
    tuned: TunedSettings | None = None,
    in_service: Promoted | None = None,
    own: OwnHistories | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train all families that the product file names.

    Parameters
    ----------
    product
        Product file: factors, response, exposure, split, families.
    table
        One row per policy or order: factor columns, profile features, response, exposure, split column.
    feature_spec
        Definitions behind the profile features; their hash goes into the artifact.
    settings
        Seed, threads, rounds.
    tuned
        What tuning chose by component and family; goes before `settings`.
    in_service
        Model that prices today, to be judged with them.
    own
        Own claims by which the test rows are judged where the product files an experience rating.
    progress
        Called with a step in words and the share that is done.

    Raises
    ------
    TrainingDataError
        If the table cannot be used, with row counts.
    """
    settings = settings or FitSettings()
    if tuned is not None:
        tuned.check_made_for(product)
    report = progress or (lambda step, share: None)
    report("check the table", 0.0)
    sample = Sample.of(product, table)
    sample.check_enough("learn", "test")
    fit = partial(
        fit_risk_model,
        product,
        encoding=sample.encoding,
        matrix=sample.matrix,
        observed=sample.observed,
        settings=settings,
        groups=sample.groups,
        tuned=tuned,
    )
    models, seconds = _fit_families(product.models.families, sample, fit, report)
    report("experience", 0.93)
    experience = _experience(product, table, sample, fit)
    report("compare on test rows", 0.95)
    current = None if in_service is None else in_service.bundle
    known = None if own is None else own.of(bundles_of(sample, models, experience, current), sample.tested)
    judged = judge(sample, models, in_service=current, seed=settings.seed, own=known)
    facts = sample.facts()
    facts |= {"seed": settings.seed, "rounds": settings.rounds, "learning_rate": settings.learning_rate}
    facts |= seconds | {"tuned": "" if tuned is None else tuned.hash}
    report("done", 1.0)
    return TrainingResult(
        product,
        EMPTY if feature_spec is None else inputs_hash(feature_spec, product.profile),
        sample.encoding,
        models,
        judged.comparison,
        judged,
        facts,
        against=EMPTY if in_service is None else in_service.version,
        experience=experience,
    )


def bundles_of(
    sample: Sample,
    models: Mapping[str, RiskModel],
    experience: ExperienceFit | None,
    in_service: Bundle | None,
) -> dict[str, Bundle]:
    """Give models as they would price, and what is in service, by name."""
    from models.bundle import Bundle

    found = {
        name: Bundle.of(sample.product, model, sample.encoding, EMPTY, {}, experience=experience)
        for name, model in models.items()
    }
    return found if in_service is None else found | {IN_SERVICE: in_service}


def _fit_families(
    families: Sequence[str], sample: Sample, fit: Callable[..., RiskModel], report: Progress
) -> tuple[dict[str, RiskModel], dict[str, float]]:
    """Give the fitted families, and the seconds of each under `seconds_<family>`."""
    models: dict[str, RiskModel] = {}
    seconds: dict[str, float] = {}
    for number, family in enumerate(families):
        report(f"fit {family}", 0.05 + 0.9 * number / len(families))
        start = time.perf_counter()
        models[family] = fit(family=family, learn=sample.learn)
        seconds[f"seconds_{family}"] = round(time.perf_counter() - start, 3)
    return models, seconds


def _experience(
    product: Product, table: pa.Table, sample: Sample, fit: Callable[..., RiskModel]
) -> ExperienceFit | None:
    champion, whole = product.models.champion, _by_cost(product)
    return fit_experience(
        product,
        sample.matrix,
        sample.observed,
        sample.learn,
        _units(product, table, sample.kept),
        lambda part: fit(family=champion, learn=part, whole=whole),
    )


def _by_cost(product: Product) -> bool:
    return product.experience is not None and product.experience.method == "buhlmann_straub"


def _units(product: Product, table: pa.Table, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give whose history each kept row belongs to; -1 where nobody is named."""
    if product.experience is None:
        return np.zeros(0, dtype=np.int64)
    profile = product.profile
    name = {"customer": profile.customer, "seller": profile.seller}[product.experience.unit]
    if name not in table.column_names:
        raise TrainingDataError([f"column {name!r} (whose experience?) is absent"])
    return np.asarray(table[name].cast("int64").fill_null(-1).to_numpy(), dtype=np.int64)[kept]


def fit_risk_model(
    product: Product,
    family: str,
    encoding: Encoding,
    matrix: NDArray[np.float64],
    observed: Observed,
    learn: NDArray[np.bool_],
    settings: FitSettings,
    *,
    groups: NDArray[np.int64] | None = None,
    tuned: TunedSettings | None = None,
    whole: bool = True,
) -> RiskModel:
    """Fit all components of one family on the learn rows.

    Parameters
    ----------
    product, family, encoding
        What to fit.
    matrix, observed
        Encoded inputs and responses of all rows.
    learn
        Rows to fit on, shape (n,).
    settings
        Seed, threads, rounds.
    groups
        Shape (n,): rows of one number stay together when part of the learn rows judges.
    tuned
        See `train`.
    whole
        False fits the first component alone (claims, without their cost).
    """
    kind = product.response.kind
    components: dict[ComponentName, Scorer] = {}
    wanted = list(COMPONENTS[kind].items())
    for name, objective in wanted if whole else wanted[:1]:
        design, total = design_of(product, name, objective, encoding, matrix, observed, learn, groups)
        chosen = settings if tuned is None else tuned.apply(settings, name, family)
        components[name] = fit_family(family, design, replace(chosen, glm=product.models.glm), total)
    benefit = product.cover.benefit
    return RiskModel(
        kind,
        family,
        encoding.inputs,
        components,
        1.0 if benefit is None else float(to_minor(benefit, product.currency)),
        float(
            np.sum((observed.amount_minor - observed.capped_minor)[learn]) / observed.exposure[learn].sum()
        ),
    )


def design_of(
    product: Product,
    name: ComponentName,
    objective: Objective,
    encoding: Encoding,
    matrix: NDArray[np.float64],
    observed: Observed,
    learn: NDArray[np.bool_],
    groups: NDArray[np.int64] | None = None,
) -> tuple[Design, float]:
    """Give the learn rows of one component, and the total that a fit restores."""
    rows, target, weight, total = _target(name, observed, learn)
    design = Design(
        np.asfortranarray(matrix[rows]),
        target,
        weight,
        encoding.inputs,
        tuple(len(levels) for levels in encoding.levels),
        # A declared direction holds in every component, so that it holds for the risk premium.
        tuple(product.monotone.get(name, 0) for name in encoding.inputs),
        objective,
        None if groups is None else groups[rows],
    )
    return design, total


def _target(
    name: ComponentName, observed: Observed, learn: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64], float]:
    """Give rows, target, weight and the total to restore of one component."""
    exposure, count, capped = observed.exposure, observed.count, observed.capped_minor
    if name == "severity":
        # Claims closed without payment have no gamma density. They stay out of the fit, but not out of the
        # total.
        rows = learn & (capped > 0)
        scale = float(count[rows].sum() / count[learn & (count > 0)].sum())
        return rows, capped[rows] / count[rows], count[rows], float(capped[learn].sum()) * scale
    if name == "probability":
        return learn, count[learn], np.ones(int(learn.sum())), float(count[learn].sum())
    if name == "frequency":
        return learn, count[learn] / exposure[learn], exposure[learn], float(count[learn].sum())
    return learn, capped[learn] / exposure[learn], exposure[learn], float(capped[learn].sum())
