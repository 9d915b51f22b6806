"""Fairness: proxies are found, gaps at equal risk measured, the discrimination-free price is the paper's."""

import numpy as np
import pyarrow as pa
import pytest

from models.errors import FitError, TrainingDataError
from models.families import FitSettings
from models.governance import audit_fairness, discrimination_free, price_gap, proxy_test
from models.training import train
from pricing.errors import DefinitionError
from pricing.product import parse_product
from tests.toys import TOY, toy_book


def test_a_proxy_is_found_and_noise_is_not():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2, 6000)
    values = np.column_stack([codes + rng.normal(0, 0.4, 6000), rng.normal(size=6000)])
    found = proxy_test("sex", codes, values, ("leaky", "noise"), (0, 0))
    assert found.frame.index[:2].tolist() == ["all inputs", "leaky"]
    assert found.share > 0.4
    assert found.frame.loc["noise", "high"] < 0.02
    assert found.frame.loc["leaky", "auc"] > 0.9
    assert len(found.figure().axes) == 1


def test_an_attribute_of_three_levels_and_a_category_as_proxy():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 3, 3000)
    shown = np.where(rng.random(3000) < 0.8, codes, rng.integers(0, 3, 3000)).astype(float)
    found = proxy_test("origin", codes, shown[:, None], ("region",), (3,))
    assert 0.2 < found.share < 0.7


def test_a_surcharge_at_equal_risk_is_measured():
    rng = np.random.default_rng(2)
    rows = 20_000
    risk = rng.lognormal(0, 0.5, rows)
    codes = (rng.random(rows) < 0.3 + 0.2 * (risk > 1)).astype(np.int64)
    premium = risk * np.where(codes == 1, 1.10, 1.0)
    exposure = rng.uniform(0.1, 1.0, rows)
    gap = price_gap("sex", codes, ("a", "b"), premium, risk, risk * exposure, exposure)
    between = (1 + gap.frame.loc["b", "gap"]) / (1 + gap.frame.loc["a", "gap"]) - 1
    assert between == pytest.approx(0.10, abs=0.01)
    assert gap.frame.loc["b", "low"] > 0
    assert gap.frame.loc["b", "raw_gap"] > gap.frame.loc["b", "gap"]  # group b is the riskier one too
    assert gap.widest > 0.02


def test_equal_premiums_at_equal_risk_show_no_gap_although_means_differ():
    rng = np.random.default_rng(2)
    risk = rng.lognormal(0, 0.5, 20_000)
    codes = (rng.random(20_000) < np.where(risk > 1, 0.7, 0.3)).astype(np.int64)
    exposure = np.ones(20_000)
    gap = price_gap("sex", codes, ("a", "b"), risk, risk, risk, exposure)
    assert gap.frame.loc["b", "raw_gap"] > 0.15
    assert gap.widest < 0.02


def test_the_discrimination_free_price_uses_the_spread_of_the_whole_book():
    by_level = np.array([[100.0, 200.0], [100.0, 200.0], [300.0, 600.0]])
    codes, exposure = np.array([0, 1, 1]), np.array([1.0, 1.0, 2.0])
    prices = discrimination_free(by_level, codes, ("w", "m"), exposure)
    plain = np.array([175.0, 175.0, 525.0])  # a quarter of the exposure is "w"
    best = np.array([100.0, 200.0, 600.0])
    assert prices.best_estimate.tolist() == best.tolist()
    np.testing.assert_allclose(prices.free, plain * (exposure @ best) / (exposure @ plain))
    assert exposure @ prices.free == pytest.approx(exposure @ best)
    assert prices.free[0] == prices.free[1]  # equal inputs, equal price, whoever asks


def test_estimates_that_cannot_be_are_refused():
    with pytest.raises(FitError, match="1 rows"):
        discrimination_free(np.array([[1.0, np.nan]]), np.array([0]), ("w", "m"), np.ones(1))


@pytest.mark.slow
def test_the_audit_tells_a_proxy_from_an_innocent_factor():
    product = parse_product(TOY, "toy.toml")
    settings = FitSettings(rounds=80, learning_rate=0.1)
    shares, gaps = {}, {}
    for proxy in (0.0, 1.0):
        table = toy_book(20_000, proxy)
        (audit,) = audit_fairness(
            product, table, train(product, table, settings=settings).models["ga2m"], settings=settings
        )
        shares[proxy] = audit.proxies.share
        charged = audit.prices.frame["charged"]
        gaps[proxy] = charged["m"] / charged["w"]
        free = audit.prices.frame["free"]
        assert bool(audit.findings(product)) == (proxy == 1.0)
    assert shares[0.0] < 0.01
    assert shares[1.0] > 0.3
    assert gaps[0.0] == pytest.approx(1.0, abs=0.03)
    # With the proxy men pay for being men; without discrimination they would pay for their power alone.
    assert gaps[1.0] > 1.15 * free["m"] / free["w"]


def test_an_audit_without_attribute_is_refused():
    product = parse_product(TOY, "toy.toml")
    table = toy_book(2_000, 0.0)
    model = train(product, table, settings=FitSettings(rounds=5)).models["ga2m"]
    with pytest.raises(TrainingDataError, match="'sex'"):
        audit_fairness(product, table.drop_columns(["sex"]), model)
    bare = product.model_copy(update={"protected": ()})
    with pytest.raises(TrainingDataError, match="names no protected attribute"):
        audit_fairness(bare, table, model)
    alone = table.set_column(0, "sex", pa.array(["w"] * len(table)))
    with pytest.raises(TrainingDataError, match="one group"):
        audit_fairness(product, alone, model)


def test_the_product_file_bars_the_attribute_from_the_model():
    factor = '[[factors]]\nname = "sex"\nlabel = { en = "Sex", zh = "性别" }\n'
    factor += 'type = "category"\nlevels = ["w", "m"]\n'
    with pytest.raises(DefinitionError, match="never rating factors"):
        parse_product(TOY + factor, "toy.toml")
