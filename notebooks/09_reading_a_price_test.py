# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Reading a price test
#
# One question: **how does acceptance fall with the price, and when may that be said?**
#
# The test of return freight that is filed with the product: before it starts, while it runs, when it has
# ended; then the same question put to prices that no chance has set, where the answer is a refusal.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

import data
from data.public import read_shared
from models.demand import NotIdentified, price_elasticity
from pricing.experiments import CellShares, CellTotals, Design, Monitor, assign_cells, read_experiments

reference = Path(data.__file__).parent / "reference"
test = read_experiments(reference / "experiments")["return_freight_2026"]
cells = np.array(test.multipliers) / 1e6
rng = np.random.default_rng(1)

# %% [markdown]
# ## Before: how many quotes does an answer need?
# Conversion of about 0.35 and a slope of -2.5 on the logit are expected. The error of the slope, and the
# smallest difference between a cell and the holdout that four tests in five would find.

# %%
design = Design(test, conversion=0.35, slope=-2.5)
planned = np.linspace(5_000, 200_000, 40)
lowest = [design.detectable_difference(0, int(n), alpha=0.05, power=0.8) for n in planned]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
axes[0].plot(planned / 1000, [design.slope_error(int(n)) for n in planned])
axes[0].set(title="Standard error of the slope", ylabel="logit per log price", xlabel="thousand quotes")
axes[1].plot(planned / 1000, lowest, color="#D55E00")
axes[1].set(title="Smallest difference found", ylabel="conversion, 0.80 to holdout", xlabel="thousand quotes")
for axis in axes:
    axis.set_ylim(0)
plt.show()
print(f"for a slope to +-0.2 (95 %): {design.quotes_for_slope(0.1):,} quotes; planned {test.stop.quotes:,}")

# %% [markdown]
# ## It runs
# Each customer keeps the cell that a hash gives, in quotes and batches alike. The customers here are made up,
# with a slope that depends on age: what is read can be compared to it.

# %%
size = 60_000
customers = np.arange(1, size + 1)
X = pd.DataFrame({"age": rng.integers(18, 70, size).astype(float), "orders": rng.poisson(6, size),
                  "category": rng.choice(["apparel", "shoes", "home"], size, p=[0.5, 0.2, 0.3])})  # fmt: skip
cost = np.rint(np.exp(5.2 + 0.04 * X["orders"] + rng.normal(0, 0.3, size))).to_numpy()
technical = np.rint(cost * 1.25).astype(np.int64)
cell = assign_cells(CellShares.filed(test), customers)
shown, propensity = np.rint(technical * cells[cell]), np.array(test.shares)[cell] / 1e6
log_price = np.log(shown / technical)
slope = -2.5 + 0.02 * (X["age"].to_numpy() - 44)
chance = 1 / (1 + np.exp(-(-0.6 + 0.05 * (X["orders"].to_numpy() - 6) + slope * log_price)))
bought = (rng.random(size) < chance).astype(float)
true = float(np.mean(slope * chance * (1 - chance)))
print(f"true mean slope of acceptance: {true:.3f}")

# %% [markdown]
# ## While it runs: look as often as you like
# The interval of the difference to the holdout is true at all moments at once. The usual one, drawn beside
# it, is true at one moment only: who looks daily and stops at the first star is wrong far too often.

# %%
profit = bought * (shown * 0.9 - cost)  # a tenth goes to the channel and to expenses
holdout, monitor, watched, batch = test.holdout, Monitor.start(test), [], 1_000
for start in range(0, size, batch):
    rows = slice(start, start + batch)
    of = [profit[rows][cell[rows] == c] for c in range(len(cells))]
    monitor = monitor.add([CellTotals(len(x), float(x.sum()), float(x @ x)) for x in of])
    for c in (0, len(cells) - 1):
        here, there = monitor.totals[c], monitor.totals[holdout]
        middle = here.mean - there.mean
        half = 1.96 * np.sqrt(here.variance / here.quotes + there.variance / there.quotes)
        one = monitor.sequences[c]
        watched.append((start + batch, c, one.lower, one.upper, middle - half, middle + half))
seen = pd.DataFrame(watched, columns=["quotes", "cell", "lower", "upper", "low", "high"])
seen = seen.replace([np.inf, -np.inf], np.nan)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained", sharey=True)
for axis, (c, own) in zip(axes, seen.groupby("cell"), strict=True):
    axis.fill_between(own["quotes"], own["lower"], own["upper"], alpha=0.3, label="always valid")
    axis.plot(own["quotes"], own[["low", "high"]], "k:", lw=1, label=["one look", None])
    axis.axhline(0, color="grey", lw=1)
    axis.set(title=f"price x {cells[c]:.2f} against x 1.00", xlabel="quotes so far", ylim=(-30, 30))
axes[0].set_ylabel("profit a quote, fen")
axes[0].legend()
plt.show()
cheap = monitor.sequences[0]
print(f"premium effect {monitor.premium_effect():+.2%}")
print(f"x {cells[0]:.2f} earns {cheap.lower:.1f} to {cheap.upper:.1f} fen a quote beside the holdout")
print(f"stopped for a loss beyond {test.stop.largest_loss:g} fen: {monitor.stops() or 'no cell'}")

# %% [markdown]
# The cheapest cell is soon known to earn less, at a moment that nobody had to fix beforehand. The rule of the
# file stops a test only where a cell is proven to lose more than it allows, so this one runs to its end.
#
# ## When it has ended: the elasticity
# Four estimates, which must agree in sign, against the truth that only a simulation knows.

# %%
found = price_elasticity(X, bought, log_price, propensity)
assert not isinstance(found, NotIdentified)
print(
    f"slope {found.slope:.3f} +- {1.96 * found.error:.3f}, true {true:.3f}; elasticity {found.elasticity:.2f}"
)
display(found.figure())

# %% [markdown]
# ## The same customers, priced without chance
# Once by a rule of age and orders alone, once by somebody who raises the price where the wish to buy is
# strong. There are prices enough in both; there is no second price at the same risk in the first, and the
# second reads as if dear covers sold better.

# %%
rule = 0.004 * (X["age"] - 44) + 0.02 * (X["orders"] - 6) + rng.normal(0, 0.001, size)
wish = rng.normal(0, 1, size)
asked = 0.05 * wish + rng.normal(0, 0.05, size)
for name, price, extra in (("priced by a rule", rule, 0.0), ("priced by the wish to buy", asked, wish)):
    logit = -0.6 + 0.05 * (X["orders"] - 6) + slope * price + extra
    took = (rng.random(size) < 1 / (1 + np.exp(-logit))).astype(float)
    refused = price_elasticity(X[:20_000], took[:20_000], np.asarray(price)[:20_000])
    assert isinstance(refused, NotIdentified)
    print(f"{name}:", *refused.reasons, sep="\n  ")

# %% [markdown]
# ## Real renewals
# Motor renewals of a direct insurer (eudirectlapse, where `PREMIA_SHARED_DATA` names the folder that holds
# it): 23,060 of them, whose prices the insurer set as it thought best.

# %%
if os.environ.get("PREMIA_SHARED_DATA"):
    lapses = read_shared(Path(os.environ["PREMIA_SHARED_DATA"]), "eudirectlapse").to_pandas()
    change = np.log(lapses["prem_final"] / lapses["prem_last"])
    real = price_elasticity(lapses.drop(columns=["lapse", "prem_final"]), 1 - lapses["lapse"], change)
    display(real.figure())
    print(*getattr(real, "reasons", ()), sep="\n")
else:
    print("PREMIA_SHARED_DATA names no folder: the answer there is that the elasticity is not identified")

# %% [markdown]
# Dear increases went to those who stay anyway, so the naive slope has the wrong sign; with everything known
# taken out, little of the price is left to learn from. The answer is **not identified**, and the way out is
# not a better model but a test.
