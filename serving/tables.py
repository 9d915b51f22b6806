"""Training tables as the command line names them: from the lake, or a file of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from data.errors import SourceError
from models.training_table import attach_profiles, training_table

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from features.spec import FeatureSpec
    from pricing.product import Product


def product_table(
    con: duckdb.DuckDBPyConnection,
    product: Product,
    spec: FeatureSpec,
    data: Path | None,
    as_of: datetime,
    lake: Path | None = None,
) -> pa.Table:
    """Give the training table of a product with its profile and fitted features.

    Parameters
    ----------
    con
        Connection to the lake.
    product, spec
        What is trained, and the feature definitions.
    data
        A table of one's own (parquet or CSV); None builds it from policies and claims of the lake.
    as_of
        Nothing later is looked at.
    lake
        Where fitted features are stored; needed only where the product reads some.
    """
    table = training_table(con, product, as_of) if data is None else read_file(data)
    return attach_profiles(con, table, product, spec, lake)


def read_file(path: Path) -> pa.Table:
    """Read a parquet or CSV file.

    Raises
    ------
    SourceError
        If it is neither.
    """
    try:
        return pa_csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
