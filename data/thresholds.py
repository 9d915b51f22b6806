"""The file in which a company sets the limits of its quality gates."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError, create_model

from data.contracts import CONTRACTS
from data.errors import QualityError, hint
from data.quality import DEFAULT_THRESHOLDS, Thresholds

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_thresholds"]

_Section: type[BaseModel] = create_model(  # type: ignore[call-overload]
    "Section",
    __config__=ConfigDict(extra="forbid", strict=True),
    **{
        field.name: (PositiveInt if field.name.endswith("_runs") else PositiveFloat, field.default)
        for field in fields(Thresholds)
    },
)


def load_thresholds(path: Path | None) -> dict[str, Thresholds]:
    """Read the limits of every table.

    Parameters
    ----------
    path : Path, optional
        TOML file with a section ``[default]`` and one for each table that differs, each with some of the
        names of `Thresholds`. Without a file every table has the shipped limits.

    Returns
    -------
    dict of str to Thresholds
        By name of the table.

    Raises
    ------
    QualityError
        If the file cannot be read, or names an unknown table or limit.
    """
    if path is None:
        return dict.fromkeys(CONTRACTS, DEFAULT_THRESHOLDS)
    try:
        with path.open("rb") as stream:
            body = tomllib.load(stream)
    except FileNotFoundError as error:
        message = f"There is no file of thresholds at {path}"
        raise QualityError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is not TOML: {error}"
        raise QualityError(message) from error
    for name in body:
        if name not in {"default", *CONTRACTS}:
            message = f"{path} has a section [{name}]{hint(name, ['default', *CONTRACTS])}"
            raise QualityError(message)
    shared = body.get("default", {})
    return {name: _section(path, name, shared, body.get(name, {})) for name in CONTRACTS}


def _section(path: Path, name: str, shared: object, own: object) -> Thresholds:
    if not isinstance(shared, dict) or not isinstance(own, dict):
        message = f"{path}: [{name}] and [default] must be sections"
        raise QualityError(message)
    try:
        found = _Section.model_validate({**shared, **own})
    except ValidationError as error:
        fault = error.errors()[0]
        known = [field.name for field in fields(Thresholds)]
        limit = ".".join(map(str, fault["loc"]))
        more = hint(limit, known) if fault["type"] == "extra_forbidden" else f": {fault['msg']}"
        message = f"{path}: limit {limit!r} for table {name!r} cannot be used{more}"
        raise QualityError(message) from error
    return Thresholds(**found.model_dump())
