"""Read feature definitions from TOML text, and refuse what is wrong with file, line and hint."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from features.check import NAME, Lines, check_spec, check_tables, parse_window
from features.errors import DefinitionError, Problem
from features.spec import (
    DAY_US,
    Aggregation,
    Derived,
    Entity,
    Feature,
    FeatureSpec,
    Filter,
    Kind,
    Privacy,
    Source,
    Text,
)

Values = tuple[str, ...] | tuple[int, ...]
PATTERN = f"^{NAME}$"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class _Description(_Table):
    en: str = Field(min_length=1)
    zh: str = Field(min_length=1)


class _Entity(_Table):
    name: str = Field(pattern=PATTERN)
    keys: tuple[str, ...] = Field(min_length=1)
    grain: Literal["exact", "day"] = "exact"


class _Source(_Table):
    name: str = Field(pattern=PATTERN)
    table: str = Field(pattern=PATTERN)
    time: str = Field(pattern=PATTERN)
    known: str | None = Field(default=None, pattern=PATTERN)
    keys: tuple[str, ...] = Field(min_length=1)
    measures: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    where: dict[str, Values] = Field(default_factory=dict)
    description: _Description
    owner: str
    privacy: Privacy
    purpose: str


class _Feature(_Table):
    name: str = Field(pattern=PATTERN)
    entity: str
    source: str
    aggregation: Aggregation
    measure: str | None = None
    filter: dict[str, Values] = Field(default_factory=dict)
    window: str
    unit: str = Field(min_length=1)
    description: _Description
    owner: str | None = None
    privacy: Privacy | None = None
    purpose: str | None = None


class _Derived(_Table):
    name: str = Field(pattern=PATTERN)
    kind: Kind
    inputs: tuple[str, ...] = Field(min_length=1)
    unit: str = Field(min_length=1)
    description: _Description


class _File(_Table):
    entity: tuple[_Entity, ...] = Field(min_length=1)
    source: tuple[_Source, ...] = Field(min_length=1)
    feature: tuple[_Feature, ...] = Field(min_length=1)
    derived: tuple[_Derived, ...] = ()


def default_spec() -> FeatureSpec:
    """Read the definitions that come with the project."""
    path = files("data").joinpath("reference/features.toml")
    return parse_spec(path.read_text(encoding="utf-8"), origin="data/reference/features.toml")


def load_spec(path: Path) -> FeatureSpec:
    """Read definitions from a file.

    Raises
    ------
    DefinitionError
        Naming every problem with its line.
    """
    text = Path(path).read_text(encoding="utf-8")
    spec = parse_spec(text, origin=str(path))
    problems = list(check_tables(spec, Lines(text)))
    if problems:
        raise DefinitionError(str(path), problems)
    return spec


def parse_spec(text: str, *, origin: str = "features.toml") -> FeatureSpec:
    """Read definitions from text.

    Parameters
    ----------
    text
        TOML with the tables ``[[entity]]``, ``[[source]]``, ``[[feature]]`` and ``[[derived]]``.
    origin
        What error messages call the text.
    """
    lines = Lines(text)
    try:
        parsed = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(origin, [_syntax_problem(error, lines)]) from None
    except ValidationError as error:
        raise DefinitionError(origin, _form_problems(error, lines)) from None
    problems: list[Problem] = []
    spec = _convert(parsed, lines, problems)
    problems.extend(check_spec(spec, lines))
    if problems:
        raise DefinitionError(origin, problems)
    return spec


def _syntax_problem(error: tomllib.TOMLDecodeError, lines: Lines) -> Problem:
    found = re.search(r"at line (\d+)", str(error))
    line = int(found.group(1)) if found else lines.count
    return Problem(line, f"not TOML: {error}", "compare with data/reference/features.toml")


def _form_problems(error: ValidationError, lines: Lines) -> list[Problem]:
    problems: dict[tuple[int, object], Problem] = {}
    for item in error.errors():
        kind, index, key = (*item["loc"], None, None, None)[:3]
        where = ".".join(str(part) for part in item["loc"])
        number = index if isinstance(index, int) else 0
        line = lines.of(str(kind), number, str(key) if key is not None else None)
        shown = "" if item["type"] == "missing" else f", found {item['input']!r}"
        # A union reports each of its branches; one message per place is enough.
        problems.setdefault(
            (line, key), Problem(line, f"{where}: {item['msg']}{shown}", _form_hint(kind, item["type"]))
        )
    return list(problems.values())


def _form_hint(kind: object, error: str) -> str:
    models: dict[object, type[_Table]] = {
        "entity": _Entity,
        "source": _Source,
        "feature": _Feature,
        "derived": _Derived,
    }
    if error in {"extra_forbidden", "missing"} and kind in models:
        return f"the keys of [[{kind}]] are " + ", ".join(models[kind].model_fields)
    if error == "extra_forbidden":
        return "the tables are " + ", ".join(f"[[{name}]]" for name in models)
    return "docs/features.md describes every key"


def _convert(parsed: _File, lines: Lines, problems: list[Problem]) -> FeatureSpec:
    sources = {item.name: _source(item) for item in reversed(parsed.source)}
    features = []
    for index, item in enumerate(parsed.feature):
        try:
            window = parse_window(item.window)
        except ValueError as error:
            hint = 'write a number and a unit such as "30d" or "12h", or "lifetime"'
            problems.append(Problem(lines.of("feature", index, "window"), f"{item.name}: {error}", hint))
            window = DAY_US
        features.append(_feature(item, window, sources.get(item.source)))
    return FeatureSpec(
        entities=tuple(
            Entity(item.name, item.keys, DAY_US if item.grain == "day" else 1) for item in parsed.entity
        ),
        sources=tuple(_source(item) for item in parsed.source),
        features=tuple(features),
        derived=tuple(
            Derived(item.name, item.kind, item.inputs, item.unit, _text(item.description))
            for item in parsed.derived
        ),
    )


def _source(item: _Source) -> Source:
    return Source(
        name=item.name,
        table=item.table,
        time=item.time,
        known=item.known,
        keys=item.keys,
        measures=item.measures,
        levels=item.levels,
        where=_filters(item.where),
        owner=item.owner,
        privacy=item.privacy,
        purpose=item.purpose,
        description=_text(item.description),
    )


def _feature(item: _Feature, window_us: int | None, source: Source | None) -> Feature:
    return Feature(
        name=item.name,
        entity=item.entity,
        source=item.source,
        aggregation=item.aggregation,
        measure=item.measure,
        filters=_filters(item.filter),
        window_us=window_us,
        unit=item.unit,
        description=_text(item.description),
        owner=item.owner or (source.owner if source else ""),
        privacy=item.privacy or (source.privacy if source else "personal"),
        purpose=item.purpose or (source.purpose if source else ""),
    )


def _text(item: _Description) -> Text:
    return Text(en=item.en, zh=item.zh)


def _filters(items: dict[str, Values]) -> tuple[Filter, ...]:
    return tuple(Filter(column, values) for column, values in items.items())
