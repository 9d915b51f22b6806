"""Errors of the data room.

::

    DataError
    ├── ContractError             a table, column or row rule that the contracts do not know
    │   ├── UnknownTableError     no contract has this name
    │   └── ContractBreachError   rows that break their contract where none may
    ├── ColumnMapError            a column map that does not fit its contract or its source
    ├── SourceError               a source file that cannot be read
    ├── IngestError               an ingest whose counts do not add up
    ├── StoreError                the lake cannot be read or written
    │   ├── TableMissingError     the lake holds no such table
    │   ├── ManifestError         a manifest that cannot be read or does not fit its files
    │   └── TableLockedError      another process is writing the table
    ├── QualityError              a run log or thresholds that cannot be read
    ├── SplitError                a split that the given arrays cannot be cut by
    └── SimulationError           simulation parameters outside their range
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ColumnMapError",
    "ContractBreachError",
    "ContractError",
    "DataError",
    "IngestError",
    "ManifestError",
    "QualityError",
    "SimulationError",
    "SourceError",
    "SplitError",
    "StoreError",
    "TableLockedError",
    "TableMissingError",
    "UnknownTableError",
]


class DataError(Exception):
    """Base of every error that the data room raises on purpose."""


class ContractError(DataError):
    """A table, column or row rule that the contracts do not know."""


class UnknownTableError(ContractError):
    """No contract has this name."""


class ContractBreachError(ContractError):
    """Rows that break their contract where none may."""


class ColumnMapError(DataError):
    """A column map that does not fit its contract or its source."""


class SourceError(DataError):
    """A source file that cannot be read."""


class IngestError(DataError):
    """An ingest whose counts do not add up."""


class StoreError(DataError):
    """The lake cannot be read or written."""


class TableMissingError(StoreError):
    """The lake holds no such table."""


class ManifestError(StoreError):
    """A manifest that cannot be read or does not fit its files."""


class TableLockedError(StoreError):
    """Another process is writing the table."""


class QualityError(DataError):
    """A run log or thresholds that cannot be read."""


class SplitError(DataError):
    """A split that the given arrays cannot be cut by."""


class SimulationError(DataError):
    """Simulation parameters outside their range."""


def hint(wrong: str, allowed: Iterable[str]) -> str:
    """Name the closest allowed word and list all of them, for the end of a message.

    Parameters
    ----------
    wrong : str
        The word that was given.
    allowed : Iterable[str]
        The words that would have been right.

    Returns
    -------
    str
        ``"; did you mean 'x'? Allowed: ..."`` or only the list when nothing is close.
    """
    words = sorted(allowed)
    lowered = {word.lower(): word for word in words}
    close = difflib.get_close_matches(wrong.lower(), list(lowered), n=1, cutoff=0.6)
    nearest = f"; did you mean {lowered[close[0]]!r}?" if close else "."
    return f"{nearest} Allowed: {', '.join(words)}"
