"""Exact arithmetic on integers, written once for a Python int and for a numpy int64 array."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Integers: TypeAlias = "int | NDArray[np.int64]"


def divide_half_even(numerator: Integers, denominator: int) -> Integers:
    """Divide and round to the nearest integer, ties to even.

    Parameters
    ----------
    numerator
        Integer or array of integers of any sign.
    denominator
        Positive integer.

    Returns
    -------
    int or ndarray
        Of the shape of `numerator`.
    """
    quotient = numerator // denominator
    twice = 2 * (numerator - quotient * denominator)
    return quotient + ((twice > denominator) | ((twice == denominator) & (quotient % 2 == 1)))


def divide_half_up(numerator: Integers, denominator: int) -> Integers:
    """Divide and round to the nearest integer, ties upwards."""
    return (2 * numerator + denominator) // (2 * denominator)


def divide_up(numerator: Integers, denominator: int) -> Integers:
    """Divide and round towards plus infinity."""
    return -((-numerator) // denominator)


ROUNDING = {"half_even": divide_half_even, "half_up": divide_half_up, "up": divide_up}


def at_least(value: Integers, floor: int) -> Integers:
    """Give the larger of a value and a floor."""
    if isinstance(value, np.ndarray):
        return np.maximum(value, floor)
    return max(value, floor)
