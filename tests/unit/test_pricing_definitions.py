"""Product files and rating plans: what is read, and what is refused by name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pricing.errors import DefinitionError, PlanNotEffectiveError, TechnicalPremiumError, UnknownChannelError
from pricing.factors import CategoryFactor, NumberFactor, read_risk
from pricing.ladder import PriceInputs, build_ladder
from pricing.plan import RatingPlan, plan_on, read_plan
from pricing.product import Product, parse_product, read_product
from serving.compose import product_plan

REFERENCE = Path(__file__).parents[2] / "data" / "reference"
PRODUCTS = sorted((REFERENCE / "products").glob("*.toml"))
OPEN = '{{at_least = {}, relativity = "1.05"}}'
BAND = '{{{}, below = 30, relativity = "1.05"}}'
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
        (
            'lowest = "100.00"',
            'lowest = "150.00"',
            "excludes the minimum premium: its price is 10600 minor units, filed are 15000 to 3000000",
        ),
        (
            'margin = "0.05"',
            'margin = "0.05"\nmaximum_premium = "99.00"',
            "at most 10400 minor units, below the",
        ),
        ('highest = "30000.00"', 'highest = "85.00"\n', "not below"),
        ('fixed = "60.00"', 'fixed = "22500.00"', "'agent': every price lies below commission plus tax"),
        ('fixed = "60.00"', 'fixed = "99999999999.00"', "above what can be priced"),
        ('margin = "0.05"', 'margin = "0.05"\nreinsurance = "1.2"', "reinsurance"),
        ('agent = "0.15"', "agent = {}", "commission.agent"),
        ('agent = "0.15"', 'agent = { one = "0.10", two = "0.84" }', "'agent/two' reach 100 %"),
        (
            "[expense]",
            '[claims_inflation]\nannual_rate = "0.03"\nbase_date = 2025-01-01\n[expense]',
            "claims_inflation.target_date",
        ),
        (
            "[expense]",
            '[claims_inflation]\nannual_rate = "0.03"\nbase_date = 2025-01-01\n'
            "target_date = 2024-01-01\n[expense]",
            "lies before base_date",
        ),
        ("[expense]", "[renewal_cap]\n[expense]", "needs rise, fall or both"),
        ("[expense]", "[relativities.fuel]\n[expense]", "has levels .*, bands or a curve"),
        ("[expense]", '[relativities.fuel.levels]\npetrol = "0"\n[expense]', r"levels.petrol is 0"),
        (
            "[expense]",
            '[relativities.fuel.levels]\npetrol = "1.1234567"\n[expense]',
            "relativities.fuel.levels.petrol",
        ),
        (
            "[expense]",
            "[relativities.fuel.levels]\npetrol = 1.1\n[expense]",
            "relativities.fuel.levels.petrol",
        ),
        *(
            (
                "[expense]",
                f"[relativities.driver_age]\nbands = [{bands}]\n[expense]",
                f"relativities.driver_age: .*{fault}",
            )
            for bands, fault in (
                ("", "bands: there is none"),
                (BAND.format("at_least = 18"), "bands.0 ends below 30; the last band has no end"),
                (f"{OPEN.format(18)}, {OPEN.format(30)}", "bands.0 has no end"),
                (
                    f"{BAND.format('at_least = 18')}, {OPEN.format(31)}",
                    "gap: bands.0 ends below 30, bands.1 starts at 31",
                ),
                (
                    f"{BAND.format('at_least = 18')}, {OPEN.format(29)}",
                    "overlap: bands.0 ends below 30, bands.1 starts at 29",
                ),
                (f"{BAND.format('at_least = 30')}, {OPEN.format(30)}", "not above its start"),
                (OPEN.format("nan"), "bands.0 starts at nan"),
            )
        ),
    ],
)
def test_a_faulty_plan_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MOTOR_PLAN
    path = tmp_path / "motor-2026-01.toml"
    path.write_text(MOTOR_PLAN.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DefinitionError, match=message):
        read_plan(path)


@pytest.mark.parametrize(
    ("extra", "faults"),
    [
        (
            '[relativities.furl.levels]\npetrol = "1"',
            ["relativities.furl: motor has no such factor; allowed: driver_age"],
        ),
        (
            '[relativities.fuel.levels]\npetrol = "1"\nsteam = "2"',
            [
                "relativities.fuel: levels.diesel is missing",
                "relativities.fuel: levels.steam is not a level of fuel",
            ],
        ),
        (
            '[relativities.fuel]\nbands = [{at_least = 0, relativity = "1"}]',
            ["fuel is a category; it needs levels"],
        ),
        ('[relativities.driver_age.levels]\nold = "1"', ["driver_age is a number; it needs bands"]),
        (
            '[relativities.driver_age]\nbands = [{at_least = 20, relativity = "1"}]',
            ["gap: bands.0 starts at 20, driver_age at 18"],
        ),
        (
            '[relativities.driver_age]\nunknown = "1"\nbands = [{at_least = 17, below = 95, '
            'relativity = "1"}, {at_least = 95, relativity = "1"}]',
            [
                "overlap: bands.0 starts at 17",
                "bands.1 starts at 95, above the largest 90",
                "unknown is not allowed",
            ],
        ),
        ('[relativities.annual_km]\nbands = [{at_least = 0, relativity = "1"}]', ["unknown is needed"]),
        (
            "[relativities.fuel]\ncurve = {reference = 12, exponent = 0.6, lowest = 1, highest = 40}",
            ["needs levels, found bands or a curve"],
        ),
        ('[cover_cap]\nshare = "0.0003"', ["at most 9000 minor units, below the least one of 10600"]),
        ('[cover_cap]\nshare = "0.5"\nfactor = "fuel"', ["cover_cap.factor 'fuel' must be a number"]),
        ('[cover_cap]\nshare = "0.5"\nfactor = "annual_km"', ["that is never missing"]),
        ('[cover_cap]\nshare = "0.5"\nfactor = "vehicle_power"', ["below the least one of 10600"]),
    ],
)
def test_a_plan_that_does_not_fit_its_product_is_refused_by_cell(
    tmp_path: Path, extra: str, faults: list[str]
) -> None:
    path = tmp_path / "motor-2026-01.toml"
    path.write_text(MOTOR_PLAN.replace("[expense]", f"{extra}\n[expense]", 1), encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        product_plan(parse_product(MOTOR, "motor.toml"), tmp_path)
    assert str(caught.value).startswith("motor-2026-01.toml: ")
    assert len(caught.value.problems) >= len(faults)
    for fault in faults:
        assert fault in str(caught.value)


def test_a_factor_of_the_plan_alone_is_read_by_no_model_and_priced_by_a_curve(tmp_path: Path) -> None:
    text = MOTOR.replace("\n[name]", '\nplan_only = ["annual_km"]\n[name]', 1)
    product = parse_product(text, "motor.toml")
    assert "annual_km" in {factor.name for factor in product.factors}
    assert "annual_km" not in product.inputs
    path = tmp_path / "motor-2026-01.toml"
    path.write_text(MOTOR_PLAN, encoding="utf-8")
    with pytest.raises(
        DefinitionError, match="relativities.annual_km is missing: .* the plan alone rates it"
    ):
        product_plan(product, tmp_path)
    curve = (
        '[relativities.annual_km]\nunknown = "1.1"\n'
        "curve = {reference = 12, exponent = 0.5, lowest = 3, highest = 48}\n"
    )
    path.write_text(MOTOR_PLAN.replace("[expense]", f"{curve}[expense]", 1), encoding="utf-8")
    plan = product_plan(product, tmp_path)
    assert plan.relativities is not None
    table = plan.relativities["annual_km"]
    km = np.array([1.0, 3.0, 12.0, 17.3, 48.0, 90.0, np.nan])
    found = table.of_numbers(km)
    assert found.tolist() == [500_000, 500_000, 1_000_000, 1_200_694, 2_000_000, 2_000_000, 1_100_000]
    assert found.tolist() == [table.relativity(float(one)) for one in km]
    for fault, message in (
        ("exponent = 0.5", "exponent = 1.5"),
        ("lowest = 3", "lowest = 13"),
    ):
        path.write_text(MOTOR_PLAN.replace("[expense]", f"{curve.replace(fault, message)}[expense]", 1))
        with pytest.raises(
            DefinitionError, match="allowed: exponent above 0 and at most 1, lowest <= reference"
        ):
            product_plan(product, tmp_path)


def test_names_of_the_plan_alone_must_be_factors() -> None:
    with pytest.raises(DefinitionError, match="plan_only names"):
        parse_product(MOTOR.replace("\n[name]", '\nplan_only = ["kilometres"]\n[name]', 1), "motor.toml")


def test_keys_that_a_plan_does_not_use_leave_its_hash_as_it_was() -> None:
    """Plans that were approved before a key existed stay approved."""
    plan = read_plan(REFERENCE / "plans" / "motor-2026-01.toml")
    assert plan.hash == "5cebb10914dfe42fbb6ab01b3eab864b665b049062da097ee554009f32e7b386"
    assert plan.hash != RatingPlan.model_validate(plan.model_dump() | {"reinsurance": "0.01"}).hash


@pytest.fixture
def plan() -> RatingPlan:
    return read_plan(REFERENCE / "plans" / "motor-2026-01.toml")


def test_an_unknown_channel_has_no_price(plan: RatingPlan) -> None:
    with pytest.raises(UnknownChannelError, match="allowed: agent, direct, platform"):
        build_ladder(PriceInputs(1000.0), plan, "fax")


@pytest.mark.parametrize("risk", [float("nan"), float("inf"), -1.0, 0.0, 1e15])
def test_a_risk_premium_that_is_no_number_has_no_price(plan: RatingPlan, risk: float) -> None:
    with pytest.raises(TechnicalPremiumError, match="refer the risk"):
        build_ladder(PriceInputs(risk), plan, "direct")


def test_a_sub_channel_must_be_named_where_the_plan_has_some(plan: RatingPlan) -> None:
    other = RatingPlan.model_validate(
        plan.model_dump() | {"commission": {"direct": "0.05", "platform": {"a": "0.1", "b": "0.2"}}}
    )
    assert other.terms("platform", "b").commission == 200_000
    assert other.terms("platform", "b").payee == "platform/b"
    assert other.outlets == (("direct", None), ("platform", "a"), ("platform", "b"))
    for channel, sub_channel, message in (
        (
            "platform",
            None,
            "no sub_channel is named, and one must be, in the plan of channel 'platform'; allowed: a, b",
        ),
        ("platform", "c", "sub_channel 'c' is not in the plan of channel 'platform'; allowed: a, b"),
        ("direct", "a", "allowed: none, leave it out"),
        ("fax", "a", "channel 'fax' is not in the plan; allowed: direct, platform"),
    ):
        with pytest.raises(UnknownChannelError, match=message):
            other.terms(channel, sub_channel)


def test_a_plan_prices_only_while_in_force(plan: RatingPlan) -> None:
    assert plan_on([plan], date(2026, 3, 1)) is plan
    with pytest.raises(PlanNotEffectiveError, match="2025-12-01"):
        plan_on([plan], date(2025, 11, 30))
    later = plan.model_copy(update={"code": "later", "effective_from": date(2026, 7, 1)})
    assert plan_on([later, plan], date(2026, 6, 30)) is plan
    assert plan_on([plan, later], date(2026, 7, 1)) is later, "what came into force last prices"


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
