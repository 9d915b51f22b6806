"""Nobody is offered what they hold or must not have."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ArtifactError
from models.recommend import HELD, NOT_IN_SCENE, PurchaseRates, Segment, fit_rates, rank, segment_of
from pricing.product import read_product
from pricing.rules import failed_rules

FOLDER = Path(__file__).parents[2] / "data" / "reference" / "products"
PRODUCTS = {
    code: read_product(FOLDER / f"{code}.toml")
    for code in (
        "return_freight",
        "motor",
        "accident",
        "medical",
        "phone_screen",
        "flight_delay",
        "shop_bond",
    )
}
FACTS = st.fixed_dictionaries(
    {
        "customer.age": st.one_of(st.none(), st.integers(0, 110)),
        "customer.owns_shop": st.booleans(),
        "customer.city_tier": st.one_of(st.none(), st.integers(1, 5)),
        "customer.tenure_days": st.one_of(st.none(), st.integers(0, 5000)),
    }
)
RATES = st.builds(
    lambda counts: PurchaseRates("2026-01-01", counts),
    st.dictionaries(
        st.sampled_from(list(PRODUCTS)),
        st.dictionaries(
            st.sampled_from(["2|1", "3|2", "?|?"]),
            st.integers(0, 1000).flatmap(lambda n: st.builds(Segment, st.just(n), st.integers(0, n))),
        ),
    ),
)


@given(
    FACTS,
    st.sets(st.sampled_from(list(PRODUCTS))),
    st.one_of(st.none(), RATES),
    st.integers(1, 8),
    st.sampled_from([None, "order", "trip"]),
)
def test_never_held_never_ineligible_and_nothing_is_lost(facts, held, rates, k, scene):
    ranking = rank(facts, held, PRODUCTS.values(), rates, k, scene=scene)
    assert len(ranking.offers) <= k
    for offer in ranking.offers:
        product = PRODUCTS[offer.product]
        assert not failed_rules(product.eligibility, facts)
        assert not (product.offer.one_in_force and offer.product in held)
        assert product.cover.per in {"year", scene}
        assert 0 <= offer.rate <= 1
        assert offer.reasons
    for item in ranking.excluded:
        assert item.codes
        assert (HELD in item.codes) == (PRODUCTS[item.product].offer.one_in_force and item.product in held)
        assert (NOT_IN_SCENE in item.codes) == (PRODUCTS[item.product].cover.per not in {"year", scene})
    named = [offer.product for offer in ranking.offers] + [item.product for item in ranking.excluded]
    assert len(named) == len(set(named))
    if k == 8:
        assert set(named) == set(PRODUCTS)


def test_best_of_each_need_comes_first():
    bought = {"accident": 50, "medical": 40, "motor": 5}
    counts = {code: {"2|1": Segment(1000, count)} for code, count in bought.items()}
    rates = PurchaseRates("2026-01-01", counts)
    facts = {"customer.age": 30, "customer.city_tier": 1, "customer.owns_shop": False}
    offers = rank(facts, (), [PRODUCTS[code] for code in counts], rates, 3).offers
    needs = [PRODUCTS[offer.product].offer.need for offer in offers]
    first = list(dict.fromkeys(needs))
    assert needs[: len(first)] == first
    assert offers[0].product == "accident"


def test_thin_segments_stay_near_the_overall_rate():
    rates = PurchaseRates("2026-01-01", {"motor": {"2|1": Segment(100_000, 1000), "3|1": Segment(5, 5)}})
    overall = rates.overall("motor")
    assert rates.rate("motor", "2|1") == pytest.approx(overall, rel=0.01)
    assert overall < rates.rate("motor", "3|1") < 2 * overall
    assert rates.rate("motor", "unseen") == pytest.approx(overall)
    assert rates.rate("medical", "2|1") == 0.0
    assert PurchaseRates.from_json(rates.to_json()) == rates
    with pytest.raises(ArtifactError):
        PurchaseRates.from_json({"format": "else"})


def test_rates_count_only_months_that_were_open(tmp_path):
    con = duckdb.connect()
    con.execute(
        """CREATE TABLE customers (customer_id BIGINT, birth_date DATE, region VARCHAR, city_tier TINYINT,
            registered_at TIMESTAMP, owned_seller_id BIGINT)"""
    )
    con.execute(
        """CREATE TABLE policies (policy_id BIGINT, product VARCHAR, customer_id BIGINT, quoted_at TIMESTAMP,
            inception_at TIMESTAMP, expiry_at TIMESTAMP, renewal_of BIGINT)"""
    )
    con.execute(
        """INSERT INTO customers VALUES
            (1, '1990-06-15', 'CN-GD', 1, '2020-01-01', NULL),
            (2, '1990-06-15', 'CN-GD', 1, '2025-06-30', NULL),
            (3, '2015-06-15', 'CN-GD', 1, '2020-01-01', NULL)"""
    )
    con.execute(
        """INSERT INTO policies VALUES
            (1, 'motor', 1, '2025-03-10', '2025-03-11', '2026-03-11', NULL),
            (2, 'motor', 2, '2026-01-05', '2026-01-06', '2027-01-06', NULL),
            (3, 'motor', 3, '2025-03-10', '2025-03-11', '2026-03-11', NULL)"""
    )
    rates = fit_rates(con, [PRODUCTS["motor"]], dt.datetime(2026, 1, 1))
    # Customer 1 was open in January to March, 2 from July to December; 3 is too young; January 2026 is not
    # looked at.
    assert segment_of({"customer.age": 34, "customer.city_tier": 1}) == "2|1"
    assert rates.segments == {"motor": {"2|1": Segment(3, 1), "3|1": Segment(6, 0)}}
    assert rates.contexts == {"motor": {"month:3": 2}}
    rates.save(tmp_path / "rates.json")
    assert PurchaseRates.load(tmp_path / "rates.json") == rates
