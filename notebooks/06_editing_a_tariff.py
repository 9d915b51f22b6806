# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   premia:
#     needs: PREMIA_SHARED_DATA
# ---

# %% [markdown]
# # Editing a tariff, and what it does to the book
#
# One question: **an actuary changes relativities in Excel; who pays more, and what does it cost in fit?**
#
# The Belgian book (beMTPL97), from the folder that `PREMIA_SHARED_DATA` names.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import openpyxl
from IPython.display import display

import data
from data.public import read_shared
from models import FitSettings, train
from models.dislocation import dislocation
from models.tariff import (
    Distilling,
    diff,
    distil,
    factor_figure,
    fidelity,
    make_tariff,
    pair_figure,
    read_tariff,
    tariff_rows,
    write_tariff,
)
from models.tariff.rows import deviance
from pricing.ladder import PriceInputs, build_ladders
from pricing.plan import read_plan
from pricing.product import read_product

reference = Path(data.__file__).parent / "reference"
product = read_product(reference / "products" / "motor_be.toml")
plan = read_plan(reference / "plans" / f"{product.plan}.toml")
table = read_shared(Path(os.environ["PREMIA_SHARED_DATA"]), "beMTPL97_folds")

# %% [markdown]
# ## A model, as a tariff
# The GLM is made of tables, so its tariff prices to the same bit.

# %%
result = train(product, table, settings=FitSettings(rounds=100, learning_rate=0.1))
learn, test = tariff_rows(product, table)
before = make_tariff(product, result.encoding, result.models["glm"], learn)
path = write_tariff(before, Path(tempfile.mkdtemp(prefix="premia-notebook-")) / "motor_be.xlsx")
display(factor_figure(before, "frequency", "fuel"))

# %% [markdown]
# ## Edit in Excel
# As an actuary would by hand: diesel a tenth dearer, and nobody above bonus-malus 10 beyond relativity 2.

# %%
book = openpyxl.load_workbook(path)
for sheet in book.worksheets:
    for row in sheet.iter_rows(min_row=4):
        if "freq fuel" in sheet.title and row[0].value == "diesel":
            row[5].value *= 1.10
        if "freq bonus_malus" in sheet.title and isinstance(row[5].value, float) and row[5].value > 2.0:
            row[5].value = 2.0
book.save(path)
after = read_tariff(path, editor="A. Actuary")
display(factor_figure(after, "frequency", "bonus_malus", before=before))

# %% [markdown]
# ## What changed, in plain words
# Every changed cell, largest effect on the premium first.

# %%
print(diff(before, after, test.values, test.exposure))

# %% [markdown]
# ## What it does to the book
# Both tariffs under the filed plan: expenses, commission and tax soften the change of the risk premium.

# %%
old, new = (
    build_ladders(PriceInputs(t.model().risk_premium(test.values)), plan, "direct") for t in (before, after)
)
priced = (old.refusal == "") & (new.refusal == "")
print(f"{(~priced).sum()} of {len(priced):,} policies lie outside the corridor and go to a person")
fuel = table.to_pandas().query("fold == 6")["fuel"].to_numpy()[priced]
moved = dislocation(old.price_minor[priced] / 100, new.price_minor[priced] / 100, {"fuel": fuel})
display(moved.figure())
moved.segments

# %% [markdown]
# ## What it costs in fit
# Deviance on the learn rows, as restrictions record it: an edit against the data always costs something.

# %%
design = learn.designs["frequency"]
costs = {
    name: deviance(design, t.model().components["frequency"])
    for name, t in (("before", before), ("after", after))
}
print({name: round(cost, 6) for name, cost in costs.items()}, f"{costs['after'] / costs['before'] - 1:+.4%}")

# %% [markdown]
# ## A booster as a tariff
# Distilled into one-way tables and its two strongest pairs. On test rows: how much of the booster is kept.

# %%
booster = result.models["gbm"]
distilled = distil(product, result.encoding, booster, learn, Distilling(strongest=2))
kept = fidelity(distilled, booster, test)
display(kept.frame[["correlation", "r2", "deviance_kept", "gini_model", "gini_tariff", "deviation_99"]])
pairs = [t.inputs for t in distilled.component("frequency").tables if len(t.inputs) == 2]
display(pair_figure(distilled, "frequency", *pairs[0]))
kept.lost.head(5)

# %% [markdown]
# `deviance_kept` is the share that the tariff keeps; the lines above name the interactions that it lacks.
