"""Settings that tuning chose, by component and family: a small TOML file that `premia train` reads."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from data.manifest import fsync_path
from models.errors import TuningError
from pricing.definitions import parse_definition
from pricing.factors import Frozen, Name
from pricing.product import Family

if TYPE_CHECKING:
    from pathlib import Path

    from models.families import FitSettings
    from pricing.product import Product

Share = Annotated[float, Field(gt=0, le=1)]
Many = Annotated[int, Field(ge=1, le=100_000)]
Penalty = Annotated[float, Field(ge=0, le=1e6)]
HEAD = "# Written by `premia tune`, read by `premia train`. Chosen by cross-validation on learn rows alone.\n"


class FamilySettings(Frozen):
    """Settings of one family for one component (see `FitSettings`); what is absent stays as it is.

    Attributes
    ----------
    record
        How they were found: loss, loss of the defaults, folds, trials, seed, rows, library versions.
    """

    learning_rate: Share | None = None
    rounds: Many | None = None
    stopping_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    members: Annotated[int, Field(ge=1, le=1000)] | None = None
    pairs: Many | None = None
    leaves: Annotated[int, Field(ge=2, le=10_000)] | None = None
    leaf_rows: Many | None = None
    leaf_claims: Penalty | None = None
    feature_share: Share | None = None
    bagging_share: Share | None = None
    ridge: Penalty | None = None
    category_smoothing: Penalty | None = None
    category_levels: Many | None = None
    category_onehot: Many | None = None
    bins: Annotated[int, Field(ge=2, le=65_535)] | None = None
    level_claims: Penalty | None = None
    bend_claims: Penalty | None = None
    record: dict[str, str | int | float] = Field(default_factory=dict)


class TunedSettings(Frozen):
    """Settings by component and family of one product."""

    product: Name
    probability: dict[Family, FamilySettings] = Field(default_factory=dict)
    frequency: dict[Family, FamilySettings] = Field(default_factory=dict)
    severity: dict[Family, FamilySettings] = Field(default_factory=dict)
    pure_premium: dict[Family, FamilySettings] = Field(default_factory=dict)

    def apply(self, settings: FitSettings, component: str, family: str) -> FitSettings:
        """Give the settings with which a family is fitted; an ensemble rests on those of its GA2Ms."""
        found: dict[str, Any] = {}
        for name in ("ga2m", family) if family == "ga2m_ensemble" else (family,):
            if name in getattr(self, component):
                found |= getattr(self, component)[name].model_dump(exclude={"record"}, exclude_none=True)
        return replace(settings, **found)

    def over(self, earlier: TunedSettings) -> TunedSettings:
        """Lay these settings over earlier ones; what they do not name stays."""
        both = {
            name: getattr(earlier, name) | getattr(self, name)
            for name in type(self).model_fields
            if name != "product"
        }
        return self.model_copy(update=both)

    @property
    def hash(self) -> str:
        """Sha256 over the canonical content, for artifacts."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def check_made_for(self, product: Product) -> None:
        """Refuse settings of another product.

        Raises
        ------
        TuningError
            With both codes.
        """
        if self.product != product.code:
            raise TuningError(
                f"the settings were tuned for {self.product!r}, the product is {product.code!r}"
            )

    def to_toml(self) -> str:
        """Give the text of the file."""
        lines = [HEAD, f"product = {json.dumps(self.product)}"]
        for component, families in self.model_dump(exclude={"product"}, exclude_none=True).items():
            for family, chosen in families.items():
                record = chosen.pop("record")
                for name, table in (
                    (f"{component}.{family}", chosen),
                    (f"{component}.{family}.record", record),
                ):
                    # JSON's strings and numbers are TOML's.
                    lines += [
                        f"\n[{name}]",
                        *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
                    ]
        return "\n".join(lines) + "\n"


def read_tuned(path: Path) -> TunedSettings:
    """Read a settings file (see `parse_definition` for what is refused)."""
    return parse_definition(TunedSettings, path.read_text(encoding="utf-8"), path.name)


def write_tuned(path: Path, tuned: TunedSettings) -> None:
    """Write a settings file in one step; what an earlier file says of other families stays in it."""
    if path.exists():
        tuned = tuned.over(read_tuned(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(tuned.to_toml(), encoding="utf-8")
    fsync_path(temporary)
    temporary.replace(path)
    fsync_path(path.parent)


def tuned_path(product_file: Path, code: str) -> Path:
    """Give the place of a product's settings: `settings/<code>.toml` beside the product file."""
    return product_file.parent / "settings" / f"{code}.toml"
