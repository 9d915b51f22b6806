"""What a book is expected to sell and earn at old and new prices, where its elasticity is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from models.demand import SplineDemand, Verdict, price_elasticity, read_demand
from serving.errors import ImpactError
from serving.tables import read_file

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from models.demand import DemandModel
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
        Fitted demand; it is used only where it is.
    factors
        Rating factors that it reads.
    renewal
        Whether multiplier 1 is the premium in force; else it is the old price.
    tested
        Lowest and highest logarithm of the multipliers that it was learned from; None where not known.
    source
        Where the rows came from, in words.
    picture
        Slopes of acceptance; None where only the verdict is known.
    """

    verdict: Verdict
    model: DemandModel
    factors: tuple[str, ...]
    renewal: bool
    tested: tuple[float, float] | None
    source: str
    picture: Figure | None = None

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
        if not self.verdict.identified or not len(both):
            return {}
        low, high = self.tested or (-np.inf, np.inf)
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
            outside = (moved < low) | (moved > high)
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


def find_demand(
    source: str, product: Product, con: duckdb.DuckDBPyConnection, *, renewal: bool
) -> BookDemand:
    """Give the demand that is named: `lake`, a stored model (.json) or a table of quotes."""
    if source == LAKE:
        return learn_demand(source, product, con, None, renewal=renewal)
    path = Path(source)
    if path.suffix == ".json":
        return stored_demand(path, product, renewal=renewal)
    return learn_demand(path.name, product, con, path, renewal=renewal)


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
    found = price_elasticity(known, accepted, moved, propensity)
    model = SplineDemand().fit(known, accepted, moved, propensity)
    reached = (float(moved.min()), float(moved.max()))
    told = f"{len(frame):,} rows of {source}"
    return BookDemand(Verdict.of(found), model, factors, renewal, reached, told, found.figure())


def stored_demand(path: Path, product: Product, *, renewal: bool) -> BookDemand:
    """Take a demand model as it was stored (see `StoredDemand`).

    Raises
    ------
    ArtifactError, MismatchError
        If it is damaged, or was made for another product file.
    """
    stored = read_demand(path)
    stored.check_made_for(product)
    factors = tuple(factor.name for factor in product.factors)
    return BookDemand(stored.verdict, stored.model, factors, renewal, None, f"{path.name}: {stored.source}")


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
