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

import pytest

from features.load import default_spec
from models.promotion import Decision
from models.registry import Registry
from serving import generation
from serving.api import create_app
from serving.compose import find_product, open_service
from serving.golden import check_golden
from serving.jobs import train_product
from serving.model_jobs import promote_model
from serving.plan_jobs import activate_plan, approve_plan, retire_plan
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
                promote(settings, 2 if number % 2 else 1, number)
                until(client, lambda ready, number=number: ready["generation"] == number + 1)
        finally:
            stop = True
        found = set.union(*(one.result() for one in asking))
    promote(settings, 2, rounds + 1)
    until(client, lambda ready: ready["generation"] == rounds + 2)
    second = priced(client, asked)
    assert first[3] == "1"
    assert second[3] == "2"
    assert first[-2] != second[-2], "the versions price apart, so that a mix would show"
    assert found == {first, second}
    assert service.refusals == 0
    assert service.swaps == rounds + 1
    gc.collect()
    assert old() is None, "an old generation is closed when its last request has ended"


def test_only_what_changed_is_loaded_anew(client, service, settings):
    before = service.generation
    promote(settings, 2, 1)
    until(client, lambda ready: ready["generation"] == 2)
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
