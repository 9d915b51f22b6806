r"""Bonus-malus scales: where customers come to stand, and the relativity of each class (Norberg 1976).

A customer of frequency :math:`\lambda\theta` moves from class to class by the number of claims of a year. In
the long run classes are held with :math:`\pi_l(\lambda\theta)`, and the relativity that predicts best is

.. math:: r_l = E[\Theta \, \pi_l(\lambda\Theta)] / E[\pi_l(\lambda\Theta)], \quad \Theta \sim Gamma(a, a),

with expectations over the customers' frequencies too.

References
----------
Denuit, Marechal, Pitrebois and Walhin, Actuarial Modelling of Claim Counts (2007), ch. 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import roots_genlaguerre

from pricing.errors import ExperienceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

NODES = 64


@dataclass(frozen=True)
class BonusMalusScale:
    """Classes from 0 (best) upwards, and how claims move a customer.

    Attributes
    ----------
    classes
        Number of classes.
    start
        Class of a new customer.
    down
        Classes that a year without claims moves down.
    up
        Classes that each claim moves up; a number as large as `classes` sends to the top.
    """

    classes: int
    start: int
    down: int = 1
    up: int = 2

    def __post_init__(self) -> None:
        """Refuse a scale that cannot be.

        Raises
        ------
        ExperienceError
            If a figure is out of range.
        """
        if self.classes < 2 or not 0 <= self.start < self.classes or self.down < 1 or self.up < 1:
            raise ExperienceError(
                f"no scale has {self.classes} classes from {self.start} on, {self.down} down, {self.up} up; "
                "allowed: at least 2 classes, a start among them, at least 1 down and 1 up"
            )

    def after(self, place: int, claims: int) -> int:
        """Give the class after a year with so many claims."""
        if claims == 0:
            return max(place - self.down, 0)
        return min(place + self.up * claims, self.classes - 1)

    def transitions(self, frequency: float) -> Array:
        """Give the probability of each move, shape (classes, classes), of a customer of that frequency."""
        top = self.classes - 1
        most = math.ceil(self.classes / self.up)
        chance = [math.exp(-frequency) * frequency**n / math.factorial(n) for n in range(most)]
        out = np.zeros((self.classes, self.classes))
        for place in range(self.classes):
            for claims, probability in enumerate(chance):
                out[place, self.after(place, claims)] += probability
            out[place, top] += 1.0 - sum(chance)
        return out

    def stationary(self, frequency: float) -> Array:
        """Give the shares of classes in the long run, shape (classes,)."""
        moves = self.transitions(frequency)
        system = np.vstack([moves.T - np.eye(self.classes), np.ones(self.classes)])
        target = np.append(np.zeros(self.classes), 1.0)
        found = np.linalg.lstsq(system, target, rcond=None)[0]
        return np.asarray(np.clip(found, 0.0, None) / np.clip(found, 0.0, None).sum())

    def relativities(self, shape: float, frequencies: Sequence[float], weights: Sequence[float]) -> Array:
        """Give Norberg's relativity of each class, shape (classes,).

        Parameters
        ----------
        shape
            Of the gamma distribution of risks around 1.
        frequencies, weights
            Tariff frequencies of the book and how much of it has each.

        Raises
        ------
        ExperienceError
            If the shape, a frequency or a weight is not positive.
        """
        if not (math.isfinite(shape) and shape > 0):
            raise ExperienceError(f"shape is {shape!r}; allowed: above 0")
        if len(frequencies) != len(weights) or not frequencies or min(*frequencies, *weights, 1.0) <= 0:
            raise ExperienceError("frequencies and weights must be positive, one weight a frequency")
        nodes, mass = roots_genlaguerre(NODES, shape - 1.0)
        risks, mass = nodes / shape, mass / mass.sum()
        above, below = np.zeros(self.classes), np.zeros(self.classes)
        for frequency, weight in zip(frequencies, weights, strict=True):
            for risk, share in zip(risks, mass, strict=True):
                if share < 1e-15:
                    continue
                held = self.stationary(float(frequency * risk))
                above += weight * share * risk * held
                below += weight * share * held
        return np.asarray(above / below)
