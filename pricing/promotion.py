"""Thresholds of a product: what a model must show on test rows before a person may put it into service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pricing.factors import Frozen

Share = Annotated[float, Field(gt=-1, lt=1)]


class AgainstChampion(Frozen):
    """What a model must gain on the one in service.

    Attributes
    ----------
    least_gain
        Share of the deviance of the model in service that is to be gained; below zero, what may be lost.
    significance
        Largest one-sided p of the paired test that the gain reaches `least_gain`.
    """

    least_gain: Share = 0.0
    significance: Annotated[float, Field(gt=0, lt=0.5)] = 0.05


class BySegment(Frozen):
    """What must hold in every segment of test rows that holds enough claims.

    Attributes
    ----------
    columns
        Factors, profile features or other columns of the training table; numbers are cut into five bands.
    least_claims
        Segments with fewer claims are not judged.
    lowest_ae, highest_ae
        Bounds of actual over expected.
    most_loss
        Share of the deviance of the model in service (of the average, when none is) that may be lost.
    """

    columns: tuple[str, ...] = ()
    least_claims: Annotated[int, Field(ge=1)] = 100
    lowest_ae: Annotated[float, Field(gt=0, le=1)] = 0.7
    highest_ae: Annotated[float, Field(ge=1)] = 1.4
    most_loss: Annotated[float, Field(ge=0, lt=1)] = 0.05


class Promotion(Frozen):
    """Preset thresholds. Bounds of actual over expected leave room for two standard errors.

    Attributes
    ----------
    least_claims
        With fewer claims on the test rows the evidence is insufficient.
    least_d2
        Share of the deviance of the average that is explained; must lie above.
    lowest_ae, highest_ae
        Bounds of actual over expected.
    least_gini
        Gini coefficient to reach, not asked for when absent.
    least_autocalibration_p
        p of the test of auto-calibration to reach, not asked for when absent.
    champion, segments
        Against the model in service, and by segment.
    """

    least_claims: Annotated[int, Field(ge=1)] = 20
    least_d2: Share = 0.001
    lowest_ae: Annotated[float, Field(gt=0, le=1)] = 0.8
    highest_ae: Annotated[float, Field(ge=1)] = 1.25
    least_gini: Share | None = None
    least_autocalibration_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    champion: AgainstChampion = AgainstChampion()
    segments: BySegment = BySegment()

    @model_validator(mode="after")
    def _distinct(self) -> Promotion:
        if len(set(self.segments.columns)) != len(self.segments.columns):
            raise ValueError(f"segments.columns repeat {sorted(self.segments.columns)}")
        return self
