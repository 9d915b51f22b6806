"""What of a quote a caller gets to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pricing.money import from_minor
from serving.errors import ExpandError
from serving.texts import LOADINGS_STEP

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from serving.access.caller import Caller

PARTS = ("ladder", "reasons", "commission")
LOADINGS = frozenset({"fixed_expense", "variable_expense", "commission", "margin"})


def parts(caller: Caller, expand: str | None) -> Set[str]:
    """Give the parts of an answer that a caller gets: those asked for, or all that the scopes allow.

    Raises
    ------
    ExpandError
        If there is no such part.
    NotAllowedError
        If a scope is missing.
    """
    if expand is None:
        return {part for part in PARTS if f"expand:{part}" in caller.scopes}
    asked = {part for part in expand.split(",") if part}
    for part in sorted(asked):
        if part not in PARTS:
            raise ExpandError(part, PARTS)
        caller.need([f"expand:{part}"])
    return asked


def visible(answer: Mapping[str, Any], caller: Caller, shown: Set[str]) -> dict[str, Any]:
    """Leave out of an answer what its reader does not get to see."""
    found = dict(answer)
    if "reasons" not in shown:
        found["reasons"] = None
    if "commission" not in shown:
        found["settlement"] = None
        found["ladder"] = _without_commission(answer["ladder"], answer["price"])
    if "ladder" not in shown:
        found["ladder"] = None
    if "quotes:review" not in caller.scopes:
        found["indication"] = None
    return found


def _without_commission(
    ladder: list[dict[str, Any]], price: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Merge the loadings into one step, from which the commission cannot be worked out."""
    if price is None:
        return []
    merged = sum(step["minor"] for step in ladder if step["step"] in LOADINGS)
    found: list[dict[str, Any]] = []
    for step in ladder:
        if step["step"] not in LOADINGS:
            found.append(step)
        elif not any(one["step"] == "loadings" for one in found):
            found.append(
                {
                    "step": "loadings",
                    "label": {"en": LOADINGS_STEP.en, "zh": LOADINGS_STEP.zh},
                    "amount": from_minor(merged, price["currency"]),
                    "minor": merged,
                    "payee": None,
                }
            )
    return found
