"""How a product's generalised linear model is built: terms, interactions and elastic net, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pricing.factors import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class GlmTerm(Frozen):
    """How one input enters the linear predictor.

    Attributes
    ----------
    kind
        `auto` (levels of a category, bins of a number), `spline` (penalised cubic B-spline), `line` (one
        slope on the scale of the link) or `none` (left out).
    knots
        Inner knots of a spline, at quantiles of the exposure.
    smoothing
        Claims by which a curve is held to a line, more is smoother; 20, or what tuning found, when absent.
    """

    kind: Literal["auto", "spline", "line", "none"] = "auto"
    knots: Annotated[int, Field(ge=1, le=50)] = 10
    smoothing: Annotated[float, Field(gt=0)] | None = None


class Glm(Frozen):
    """Table `[models.glm]` of a product file.

    Attributes
    ----------
    terms
        By input; `auto` for those that are not named.
    interactions
        Pairs of inputs that get a two-way table.
    alpha
        Strength of the elastic net in glum's units (mean deviance / 2 + alpha x penalty), or `cv`: chosen on
        folds of the learn rows.
    l1_ratio
        Share of the absolute in the elastic net; the rest is squared.
    """

    terms: dict[str, GlmTerm] = Field(default_factory=dict)
    interactions: tuple[tuple[str, str], ...] = ()
    alpha: Annotated[float, Field(ge=0)] | Literal["cv"] = 0.0
    l1_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _pairs_once(self) -> Glm:
        pairs = [tuple(sorted(pair)) for pair in self.interactions]
        faults = sorted({str(pair) for pair in pairs if pair[0] == pair[1] or pairs.count(pair) > 1})
        if faults:
            raise ValueError(f"interactions {faults} are repeated or of an input with itself")
        return self

    def faults(
        self, numbers: Collection[str], categories: Collection[str], monotone: Mapping[str, int]
    ) -> list[str]:
        """Say what does not fit the inputs, one sentence each.

        Parameters
        ----------
        numbers, categories
            Names of the inputs.
        monotone
            Direction by input, where one is declared.
        """
        inputs = {*numbers, *categories}
        named = {*self.terms, *(name for pair in self.interactions for name in pair)}
        found = [f"glm names {name!r}, which is not an input" for name in sorted(named - inputs)]
        found += [
            f"glm.terms.{name}: {term.kind} needs a number, {name!r} is a category"
            for name, term in self.terms.items()
            if name in categories and term.kind in {"spline", "line"}
        ]
        for pair in self.interactions:
            found += [
                f"glm.interactions {list(pair)}: {name!r} has a declared direction, which a table breaks"
                for name in pair
                if monotone.get(name)
            ]
            found += [
                f"glm.interactions {list(pair)}: {name!r} is left out"
                for name in pair
                if name in self.terms and self.terms[name].kind == "none"
            ]
        return found
