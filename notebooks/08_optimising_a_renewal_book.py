# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Optimising a renewal book
#
# One question: **what may demand add to the price of a renewal, and what does each constraint cost?**
#
# Phone screens of a simulated insurer, with a price test among its quotes. No price moves by more than 15 %
# at renewal, in no mode; the portfolio must keep its volume, its loss ratio and its mean rate.

# %%
import tempfile
from datetime import datetime
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

import data
import pricing.optimiser as po
from data.simulate import simulate
from data.store import connect
from features import default_spec
from models import FitSettings, attach_profiles, train, training_table
from models.demand import NotIdentified, SplineDemand, price_elasticity
from pricing.errors import InfeasibleError
from pricing.ladder import PriceInputs, build_ladders
from pricing.plan import read_plan
from pricing.product import read_product

reference = Path(data.__file__).parent / "reference"
lake, end = Path(tempfile.mkdtemp(prefix="premia-notebook-")), datetime(2026, 1, 1)
simulate(lake, customers=60_000, seed=3, orders_per_customer=1)
con, spec = connect(lake), default_spec()
product = read_product(reference / "products" / "phone_screen.toml")
plan = read_plan(reference / "plans" / f"{product.plan}.toml")
factors = [factor.name for factor in product.factors]

# %% [markdown]
# ## Demand, learned where chance set the price

# %%
quotes = con.sql("""
    SELECT *, row_number() OVER (PARTITION BY customer_id ORDER BY quoted_at) > 1 AS renewal
    FROM quotes WHERE product = 'phone_screen' AND experiment IS NOT NULL ORDER BY quote_id""").df()
known = quotes[factors].assign(renewal=quotes["renewal"].map({True: "renewal", False: "new"}))
accepted, moved = quotes["accepted"].to_numpy(float), np.log(quotes["price_multiplier"].to_numpy())
verdict = price_elasticity(known, accepted, moved)
assert not isinstance(verdict, NotIdentified), verdict.reasons
demand = SplineDemand().fit(known, accepted, moved)
print(f"differences between customers identified: {verdict.per_customer}")
verdict.figure()

# %% [markdown]
# ## The book
# Policies in force fall due. Cost is the risk premium of a GLM as of today and the fixed expense; the base
# price is what the rating plan makes of it, brought to within 10 % of the last price.

# %%
glm = product.models.model_copy(update={"families": ("glm",), "champion": "glm"})
learned = attach_profiles(con, training_table(con, product, end), product, spec, lake)
trained = train(
    product.model_copy(update={"models": glm}), learned, feature_spec=spec, settings=FitSettings()
)
query = """
    SELECT * REPLACE ($end AS quoted_at) FROM policies
    WHERE product = 'phone_screen' AND inception_at <= $end AND expiry_at > $end ORDER BY policy_id"""
due = attach_profiles(con, con.sql(query, params={"end": end}).to_arrow_table(), product, spec, lake)
scored = trained.bundle().score(due.combine_chunks().to_batches()[0])
risk, frame = scored["risk_premium_minor"].to_numpy(), due.to_pandas()
base, kept, last = np.zeros(len(risk)), np.zeros(len(risk)), frame["premium_minor"].to_numpy(float)
for channel in plan.commission:
    rows, terms = np.flatnonzero(frame["channel"] == channel), plan.terms(channel)
    base[rows] = build_ladders(PriceInputs(risk[rows]), plan, channel).price_minor
    kept[rows] = (1 - (terms.variable + terms.commission) / 1e6) / (1 + terms.tax / 1e6)
base = np.clip(base, 0.9 * last, 1.1 * last)
ladder = np.round(np.arange(0.80, 1.2001, 0.02), 2)
low, high = po.steps_between(ladder, base, 0.85 * last, 1.15 * last)
accept = demand.accept(frame[factors].assign(renewal="renewal"), ladder)
cells = (frame["channel"] + ", " + frame["phone_class"]).to_numpy(str)
names, segment = np.unique(cells, return_inverse=True)
cost = risk + terms.fixed_micros / 1e6
book = po.Book(ladder, base, cost, kept, accept, low, high, segment, tuple(map(str, names)))

# %% [markdown]
# ## Three modes, one set of constraints
# Cost-only prices are the base prices. Group prices move each segment (channel and class of the phone) by one
# multiplier, individual prices each policy by itself.

# %%
plain = po.optimise(book)
volume, ratio = plain.totals.volume.sum(), plain.totals.cost.sum() / plain.totals.premium.sum()
wanted = [po.volume_floor(0.99 * volume), po.loss_ratio_cap(ratio), po.rate_change_cap(book, 0.03)]
found = {"cost only": plain} | {mode: po.optimise(book, wanted, mode) for mode in ("group", "individual")}
modes = pd.DataFrame(index=found)
modes["profit, CNY"] = [round(one.profit / 100) for one in found.values()]
modes["renewals"] = [round(one.totals.volume.sum()) for one in found.values()]
modes["loss ratio"] = [round(one.totals.cost.sum() / one.totals.premium.sum(), 3) for one in found.values()]
modes["gap to the bound"] = [f"{max(one.gap, 0):.0e}" for one in found.values()]
display(modes)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained", sharey=True)
for axis, mode in zip(axes, ("group", "individual"), strict=True):
    axis.bar(ladder, np.bincount(found[mode].steps, minlength=len(ladder)) / book.size, width=0.015)
    axis.set(title=f"{mode}: chosen over base price", xlabel="multiplier", ylabel="share of policies")
plt.show()

# %% [markdown]
# The certificate is the gap: no lawful choice of its mode earns more than the bound. Most individual prices
# go to the end of what the bounds allow. They rest on differences between customers that the test above does
# **not** identify: their profit is what a model hopes for; group prices are the most that can be defended.
#
# ## What the constraints cost, and the frontier
# A shadow price is the profit that one unit less of a target adds; zero where a constraint does not bind.

# %%
display(pd.Series(found["individual"].shadow_prices, name="fen a unit").round(2).to_frame())
targets = np.linspace(0.96, 1.02, 9)
points = po.frontier(book, wanted[0], targets * volume, wanted[1:])
earned = [np.nan if p.solution is None else p.solution.profit / 100 for p in points]
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
axis.plot(targets, earned, "o-", label="individual: frontier")
for mode, marker in (("cost only", "ks"), ("group", "rD")):
    axis.plot(found[mode].totals.volume.sum() / volume, found[mode].profit / 100, marker, label=mode, ms=8)
axis.set(title="What volume costs", xlabel="expected renewals, cost only = 1", ylabel="profit, CNY")
axis.legend()
plt.show()

# %% [markdown]
# The slope of the curve is the shadow price of volume. It is flat where the floor does not bind, and it ends
# where no prices reach the target. Asked for too much, the answer is not prices that miss it a little, but
# the smallest set of constraints that conflict:

# %%
try:
    po.optimise(book, [po.volume_floor(volume), po.loss_ratio_cap(0.97 * ratio)], "individual")
except InfeasibleError as error:
    print(error)

# %% [markdown]
# ## The live quote
# What is stored is a few numbers a segment; a quote takes its best step by them, under the same bounds.

# %%
policy = po.PricePolicy.of(book, wanted, found["individual"])
bounds = list(zip(base, 0.85 * last, 1.15 * last, cells, cost, kept, accept.T.tolist(), strict=True))[:1000]
live = [policy.step(*b[:3], segment=b[3], cost=b[4], kept=b[5], accept=b[6]) for b in bounds]
print(f"{np.mean(live == found['individual'].steps[:1000]):.1%} of 1,000 quotes take the step of the book")
