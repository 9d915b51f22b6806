"""What a solution leaves for the live quote: prices of the constraints, so that a quote is one argmax."""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pricing.errors import BookError, nearest
from pricing.plan import MILLION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pricing.optimiser.book import Book
    from pricing.optimiser.constraints import Constraint
    from pricing.optimiser.solve import Mode, Solution

FORMAT = "premia-price-policy-1"
# See `steps_between`: a bound that is met exactly must not fail by the last bit.
SLACK = 1e-12


@dataclass(frozen=True)
class PricePolicy:
    """How a quote chooses its multiplier, with the same bounds as the book.

    Attributes
    ----------
    mode
        `cost_only`, `group` or `individual`.
    multipliers
        Ladder, ascending.
    segments
        Names, in the order of the weights.
    volume, cost, premium, quoted
        By segment, prices of all constraints times their weights of these totals: what one policy sold, one
        unit of cost, of premium and of quoted premium is worth beyond its profit (individual prices).
    group_steps
        Step of each segment (group prices).
    segment_by
        Rating factor whose levels are the segments; empty when there is one segment.
    product, product_hash
        Product file that it was made for; empty when it was made in a notebook.
    demand
        Demand model that individual prices need, as its room stores it; None for the others.
    """

    mode: Mode
    multipliers: tuple[float, ...]
    segments: tuple[str, ...]
    volume: tuple[float, ...] = ()
    cost: tuple[float, ...] = ()
    premium: tuple[float, ...] = ()
    quoted: tuple[float, ...] = ()
    group_steps: tuple[int, ...] = ()
    segment_by: str = ""
    product: str = ""
    product_hash: str = ""
    demand: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        book: Book,
        constraints: Sequence[Constraint],
        solution: Solution,
        **made_for: Any,  # noqa: ANN401 - the fields from `segment_by` on
    ) -> PricePolicy:
        """Keep what a solution found for risks that were not in its book."""

        def worth(field: str) -> tuple[float, ...]:
            return tuple(
                math.fsum(
                    solution.shadow_prices[one.name] * getattr(one, field)
                    for one in constraints
                    if one.segment in (None, segment)
                )
                for segment in book.segments
            )

        multipliers = tuple(float(m) for m in book.multipliers)
        if solution.mode != "individual":
            return cls(
                solution.mode, multipliers, book.segments, group_steps=solution.group_steps, **made_for
            )
        return cls(
            "individual",
            multipliers,
            book.segments,
            worth("volume"),
            worth("cost"),
            worth("premium"),
            worth("quoted"),
            **made_for,
        )

    @cached_property
    def micros(self) -> tuple[int, ...]:
        """Multipliers in millionths, as the ladder of a price takes them."""
        return tuple(round(one * MILLION) for one in self.multipliers)

    @property
    def needs_demand(self) -> bool:
        """Whether a quote must know the probabilities of acceptance."""
        return self.mode == "individual"

    def step(
        self,
        base: float,
        lowest: float,
        highest: float,
        *,
        segment: str | None = None,
        cost: float = 0.0,
        kept: float = 1.0,
        accept: Sequence[float] = (),
    ) -> int:
        """Choose the step of one risk.

        Parameters
        ----------
        base, lowest, highest
            Base price and its bounds (corridor, renewal cap, equivalent new business), minor units.
        segment
            Name of its segment; not needed for cost-only prices.
        cost, kept, accept
            As in `Book`, for individual prices: `accept` has one probability a step.

        Raises
        ------
        BookError
            If no step lies within the bounds, the segment is unknown or `accept` does not fit.
        """
        low = bisect_left(self.multipliers, lowest / base * (1.0 - SLACK))
        high = bisect_right(self.multipliers, highest / base * (1.0 + SLACK)) - 1
        if low > high:
            raise BookError(
                [f"no price of the ladder lies between {lowest:,.2f} and {highest:,.2f} (base {base:,.2f})"]
            )
        if self.mode == "cost_only":
            neutral = min(range(len(self.multipliers)), key=lambda j: (abs(self.multipliers[j] - 1.0), j))
            return min(max(neutral, low), high)
        place = self._place(segment)
        if self.mode == "group":
            return min(max(self.group_steps[place], low), high)
        if len(accept) != len(self.multipliers):
            raise BookError([f"{len(accept)} probabilities for {len(self.multipliers)} steps"])
        a = self.volume[place] + self.cost[place] * cost - cost
        b = self.premium[place] * base + kept * base
        c = self.quoted[place] * base
        scores = [
            accept[j] * (a + b * self.multipliers[j]) + c * self.multipliers[j] for j in range(low, high + 1)
        ]
        return low + scores.index(max(scores))

    def _place(self, segment: str | None) -> int:
        if segment not in self.segments:
            hint = nearest(segment, self.segments) if segment is not None else ""
            raise BookError([f"segment {segment!r} is unknown ({hint or ', '.join(self.segments[:5])})"])
        return self.segments.index(segment)

    def to_json(self) -> str:
        """Give the policy as JSON with a checksum."""
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        text = json.dumps(content, sort_keys=True)
        return json.dumps(
            {"format": FORMAT, "sha256": hashlib.sha256(text.encode()).hexdigest(), "policy": content}
        )

    @classmethod
    def from_json(cls, text: str) -> PricePolicy:
        """Read what `to_json` wrote.

        Raises
        ------
        BookError
            If the format is unknown or the checksum does not fit.
        """
        try:
            stored: Mapping[str, object] = json.loads(text)
        except json.JSONDecodeError as error:
            raise BookError([f"the price policy is not JSON: {error}"]) from error
        content = stored.get("policy")
        if stored.get("format") != FORMAT or not isinstance(content, dict):
            raise BookError([f"format {stored.get('format')!r} is unknown; allowed: {FORMAT}"])
        found = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        if found != stored.get("sha256"):
            raise BookError(["the price policy was changed after it was written: its checksum does not fit"])
        lists = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
        try:
            return cls(**lists)  # type: ignore[arg-type]
        except TypeError as error:
            raise BookError([f"the price policy has other fields than it should: {error}"]) from error
