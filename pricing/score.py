"""Risk scores: 0 to 1000 points on a scale that the product file fixes, whatever model stands behind it.

    points = 500 + doubling x log2(risk premium / reference), rounded, held within 0 and 1000

The reference risk premium scores 500 and each doubling of the risk adds `doubling` points. The scale belongs
to the product, not to the model, so a model that is trained anew gives the same points for the same risk.

No logarithm is taken when a risk is scored. The risk premiums at which the points change are worked out once,
in decimal arithmetic, as integers (millionths of a minor unit); scoring counts how many of them a risk
reaches. One risk and a column of a million therefore get the same points on every processor.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, model_validator

from pricing.errors import DefinitionError, TechnicalPremiumError
from pricing.factors import Frozen, Text
from pricing.money import to_minor
from pricing.plan import MILLION, Amount

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.product import Product

MOST_POINTS = 1000
MIDDLE = 500
NO_SCORE = -1
# Risk premiums are held below this many minor units, so that their millionths stay within int64.
LARGEST_MINOR = 9.0e12
_DIGITS = 60


class Band(Frozen):
    """A range of points with a name.

    Attributes
    ----------
    code
        Short code, for example `A`.
    lowest
        Fewest points of the band; it ends where the next one begins.
    name
        What people read.
    """

    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,7}$")]
    lowest: Annotated[int, Field(ge=0, le=MOST_POINTS)]
    name: Text


DEFAULT_BANDS = (
    Band(code="A", lowest=0, name=Text(en="very low risk", zh="极低风险")),
    Band(code="B", lowest=400, name=Text(en="low risk", zh="较低风险")),
    Band(code="C", lowest=475, name=Text(en="average risk", zh="中等风险")),
    Band(code="D", lowest=550, name=Text(en="high risk", zh="较高风险")),
    Band(code="E", lowest=650, name=Text(en="very high risk", zh="极高风险")),
)


class ScoreScale(Frozen):
    """The scale of a product's risk score.

    Attributes
    ----------
    reference
        Risk premium of the full cover that scores 500, decimal amount in major units.
    doubling
        Points that a doubling of the risk adds.
    bands
        From the lowest points up; the first begins at 0.
    """

    reference: Amount
    doubling: Annotated[int, Field(ge=25, le=500)] = 100
    bands: Annotated[tuple[Band, ...], Field(min_length=1)] = DEFAULT_BANDS

    @model_validator(mode="after")
    def _ordered(self) -> ScoreScale:
        lows = [band.lowest for band in self.bands]
        if lows[0] != 0 or any(low >= high for low, high in zip(lows, lows[1:], strict=False)):
            raise ValueError(f"bands begin at 0 and rise, found {lows}")
        codes = [band.code for band in self.bands]
        if len(set(codes)) != len(codes):
            raise ValueError(f"band codes are repeated: {codes}")
        if Decimal(self.reference) <= 0:
            raise ValueError(f"reference {self.reference!r} must be above 0")
        return self


@dataclass(frozen=True)
class Score:
    """The score of one risk.

    Attributes
    ----------
    points
        0 (safest) to 1000.
    band
        The band they fall in.
    """

    points: int
    band: Band


def score(risk_premium_minor: float, product: Product) -> Score:
    """Score one risk, equal to `score_array`.

    Parameters
    ----------
    risk_premium_minor
        Expected cost of the full cover, minor units, not rounded.
    product
        Product file with a `[score]` table.

    Raises
    ------
    DefinitionError
        If the product declares no score.
    TechnicalPremiumError
        If the risk premium is no positive number.
    """
    scale = scale_of(product)
    if not (math.isfinite(risk_premium_minor) and risk_premium_minor > 0):
        raise TechnicalPremiumError(
            f"risk premium of {risk_premium_minor!r} minor units has no score; it must be a positive number"
        )
    micros = round(min(risk_premium_minor, LARGEST_MINOR) * MILLION)
    points = bisect_right(_thresholds(scale.reference, scale.doubling, product.currency), micros)
    return Score(points, scale.bands[bisect_right([band.lowest for band in scale.bands], points) - 1])


def score_array(
    risk_premium_minor: NDArray[np.float64], product: Product
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Score a column of risks.

    Parameters
    ----------
    risk_premium_minor
        Shape (n,), minor units; NaN where a risk was refused.
    product
        Product file with a `[score]` table.

    Returns
    -------
    tuple of ndarray
        Points and positions of the band, each shape (n,); both `NO_SCORE` where the risk premium is no
        positive number.

    Raises
    ------
    DefinitionError
        If the product declares no score.
    """
    scale = scale_of(product)
    usable = np.isfinite(risk_premium_minor) & (risk_premium_minor > 0)
    held = np.minimum(np.where(usable, risk_premium_minor, 1.0), LARGEST_MINOR)
    micros = np.rint(held * MILLION).astype(np.int64)
    limits = np.array(_thresholds(scale.reference, scale.doubling, product.currency), np.int64)
    points = np.searchsorted(limits, micros, side="right")
    bands = np.searchsorted([band.lowest for band in scale.bands], points, side="right") - 1
    return np.where(usable, points, NO_SCORE), np.where(usable, bands, NO_SCORE)


def risk_at(points: int, product: Product) -> float:
    """Give the risk premium that scores exactly so many points, minor units.

    Parameters
    ----------
    points
        0 to 1000.
    product
        Product file with a `[score]` table.
    """
    scale = scale_of(product)
    return to_minor(scale.reference, product.currency) * math.exp2((points - MIDDLE) / scale.doubling)


def scale_of(product: Product) -> ScoreScale:
    """Give the scale of a product.

    Raises
    ------
    DefinitionError
        If the product declares none.
    """
    if product.score is None:
        hint = 'Hint: add [score] with reference = "the risk premium that scores 500"'
        raise DefinitionError(product.code, [f"the product declares no score. {hint}"])
    return product.score


@lru_cache(maxsize=256)
def _thresholds(reference: str, doubling: int, currency: str) -> tuple[int, ...]:
    """Give the least risk premium of 1, 2, ... 1000 points, millionths of a minor unit, rising."""
    with localcontext() as context:
        context.prec = _DIGITS
        step = Decimal(2) ** (Decimal(1) / doubling)
        # Half a point below 1, since points are rounded.
        limit = Decimal(2) ** ((Decimal(1) / 2 - MIDDLE) / doubling)
        limit *= to_minor(reference, currency) * MILLION
        most = int(LARGEST_MINOR) * MILLION + 1
        found = []
        for _ in range(MOST_POINTS):
            found.append(min(math.ceil(limit), most))
            limit *= step
    return tuple(found)
