# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Building a rating plan
#
# One question: **what does each part of a rating plan do to the price, and who may change it?**
#
# Return freight of a simulated insurer: from the risk premium of a model to a price that is filed, quoted
# and, years later, recomputed to the fen.

# %%
import tempfile
from contextlib import closing
from datetime import datetime
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import data
from data.simulate import simulate
from features import default_spec
from models.registry import Registry
from pricing.definitions import parse_definition
from pricing.errors import PricingError
from pricing.ladder import Ladder, PriceInputs, build_ladder, build_ladders
from pricing.plan import RatingPlan, read_plan
from serving.compose import find_product, open_service
from serving.jobs import sync_serving, train_product
from serving.records import Write, open_sync_records
from serving.replay import replay
from serving.settings import Settings
from serving.wire import QuoteRequest

home, end = Path(tempfile.mkdtemp(prefix="premia-notebook-")), datetime(2026, 1, 1)
products, plans = home / "products", home / "plans"
products.mkdir(), plans.mkdir()
settings = Settings(lake=home / "lake", products=products, plans=plans, clock=end, author="A. Actuary")

# %% [markdown]
# ## A plan is a file
# Amounts in yuan, shares of the net premium, relativities beside the model's. Here dear goods come back more
# often than the model knows, returns get 3 % more expensive a year, and a live stream costs more commission.

# %%
text = """
code = "freight-2026-07"
version = 1
author = "A. Actuary"
filing = "PREMIA-RETURN-FREIGHT-2026-007"
product = "return_freight"
currency = "CNY"
effective_from = 2025-12-01
reinsurance = "0.02"
margin = "0.03"
tax = "0.06"
minimum_premium = "0.60"
expense = { fixed = "0.05", variable = "0.03" }
commission = { direct = "0", platform = { own = "0.10", livestream = "0.14" } }
claims_inflation = { annual_rate = "0.03", base_date = 2025-07-01, target_date = 2026-07-01 }
cover_cap = { share = "0.60" }
renewal_cap = { rise = "0.20", fall = "0.20" }
rounding = { unit = "0.10", mode = "half_up" }
corridor = { lowest = "0.50", highest = "9.00" }
[relativities.order_amount]
bands = [{ at_least = 0, below = 500, relativity = "1.00" }, { at_least = 500, relativity = "1.10" }]
"""
file = plans / "freight-2026-07.toml"
file.write_text(text)
plan = read_plan(file)

# %% [markdown]
# ## One price, step by step
# A risk premium of 3.00 yuan for an order of 800, sold in a live stream; then one of 6.00, where the price
# may not pass 60 % of the cover of 10 yuan: a price of 8.90 for a cover of 9 was once asked in earnest.


# %%
def ladder(risk: float, amount: float = 800.0, expiring: int = 0) -> Ladder:
    facts = {"order_amount": amount, "category": "apparel"}
    inputs = PriceInputs(risk, plan.relativities_of(facts), cover_minor=1000, expiring_minor=expiring)
    return build_ladder(inputs, plan, "platform", "livestream")


figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
for axis, risk in zip(axes, (300.0, 600.0), strict=True):
    steps = {step.name.replace("_", " "): step.minor / 100 for step in ladder(risk).steps if step.minor}
    sizes, price = np.array(list(steps.values())), ladder(risk).price_minor / 100
    assert round(sizes.sum(), 2) == price
    colours = np.where(sizes > 0, "#0072B2", "#D55E00")
    axis.bar(range(len(sizes)), sizes, bottom=np.cumsum(sizes) - sizes, color=colours)
    axis.bar(len(sizes), price, color="black")
    axis.set_xticks(range(len(sizes) + 1), [*steps, "price"], rotation=40, ha="right")
    axis.set(title=f"Risk premium {risk / 100:.2f}, price {price:.2f}", ylabel="CNY", ylim=(0, 9.6))
plt.show()

# %% [markdown]
# ## What bounds do
# Below, the minimum premium holds the price up; above, the cover cap holds it down. A renewal moves by at
# most a fifth of the price that expires. A bound that acts is a step of the ladder and a reason of the quote.

# %%
risks = np.arange(20.0, 701.0, 5.0)
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
for name, expiring in (("new business", 0), ("renewal of a price of 4.00", 400)):
    axis.plot(risks / 100, [ladder(r, 100.0, expiring).price_minor / 100 for r in risks], label=name)
axis.plot(risks / 100, risks / 100, ":", color="grey", label="risk premium itself")
axis.set(title="Price by risk premium", xlabel="risk premium, CNY", ylabel="price, CNY")
axis.legend()
plt.show()

# %% [markdown]
# ## What each part is worth on a book
# The same orders priced with one part left out at a time; their risk premiums come from a GLM of the insurer.

# %%
simulate(settings.lake, customers=10_000, seed=1)
declared = (Path(data.__file__).parent / "reference" / "products" / "return_freight.toml").read_text()
declared = declared.replace("return_freight-2026-01", plan.code)
one_family = '\n[models]\nfamilies = ["glm"]\nchampion = "glm"\n'
(products / "return_freight.toml").write_text(declared + one_family)
product, spec = find_product(settings, "return_freight"), default_spec()
outcome = train_product(product, settings, spec, as_of=end, approver="B. Approver")
judged = outcome.result.judged
amounts, risks = judged.matrix[:, judged.inputs.index("order_amount")], judged.expected["glm"]
found = {}
for part in ("", "relativities", "claims_inflation", "reinsurance", "minimum_premium", "cover_cap"):
    left_out = {part: "0" if part == "minimum_premium" else None} if part else {}
    used = RatingPlan.model_validate(plan.model_dump() | left_out)
    tables = tuple(table.of_numbers(amounts) for table in (used.relativities or {}).values())
    found[part] = build_ladders(PriceInputs(risks, tables, cover_minor=1000), used, "platform", "own")
whole, rows = found.pop(""), {}
for part, other in found.items():
    filed = (whole.refusal == "") & (other.refusal == "")
    new, old = whole.price_minor[filed], other.price_minor[filed]
    rows[part] = new.sum() / old.sum() - 1, np.mean(new != old), np.mean(other.refusal == "corridor")
columns = ["premium it adds", "prices it moves", "outside the corridor without it"]
pd.DataFrame.from_dict(rows, orient="index", columns=columns).map("{:.1%}".format)

# %% [markdown]
# Rounding to 10 fen and the cap swallow inflation and reinsurance on most prices. The minimum lifts the
# safest orders, whose risk premium is a few fen. The cover cap moves most: the riskiest pay less than their
# risk costs, or would otherwise have gone to a person. That is a decision about whom to insure.
#
# ## What is refused
# A plan is held against itself and against its product before anything is priced.

# %%
wrong = {
    "a gap between bands": ("below = 500, relativity", "below = 400, relativity"),
    "loadings of 100 %": ('margin = "0.03"', 'margin = "0.95"'),
    "corridor above the minimum": ('lowest = "0.50"', 'lowest = "0.90"'),
    "a cap below the minimum": ('share = "0.60"', 'share = "0.05"'),
}
for name, change in wrong.items():
    try:
        print(
            f"{name}:",
            *parse_definition(RatingPlan, text.replace(*change), file.name).product_problems(product),
        )
    except PricingError as error:
        print(f"{name}:", error)

# %% [markdown]
# ## Who may change it: approved, in service, on record
# The plan went into service with the model, approved by a second person. A quote names it, and replay
# recomputes the quote from the archive, step by step.

# %%
sync_serving(settings, spec, end)
request = {"product": "return_freight", "channel": "platform", "sub_channel": "own", "customer_id": 1,
           "seller_id": 1, "risk": {"order_amount": 800.0, "category": "books"}}  # fmt: skip
with closing(open_service(settings)) as service:
    priced = service.price(QuoteRequest(**request))
quote = priced.answer
with closing(open_sync_records(settings)) as store:
    store.commit(Write(quotes=(priced.record,)))
    again = replay(quote.quote_id, store, Registry(settings.registry))
assert again.first_difference is None
print(quote.status, quote.versions.plan, quote.versions.filing, again.seal, sep=" · ")
pd.DataFrame([(x.name, x.stored, x.recomputed) for x in again.lines], columns=["", "stored", "recomputed"])

# %% [markdown]
# A change is a new version, approved anew: where the file alone is edited, the product leaves service.
# `premia impact` says beforehand what the change would do to the book.
