# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Which of four models may price, and who said so?
#
# Four models see the same rows and are judged on the same later rows. Thresholds set beforehand say which
# may price, a second person approves, and the registry remembers what priced when.

# %%
import tempfile
from datetime import datetime
from pathlib import Path

from IPython.display import Markdown, display

import data
from data.simulate import simulate
from data.store import connect
from features import default_spec
from models import FitSettings, attach_profiles, compare, train, training_table
from models.diagnostics import Units, double_lift, one_way
from models.errors import PromotionError
from models.governance import model_card
from models.registry import Registry
from pricing.plan import read_plan
from pricing.product import read_product
from pricing.promotion import BySegment, Promotion

# %matplotlib inline
reference = Path(data.__file__).parent / "reference"
scratch = Path(tempfile.mkdtemp(prefix="premia-notebook-"))
simulate(scratch, customers=15_000, seed=1)
product, spec, con = (
    read_product(reference / "products" / "return_freight.toml"),
    default_spec(),
    connect(scratch),
)
table = attach_profiles(con, training_table(con, product, datetime(2026, 1, 1)), product, spec, scratch)

# %% [markdown]
# ## Thresholds first
# They stand in the product file, before anything is fitted: a tenth of the deviance explained, and every
# category of goods in balance.

# %%
thresholds = Promotion(least_d2=0.1, segments=BySegment(columns=("category",), lowest_ae=0.7, highest_ae=1.4))
families = product.models.model_copy(update={"families": ("glm", "gbm", "ga2m"), "champion": "glm"})
product = product.model_copy(update={"promotion": thresholds, "models": families})
quick = FitSettings(rounds=200, learning_rate=0.05)
result = train(product, table, feature_spec=spec, settings=quick)
weak = train(product, table, feature_spec=spec, settings=FitSettings(rounds=3, learning_rate=0.02))

# %% [markdown]
# ## Four models on the same covers
# The three families, and a booster that was stopped far too early. The p-values are those of the paired
# tests.

# %%
held = result.judged.response.held
rows = held.factors.assign(actual=held.actual, exposure=held.exposure)
totals = {name: result.judged.response.expected[name] for name in result.models}
totals["stopped_early"] = weak.judged.response.expected["ga2m"]
found = compare(totals, rows, objective="binary", null_rate=held.null_rate, segments=("category",))
display(found.table.drop(columns="seconds").round(4))
found.tests.round(5)

# %% [markdown]
# A small p says that the two differ by more than chance. The one stopped early loses to all others; between
# the other three, chance may decide, so the simplest may price.
#
# ## Why
# Lorenz: who ranks. Murphy: who is better whatever the loss. Calibration: whose level is right. Double
# lift: who is right where the two disagree.

# %%
units = Units("claims", "cover")
judging = found.judging
for figure in (judging.lorenz.figure(units), judging.murphy.figure(units), judging.calibration.figure(units)):
    display(figure)
pair = {name: totals[name] for name in ("ga2m", "glm")}
display(
    double_lift(held.actual, pair, held.exposure, new="ga2m", old="glm", objective="binary").figure(units)
)
segment = one_way(held.actual, totals, held.exposure, held.factors["category"], objective="binary")
display(segment.figure(units))

# %% [markdown]
# Stopped early, a model ranks nearly as well and is wrong in level: too high for the safe, too low for the
# others. That is why Gini alone never decides.
#
# Nor are the good ones above doubt: all three expect a few percent too many claims (`ae` below one, small
# `balance_p`), and a small `autocalibration_p` says that some levels are off. This product asks for neither;
# who wants to sets `least_autocalibration_p` in the product file, before the model is trained.
#
# ## A refusal
# The weak model is logged like any other. It misses thresholds, and nobody's name puts it into service.

# %%
registry = Registry(scratch / "registry")
plan = read_plan(reference / "plans" / f"{product.plan}.toml")
early = product.model_copy(update={"models": families.model_copy(update={"champion": "ga2m"})})
weak = train(early, table, feature_spec=spec, settings=FitSettings(rounds=3, learning_rate=0.02))
refused = registry.log_training(weak, author="Li Wei", at=datetime(2026, 1, 5))
display(registry.decision(product.code, refused).frame.query("finding != 'met'"))
try:
    registry.promote(product.code, refused, by="Chen Jing", plan=plan, at=datetime(2026, 1, 6))
except PromotionError as error:
    print("refused:", error)

# %% [markdown]
# ## A promotion
# The GLM meets them all. Its author may not approve it; a second person may.

# %%
first = registry.log_training(result, author="Li Wei", at=datetime(2026, 1, 7))
try:
    registry.promote(product.code, first, by="li wei", plan=plan, at=datetime(2026, 1, 8))
except PromotionError as error:
    print("refused:", error)
print(registry.promote(product.code, first, by="Chen Jing", plan=plan, at=datetime(2026, 1, 8)))

# %% [markdown]
# ## What priced on 1 February, and on what ground?
# The log cannot be changed. It names model, plan, filing and people for any past moment.

# %%
period = registry.audit.at(product.code, datetime(2026, 2, 1))
what = period.identity
print(
    f"version {period.version} ({what.family} {what.model_hash[:12]}), plan {what.plan}, filing {what.filing}"
)
print(f"trained by {what.author}, approved by {period.approver}, since {period.since:%Y-%m-%d}")
assert registry.audit.at(product.code, datetime(2026, 1, 7)) is None  # nothing priced before

# %%
bundle, artifact = registry.stored(product.code, first)
card = model_card(bundle, first, artifact, log=registry.audit.entries(product.code, first))
Markdown(card.markdown())
