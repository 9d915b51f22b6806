"""Who may be offered what: the rules of the product files for a column of customers, with reason codes.

The same rules decide in the quote (`pricing.rules.failed_rules`) and, one customer at a time, in
`exclusion_codes`; a property test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from models.recommend.ranking import HELD, NOT_IN_SCENE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.recommend.task import Mask
    from pricing.product import Product
    from pricing.rules import Condition


def exclusions(
    product: Product, facts: Mapping[str, NDArray[Any]], held: Mask, scene: str | None
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
    """
    found: dict[str, Mask] = {}
    for rule in product.eligibility:
        failed = ~holds(rule, facts.get(rule.field), len(held))
        found[rule.code] = found.get(rule.code, np.zeros(len(held), bool)) | failed
    if product.offer.one_in_force:
        found[HELD] = held
    if product.cover.per != "year" and product.cover.per != scene:
        found[NOT_IN_SCENE] = np.ones(len(held), bool)
    return {code: rows for code, rows in found.items() if rows.any()}


def allowed(
    products: Sequence[Product], facts: Mapping[str, NDArray[Any]], held: Mask, scene: str | None
) -> Mask:
    """Tell which products may be offered to whom, shape (n, products); see `exclusions`.

    Parameters
    ----------
    products, facts, scene
        See `exclusions`.
    held
        Shape (n, products), in the order of `products`.
    """
    result = np.ones(held.shape, bool)
    for position, product in enumerate(products):
        for rows in exclusions(product, facts, held[:, position], scene).values():
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
