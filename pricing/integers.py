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
    quotient, rest = divmod(numerator, denominator)
    return quotient + ((2 * rest + (quotient & 1)) > denominator)


def multiply_divide(value: Integers, numerator: Integers, denominator: int) -> Integers:
    """Multiply by a fraction and round to the nearest integer, ties to even; the product may exceed 64 bits.

    Parameters
    ----------
    value
        Integer or array of integers of any sign.
    numerator, denominator
        Fraction, the numerator an integer or of the shape of `value`; the denominator is positive, and
        `numerator * denominator` as well as the result fit in int64.

    Returns
    -------
    int or ndarray
        Of the shape of `value`.
    """
    if isinstance(value, int) and isinstance(numerator, int):  # Python's integers have no 64 bits to exceed
        exact, left = divmod(value * numerator, denominator)
        return exact + ((2 * left + (exact & 1)) > denominator)
    whole, rest = divmod(value, denominator)
    quotient, rest = divmod(rest * numerator, denominator)
    quotient = quotient + whole * numerator
    return quotient + ((2 * rest + (quotient & 1)) > denominator)


def divide_half_up(numerator: Integers, denominator: int) -> Integers:
    """Divide and round to the nearest integer, ties upwards."""
    return (2 * numerator + denominator) // (2 * denominator)


def divide_up(numerator: Integers, denominator: int) -> Integers:
    """Divide and round towards plus infinity."""
    return -((-numerator) // denominator)


ROUNDING = {"half_even": divide_half_even, "half_up": divide_half_up, "up": divide_up}


def at_least(value: Integers, floor: Integers) -> Integers:
    """Give the larger of a value and a floor."""
    if isinstance(value, int) and isinstance(floor, int):
        return value if value > floor else floor  # quicker than `max`, which every price needs ten times
    return np.maximum(value, floor)


def at_most(value: Integers, ceiling: Integers) -> Integers:
    """Give the smaller of a value and a ceiling."""
    if isinstance(value, int) and isinstance(ceiling, int):
        return value if value < ceiling else ceiling
    return np.minimum(value, ceiling)


def choose(condition: bool | NDArray[np.bool_], this: Integers, that: Integers) -> Integers:
    """Give one value where a condition holds and another where it does not."""
    if isinstance(condition, bool):
        return this if condition else that
    return np.where(condition, this, that)
