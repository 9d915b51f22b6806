"""What the ladders of many risks are built from: the columns of a batch as `PriceInputs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pricing.factors import NumberFactor
from pricing.ladder import PriceInputs
from pricing.money import exponent
from pricing.relativities import MILLION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pricing.errors import RiskProblem
    from pricing.factors import CategoryFactor
    from pricing.integers import Integers
    from pricing.plan import RatingPlan
    from pricing.product import Product
    from pricing.relativities import RelativityTable


@dataclass(frozen=True)
class Sales:
    """How the covers of a batch are sold: columns of `Sale`.

    Attributes
    ----------
    channels, sub_channels
        Through whom, by row; no sub-channels where None.
    expiring
        Price of the cover that is renewed, minor units; null for new business, all of which it is where None.
    bundles
        Bundle in which each is sold; null or None outside of one.
    """

    channels: Sequence[str | None]
    sub_channels: Sequence[str | None] | None = None
    expiring: pa.Array | None = None
    bundles: pa.Array | None = None

    @property
    def outlets(self) -> list[tuple[str | None, str | None]]:
        """Channel and sub-channel of each row."""
        return list(zip(self.channels, self.sub_channels or [None] * len(self.channels), strict=True))

    def bundle_multipliers(self, plan: RatingPlan) -> NDArray[np.int64] | None:
        """Give what bundles leave of the net premiums, millionths; None where there are none."""
        if self.bundles is None or plan.bundles is None:
            return None
        names = self.bundles.to_pylist()
        left = {name: plan.bundle_multiplier(name) or MILLION for name in set(names)}
        return np.array([left[name] for name in names], dtype=np.int64)

    @property
    def expiring_minor(self) -> NDArray[np.int64] | int:
        """Expiring prices, 0 for new business."""
        if self.expiring is None:
            return 0
        found: NDArray[np.int64] = pc.fill_null(self.expiring, 0).to_numpy(zero_copy_only=False)
        return found


def batch_inputs(
    product: Product,
    plan: RatingPlan,
    batch: pa.RecordBatch,
    premium: NDArray[np.float64],
    sales: Sales,
    experience: NDArray[np.int64] | None = None,
) -> PriceInputs:
    """Gather what the ladders of a batch are built from, as `price_inputs` does for one risk.

    Parameters
    ----------
    product, plan
        What prices them.
    batch
        Rating factors by name, as they came.
    premium
        Shape (n,), risk premiums, minor units; NaN where a row has none and its other columns mean nothing.
    sales
        How each is sold.
    experience
        Relativity of own history of each, millionths, where the product keeps it.
    """
    factors = {factor.name: factor for factor in product.factors}
    tables = (plan.relativities or {}).items()
    relativities = tuple(_relativities(table, factors[name], batch.column(name)) for name, table in tables)
    cover: Integers | None
    if plan.cover_cap is None or plan.cover_cap.factor is None:
        cover = plan.cover_of(product, {})
    else:
        factor = factors[plan.cover_cap.factor]
        assert isinstance(factor, NumberFactor)  # noqa: S101 - the plan was held against the product
        amounts = rated_numbers(factor, batch.column(factor.name)) * 10 ** exponent(plan.currency)
        cover = np.rint(np.nan_to_num(amounts)).astype(np.int64)
    return PriceInputs(
        premium,
        relativities,
        experience=experience,
        cover_minor=cover,
        expiring_minor=sales.expiring_minor,
        bundle=sales.bundle_multipliers(plan),
    )


def _relativities(
    table: RelativityTable, factor: NumberFactor | CategoryFactor, column: pa.Array
) -> NDArray[np.int64]:
    """Give what one table makes of each row; what is no valid value of the factor is refused elsewhere."""
    if isinstance(factor, NumberFactor):
        return table.of_numbers(rated_numbers(factor, column))
    levels, place = rated_levels(factor, column)
    known = [table.relativity(level) if isinstance(level, str) else 0 for level in levels]
    found: NDArray[np.int64] = np.array(known, dtype=np.int64)[place]
    return found


def rated_levels(
    factor: CategoryFactor, column: pa.Array
) -> tuple[list[str | RiskProblem], NDArray[np.int64]]:
    """Give the levels that are rated, or why not, and the place of each row among them."""
    encoded = column.dictionary_encode()
    levels = [factor.read(value) for value in encoded.dictionary.to_pylist()] + [factor.read(None)]
    place = encoded.indices.fill_null(len(levels) - 1).to_numpy(zero_copy_only=False)
    return levels, place


def rated_numbers(factor: NumberFactor, column: pa.Array) -> NDArray[np.float64]:
    """Give the numbers that are rated: within the factor's bounds, NaN where not known."""
    values = pc.cast(column, pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    rated: NDArray[np.float64] = np.clip(values, factor.minimum, factor.maximum)
    return rated
