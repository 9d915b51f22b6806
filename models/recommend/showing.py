"""Which offers a customer sees, and with which chance: a list of a ranking, or eligible products at random.

What is shown is drawn by keyed hashes of the customer, so asking again on the same day gives the same. The
chances stored with it are those over all hashes: a mixture of the lists that could have been shown, each with
its chance, and of all orders of the eligible products alike. Another ranking is valued by them
(`models.recommend.off_policy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from models.errors import RecommendationError
from pricing.experiments.assignment import place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

Source = Literal["ranker", "popularity", "random", "nothing", "general"]
PLACES = 2**53


@dataclass(frozen=True)
class Chances:
    """What could have been shown to one customer.

    Attributes
    ----------
    eligible
        Codes that may be offered, sorted.
    places
        Most offers.
    random
        Chance that the order is random.
    lists
        Ranking, its chance and its codes, best first, of each list that could be shown; with `random` the
        chances add up to 1.
    """

    eligible: tuple[str, ...]
    places: int
    random: float
    lists: tuple[tuple[str, float, tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        """Refuse chances that cannot be.

        Raises
        ------
        RecommendationError
            Naming them.
        """
        chances = [self.random, *(chance for _, chance, _ in self.lists)]
        if min(chances) < 0 or abs(sum(chances) - 1.0) > 1e-9:
            raise RecommendationError(f"the chances {chances} are not negative and add up to 1")
        strange = {code for _, _, codes in self.lists for code in codes} - set(self.eligible)
        if strange or any(len(codes) > self.places for _, _, codes in self.lists):
            raise RecommendationError(
                f"a list holds at most {self.places} of the eligible products, not {sorted(strange)}"
            )

    def of(self, code: str, at: int) -> float:
        """Give the chance of a product to stand at a place, 0 the first."""
        own = sum(chance for _, chance, codes in self.lists if codes[at : at + 1] == (code,))
        if code in self.eligible and at < min(self.places, len(self.eligible)):
            own += self.random / len(self.eligible)
        return own


@dataclass(frozen=True)
class Exposure:
    """One answer to who asked which products suit a customer.

    Attributes
    ----------
    exposure_id, at
        Identity, and when; UTC without zone.
    customer_id
        Whom; None where the customer has opted out of profiling.
    channel, sandbox
        Who asked, and whether only to try.
    source
        Where the order came from.
    shown
        Codes as answered, best first.
    chances
        What could have been shown; None where nothing was drawn (who has opted out).
    test, test_hash, arm
        Offer test that ran, content of its file, and the customer's arm; None without one.
    model, rates
        Checksum of the propensities, and moment of the purchase rates, that made the lists; None without.
    scene, context
        As asked.
    """

    exposure_id: str
    at: datetime
    customer_id: int | None
    channel: str | None
    sandbox: bool
    source: Source
    shown: tuple[str, ...]
    chances: Chances | None
    test: str | None = None
    test_hash: str | None = None
    arm: str | None = None
    model: str | None = None
    rates: str | None = None
    scene: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give what is stored, without customer, id and time, which have columns of their own."""
        found = self.chances
        return {
            "channel": self.channel,
            "sandbox": self.sandbox,
            "source": self.source,
            "shown": [[code, found.of(code, at) if found else None] for at, code in enumerate(self.shown)],
            "eligible": list(found.eligible) if found else None,
            "places": found.places if found else None,
            "random": found.random if found else None,
            "lists": [[name, chance, list(codes)] for name, chance, codes in found.lists] if found else None,
            "test": self.test,
            "test_hash": self.test_hash,
            "arm": self.arm,
            "model": self.model,
            "rates": self.rates,
            "scene": self.scene,
        }

    @classmethod
    def from_json(
        cls, exposure_id: str, at: datetime, customer_id: int | None, content: Mapping[str, Any]
    ) -> Exposure:
        """Read what `to_json` gave."""
        chances = None
        if content["eligible"] is not None:
            lists = tuple((name, float(chance), tuple(codes)) for name, chance, codes in content["lists"])
            chances = Chances(tuple(content["eligible"]), content["places"], content["random"], lists)
        kept = ("channel", "sandbox", "source", "test", "test_hash", "arm", "model", "rates", "scene")
        return cls(
            exposure_id=exposure_id,
            at=at,
            customer_id=customer_id,
            shown=tuple(code for code, _ in content["shown"]),
            chances=chances,
            **{name: content[name] for name in kept},
        )


def is_random(customer: int, day: date, share: float) -> bool:
    """Tell whether a customer sees a random order on a day."""
    return int(place(customer, f"offers {day}")) < share * PLACES


def random_order(customer: int, day: date, codes: Sequence[str]) -> list[str]:
    """Give products in the random order of a customer and a day."""
    return sorted(codes, key=lambda code: int(place(customer, f"offers {day} {code}")))


def mixed(
    eligible: Sequence[str],
    places: int,
    random: float,
    lists: Mapping[str, Sequence[str]],
    arms: Mapping[str, float],
) -> Chances:
    """Give the chances of what is shown, over all hashes.

    Parameters
    ----------
    eligible, places
        Codes that may be offered, and most offers.
    random
        Share of customers and days with a random order.
    lists
        Codes by ranking: `ranker`, and `popularity` where a test has that arm.
    arms
        Shares of the arms, 1 in all; those that are not in `lists` offer nothing, and nothing random.
    """
    found = tuple(
        (arm, (1.0 - random) * share, tuple(lists[arm])) if arm in lists else (arm, share, ())
        for arm, share in arms.items()
    )
    return Chances(tuple(sorted(eligible)), places, max(1.0 - sum(one[1] for one in found), 0.0), found)
