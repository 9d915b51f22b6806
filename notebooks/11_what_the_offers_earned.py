# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # What the offers earned
#
# 95 % of the answers to "which products suit this customer" come from the ranker, 5 % are the eligible
# products in random order, and every answer is logged with its chances. From that log: what popularity, or a
# ranker that has never served, would have earned. Customers here are made up, with a taste that we know, so
# that each estimate can be held against the truth.

# %%
import datetime as dt

import numpy as np
import pandas as pd

from models.recommend.evaluation import LoggedOffers, evaluate
from models.recommend.evaluation_picture import evaluation_figure
from models.recommend.off_policy import Target
from models.recommend.showing import Exposure, is_random, mixed, random_order
from pricing.experiments import CellTotals, ConfidenceSequence

CUSTOMERS, PLACES, SHARE = 60_000, 3, 0.05
CODES = ("accident", "flight_delay", "medical", "motor", "phone_screen", "shop_bond")
DAY = dt.datetime(2026, 3, 1)
rng = np.random.default_rng(1)
popularity = np.array([0.10, 0.08, 0.07, 0.06, 0.05, 0.04])
taste = popularity * rng.lognormal(0.0, 0.9, (CUSTOMERS, 6)).clip(max=6)
at_place = np.array([1.0, 0.7, 0.5])
eligible = rng.random(taste.shape) < 0.8
eligible[:, 0] = True


def first_places(scores: np.ndarray) -> list[tuple[str, ...]]:
    """Give the best eligible products of each customer."""
    best = np.argsort(-np.where(eligible, scores, -np.inf), axis=1)[:, :PLACES]
    return [tuple(CODES[at] for at in row if eligible[who, at]) for who, row in enumerate(best)]


def truth(lists: list[tuple[str, ...]]) -> float:
    """Give the offers taken per exposure that lists really bring."""
    taken = [
        taste[who, CODES.index(code)] * at_place[place]
        for who, codes in enumerate(lists)
        for place, code in enumerate(codes)
    ]
    return float(np.sum(taken)) / len(lists)


# %% [markdown]
# The ranker in service knows each taste with a large error, the candidate with a smaller one.

# %%
lists = {
    "ranker": first_places(taste * rng.lognormal(0, 0.9, taste.shape)),
    "popularity": first_places(np.tile(popularity, (CUSTOMERS, 1))),
    "candidate": first_places(taste * rng.lognormal(0, 0.3, taste.shape)),
}

# %% [markdown]
# ## The log
# What the service does at each request: who is drawn, what is shown, with which chances.

# %%
exposures, bought = [], []
for who in range(CUSTOMERS):
    allowed = [code for at, code in enumerate(CODES) if eligible[who, at]]
    random = is_random(who, DAY.date(), SHARE)
    shown = tuple(random_order(who, DAY.date(), allowed)[:PLACES]) if random else lists["ranker"][who]
    chances = mixed(allowed, PLACES, SHARE, {"ranker": lists["ranker"][who]}, {"ranker": 1.0})
    source = "random" if random else "ranker"
    exposures.append(Exposure(str(who), DAY, who, "platform", False, source, shown, chances))
    for place, code in enumerate(shown):
        if rng.random() < taste[who, CODES.index(code)] * at_place[place]:
            bought.append((str(who), who, code, 900.0))
offers = LoggedOffers.of(exposures)
rewards = offers.rewards(pd.DataFrame(bought, columns=["exposure_id", "customer_id", "product", "margin"]))
print(f"{len(exposures):,} exposures, {sum(one.source == 'random' for one in exposures):,} of them random")
print(f"{len(bought) / len(exposures):.4f} offers taken per exposure")

# %% [markdown]
# ## What each ranking is worth
# The log alone, without showing the candidate to anybody. The intervals are wide: they rest on the random
# exposures and on those where both rankings agree.

# %%
found = evaluate(offers, rewards, {name: Target(offers.orders(order)) for name, order in lists.items()})
take_up = found.table[found.table["measure"] == "take_up"]
table = take_up.pivot_table("value", "ranking", "estimator")
print(table.assign(truth={name: truth(order) for name, order in lists.items()}).round(4))
print(found.weights.round(3))
print(found.warnings)
evaluation_figure(found)

# %% [markdown]
# ## The verdict
# A test settles what the log can only suggest: half of the customers see popularity, and the interval of the
# difference may be looked at every day.

# %%
names = ("ranker", "popularity")
chance = {name: truth(lists[name]) for name in names}
interval = ConfidenceSequence.planned(0.05, 0.45, 60_000, 60_000)
totals = {name: CellTotals() for name in names}
days = 0
while not interval.differs and days < 60:
    days += 1
    for name in names:
        taken = int(rng.poisson(chance[name] * 1_000))
        totals[name] += CellTotals(1_000, taken, taken)
    interval = interval.update(totals["ranker"], totals["popularity"])
print(f"day {days}: ranker less popularity [{interval.lower:+.4f}, {interval.upper:+.4f}]")
print(f"the truth is {chance['ranker'] - chance['popularity']:+.4f}")
assert interval.lower < chance["ranker"] - chance["popularity"] < interval.upper
