"""Two-way credibility of buyers and shops: who returns more than the goods explain, as known at one moment.

The hazard of order o of buyer b at shop s to come back is

    lambda_o = base(category, size, month) x theta_b x theta_s,      P(returned) = 1 - exp(-lambda_o)

with theta Gamma(alpha, alpha) around 1. Each pass gives every buyer, then every shop, its estimate

    theta_b = (alpha_b + N_b) / (alpha_b + E_b).

In the textbook N_b counts returns and E_b sums base x theta_s over the orders. But an order comes back once,
however many reasons there are, so N_b and E_b are those of the Gamma kernel that touches the likelihood of
theta_b, -theta h for an order kept and log(1 - exp(-theta h)) for one that came back, to second order at the
present estimate: with x = theta h and r = x / (exp(x) - 1), a return adds r (r + x) to N_b, which is 1 when x
is small, and r (r + x - 1) / theta to E_b, which is h / 2. Two more things go wrong in the plain form:

- Multiplying two shrunk estimates leaves the total off; the base is put back in balance in every pass, and at
  the end so that fitted returns equal actual returns in each category.
- The moment estimator of alpha is ruled by giant shops. Alpha is found by likelihood: a unit counts once.

Nothing after the moment is used. An order placed the day before has not had the time to come back: its
hazard is cut to what the share of returns that are known after so many days leaves of it (reverse-time
estimator for what is seen late, the chain ladder day by day).

References
----------
Buhlmann and Gisler, A Course in Credibility Theory and its Applications (2005); Kalbfleisch and Lawless,
Regression models for right truncated data (1991), for the reporting delay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from models.errors import FitError
from models.order_history import LONGEST_DELAY, known_share, sizes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.order_history import OrderHistory

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

VERSION = 1
PASSES = 4
FEWEST_RETURNS = 50
# Units that the likelihood of alpha looks at, taken evenly; more move its third digit only.
MOST_UNITS = 100_000
ALPHA_BOUNDS = (0.05, 500.0)
START_STEPS = 2
BALANCE_STEPS = 2
CHUNK = 1 << 20
# Hazards below this are the limit of lambda / (1 - exp(-lambda)), which is 1.
TINY = 1e-9
# Orders of whose returns more than this share is known are not young any more.
SEEN = 0.999


@dataclass(frozen=True, eq=False)
class Frailties:
    """Credibility estimates of one side.

    Attributes
    ----------
    ids
        Rising, shape (n,).
    frailty
        Estimate, 1 for the average; shape (n,).
    returns
        Known returns, shape (n,).
    expected
        Hazard of the average unit in their place that the estimate rests on, shape (n,); the estimate goes
        the share expected / (alpha + expected) of the way from 1 to what the orders say.
    alpha
        Shape of the Gamma distribution between units: small when they differ much.
    """

    ids: Ints
    frailty: Floats
    returns: Floats
    expected: Floats
    alpha: float


@dataclass(frozen=True, eq=False)
class TwoWay:
    """A fit as of one moment.

    Attributes
    ----------
    buyers, shops
        Estimates of the two sides.
    category_hazard
        Hazard of an order of the average buyer at the average shop, by category.
    size_effect
        Factor by size of the order (see `OrderHistory.size`).
    month_effect
        Factor by month of the order, 1 on average.
    known_share
        Share of returns known so many whole days after the order, shape (LONGEST_DELAY + 1,).
    balance
        Actual over fitted returns, by category.
    """

    buyers: Frailties
    shops: Frailties
    category_hazard: dict[str, float]
    size_effect: dict[int, float]
    month_effect: dict[int, float]
    known_share: Floats
    balance: dict[str, float]

    def probability(
        self,
        category: NDArray[np.object_],
        amount_minor: Ints,
        buyer: Floats,
        shop: Floats,
        month: int | None = None,
    ) -> Floats:
        """Give the probability that an order comes back.

        Parameters
        ----------
        category, amount_minor
            Of the orders, shape (n,); a category never seen counts as the average one.
        buyer, shop
            Frailties, shape (n,); NaN (no record) counts as 1.
        month
            Month of the orders since year 0; its season is that of the same month a year before. An average
            month when absent.
        """
        season = 1.0 if month is None else self.month_effect.get(month - 12, 1.0)
        middle = float(np.mean(list(self.category_hazard.values())))
        base = pd.Series(category).map(self.category_hazard).fillna(middle).to_numpy(np.float64)
        low, high = min(self.size_effect), max(self.size_effect)
        effects = np.array([self.size_effect[size] for size in range(low, high + 1)])
        size = np.clip(sizes_of(amount_minor), low, high) - low
        frailty = np.nan_to_num(buyer, nan=1.0) * np.nan_to_num(shop, nan=1.0)
        return np.asarray(-np.expm1(-season * base * effects[size] * frailty))


def fit_two_way(orders: OrderHistory, passes: int = PASSES) -> TwoWay:
    """Fit frailties of buyers and shops.

    Parameters
    ----------
    orders
        Orders before the moment.
    passes
        Passes over buyers, shops and base.

    Raises
    ------
    FitError
        If too few returns are known.
    """
    back = np.flatnonzero(orders.delay >= 0)
    if len(back) < FEWEST_RETURNS:
        raise FitError(
            f"{len(orders.delay)} orders hold {len(back)} returns; at least {FEWEST_RETURNS} are needed"
        )
    share = known_share(orders.age, orders.delay)
    base = _Base(orders, share, back)
    fit = _Fit(orders, base, back)
    for number in range(passes):
        fit.improve(find_alpha=number > 0)
    balance = fit.balance()
    hazards, sizes, months = base.effects()
    return TwoWay(
        _side(orders.customers, orders.customer, back, fit.buyer),
        _side(orders.sellers, orders.seller, back, fit.shop),
        dict(zip(orders.categories, hazards, strict=True)),
        sizes,
        months,
        share,
        dict(zip(orders.categories, balance, strict=True)),
    )


class _Base:
    """Hazards without frailties: category x size x month, and the exposure of young orders."""

    def __init__(self, orders: OrderHistory, share: Floats, back: Ints) -> None:
        sizes = np.sort(orders.size)
        # Rare sizes join the next common one, so that no factor rests on a handful of orders.
        self.low, self.high = int(sizes[len(sizes) // 100]), int(sizes[-1 - len(sizes) // 100])
        self.first = int(orders.month.min())
        self.shape = (
            len(orders.categories),
            self.high - self.low + 1,
            int(orders.month.max()) - self.first + 1,
        )
        size = np.clip(orders.size, self.low, self.high) - self.low
        cell = orders.category.astype(np.int64) * self.shape[1] + size
        self.cell = cell * self.shape[2] + (orders.month - self.first)
        self.exposure = share[np.minimum(orders.age, LONGEST_DELAY)]
        self.young = np.flatnonzero(self.exposure < SEEN)
        self.share = self.exposure[self.young]
        self.margins = [np.ones(length) for length in self.shape]
        self.margins[0] = np.full(self.shape[0], len(back) / self.exposure.sum())

    def hazard(self) -> Floats:
        """Give the base hazard of each order, shape (n,)."""
        return np.asarray(self._table().ravel()[self.cell] * self.exposure)

    def see_late(self, frailty: Floats) -> None:
        """Set the exposure of young orders, so that 1 - exp(-hazard) is the probability of a known return.

        It is the share of known returns where the hazard is small, and less where it is large.
        """
        whole = np.maximum(self._table().ravel()[self.cell[self.young]] * frailty, TINY)
        self.exposure[self.young] = -np.log1p(np.expm1(-whole) * self.share) / whole

    def _table(self) -> Floats:
        one, two, three = self.margins
        return np.asarray(one[:, None, None] * two[None, :, None] * three[None, None, :])

    def rebalance(self, actual: Floats, fitted: Floats) -> None:
        """Move the factors so that each category, size and month adds up, one kind after the other."""
        actual, fitted = actual.reshape(self.shape), fitted.reshape(self.shape).copy()
        for axis in (2, 1, 0):
            others = tuple(i for i in range(3) if i != axis)
            wanted, found = actual.sum(axis=others), fitted.sum(axis=others)
            ratio = np.where((wanted > 0) & (found > 0), wanted / np.maximum(found, TINY), 1.0)
            self.margins[axis] = self.margins[axis] * ratio
            fitted *= ratio.reshape([-1 if i == axis else 1 for i in range(3)])

    def scale_categories(self, factors: Floats) -> None:
        """Multiply the hazards of each category."""
        self.margins[0] = self.margins[0] * factors

    def effects(self) -> tuple[list[float], dict[int, float], dict[int, float]]:
        """Give category hazards and the factors of size and month, these of mean 1 over orders."""
        counts = np.bincount(self.cell, self.exposure, minlength=int(np.prod(self.shape))).reshape(self.shape)
        one, two, three = self.margins
        size = float(np.average(two, weights=counts.sum(axis=(0, 2))))
        month = float(np.average(three, weights=counts.sum(axis=(0, 1))))
        return (
            [float(value) for value in one * size * month],
            {self.low + i: float(value / size) for i, value in enumerate(two)},
            {self.first + i: float(value / month) for i, value in enumerate(three)},
        )


@dataclass(eq=False)
class _Units:
    """Estimates of one side while they are being fitted."""

    frailty: Floats
    reasons: Floats
    expected: Floats
    alpha: float = 2.0

    @classmethod
    def average(cls, size: int) -> _Units:
        return cls(np.ones(size), np.zeros(size), np.zeros(size))


class _Fit:
    def __init__(self, orders: OrderHistory, base: _Base, back: Ints) -> None:
        self.orders, self.base, self.back = orders, base, back
        self.buyer = _Units.average(len(orders.customers))
        self.shop = _Units.average(len(orders.sellers))
        kinds = len(orders.categories)
        counts = np.bincount(orders.seller * kinds + orders.category, minlength=len(orders.sellers) * kinds)
        counts = counts.reshape(-1, kinds).astype(np.float64)
        self.mix = counts / counts.sum(axis=1, keepdims=True)
        self.hazard = base.hazard()
        # A shop sells one kind of goods or few: what belongs to the goods must not be taken for the shop's.
        for _ in range(START_STEPS):
            self._rebalance()

    def improve(self, *, find_alpha: bool) -> None:
        """Go once over buyers, shops and base."""
        customer, seller = self.orders.customer, self.orders.seller
        for units, own, other, others in (
            (self.buyer, customer, self.shop, seller),
            (self.shop, seller, self.buyer, customer),
        ):
            size = len(units.frailty)
            x = np.maximum(self._hazards(self.back), TINY)
            r = x / np.expm1(x)
            mine = own[self.back]
            units.reasons = _sums(mine, r * (r + x), size)
            units.expected = _weighted_count(own, self.hazard, other.frailty, others, size)
            units.expected += _sums(mine, r * (r + x - 1.0) - x, size) / units.frailty
            if find_alpha:
                units.alpha = gamma_shape(units.reasons, units.expected)
            units.frailty = (units.alpha + units.reasons) / (units.alpha + units.expected)
        self._centre()
        self._rebalance()

    def _centre(self) -> None:
        """Give frailties the mean 1 that their distribution has, buyers over all, shops within their goods.

        The base takes up the rest. Left alone, the passes would get there, but only after dozens of them.
        """
        mean = float(self.buyer.frailty.mean())
        self.buyer.frailty = self.buyer.frailty / mean
        goods = (self.mix * self.shop.frailty[:, None]).sum(axis=0) / self.mix.sum(axis=0)
        self.shop.frailty = self.shop.frailty / (self.mix @ goods)
        self.base.scale_categories(mean * goods)
        self.hazard = self.base.hazard()

    def _rebalance(self) -> None:
        cells = int(np.prod(self.base.shape))
        actual = _sums(self.base.cell[self.back], self._reasons(), cells)
        fitted = np.zeros(cells)
        for part in _parts(len(self.hazard)):
            fitted += np.bincount(self.base.cell[part], self._hazards(part), minlength=cells)
        self.base.rebalance(actual, fitted)
        young = self.base.young
        self.base.see_late(
            self.buyer.frailty[self.orders.customer[young]] * self.shop.frailty[self.orders.seller[young]]
        )
        self.hazard = self.base.hazard()

    def balance(self) -> Floats:
        """Scale each category until fitted returns are actual returns; give actual over fitted."""
        categories = len(self.orders.categories)
        actual = np.bincount(self.orders.category[self.back], minlength=categories).astype(np.float64)
        for step in range(BALANCE_STEPS + 1):
            fitted, slope = np.zeros(categories), np.zeros(categories)
            for part in _parts(len(self.orders.category)):
                hazard = self._hazards(part)
                kept = np.exp(-hazard)
                which = self.orders.category[part]
                fitted += np.bincount(which, 1.0 - kept, minlength=categories)
                slope += np.bincount(which, hazard * kept, minlength=categories)
            if step < BALANCE_STEPS:
                # Newton's step in the factor; a category without returns keeps its small hazard.
                factor = 1.0 + np.where(actual > 0, (actual - fitted) / np.maximum(slope, TINY), 0.0)
                self.base.scale_categories(np.clip(factor, 0.5, 2.0))
                self.hazard = self.base.hazard()
        return np.asarray(actual / np.maximum(fitted, TINY))

    def _hazards(self, part: slice | Ints) -> Floats:
        orders = self.orders
        frailty = self.buyer.frailty[orders.customer[part]] * self.shop.frailty[orders.seller[part]]
        return np.asarray(frailty * self.hazard[part])

    def _reasons(self) -> Floats:
        """Give the expected number of reasons behind each known return."""
        hazard = np.maximum(self._hazards(self.back), TINY)
        return np.asarray(hazard / -np.expm1(-hazard))


def gamma_shape(counts: Floats, expected: Floats) -> float:
    """Find the shape of a Gamma frailty of mean 1 by negative binomial likelihood: every unit counts once.

    Parameters
    ----------
    counts, expected
        By unit, shape (n,): Poisson(expected x theta) given theta.
    """
    step = -(-len(counts) // MOST_UNITS)
    y, e = counts[::step], expected[::step]
    y, e = y[e > 0], e[e > 0]

    def loss(log_alpha: float) -> float:
        a = float(np.exp(log_alpha))
        each = gammaln(y + a) - gammaln(a) + a * np.log(a) - (a + y) * np.log(a + e)
        return -float(each.mean())

    low, high = np.log(ALPHA_BOUNDS)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def _sums(codes: Ints, values: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(codes, values, minlength=size), dtype=np.float64)


def _parts(size: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, size, CHUNK)]


def _weighted_count(own: Ints, hazard: Floats, frailty: Floats, others: Ints, size: int) -> Floats:
    total = np.zeros(size)
    for part in _parts(len(own)):
        total += np.bincount(own[part], hazard[part] * frailty[others[part]], minlength=size)
    return total


def _side(ids: Ints, codes: Ints, back: Ints, units: _Units) -> Frailties:
    returns = np.bincount(codes[back], minlength=len(ids)).astype(np.float64)
    return Frailties(ids, units.frailty, returns, units.expected, units.alpha)
