# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # What is an order history worth to the price of return freight?
#
# The first cover of return freight sold at one flat price and had a loss ratio of 93 %: who returns most
# gained most. A simulated insurer shows what history tells of the risk, and what individual prices change.

# %%
import tempfile
from datetime import datetime
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display

import data
from data.simulate import simulate
from data.store import connect
from features import default_spec
from models import FitSettings, attach_profiles, split_rows, train, training_table
from models.credibility import fit_two_way
from models.diagnostics import Units, calibration, lift, one_way
from models.order_history import read_order_histories
from pricing.ladder import PriceInputs, build_ladder, build_ladders
from pricing.plan import read_plan
from pricing.product import Profile, read_product

reference = Path(data.__file__).parent / "reference"
lake = Path(tempfile.mkdtemp(prefix="premia-notebook-"))
end = datetime(2026, 1, 1)
print(f"{simulate(lake, customers=15_000, seed=1).orders:,} orders")

# %% [markdown]
# ## Learn from the past, judge on what came later
# Each cover gets its profile as of its own quote. The latest quarter judges; the 40 days before it are left
# out, since their returns were not all known when the test period began.

# %%
product = read_product(reference / "products" / "return_freight.toml")
product = product.model_copy(update={"split": product.split.model_copy(update={"buffer_days": 40})})
spec, con = default_spec(), connect(lake)
table = attach_profiles(con, training_table(con, product, end), product, spec, lake)
rows = split_rows(product.split, table)
rows.frame

# %% [markdown]
# ## How far is a buyer's own record to be believed?
# Two-way credibility draws each buyer and each shop towards the average by how little is known of them, and
# a buyer of a shop where everybody returns is not blamed for the shop.

# %%
fit = fit_two_way(next(read_order_histories(con, [end])))
_, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for panel, name, side in zip(axes, ("buyers", "shops"), (fit.buyers, fit.shops), strict=True):
    known = side.expected > 0
    panel.scatter(side.returns[known] / side.expected[known], side.frailty[known], s=4, alpha=0.3)
    panel.axline((1, 1), slope=1, color="grey", linewidth=1)
    panel.set(xlim=(0, 6), ylim=(0, 6), title=f"{len(side.ids):,} {name}, alpha {side.alpha:.1f}")
    panel.set(xlabel="returns over what the goods explain", ylabel="credibility estimate")

# %% [markdown]
# On the grey line the record would be believed whole. Shops have many orders and lie closer to it; the rows
# of dots are buyers with one or two returns.
#
# ## What history is worth
# The same families three times: order alone, with profile features, with the credibility estimates as well.

# %%
profiles = {
    "order alone": Profile(as_of=product.profile.as_of),
    "+ profile features": product.profile.model_copy(update={"fitted": ()}),
    "+ credibility": product.profile,
}
given = {"feature_spec": spec, "settings": FitSettings(rounds=200, learning_rate=0.05)}
results = {
    name: train(product.model_copy(update={"profile": profile}), table, **given)
    for name, profile in profiles.items()
}
worth = pd.DataFrame({name: r.comparison["d2"].drop("null") for name, r in results.items()})
result = results["+ credibility"]
champion = result.champion
title = "Share of the average's log loss that is explained"
worth.T.plot.bar(rot=0, figsize=(8, 3.2), ylim=(0, 0.4), title=title)
plt.show()

# %% [markdown]
# What is bought explains a good fifth of the log loss; who buys, and where, brings it to near a third. The
# families differ far less than the data does.
#
# ## Is it right at every level, and along the buyer's record?

# %%
held = result.judged.response.held
units = Units("claims", "cover")
covers = (held.actual, {champion: result.judged.response.expected[champion]}, held.exposure)
display(lift(*covers, objective="binary").figure(units))
display(calibration(*covers, objective="binary").figure(units))
display(one_way(*covers, held.factors["buyer_frailty"], objective="binary").figure(units))

# %% [markdown]
# The ranking holds from the first tenth to the last. The safest tenths claim less than is expected of them:
# the model is careful there, at little money, and that is what to mend before filing.
#
# ## One flat price against individual prices
# Both take the same premium from the test covers, as much as makes a loss ratio of 93 %. Individual premiums
# are in proportion to the expected claims; nothing of what happened was used to part the buyers.

# %%
expected = result.judged.expected[champion]
book = pd.DataFrame({"claims": result.judged.actual, "expected": expected})
total = book["claims"].sum() / 0.93
book["flat"], book["individual"] = total / len(book), expected * total / expected.sum()
book["tenth"] = pd.qcut(book["expected"].rank(method="first"), 10, labels=range(1, 11))
sums = book.groupby("tenth", observed=True).sum()
ratios = sums[["flat", "individual"]].rdiv(sums["claims"], axis=0)
ratios.plot.bar(rot=0, figsize=(8, 3.4), title="Loss ratio by tenth of expected risk, safest first")
stay = book[book["individual"] >= book["flat"]].sum(numeric_only=True)
print(f"loss ratio at the flat price once the safe have left: {stay['claims'] / stay['flat']:.0%}")

# %% [markdown]
# At the flat price the safest pay for the riskiest. When a rival prices individually, the safe leave and the
# flat price no longer pays its claims. Individual prices bring the tenths close to each other; the safest
# still pay a little too much, as the diagrams above said.
#
# ## One price, with its reasons: a buyer in the middle of the book
# A price outside the filed corridor is never clipped: it goes to a person, here most of the riskiest tenth.

# %%
plan = read_plan(reference / "plans" / f"{product.plan}.toml")
middle = table.filter(rows.test).slice(int(expected.argsort()[len(expected) // 2]), 1).to_pylist()[0]
scored = result.bundle().score_one(
    {factor.name: middle[factor.name] for factor in product.factors},
    {name: middle[name] for name in product.profile.inputs},
)
ladder = build_ladder(PriceInputs(scored.risk_premium_minor), plan, "platform")
for reason in scored.reasons[:5]:
    print(f"x {reason.relativity:.2f}  {reason.input} = {middle[reason.input]}")
steps = {step.name: step.minor / 100 for step in ladder.steps} | {"price": ladder.price_minor / 100}
display(pd.Series(steps, name="CNY").to_frame())
book["referred"] = build_ladders(PriceInputs(expected), plan, "platform").refusal != ""
book.groupby("tenth", observed=True)["referred"].mean().to_frame().T.round(3)
