# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # From an order history to a price
#
# One question: **what should the freight of a return cost this buyer, in this shop, today, and why?**
#
# The notebook walks the whole path with the functions that the service and the batch use: simulate an
# insurer, build risk profiles as of each policy, train and compare models, turn a risk premium into a price.

# %%
import tempfile
from datetime import datetime
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
from IPython.display import display

import data
from data.simulate import simulate
from data.store import connect
from features import default_spec
from models import attach_profiles, train, training_table
from models.diagnostics import Units, lift, lorenz, one_way
from pricing.ladder import PriceInputs, build_ladder
from pricing.plan import read_plan
from pricing.product import read_product

reference = Path(data.__file__).parent / "reference"
lake = Path(tempfile.mkdtemp(prefix="premia-notebook-"))
end = datetime(2026, 1, 1)

# %% [markdown]
# ## An insurer
# Buyers, shops, orders with returns, quotes, policies and claims. Who returns a lot likes cover.

# %%
summary = simulate(lake, customers=15_000, seed=1)
freight = summary.products["return_freight"]
print(f"{summary.orders:,} orders, {freight.policies:,} covers sold, loss ratio {freight.loss_ratio:.0%}")

# %% [markdown]
# ## What is known of each buyer at the moment of the quote
# Profiles look strictly before the quote: a return counts from when it arrived, not from when it was ordered.

# %%
product = read_product(reference / "products" / "return_freight.toml")
spec = default_spec()
con = connect(lake)
table = attach_profiles(con, training_table(con, product, end), product, spec, lake)
frame = table.to_pandas()

shares = frame["return_share_365d"].fillna(-1.0)
bands = np.clip(np.ceil(shares * 5), -1, 5)
claimed = frame.groupby(bands)["claimed"].mean()
labels = ["no orders", "none", *(f"up to {i * 20} %" for i in range(1, 5)), "more"]
fig, axis = plt.subplots(figsize=(7, 3))
axis.bar(labels[: len(claimed)], claimed)
axis.set(title="Share of covers that claim, by the buyer's own returns per order", ylabel="claims per cover")
plt.show()

# %% [markdown]
# ## Models
# A GLM, a free booster, and GA2M: a booster of pairs, compiled into tables that are exact and can be printed.

# %%
result = train(product, table, feature_spec=spec)
result.comparison

# %%
judged, units = result.judged, Units("fen", "cover")
rows = (judged.actual, {name: judged.expected[name] for name in result.models}, judged.exposure)
display(lift(*rows, objective="tweedie").figure(units), lorenz(*rows).figure(units))
category = judged.matrix[:, judged.inputs.index("category")]
display(one_way(*rows, category, name="category", objective="tweedie").figure(units))
assert result.comparison.loc["ga2m", "d2"] > 0.1  # history explains much of who returns

# %% [markdown]
# ## A price, and why
# One buyer, one shop, one dress: profile, risk premium with exact reasons, and the ladder to the price.

# %%
# The median buyer; for the worst ones the price leaves the filed corridor, and a person decides.
middle = frame.dropna(subset=["buyer_frailty"]).sort_values(["buyer_frailty", "policy_id"])
middle = middle.iloc[len(middle) // 2]
buyer, shop = int(middle["customer_id"]), int(middle["seller_id"])
label = pa.table(
    {
        "customer_id": [buyer],
        "seller_id": [shop],
        "category": ["apparel"],
        "quoted_at": pa.array([end], pa.timestamp("us")),
    }
)
profile = attach_profiles(con, label, product, spec, lake).select(product.profile.inputs).to_pylist()[0]
scored = result.bundle().score_one({"order_amount": 199.0, "category": "apparel"}, profile)
plan = read_plan(reference / "plans" / f"{product.plan}.toml")
ladder = build_ladder(PriceInputs(scored.risk_premium_minor), plan, "platform")

for reason in scored.reasons[:5]:
    print(f"x {reason.relativity:.2f}  {reason.input}")

# %%
steps = [step for step in ladder.steps if step.minor]
ends = np.cumsum([step.minor for step in steps]) / 100
sizes = np.array([step.minor for step in steps]) / 100
fig, axis = plt.subplots(figsize=(8, 3))
axis.bar([step.name.replace("_", "\n") for step in steps], sizes, bottom=ends - sizes)
axis.bar(["price"], [ladder.price_minor / 100], color="black")
axis.set(
    title=f"The ladder: {ladder.price_minor / 100:.2f} CNY for a cover of {product.cover.benefit}",
    ylabel="CNY",
)
plt.show()
assert sum(step.minor for step in ladder.steps) == ladder.price_minor

# %% [markdown]
# The steps add up to the price exactly, since they are integers from the risk premium on. `premia serve`
# quotes the same price over HTTP, `premia reprice` for a whole book: one definition, several users.
