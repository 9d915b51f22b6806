"""Which rows judge the models, as the product file says."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import SplitError
from data.splits import split_by_group, split_by_time, split_randomly
from models.errors import TrainingDataError
from pricing.errors import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.product import Split


def mark_test_rows(split: Split, table: pa.Table) -> NDArray[np.bool_]:
    """Mark the test rows of a training table, shape (n,).

    Parameters
    ----------
    split
        Method of the product file. By time, the latest share is test and equal times stay together; by group,
        a keyed hash of the value decides, so that a group never stands on both sides.
    table
        Has the column that the split names.

    Raises
    ------
    TrainingDataError
        If the column is absent or holds nulls, or one side is empty.
    """
    try:
        if split.method == "random":
            return split_randomly(table.num_rows, split.share, split.seed)
        column = _column(split, table)
        if split.method == "time":
            return split_by_time(_times(split, column), split.share)
        if split.method == "group":
            return split_by_group(_keys(column), split.share, f"split-{split.seed}")
        mask = pc.equal(pc.cast(column, pa.string()), str(split.test))
        test = np.asarray(mask.to_numpy(), dtype=bool)
        if not test.any() or test.all():
            raise SplitError(f"{int(test.sum())} of {len(test)} rows have {split.column} = {split.test!r}")
        return test
    except SplitError as error:
        raise TrainingDataError([f"split: {error}"]) from error


def group_keys(split: Split, table: pa.Table) -> NDArray[np.int64] | None:
    """Give an integer per group of a split by group, shape (n,); None for other methods."""
    return _keys(_column(split, table)) if split.method == "group" else None


def _column(split: Split, table: pa.Table) -> pa.ChunkedArray:
    name = split.column or ""
    if name not in table.column_names:
        raise TrainingDataError([f"split column {name!r} is absent ({nearest(name, table.column_names)})"])
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        raise TrainingDataError([f"{column.null_count} rows: split column {name!r} is missing"])
    return column


def _times(split: Split, column: pa.ChunkedArray) -> NDArray[np.int64] | NDArray[np.float64]:
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise TrainingDataError([f"split column {split.column!r} is {column.type}, not a time"])
    return np.asarray(column.to_numpy())


def _keys(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Give an integer per group; texts are hashed, equal texts alike on every machine."""
    if pa.types.is_integer(column.type):
        return np.asarray(column.cast(pa.int64()).to_numpy())
    coded = (
        pa.chunked_array([pc.cast(column, pa.string()).combine_chunks()]).combine_chunks().dictionary_encode()
    )
    hashed = [
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
        for text in coded.dictionary.to_pylist()
    ]
    return np.asarray(np.array(hashed, dtype=np.int64)[coded.indices.to_numpy()], dtype=np.int64)
