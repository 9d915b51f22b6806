"""Tuning sees learn rows alone, never does worse than the defaults, and goes on where it was stopped."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from models.errors import TuningError
from models.families import Design, FitSettings
from models.families.boosting import BoosterModel
from models.splits import mark_test_rows
from models.training import train
from models.tuned import TunedSettings, read_tuned, tuned_path, write_tuned
from models.tuning import FOLDS, Search, tune, tune_family
from pricing.errors import DefinitionError
from pricing.product import Product, parse_product
from serving.cli import app

SHORT = FitSettings(rounds=40, members=2, patience=20, learning_rate=0.1)
PRODUCT = """
code = "trial"
version = 1
currency = "CNY"
plan = "trial-1"
quote_valid_minutes = 10
name = { en = "Trial", zh = "试" }
[cover]
kind = "fixed_benefit"
benefit = "100.00"
per = "year"
days = 365
[response]
kind = "claim_count"
count = "claims"
[exposure]
unit = "policy-year"
[split]
method = "group"
column = "customer"
[models]
families = ["glm", "gbm", "ga2m_ensemble"]
champion = "ga2m_ensemble"
[offer]
need = "trial"
[[factors]]
name = "age"
label = { en = "Age", zh = "龄" }
type = "integer"
unit = "years"
minimum = 18
maximum = 80
[[factors]]
name = "fuel"
label = { en = "Fuel", zh = "燃" }
type = "category"
levels = ["petrol", "diesel", "electric"]
"""


def product() -> Product:
    return parse_product(PRODUCT, "trial.toml")


def table_of(n: int = 2500) -> pa.Table:
    rng = np.random.default_rng(3)
    age, fuel = rng.integers(18, 81, n), rng.integers(0, 3, n)
    rate = 0.4 * np.exp(0.03 * (age - 50) * (fuel == 1))
    return pa.table(
        {
            "age": age,
            "fuel": pa.array(np.array(["petrol", "diesel", "electric"])[fuel]),
            "claims": rng.poisson(rate),
            "customer": rng.integers(0, 1200, n),
        }
    )


def design(groups: bool = False) -> Design:
    table = table_of()
    values = np.column_stack([table["age"].to_numpy(), np.arange(table.num_rows) % 3]).astype(float)
    keys = table["customer"].to_numpy() if groups else None
    target = table["claims"].to_numpy().astype(float)
    return Design(values, target, np.ones(len(target)), ("age", "fuel"), (0, 3), (0, 0), "poisson", keys)


def test_settings_come_back_from_their_file_and_other_content_is_refused(tmp_path):
    tuned = TunedSettings.model_validate(
        {
            "product": "trial",
            "frequency": {"gbm": {"ridge": 1e-7, "rounds": 30, "record": {"seed": 1, "lightgbm": "4.7.0"}}},
        }
    )
    path = tmp_path / "settings" / "trial.toml"
    write_tuned(path, tuned)
    assert read_tuned(path) == tuned
    more = TunedSettings.model_validate({"product": "trial", "frequency": {"glm": {"level_claims": 2.0}}})
    write_tuned(path, more)
    both = read_tuned(path)
    assert both.frequency["gbm"] == tuned.frequency["gbm"]
    assert both.frequency["glm"].level_claims == 2.0
    assert both.apply(SHORT, "frequency", "gbm").rounds == 30
    assert both.apply(SHORT, "frequency", "ga2m") == SHORT
    members = TunedSettings.model_validate(
        {"product": "trial", "frequency": {"ga2m": {"rounds": 30}, "ga2m_ensemble": {"members": 7}}}
    )
    assert members.apply(SHORT, "frequency", "ga2m").members == SHORT.members
    rested = members.apply(SHORT, "frequency", "ga2m_ensemble")
    assert (rested.rounds, rested.members) == (30, 7)
    with pytest.raises(TuningError, match="tuned for 'other', the product is 'trial'"):
        train(product(), table_of(), tuned=TunedSettings(product="other"))
    for line, sentence in (
        ("leafs = 3", "did you mean 'leaves'"),
        ("rounds = 0", "greater than or equal to 1"),
    ):
        path.write_text(f'product = "trial"\n[frequency.gbm]\n{line}\n', encoding="utf-8")
        with pytest.raises(DefinitionError, match=sentence):
            read_tuned(path)


def test_groups_stay_whole_in_folds():
    rows = design(groups=True)
    dealt = rows.folds(FOLDS, seed=1)
    assert set(np.bincount(dealt) > 300) == {True}
    for fold in range(FOLDS):
        inside, outside = rows.take(dealt == fold), rows.take(dealt != fold)
        assert not set(inside.groups.tolist()) & set(outside.groups.tolist())


@pytest.mark.slow
def test_tuning_is_no_worse_than_the_defaults_and_blind_to_test_rows(tmp_path):
    table = table_of()
    test = train(product(), table, settings=FitSettings(rounds=5, members=1)).judged
    found = tune(product(), table, SHORT, Search(tmp_path / "a.sqlite", 600, trials=3))
    assert set(found.frequency) == {"glm", "gbm", "ga2m_ensemble"}
    for family, chosen in found.frequency.items():
        assert chosen.record["loss"] <= chosen.record["loss_before"]
        assert chosen.record["trials"] == 3
        assert chosen.record["rows"] == table.num_rows - len(test.actual)
        assert chosen.learning_rate in ({None} if family == "glm" else {0.1, 0.05})
        assert (chosen.rounds is None) == (family == "glm")
    # Other claims on the test rows change nothing.
    claims = np.where(mark_test_rows(product().split, table), 9, table["claims"].to_numpy())
    spoilt = table.set_column(table.column_names.index("claims"), "claims", pa.array(claims))
    again = tune(product(), spoilt, SHORT, Search(tmp_path / "b.sqlite", 600, trials=3))
    same = {"record": {"seconds"}}
    for family, chosen in found.frequency.items():
        assert chosen.model_dump(exclude=same) == again.frequency[family].model_dump(exclude=same)

    result = train(product(), table, settings=SHORT, tuned=found)
    assert result.summary["tuned"] == found.hash
    booster = result.models["gbm"].components["frequency"]
    assert isinstance(booster, BoosterModel)
    assert f"[num_iterations: {found.frequency['gbm'].rounds}]" in booster.text


def test_a_search_begins_with_the_settings_it_is_given(tmp_path):
    start = FitSettings(leaves=7, leaf_rows=33, leaf_claims=4.5, category_onehot=9, ridge=17.0)
    search = Search(tmp_path / "t.sqlite", seconds=60, trials=1)
    found = tune_family("gbm", design(), SHORT, search, start=start)
    kept = (found.leaves, found.leaf_claims, found.category_onehot, found.ridge)
    assert kept == (7, 4.5, 9, 17.0)


def test_a_killed_search_goes_on_where_it_stopped(tmp_path):
    rows, steps = design(), []

    def killed(step: str, _share: float) -> None:
        steps.append(step)
        if len(steps) == FOLDS + 1:
            raise KeyboardInterrupt

    search = Search(tmp_path / "t.sqlite", 600, trials=3)
    with pytest.raises(KeyboardInterrupt):
        tune_family("glm", rows, SHORT, search, progress=killed)
    found = tune_family("glm", rows, SHORT, search)
    # The first trial was kept, the second had been killed, one was still to be made.
    assert found.record["trials"] == 3
    steps.clear()
    again = tune_family("glm", rows, SHORT, search, progress=lambda step, _: steps.append(step))
    assert again == found
    assert len(steps) == 1
    # Other rows are another search.
    other = tune_family("glm", rows.take(np.arange(2000)), SHORT, Search(search.storage, 600, trials=1))
    assert other.record["rows"] == 2000
    with pytest.raises(TuningError, match="no trial"):
        tune_family("glm", rows, SHORT, Search(tmp_path / "n.sqlite", 0.0))


@pytest.mark.slow
def test_the_command_writes_what_train_reads(tmp_path):
    file, data = tmp_path / "trial.toml", tmp_path / "table.parquet"
    file.write_text(PRODUCT.replace('"gbm", "ga2m_ensemble"]', '"ga2m"]').replace("ga2m_ensemble", "ga2m"))
    pq.write_table(table_of(), data)
    common = ["--data", str(data), "--lake", str(tmp_path / "lake")]
    tuned = CliRunner().invoke(app, ["tune", str(file), "--minutes", "0.05", *common])
    assert tuned.exit_code == 0, tuned.output
    path = tuned_path(file, "trial")
    assert f"settings in {path}" in tuned.output.replace("\n", "")
    assert set(read_tuned(path).frequency) == {"glm", "ga2m"}
    trained = CliRunner().invoke(app, ["train", str(file), *common])
    assert trained.exit_code == 0, trained.output
    refused = CliRunner().invoke(app, ["tune", str(file), "--family", "gbm", *common])
    assert refused.exit_code == 1
    assert "['gbm'] are not among the product's families" in refused.output
