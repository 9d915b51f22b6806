"""Who may be offered what: the rules of the product files for a column of customers, with reason codes.

The same list of rules (`Product.admission`) decides in the quote (`pricing.rules.failed_rules`) and, one
customer at a time, in `exclusion_codes`; a property test holds the three together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pricing.suitability import ANYWHERE, IN_FORCE, NEEDS, SCENE, SINCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.recommend.task import Mask
    from pricing.product import Product
    from pricing.rules import Condition


def exclusions(
    product: Product,
    facts: Mapping[str, NDArray[Any]],
    held: Mask,
    scene: str | None,
    since: NDArray[np.float64] | None = None,
) -> dict[str, Mask]:
    """Give the customers whom each reason code keeps from a product; codes without any are left out.

    Parameters
    ----------
    product
        Product file.
    facts
        Column by name, shape (n,); None or NaN where not known. An absent column is not known of anybody.
    held
        Whether the customer holds the product, shape (n,).
    scene
        `order` or `trip` when asked inside such a purchase.
    since
        Days since the last cover of the product began, shape (n,); NaN where there was none.
    """
    found: dict[str, Mask] = {}
    for rule in product.admission:
        failed = ~_met(rule, facts, held, scene or ANYWHERE, since)
        found[rule.code] = found.get(rule.code, np.zeros(len(held), bool)) | failed
    return {code: rows for code, rows in found.items() if rows.any()}


def could_buy(
    product: Product, facts: Mapping[str, NDArray[Any]], held: Mask, since: NDArray[np.float64] | None = None
) -> Mask:
    """Tell who could have bought a product in the past, shape (n,), but for what nobody was asked then.

    Neither scene nor answers on needs are on record; whoever bought it did so in its scene. See `exclusions`.
    """
    result = np.ones(len(held), bool)
    for rule in product.admission:
        if rule.field != SCENE and not rule.field.startswith(NEEDS):
            result &= _met(rule, facts, held, ANYWHERE, since)
    return result


def _met(
    rule: Condition,
    facts: Mapping[str, NDArray[Any]],
    held: Mask,
    scene: str,
    since: NDArray[np.float64] | None,
) -> Mask:
    if rule.field == SCENE:
        return np.full(len(held), rule.holds(scene))
    columns = {IN_FORCE: held, SINCE: since}
    column = columns[rule.field] if rule.field in columns else facts.get(rule.field)
    return holds(rule, column, len(held))


def allowed(
    products: Sequence[Product],
    facts: Mapping[str, NDArray[Any]],
    held: Mask,
    scene: str | None,
    since: NDArray[np.float64] | None = None,
) -> Mask:
    """Tell which products may be offered to whom, shape (n, products); see `exclusions`.

    Parameters
    ----------
    products, facts, scene
        See `exclusions`.
    held, since
        Shape (n, products), in the order of `products`.
    """
    result = np.ones(held.shape, bool)
    for position, product in enumerate(products):
        days = None if since is None else since[:, position]
        for rows in exclusions(product, facts, held[:, position], scene, days).values():
            result[:, position] &= ~rows
    return result


def holds(condition: Condition, column: NDArray[Any] | None, n: int) -> Mask:
    """Decide a condition for a column as `Condition.holds` does for one fact, once a distinct value."""
    if column is None:
        return np.full(n, condition.holds(None))
    codes, values = pd.factorize(column)  # None and NaN become -1
    met = np.array([condition.holds(_plain(value)) for value in values] + [condition.holds(None)], dtype=bool)
    return np.asarray(met[codes])


def _plain(value: Any) -> Any:  # noqa: ANN401 - numpy scalars of any kind
    return value.item() if isinstance(value, np.generic) else value
