"""Checks of a table: every fault with rows, claims and what is done; training refuses the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.errors import TrainingDataError
from models.preparation.table_checks import check_table
from models.response import read_observed
from pricing.product import Periods, Product, parse_product, read_product

FOLDER = Path(__file__).parents[2] / "data" / "reference" / "products"


@pytest.fixture(scope="module")
def product() -> Product:
    return read_product(FOLDER / "motor_fr.toml")


def rows(n: int = 4000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    claims = rng.poisson(0.1, n)
    return pd.DataFrame(
        {
            "Area": rng.choice(list("ABCDEF"), n),
            "VehPower": rng.integers(4, 16, n),
            "VehAge": rng.integers(0, 41, n),
            "DrivAge": rng.integers(18, 91, n),
            "BonusMalus": rng.integers(50, 231, n),
            "VehBrand": rng.choice(["B1", "B2", "B3"], n),
            "VehGas": rng.choice(["Diesel", "Regular"], n),
            "Density": rng.integers(1, 27001, n).astype(float),
            "Region": rng.choice(["R11", "R24", "R82"], n),
            "Exposure": rng.uniform(0.1, 1, n),
            "ClaimNb": claims,
            "ClaimTotal": np.round(rng.gamma(2, 500, n), 2) * (claims > 0),
            "LearnTest": rng.choice(["L", "T"], n, p=[0.8, 0.2]),
        }
    )


def lines(product: Product, frame: pd.DataFrame, **more: object) -> pd.DataFrame:
    return check_table(product, pa.Table.from_pandas(frame, preserve_index=False), **more).frame


def test_a_sound_table_passes_everything(product):
    found = check_table(product, pa.Table.from_pandas(rows(), preserve_index=False))
    assert not len(found.refused)
    found.raise_if_refused()
    assert set(found.frame["done"]) == {"passed", "kept", "not checked"}
    thin = found.frame[
        (found.frame["check"] == "few claims") & (found.frame["field"] == "vehicle_brand")
    ].iloc[0]
    assert thin["done"] == "kept"
    assert "B14 (0)" in thin["detail"]
    assert thin["rows"] == 0  # the levels are in the product file, not in the table


@pytest.mark.parametrize(
    ("column", "value", "check", "sentence"),
    [
        ("Exposure", 0.0, "exposure", "3 rows: Exposure is zero or negative"),
        ("Exposure", 1.5, "exposure", "3 rows: Exposure lies above its maximum of 1"),
        ("ClaimTotal", np.nan, "missing", "3 rows: ClaimTotal is missing or not finite"),
        ("ClaimTotal", -5.0, "amount", "3 rows: amounts are negative"),
        ("Area", "Z", "unknown", "3 rows: area is unknown; allowed is one of A, B"),
        ("Area", None, "missing", "3 rows: area is missing"),
        ("VehPower", 99, "outside its bounds", "3 rows: vehicle_power is outside its bounds"),
    ],
)
def test_a_fault_is_refused_with_its_rows_and_claims(product, column, value, check, sentence):
    frame = rows().astype({"VehPower": float})
    frame["ClaimNb"] = frame["ClaimNb"].where(frame.index > 4, 1)
    frame.loc[:2, column] = value
    found = check_table(product, pa.Table.from_pandas(frame, preserve_index=False))
    line = found.refused[found.refused["check"] == check].iloc[0]
    assert (line["rows"], line["claims"]) == (3, 3.0)
    with pytest.raises(TrainingDataError, match=sentence):
        found.raise_if_refused()


def test_training_refuses_what_the_checks_refuse(product):
    frame = rows()
    frame.loc[:4, "Exposure"] = -1.0
    frame.loc[7, "ClaimNb"], frame.loc[7, "ClaimTotal"] = 0, 80.0
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with pytest.raises(TrainingDataError) as refused:
        read_observed(product, table)
    assert list(refused.value.problems) == list(check_table(product, table).refused["detail"])
    assert len(refused.value.problems) == 2


def test_what_the_product_file_handles_is_said_not_refused(product):
    frame = rows()
    frame.loc[:9, "DrivAge"] = 95
    line = lines(product, frame).query("field == 'driver_age'").iloc[0]
    assert (line["check"], line["rows"], line["done"]) == (
        "outside its bounds",
        10,
        "rated at the nearest bound",
    )
    area = product.factors[0].model_copy(update={"unknown": "A", "missing": "B"})
    kind = product.model_copy(update={"factors": (area, *product.factors[1:])})
    frame.loc[:3, "Area"], frame.loc[4:5, "Area"] = "Z", None
    done = lines(kind, frame).query("field == 'area' and check != 'few claims'").set_index("check")["done"]
    assert done.to_dict() == {"unknown": "rated as A", "missing": "rated as B"}


def test_a_constant_target_and_a_split_without_claims_are_refused(product):
    frame = rows()
    frame.loc[frame["LearnTest"] == "T", ["ClaimNb", "ClaimTotal"]] = 0
    refused = check_table(product, pa.Table.from_pandas(frame, preserve_index=False)).refused
    assert list(refused["check"]) == ["target of test rows"]
    assert "hold 0 claims; at least 20 are needed" in refused["detail"].iloc[0]
    frame["LearnTest"] = "L"
    assert "split" in set(lines(product, frame).query("done == 'refused'")["check"])


def test_absent_columns_are_all_named(product):
    refused = lines(product, rows().drop(columns=["ClaimNb", "Region"])).query("done == 'refused'")
    assert {"column 'ClaimNb' is absent", "column 'Region' is absent"} <= {
        detail.split(" (")[0] for detail in refused["detail"]
    }


def test_overlapping_periods_of_one_policy_are_refused(product):
    frame = rows(200)
    frame["policy"] = np.arange(200)
    frame["from"] = pd.Timestamp("2025-01-01")
    frame["to"] = pd.Timestamp("2025-07-01")
    frame.loc[[1, 2, 3], "policy"] = 0
    frame.loc[1, ["from", "to"]] = [pd.Timestamp("2025-07-01"), pd.Timestamp("2025-12-01")]  # follows on
    frame.loc[2, ["from", "to"]] = [pd.Timestamp("2025-06-30"), pd.Timestamp("2025-07-02")]  # overlaps both
    frame.loc[3, ["from", "to"]] = [pd.Timestamp("2026-02-01"), pd.Timestamp("2026-01-01")]  # ends before
    periods = Periods(policy="policy", start="from", end="to")
    line = lines(product, frame, periods=periods).query("check == 'overlap'").iloc[0]
    assert (line["rows"], line["done"]) == (3, "refused")
    sound = lines(product, frame.iloc[4:], periods=periods).query("check == 'overlap'")
    assert sound["done"].iloc[0] == "passed"
    unasked = lines(product, frame).query("check == 'overlap'")
    assert unasked["done"].iloc[0] == "not checked"


def test_periods_of_the_product_file_are_checked_in_training_too(product):
    text = (FOLDER / "motor_fr.toml").read_text(encoding="utf-8")
    declared = parse_product(
        text + '\n[exposure.periods]\npolicy = "policy"\nstart = "from"\nend = "to"\n', "motor_fr.toml"
    )
    assert declared.hash != product.hash
    frame = rows(400)
    with pytest.raises(TrainingDataError, match="column 'policy' is absent"):
        read_observed(declared, pa.Table.from_pandas(frame))
    frame["policy"], frame["from"] = np.arange(400) // 2, pd.Timestamp("2025-01-01")
    frame["to"] = pd.Timestamp("2026-01-01")
    with pytest.raises(TrainingDataError, match="200 rows: policy is on risk in another row already"):
        read_observed(declared, pa.Table.from_pandas(frame))
    assert "overlap" in set(lines(declared, frame).query("done == 'refused'")["check"])


def test_capped_amounts_of_single_claims_are_read_and_checked(product):
    frame = rows()
    frame["capped"] = np.minimum(frame["ClaimTotal"], 700.0)
    response = product.response.model_copy(update={"capped": "capped"})
    kind = product.model_copy(update={"response": response})
    observed = read_observed(kind, pa.Table.from_pandas(frame, preserve_index=False))
    assert observed.capped_minor == pytest.approx(frame["capped"] * 100, abs=0.5)
    frame.loc[:1, "capped"] = frame["ClaimTotal"].max() + 1
    refused = lines(kind, frame).query("done == 'refused'")
    assert refused["detail"].to_list() == ["2 rows: capped lies outside 0 to the amount"]
