"""Which rows teach and which rows judge the models, as the product file says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import SplitError
from data.hashing import splitmix64
from data.splits import (
    buffer_before,
    fold_by_group,
    fold_randomly,
    split_by_group,
    split_by_time,
    split_randomly,
    walk_forward,
)
from models.errors import TrainingDataError
from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pricing.product import Split

MICROSECONDS_A_DAY = 86_400_000_000
# Stands for "no value" among the hashes of a feature vector.
NO_VALUE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class SplitRows:
    """Rows that are learned from and rows that judge; what is in neither is left out.

    Attributes
    ----------
    learn, test
        Shape (n,), never both true.
    """

    learn: NDArray[np.bool_]
    test: NDArray[np.bool_]

    @property
    def out(self) -> NDArray[np.bool_]:
        """Rows of the buffer, or of no fold: neither learned from nor judged by, shape (n,)."""
        return ~(self.learn | self.test)

    @property
    def frame(self) -> pd.DataFrame:
        """One line per part (`learn`, `out`, `test`): rows and their share."""
        rows = [int(part.sum()) for part in (self.learn, self.out, self.test)]
        return pd.DataFrame(
            {"rows": rows, "share": np.array(rows) / len(self.learn)},
            index=pd.Index(["learn", "out", "test"], name="part"),
        )


def split_rows(split: Split, table: pa.Table) -> SplitRows:
    """Part the rows of a training table.

    Parameters
    ----------
    split
        Method of the product file. By time, the latest share is test, equal times stay together and rows of
        the last `buffer_days` before are left out; by group, a keyed hash of the value (or of the values of
        all `columns`) decides, so that a group never stands on both sides.
    table
        Has the columns that the split names.

    Raises
    ------
    TrainingDataError
        If a column is absent or holds nulls, or one side is empty.
    """
    try:
        test = _test_rows(split, table)
        if not split.buffer_days:
            return SplitRows(~test, test)
        times = _times(split, _column(split, table))
        learn = ~(test | buffer_before(times, test, _buffer(split, table)))
        if not learn.any():
            raise SplitError(
                f"buffer_days = {split.buffer_days} leaves none of {int((~test).sum())} rows to learn from"
            )
        return SplitRows(learn, test)
    except SplitError as error:
        raise TrainingDataError([f"split: {error}"]) from error


def mark_test_rows(split: Split, table: pa.Table) -> NDArray[np.bool_]:
    """Mark the test rows of a training table, shape (n,) (see `split_rows`)."""
    return split_rows(split, table).test


def folds(
    split: Split,
    table: pa.Table,
    k: int,
    *,
    rows: NDArray[np.bool_] | None = None,
    claims: NDArray[np.float64] | None = None,
) -> tuple[SplitRows, ...]:
    """Cut rows into k folds for cross-validation, by the same kinds of methods as a split.

    By time, folds walk forward: each validates on a later block and learns from all before it, less the
    buffer; the first block is never validated on. By group, groups stay whole. By the table's own column,
    each of its values is a fold. Randomly only when the split says so by name.

    Parameters
    ----------
    split
        Says how to cut; its share and test value play no part.
    table
        Has the columns that the split names.
    k
        Number of folds, at least 2.
    rows
        Rows to cut, shape (n,): the learn rows, where a choice follows, so that no test row takes part.
        All rows when absent.
    claims
        Claims of each row, shape (n,); a fold whose learn or validation rows hold none is refused.

    Returns
    -------
    tuple of SplitRows
        One per fold, over all rows of the table; `test` marks the rows to validate on.

    Raises
    ------
    TrainingDataError
        If the rows cannot be cut, or a fold holds no claims, with row counts.
    """
    if k < 2:
        raise TrainingDataError([f"folds: at least 2 are needed, got {k}"])
    among = np.ones(table.num_rows, bool) if rows is None else rows
    cut = table.filter(pa.array(among))
    try:
        numbers = _fold_numbers(split, cut, k)
    except SplitError as error:
        raise TrainingDataError([f"folds: {error}"]) from error
    inner = [SplitRows(numbers != i, numbers == i) for i in range(k)]
    if split.method == "time":
        inner = _walked(split, cut, numbers, k)
    found = tuple(SplitRows(_spread(fold.learn, among), _spread(fold.test, among)) for fold in inner)
    _check_folds(found, claims)
    return found


def repeated_rows(table: pa.Table, columns: Sequence[str], rows: SplitRows) -> NDArray[np.bool_]:
    """Mark the test rows whose values of all columns also stand on a learn row, shape (n,).

    On such rows a model that learned the table by heart looks good; a split by group of these columns has
    none.

    Parameters
    ----------
    table
        Training table.
    columns
        Usually all rating factors.
    rows
        A split of the table.
    """
    keys = _vector_keys(table, columns)
    return rows.test & np.isin(keys, keys[rows.learn])


def group_keys(split: Split, table: pa.Table) -> NDArray[np.int64] | None:
    """Give an integer per group of a split by group, shape (n,); None for other methods."""
    return _group_keys(split, table) if split.method == "group" else None


def _test_rows(split: Split, table: pa.Table) -> NDArray[np.bool_]:
    if split.method == "random":
        return split_randomly(table.num_rows, split.share, split.seed)
    if split.method == "group":
        return split_by_group(_group_keys(split, table), split.share, f"split-{split.seed}")
    column = _column(split, table)
    if split.method == "time":
        return split_by_time(_times(split, column), split.share)
    mask = pc.equal(pc.cast(column, pa.string()), str(split.test))
    test = np.asarray(mask.to_numpy(), dtype=bool)
    if not test.any() or test.all():
        raise SplitError(f"{int(test.sum())} of {len(test)} rows have {split.column} = {split.test!r}")
    return test


def _fold_numbers(split: Split, table: pa.Table, k: int) -> NDArray[np.int64]:
    """Give the fold of each row; by time, its block, of which there is one more."""
    if split.method == "random":
        return fold_randomly(table.num_rows, k, split.seed)
    if split.method == "group":
        return fold_by_group(_group_keys(split, table), k, f"folds-{split.seed}")
    column = _column(split, table)
    if split.method == "time":
        return walk_forward(_times(split, column), k)
    values, numbers = np.unique(
        np.asarray(pc.cast(column, pa.string()).to_pylist(), str), return_inverse=True
    )
    if len(values) != k:
        few = ", ".join(values[:5])
        raise SplitError(
            f"column {split.column!r} makes {len(values)} folds ({few}), not {k}; folds by time or group can "
            "be cut to any number"
        )
    return np.asarray(numbers, np.int64)


def _walked(split: Split, table: pa.Table, blocks: NDArray[np.int64], k: int) -> list[SplitRows]:
    times = _times(split, _column(split, table))
    found = []
    for i in range(1, k + 1):
        test, learn = blocks == i, blocks < i
        if split.buffer_days:
            learn &= ~buffer_before(times, test, _buffer(split, table))
        found.append(SplitRows(learn, test))
    return found


def _check_folds(found: Sequence[SplitRows], claims: NDArray[np.float64] | None) -> None:
    problems = []
    for number, fold in enumerate(found, start=1):
        for part, mask in (("learn", fold.learn), ("validation", fold.test)):
            if not mask.any():
                problems.append(f"fold {number} of {len(found)} has no {part} rows")
            elif claims is not None and not claims[mask].sum() > 0:
                problems.append(
                    f"fold {number} of {len(found)}: the {int(mask.sum())} {part} rows hold no claims"
                )
    if problems:
        raise TrainingDataError(problems)


def _spread(inner: NDArray[np.bool_], among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    whole = np.zeros(len(among), bool)
    whole[among] = inner
    return whole


def _buffer(split: Split, table: pa.Table) -> int:
    kind = table.schema.field(split.column).type
    if not pa.types.is_temporal(kind):
        raise SplitError(f"buffer_days needs dates, but column {split.column!r} is {kind}")
    return split.buffer_days * MICROSECONDS_A_DAY


def _column(split: Split, table: pa.Table, name: str = "") -> pa.ChunkedArray:
    name = name or split.column or ""
    if name not in table.column_names:
        raise TrainingDataError([f"split column {name!r} is absent ({nearest(name, table.column_names)})"])
    column = _plain(table[name])
    if column.null_count:
        raise TrainingDataError([f"{column.null_count} rows: split column {name!r} is missing"])
    return column


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _times(split: Split, column: pa.ChunkedArray) -> NDArray[np.int64] | NDArray[np.float64]:
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise TrainingDataError([f"split column {split.column!r} is {column.type}, not a time"])
    return np.asarray(column.to_numpy())


def _group_keys(split: Split, table: pa.Table) -> NDArray[np.int64]:
    return _vector_keys(table, split.columns) if split.columns else _keys(_column(split, table))


def _keys(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Give an integer per group; texts are hashed, equal texts alike on every machine."""
    if pa.types.is_integer(column.type):
        return np.asarray(column.cast(pa.int64()).to_numpy())
    coded = pc.cast(column, pa.string()).combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    hashed = [
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
        for text in coded.dictionary.to_pylist()
    ]
    return np.asarray(np.array(hashed, dtype=np.int64)[coded.indices.to_numpy()], dtype=np.int64)


def _vector_keys(table: pa.Table, columns: Sequence[str]) -> NDArray[np.int64]:
    """Give an integer per combination of values; a missing value is a value."""
    absent = [name for name in columns if name not in table.column_names]
    if absent:
        raise TrainingDataError(
            [f"split column {name!r} is absent ({nearest(name, table.column_names)})" for name in absent]
        )
    keys = np.zeros(table.num_rows, np.uint64)
    for name in columns:
        column = _plain(table[name])
        null = np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False), bool)
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            # As floats, so that 5 and 5.0 are one value; adding zero makes one of the two zeros.
            floats = pc.fill_null(pc.cast(column, pa.float64(), safe=False), 0.0).to_numpy() + 0.0
            values = np.ascontiguousarray(floats).view(np.uint64)
        else:
            values = _keys(pc.fill_null(pc.cast(column, pa.string()), "")).view(np.uint64)
        keys = splitmix64(keys ^ np.where(null, NO_VALUE, values))
    return keys.view(np.int64)
