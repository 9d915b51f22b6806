"""A training table as it is learned from and judged by: read, encoded, and split as the product file says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.encoding import Encoding
from models.errors import EncodingError, TrainingDataError
from models.response import Observed, check_enough, read_observed
from models.splits import group_keys, split_rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pricing.product import Product


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows that are learned from and rows that judge; those of the buffer between them are left out.

    Attributes
    ----------
    product
        Product file.
    encoding
        From risks to model inputs.
    matrix
        Encoded rows, shape (n, inputs).
    observed
        What happened, row by row.
    test
        Rows that judge, shape (n,).
    kept
        Rows of the table that the sample holds, shape (rows of the table,).
    groups
        Shape (n,): rows of one number stay together; None unless the split is by group.
    tested
        Test rows as they came.
    """

    product: Product
    encoding: Encoding
    matrix: NDArray[np.float64]
    observed: Observed
    test: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    groups: NDArray[np.int64] | None
    tested: pa.Table

    @classmethod
    def of(cls, product: Product, table: pa.Table) -> Sample:
        """Read a training table.

        Raises
        ------
        TrainingDataError
            Naming every fault with its number of rows.
        """
        encoding, matrix, observed = read_table(product, table)
        rows, groups = split_rows(product.split, table), group_keys(product.split, table)
        kept, test = ~rows.out, rows.test
        if not kept.all():
            matrix, observed, test = matrix[kept], observed.take(kept), test[kept]
            groups = None if groups is None else groups[kept]
        return cls(product, encoding, matrix, observed, test, kept, groups, table.filter(rows.test))

    @property
    def learn(self) -> NDArray[np.bool_]:
        """Rows that are learned from, shape (n,)."""
        return ~self.test

    def check_enough(self, *parts: Literal["learn", "test"]) -> None:
        """Refuse sides of the split that hold too few claims.

        Raises
        ------
        TrainingDataError
            With the counts.
        """
        for part in parts:
            rows: NDArray[np.bool_] = getattr(self, part)
            count, exposure = self.observed.count[rows], self.observed.exposure[rows]
            check_enough(count, exposure, part, self.product.response.kind)

    def facts(self) -> dict[str, float | int | str]:
        """Give rows, claims and exposure of both sides of the split, and the rows that are on neither."""
        facts: dict[str, float | int | str] = {}
        for name, rows in (("learn", self.learn), ("test", self.test)):
            facts[f"{name}_rows"] = int(rows.sum())
            facts[f"{name}_claims"] = float(self.observed.count[rows].sum())
            facts[f"{name}_exposure"] = float(self.observed.exposure[rows].sum())
        return facts | {"buffer_rows": int((~self.kept).sum())}


def read_table(product: Product, table: pa.Table) -> tuple[Encoding, NDArray[np.float64], Observed]:
    """Encode a training table and read what happened, or name every fault."""
    problems: list[str] = []
    encoding = Encoding.of(product)
    try:
        encoded = encoding.encode(table)
        problems += encoded.sentences()
    except EncodingError as error:
        problems += error.problems
    try:
        observed = read_observed(product, table)
    except TrainingDataError as error:
        problems += error.problems
    if problems:
        raise TrainingDataError(problems)
    return encoding, encoded.matrix, observed
