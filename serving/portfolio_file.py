"""Portfolios that come as CSV: read once into a parquet file with the types that the products ask for."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pa_csv

from data.store import write_parquet_atomic
from pricing.factors import CategoryFactor
from serving.errors import PortfolioError
from serving.reprice import CARRIED, KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pricing.product import Product


@contextmanager
def portfolio_file(path: Path, products: Iterable[Product]) -> Iterator[Path]:
    """Give a portfolio as a parquet file of the same name: itself, or what a CSV file holds.

    Parameters
    ----------
    path
        Parquet file, folder of a table, or file that ends with `.csv`.
    products
        Product files: categories are read as text, so that a code of `01` stays one.

    Raises
    ------
    PortfolioError
        If a CSV file cannot be read, or holds no rows.
    """
    if path.suffix != ".csv":
        yield path
        return
    factors = [factor for product in products for factor in product.factors]
    types: dict[str, pa.DataType] = {
        factor.name: pa.string() if isinstance(factor, CategoryFactor) else pa.float64() for factor in factors
    }
    with tempfile.TemporaryDirectory(prefix="premia-portfolio-") as folder:
        copy = Path(folder) / path.name
        options = pa_csv.ConvertOptions(
            column_types={**types, **CARRIED, **KEYS}, strings_can_be_null=True, null_values=[""]
        )
        try:
            rows = write_parquet_atomic(pa_csv.open_csv(path, convert_options=options), copy)
        except pa.ArrowInvalid as error:
            raise PortfolioError(f"{path.name} cannot be read: {error}") from error
        if not rows:
            raise PortfolioError(f"{path.name} holds no rows")
        yield copy
