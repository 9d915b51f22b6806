"""Own history: the lake, the snapshot and the events since give the same sums, to the last integer."""

from __future__ import annotations

import datetime as dt
import random
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data.simulate import simulate
from data.store import connect, read_table, write_table
from features.load import default_spec
from models.experience import rating_of
from models.own_history import OwnHistories, own_sums, read_own_claims, read_terms
from models.training import train
from models.training_table import attach_profiles, training_table
from models.versions import judge_bundles
from pricing.experience import Experience
from pricing.plan import read_plan
from pricing.product import Split
from serving.clock import to_micros
from serving.compose import read_products
from serving.engine import InService
from serving.errors import StoreError
from serving.experience import Rated, rated_products
from serving.history import HistoryStore, build_history, erase_from_history
from serving.live import LiveStore
from serving.settings import REFERENCE

if TYPE_CHECKING:
    from pathlib import Path

    from pricing.product import Product

pytestmark = pytest.mark.slow

SPEC = default_spec()
SYNC, NOW, END = (
    dt.datetime(2025, 9, 12, 15, 4),
    dt.datetime(2025, 10, 20, 11, 0, 3, 7),
    dt.datetime(2026, 1, 1),
)
SINCE = dt.date(2024, 3, 1)
BOUNDS: dict[str, Any] = {"since": SINCE, "lowest": "0.2", "highest": "9"}
FILED = {
    "motor": Experience(method="poisson_gamma", memory=0.8, lag_days=3, shape=1.5, **BOUNDS),
    "medical": Experience(method="buhlmann_straub", memory=0.9, lag_days=15, shape=200.0, **BOUNDS),
    "return_freight": Experience(
        method="poisson_gamma",
        unit="seller",
        counts="returns",
        memory=0.6,
        lag_days=8,
        shape=4.0,
        expected={"apparel": 0.4, "shoes": 0.3, "toys": 0.08},
        **BOUNDS,
    ),
}


def variant(product: Product) -> Product:
    """Give the product with the experience of `FILED`, without features of the same history, by one GLM."""
    profile = product.profile.model_copy(update={"features": ("tenure_days",), "fitted": (), "monotone": {}})
    models = product.models.model_copy(update={"families": ("glm",), "champion": "glm"})
    split = Split(method="group", column="customer_id", share=0.45)
    own = {"profile": profile, "models": models, "split": split, "experience": FILED[product.code]}
    return product.model_copy(update=own)


@dataclass(frozen=True)
class World:
    """A lake as it ends, the same as it was at SYNC, and products that keep own history."""

    lake: Path
    before: Path
    services: dict[str, InService]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    lake, before = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("before")
    simulate(lake, 16_000, 3, orders_per_customer=4)
    products = read_products(REFERENCE / "products")
    services = {}
    with connect(lake) as con:
        for code in FILED:
            product = variant(products[code])
            table = attach_profiles(con, training_table(con, product, END), product, SPEC, lake)
            bundle = train(product, table, feature_spec=SPEC).bundle()
            plan = read_plan(REFERENCE / "plans" / f"{product.plan}.toml")
            services[code] = InService(product, plan, bundle, "1", "hash")
    cut = pa.scalar(SYNC, pa.timestamp("us"))
    for name, time in (
        ("customers", None),
        ("policies", None),
        ("orders", "ordered_at"),
        ("claims", "reported_at"),
    ):
        table = read_table(lake, name)
        if time is not None:
            table = table.filter(pc.less(table[time], cut))
        if name == "orders":
            late = pc.fill_null(pc.greater_equal(table["returned_at"], cut), False)
            told = pc.if_else(late, pa.scalar(None, pa.timestamp("us")), table["returned_at"])
            table = table.set_column(table.column_names.index("returned_at"), "returned_at", told)
        write_table(before, name, table, created=SYNC)
    return World(lake, before, services)


def events_between(lake: Path, begin: dt.datetime, end: dt.datetime) -> list[dict[str, Any]]:
    """Give every order, return and claim that became known in [begin, end), in a shuffled order."""
    found: list[dict[str, Any]] = []
    for row in read_table(lake, "orders").to_pylist():
        same = {n: row[n] for n in ("order_id", "customer_id", "seller_id", "category", "amount_minor")}
        for kind in ("order", "return"):
            at = row[f"{kind}ed_at"]
            if at is not None and begin <= at < end:
                event = {"type": kind, "event_id": f"{kind}{row['order_id']}", f"{kind}ed_at": at.isoformat()}
                found.append(same | event)
    for row in read_table(lake, "claims").to_pylist():
        if begin <= row["reported_at"] < end:
            times = {name: row.pop(name).isoformat() for name in ("occurred_at", "reported_at")}
            found.append(row | times | {"type": "claim", "event_id": f"claim{row['claim_id']}"})
    random.Random(3).shuffle(found)  # noqa: S311 - any order will do
    return found


def by_lake(lake: Path, service: InService, now: dt.datetime) -> dict[int, int]:
    """Relativities of everybody with a history, as the batch works them out."""
    rating = rating_of(service.product, service.bundle.experience)
    assert rating is not None
    with connect(lake) as con:
        claims, terms = read_own_claims(con, service.bundle), read_terms(con, service.bundle, SPEC, lake)
    units = np.unique(np.concatenate([claims.unit, terms.unit, [9_999_999]]))
    sums = own_sums(rating, claims, terms, units, np.full(len(units), to_micros(now)))
    return dict(zip(units.tolist(), sums.relativity.tolist(), strict=True))


@pytest.fixture
def opened(world: World, tmp_path: Path) -> tuple[Path, Path]:
    """A snapshot as of SYNC and an empty log."""
    history, live = tmp_path / "history.sqlite", tmp_path / "live.sqlite"
    with connect(world.before) as con:
        build_history(con, SPEC, history, lake=None, services=world.services, as_of=SYNC)
    return history, live


def by_store(
    opened: tuple[Path, Path], service: InService, units: list[int], now: dt.datetime
) -> dict[int, int]:
    with closing(HistoryStore(*opened)) as store:
        reader = store.own_history(service)
        return {unit: reader.read(unit, now).relativity for unit in units}


def test_events_move_the_sums_to_what_the_lake_says_later(world: World, opened: tuple[Path, Path]) -> None:
    events = events_between(world.lake, SYNC, NOW)
    with closing(LiveStore(opened[1], SPEC, rated_products(world.services))) as live:
        for start in range(0, len(events), 500):
            answers, _ = live.accept(events[start : start + 500], NOW)
            assert answers.counts == {"accepted": answers.received}
    for code, service in world.services.items():
        wanted = by_lake(world.lake, service, NOW)
        found = by_store(opened, service, list(wanted), NOW)
        assert found == wanted, code
        assert wanted[9_999_999] == 1_000_000
        assert len(set(wanted.values())) > 20, code
        assert found != by_store(
            (opened[0], opened[1]), service, list(wanted), NOW + dt.timedelta(days=200)
        ), code


def test_what_the_log_forgets_is_taken_back_exactly(world: World, opened: tuple[Path, Path]) -> None:
    service = world.services["return_freight"]
    units = list(by_lake(world.before, service, NOW))
    rated = rated_products(world.services)
    with closing(LiveStore(opened[1], SPEC, rated)):
        pass
    before = by_store(opened, service, units, NOW)
    events = events_between(world.lake, SYNC, NOW)
    with closing(LiveStore(opened[1], SPEC, rated)) as live:
        live.accept(events[:1000], NOW)
    assert by_store(opened, service, units, NOW) != before
    # Opened by a job that keeps no sums, the log may grow all the same; who keeps some builds them anew.
    with closing(LiveStore(opened[1], SPEC)) as live:
        live.accept(events[1000:1500], NOW)
    with closing(LiveStore(opened[1], SPEC, rated)) as live:
        assert by_store(opened, service, units, NOW) != before
        keys = [(e["type"], e.get("claim_id", e.get("order_id"))) for e in events[:1500]]
        assert live.forget(keys) == 1500
        rows = live._connection.execute("SELECT count(*) FROM own_live").fetchone()
        assert rows == (0,)
    assert by_store(opened, service, units, NOW) == before


def test_a_claim_counts_strictly_after_it_was_reported(world: World, opened: tuple[Path, Path]) -> None:
    service = world.services["motor"]
    claim = {
        "type": "claim",
        "event_id": "c1",
        "claim_id": 10**15,
        "product": "motor",
        "customer_id": 17,
        "paid_minor": 30_000,
        "occurred_at": (NOW - dt.timedelta(days=2)).isoformat(),
        "reported_at": (NOW + dt.timedelta(seconds=3)).isoformat(),
    }
    other = claim | {"event_id": "c2", "claim_id": 10**15 + 1, "product": "medical"}
    with closing(LiveStore(opened[1], SPEC, rated_products(world.services))) as live:
        assert live.accept([claim, other], NOW)[0].counts == {"accepted": 2}
    moments = [NOW, NOW + dt.timedelta(seconds=3), NOW + dt.timedelta(seconds=3, microseconds=1)]
    found = [by_store(opened, service, [17], moment)[17] for moment in moments]
    assert found[0] == found[1] < found[2]


def test_a_snapshot_answers_for_its_day_and_its_model_only(world: World, opened: tuple[Path, Path]) -> None:
    service = world.services["motor"]
    with closing(LiveStore(opened[1], SPEC)):
        pass
    by_store(opened, service, [1], SYNC.replace(hour=0, minute=0))
    with pytest.raises(StoreError, match="of a snapshot of 2025-09-12"):
        by_store(opened, service, [1], SYNC.replace(hour=0, minute=0) - dt.timedelta(microseconds=1))
    other = InService(service.product, service.plan, service.bundle, "2", "another")
    with pytest.raises(StoreError, match="of another model or product file"):
        by_store(opened, other, [1], NOW)
    with connect(world.before) as con:
        build_history(con, SPEC, opened[0])
    with pytest.raises(StoreError, match="holds no sums of own claims for motor"):
        by_store(opened, service, [1], NOW)


def test_an_erased_customer_is_a_newcomer(world: World, opened: tuple[Path, Path]) -> None:
    service = world.services["motor"]
    with closing(LiveStore(opened[1], SPEC)):
        pass
    everybody = by_lake(world.before, service, NOW)
    known = next(unit for unit, relativity in everybody.items() if relativity > 1_000_000)
    seller = next(iter(by_lake(world.before, world.services["return_freight"], NOW)))
    shops = by_store(opened, world.services["return_freight"], [seller, known], NOW)
    erase_from_history(opened[0], SPEC, known)
    assert by_store(opened, service, [known], NOW) == {known: 1_000_000}
    assert by_store(opened, world.services["return_freight"], [seller, known], NOW) == shops


def test_time_to_take_an_event_does_not_grow_with_the_history(
    world: World, opened: tuple[Path, Path]
) -> None:
    """The statements that an event runs look rows up by key alone; none walks through what is there."""
    with closing(LiveStore(opened[1], SPEC, rated_products(world.services))) as live:
        live.accept(events_between(world.lake, SYNC, NOW)[:2000], NOW)
        plan = live._connection.execute(
            "EXPLAIN QUERY PLAN UPDATE own_live SET amount = amount - 1 WHERE (product, unit, first, last) "
            "= ('a', 1, 2, 3)"
        ).fetchall()
        assert all("SEARCH" in row[-1] for row in plan)
        rows = live._connection.execute("SELECT count(*), count(DISTINCT unit) FROM own_live").fetchone()
        events = live._connection.execute("SELECT count(*) FROM own_events").fetchone()[0]
        assert rows[0] < events
    with closing(HistoryStore(*opened)) as store:
        for table in ("main.own_sums", "main.own_terms", "main.own_later", "live.own_live"):
            query = f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE product = ? AND unit = ?"  # noqa: S608
            found = store._connection.execute(query, ("a", 1)).fetchall()
            assert all("SEARCH" in row[-1] for row in found), table


def test_policies_that_the_model_cannot_rate_count_with_the_average(world: World) -> None:
    service = world.services["motor"]
    rated = Rated.of(service)
    assert rated is not None
    policies = read_table(world.before, "policies")
    old = pc.and_(pc.equal(policies["product"], "motor"), pc.equal(policies["customer_id"], 0))
    assert not pc.any(old).as_py()
    one = policies.filter(pc.equal(policies["product"], "motor")).slice(0, 1).to_pylist()[0]
    strange = one | {"customer_id": 0, "policy_id": 10**15, "fuel": "steam"}
    with connect(world.before) as con:
        con.register("strange", pa.Table.from_pylist([strange], schema=policies.schema))
        con.execute("CREATE OR REPLACE TEMP VIEW policies AS SELECT * FROM strange")
        terms = read_terms(con, service.bundle, SPEC, world.before)
    assert service.bundle.experience is not None
    wanted = round(service.bundle.experience.average * rated.rating.unit / 365)
    assert terms.rate.tolist() == [wanted]


@pytest.mark.parametrize("code", FILED)
def test_models_are_judged_with_own_claims_as_of_each_quote(world, code):
    service = world.services[code]
    product, bundle = service.product, service.bundle
    with connect(world.lake) as con:
        table = attach_profiles(con, training_table(con, product, END), product, SPEC, world.lake)
    asked = pc.less(table["quoted_at"], pa.scalar(SYNC, pa.timestamp("us")))
    known = OwnHistories(world.lake, SPEC).relativities(bundle, table.filter(asked))
    assert known is not None
    assert (known != 1).any()
    # What became known later, the lake as it was had not heard of.
    np.testing.assert_array_equal(
        known, OwnHistories(world.before, SPEC).relativities(bundle, table.filter(asked))
    )
    plain = judge_bundles(product, {"a": bundle}, table)[0]
    rated = judge_bundles(product, {"a": bundle}, table, own=OwnHistories(world.lake, SPEC))[0]
    assert plain.own == {}
    np.testing.assert_allclose(rated.expected["a"], plain.expected["a"] * rated.own["a"])
    by_claims = plain.response.expected["a"] * rated.own["a"]
    # Medical is judged by its number of claims, of which a relativity of cost says nothing.
    by_claims = plain.response.expected["a"] if code == "medical" else by_claims
    np.testing.assert_allclose(rated.response.expected["a"], by_claims)
    assert (rated.own["a"] * plain.response.expected["a"] <= 1).all() or product.response.kind != "event"
