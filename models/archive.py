"""What has priced, kept by its hash: product files and rating plans, for replays years later.

A definition is kept as the very text whose sha256 is its hash, in ``<registry>/archive/<kind>/<hash>.json``:
nothing that is edited or removed elsewhere touches it, and what was changed here does not pass for it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from data.page import write_page
from models.errors import ArtifactError
from pricing.plan import RatingPlan
from pricing.product import Product

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["plans", "products"]


class Archive:
    """Definitions by hash.

    Parameters
    ----------
    folder
        Made with the first definition.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, *definitions: Product | RatingPlan) -> None:
        """Keep definitions; one that is there already stays as it is."""
        for one in definitions:
            path = self._path("plans" if isinstance(one, RatingPlan) else "products", one.hash)
            if not path.is_file():
                write_page(one.canonical, path)

    def plan(self, found: str) -> RatingPlan:
        """Give the rating plan of a hash.

        Raises
        ------
        ArtifactError
            If it was never kept, or is not what it was.
        """
        return RatingPlan.model_validate_json(self._text("plans", found))

    def product(self, found: str) -> Product:
        """Give the product file of a hash.

        Raises
        ------
        ArtifactError
            If it was never kept, or is not what it was.
        """
        return Product.model_validate_json(self._text("products", found))

    def _path(self, kind: Kind, found: str) -> Path:
        return self._folder / kind / f"{found}.json"

    def _text(self, kind: Kind, wanted: str) -> str:
        path = self._path(kind, wanted)
        if not path.is_file():
            raise ArtifactError(
                f"{kind[:-1]} {wanted[:12]} is not in the archive: {path} is missing. "
                "Hint: restore the registry from a backup"
            )
        text = path.read_text(encoding="utf-8")
        found = hashlib.sha256(text.encode()).hexdigest()
        if found != wanted:
            raise ArtifactError(
                f"{path} was changed: its sha256 is {found[:12]}, its name says {wanted[:12]}. "
                "Hint: restore the registry from a backup"
            )
        return text
