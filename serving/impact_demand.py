"""What a book is expected to sell and earn at old and new prices, where its elasticity is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from models.demand import NotIdentified, SplineDemand, price_elasticity
from serving.errors import ImpactError
from serving.tables import read_file

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from models.demand import DemandModel, Elasticity
    from pricing.product import Product

    Array = NDArray[np.float64]

LAKE = "lake"
CLAIMS = ("step_risk_premium_minor", "step_experience_minor", "step_claims_inflation_minor")
EXPENSES = (
    "step_reinsurance_minor",
    "step_fixed_expense_minor",
    "step_variable_expense_minor",
    "commission_due_minor",
    "tax_due_minor",
)


@dataclass(frozen=True, eq=False)
class BookDemand:
    """Demand of a product by its rating factors.

    Attributes
    ----------
    verdict
        Whether the elasticity is identified.
    model
        Fitted demand; None where it is not.
    factors
        Rating factors that it reads.
    renewal
        Whether multiplier 1 is the premium in force; else it is the old price.
    tested
        Lowest and highest logarithm of the multipliers that it was learned from.
    source
        Where the rows came from, in words.
    """

    verdict: Elasticity | NotIdentified
    model: DemandModel | None
    factors: tuple[str, ...]
    renewal: bool
    tested: tuple[float, float]
    source: str

    def totals(
        self, own: pa.RecordBatch, old: pa.RecordBatch, new: pa.RecordBatch, both: NDArray[np.int64]
    ) -> dict[str, tuple[float, float]]:
        """Add up what policies with a price both ways are expected to buy.

        Claims are those that the new side expects, on both sides: prices differ, the risk does not. Expenses
        are reinsurance, fixed and variable expense, commission and tax of each side's ladder.

        Parameters
        ----------
        own, old, new
            Rows of the portfolio and both decisions.
        both
            Rows that have a price both ways.
        """
        if self.model is None or not len(both):
            return {}
        prices = [_minor(one, ("price_minor",), both) for one in (old, new)]
        base = _minor(own, ("premium_minor",), both) if self.renewal else prices[0]
        known = base > 0
        claims = _minor(new, CLAIMS, both)[known]
        frame = own.take(pc.cast(np.asarray(both)[known], "int64")).select(list(self.factors)).to_pandas()
        sides = []
        for decided, price in zip((old, new), prices, strict=True):
            moved = np.log(price[known] / base[known])
            chance = self.model.predict_proba(frame, moved)[:, 1]
            costs = _minor(decided, EXPENSES, both)[known]
            outside = (moved < self.tested[0]) | (moved > self.tested[1])
            sides.append(
                {
                    "policies": float(known.sum()),
                    "outside": float(outside.sum()),
                    "volume": float(chance.sum()),
                    "premium": float(chance @ price[known]),
                    "claims": float(chance @ claims),
                    "expenses": float(chance @ costs),
                    "profit": float(chance @ (price[known] - costs - claims)),
                }
            )
        return {name: (value, sides[1][name]) for name, value in sides[0].items()}


def learn_demand(
    source: str, product: Product, con: duckdb.DuckDBPyConnection, path: Path | None, *, renewal: bool
) -> BookDemand:
    """Learn demand from a price test or from renewals, and judge whether its elasticity is known.

    Parameters
    ----------
    source
        `lake` for the price tests among the quotes of the lake, or the name of the file.
    product
        Its rating factors are what demand may depend on.
    con
        The lake.
    path
        Table (parquet, CSV) with the rating factors, `accepted` (0 or 1), `price_multiplier`, and
        `propensity` where cells have unequal shares; None for the lake.
    renewal
        Multipliers are new over last premium; else over the price without the test.

    Raises
    ------
    ImpactError
        If rows or columns are missing.
    DemandError
        If outcome or prices cannot be read.
    """
    frame = _tested(con, product) if path is None else read_file(path).to_pandas()
    if path is not None and "product" in frame:
        frame = frame[frame["product"] == product.code]
    factors = tuple(factor.name for factor in product.factors)
    absent = [n for n in (*factors, "accepted", "price_multiplier") if n not in frame]
    if absent:
        raise ImpactError(f"demand from {source}: columns {', '.join(absent)} are missing")
    if not len(frame):
        raise ImpactError(f"demand from {source}: there is no quote of {product.code} in a price test")
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = np.log(frame["price_multiplier"].to_numpy(dtype=np.float64))
    accepted = frame["accepted"].to_numpy(dtype=np.float64)
    propensity = frame["propensity"].to_numpy(dtype=np.float64) if "propensity" in frame else None
    known = frame[list(factors)]
    verdict = price_elasticity(known, accepted, moved, propensity)
    model = None
    if not isinstance(verdict, NotIdentified):
        model = SplineDemand().fit(known, accepted, moved, propensity)
    reached = (float(moved.min()), float(moved.max()))
    return BookDemand(verdict, model, factors, renewal, reached, f"{len(frame):,} rows of {source}")


def _tested(con: duckdb.DuckDBPyConnection, product: Product) -> pd.DataFrame:
    """Give the first quote of each customer in a price test; later ones are not independent of it."""
    views = con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    if ("quotes",) not in views:
        raise ImpactError("the lake holds no quotes to learn demand from. Hint: --demand FILE")
    query = """
        SELECT * FROM quotes WHERE product = $code AND experiment IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY quoted_at, quote_id) = 1
        ORDER BY quote_id
    """
    return con.execute(query, {"code": product.code}).df()


def _minor(batch: pa.RecordBatch, names: tuple[str, ...], rows: NDArray[np.int64]) -> Array:
    """Add up columns of minor units over some rows; null counts as zero."""
    total = np.zeros(len(rows))
    for name in names:
        column = pc.fill_null(pc.cast(batch.column(name), "int64"), 0)
        total += column.to_numpy(zero_copy_only=False)[rows]
    return total
