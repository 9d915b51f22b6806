"""Errors of the features package.

FeatureError
├── DefinitionError    a definition file is refused; every problem with its line and a hint
├── UnknownFeature     a name was asked for that no definition has
├── UnknownEntity      an entity was asked for that no definition has
├── TableError         a source names a table or column that the connection does not have
├── EngineError        a Spark session is set up so that it would give other numbers
├── LabelError         the label table lacks a column or holds rows that cannot be labelled
└── HistoryError       events handed to the evaluator are not what its plan needs
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class FeatureError(Exception):
    """Whatever this package refuses."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a definition file.

    Parameters
    ----------
    line
        Line of the file, counted from 1.
    message
        What is wrong and with which value.
    hint
        What is allowed instead.
    """

    line: int
    message: str
    hint: str


class DefinitionError(FeatureError):
    """A definition file is refused as a whole.

    Parameters
    ----------
    origin
        Name of the file, as the messages show it.
    problems
        All that was found, in order of lines.
    """

    def __init__(self, origin: str, problems: Sequence[Problem]) -> None:
        self.origin = origin
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(f"{origin}:{p.line}: {p.message}. Hint: {p.hint}" for p in self.problems))


class UnknownFeature(FeatureError):
    """A feature name that no definition has."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(f"unknown feature {name!r}. Hint: {closest(name, known)}")


class UnknownEntity(FeatureError):
    """An entity name that no definition has."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(f"unknown entity {name!r}. Hint: {closest(name, known)}")


class TableError(FeatureError):
    """A source does not fit the tables of the connection."""


class EngineError(FeatureError):
    """A session of another engine would give other numbers."""


class LabelError(FeatureError):
    """The label table cannot be used."""


class HistoryError(FeatureError):
    """Events do not fit the evaluator's plan."""


def closest(value: str, known: Iterable[str]) -> str:
    """Say which known name comes nearest to a wrong one."""
    names = sorted(known)
    return nearest(value, names) or ("allowed are " + ", ".join(names) if names else "none is defined")
