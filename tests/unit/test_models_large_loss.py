"""Large losses: capped one by one, planted tails, limits with a closed form, the real French claims."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.errors import TrainingDataError
from models.preparation.large_loss import cap_claims, increased_limits, mean_excess

CLAIMS = pd.DataFrame({"policy": [7, 7, 9, 4], "paid": [100.0, 900.0, 400.0, 0.0]})


def test_each_claim_is_cut_by_itself_and_the_excess_is_kept():
    found = cap_claims(CLAIMS, policy="policy", amount="paid", threshold=500.0)
    assert found.frame.loc[7].to_dict() == {
        "claims": 2,
        "amount": 1000,
        "capped": 600,
        "excess": 400,
        "large": 1,
    }
    assert found.frame["amount"].sum() == found.frame["capped"].sum() + found.excess
    assert found.load(8.0) == 50.0
    table = pd.DataFrame({"policy": [4, 5, 7, 9]})
    assert found.attach(table, "policy")["amount_capped"].to_list() == [0, 0, 600, 400]


def test_claims_without_a_row_and_repeated_rows_are_refused():
    found = cap_claims(CLAIMS, policy="policy", amount="paid", threshold=500.0)
    with pytest.raises(TrainingDataError, match="3 claims of 2 policies belong to no row.*example policy 7"):
        found.attach(pd.DataFrame({"policy": [4]}).assign(x=1), "policy")
    with pytest.raises(TrainingDataError, match="1 rows repeat a value of 'policy'"):
        found.attach(pd.DataFrame({"policy": [4, 7, 9, 9]}), "policy")
    with pytest.raises(TrainingDataError, match="1 of 2 claims: the amount is negative"):
        cap_claims(CLAIMS.iloc[:2].assign(paid=[-1.0, 2.0]), policy="policy", amount="paid", threshold=1.0)
    with pytest.raises(TrainingDataError, match="threshold must be positive"):
        cap_claims(CLAIMS, policy="policy", amount="paid", threshold=0.0)


def pareto(alpha: float, n: int = 20_000, seed: int = 0) -> np.ndarray:
    return 1000.0 * (1 + np.random.default_rng(seed).pareto(alpha, n))


def test_a_planted_tail_is_found_and_its_mean_excess_is_linear():
    found = mean_excess(pareto(4.0), [1500.0, 2000.0, 3000.0])
    frame = found.frame
    assert ((frame["shape_low"] < 0.25) & (frame["shape_high"] > 0.25)).all()
    assert ((frame["hill_low"] < 0.25) & (frame["hill_high"] > 0.25)).all()
    assert ((frame["low"] < frame["threshold"] / 3) & (frame["threshold"] / 3 < frame["high"])).all()
    assert frame["scale"].to_numpy() == pytest.approx(frame["threshold"] / 4, rel=0.15)
    assert (np.diff(frame["exceedances"]) < 0).all()


def test_the_suggestion_finds_where_the_tail_begins():
    rng = np.random.default_rng(1)
    body = rng.uniform(0, 10_000, 30_000)
    tail = 10_000 * (1 + rng.pareto(1.6, 3000))
    found = mean_excess(np.append(body, tail))
    assert 7000 < found.suggested < 14_000
    assert len(found.figure().axes) == 3
    assert len(found.figure(12_000.0).axes[0].lines) == 2


def test_limits_of_a_pareto_and_a_lognormal_have_a_closed_form():
    value, limits = pareto(2.0), [5000.0, 20_000.0]
    truth = [(2000 - 1e6 / limit) / (2000 - 1e6 / 2000) for limit in limits]
    tail = increased_limits(value, limits, basic=2000.0, model="gpd", threshold=3000.0)
    assert tail.frame["factor"].to_list() == pytest.approx(truth, rel=0.02)
    plain = increased_limits(value, limits, basic=2000.0).frame
    assert ((plain["low"] < truth) & (truth < plain["high"])).all()
    logs = np.exp(np.random.default_rng(2).normal(7, 1.2, 30_000))
    fitted = increased_limits(logs, limits, basic=2000.0, model="lognormal")
    counted = increased_limits(logs, limits, basic=2000.0).frame
    assert fitted.frame["factor"].to_numpy() == pytest.approx(counted["factor"].to_numpy(), rel=0.02)
    assert len(fitted.figure().axes) == 1


@pytest.mark.parametrize("model", ["empirical", "lognormal", "gpd"])
def test_factors_rise_ever_slower_and_are_one_at_the_basic_limit(model):
    threshold = 3000.0 if model == "gpd" else None
    limits = np.linspace(1000, 40_000, 40)
    found = increased_limits(pareto(1.5), [*limits, 2000.0], basic=2000.0, model=model, threshold=threshold)
    factor = found.frame["factor"].to_numpy()
    assert factor[-1] == pytest.approx(1.0)
    assert (np.diff(factor[:-1]) > 0).all()
    assert (np.diff(factor[:-1], 2) < 1e-9).all()


def test_too_few_claims_are_refused():
    with pytest.raises(TrainingDataError, match="only 10 claims lie above 90; at least 50"):
        mean_excess(np.arange(1.0, 101.0), [90.0])
    with pytest.raises(TrainingDataError, match="199 claims are too few"):
        mean_excess(np.arange(1.0, 200.0))
    with pytest.raises(TrainingDataError, match="1 of 3 claims: the amount is not positive"):
        mean_excess([1.0, 2.0, 0.0])
    with pytest.raises(TrainingDataError, match="a threshold goes with 'gpd'"):
        increased_limits([1.0, 2.0], [5.0], basic=1.0, model="gpd")


@pytest.mark.shared
def test_the_french_claims(shared_data):
    claims = pq.read_table(shared_data / "freMTPL2sev_26444.parquet").to_pandas()
    assert claims["ClaimAmount"].max() == pytest.approx(4_075_401, abs=1)
    found = mean_excess(claims["ClaimAmount"])
    high = found.frame[found.frame["threshold"] > 5000]
    assert high["shape"].between(0.5, 1.1).all()  # a tail without variance
    assert (np.diff(high["mean_excess"]) > 0).all()
    capped = cap_claims(claims, policy="IDpol", amount="ClaimAmount", threshold=50_000.0)
    assert capped.frame["large"].sum() == 88
    assert capped.excess == pytest.approx(13_517_329, abs=1)
    table = pq.read_table(
        shared_data / "freMTPL2freq_clean_learntest.parquet", columns=["IDpol", "ClaimTotal"]
    ).to_pandas()
    with pytest.raises(TrainingDataError, match="61 claims of 6 policies belong to no row"):
        capped.attach(table, "IDpol")  # policies that the cleaning took out
    kept = claims[claims["IDpol"].isin(table["IDpol"])]
    capped = cap_claims(kept, policy="IDpol", amount="ClaimAmount", threshold=50_000.0)
    attached = capped.attach(table, "IDpol")
    assert len(attached) == 678_007
    assert (attached["amount_capped"] <= attached["ClaimTotal"] + 0.01).all()
    assert (attached["ClaimTotal"] - attached["amount_capped"]).sum() == pytest.approx(capped.excess, abs=1)
