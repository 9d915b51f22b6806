"""Cut rows into learning and test rows: pure functions from arrays to a mask that is true on test rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data.errors import SplitError
from data.hashing import unit_share

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "Mask",
    "buffer_before",
    "fold_by_group",
    "fold_randomly",
    "split_by_column",
    "split_by_group",
    "split_by_time",
    "split_randomly",
    "walk_forward",
]

Mask = npt.NDArray[np.bool_]
_Array = npt.NDArray[Any]
_Ints = npt.NDArray[np.int64]


def split_by_time(times: _Array, test_share: float) -> Mask:
    """Put the latest rows to the test.

    Rows of one instant stay together, so the test share can be smaller than asked for, never larger.

    Parameters
    ----------
    times : ndarray of datetime64 or number, shape (n,)
        When each row was known.
    test_share : float
        Share of rows to test on, above 0 and below 1.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    _check_share(test_share)
    _check_times(times)
    ordered = np.sort(times)
    border = ordered[len(times) - int(len(times) * test_share) - 1]
    return _checked(times > border, "time")


def split_by_column(values: _Array, learn: Collection[Any], test: Collection[Any]) -> Mask:
    """Follow a column that says which part a row belongs to.

    Parameters
    ----------
    values : ndarray, shape (n,)
        For example ``"L"`` and ``"T"``.
    learn, test : collection
        Values of either part; together they must cover the column.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    both = set(learn) & set(test)
    if both:
        message = f"Values {sorted(map(str, both))} stand on both sides of the split"
        raise SplitError(message)
    is_test, is_learn = np.isin(values, list(test)), np.isin(values, list(learn))
    neither = ~(is_test | is_learn)
    if neither.any():
        wrong = values[neither][0]
        message = f"{wrong!r} is neither a learning value {list(learn)} nor a test value {list(test)}"
        raise SplitError(message)
    return _checked(is_test, "column")


def split_by_group(keys: _Array, test_share: float, name: str = "split") -> Mask:
    """Put whole groups to the test by a keyed hash of their id, the same ones wherever it is computed.

    Parameters
    ----------
    keys : ndarray of int, shape (n,)
        Group of each row, for example the customer.
    test_share : float
        Share of groups to test on.
    name : str
        Name of the split; another name gives an independent one.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    _check_share(test_share)
    _check_rows(keys)
    if keys.dtype.kind not in "iu":
        message = f"Group keys must be integers, got {keys.dtype}"
        raise SplitError(message)
    return _checked(unit_share(keys, name) < test_share, "group")


def split_randomly(rows: int, test_share: float, seed: int) -> Mask:
    """Put rows to the test at random; only right where rows do not know of each other.

    Parameters
    ----------
    rows : int
        Number of rows.
    test_share : float
        Share of rows to test on; the count is exact up to rounding.
    seed : int
        Seed.

    Returns
    -------
    ndarray of bool, shape (rows,)
    """
    _check_share(test_share)
    mask = np.zeros(rows, np.bool_)
    mask[np.random.default_rng(seed).permutation(rows)[: round(rows * test_share)]] = True
    return _checked(mask, "chance")


def buffer_before(times: _Array, test: Mask, buffer: Any) -> Mask:  # noqa: ANN401 - a span of the times' own kind
    """Mark the rows whose claims were not all reported when the test began.

    Parameters
    ----------
    times : ndarray of datetime64 or number, shape (n,)
        When each row was known.
    test : ndarray of bool, shape (n,)
        Test rows, or rows to validate on.
    buffer : timedelta64 or number
        How long reports take, in the unit of the times.

    Returns
    -------
    ndarray of bool, shape (n,)
        True where ``start - buffer <= time < start``, with the earliest test time as start.
    """
    start = times[test].min()
    return np.asarray((times >= start - buffer) & (times < start), np.bool_)


def walk_forward(times: _Array, k: int) -> _Ints:
    """Cut time into ``k + 1`` blocks of like size: fold i learns before block i and validates on it.

    Parameters
    ----------
    times : ndarray of datetime64 or number, shape (n,)
        When each row was known. Rows of one instant stay together.
    k : int
        Folds, at least 2.

    Returns
    -------
    ndarray of int, shape (n,)
        Block of each row, from 0, which is only learned from, to k.
    """
    _check_folds(k)
    _check_times(times)
    ordered = np.sort(times)
    starts = ordered[[len(times) * i // (k + 1) for i in range(1, k + 1)]]
    return _all_held(np.searchsorted(starts, times, side="right").astype(np.int64), k + 1, "time")


def fold_by_group(keys: _Array, k: int, name: str = "folds") -> _Ints:
    """Put whole groups into one of k folds by a keyed hash of their id.

    Parameters
    ----------
    keys : ndarray of int, shape (n,)
        Group of each row.
    k : int
        Folds, at least 2.
    name : str
        Name of the cut; another name gives an independent one.

    Returns
    -------
    ndarray of int, shape (n,)
        Fold of each row, from 0.
    """
    _check_folds(k)
    _check_rows(keys)
    return _all_held((unit_share(keys, name) * k).astype(np.int64), k, "group")


def fold_randomly(rows: int, k: int, seed: int) -> _Ints:
    """Put rows into one of k folds of equal size at random.

    Parameters
    ----------
    rows : int
        Number of rows.
    k : int
        Folds, at least 2.
    seed : int
        Seed.

    Returns
    -------
    ndarray of int, shape (rows,)
        Fold of each row, from 0.
    """
    _check_folds(k)
    return _all_held(np.random.default_rng(seed).permutation(rows) % k, k, "chance")


def _check_folds(k: int) -> None:
    if k < 2:
        message = f"At least 2 folds are needed, got {k}"
        raise SplitError(message)


def _all_held(folds: _Ints, k: int, by: str) -> _Ints:
    rows = np.bincount(folds, minlength=k)
    if not rows.all():
        message = f"Cutting {len(folds)} rows by {by} leaves parts empty; rows by part: {rows.tolist()}"
        raise SplitError(message)
    return folds


def _check_times(times: _Array) -> None:
    _check_rows(times)
    if np.isnat(times).any() if times.dtype.kind == "M" else np.isnan(times.astype(float)).any():
        message = "A split by time needs a time on every row"
        raise SplitError(message)


def _check_share(share: float) -> None:
    if not 0.0 < share < 1.0:
        message = f"The test share must lie between 0 and 1, got {share}"
        raise SplitError(message)


def _check_rows(values: _Array) -> None:
    if values.ndim != 1 or len(values) == 0:
        message = f"A split needs a filled one-dimensional array, got shape {values.shape}"
        raise SplitError(message)


def _checked(mask: Mask, by: str) -> Mask:
    if mask.all() or not mask.any():
        message = f"The split by {by} puts all {len(mask)} rows on one side"
        raise SplitError(message)
    return mask
