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
# gained most. Here a simulated insurer shows what history tells of the risk, and what individual prices
# change.

# %%
import tempfile
from datetime import datetime
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
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
summary = simulate(lake, customers=15_000, seed=1)
print(f"{summary.orders:,} orders, {summary.returns:,} came back")

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
# Two returns of two orders prove little. Two-way credibility draws each buyer and each shop towards the
# average, and a buyer of a shop where everybody returns is not blamed for the shop.

# %%
fit = fit_two_way(next(read_order_histories(con, [end])))
fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for panel, name, side in zip(axes, ("buyers", "shops"), (fit.buyers, fit.shops), strict=True):
    known = side.expected > 0
    panel.scatter(side.returns[known] / side.expected[known], side.frailty[known], s=4, alpha=0.3)
    panel.axline((1, 1), slope=1, color="grey", linewidth=1)
    panel.set(xlim=(0, 6), ylim=(0, 6), title=f"{len(side.ids):,} {name}, alpha {side.alpha:.1f}")
    panel.set(xlabel="returns over what the goods explain", ylabel="credibility estimate")
plt.show()

# %% [markdown]
# On the grey line the record would be believed whole. The further below it, the less weight a record has:
# shops have many orders and lie closer to it, the rows of dots are buyers with one or two returns.
#
# ## What history is worth
# The same families three times: order alone, with profile features, and with the credibility estimates as
# well.

# %%
quick = FitSettings(rounds=200, learning_rate=0.05)
profiles = {
    "order alone": Profile(as_of=product.profile.as_of),
    "+ profile features": product.profile.model_copy(update={"fitted": ()}),
    "+ credibility": product.profile,
}
results = {
    name: train(product.model_copy(update={"profile": profile}), table, feature_spec=spec, settings=quick)
    for name, profile in profiles.items()
}
worth = pd.DataFrame({name: r.comparison["logloss"] for name, r in results.items()})
result = results["+ credibility"]
champion = result.champion
drop = worth.drop(index="null")
axis = (1 - drop.T / worth.loc["null", "order alone"]).plot.bar(rot=0, figsize=(8, 3.2), ylim=(0, 0.4))
axis.set(title="Share of the average's log loss that is explained", xlabel="", ylabel="share of log loss")
plt.show()
worth

# %% [markdown]
# What is bought explains a good fifth of the log loss; who buys, and where, brings it to near a third. The
# families differ far less than the data does.
#
# ## Is it right at every level?
# By tenth of predicted risk: actual against expected claims. Then the reliability diagram, and the one-way
# view along the buyer's record.

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

# %% [markdown]
# ## One flat price against individual prices
# Both sides of the comparison take the same premium from the test covers, as much as makes a loss ratio of
# 93 %. Individual premiums are in proportion to the expected claims; nothing of what happened was used to
# part the buyers.

# %%
expected = result.judged.expected[champion]
book = pd.DataFrame({"claims": result.judged.actual, "expected": expected})
total = book["claims"].sum() / 0.93
book["flat"], book["individual"] = total / len(book), expected * total / expected.sum()
book["tenth"] = pd.qcut(book["expected"].rank(method="first"), 10, labels=range(1, 11))
sums = book.groupby("tenth", observed=True).sum()
ratios = sums[["flat", "individual"]].rdiv(sums["claims"], axis=0)
axis = ratios.plot.bar(rot=0, figsize=(8, 3.4))
axis.axhline(0.93, color="grey", linewidth=1)
axis.set(
    title="Loss ratio by tenth of expected risk", xlabel="tenth, safest first", ylabel="claims / premium"
)
plt.show()
stay = book[book["individual"] >= book["flat"]]
left = stay["claims"].sum() / stay["flat"].sum()
print(f"loss ratio at the flat price once everybody who finds it cheaper elsewhere has left: {left:.0%}")

# %% [markdown]
# At the flat price the safest pay for the riskiest, and the loss ratio of 93 % hides both. When a rival
# prices individually, the safe leave and the flat price no longer pays its claims. Individual prices bring
# the tenths close to each other; the safest still pay a little too much, as the diagrams above said.
#
# ## One price, with its reasons
# A buyer in the middle of the book: what moves the risk premium, and the steps from it to the price.

# %%
plan = read_plan(reference / "plans" / f"{product.plan}.toml")
middle = table.filter(rows.test).slice(int(np.argsort(expected)[len(expected) // 2]), 1).to_pylist()[0]
scored = result.bundle().score_one(
    {factor.name: middle[factor.name] for factor in product.factors},
    {name: middle[name] for name in product.profile.inputs},
)
ladder = build_ladder(PriceInputs(scored.risk_premium_minor), plan, "platform")
for reason in scored.reasons[:5]:
    print(f"x {reason.relativity:.2f}  {reason.input} = {middle[reason.input]}")
steps = {step.name: step.minor / 100 for step in ladder.steps} | {"price": ladder.price_minor / 100}
pd.Series(steps, name="CNY").to_frame()

# %% [markdown]
# A price outside the filed corridor is never clipped: it goes to a person. Where that happens often, the
# corridor or the tails of the model want another look.

# %%
referred = build_ladders(PriceInputs(expected), plan, "platform").refusal != ""
print(f"{referred.mean():.1%} of the test covers would be referred, most of them of the riskiest tenth:")
book["referred"] = referred
book.groupby("tenth", observed=True)["referred"].mean().to_frame().T.round(3)
