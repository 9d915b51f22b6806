"""Errors of the modelling room; those about values are ValueErrors too, as scikit-learn's tools expect.

ModelError
├── EncodingError            a table cannot be turned into model inputs; holds counts by field and reason
├── TrainingDataError        a training table cannot be used; one sentence per fault, with row counts
├── DemandError              demand cannot be learned, or rises with the price; one sentence per fault
├── RecommendationError      a table to rank products from, or a model of it, cannot be used
├── FitError                 a family could not be fitted on data that passed all checks
├── TuningError              settings are of another product, or a search found nothing
├── FittedMissingError       fitted features of a month are asked for that has not been fitted or synced
├── TariffError              a tariff, or an edit of one, cannot be used; one sentence per fault and place
├── DiagnosticError          figures cannot be worked out of these rows; one sentence per fault
├── MissingExtraError        a library is needed that comes with an optional extra
├── FilingError              a filing pack that would be incomplete or written over another
├── CompileError             a booster is no sum of one- and two-way tables
├── ArtifactError            a stored model is damaged, incomplete or of an unknown format
│   └── MismatchError        it is whole, but made for another product or other feature definitions
└── RegistryError            a version, an alias or a product that the registry does not hold
    └── PromotionError       the version does not pass the preset thresholds
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class ModelError(Exception):
    """Root of everything the modelling room refuses."""


class EncodingError(ModelError, ValueError):
    """A table cannot be turned into model inputs.

    Parameters
    ----------
    problems
        One sentence per field and reason, with the number of rows.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class TrainingDataError(ModelError, ValueError):
    """A training table cannot be used.

    Parameters
    ----------
    problems
        One sentence per fault, with the number of rows.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class DemandError(ModelError, ValueError):
    """Demand cannot be learned of these rows, or a fitted one rises with the price.

    Parameters
    ----------
    problems
        One sentence per fault, with the number of rows.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class RecommendationError(ModelError, ValueError):
    """A table to rank products from, or a model made of it, cannot be used."""


class FitError(ModelError):
    """A family could not be fitted on data that passed all checks."""


class DiagnosticError(ModelError):
    """Figures cannot be worked out of these rows.

    Parameters
    ----------
    problems
        One sentence per fault, with the number of rows.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class TuningError(ModelError):
    """Tuned settings are of another product, or a search ended before it found any."""


class FittedMissingError(ModelError):
    """Fitted features of a month are asked for that has not been fitted, or not been synced."""


class TariffError(ModelError):
    """A tariff, or an edit of one, cannot be used.

    Parameters
    ----------
    problems
        One sentence per fault, with its place in the file.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


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


class RegistryError(ModelError):
    """A version, an alias or a product that the registry does not hold."""


class PromotionError(RegistryError):
    """A version does not pass the preset thresholds.

    Parameters
    ----------
    problems
        One sentence per threshold: figure found, figure needed.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("not promoted: " + "; ".join(self.problems))
