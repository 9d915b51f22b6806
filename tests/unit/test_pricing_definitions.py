"""Product files and rating plans: what is read, and what is refused by name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pricing.errors import DefinitionError, PlanNotEffectiveError, TechnicalPremiumError, UnknownChannelError
from pricing.factors import CategoryFactor, NumberFactor, read_risk
from pricing.ladder import build_ladder
from pricing.plan import RatingPlan, read_plan
from pricing.product import Product, parse_product, read_product

REFERENCE = Path(__file__).parents[2] / "data" / "reference"
PRODUCTS = sorted((REFERENCE / "products").glob("*.toml"))
PLANS = sorted((REFERENCE / "plans").glob("*.toml"))
MOTOR = (REFERENCE / "products" / "motor.toml").read_text(encoding="utf-8")
MOTOR_PLAN = (REFERENCE / "plans" / "motor-2026-01.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PRODUCTS, ids=lambda path: path.stem)
def test_every_shipped_product_is_whole(path: Path) -> None:
    product = read_product(path)
    assert product.code == path.stem
    plan = read_plan(REFERENCE / "plans" / f"{product.plan}.toml")
    assert plan.product == product.code
    assert plan.currency == product.currency


def test_the_issue_s_products_are_shipped() -> None:
    shipped = {path.stem for path in PRODUCTS}
    assert {
        "return_freight",
        "motor",
        "accident",
        "medical",
        "phone_screen",
        "flight_delay",
        "shop_bond",
    } <= shipped


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "quote_valid_minutes",
            "quote_valid_minuts",
            r"unknown key 'quote_valid_minuts' \(did you mean 'quote_valid_minutes'",
        ),
        ("minimum = 18", "minimun = 18", "factors.0.integer.minimun"),
        ('protected = ["gender"]', 'protected = ["driver_age"]', "protected attributes"),
        ("minimum = 18", "minimum = 98", "must lie below maximum"),
        ('limit = "300000.00"', 'limit = "300000.001"', "more digits"),
        ('limit = "300000.00"', 'benefit = "5.00"', "an indemnity cover has a limit"),
        ('amount = "claim_amount_minor"', "", "needs the columns"),
        ('currency = "CNY"', 'currency = "CNX"', "unknown"),
        ('method = "time"\ncolumn = "quoted_at"', 'method = "time"', "needs a column"),
        ('name = "vehicle_age"', 'name = "driver_age"', "repeat"),
        ('op = "<="\nvalue = 200', 'op = "<="\nvalue = ["a"]', "do not fit"),
        ('code = "motor"', "code = motor", "not TOML"),
    ],
)
def test_a_faulty_product_file_is_refused_by_name(old: str, new: str, message: str) -> None:
    assert old in MOTOR
    with pytest.raises(DefinitionError, match=message) as caught:
        parse_product(MOTOR.replace(old, new, 1), "motor.toml")
    assert str(caught.value).startswith("motor.toml")


def test_the_hash_follows_the_content_not_the_layout() -> None:
    product = parse_product(MOTOR, "a")
    assert product.hash == parse_product("# a comment\n" + MOTOR, "b").hash
    assert product.hash != parse_product(MOTOR.replace("maximum = 90", "maximum = 91"), "c").hash


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('margin = "0.05"', 'margin = "0.80"', "reach 100 %"),
        ('lowest = "100.00"', 'lowest = "40000.00"', "not below"),
        ('minimum_premium = "100.00"', 'minimum_premium = "40000.00"', "excludes the minimum premium"),
        ('agent = "0.15"', "agent = 0.15", "commission.agent"),
        (
            "effective_from = 2025-12-01",
            "effective_from = 2025-12-01\neffective_to = 2025-11-01",
            "must come after",
        ),
        ('code = "motor-2026-01"', 'code = "motor-2027-01"', "must equal the name of the file"),
    ],
)
def test_a_faulty_plan_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MOTOR_PLAN
    path = tmp_path / "motor-2026-01.toml"
    path.write_text(MOTOR_PLAN.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DefinitionError, match=message):
        read_plan(path)


@pytest.fixture
def plan() -> RatingPlan:
    return read_plan(REFERENCE / "plans" / "motor-2026-01.toml")


def test_an_unknown_channel_has_no_price(plan: RatingPlan) -> None:
    with pytest.raises(UnknownChannelError, match="allowed: agent, direct, platform"):
        build_ladder(1000.0, plan, "fax")


@pytest.mark.parametrize("risk", [float("nan"), float("inf"), -1.0, 0.0, 1e15])
def test_a_risk_premium_that_is_no_number_has_no_price(plan: RatingPlan, risk: float) -> None:
    with pytest.raises(TechnicalPremiumError, match="refer the risk"):
        build_ladder(risk, plan, "direct")


def test_a_plan_prices_only_while_in_force(plan: RatingPlan) -> None:
    plan.check_effective(date(2026, 3, 1))
    with pytest.raises(PlanNotEffectiveError, match="2025-12-01"):
        plan.check_effective(date(2025, 11, 30))


def test_a_risk_is_read_as_the_product_says() -> None:
    motor: Product = parse_product(MOTOR, "motor.toml")
    good = {
        "driver_age": 40,
        "vehicle_age": 44,
        "vehicle_power": 6,
        "bonus_malus": 50,
        "fuel": "petrol",
        "region": "CN-GD",
    }
    risk = read_risk(motor.factors, good)
    assert risk["vehicle_age"] == 30.0, "outside = nearest"
    assert risk["annual_km"] != risk["annual_km"], "missing = level is NaN"


def test_category_levels_stand_in_where_the_file_says_so() -> None:
    text = {"en": "x", "zh": "x"}
    factor = CategoryFactor(
        name="a", label=text, type="category", levels=("x", "y"), missing="x", unknown="y"
    )
    assert (factor.read(None), factor.read("z"), factor.read("x")) == ("x", "y", "x")


@pytest.mark.parametrize("value", [True, "40", 40.5, -1, 91, float("nan"), None, [], {}])
def test_a_number_that_is_not_allowed_is_a_problem_not_a_price(value: object) -> None:
    text = {"en": "x", "zh": "x"}
    factor = NumberFactor(name="a", label=text, type="integer", unit="years", minimum=18, maximum=90)
    assert not isinstance(factor.read(value), float)
