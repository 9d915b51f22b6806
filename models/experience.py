"""Experience rating, fitted: how much customers or shops differ at what the model expects of them.

The shape is found on expectations of models that have not seen the unit (four folds by unit), since a model
that has learned from a customer's claims expects some of them, and would make customers look alike. Numbers:
negative binomial likelihood, each unit once (`models.credibility.gamma_shape`). Cost: Bichsel-Straub pseudo
estimator, whose weights are credibilities and so at most 1. The moment estimators of the textbooks weight by
size, and a handful of giant units rules them.

References
----------
Buhlmann and Gisler, A Course in Credibility Theory and its Applications (2005), ch. 4.8; Norberg (1976).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.credibility import ALPHA_BOUNDS, gamma_shape
from models.errors import TrainingDataError
from pricing.experience import MILLION, ExperienceRating
from pricing.factors import NumberFactor
from pricing.money import exponent, to_minor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from models.response import Observed
    from models.risk_model import RiskModel
    from pricing.product import Product

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

FOLDS = 4
FREQUENCY_GROUPS = 10
PSEUDO_STEPS = 200


@dataclass(frozen=True)
class ExperienceFit:
    """What training found for the experience rating of a product.

    Attributes
    ----------
    shape
        Of the gamma distribution, or within over between variance in minor units.
    average
        Claims (or cost in minor units) of one full cover on the learn rows: what is expected of an old policy
        that the model cannot rate.
    relativities
        Norberg's relativity of each class, millionths; empty unless bonus-malus.
    """

    shape: float
    average: float
    relativities: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the fit as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> ExperienceFit | None:
        """Read what `to_json` wrote."""
        if content is None:
            return None
        return cls(content["shape"], content["average"], tuple(content["relativities"]))


def rating_of(product: Product, fit: ExperienceFit | None) -> ExperienceRating | None:
    """Give how sums of own history become a relativity; None where the product keeps none."""
    own = product.experience
    if own is None or own.method == "bonus_malus" or fit is None:
        return None
    return ExperienceRating.of(own, fit.shape)


def expected_per_cover(product: Product, model: RiskModel, values: Floats) -> Floats:
    """Give what the model expects of one full cover in the measure of the experience rating, shape (n,).

    Claims (the probability of an event, the frequency otherwise); the cost without pooled large losses,
    minor units, for `buhlmann_straub`.
    """
    predicted = model.predict(values)
    if product.experience is not None and product.experience.method == "buhlmann_straub":
        return model.combine(predicted) - model.load_minor
    return next(iter(predicted.values()))


def fit_experience(
    product: Product,
    matrix: Floats,
    observed: Observed,
    learn: Bools,
    units: NDArray[np.int64],
    fit: Callable[[Bools], RiskModel],
) -> ExperienceFit | None:
    """Fit the experience rating of a product on its learn rows; None where it names none.

    Parameters
    ----------
    product
        Product file.
    matrix, observed
        Encoded inputs and what happened.
    learn
        Learn rows, shape (n,).
    units
        Whose row it is, shape (n,).
    fit
        Fits the champion family on some rows.

    Raises
    ------
    TrainingDataError
        If nothing tells the units apart.
    """
    own = product.experience
    if own is None:
        return None
    cost = own.method == "buhlmann_straub"
    actual, exposure = (observed.capped_minor if cost else observed.count), observed.exposure
    average = float(actual[learn].sum() / exposure[learn].sum())
    if own.shape is not None and own.scale is None:
        scale = float(10 ** exponent(product.currency)) if cost else 1.0
        return ExperienceFit(own.shape * scale, average)
    expected = np.zeros(len(units))
    fold = np.unique(units, return_inverse=True)[1] % FOLDS
    for number in range(FOLDS if own.shape is None or own.scale is not None else 0):
        rows = learn & (fold == number)
        expected[rows] = expected_per_cover(product, fit(learn & ~rows), matrix[rows]) * exposure[rows]
    actual, expected, exposure = actual[learn], expected[learn], exposure[learn]
    expected = expected * (actual.sum() / expected.sum())  # rebalanced: all units together are the average
    shape = own.shape or _shape(actual, expected, units[learn], cost=cost)
    if own.scale is None:
        return ExperienceFit(shape, average)
    return ExperienceFit(shape, average, _norberg(product, shape, expected / exposure, exposure))


def _shape(actual: Floats, expected: Floats, units: NDArray[np.int64], *, cost: bool) -> float:
    _, place = np.unique(units, return_inverse=True)
    if cost:
        shape, bound = bichsel_straub(actual, expected, place), np.inf
    else:
        sums = (np.asarray(np.bincount(place, each), dtype=np.float64) for each in (actual, expected))
        shape, bound = gamma_shape(*sums), ALPHA_BOUNDS[1]
    if not shape < 0.99 * bound:
        raise TrainingDataError(
            [
                f"experience: own claims of {int(place.max()) + 1} units tell nothing beyond the model "
                f"(shape {shape:g}). Hint: leave [experience] out, or file a shape"
            ]
        )
    return shape


def bichsel_straub(actual: Floats, expected: Floats, place: NDArray[np.int64]) -> float:
    """Estimate within over between variance of actual over expected, weighted by expected.

    Parameters
    ----------
    actual, expected
        Of each observation, shape (n,); expected above 0.
    place
        Unit of each observation, from 0 on.

    Returns
    -------
    float
        In the units of `expected`; infinite when units do not differ more than chance makes them.
    """
    total, weight, rows = np.bincount(place, actual), np.bincount(place, expected), np.bincount(place)
    mean = total / weight
    squares = expected * (actual / expected - mean[place]) ** 2
    spare = float((rows - 1).sum())
    if spare == 0 or len(mean) < 2:
        return float("inf")
    within = float(squares.sum()) / spare
    between = float(np.average((mean - 1.0) ** 2, weights=weight))
    for _ in range(PSEUDO_STEPS):
        if between <= 0:
            return float("inf")
        share = weight / (weight + within / between)
        middle = float(np.average(mean, weights=share))
        found = float((share * (mean - middle) ** 2).sum()) / (len(mean) - 1)
        if abs(found - between) <= 1e-9 * between:
            break
        between = found if found > 1e-12 else 0.0
    return within / between


def _norberg(product: Product, shape: float, frequency: Floats, exposure: Floats) -> tuple[int, ...]:
    own = product.experience
    assert own is not None  # noqa: S101, PT018 - the caller has a scale
    assert own.scale is not None  # noqa: S101
    factor = next(f for f in product.factors if f.name == own.scale.factor)
    assert isinstance(factor, NumberFactor)  # noqa: S101 - the product file is refused otherwise
    order = np.argsort(frequency)
    parts = [part for part in np.array_split(order, FREQUENCY_GROUPS) if len(part)]
    found = own.scale.over(int(factor.maximum) + 1).relativities(
        shape,
        [float(np.average(frequency[part], weights=exposure[part])) for part in parts],
        [float(exposure[part].sum()) for part in parts],
    )
    lowest, highest = float(own.lowest), float(own.highest)
    return tuple(round(float(value) * MILLION) for value in np.clip(found, lowest, highest))


def largest_claim_minor(product: Product) -> int | None:
    """Give the amount at which a claim is cut in own history, minor units; None when claims are counted."""
    if product.experience is None or product.experience.method != "buhlmann_straub":
        return None
    cut = product.response.large_loss or product.cover.limit
    return None if cut is None else to_minor(cut, product.currency)
