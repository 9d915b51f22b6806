"""Read TOML definitions strictly: every fault named at once, unknown keys refused by name."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from pricing.errors import DefinitionError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

Model = TypeVar("Model", bound=BaseModel)


def parse_definition(kind: type[Model], text: str, source: str) -> Model:
    """Read a definition from the text of its file.

    Parameters
    ----------
    kind
        What the file declares.
    text
        TOML.
    source
        Where it came from, for messages.

    Raises
    ------
    DefinitionError
        Naming every fault: not TOML, unknown keys, wrong values, contradictions.
    """
    try:
        return kind.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(source, [f"not TOML: {error}"]) from error
    except ValidationError as error:
        known = set(_field_names(kind, set()))
        raise DefinitionError(source, [_describe(dict(item), known) for item in error.errors()]) from error


def _describe(error: dict[str, Any], known: set[str]) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "file"
    if error["type"] == "extra_forbidden":
        hint = nearest(str(error["loc"][-1]), known)
        return f"unknown key {where!r}" + (f" ({hint})" if hint else "")
    given = error.get("input")
    shown = "" if isinstance(given, dict) else f", found {given!r}"
    return f"{where}: {error['msg']}{shown}"


def _field_names(kind: object, seen: set[object]) -> Iterator[str]:
    """Give every key that may stand anywhere in a definition, for hints."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
        seen.add(kind)
        for name, field in kind.model_fields.items():
            yield name
            yield from _field_names(field.annotation, seen)
    for part in getattr(kind, "__args__", ()):
        yield from _field_names(part, seen)
