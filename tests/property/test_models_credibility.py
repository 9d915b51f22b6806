"""Two-way credibility: in balance, blind to the future, and near the truth where the truth is known."""

from __future__ import annotations

import datetime as dt

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.credibility import TwoWay, fit_two_way, gamma_shape
from models.errors import FitError
from models.order_history import LONGEST_DELAY, OrderHistory, known_share, read_order_history

T0 = dt.datetime(2025, 6, 1)
BUYER_ALPHA, SHOP_ALPHA = 1.6, 5.8
HAZARDS = np.array([0.60, 0.25, 0.05])


def world(seed: int, buyers: int = 6_000, shops: int = 120, orders: int = 150_000) -> dict[str, np.ndarray]:
    """Draw orders whose returns follow the model; shops are of one category and very unequal in size."""
    rng = np.random.default_rng(seed)
    buyer = rng.integers(0, buyers, orders)
    weight = np.exp(2.0 * rng.standard_normal(shops))
    shop = rng.choice(shops, orders, p=weight / weight.sum())
    category = rng.integers(0, 3, shops)
    theta_b = rng.gamma(BUYER_ALPHA, 1 / BUYER_ALPHA, buyers)
    theta_s = rng.gamma(SHOP_ALPHA, 1 / SHOP_ALPHA, shops)
    age = rng.uniform(0, 500, orders)
    amount = np.rint(10_000 * np.exp(0.7 * rng.standard_normal(orders))).astype(np.int64)
    hazard = HAZARDS[category[shop]] * theta_b[buyer] * theta_s[shop] * (amount / 10_000) ** 0.15
    returned = rng.random(orders) < -np.expm1(-hazard)
    delay = np.where(returned, 2 + rng.gamma(2.0, 4.0, orders), np.inf)
    return {
        "buyer": buyer,
        "shop": shop,
        "category": category[shop],
        "amount": amount,
        "age": age,
        "delay": delay,
        "theta_b": theta_b,
        "theta_s": theta_s,
        "hazard": hazard,
        "returned": returned,
    }


def history_of(found: dict[str, np.ndarray]) -> OrderHistory:
    known = found["delay"] < found["age"]
    return OrderHistory(
        np.arange(int(found["buyer"].max()) + 1),
        np.arange(int(found["shop"].max()) + 1),
        ("apparel", "shoes", "food"),
        found["buyer"],
        found["shop"],
        found["category"].astype(np.int16),
        np.floor(np.log2(found["amount"])).astype(np.int16),
        np.floor(24_300 - found["age"] / 30).astype(np.int16),
        np.floor(found["age"]).astype(np.int16),
        np.where(known, np.floor(np.where(known, found["delay"], 0)), -1).astype(np.int16),
    )


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    return world(1)


@pytest.fixture(scope="module")
def fit(drawn: dict[str, np.ndarray]) -> TwoWay:
    return fit_two_way(history_of(drawn))


def test_fitted_returns_are_actual_returns_in_every_category(fit: TwoWay) -> None:
    assert list(fit.balance) == ["apparel", "shoes", "food"]
    assert all(ratio == pytest.approx(1.0, abs=1e-6) for ratio in fit.balance.values())


def test_alpha_is_not_ruled_by_giant_shops(drawn: dict[str, np.ndarray], fit: TwoWay) -> None:
    sizes = np.bincount(drawn["shop"])
    assert sizes.max() > 20 * np.median(sizes)
    # 120 shops: the shape of their Gamma cannot be known better than to about 13 % (one standard error).
    assert SHOP_ALPHA / 1.5 < fit.shops.alpha < SHOP_ALPHA * 1.5
    assert BUYER_ALPHA / 1.4 < fit.buyers.alpha < BUYER_ALPHA * 1.4


def test_frailties_are_near_the_truth(drawn: dict[str, np.ndarray], fit: TwoWay) -> None:
    shops, truth = fit.shops, drawn["theta_s"]
    # Hazards of categories and frailties of shops are told apart by their means only: compare within one.
    category = np.full(len(truth), -1)
    category[drawn["shop"]] = drawn["category"]
    sold = np.bincount(drawn["shop"], minlength=len(truth))
    for kind in range(2):
        rows = (category[shops.ids] == kind) & (sold[shops.ids] > 300)
        assert rows.sum() > 10
        found, true = np.log(shops.frailty[rows]), np.log(truth[shops.ids][rows])
        assert np.corrcoef(found, true)[0, 1] > 0.9
    buyers = fit.buyers
    assert np.corrcoef(buyers.frailty, drawn["theta_b"][buyers.ids])[0, 1] > 0.8


def test_next_orders_come_back_as_often_as_expected(drawn: dict[str, np.ndarray], fit: TwoWay) -> None:
    """Fresh orders of the same buyers and shops: deciles are in balance, which shrinkage does not give."""
    rng = np.random.default_rng(7)
    fresh = rng.random(len(drawn["hazard"])) < -np.expm1(-drawn["hazard"])
    expected = fit.probability(
        np.array(["apparel", "shoes", "food"], dtype=object)[drawn["category"]],
        drawn["amount"],
        fit.buyers.frailty[drawn["buyer"]],
        fit.shops.frailty[drawn["shop"]],
    )
    decile = pd.qcut(expected, 10, labels=False)
    ratio = np.bincount(decile, fresh) / np.bincount(decile, expected)
    assert 0.97 < fresh.sum() / expected.sum() < 1.03
    # The lowest tenth expects some 300 returns: one standard error is 6 %.
    assert ((ratio > 0.85) & (ratio < 1.15)).all(), ratio
    flat = fit.probability(
        np.array(["apparel", "shoes", "food"], dtype=object)[drawn["category"]],
        drawn["amount"],
        np.full(len(fresh), np.nan),
        np.full(len(fresh), np.nan),
    )
    gain = np.mean(np.log(np.where(fresh, expected, 1 - expected)) - np.log(np.where(fresh, flat, 1 - flat)))
    assert gain > 0.02


def test_young_orders_do_not_make_their_buyers_look_good(drawn: dict[str, np.ndarray], fit: TwoWay) -> None:
    """Half of the buyers order only in the last week: their frailties average 1 like those of the others."""
    late = {name: value.copy() for name, value in drawn.items()}
    young = late["buyer"] % 2 == 0
    late["age"][young] %= 7.0
    found = fit_two_way(history_of(late))
    kinds = found.buyers.ids % 2 == 0
    assert found.buyers.expected[kinds].mean() < found.buyers.expected[~kinds].mean() / 3
    true = drawn["theta_b"][found.buyers.ids]
    for rows in (kinds, ~kinds):
        assert found.buyers.frailty[rows].mean() == pytest.approx(true[rows].mean(), abs=0.05)
    assert fit.buyers.frailty.mean() == pytest.approx(1.0, abs=0.05)


def test_the_share_of_known_returns_is_recovered_from_what_is_seen_late() -> None:
    rng = np.random.default_rng(3)
    age = rng.uniform(0, 60, 400_000)
    delay = 2 + rng.gamma(2.0, 4.0, len(age))
    seen = delay < age
    share = known_share(np.floor(age).astype(np.int16), np.where(seen, np.floor(delay), -1).astype(np.int16))
    assert share.shape == (LONGEST_DELAY + 1,)
    assert (np.diff(share) >= 0).all()
    assert share[-1] == 1.0
    fresh = 2 + rng.gamma(2.0, 4.0, 1_000_000)
    for day in (3, 5, 8, 12, 20, 30):
        # An order of age `day` has been seen for day + u days, u uniform.
        truth = np.mean(fresh < day + rng.random(len(fresh)))
        assert share[day] == pytest.approx(truth, abs=0.01)


def test_the_shape_of_a_poisson_gamma_is_found_whatever_the_sizes() -> None:
    rng = np.random.default_rng(5)
    for alpha in (0.5, 2.0, 8.0):
        expected = np.exp(2.0 * rng.standard_normal(20_000))
        counts = rng.poisson(expected * rng.gamma(alpha, 1 / alpha, len(expected))).astype(float)
        assert gamma_shape(counts, expected) == pytest.approx(alpha, rel=0.12)


def orders_table(found: dict[str, np.ndarray]) -> pa.Table:
    ordered = np.datetime64(T0, "us") - (found["age"] * 86_400e6).astype("timedelta64[us]")
    wait = np.where(np.isfinite(found["delay"]), found["delay"], 0.0)
    back = ordered + (wait * 86_400e6).astype("timedelta64[us]")
    return pa.table(
        {
            "customer_id": found["buyer"] + 1,
            "seller_id": found["shop"] * 1_000_003 + 5,  # far apart, so that ids are hashed
            "category": np.array(["apparel", "shoes", "food"])[found["category"]],
            "amount_minor": found["amount"],
            "ordered_at": pa.array(ordered, pa.timestamp("us")),
            "returned_at": pa.array(back, pa.timestamp("us"), mask=~np.isfinite(found["delay"])),
        }
    )


def test_what_becomes_known_from_the_moment_on_changes_nothing() -> None:
    found = world(2, buyers=500, shops=20, orders=6_000)
    moment = T0 - dt.timedelta(days=100)
    table = orders_table(found)
    ordered = table["ordered_at"].to_numpy()
    ordered, back = ordered.copy(), table["returned_at"].to_numpy().copy()
    cut = np.datetime64(moment, "us")
    back[5] = cut  # exactly at the moment is too late
    ordered[6] = cut
    past = ordered < cut
    known = back < cut
    table = table.set_column(4, "ordered_at", pa.array(ordered)).set_column(5, "returned_at", pa.array(back))
    redacted = table.set_column(5, "returned_at", pa.array(back, mask=~known)).filter(pa.array(past))
    with duckdb.connect() as con:
        con.register("orders", table)
        whole = read_order_history(con, moment)
        con.unregister("orders")
        con.register("orders", redacted)
        blind = read_order_history(con, moment)
    assert len(whole.age) == past.sum()
    assert (whole.delay >= 0).sum() == (known & past).sum()
    one, other = fit_two_way(whole), fit_two_way(blind)
    np.testing.assert_array_equal(one.buyers.ids, other.buyers.ids)
    np.testing.assert_array_equal(one.buyers.frailty, other.buyers.frailty)
    np.testing.assert_array_equal(one.shops.frailty, other.shops.frailty)


def test_too_few_returns_are_refused() -> None:
    found = world(4, buyers=50, shops=5, orders=60)
    with pytest.raises(FitError, match="at least 50 are needed"):
        fit_two_way(history_of(found))
