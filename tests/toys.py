"""Toy tables that several tests share: a product with a protected attribute, rows of French motor."""

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


def motor_rows(n: int, seed: int = 7, young: float = 1.2, rate: float = 0.25) -> pa.Table:
    """Simulate rows with the columns of freMTPL2; claims of drivers under 26 are exp(young) as many."""
    rng = np.random.default_rng(seed)
    age, exposure = rng.integers(18, 91, n), rng.uniform(0.1, 1.0, n)
    claims = rng.poisson(rate * np.exp(young * (age < 26)) * exposure)
    return pa.table(
        {
            "Area": rng.choice(list("ABCDEF"), n),
            "VehPower": rng.integers(4, 16, n),
            "VehAge": rng.integers(0, 25, n),
            "DrivAge": age,
            "BonusMalus": rng.integers(50, 120, n),
            "VehBrand": rng.choice(["B1", "B2", "B12"], n),
            "VehGas": rng.choice(["Diesel", "Regular"], n),
            "Density": rng.integers(1, 9000, n).astype(float),
            "Region": rng.choice(["R11", "R24", "R93"], n),
            "Exposure": exposure,
            "ClaimNb": claims,
            "ClaimTotal": np.round(rng.gamma(np.maximum(2.0 * claims, 1), 700.0) * (claims > 0), 2),
            "LearnTest": np.where(rng.random(n) < 0.3, "T", "L"),
        }
    )
