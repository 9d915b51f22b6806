"""Contacts keep to their rules, whoever asks at once; nothing is done that is not worth its cost."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommend.actions import ContactRules, best_actions, read_contact_rules
from pricing.errors import DefinitionError
from pricing.ladder import PriceInputs, build_ladder
from pricing.margin import expected_margin
from pricing.plan import read_plan
from serving.contacts import ContactLog

REFERENCE = Path(__file__).parents[2] / "data" / "reference"
RULES = read_contact_rules(REFERENCE / "contacts.toml")
NOW = dt.datetime(2026, 1, 1, 4)
TIMES = st.lists(st.tuples(st.integers(0, 60 * 24), st.sampled_from([1, 2])), max_size=30)


@given(TIMES, st.integers(1, 4), st.integers(1, 14))
@settings(max_examples=12, deadline=None)
def test_no_window_ever_holds_more_contacts_than_its_cap(tmp_path_factory, asked, most, days):
    rules = RULES.channels["direct"].model_copy(update={"most": most, "window_days": days})
    made: dict[int, list[dt.datetime]] = {1: [], 2: []}
    with closing(ContactLog(tmp_path_factory.mktemp("log") / "c.sqlite")) as log:
        for number, (hours, customer) in enumerate(sorted(asked)):
            now = NOW + dt.timedelta(hours=hours)
            since = now - dt.timedelta(days=days)
            room = sum(at > since for at in made[customer]) < most
            assert log.is_full(customer, "direct", now, rules) == (not room)
            assert log.add(str(number), customer, "direct", "motor", now, rules) == room
            if room:
                made[customer].append(now)
            assert (customer in log.full("direct", now, rules)) == log.is_full(customer, "direct", now, rules)


def test_the_cap_is_exact_when_many_ask_at_once(tmp_path):
    rules = RULES.channels["platform"]

    def ask(worker: int) -> int:
        with closing(ContactLog(tmp_path / "c.sqlite")) as log:  # as another process would
            return sum(log.add(f"{worker}-{n}", 5, "platform", "motor", NOW, rules) for n in range(10))

    ContactLog(tmp_path / "c.sqlite").close()
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == rules.most


def test_a_decline_cools_down_and_a_customer_is_erased(tmp_path):
    with closing(ContactLog(tmp_path / "c.sqlite")) as log:
        log.decline(3, NOW)
        log.decline(3, NOW - dt.timedelta(days=9))  # the later one counts
        assert log.cools_down(3, NOW + dt.timedelta(days=29), 30)
        assert not log.cools_down(3, NOW + dt.timedelta(days=30), 30)
        assert log.cooling(NOW, 30) == [3]
        assert log.add("a", 3, "agent", "motor", NOW, RULES.channels["agent"])
        assert log.erase_customer(3) == 2
        assert not log.cools_down(3, NOW, 30)
        assert not log.is_full(3, "agent", NOW, RULES.channels["agent"])


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_best_action_is_the_best_of_all_that_may_be_done(seed):
    rng = np.random.default_rng(seed)
    n, m, names = 12, 4, list(RULES.channels)
    p, offered = rng.random((n, m)) * 0.05, rng.random((n, m)) < 0.6
    margins = rng.uniform(-500, 20_000, m)
    allowed = rng.random((n, len(names))) < 0.6
    found = best_actions(p, offered, margins, RULES, allowed)
    costs = [5.0, 30.0, 1200.0]
    for row in range(n):
        values = {
            (at, through): p[row, at] * RULES.channels[name].lift * margins[at] - costs[through]
            for at in range(m)
            for through, name in enumerate(names)
            if offered[row, at] and allowed[row, through]
        }
        best = max(values, key=values.__getitem__, default=None)
        if best is None or values[best] <= 0:
            assert (found.product[row], found.channel[row]) == (-1, -1)
        else:
            assert (found.product[row], found.channel[row]) == best
            assert found.value_minor[row] == pytest.approx(values[best])


def test_hours_are_those_of_the_customers():
    assert RULES.in_hours("direct", dt.datetime(2026, 1, 1, 1))  # nine in China
    assert not RULES.in_hours("direct", dt.datetime(2026, 1, 1, 0, 59))
    assert not RULES.in_hours("direct", dt.datetime(2026, 1, 1, 13))
    assert RULES.in_hours("platform", dt.datetime(2026, 1, 1, 20))


def test_nothing_is_done_without_products_and_faulty_rules_are_refused(tmp_path):
    none = best_actions(np.empty((2, 0)), np.empty((2, 0), bool), np.empty(0), RULES, np.ones((2, 3), bool))
    assert none.product.tolist() == [-1, -1]
    path = tmp_path / "contacts.toml"
    text = (REFERENCE / "contacts.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("to_hour = 21", "to_hour = 9"), encoding="utf-8")
    with pytest.raises(DefinitionError, match="not before to_hour"):
        read_contact_rules(path)
    assert isinstance(RULES, ContactRules)


def test_the_expected_margin_is_what_is_left_of_the_price():
    plan = read_plan(REFERENCE / "plans" / "motor-2026-01.toml")
    terms = plan.terms("direct")
    ladder = build_ladder(PriceInputs(80_000.0), plan, "direct")
    steps = {step.name: step.minor for step in ladder.steps}
    found = expected_margin(steps, ladder.price_minor, terms)
    # Neither minimum nor cap binds here: what is left is the margin that was loaded, but for the rounding.
    assert abs(found - steps["margin"]) <= 60
    assert expected_margin(steps, ladder.price_minor + 1000, terms) > found
