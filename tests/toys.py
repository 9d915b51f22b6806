"""A toy product with a protected attribute, and a table for it, that several tests share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

TOY = """
code = "toy"
version = 1
currency = "EUR"
plan = "toy-1"
quote_valid_minutes = 60
protected = ["sex"]
name = { en = "Toy", zh = "玩具" }
cover = { kind = "fixed_benefit", per = "year", days = 365, benefit = "100.00" }
response = { kind = "claim_count", count = "claims" }
exposure = { column = "exposure", unit = "policy-year" }
split = { method = "column", column = "part", test = "T" }
offer = { need = "home" }
models = { families = ["ga2m"], champion = "ga2m" }

[[factors]]
name = "power"
label = { en = "Power", zh = "功率" }
type = "number"
unit = "kW"
minimum = 0
maximum = 100
"""


def toy_book(rows: int, proxy: float) -> pa.Table:
    """Women have half the claims; `proxy` moves their power, so that it gives them away."""
    rng = np.random.default_rng(3)
    woman = rng.random(rows) < 0.4
    power = np.clip(rng.normal(50 + proxy * np.where(woman, -15, 15), 10), 0, 100)
    rate = np.where(woman, 0.1, 0.2) * np.exp(0.01 * (power - 50))
    exposure = rng.uniform(0.3, 1.0, rows)
    return pa.table(
        {
            "sex": np.where(woman, "w", "m"),
            "power": power,
            "exposure": exposure,
            "claims": rng.poisson(rate * exposure),
            "part": np.where(np.arange(rows) % 4, "L", "T"),
        }
    )
