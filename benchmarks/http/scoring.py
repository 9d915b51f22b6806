"""The scoring function that every arm calls.

Model inputs of one risk to its risk premium, out of the same tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.bundle import Bundle
from models.links import respond_one

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def premium_of(bundle: Bundle) -> Callable[[Mapping[str, Any], Mapping[str, Any]], float]:
    """Give the function from rating factors and profile to the risk premium, minor units, unexplained."""
    model, encode = bundle.model, bundle.encoding.encode_one
    parts = [(scorer.predict_raw_one, scorer.link) for scorer in model.components.values()]

    def premium(risk: Mapping[str, Any], profile: Mapping[str, Any]) -> float:
        row = encode(risk, profile)
        cost = 1.0
        for predict, link in parts:
            cost *= respond_one(predict(row), link)
        return cost * model.benefit_minor + model.load_minor

    return premium


def load_premium(folder: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], float]:
    """Load a stored bundle and give its function."""
    return premium_of(Bundle.load(Path(folder)))
