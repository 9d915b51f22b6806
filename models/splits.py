"""Which rows judge the models, as the product file says."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
        a salted hash of the value decides, so that a group never stands on both sides.
    table
        Has the column that the split names.

    Raises
    ------
    TrainingDataError
        If the column is absent or holds nulls, or one side is empty.
    """
    size = table.num_rows
    if split.method == "random":
        mask = np.zeros(size, dtype=bool)
        mask[np.random.default_rng(split.seed).permutation(size)[: round(size * split.share)]] = True
    else:
        mask = _by_column(split, _column(split, table))
    if not mask.any() or mask.all():
        side = "test" if not mask.any() else "learn"
        raise TrainingDataError([f"the split by {split.method} leaves no {side} rows among {size}"])
    return mask


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


def _by_column(split: Split, column: pa.ChunkedArray) -> NDArray[np.bool_]:
    if split.method == "column":
        return np.array([value == str(split.test) for value in pc.cast(column, pa.string()).to_pylist()])
    if split.method == "group":
        return _hashed_share(pc.cast(column, pa.string()), split.seed) < split.share
    kind = column.type
    if pa.types.is_temporal(kind):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise TrainingDataError([f"split column {split.column!r} is {kind}, not a time"])
    times = np.asarray(column)
    latest = np.sort(times)[max(len(times) - round(len(times) * split.share), 0) - len(times)]
    return np.asarray(times >= latest)


def _hashed_share(texts: pa.ChunkedArray, seed: int) -> NDArray[np.float64]:
    """Map each text to [0, 1) by a keyed hash; equal texts map to equal numbers."""
    coded = (
        texts.combine_chunks().dictionary_encode()
        if texts.num_chunks != 1
        else texts.chunk(0).dictionary_encode()
    )
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.chunk(0)
    key = seed.to_bytes(8, "little", signed=True)
    share = [
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=key).digest(), "little") / 2**64
        for text in coded.dictionary.to_pylist()
    ]
    return np.asarray(np.array(share)[coded.indices.to_numpy()], dtype=np.float64)
