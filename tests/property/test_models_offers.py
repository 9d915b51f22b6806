"""Offers keep to the rules: the vectorised mask is the single one, nothing ineligible, bounded margin."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.load import default_spec
from models.errors import ArtifactError, MismatchError
from models.recommend import Context, PurchaseRates, Segment, exclusion_codes
from models.recommend.batch import score_and_order
from models.recommend.mask import allowed, exclusions
from models.recommend.offers import (
    FLOOR,
    UNLIKELY,
    OfferRules,
    order_offers,
    rank_general,
    rank_personal,
)
from models.recommend.propensity import (
    FEATURES,
    HAD,
    HELD,
    PropensityModel,
    fit_propensity,
    input_names,
    level_trend,
)
from models.recommend.ranking import Excluded
from pricing.product import read_product

FOLDER = Path(__file__).parents[2] / "data" / "reference" / "products"
CODES = ("accident", "flight_delay", "medical", "motor", "phone_screen", "return_freight", "shop_bond")
PRODUCTS = [read_product(FOLDER / f"{code}.toml") for code in CODES]
INPUTS = input_names(CODES)
SPEC = default_spec()


def people(n: int, seed: int):
    """Draw facts, holdings and inputs of customers, with what is not known of some."""
    rng = np.random.default_rng(seed)
    facts = {
        "customer.age": np.where(rng.random(n) < 0.1, np.nan, rng.integers(5, 95, n)),
        "customer.owns_shop": rng.random(n) < 0.2,
        "customer.city_tier": np.where(rng.random(n) < 0.1, np.nan, rng.integers(1, 6, n)),
        "customer.region": np.where(rng.random(n) < 0.1, None, rng.choice(["CN-GD", "CN-BJ"], n)),
        "customer.tenure_days": rng.integers(0, 2000, n).astype(float),
    }
    held = rng.random((n, len(CODES))) < 0.3
    known = {name: np.asarray(column, object) for name, column in facts.items()}
    columns = {name: np.array([np.nan if v is None else v for v in known[name]], object) for name in known}
    values = np.column_stack(
        [
            held[:, CODES.index(name.split(".", 1)[1])].astype(float)
            if name.startswith((HELD, HAD))
            else columns[name].astype(float)
            if name in columns
            else rng.poisson(3, n).astype(float)
            for name in INPUTS
        ]
    )
    return facts, held, values


def one_of(facts, row):
    """Give the facts of one customer as the service has them."""
    found = {}
    for name, column in facts.items():
        value = column[row].item() if isinstance(column[row], np.generic) else column[row]
        found[name] = None if isinstance(value, float) and np.isnan(value) else value
    return found


@pytest.fixture(scope="module")
def model():
    """Fit propensities in which age, orders and holding motor matter."""
    _, held, values = people(20_000, 1)
    rng = np.random.default_rng(2)
    age, orders = values[:, INPUTS.index("customer.age")], values[:, INPUTS.index("orders_365d")]
    products = {}
    for position, code in enumerate(CODES):
        logit = -2.5 + 0.2 * position + 0.3 * (orders - 3) * (position % 3 == 0)
        logit = logit + 1.5 * held[:, 3] * (code == "accident") + 0.03 * (np.nan_to_num(age, nan=50) - 50)
        bought = rng.random(len(logit)) < 1 / (1 + np.exp(-logit))
        products[code] = fit_propensity(values, bought, np.arange(20_000), 1000.0 * position - 500, threads=1)
    return PropensityModel("2026-01-01T00:00:00", SPEC.hash(FEATURES), products)


def test_a_million_pairs_hold_no_ineligible_offer(model):
    n = 150_000  # times seven products: more than a million pairs
    facts, held, values = people(n, 3)
    best, chance = score_and_order(model, PRODUCTS, values, facts, held, 3, scene="trip")
    row, rank = np.nonzero(best >= 0)
    assert len(row) > 200_000
    offered = np.zeros(held.shape, bool)
    offered[row, best[row, rank]] = True
    for position, product in enumerate(PRODUCTS):
        who = np.flatnonzero(offered[:, position])
        if product.offer.one_in_force:
            assert not held[who, position].any()
        if product.code == "shop_bond":
            assert facts["customer.owns_shop"][who].all()
        if product.code == "medical":
            assert ((facts["customer.age"][who] >= 18) & (facts["customer.age"][who] <= 80)).all()
        assert (model.scores(values[who[:1000]], [product.code])[:, 0] >= FLOOR * rate(model, product)).all()
    assert not offered[:, CODES.index("return_freight")].any()  # it goes with an order
    assert ((chance > 0) & (chance < 1)).all()


def rate(model, product):
    return model.products[product.code].rate


@given(st.integers(0, 10_000), st.sampled_from([None, "order", "trip"]))
@settings(max_examples=25, deadline=None)
def test_the_vectorised_mask_is_the_single_one(seed, scene):
    facts, held, _ = people(20, seed)
    open_ = allowed(PRODUCTS, facts, held, scene)
    for row in range(20):
        mine = [code for code, has in zip(CODES, held[row], strict=True) if has]
        for position, product in enumerate(PRODUCTS):
            codes = exclusion_codes(product, one_of(facts, row), mine, scene)
            assert open_[row, position] == (not codes)
            found = exclusions(product, facts, held[:, position], scene)
            assert {code for code, rows in found.items() if rows[row]} == set(codes)


@given(st.integers(0, 10_000), st.integers(0, 8), st.sampled_from([None, "order", "trip"]))
@settings(max_examples=25, deadline=None)
def test_one_customer_gets_what_the_batch_gives(model, seed, k, scene):
    facts, held, values = people(5, seed)
    best, chance = score_and_order(model, PRODUCTS, values, facts, held, k, scene=scene)
    for row in range(5):
        mine = [code for code, has in zip(CODES, held[row], strict=True) if has]
        features = dict(zip(INPUTS, values[row].tolist(), strict=True))
        found = rank_personal(
            model, SPEC, PRODUCTS, one_of(facts, row), features, [*mine, "gone"], mine, k, scene=scene
        )
        wanted = [CODES[at] for at in best[row] if at >= 0]
        assert [offer.product for offer in found.offers] == wanted
        assert np.float32([offer.rate for offer in found.offers]) == pytest.approx(
            chance[row][best[row] >= 0]
        )
        named = [offer.product for offer in found.offers] + [item.product for item in found.excluded]
        assert len(named) == len(set(named))
        if k >= len(CODES):
            assert set(named) == set(CODES)
        for item in found.excluded:
            mask_codes = exclusion_codes(PRODUCTS[CODES.index(item.product)], one_of(facts, row), mine, scene)
            assert item.codes == (mask_codes or (UNLIKELY,))


def test_margin_orders_what_suitability_has_chosen():
    p = np.array([[0.30, 0.29, 0.28, 0.27], [0.01, 0.5, 0.4, 0.3]])
    open_ = np.ones((2, 4), bool)
    rules = OfferRules(np.array([0.05] * 4), np.array([0.5, 1.0, 2.0, 2.0]), np.array([0, 1, 1, 2]))
    # Products 1 and 2 are one need: the likelier comes first. Product 0 of the second row is below its floor.
    assert order_offers(p, open_, rules, 2).tolist() == [[1, 0], [3, 1]]
    assert order_offers(p, open_, rules, 3).tolist() == [[3, 1, 0], [3, 1, 2]]
    assert order_offers(p, ~open_, rules, 3).tolist() == [[-1, -1, -1]] * 2
    assert order_offers(p, open_, rules, 0).shape == (2, 0)


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_margin_never_changes_who_is_among_the_first_k(seed, k):
    rng = np.random.default_rng(seed)
    p, open_ = rng.random((30, 6)), rng.random((30, 6)) < 0.8
    needs, floors = rng.integers(0, 4, 6), np.full(6, 0.1)
    plain = order_offers(p, open_, OfferRules(floors, np.ones(6), needs), k)
    tilted = order_offers(p, open_, OfferRules(floors, rng.uniform(0.5, 2.0, 6), needs), k)
    assert (np.sort(plain, axis=1) == np.sort(tilted, axis=1)).all()
    for row, chosen in enumerate(tilted[:, :3]):  # a need comes twice only when no other need is left
        shown = needs[chosen[chosen >= 0]]
        left = set(needs[open_[row] & (p[row] >= 0.1)].tolist())
        assert len(set(shown.tolist())) == min(len(shown), len(left))


def test_nobody_offers_from_an_empty_catalogue_and_nobody_has_everything(model):
    assert rank_personal(model, SPEC, [], {}, {}, [], [], 3) == rank_personal(
        model, SPEC, [], {}, {}, ["x"], ["x"], 3
    )
    found = rank_personal(model, SPEC, PRODUCTS, {"customer.age": 30}, {}, CODES, CODES, 3)
    assert not found.offers
    assert {item.product for item in found.excluded} == set(CODES)


def test_a_customer_without_history_and_an_unknown_product_have_an_answer(model):
    facts = {"customer.age": 40, "customer.owns_shop": False}
    stranger = PRODUCTS[3].model_copy(update={"code": "pet"})
    found = rank_personal(model, SPEC, [*PRODUCTS, stranger], facts, {}, [], [], 8)
    assert found.offers[-1].product == "pet"
    assert found.offers[-1].rate == 0.0
    assert found.offers[0].rate > 0


def test_reasons_name_only_what_may_be_named(model):
    facts, held, values = people(300, 9)
    said = set()
    for row in range(300):
        features = dict(zip(INPUTS, values[row].tolist(), strict=True))
        mine = [code for code, has in zip(CODES, held[row], strict=True) if has]
        for offer in rank_personal(model, SPEC, PRODUCTS, one_of(facts, row), features, mine, mine, 3).offers:
            assert 1 <= len(offer.reasons) <= 2
            said |= {(reason.en, reason.zh) for reason in offer.reasons}
    english = " ".join(en for en, _ in said)
    assert "Who holds Motor" in english
    assert "Age (" in english
    assert "claim" not in english.lower()
    assert "return" not in english.lower()
    assert "tier" not in english.lower()
    assert all(zh and en for en, zh in said)


def test_without_profiling_no_personal_feature_reaches_the_ranking():
    assert set(inspect.signature(rank_general).parameters) == {
        "products",
        "excluded",
        "rates",
        "k",
        "context",
    }
    assert {field.name for field in fields(Context)} == {
        "month",
        "channel",
        "page",
    }  # of nobody in particular
    rates = PurchaseRates("2026-01-01", {"motor": {"2|1": Segment(100, 9), "3|1": Segment(100, 1)}})
    found = rank_general(PRODUCTS, [Excluded("x", ("adult",))], rates, 2)
    assert [offer.product for offer in found.offers] == ["motor", "accident"]
    assert found.offers[0].rate == pytest.approx(0.05)
    assert found.excluded[0].codes == ("adult",)
    assert rank_general([], [], None, 3).offers == ()


def test_month_channel_and_page_order_what_is_not_personal():
    counts = {code: {"2|1": Segment(10_000, 400)} for code in ("motor", "accident", "medical")}
    contexts = {
        "motor": {"month:1": 300, "month:7": 100, "channel:agent": 390, "channel:direct": 10},
        "accident": {"month:1": 100, "month:7": 300, "channel:agent": 200, "channel:direct": 200},
        "medical": {"month:1": 200, "month:7": 200, "channel:agent": 10, "channel:direct": 390},
    }
    rates = PurchaseRates("2026-01-01", counts, contexts)
    assert PurchaseRates.from_json(rates.to_json()) == rates

    def first(**context):
        return rank_general(PRODUCTS, [], rates, 1, Context(**context)).offers[0].product

    assert (first(month=1), first(month=7)) == ("motor", "accident")
    assert (first(channel="agent"), first(channel="direct")) == ("motor", "medical")
    assert first(month=1, page="phone_screen") == "phone_screen"
    plain = rates.overall("motor")
    assert rates.in_context("motor", Context(month=3, channel="fax")) == plain
    assert rates.in_context("motor", Context()) == plain


def test_opted_out_customers_of_a_batch_are_ranked_alike(model):
    facts, held, values = people(400, 6)
    facts = {name: np.repeat(column[:1], 400) for name, column in facts.items()}
    held[:] = False
    best, chance = score_and_order(model, PRODUCTS, values, facts, held, 3, general=np.ones(400, bool))
    assert (best == best[0]).all()
    assert (chance == chance[0]).all()
    personal, _ = score_and_order(model, PRODUCTS, values, facts, held, 3)
    assert (personal != personal[0]).any()


def test_propensities_are_calibrated_find_what_was_planted_and_rare_products_stay_near_their_rate(model):
    assert max(one.ece for one in model.products.values()) < 0.02
    tables = model.products["accident"].tables
    effects = tables.contributions(np.eye(len(INPUTS)))
    assert effects[INPUTS.index("held.motor"), INPUTS.index("held.motor")] > 0.3
    _, _, values = people(2000, 8)
    rng = np.random.default_rng(1)
    bought = rng.random(2000) < 0.004
    rare = fit_propensity(values, bought, np.arange(2000), None, threads=1)
    p = 1 / (1 + np.exp(-rare.tables.predict_raw(values)))
    assert p.max() < 4 * rare.rate
    never = fit_propensity(values, np.zeros(2000, bool), np.arange(2000), None, threads=1)
    assert 0 < 1 / (1 + np.exp(-never.tables.predict_raw(values[:1])))[0] < 0.001
    nobody = fit_propensity(values[:0], bought[:0], np.arange(0), None)
    assert nobody.rate == 0


@given(level=st.floats(-0.3, 0.3), slope=st.floats(-0.06, 0.06), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_level_of_the_month_to_come_follows_the_trend(level, slope, seed):
    expected = np.full(13, 2000.0)
    bought = np.random.default_rng(seed).poisson(expected * np.exp(level - slope * np.arange(13)))
    found, growth = level_trend(bought, expected)
    assert abs(found - level) < 5 * 2 / np.sqrt(
        12 * 2000
    )  # an intercept at the end of a line has twice the error
    assert abs(growth - slope) < 5 / np.sqrt(2000 * 143)


def test_a_trend_of_few_purchases_is_hardly_believed():
    level, slope = level_trend(np.array([0, 3, 0, 0]), np.array([0, 0.5, 0.5, 0.5]))
    assert 0 < level < 0.2
    assert 0 < slope < 0.05
    assert level_trend(np.zeros(13), np.zeros(13)) == (0.0, 0.0)


def test_the_artifact_is_refused_when_it_is_not_whole(model, tmp_path):
    path = tmp_path / "propensity.json"
    model.save(path)
    again = PropensityModel.load(path, SPEC)
    assert again.checksum == model.checksum
    _, _, values = people(50, 7)
    assert (again.scores(values, CODES) == model.scores(values, CODES)).all()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"bought": ', '"bought": 1'), encoding="utf-8")
    with pytest.raises(ArtifactError, match="checksum"):
        PropensityModel.load(path, SPEC)
    path.write_text(text[:100], encoding="utf-8")
    with pytest.raises(ArtifactError, match="cannot be read"):
        PropensityModel.load(path, SPEC)
    other = PropensityModel(model.as_of, "0" * 64, model.products)
    other.save(path)
    with pytest.raises(MismatchError, match="feature definitions"):
        PropensityModel.load(path, SPEC)
