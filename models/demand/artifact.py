"""A demand model as one file: what was fitted, on which quotes, and whether its elasticity may be used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from data.manifest import write_text_atomic
from models.demand.elasticity import Elasticity
from models.demand.model import DemandModel, model_from_json
from models.errors import ArtifactError, DemandError, MismatchError
from models.families import library_versions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from models.demand.elasticity import NotIdentified
    from pricing.optimiser import Mode
    from pricing.product import Product

FORMAT = "premia-demand-1"


@dataclass(frozen=True)
class Verdict:
    """What the checks said of an elasticity (see `price_elasticity`).

    Attributes
    ----------
    identified
        Whether the mean slope passed all checks.
    per_customer
        Whether differences between customers were found beyond chance.
    reasons
        Why not identified; empty when it is.
    slopes
        Slope of acceptance per unit of log price, by estimator.
    variance_left
        Var(log price | features) / Var(log price).
    rows
        Rows that were read.
    """

    identified: bool
    per_customer: bool
    reasons: tuple[str, ...]
    slopes: dict[str, float]
    variance_left: float
    rows: int

    @classmethod
    def of(cls, found: Elasticity | NotIdentified) -> Verdict:
        """Keep what is needed to decide on its use."""
        identified = isinstance(found, Elasticity)
        return cls(
            identified,
            isinstance(found, Elasticity) and found.per_customer,
            () if isinstance(found, Elasticity) else found.reasons,
            {str(name): float(value) for name, value in found.frame["slope"].items()},
            found.variance_left,
            found.rows,
        )

    def check_usable(self, mode: Mode, source: str) -> None:
        """Refuse a use that the data do not bear.

        Raises
        ------
        DemandError
            If prices by group or by policy would rest on an elasticity that is not identified, or prices by
            policy on one whose differences between customers are not.
        """
        if mode != "cost_only" and not self.identified:
            raise DemandError(
                [f"the elasticity of {source} is not identified, so no price may rest on it", *self.reasons]
            )
        if mode == "individual" and not self.per_customer:
            raise DemandError(
                [
                    f"differences of elasticity between customers are not identified in {source}; "
                    "allowed: mode = 'group' or 'cost_only'"
                ]
            )


@dataclass(frozen=True, eq=False)
class StoredDemand:
    """A demand model with where it comes from.

    Attributes
    ----------
    product, product_hash
        Product whose factors it reads.
    source
        Price test, or other origin of the rows.
    model
        Fitted.
    verdict
        Whether it may be used.
    versions
        Libraries it was fitted with.
    """

    product: str
    product_hash: str
    source: str
    model: DemandModel
    verdict: Verdict
    versions: dict[str, str]

    @classmethod
    def of(
        cls, product: Product, source: str, model: DemandModel, found: Elasticity | NotIdentified
    ) -> StoredDemand:
        """Put a fitted model together with the verdict on its rows."""
        return cls(product.code, product.hash, source, model, Verdict.of(found), library_versions())

    def check_made_for(self, product: Product) -> None:
        """Refuse a model of another product file.

        Raises
        ------
        MismatchError
            With both hashes.
        """
        if (self.product, self.product_hash) != (product.code, product.hash):
            raise MismatchError("products", self.product_hash, product.hash)

    def to_json(self) -> dict[str, Any]:
        """Give the content of the file, with its checksum."""
        content = {
            "product": self.product,
            "product_hash": self.product_hash,
            "source": self.source,
            "model": self.model.to_json(),
            "verdict": asdict(self.verdict),
            "versions": self.versions,
        }
        return {"format": FORMAT, "sha256": _checksum(content), "demand": content}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StoredDemand:
        """Read what `to_json` gave.

        Raises
        ------
        ArtifactError
            If the format is unknown, or the content was changed.
        """
        content = stored.get("demand")
        if stored.get("format") != FORMAT or not isinstance(content, dict):
            raise ArtifactError(f"demand of format {stored.get('format')!r} is unknown; allowed: {FORMAT}")
        if _checksum(content) != stored.get("sha256"):
            raise ArtifactError("the demand model was changed after it was written: its checksum is wrong")
        verdict = dict(content["verdict"])
        return cls(
            content["product"],
            content["product_hash"],
            content["source"],
            model_from_json(content["model"]),
            Verdict(**{**verdict, "reasons": tuple(verdict["reasons"])}),
            content["versions"],
        )

    def save(self, path: Path) -> None:
        """Write the file in one step."""
        write_text_atomic(json.dumps(self.to_json(), sort_keys=True), path)


def read_demand(path: Path) -> StoredDemand:
    """Read a demand file (see `StoredDemand.from_json` for what is refused)."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{path.name} is no demand model: {error}") from error
    if not isinstance(stored, dict):
        raise ArtifactError(f"{path.name} is no demand model: an object is needed")
    return StoredDemand.from_json(stored)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
