"""From raw scores to rates and probabilities, with the same bits for one row and for a batch.

`math.exp` and `numpy.exp` may differ in the last bit, and each may differ between processors. A price that
the API and the batch must agree on cannot rest on that, so the exponential is spelt out here in additions and
multiplications, which IEEE 754 fixes. The largest error is one unit in the last place.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Link = Literal["log", "logit"]

LIMIT = 700.0
CHUNK = 8192
# ln 2 in two parts: the first has trailing zeros, so k * LN2_HIGH is exact (fdlibm, e_exp.c).
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
INVERSE_LN2 = 1.44269504088896338700e00
TAYLOR = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))
_EXPONENTS = np.array([math.ldexp(1.0, k) for k in range(-1012, 1013)])


def exp_one(x: float) -> float:
    """Exponential of one float, bit-equal to `exp_array`."""
    x = min(max(x, -LIMIT), LIMIT)
    k = round(x * INVERSE_LN2)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    total = TAYLOR[0]
    for coefficient in TAYLOR[1:]:
        total = total * r + coefficient
    return total * math.ldexp(1.0, k)


def exp_array(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential of an array, bit-equal to `exp_one`.

    Parameters
    ----------
    x
        Raw scores, shape (n,); values beyond +-700 are held there.
    """
    out = np.empty(len(x))
    for start in range(0, len(x), CHUNK):
        part = np.clip(x[start : start + CHUNK], -LIMIT, LIMIT)
        k = np.rint(part * INVERSE_LN2)
        r = (part - k * LN2_HIGH) - k * LN2_LOW
        total = np.full(len(part), TAYLOR[0])
        for coefficient in TAYLOR[1:]:
            total *= r
            total += coefficient
        total *= _EXPONENTS.take(k.astype(np.int64) + 1012)
        out[start : start + CHUNK] = total
    return out


def respond(raw: NDArray[np.float64], link: Link) -> NDArray[np.float64]:
    """Turn raw scores into rates (`log`) or probabilities (`logit`)."""
    if link == "log":
        return exp_array(raw)
    return 1.0 / (1.0 + exp_array(-raw))


def respond_one(raw: float, link: Link) -> float:
    """Turn one raw score into a rate or a probability, bit-equal to `respond`."""
    if link == "log":
        return exp_one(raw)
    return 1.0 / (1.0 + exp_one(-raw))
