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
# # French motor, from raw tables to a tariff
#
# One question: **which tariff do 678,013 raw policies and 26,444 claims support?**
#
# freMTPL2, from the folder that `PREMIA_SHARED_DATA` names. Nothing is chosen on test rows.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import pyarrow as pa
from IPython.display import display

import data
from data.public import clean_french_motor, read_shared
from models import FitSettings, train
from models import diagnostics as dx
from models.preparation import Columns, cap_claims, check_table, mean_excess, one_way, two_way
from models.tariff import (
    Banding,
    Monotone,
    Smoothing,
    factor_figure,
    make_tariff,
    read_tariff,
    restrict,
    tariff_rows,
    write_tariff,
)
from pricing.product import read_product

shared = Path(os.environ["PREMIA_SHARED_DATA"])
product = read_product(Path(data.__file__).parent / "reference" / "products" / "motor_fr.toml")
raw = read_shared(shared, "freMTPL2freq_raw").to_pandas()
claims = read_shared(shared, "freMTPL2sev_26444").to_pandas()
split = read_shared(shared, "freMTPL2freq_clean_learntest").to_pandas()[["IDpol", "LearnTest"]]

# %% [markdown]
# ## Is the table fit for modelling?
# As it came, no: some exposures are above a year, and a quarter of the counted claims have no amount.

# %%
paid = claims.groupby("IDpol")["ClaimAmount"].sum()
as_it_came = raw.assign(ClaimTotal=raw["IDpol"].map(paid).fillna(0.0)).merge(split, on="IDpol")
print(f"{raw['ClaimNb'].sum():,} claims counted, {len(claims):,} with an amount")
check_table(product, pa.Table.from_pandas(as_it_came, preserve_index=False)).refused

# %% [markdown]
# Cleaned as Wüthrich and Merz do (claims counted from the claim table, exposure at most a year), it passes;
# what is left are values outside their bounds, which the product file rates at the nearest bound.

# %%
frame = clean_french_motor(raw, claims).merge(split.astype({"IDpol": "int64"}), on="IDpol")
checks = check_table(product, pa.Table.from_pandas(frame, preserve_index=False))
checks.raise_if_refused()
checks.frame.query("rows > 0")

# %% [markdown]
# ## What the data say before any model
# Drivers below 28 claim nearly twice as often. Two ways: towns (E, F) claim most, and in every area vehicles
# of middle age claim more than old ones.

# %%
columns = Columns(exposure="Exposure", claims="ClaimNb", amount="ClaimTotal")
display(one_way(frame, "DrivAge", columns, bands=15).figure("frequency"))
display(two_way(frame, ("Area", "VehAge"), columns, bands={"VehAge": 6}).figure("frequency"))

# %% [markdown]
# ## Large losses
# Above the threshold the mean excess rises in a line: a heavy tail that no rating factor explains. What lies
# above 50,000 EUR (the product file) is pooled over all exposure.

# %%
large = float(product.response.large_loss)
display(mean_excess(claims["ClaimAmount"]).figure(threshold=large))
capped = cap_claims(claims, policy="IDpol", amount="ClaimAmount", threshold=large)
share = capped.excess / claims["ClaimAmount"].sum()
print(
    f"{capped.frame['large'].sum()} claims above {large:,.0f}: {share:.0%} of all cost, "
    f"{capped.load(frame['Exposure'].sum()):.2f} EUR a policy-year"
)

# %% [markdown]
# ## Models
# GLM, free booster and GA2M on a quarter of the learn rows and few rounds, so that this page stays quick;
# `make bench ONLY=accuracy` fits all rows with tuned settings.

# %%
kept = frame[(frame["LearnTest"] == "T") | (frame["IDpol"] % 4 == 0)]
table = pa.Table.from_pandas(kept, preserve_index=False)
result = train(product, table, settings=FitSettings(rounds=150, learning_rate=0.1))
result.comparison[["deviance_x100", "d2", "gini", "ae", "severity_deviance", "cost_gini"]]

# %% [markdown]
# ## Are they right, on test rows?
# Claims rise with every tenth of the prediction; where GLM and GA2M disagree, the claims follow the GA2M.

# %%
held = result.judged.response
claimed, exposure, units = held.held.actual, held.held.exposure, dx.Units("claims", "policy-year")
expected = {name: held.expected[name] for name in ("glm", "ga2m")}
display(dx.calibration(claimed, expected, exposure).figure(units))
display(dx.double_lift(claimed, expected, exposure, new="ga2m", old="glm").figure(units))
age = held.held.factors["driver_age"]
display(dx.one_way(claimed, expected, exposure, age, name="driver age").figure(units))

# %% [markdown]
# ## The tariff
# The GA2M is already made of tables. Written against base levels, it is a tariff that prices to the same bit.

# %%
learn, test = tariff_rows(product, table)
model = result.models["ga2m"]
plain = make_tariff(product, result.encoding, model, learn, base={"area": "C"})
assert (plain.model().risk_premium(test.values) == model.risk_premium(test.values)).all()
display(factor_figure(plain, "frequency", "driver_age"))

# %% [markdown]
# ## Smoothed and banded, at a recorded cost
# Each restriction restores the total of the learn rows and says what it costs in deviance. Forcing bonus-
# malus to
# rise is the dear one: think twice before filing it.

# %%
tariff = plain
for restriction in (
    Smoothing("frequency", ("driver_age",)),
    Monotone("frequency", "bonus_malus", 1),
    Banding("frequency", "driver_age", loss=0.01),
    Banding("frequency", "vehicle_brand", loss=0.02),
):
    tariff = restrict(tariff, restriction, learn)
print(*tariff.records, sep="\n\n")
display(factor_figure(tariff, "frequency", "driver_age", before=plain))

# %% [markdown]
# ## To Excel, and back
# One sheet per table; what comes back prices the test rows to the same bit.

# %%
path = write_tariff(tariff, Path(tempfile.mkdtemp(prefix="premia-notebook-")) / "motor_fr.xlsx")
back = read_tariff(path)
assert (back.model().risk_premium(test.values) == tariff.model().risk_premium(test.values)).all()
print(f"{path.name}: {path.stat().st_size / 1000:,.0f} kB, {len(tariff.records)} restrictions recorded")
