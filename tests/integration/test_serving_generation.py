"""What prices is taken up while the service runs: whole, between two requests, or not at all."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gc
import shutil
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data.manifest import read_manifest
from data.store import connect
from features.load import default_spec
from models.bundle import Bundle
from models.errors import PromotionError, RegistryError
from models.promotion import Decision, Rule
from models.registry import Registry
from pricing.experiments.assignment import place
from serving import generation
from serving.api import create_app
from serving.challenge import challenger_arm, in_challenger_arm
from serving.challenge_jobs import begin_challenge, challenge_status, stop_challenge
from serving.cli import app
from serving.compose import find_product, load_services, open_service, with_challengers
from serving.golden import check_golden
from serving.jobs import train_product
from serving.model_jobs import promote_model
from serving.plan_jobs import activate_plan, approve_plan, retire_plan
from serving.records import open_sync_records
from serving.replay import replay
from serving.reprice import read_prices, reprice
from serving.settings import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving.service import QuoteService
    from serving.settings import Settings
    from tests.conftest import Insurer

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

CODE = "flight_delay"
PATIENCE = 60.0
HOUR = dt.timedelta(hours=1)
VERSIONS = ("product_hash", "plan_hash", "model_hash", "model_version", "plan_version")


def second_version(settings: Settings) -> None:
    """Train a second version and let a decision say that it meets the thresholds."""
    product = find_product(settings, CODE)
    trained = train_product(product, settings, default_spec(), as_of=settings.clock, seed=7)
    decision = Decision(trained.result.champion, "1", ())
    Registry(settings.registry).record_decision(CODE, "2", decision, who="A. Author", at=settings.clock)


@pytest.fixture(scope="module")
def prepared(insurer: Insurer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("generation")
    lake = folder / "lake"
    lake.mkdir()
    for name in ("customers", "orders", "policies", "claims", "quotes", "_fitted"):
        (lake / name).symlink_to(insurer.settings.lake / name)
    for name in ("_registry", "_serving"):
        shutil.copytree(insurer.settings.lake / name, lake / name)
    settings = insurer.settings.model_copy(update={"lake": lake})
    second_version(settings)
    return settings


@pytest.fixture
def settings(prepared: Settings, tmp_path: Path) -> Settings:
    """Give folders of one's own, which a test may break."""
    shutil.copytree(prepared.lake, tmp_path / "lake", symlinks=True)
    for name in ("products", "plans"):
        shutil.copytree(REFERENCE / name, tmp_path / name)
    folders = {name: tmp_path / name for name in ("lake", "products", "plans")}
    return prepared.model_copy(update=folders)


@pytest.fixture
def service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> QuoteService:
    monkeypatch.setattr(generation, "WATCH_SECONDS", 0.02)
    return open_service(settings, clock=lambda: settings.clock)


@pytest.fixture
def client(service: QuoteService) -> Iterator[TestClient]:
    with TestClient(create_app(lambda: service)) as opened:
        yield opened


def body(client: TestClient, code: str = CODE) -> dict[str, Any]:
    """Ask for the product in the middle of its factors."""
    product = next(one for one in client.get("/v1/products").json() if one["code"] == code)
    risk = {
        one["name"]: one["levels"][0] if one["levels"] else int((one["minimum"] + one["maximum"]) / 2)
        for one in product["factors"]
    }
    channel = product["channels"][0]
    sub = product["sub_channels"].get(channel, [None])[0]
    return {
        "product": code,
        "channel": channel,
        "sub_channel": sub,
        "customer_id": 17,
        "seller_id": 50,
        "risk": risk,
    }


def priced(client: TestClient, asked: dict[str, Any]) -> tuple[Any, ...]:
    answer = client.post("/v1/quotes", json=asked)
    assert answer.status_code == 201, answer.text
    quote = answer.json()
    return (
        *(quote["versions"][name] for name in VERSIONS),
        tuple((step["step"], step["minor"]) for step in quote["ladder"]),
        quote["price"] and quote["price"]["minor"],
    )


def until(client: TestClient, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until readiness says something."""
    end = time.monotonic() + PATIENCE
    while not met(found := client.get("/v1/ready").json()):
        assert time.monotonic() < end, found
        time.sleep(0.01)
    return found


def priced_by(service: QuoteService) -> str:
    return service.products[CODE].model_version


def promote(settings: Settings, version: int, after: int) -> None:
    later = settings.model_copy(update={"clock": settings.clock + dt.timedelta(minutes=after)})
    promote_model(find_product(later, CODE), version, "B. Approver", later)


def test_models_change_under_load_and_no_quote_mixes_them(client, service, settings):
    asked, rounds = body(client), 6
    first = priced(client, asked)
    old = weakref.ref(service.snapshot)
    stop = False

    def ask() -> set[tuple[Any, ...]]:
        found = set()
        while not stop:
            found.add(priced(client, asked))
        return found

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            for number in range(1, rounds + 1):
                version = 2 if number % 2 else 1
                promote(settings, version, number)
                until(client, lambda _, version=version: priced_by(service) == str(version))
        finally:
            stop = True
        found = set.union(*(one.result() for one in asking))
    promote(settings, 2, rounds + 1)
    until(client, lambda _: priced_by(service) == "2")
    second = priced(client, asked)
    assert first[3] == "1"
    assert second[3] == "2"
    assert first[-2] != second[-2], "the versions price apart, so that a mix would show"
    assert found == {first, second}
    assert service.refusals == 0
    assert service.swaps >= rounds + 1
    gc.collect()
    assert old() is None, "an old generation is closed when its last request has ended"


def test_only_what_changed_is_loaded_anew(client, service, settings):
    before = service.generation
    promote(settings, 2, 1)
    until(client, lambda _: priced_by(service) == "2")
    after = service.generation
    assert after.products["motor"].bundle is before.products["motor"].bundle
    assert after.products[CODE].bundle is not before.products[CODE].bundle
    assert after.snapshot.history is before.snapshot.history
    assert after.snapshot.readers["motor"] is before.snapshot.readers["motor"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.number = 9


@pytest.mark.parametrize("place", ["index", "content", "gone"])
def test_a_broken_bundle_is_refused_and_the_last_good_one_stays(service, settings, monkeypatch, place):
    monkeypatch.setattr(generation, "WATCH_SECONDS", 1e6)  # the damage comes between promotion and watcher
    registry = Registry(settings.registry)
    run = registry._run_of(CODE, "2")
    folder = registry._run_folder(run) / registry._client.get_run(run).data.tags["premia.family"]
    with TestClient(create_app(lambda: service)) as client:
        asked = body(client)
        first = priced(client, asked)
        promote(settings, 2, 1)
        path = folder / "bundle.json" if place == "index" else next(folder.glob("*.arrow"))
        whole = path.read_bytes()
        content = bytearray(whole)
        content[len(content) // 2] ^= 0xFF
        path.unlink()
        if place != "gone":
            path.write_bytes(content)
        assert service.refresh()
        ready = client.get("/v1/ready").json()
        assert CODE in ready["products"]
        assert CODE in ready["refused"]
        assert service.refusals == 1
        assert priced(client, asked) == first
        path.write_bytes(whole)
        promote(settings, 2, 2)
        assert service.refresh()
        assert client.get("/v1/ready").json()["refused"] == {}
        assert priced(client, asked)[3] == "2"


def test_a_broken_plan_or_product_file_is_refused_and_a_removed_product_leaves(client, service, settings):
    asked = body(client)
    first = priced(client, asked)
    product = settings.products / f"{CODE}.toml"
    plan = settings.plans / f"{service.products[CODE].plan.code}.toml"
    for path in (plan, product):
        whole = path.read_bytes()
        for broken in (b"\xff\xfe", whole[: len(whole) // 2], whole + b"\nunknown = 1\n"):
            path.write_bytes(broken)
            ready = until(client, lambda ready: CODE in ready["refused"])
            assert CODE in ready["products"]
            assert priced(client, asked) == first
            path.write_bytes(whole)
            until(client, lambda ready: not ready["refused"])
    product.unlink()
    ready = until(client, lambda ready: CODE not in ready["products"])
    assert "removed" in ready["out_of_service"][CODE]
    answer = client.post("/v1/quotes", json=asked)
    assert answer.status_code == 422
    assert "removed" in answer.json()["detail"]


def test_a_plan_enters_and_leaves_service_while_quotes_are_given(client, service, settings):
    asked = body(client)
    first = priced(client, asked)
    code = service.products[CODE].plan.code
    path, version = settings.plans / f"{code}.toml", service.products[CODE].plan.version
    text = path.read_text(encoding="utf-8")
    changed = text.replace(f"version = {version}", f'version = {version + 1}\nauthor = "C. Author"', 1)
    path.write_text(changed, encoding="utf-8")
    ready = until(client, lambda ready: CODE in ready["refused"])
    assert "nobody has put into service" in ready["refused"][CODE]
    assert priced(client, asked) == first
    at = settings.clock + dt.timedelta(minutes=1)
    later = settings.model_copy(update={"clock": at})
    approve_plan(later, code, "B. Approver")
    activate_plan(later, code, "B. Approver")
    until(client, lambda ready: not ready["refused"])
    assert priced(client, asked)[4] == version + 1
    retire_plan(later, code, "B. Approver")
    ready = until(client, lambda ready: CODE not in ready["products"])
    assert "no rating plan" in ready["out_of_service"][CODE]


def begin(settings: Settings, share: float | None, after: int = 1) -> None:
    at = settings.clock + dt.timedelta(minutes=after)
    begin_challenge(settings.model_copy(update={"clock": at}), CODE, 2, share, "B. Approver")


def test_a_challenger_needs_a_second_person_thresholds_and_a_share(settings):
    with pytest.raises(PromotionError, match="second person"):
        begin_challenge(settings, CODE, 2, 0.1, "a.  AUTHOR")
    with pytest.raises(RegistryError, match="in service; a challenge needs another"):
        begin_challenge(settings, CODE, 1, 0.1, "B. Approver")
    with pytest.raises(RegistryError, match="at most 50%"):
        begin_challenge(settings, CODE, 2, 0.6, "B. Approver")
    registry = Registry(settings.registry)
    gain = Rule("deviance", "all", 0.4, 0.4, "gain of at least 0.10%", "undecided")
    few = Rule("claims on test rows", "all", 5.0, None, "at least 50", "undecided")
    for rules, fits in (((gain, few), False), ((dataclasses.replace(gain, finding="missed"),), False)):
        decision = Decision("ga2m", "1", rules)
        registry.record_decision(CODE, "2", decision, who="A. Author", at=settings.clock)
        with pytest.raises(PromotionError):
            begin_challenge(settings, CODE, 2, 0.1, "B. Approver")
        assert not fits
    begin(settings, None)  # a shadow prices nobody
    with pytest.raises(RegistryError, match="one runs at a time"):
        begin(settings, None, 2)
    stop_challenge(settings.model_copy(update={"clock": settings.clock + HOUR}), CODE, "B. Approver")
    decision = Decision("ga2m", "1", (gain,))
    registry.record_decision(CODE, "2", decision, who="A. Author", at=settings.clock + HOUR)
    begin(settings, 0.1, 61)
    with pytest.raises(PromotionError, match="meet|undecided|gain|asked"):
        promote(settings, 2, 62)
    promote(settings, 1, 63)
    assert registry.challenges.running(CODE) is None, "a promotion ends what was tried"
    kinds = [(one.kind, one.until is not None) for one in registry.challenges.periods(CODE)]
    assert kinds == [("shadow", True), ("challenger", True)]


def test_a_challenger_prices_its_share_of_the_customers_in_quotes_and_batch(
    client, service, settings, tmp_path
):
    asked = body(client)
    begin(settings, 0.3)
    until(client, lambda _: service.products[CODE].rival is not None)
    customers = list(range(1, 301))
    quotes = [client.post("/v1/quotes", json=asked | {"customer_id": one}).json() for one in customers]
    versions = [quote["versions"]["model_version"] for quote in quotes]
    wanted = challenger_arm(CODE, 300_000, np.array(customers))
    assert versions == ["2" if one else "1" for one in wanted]
    assert 60 < versions.count("2") < 120
    assert priced(client, asked | {"customer_id": None})[3] == "1"
    # The batch gives what the quotes gave, to the last minor unit.
    factors = {name: [value] * len(customers) for name, value in asked["risk"].items()}
    table = pa.table(
        {
            "product": [CODE] * len(customers),
            "channel": [asked["channel"]] * len(customers),
            "sub_channel": pa.array([asked["sub_channel"]] * len(customers), pa.string()),
            "customer_id": customers,
            "seller_id": [50] * len(customers),
            **factors,
        }
    )
    pq.write_table(table, tmp_path / "risks.parquet")
    spec = default_spec()
    services = with_challengers(load_services(settings, spec)[0], Registry(settings.registry))
    with connect(settings.lake) as con:
        reprice(tmp_path / "risks.parquet", tmp_path / "out", services, spec, con, settings.clock)
    prices = read_prices(tmp_path / "out")["price_minor"].to_pylist()
    assert prices == [quote["price"] and quote["price"]["minor"] for quote in quotes]
    assert "challenger.flight_delay" in read_manifest(tmp_path / "out").versions
    # A quote of each arm is recomputed by its own version.
    records = open_sync_records(settings)
    registry = Registry(settings.registry)
    for number in (versions.index("1"), versions.index("2")):
        found = replay(quotes[number]["quote_id"], records, registry)
        assert found.first_difference is None
        assert ("arm", "challenger" if wanted[number] else "champion") in [
            (line.name, line.stored) for line in found.lines
        ]
    arms = challenge_status(settings, CODE).frame.set_index("arm")
    assert arms["quotes"].tolist() == [versions.count("1") + 1, versions.count("2")]
    # Stopped: the champion prices everybody, and what it did stays on record.
    shown = CliRunner().invoke(app, ["challenge", CODE, "--status", "--lake", str(settings.lake)])
    assert shown.exit_code == 0, shown.output
    assert "challenger less champion" in shown.output
    stop_challenge(settings.model_copy(update={"clock": settings.clock + HOUR}), CODE, "B. Approver")
    until(client, lambda _: service.products[CODE].rival is None)
    one = customers[versions.index("2")]
    assert priced(client, asked | {"customer_id": one})[3] == "1"
    shown = CliRunner().invoke(app, ["history", CODE, "--lake", str(settings.lake)])
    assert "30.0%" in shown.output
    records.close()


def test_a_shadow_is_stored_beside_the_price_and_never_moves_or_fails_it(
    client, service, settings, monkeypatch
):
    asked = body(client)
    first = priced(client, asked)
    begin(settings, None)
    until(client, lambda _: service.products[CODE].rival is not None)
    assert priced(client, asked) == first
    records, registry = open_sync_records(settings), Registry(settings.registry)
    quote = client.post("/v1/quotes", json=asked).json()
    shadow = records.get(quote["quote_id"]).body["challenge"]["shadow"]
    assert shadow["version"] == "2"
    assert shadow["risk_premium_micros"] > 0
    found = replay(quote["quote_id"], records, registry)
    assert found.first_difference is None
    assert "shadow v2 risk premium, millionths" in [line.name for line in found.lines]

    def broken(self, risk, profile, *, explained=True):
        if not explained:
            raise ZeroDivisionError("no luck")
        return score_one(self, risk, profile)

    score_one = Bundle.score_one
    monkeypatch.setattr(Bundle, "score_one", broken)
    assert priced(client, asked) == first
    assert service.shadow_failures == 1
    monkeypatch.undo()
    status = challenge_status(settings, CODE).frame.set_index("arm")
    assert status["quotes"].tolist() == [3, 3]
    assert status.loc["shadow", "failed"] == 1
    assert status.loc["shadow", "quoted"] == 2
    records.close()


def test_arms_do_not_depend_on_the_cells_of_a_price_test():
    customers = np.arange(200_000)
    arm = challenger_arm(CODE, 100_000, customers)
    assert arm.mean() == pytest.approx(0.1, abs=0.003)
    assert arm[:2000].tolist() == [in_challenger_arm(CODE, 100_000, int(one)) for one in customers[:2000]]
    assert (challenger_arm(CODE, 300_000, customers) >= arm).all(), "a larger share keeps who was in"
    test = np.asarray(place(customers, "return_freight_2026")) < 2**53 * 0.2
    assert arm[test].mean() == pytest.approx(0.1, abs=0.006)
    assert challenger_arm("motor", 100_000, customers)[arm].mean() == pytest.approx(0.1, abs=0.01)


def test_a_model_that_prices_otherwise_than_on_record_does_not_serve(service, settings):
    one = service.products[CODE]
    folder = Registry(settings.registry).golden
    check_golden(one, folder)
    other = dataclasses.replace(one, model_hash="f" * 64)
    model = one.bundle.model
    moved = {name: scorer.shifted(1e-3) for name, scorer in model.components.items()}
    bundle = dataclasses.replace(one.bundle, model=dataclasses.replace(model, components=moved))
    with pytest.raises(Exception, match="golden quote"):
        check_golden(dataclasses.replace(one, bundle=bundle), folder)
    nothing = {name: scorer.shifted(float("nan")) for name, scorer in model.components.items()}
    bundle = dataclasses.replace(one.bundle, model=dataclasses.replace(model, components=nothing))
    with pytest.raises(Exception, match="has no score"):
        check_golden(dataclasses.replace(other, bundle=bundle), folder)
