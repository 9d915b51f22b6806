"""Estimates from logged offers hit the value that the new ranking really has."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from models.errors import RecommendationError
from models.recommend.evaluation import LoggedOffers, evaluate, everything_random
from models.recommend.evaluation_picture import evaluation_figure
from models.recommend.off_policy import OfferLog, Target
from models.recommend.showing import Chances, Exposure, is_random, mixed, random_order

DAY = dt.datetime(2026, 3, 1, 12)  # noqa: DTZ001 - naive UTC
CODES = ("accident", "flight", "medical", "motor", "screen")
SHARE, PLACES = 0.2, 3
ARMS = {"ranker": 0.6, "popularity": 0.3, "nothing": 0.1}
POSITION = np.array([1.0, 0.7, 0.5])


class Market:
    """Customers who take an offer with a known chance by product and place."""

    def __init__(self, n: int, seed: int, *, days: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.taste = 0.05 + 0.35 * rng.random((n, len(CODES))) * (np.arange(5) + 1) / 5
        self.eligible = rng.random(self.taste.shape) < 0.7
        self.eligible[:, 0] = True
        noisy = self.taste + rng.normal(0, 0.1, self.taste.shape)
        self.lists = [self.best(row, noisy[row]) for row in range(n)]
        self.days = days
        self.rng = rng

    def best(self, row: int, scores: np.ndarray) -> tuple[str, ...]:
        open_ = np.flatnonzero(self.eligible[row])
        return tuple(CODES[at] for at in open_[np.argsort(-scores[open_])][:PLACES])

    def popular(self, row: int) -> tuple[str, ...]:
        return self.best(row, -np.arange(5.0))

    def log(self) -> tuple[list[Exposure], pd.DataFrame]:
        """Show by the hashes and draw what is taken."""
        exposures, bought = [], []
        for row, ranked in enumerate(self.lists):
            arm = list(ARMS)[int((self.rng.random() > np.cumsum(list(ARMS.values()))).sum())]
            eligible = [code for at, code in enumerate(CODES) if self.eligible[row, at]]
            lists = {"ranker": ranked, "popularity": self.popular(row)}
            for later in range(self.days):
                at = DAY + dt.timedelta(days=later)
                shown = lists.get(arm, ())
                random = arm != "nothing" and is_random(row, at.date(), SHARE)
                if random:
                    shown = tuple(random_order(row, at.date(), eligible)[:PLACES])
                one = Exposure(
                    exposure_id=f"{row}-{later}",
                    at=at,
                    customer_id=row,
                    channel="direct",
                    sandbox=False,
                    source="random" if random else arm,
                    shown=shown,
                    chances=mixed(eligible, PLACES, SHARE, lists, ARMS),
                )
                exposures.append(Exposure.from_json(one.exposure_id, at, row, one.to_json()))
                for place, code in enumerate(shown):
                    if self.rng.random() < self.taste[row, CODES.index(code)] * POSITION[place]:
                        bought.append((one.exposure_id, row, code, 100.0 * (CODES.index(code) + 1)))
        frame = pd.DataFrame(bought, columns=["exposure_id", "customer_id", "product", "margin"])
        return exposures, frame

    def value(self, lists: list[tuple[str, ...]]) -> float:
        chances = [
            self.taste[row, CODES.index(code)] * POSITION[place]
            for row, codes in enumerate(lists)
            for place, code in enumerate(codes)
        ]
        return float(np.sum(chances)) / len(lists)


def test_every_estimator_covers_the_truth_of_another_ranking():
    market = Market(20_000, 1)
    exposures, bought = market.log()
    offers = LoggedOffers.of(exposures)
    rewards = offers.rewards(bought)
    assert rewards["take_up"].sum() == len(bought)
    assert rewards["margin"].sum() == bought["margin"].sum()
    oracle = [market.best(row, market.taste[row]) for row in range(20_000)]
    truths = {
        "oracle": market.value(oracle),
        "ranker": market.value(market.lists),
        "popularity": market.value([market.popular(row) for row in range(20_000)]),
    }
    targets = {
        "oracle": Target(offers.orders(oracle)),
        "ranker": Target(offers.ranker()),
        "popularity": Target(offers.orders([market.popular(row) for row in range(20_000)])),
        "random": everything_random(offers),
    }
    found = evaluate(offers, rewards, targets)
    take_up = found.table[found.table["measure"] == "take_up"].set_index(["ranking", "estimator"])
    for (name, _), line in take_up.iterrows():
        if name in truths:
            error = (line["high"] - line["low"]) / 3.92
            assert 0 < abs(line["value"] - truths[name]) < 3.5 * error
    width = take_up["high"] - take_up["low"]
    assert (width.xs("DR", level=1) < width.xs("IPS", level=1)).all()
    plain = len(bought) / len(exposures)  # what the log earned says nothing of another ranking
    assert take_up.loc[("oracle", "DR"), "low"] > plain > take_up.loc[("popularity", "DR"), "high"]
    assert not found.warnings
    assert (found.weights["unsupported"] == 0).all()
    assert evaluation_figure(found).axes


def test_intervals_are_by_customer_and_not_by_exposure():
    market = Market(400, 2, days=10)
    offers = LoggedOffers.of(market.log()[0])
    reward = np.zeros(offers.log.shown.shape)
    reward[:, 0] = (offers.log.customer % 2)[:, None][:, 0] * (offers.log.shown[:, 0] >= 0)
    found = evaluate(offers, {"take_up": reward}, {"random": everything_random(offers)})
    line = found.table.set_index("estimator").loc["IPS"]
    independent = 2 * 1.96 * 0.5 / np.sqrt(4000)
    assert line["high"] - line["low"] > 2.5 * independent


def test_wrong_chances_thin_logs_and_impossible_offers_are_said():
    market = Market(3_000, 3)
    exposures, bought = market.log()
    thin = LoggedOffers.of(exposures[:60])
    ranker = {"ranker": Target(thin.ranker())}
    said = " ".join(evaluate(thin, thin.rewards(bought), ranker).warnings)
    assert "effective offers" in said
    lied = [_more_often(one) for one in exposures if one.source != "popularity"]
    kept = LoggedOffers.of(lied)
    said = " ".join(evaluate(kept, kept.rewards(bought), {"ranker": Target(kept.ranker())}).warnings)
    assert "does not follow the logged chances" in said
    whole = LoggedOffers.of(exposures)
    barred = np.where(whole.log.eligible[:, [1]], -1, 1) * np.array([[1, 0, 0]]) - np.array([[0, 1, 1]])
    said = " ".join(evaluate(whole, whole.rewards(bought), {"barred": Target(barred)}).warnings)
    assert "could never have been shown" in said


def _more_often(one: Exposure) -> Exposure:
    """Say that a random order was more likely than it was."""
    content = one.to_json()
    content |= {"random": 0.5, "lists": [["ranker", 0.5, content["lists"][0][2]]]}
    return Exposure.from_json(one.exposure_id, one.at, one.customer_id, content)


def test_sandbox_and_opted_out_teach_nothing_and_nothing_is_said():
    exposures, _ = Market(50, 4).log()
    without = [
        Exposure("a", DAY, None, "direct", False, "general", ("motor",), None),
        Exposure("b", DAY, 1, "direct", True, "ranker", (), exposures[0].chances),
        Exposure("c", DAY, 1, "direct", False, "ranker", (), Chances((), 3, 0.2, (("ranker", 0.8, ()),))),
    ]
    found = LoggedOffers.of([*exposures, *without])
    assert found.left_out == {"nothing was eligible": 1, "opted out of profiling": 1, "sandbox": 1}
    with pytest.raises(RecommendationError, match="no offer"):
        LoggedOffers.of(without)


@pytest.mark.parametrize("chance", [0.0, 1.5])
def test_chances_that_cannot_be_are_refused(chance):
    one = np.zeros((1, 1), int)
    with pytest.raises(RecommendationError, match="logged chances"):
        OfferLog(np.array([1]), one, np.full((1, 1), chance), np.ones((1, 1), bool), np.array([1]))
    with pytest.raises(RecommendationError, match="add up to 1"):
        Chances(("a",), 1, 0.5, (("ranker", 0.9, ("a",)),))
    with pytest.raises(RecommendationError, match="eligible"):
        Chances(("a",), 1, 0.5, (("ranker", 0.5, ("b",)),))
