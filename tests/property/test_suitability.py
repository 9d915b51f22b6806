"""One list of rules decides who may buy: offers and quotes, single and in batch, agree on every customer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommend import exclusion_codes
from models.recommend.mask import allowed, could_buy, exclusions
from pricing.errors import DefinitionError, NeedsError
from pricing.product import parse_product, read_product
from pricing.suitability import (
    HELD,
    NEEDS,
    NOT_IN_SCENE,
    UNANSWERED,
    WAITING,
    cover_facts,
    read_needs,
)
from serving.batch_facts import bad_answers
from serving.engine import rule_outcomes

FOLDER = Path(__file__).parents[2] / "data" / "reference" / "products"
ASKED = """
[[needs]]
code = "drives"
text = { en = "Do you drive?", zh = "您开车吗？" }
type = "yes_no"

[[needs]]
code = "use"
text = { en = "What for?", zh = "用途？" }
type = "choice"
answers = [
    { code = "work", text = { en = "Work", zh = "工作" } },
    { code = "leisure", text = { en = "Leisure", zh = "休闲" } },
]
required = false

[[needs]]
code = "trips"
text = { en = "How often?", zh = "频率？" }
type = "number"
minimum = 0
maximum = 50

[[suitability]]
code = "no_driver"
field = "needs.drives"
op = "=="
value = true
message = { en = "Only for drivers.", zh = "仅限驾驶人。" }

[[suitability]]
code = "no_work"
field = "needs.use"
op = "!="
value = "work"
when_unknown = "pass"
message = { en = "Not for work.", zh = "不含工作用途。" }

[[underwriting]]
code = "many_trips"
field = "needs.trips"
op = "<"
value = 20
effect = "refer"
message = { en = "A person decides.", zh = "人工核保。" }
"""


def motor_text() -> str:
    text = (FOLDER / "motor.toml").read_text(encoding="utf-8")
    return text.replace('need = "mobility"', 'need = "mobility"\nwaiting_days = 400')


ASKING = parse_product(motor_text() + ASKED, "asking.toml")
PRODUCTS = [
    ASKING,
    *(
        read_product(FOLDER / f"{code}.toml")
        for code in ("accident", "flight_delay", "medical", "phone_screen", "return_freight", "shop_bond")
    ),
]
CODES = [product.code for product in PRODUCTS]
ANSWERS = {
    "drives": [True, False],
    "use": ["work", "leisure"],
    "trips": [0.0, 19.0, 20.0],
    "treatment_planned": [True, False],
    "screen_state": ["intact", "scratched", "broken"],
}


def people(n: int, seed: int):
    """Draw facts, answers and covers of customers."""
    rng = np.random.default_rng(seed)

    def some(values, unknown):
        column = np.array([*values, None], object)
        shares = np.append(np.full(len(values), (1 - unknown) / len(values)), unknown)
        return column[rng.choice(len(column), n, p=shares)]

    facts = {
        "customer.age": some(range(10, 95), 0.1),
        "customer.owns_shop": some([True, False], 0.0),
        "customer.city_tier": some([1, 2, 3, 4, 5], 0.1),
        "customer.region": some(["CN-GD", "CN-BJ"], 0.1),
        "customer.tenure_days": some(range(0, 900, 30), 0.1),
    }
    facts |= {NEEDS + code: some(values, 0.3) for code, values in ANSWERS.items()}
    ever = rng.random((n, len(PRODUCTS))) < 0.5
    held = ever & (rng.random(ever.shape) < 0.5)
    since = np.where(ever, rng.integers(-20, 800, ever.shape).astype(float), np.nan)
    return facts, held, since


def of_one(facts, held, since, row):
    mine = {name: column[row] for name, column in facts.items()}
    codes = [code for code, has in zip(CODES, held[row], strict=True) if has]
    days = {code: int(value) for code, value in zip(CODES, since[row], strict=True) if not np.isnan(value)}
    return mine, codes, days


def quote_outcomes(product, mine, codes, days):
    """Decide the rules as the service does in a quote of new business."""
    covers = cover_facts(product, codes, days, scene=product.cover.per)
    return rule_outcomes(product, {"bonus_malus": 100.0}, {}, mine | covers)


@given(st.integers(0, 100_000))
@settings(max_examples=40, deadline=None)
def test_offered_is_never_declined_and_what_a_quote_admits_is_never_withheld(seed):
    facts, held, since = people(25, seed)
    for product_at, product in enumerate(PRODUCTS):
        own = {rule.code for rule in product.admission}
        open_ = allowed([product], facts, held[:, [product_at]], product.cover.per, since[:, [product_at]])
        found = exclusions(product, facts, held[:, product_at], product.cover.per, since[:, product_at])
        for row in range(25):
            mine, codes, days = of_one(facts, held, since, row)
            outcomes = [outcome.code for outcome in quote_outcomes(product, mine, codes, days)]
            against = [code for code in outcomes if code in own]
            assert open_[row, 0] == (not against)
            assert {code for code, rows in found.items() if rows[row]} == set(against)
            single = exclusion_codes(product, mine, codes, product.cover.per, days)
            assert single == tuple(dict.fromkeys(against))


def test_not_one_ineligible_offer_among_a_million_pairs():
    n = 150_000
    facts, held, since = people(n, 4)
    open_ = allowed(PRODUCTS, facts, held, "trip", since)
    assert open_.size > 1_000_000
    age = np.array([np.nan if value is None else value for value in facts["customer.age"]], float)
    drives, use, trips = (facts[f"needs.{code}"] for code in ("drives", "use", "trips"))
    unanswered = np.array([one is None or other is None for one, other in zip(drives, trips, strict=True)])
    may_drive = ~unanswered & (drives == True) & (use != "work")  # noqa: E712 - objects
    motor = may_drive & ~(age < 18) & ~held[:, 0] & ~(since[:, 0] < 400)
    assert (open_[:, 0] == motor).all()
    medical = CODES.index("medical")
    wanted = (age >= 18) & (age <= 80) & (facts["needs.treatment_planned"] != True)  # noqa: E712
    wanted &= ~held[:, medical] & ~(since[:, medical] < 30)
    assert (open_[:, medical] == wanted).all()
    assert not open_[:, CODES.index("return_freight")].any()
    assert open_[:, CODES.index("flight_delay")].all()  # several may be held
    assert (open_[:, CODES.index("shop_bond")] <= (facts["customer.owns_shop"] == True)).all()  # noqa: E712


def test_an_unanswered_question_is_for_a_person_and_no_offer():
    facts = {"customer.age": 40.0, "needs.drives": None, "needs.use": None, "needs.trips": 3.0}
    outcomes = quote_outcomes(ASKING, facts, [], {})
    assert [(outcome.code, outcome.effect) for outcome in outcomes] == [(UNANSWERED, "refer")]
    assert outcomes[0].message.en == "Please answer: Do you drive?"
    assert exclusion_codes(ASKING, facts, [], None) == (UNANSWERED,)
    no = quote_outcomes(ASKING, facts | {"needs.drives": False, "needs.trips": 20.0}, [], {})
    assert [(outcome.code, outcome.effect) for outcome in no] == [
        ("no_driver", "decline"),
        ("many_trips", "refer"),
    ]


def test_covers_already_bought_and_the_scene_have_codes():
    answered = {"customer.age": 40.0, "needs.drives": True, "needs.trips": 3.0}
    assert exclusion_codes(ASKING, answered, ["motor"], None, {"motor": 399}) == (HELD, WAITING)
    assert exclusion_codes(ASKING, answered, [], None, {"motor": 400}) == ()
    freight = PRODUCTS[CODES.index("return_freight")]
    assert exclusion_codes(freight, {}, ["return_freight"], "trip", {}) == (NOT_IN_SCENE,)
    assert exclusion_codes(freight, {}, ["return_freight"], "order", {}) == ()


def test_what_nobody_was_asked_is_passed_over_when_learning():
    held, since = np.array([False, True]), np.array([500.0, 10.0])
    assert could_buy(ASKING, {"customer.age": np.array([30.0, 30.0])}, held, since).tolist() == [True, False]
    freight = PRODUCTS[CODES.index("return_freight")]
    assert could_buy(freight, {}, held).all()


def test_answers_are_checked_by_name():
    found = read_needs([ASKING], {"drives": True, "trips": 3})
    assert found == {"needs.drives": True, "needs.use": None, "needs.trips": 3.0}
    given = {"drives": 1, "use": "holiday", "trips": 51, "drive": True}
    with pytest.raises(NeedsError) as caught:
        read_needs([ASKING], given)
    assert [(one.field, one.code) for one in caught.value.problems] == [
        ("drive", "unknown"),
        ("drives", "type"),
        ("use", "level"),
        ("trips", "above"),
    ]
    assert "drives" in caught.value.problems[0].hint
    columns = {"needs.drives": pa.array([True, None]), "needs.trips": pa.array([51.0, 3.0])}
    assert bad_answers(ASKING, pa.RecordBatch.from_pydict(columns)) == [(0, "trips:above")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('field = "needs.use"', 'field = "needs.usage"', "is no question; allowed: drives, use, trips"),
        ('code = "use"', 'code = "drives"', "needs repeat 'drives'"),
        ("minimum = 0\nmaximum = 50", "", "a number needs minimum below maximum"),
        ('type = "yes_no"', 'type = "choice"', "two or more different answers"),
        ('type = "yes_no"', 'type = "yes_no"\nminimum = 1', "go with type 'number'"),
        ('code = "no_driver"', 'code = "already_held"', "those of built-in rules"),
    ],
)
def test_faulty_questions_are_refused_by_name(old, new, message):
    assert old in ASKED
    with pytest.raises(DefinitionError, match=message):
        parse_product(motor_text() + ASKED.replace(old, new, 1), "asking.toml")


def test_files_without_needs_keep_their_hash():
    motor = read_product(FOLDER / "motor.toml")
    for key in ("needs", "suitability", "waiting_days"):
        assert key not in motor.canonical
        assert key in ASKING.canonical
