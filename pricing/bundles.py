"""Bundles: products of different needs that are sold together, each at the discount that its plan files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from pricing.definitions import parse_definition
from pricing.errors import DefinitionError
from pricing.factors import Frozen, Name, Text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pricing.product import Product


class Bundle(Frozen):
    """Products that are sold together, all or none.

    Attributes
    ----------
    code, version, name
        Identity, and what people read; rating plans name the code in `bundles`.
    members
        Codes of the products.
    """

    code: Name
    version: Annotated[int, Field(ge=1)]
    name: Text
    members: Annotated[tuple[Name, ...], Field(min_length=2, max_length=6)]

    @model_validator(mode="after")
    def _distinct(self) -> Bundle:
        if len(set(self.members)) != len(self.members):
            raise ValueError("members are repeated")
        return self

    def problems(self, products: Mapping[str, Product]) -> list[str]:
        """Say what keeps the bundle from being sold with these products, one sentence a fault."""
        absent = [code for code in self.members if code not in products]
        if absent:
            return [f"members {absent} are not in service"]
        members = [products[code] for code in self.members]
        needs = [member.offer.need for member in members]
        found = []
        if len(set(needs)) != len(needs):
            found.append(f"members share a need: {needs}; a bundle joins different ones")
        if len({member.currency for member in members}) > 1:
            found.append("members are in different currencies")
        return found


def read_bundles(folder: Path) -> dict[str, Bundle]:
    """Read every bundle file of a folder, by code; none when there is no such folder.

    Raises
    ------
    DefinitionError
        If a file is faulty, or named otherwise than its code.
    """
    found = {}
    for path in sorted(folder.glob("*.toml")):
        bundle = parse_definition(Bundle, path.read_text(encoding="utf-8"), path.name)
        if path.stem != bundle.code:
            raise DefinitionError(path.name, [f"code {bundle.code!r} must equal the name of the file"])
        found[bundle.code] = bundle
    return found
