"""Events over HTTP: replaying a history gives, at every step, what the batch gives as of that time."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data.simulate import simulate
from data.store import connect, read_table, write_table
from features.load import default_spec
from features.profiles import build_profiles
from models.segments import read_segments
from serving.api import create_app
from serving.generation import Generation
from serving.history import HistoryStore, build_history, erase_from_history
from serving.ingest_live import ingest_live
from serving.live import LiveStore
from serving.profiles import ProfileReader
from serving.records import open_records
from serving.service import QuoteService
from serving.settings import Settings
from serving.signatures import Signer
from serving.snapshot import Snapshot, customer_features

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = pytest.mark.slow

END = dt.datetime(2026, 1, 1)
START = dt.datetime(2025, 12, 12)
SPEC = default_spec()
CUSTOMER = customer_features(SPEC)
SHOP = tuple(name for name in SPEC.names if SPEC.entity_of(name).keys == ("seller_id",))
MICROSECOND = dt.timedelta(microseconds=1)


class Service:
    """A service over a snapshot as of START, with a clock that the test sets."""

    def __init__(self, folder: Path, snapshot: Path) -> None:
        self.now = START
        with connect(snapshot) as con:
            build_history(con, SPEC, folder / "history.sqlite")
        self.folder = folder
        live = LiveStore(folder / "live.sqlite", SPEC)
        history = HistoryStore(folder / "history.sqlite", folder / "live.sqlite")
        self.shop = ProfileReader(SPEC, SHOP, history)
        self.service = QuoteService(
            generation=Generation(
                snapshot=Snapshot(
                    (),
                    history,
                    {"shop": self.shop},
                    ProfileReader(SPEC, CUSTOMER, history),
                    ProfileReader(SPEC, CUSTOMER, history),
                    None,
                    None,
                    None,
                    {},
                ),
            ),
            segments=read_segments(SPEC),
            spec=SPEC,
            live=live,
            records=open_records(Settings(lake=folder)),
            signer=Signer(Settings(lake=folder).signing, START),
            clock=lambda: self.now,
        )
        self.http = TestClient(create_app(lambda: self.service), raise_server_exceptions=False)

    def post(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self.http.post("/v1/events", json={"events": list(events)})
        assert answer.status_code == 200, answer.text
        answers: list[dict[str, Any]] = answer.json()["answers"]
        return answers

    def profile(self, customer: int) -> dict[str, Any]:
        answer = self.http.get(f"/v1/customers/{customer}/risk-profile")
        assert answer.status_code == 200, answer.text
        return {item["name"]: item["value"] for item in answer.json()["features"]}


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give the whole history, and the same as it was known at START."""
    whole, before = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("before")
    simulate(whole, 400, 3)
    start = pa.scalar(START, pa.timestamp("us"))
    for name, time in (
        ("customers", None),
        ("orders", "ordered_at"),
        ("policies", "quoted_at"),
        ("claims", "reported_at"),
    ):
        table = read_table(whole, name)
        if time is not None and name != "policies":
            table = table.filter(pc.less(table[time], start))
        if name == "orders":
            late = pc.greater_equal(table["returned_at"], start)
            returned = pc.if_else(
                pc.fill_null(late, False), pa.scalar(None, pa.timestamp("us")), table["returned_at"]
            )
            table = table.set_column(table.column_names.index("returned_at"), "returned_at", returned)
        write_table(before, name, table, created=START)
    return whole, before


@pytest.fixture
def service(lakes: tuple[Path, Path], tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, lakes[1])
    with made.http:
        yield made


def history(whole: Path) -> list[tuple[dt.datetime, dict[str, Any]]]:
    """Give every order, return and claim from START on as (time it became known, event)."""
    events: list[tuple[dt.datetime, dict[str, Any]]] = []
    for row in read_table(whole, "orders").to_pylist():
        shared = {
            name: row[name] for name in ("order_id", "customer_id", "seller_id", "category", "amount_minor")
        }
        if row["ordered_at"] >= START:
            order = {
                "type": "order",
                "event_id": f"o{row['order_id']}",
                **shared,
                "ordered_at": row["ordered_at"].isoformat(),
            }
            events.append((row["ordered_at"], order))
        if row["returned_at"] is not None and row["returned_at"] >= START:
            back = {
                "type": "return",
                "event_id": f"r{row['order_id']}",
                **shared,
                "freight_minor": row["freight_minor"],
            }
            events.append((row["returned_at"], {**back, "returned_at": row["returned_at"].isoformat()}))
    for row in read_table(whole, "claims").to_pylist():
        if row["reported_at"] >= START:
            names = ("claim_id", "product", "customer_id", "seller_id", "order_id", "paid_minor")
            times = {name: row[name].isoformat() for name in ("occurred_at", "reported_at")}
            events.append(
                (
                    row["reported_at"],
                    {
                        "type": "claim",
                        "event_id": f"c{row['claim_id']}",
                        **{n: row[n] for n in names},
                        **times,
                    },
                )
            )
    return sorted(events, key=lambda item: (item[0], item[1]["event_id"]))


def batch_profile(
    whole: Path, names: tuple[str, ...], key: str, value: int, as_of: dt.datetime
) -> dict[str, Any]:
    return batch_profiles(whole, names, key, [value], as_of)[value]


def batch_profiles(
    whole: Path, names: tuple[str, ...], key: str, values: list[int], as_of: dt.datetime
) -> dict[int, dict[str, Any]]:
    moments = pa.array([as_of] * len(values), pa.timestamp("us"))
    labels = pa.table({"row_id": list(range(len(values))), key: values, "as_of": moments})
    with connect(whole) as con:
        rows = build_profiles(con, labels, SPEC, names).drop_columns(["row_id"]).to_pylist()
    return dict(zip(values, rows, strict=True))


def test_replaying_a_history_gives_the_batch_s_features_at_every_step(
    service: Service, lakes: tuple[Path, Path]
) -> None:
    whole, _ = lakes
    events = history(whole)
    assert len(events) > 150
    assert {event["type"] for _, event in events} == {"order", "return", "claim"}
    checked = set(np.linspace(0, len(events) - 1, 40).astype(int).tolist())
    for step, (known, event) in enumerate(events):
        service.now = known
        assert service.post(event)[0]["status"] == "accepted"
        if step in checked:
            for moment in (known, known + MICROSECOND):  # not yet seen at its own instant, seen right after
                service.now = moment
                expected = batch_profile(whole, CUSTOMER, "customer_id", event["customer_id"], moment)
                assert service.profile(event["customer_id"]) == expected
    for shop in {event["seller_id"] for _, event in events[-10:] if event["seller_id"] is not None}:
        found = service.shop.read({"seller_id": shop}, END)
        assert found == batch_profile(whole, SHOP, "seller_id", shop, END)


def test_order_of_arrival_does_not_matter(service: Service, lakes: tuple[Path, Path]) -> None:
    whole, _ = lakes
    events = [event for _, event in history(whole)]
    events = [events[n] for n in np.random.default_rng(4).permutation(len(events))]
    service.now = END
    shop = next(event["seller_id"] for event in events if event["type"] == "order")
    service.shop.read({"seller_id": shop}, END)  # kept for the day, and dropped when a late event comes in
    for start in range(0, len(events), 100):
        assert {answer["status"] for answer in service.post(*events[start : start + 100])} == {"accepted"}
    for customer in {event["customer_id"] for event in events[:25]}:
        assert service.profile(customer) == batch_profile(whole, CUSTOMER, "customer_id", customer, END)
    assert service.shop.read({"seller_id": shop}, END) == batch_profile(whole, SHOP, "seller_id", shop, END)


def test_what_is_moved_into_the_lake_gives_the_batch_what_the_service_answers(
    lakes: tuple[Path, Path], tmp_path: Path
) -> None:
    whole, before = lakes
    settings = Settings(lake=tmp_path / "lake")
    shutil.copytree(before, settings.lake)
    service = Service(settings.live.parent, settings.lake)
    service.now = END
    events = [event for _, event in history(whole)]
    people = sorted({event["customer_id"] for event in events})
    shops = sorted({event["seller_id"] for event in events if event["seller_id"] is not None})
    with service.http:
        for start in range(0, len(events), 1_000):
            service.post(*events[start : start + 1_000])
        answered = {customer: service.profile(customer) for customer in people[:30]}
        sold = {shop: service.shop.read({"seller_id": shop}, END) for shop in shops[:10]}
        _moved(settings, whole, service, events, answered, sold)


def _moved(
    settings: Settings,
    whole: Path,
    service: Service,
    events: list[dict[str, Any]],
    answered: dict[int, dict[str, Any]],
    sold: dict[int, dict[str, Any]],
) -> None:
    for added in (len(events), 0):
        found, settled = ingest_live(settings, SPEC, END)
        assert (found, [done.waiting for done in settled]) == (added, [0, 0])
        assert batch_profiles(settings.lake, CUSTOMER, "customer_id", list(answered), END) == answered
        assert batch_profiles(settings.lake, SHOP, "seller_id", list(sold), END) == sold
    for name, key in (("orders", "order_id"), ("claims", "claim_id")):
        moved, true = (read_table(lake, name).sort_by(key) for lake in (settings.lake, whole))
        assert moved[key].equals(true[key])
    # After the next sync the snapshot knows what the log knew, and nothing counts twice.
    with connect(settings.lake) as con:
        build_history(con, SPEC, settings.history)
    snapshot = HistoryStore(settings.history, settings.live)
    live: LiveStore = service.service._live
    assert live.forget(snapshot.known_events()) == len(events)
    reader = ProfileReader(SPEC, CUSTOMER, snapshot)
    for customer, profile in answered.items():
        assert reader.read({"customer_id": customer}, END) == profile
    snapshot.close()


ORDER = {
    "type": "order",
    "event_id": "e-1",
    "order_id": 10**15,
    "customer_id": 5,
    "seller_id": 1,
    "category": "shoes",
    "amount_minor": 19_900,
    "ordered_at": "2025-12-11T23:59:59",
}


def test_the_next_profile_sees_the_order_placed_a_second_ago(service: Service) -> None:
    before = service.profile(5)["orders_30d"]
    assert service.post(ORDER)[0]["status"] == "accepted"
    assert service.profile(5)["orders_30d"] == before + 1


def test_a_new_customer_has_a_profile_before_master_data_arrive(service: Service) -> None:
    assert service.http.get("/v1/customers/77000000/risk-profile").status_code == 404
    service.post({**ORDER, "customer_id": 77_000_000})
    assert service.profile(77_000_000)["orders_30d"] == 1


def test_every_kind_of_bad_event_has_its_own_answer_and_none_is_lost(
    service: Service, lakes: tuple[Path, Path]
) -> None:
    stored = read_table(lakes[1], "orders")["order_id"][0].as_py()
    answers = service.post(
        ORDER,
        ORDER,
        {**ORDER, "amount_minor": 1},
        {**ORDER, "event_id": "e-2"},
        {**ORDER, "event_id": "e-3", "order_id": stored},
        {**ORDER, "event_id": "e-4", "order_id": 10**15 + 1, "ordered_at": "2025-12-12T00:00:06Z"},
        {**ORDER, "event_id": "e-5", "order_id": 10**15 + 2, "amount_minor": -1},
        {**ORDER, "event_id": "e-6", "order_id": 10**15 + 3, "amount_minor": 12.5},
        {"type": "refund", "event_id": "e-7"},
        {},
        {**ORDER, "event_id": "e-8", "order_id": 10**15 + 4, "customer_id": 10**14},
        {**ORDER, "event_id": "e-9", "order_id": 10**15 + 5, "surprise": 1},
    )
    assert [answer["status"] for answer in answers] == [
        "accepted", "duplicate", "conflict", "conflict", "conflict", "in_the_future",
        "invalid", "invalid", "invalid", "invalid", "accepted", "invalid",
    ]  # fmt: skip
    assert "amount_minor" in answers[6]["detail"]
    assert "greater than or equal to 0, not -1" in answers[6]["detail"]
    assert "2025-12-12T00:00:06 lies after" in answers[5]["detail"]
    assert answers[8]["detail"] == "type: 'refund' is no kind of event; allowed: order, return, claim"
    assert answers[9]["detail"] == "type: absent; allowed: order, return, claim"
    assert "surprise" in answers[11]["detail"]
    assert "the tables" in answers[4]["detail"]
    kept = sqlite3.connect(service.folder / "live.sqlite")
    refused = kept.execute("SELECT count(*) FROM refused").fetchone()[0]
    logged = kept.execute("SELECT count(*) FROM log").fetchone()[0]
    kept.close()
    assert refused + logged + 1 == len(answers), "all but the exact duplicate are on record"


def test_limits_of_a_batch(service: Service) -> None:
    many = [{**ORDER, "event_id": f"m-{n}", "order_id": 2 * 10**15 + n} for n in range(1_000)]
    assert {answer["status"] for answer in service.post(*many)} == {"accepted"}
    assert service.http.post("/v1/events", json={"events": [*many, ORDER]}).status_code == 422
    assert service.http.post("/v1/events", json={"events": []}).status_code == 422


def test_what_was_answered_survives_a_restart_and_a_sync(
    service: Service, lakes: tuple[Path, Path], tmp_path: Path
) -> None:
    whole, _ = lakes
    known, event = next(item for item in history(whole) if item[1]["type"] == "order")
    service.now = known + MICROSECOND
    service.post(ORDER | {"customer_id": event["customer_id"]}, event)
    expected = service.profile(event["customer_id"])["orders_365d"]
    service.service.close()
    live = LiveStore(tmp_path / "live.sqlite", SPEC)
    with connect(whole) as con:
        build_history(con, SPEC, tmp_path / "history.sqlite")
    snapshot = HistoryStore(tmp_path / "history.sqlite", tmp_path / "live.sqlite")
    assert live.forget(snapshot.known_events()) == 1, "the order that came with the sync"
    reader = ProfileReader(SPEC, CUSTOMER, snapshot)
    assert reader.read({"customer_id": event["customer_id"]}, known + MICROSECOND)["orders_365d"] == expected
    snapshot.close()
    live.close()


def test_nobody_else_writes_while_events_are_dropped(tmp_path: Path) -> None:
    """Who reads first and writes then fails at once, without waiting, when another wrote in between."""
    store = LiveStore(tmp_path / "shared.sqlite", SPEC)
    other = sqlite3.connect(tmp_path / "shared.sqlite", timeout=0)

    def known() -> Iterator[tuple[str, int]]:
        yield "order", 1
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO consents VALUES (1, 'pricing', 0, 0)")
        yield "order", 2

    assert store.forget(known()) == 0
    other.execute("INSERT INTO consents VALUES (1, 'pricing', 0, 0)")
    other.close()
    store.close()


def test_features_without_consent_are_dropped_and_listed(service: Service) -> None:
    everything = service.profile(5)
    assert any(value is not None for value in everything.values())
    answer = service.http.put("/v1/customers/5/consents/pricing", json={"granted": False})
    assert answer.json() == {"customer_id": 5, "purposes": {"pricing": False}}
    shown = service.http.get("/v1/customers/5/risk-profile").json()
    assert shown["withheld"] == [name for name in CUSTOMER if "pricing" in SPEC.purposes_of(name)]
    withheld = set(shown["withheld"])
    assert withheld
    assert all(item["value"] is None for item in shown["features"] if item["name"] in withheld)
    service.http.put("/v1/customers/5/consents/pricing", json={"granted": True})
    assert service.profile(5) == everything
    refused = service.http.put("/v1/customers/5/consents/gossip", json={"granted": False})
    assert refused.status_code == 404
    assert "allowed: " in refused.json()["detail"]


def test_an_erased_customer_leaves_nothing_behind(service: Service, tmp_path: Path) -> None:
    service.post(ORDER, {**ORDER, "event_id": "bad", "amount_minor": -1})
    service.http.put("/v1/customers/5/consents/pricing", json={"granted": True})
    other = service.profile(6)
    live: LiveStore = service.service._live
    assert live.erase_customer(5) == 3
    assert erase_from_history(tmp_path / "history.sqlite", SPEC, 5) > 1
    assert service.http.get("/v1/customers/5/risk-profile").status_code == 404
    assert service.http.get("/v1/customers/5/consents").json()["purposes"] == {}
    assert service.profile(6) == other
