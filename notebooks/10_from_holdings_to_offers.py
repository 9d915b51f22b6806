# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # From holdings to offers
#
# One question: **which product suits this customer now, and what would ordering by margin cost?**
#
# A simulated insurer of 20,000 customers, so nothing is needed beside the project.

# %%
# %matplotlib inline
import datetime as dt
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib import pyplot as plt

import data
from data.simulate import simulate
from data.store import connect
from features.load import default_spec
from models.recommend import (
    OfferRules,
    fit_propensities,
    fit_rates,
    order_offers,
    rank_general,
    rank_personal,
)
from models.recommend.mask import allowed, exclusions
from models.recommend.months import customer_months, everybody
from pricing.product import read_product

NOW = dt.datetime(2026, 1, 1)
CODES = ("accident", "flight_delay", "medical", "motor", "phone_screen", "shop_bond")
folder = Path(data.__file__).parent / "reference" / "products"
products = [read_product(folder / f"{code}.toml") for code in CODES]
spec = default_spec()
lake = Path(tempfile.mkdtemp(prefix="premia-notebook-"))
simulate(lake, 20_000, 1)

# %% [markdown]
# ## How likely is a purchase in a month?
# One additive booster a product, on the months in which each customer could buy it. `ece` is the calibration
# error on customers who were not learned from; a rare product stays near its rate.

# %%
with connect(lake) as con:
    model = fit_propensities(con, products, spec, NOW)
    rates = fit_rates(con, products, NOW)
    people = customer_months(con, products, spec, everybody(con, NOW))
inputs = people.values  # noqa: PD011 - an array of our own
columns = ("months", "bought", "rate", "margin_minor", "log_loss", "ece")
learned = {code: {name: getattr(one, name) for name in columns} for code, one in model.products.items()}
display(pd.DataFrame(learned).T.round(4))

# %% [markdown]
# ## What the model has learned
# Each input adds its own step function; here, what the time since registration does to each product.

# %%
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
days = np.linspace(0, 2000, 400)
rows = np.full((len(days), len(model.inputs)), np.nan)
position = model.inputs.index("customer.tenure_days")
rows[:, position] = days
for code, one in model.products.items():
    axes.plot(days, np.exp(one.tables.contributions(rows)[:, position]), label=code)
axes.axhline(1.0, color="grey", linewidth=0.8)
axes.set(xlabel="days since registration", ylabel="times as often as average", title="Effect of tenure")
axes.legend(fontsize=8, ncols=2)
display(figure)
plt.close(figure)

# %% [markdown]
# ## Who may be offered what
# The rules of the product files, for all customers at once; every exclusion has its code.

# %%
counts = {
    product.code: {
        code: int(out.sum())
        for code, out in exclusions(product, people.facts, people.held[:, at], "trip").items()
    }
    for at, product in enumerate(products)
}
display(pd.DataFrame(counts).T.fillna(0).astype(int))

# %% [markdown]
# ## One customer
# A holder of motor cover, with reasons; and the same customer without profiling.

# %%
row = int(np.flatnonzero(people.held[:, CODES.index("motor")])[0])
facts = {name: None if pd.isna(column[row]) else column[row] for name, column in people.facts.items()}
features = dict(zip(model.inputs, inputs[row].tolist(), strict=True))
held = [code for code, has in zip(CODES, people.held[row], strict=True) if has]
found = rank_personal(model, spec, products, facts, features, held, held, 3, scene="trip")
for offer in found.offers:
    print(f"{offer.product:13} {offer.rate:.2%}  " + " ".join(f"{why.en} {why.zh}" for why in offer.reasons))
print("not offered:", {item.product: item.codes for item in found.excluded})
open_ = allowed(products, people.facts, people.held, "trip")
may = [product for product, yes in zip(products, open_[row], strict=True) if yes]
general = rank_general(may, found.excluded, rates, 3)
print("without profiling:", [offer.product for offer in general.offers])

# %% [markdown]
# ## What margin costs
# Only the three products that suitability chose change places. Left: expected margin of the first offer;
# right: the chance that it is bought. The tilt is the power of the margin.

# %%
p = model.scores(inputs, list(CODES))
margins = np.array([max(model.products[code].margin_minor or 0, 0) for code in CODES]) / 100
lines = []
for tilt in (0.0, 0.25, 0.5, 0.75, 1.0):
    best = order_offers(p, open_, OfferRules.of(model, products, tilt), 3)
    first = best[best[:, 0] >= 0, 0]
    chance = p[best[:, 0] >= 0, first]
    lines.append((tilt, float((chance * margins[first]).mean()), float(chance.mean())))
trade = pd.DataFrame(lines, columns=["tilt", "margin of first offer", "chance of first offer"]).set_index(
    "tilt"
)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
trade["margin of first offer"].plot(ax=axes[0], marker="o", ylabel="CNY", title="Margin of the first offer")
trade["chance of first offer"].plot(
    ax=axes[1], marker="o", ylabel="a month", color="tab:orange", title="Chance of the first offer"
)
display(figure)
plt.close(figure)
trade.round(5)

# %% [markdown]
# A tilt of 0 is the order of suitability; 1 is what the service uses, between half and twice the middle
# margin.
