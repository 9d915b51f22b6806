"""Errors of the modelling room; those about values are ValueErrors too, as scikit-learn's tools expect.

ModelError
├── ProblemsError            several things may be wrong at once; one sentence per fault
│   ├── EncodingError        a table cannot be turned into model inputs; sentences by field and reason
│   ├── TrainingDataError    a training table cannot be used; with row counts
│   ├── DemandError          demand cannot be learned, or rises with the price
│   ├── TariffError          a tariff, or an edit of one, cannot be used; with the place in the file
│   └── DiagnosticError      figures cannot be worked out of these rows
├── RecommendationError      a table to rank products from, or a model of it, cannot be used
├── FitError                 a family could not be fitted on data that passed all checks
├── TuningError              settings are of another product, or a search found nothing
├── FittedMissingError       fitted features of a month are asked for that has not been fitted or synced
├── MissingExtraError        a library is needed that comes with an optional extra
├── FilingError              a filing pack that would be incomplete or written over another
├── CompileError             a booster is no sum of one- and two-way tables
├── ArtifactError            a stored model is damaged, incomplete or of an unknown format
│   └── MismatchError        it is whole, but made for another product or other feature definitions
├── OfferTestError           an offer test that does not run, ran already, or was changed after its approval
├── PriceTestError           a price test that does not run, ran already, or was changed after its approval
└── RegistryError            a version, an alias or a product that the registry does not hold
    ├── PlanStateError       a rating plan may not do this in the state in which it is
    └── PromotionError       the version does not pass the preset thresholds; a ProblemsError too
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class ModelError(Exception):
    """Root of everything the modelling room refuses."""


class ProblemsError(ModelError):
    """Several things may be wrong at once.

    Parameters
    ----------
    problems
        One sentence per fault: with the number of rows, its place in the file, or what was found and asked.
    """

    opening: ClassVar[str] = ""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.opening + "; ".join(self.problems))


class EncodingError(ProblemsError, ValueError):
    """A table cannot be turned into model inputs."""


class TrainingDataError(ProblemsError, ValueError):
    """A training table cannot be used."""


class DemandError(ProblemsError, ValueError):
    """Demand cannot be learned of these rows, or a fitted one rises with the price."""


class RecommendationError(ModelError, ValueError):
    """A table to rank products from, or a model made of it, cannot be used."""


class FitError(ModelError):
    """A family could not be fitted on data that passed all checks."""


class DiagnosticError(ProblemsError):
    """Figures cannot be worked out of these rows."""


class TuningError(ModelError):
    """Tuned settings are of another product, or a search ended before it found any."""


class FittedMissingError(ModelError):
    """Fitted features of a month are asked for that has not been fitted, or not been synced."""


class TariffError(ProblemsError):
    """A tariff, or an edit of one, cannot be used."""


class MissingExtraError(ModelError):
    """A library is needed that comes with an optional extra.

    Parameters
    ----------
    purpose
        What cannot be done without it.
    library, extra
        What is absent, and the extra that brings it.
    """

    def __init__(self, purpose: str, library: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs {library}; install it with: pip install 'premia[{extra}]'")


class FilingError(ModelError):
    """A filing pack that would be incomplete, or written over another."""


class CompileError(ModelError):
    """A booster is no sum of one- and two-way tables."""


class ArtifactError(ModelError):
    """A stored model is damaged, incomplete or of an unknown format."""


class MismatchError(ArtifactError):
    """A stored model is whole, but made for another product or other feature definitions.

    Parameters
    ----------
    what
        What does not match, for example `feature definitions`.
    found, expected
        The two identities.
    """

    def __init__(self, what: str, found: str, expected: str) -> None:
        self.what = what
        self.found = found
        self.expected = expected
        super().__init__(f"{what} do not match: stored {found or 'none'}, expected {expected or 'none'}")


class OfferTestError(ModelError):
    """An offer test that does not run, ran already, or was changed after it was approved."""


class PriceTestError(ModelError):
    """A price test is not in the state that was asked for, or its file was changed after it was approved."""


class RegistryError(ModelError):
    """A version, an alias or a product that the registry does not hold."""


class PlanStateError(RegistryError):
    """A rating plan may not be approved, activated, retired or price in the state in which it is."""


class PromotionError(RegistryError, ProblemsError):
    """A version does not pass the preset thresholds."""

    opening = "not promoted: "
