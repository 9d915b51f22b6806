"""Model card and filing pack of a trained model: complete, checked, never written over, or refused."""

import hashlib
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.audit import Entry
from models.errors import FilingError
from models.families import FitSettings
from models.governance import Evidence, audit_fairness, filing_pack, model_card
from models.tariff.proposal import tariff_of, tariff_rows
from models.tariff.tariff import Source
from models.training import train
from pricing.plan import read_plan
from pricing.product import parse_product
from tests.toys import TOY, toy_book

CARD = """
[card]
aim = "Toys."
risk_tier = "minimal"
roles = "Ann builds, Bob approves."
it_links = "None."
data = "Drawn at random."
exclusions = "Nothing."
preparation = "None."
security = "None needed."
limits = "It is a toy."
reliance = "On nobody."
"""
LOG = [
    Entry(datetime(2026, 1, 1), "toy", "1", "proposed", "ann", {}),
    Entry(datetime(2026, 1, 2), "toy", "1", "approved", "bob", {}),
]


@pytest.fixture(scope="module")
def trained():
    table = toy_book(6_000, 0.5)
    product = parse_product(TOY.replace("\n[[factors]]", CARD + "\n[[factors]]"), "toy.toml")
    return product, table, train(product, table, settings=FitSettings(rounds=20, learning_rate=0.1))


def evidence_of(trained, folder) -> Evidence:
    product, table, result = trained
    learn, _ = tariff_rows(product, table)
    judged = result.judged
    prices = np.linspace(100.0, 200.0, 50)
    return Evidence(
        judged.actual,
        judged.expected["ga2m"],
        judged.exposure,
        pd.DataFrame(judged.matrix, columns=list(judged.inputs)),
        tariff_of(result.bundle(), Source("1", "abc", "ga2m"), learn),
        prices,
        prices * 1.04,
        {"half": ["a"] * 25 + ["b"] * 25},
        LOG,
        audit_fairness(product, table, result.models["ga2m"], settings=FitSettings(rounds=10)),
    )


def test_the_card_says_what_the_artifact_says(trained):
    product, _, result = trained
    card = model_card(result.bundle(), "1", "abc", log=LOG)
    text = card.markdown()
    assert card.gaps == ()
    for expected in (
        "Toys.",
        "approved by bob",
        product.hash,
        "one-way",
        "lightgbm 4",
        "sha256 abc",
        "Result: d2",
    ):
        assert expected in text
    assert text.count("EIOPA-BoS-25-360, field") == 9
    assert "Not audited (the table does not hold it): sex" in text


@pytest.mark.slow
def test_a_pack_is_whole_and_every_file_has_its_checksum(trained, tmp_path):
    plan = read_plan_for_toy(tmp_path)
    evidence = evidence_of(trained, tmp_path)
    bundle = trained[2].bundle()
    files = filing_pack(tmp_path / "pack", bundle, "1", "abc", plan, evidence)
    names = {str(path.relative_to(tmp_path / "pack")) for path in files}
    assert {"model_card.md", "tariff.xlsx", "lift.png", "rate_disruption.csv", "premium_by_sex.csv"} <= names
    assert "actual_expected_power.csv" in names
    manifest = json.loads((tmp_path / "pack" / "manifest.json").read_text())
    assert set(manifest["files"]) == names - {"manifest.json"}
    for name, found in manifest["files"].items():
        assert hashlib.sha256((tmp_path / "pack" / name).read_bytes()).hexdigest() == found
    moved = pd.read_csv(tmp_path / "pack" / "rate_disruption.csv", index_col=0)
    assert moved["policies"].to_dict()["0% to +5%"] == 50
    with pytest.raises(FilingError, match="never written over"):
        filing_pack(tmp_path / "pack", bundle, "1", "abc", plan, evidence)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pack", "toy-1.toml"]


def test_a_pack_without_card_is_refused_and_nothing_is_left(trained, tmp_path):
    product, _, result = trained
    bare = result.bundle().__class__(
        **{**vars(result.bundle()), "product": product.model_copy(update={"card": None})}
    )
    assert "Aim" in model_card(bare, "1", "abc").gaps
    evidence = Evidence(*([np.ones(3)] * 3), pd.DataFrame(), None, np.empty(0), np.empty(0), {})
    with pytest.raises(FilingError, match="no \\[card\\]"):
        filing_pack(tmp_path / "pack", bare, "1", "abc", read_plan_for_toy(tmp_path), evidence)
    assert [p.name for p in tmp_path.iterdir()] == ["toy-1.toml"]


def read_plan_for_toy(folder):
    text = (Path(__file__).parents[2] / "data/reference/plans/motor_fr-2026-01.toml").read_text()
    path = folder / "toy-1.toml"
    path.write_text(text.replace("motor_fr-2026-01", "toy-1").replace("motor_fr", "toy"))
    return read_plan(path)
