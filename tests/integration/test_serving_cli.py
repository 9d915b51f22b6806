"""The command line: what each command does, and how it ends when it cannot."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from data.manifest import read_manifest
from data.store import read_table
from models.registry import Registry
from serving.cli import app
from serving.records import open_sync_records
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PRODUCT = """
code = "fahrrad"
version = 1
currency = "EUR"
plan = "fahrrad-1"
quote_valid_minutes = 60
name = { en = "Bicycle", zh = "自行车险" }
[cover]
kind = "indemnity"
per = "year"
days = 365
limit = "5000.00"
deductible = "0"
[response]
kind = "frequency_severity"
count = "Schaeden"
amount = "Summe"
amount_unit = "major"
[exposure]
column = "Jahre"
unit = "policy-year"
[split]
method = "group"
column = "Vertrag"
[promotion.champion]
least_gain = -0.02
[promotion.segments]
columns = ["city"]
least_claims = 50
[models]
families = ["glm", "ga2m"]
champion = "ga2m"
[offer]
need = "mobility"
[[factors]]
name = "age"
column = "Alter"
label = { en = "Age", zh = "年龄" }
type = "integer"
unit = "years"
minimum = 16
maximum = 90
[[factors]]
name = "city"
column = "Stadt"
label = { en = "City", zh = "城市" }
type = "category"
levels = ["Bern", "Köln", "Wien"]
[[underwriting]]
code = "old"
field = "age"
op = "<="
value = 85
effect = "refer"
message = { en = "A person decides.", zh = "需人工审核。" }
"""
PLAN = """
code = "fahrrad-1"
version = 1
filing = "F-1"
product = "fahrrad"
currency = "EUR"
effective_from = 2020-01-01
margin = "0.05"
tax = "0.19"
minimum_premium = "10.00"
[expense]
fixed = "5.00"
variable = "0.10"
[commission]
web = "0.10"
[rounding]
unit = "0.01"
[corridor]
lowest = "10.00"
highest = "2000.00"
"""


@pytest.fixture
def premia(monkeypatch) -> Callable[..., Any]:
    monkeypatch.setattr("serving.cli.console", Console(width=220))
    for module in ("cli_models", "cli_plan", "cli_replay"):
        monkeypatch.setattr(f"serving.{module}.console", Console(width=300))
    for name in ("LAKE", "CLOCK", "PRODUCTS", "PLANS"):
        monkeypatch.delenv(f"PREMIA_{name}", raising=False)
    monkeypatch.setenv("PREMIA_AUTHOR", "A. Author")

    def run(*words: object, status: int = 0, **options: Any) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words], **options)
        assert result.exit_code == status, (result.output, result.exception)
        return result.output

    return run


def bicycles(rows: int = 12_000) -> pa.Table:
    """A table nobody has seen: its own columns, a known effect of age and city."""
    rng = np.random.default_rng(11)
    age, city = rng.integers(16, 91, rows), rng.integers(0, 3, rows)
    years = rng.uniform(0.2, 1.0, rows)
    claims = rng.poisson(years * 0.15 * np.exp(0.9 * (age < 30) + 0.7 * (city == 1)))
    paid = np.round(rng.gamma(2.0 * np.maximum(claims, 1), 150.0) * (claims > 0), 2)
    return pa.table(
        {
            "Vertrag": np.arange(rows),
            "Alter": age,
            "Stadt": np.array(["Bern", "Köln", "Wien"])[city],
            "Jahre": years,
            "Schaeden": claims,
            "Summe": paid,
        }
    )


@pytest.fixture
def own(tmp_path, monkeypatch, premia) -> Path:
    """A company's own product, plan and table."""
    for folder in ("products", "plans"):
        (tmp_path / folder).mkdir()
    (tmp_path / "products" / "fahrrad.toml").write_text(PRODUCT, encoding="utf-8")
    (tmp_path / "plans" / "fahrrad-1.toml").write_text(PLAN, encoding="utf-8")
    monkeypatch.setenv("PREMIA_PRODUCTS", str(tmp_path / "products"))
    monkeypatch.setenv("PREMIA_PLANS", str(tmp_path / "plans"))
    monkeypatch.setenv("PREMIA_LAKE", str(tmp_path / "lake"))
    pq.write_table(bicycles(), tmp_path / "fahrrad.parquet")
    return tmp_path


def scores(registry: Path, product: str, **columns: list[Any]) -> list[float]:
    batch = pa.RecordBatch.from_pydict(columns)
    return Registry(registry).load_champion(product).score(batch).column("risk_premium_minor").to_pylist()


@pytest.mark.slow
def test_a_table_nobody_has_seen_is_trained_promoted_and_priced(own, premia):
    product = own / "products" / "fahrrad.toml"
    trained = ("train", product, "--data", own / "fahrrad.parquet")
    shown = premia(*trained, "--pictures", own / "pictures", "--by", "B. Approver")
    assert "fahrrad: families on the test rows" in shown
    assert "ga2m (champion)" in shown
    assert re.search(r"│ glm .*│\n", shown)
    assert "fahrrad ga2m: promoted" in shown
    assert "fahrrad version 1 (ga2m) is champion, approved by B. Approver: meets all" in shown
    assert len(list((own / "pictures" / "fahrrad").glob("*.png"))) >= 3
    young, old, koeln = scores(
        own / "lake" / "_registry", "fahrrad", age=[20, 60, 60], city=["Bern", "Bern", "Köln"]
    )
    assert young / old == pytest.approx(np.exp(0.9), rel=0.25)
    assert koeln / old == pytest.approx(np.exp(0.7), rel=0.25)
    # Two average claims of 300.00 and a frequency of 0.15: about 45.00 for a year.
    assert old == pytest.approx(0.15 * 300_00, rel=0.25)
    premia("sync")
    body = {"product": "fahrrad", "channel": "web", "risk": {"age": 20, "city": "Bern"}}
    (own / "ask.json").write_text(json.dumps(body), encoding="utf-8")
    answer = premia("quote", own / "ask.json")
    net = (young / 100 + 5) / 0.75
    price = float(re.search(r"Price .* ([\d.]+) EUR", answer)[1])
    assert price == pytest.approx(net * 1.19, abs=0.02)
    again = premia(*trained, "--seed", 2)
    assert "fahrrad version 2 is proposed by A. Author" in again
    assert "│ in_service" in again
    assert Registry(own / "lake" / "_registry").version_of("fahrrad") == "1"
    refused = premia("promote", "fahrrad", 2, "--by", "a.  AUTHOR ", status=1)
    assert "a second person approves" in refused
    assert "fahrrad version 2 (ga2m) is champion" in premia("promote", "fahrrad", 2, "--by", "B. Approver")
    assert Registry(own / "lake" / "_registry").version_of("fahrrad") == "2"
    assert "there is no version 9" in premia("promote", "fahrrad", 9, "--by", "B. Approver", status=1)
    wanted = ("--data", own / "fahrrad.parquet", "--version", 1, "--out", own / "compared.html")
    compared = premia("compare", "fahrrad", *wanted)
    assert "v1" in (own / "compared.html").read_text(encoding="utf-8")
    assert "fahrrad v1: promoted" in compared
    told = premia("history", "fahrrad")
    assert re.search(r"ga2m v1 .*│ fahrrad-1 v1 .*filing F-1 *│ A. Author │ B. Approver", told)
    assert len(re.findall(r"│ now ", told)) == 1
    assert "nothing priced fahrrad" in premia("history", "fahrrad", "--at", "2020-01-01", status=1)


@pytest.mark.slow
def test_a_changed_plan_is_approved_anew_before_it_prices(own, premia):
    product, plan = own / "products" / "fahrrad.toml", own / "plans" / "fahrrad-1.toml"
    premia("train", product, "--data", own / "fahrrad.parquet", "--by", "B. Approver")
    premia("sync")
    (own / "ask.json").write_text(
        '{"product": "fahrrad", "channel": "web", "risk": {"age": 20, "city": "Bern"}}'
    )
    assert "Price" in premia("quote", own / "ask.json")
    dearer = PLAN.replace("version = 1", "version = 2").replace('margin = "0.05"', 'margin = "0.10"')
    plan.write_text(dearer, encoding="utf-8")
    assert "not in service" in premia("quote", own / "ask.json", status=1)
    premia("promote", "fahrrad", 1, "--by", "C. Approver")
    assert "Price" in premia("quote", own / "ask.json")
    told = premia("history", "fahrrad")
    assert re.search(r"ga2m v1 .*fahrrad-1 v1 .*B. Approver", told)
    assert re.search(r"now .*ga2m v1 .*fahrrad-1 v2 .*C. Approver", told)


def ask(own: Path, premia: Callable[..., str], **more: Any) -> tuple[str, str]:
    """Ask for a price; give what is shown and the id of the quote."""
    body = {"product": "fahrrad", "channel": "web", "risk": {"age": 20, "city": "Bern"}} | more
    (own / "ask.json").write_text(json.dumps(body), encoding="utf-8")
    shown = premia("quote", own / "ask.json")
    with sqlite3.connect(own / "lake" / "_serving" / "quotes.sqlite") as con:
        return shown, con.execute("SELECT quote_id FROM quotes ORDER BY rowid DESC LIMIT 1").fetchone()[0]


@pytest.mark.slow
def test_a_plan_lives_from_draft_to_retired_and_its_quotes_are_replayed(own, premia):
    plans, lake = own / "plans", own / "lake"
    premia(
        "train", own / "products" / "fahrrad.toml", "--data", own / "fahrrad.parquet", "--by", "B. Approver"
    )
    premia("sync")
    first, old = ask(own, premia)
    dearer = (
        PLAN.replace('code = "fahrrad-1"', 'code = "fahrrad-2"\nauthor = "Ann"\nmaximum_premium = "60.00"')
        .replace("effective_from = 2020-01-01", "effective_from = 2021-01-01")
        .replace('margin = "0.05"', 'margin = "0.10"')
        .replace(
            "[corridor]",
            '[relativities.city]\nlevels = { Bern = "1.10", "Köln" = "1", "Wien" = "1" }\n[corridor]',
        )
    )
    (plans / "fahrrad-2.toml").write_text(dearer, encoding="utf-8")
    assert ask(own, premia)[0].count("fahrrad-1 v1") == 1, "a draft never prices"
    assert re.search(r"fahrrad-2 v1 *│ draft", premia("plan", "list"))
    assert "is a draft" in premia("plan", "activate", "fahrrad-2", "--by", "Bob", status=1)
    assert "a second person approves" in premia("plan", "approve", "fahrrad-2", "--by", "ann", status=1)
    premia("plan", "approve", "fahrrad-2", "--by", "Bob")
    assert "fahrrad-1 v1" in ask(own, premia)[0], "an approved plan does not price yet"
    premia("plan", "activate", "fahrrad-2", "--by", "Eve")
    second, new = ask(own, premia)
    assert "fahrrad-2 v1" in second
    assert "Rating factors of the plan" in second
    assert "maximum premium" in second
    (plans / "fahrrad-2.toml").write_text(dearer.replace('"1.10"', '"1.20"'), encoding="utf-8")
    assert "changed after Bob approved version 1" in premia("plan", "check", status=1)
    assert "is not what Bob approved" in premia("quote", own / "ask.json", status=1)
    (plans / "fahrrad-2.toml").unlink()
    premia("plan", "retire", "fahrrad-2", "--by", "Eve")
    assert "fahrrad-1 v1" in ask(own, premia)[0], "a retired plan never prices"
    told = premia("history", "fahrrad")
    assert re.search(
        r"fahrrad-1 v1[^\n]*\n[^\n]*fahrrad-2 v1[^\n]*Bob[^\n]*\n[^\n]*now[^\n]*fahrrad-1 v1", told
    )
    (own / "products" / "fahrrad.toml").unlink()
    for quote_id in (old, new):
        shown = premia("replay", quote_id)
        assert "equal to the last minor unit" in shown
        assert "record unchanged" in shown
        assert "differs" not in shown
    assert "is not in the archive" in lose(lake / "_registry" / "archive" / "plans", new, premia)


def lose(folder: Path, quote_id: str, premia: Callable[..., str]) -> str:
    """Take the archive away, and put it back."""
    folder.rename(folder.with_name("away"))
    shown = premia("replay", quote_id, status=1)
    folder.with_name("away").rename(folder)
    return shown


@pytest.mark.slow
def test_a_replay_says_what_differs_and_whether_the_record_was_changed(own, premia):
    premia(
        "train", own / "products" / "fahrrad.toml", "--data", own / "fahrrad.parquet", "--by", "B. Approver"
    )
    premia("sync")
    quotes = [ask(own, premia, risk={"age": age, "city": "Köln"})[1] for age in (20, 30, 40)]
    path = own / "lake" / "_serving" / "quotes.sqlite"
    head = re.search(r"head (\d+:[0-9a-f]{64})", premia("records", "verify"))[1]
    with sqlite3.connect(path) as con:
        con.execute("UPDATE quotes SET price_minor = price_minor + 1 WHERE quote_id = ?", quotes[:1])
    assert "the record was changed after it was stored" in premia("replay", quotes[0], status=1)
    shown = premia("records", "verify", "--head", head, status=1)
    assert f"quote {quotes[0]} (number 1) or its seal was changed" in shown
    with sqlite3.connect(path) as con:
        con.execute("UPDATE quotes SET body = zeroblob(200) WHERE quote_id = ?", quotes[:1])
    assert "cannot be decrypted" in premia("replay", quotes[0], status=1)
    assert "equal to the last minor unit" in premia("replay", quotes[1]), "the others stand"
    with sqlite3.connect(path) as con:
        con.execute("DELETE FROM quotes WHERE quote_id = ?", quotes[1:2])
    assert "it was removed from the store" in premia("replay", quotes[1], status=1)
    assert "no quote has the id 'nobody'" in premia("replay", "nobody", status=1)
    (model,) = (own / "lake" / "_registry" / "artifacts").glob("*/artifacts/ga2m/bundle.json")
    model.write_text(model.read_text().replace(" ", "  ", 1), encoding="utf-8")
    assert "the quote was priced by" in premia("replay", quotes[2], status=1)


@pytest.mark.slow
def test_a_model_that_explains_nothing_is_refused_and_said_so(own, premia):
    table = bicycles()
    shuffled = np.random.default_rng(4).permutation(table.num_rows)
    noise = table.set_column(1, "Alter", table["Alter"].take(shuffled))
    noise = noise.set_column(2, "Stadt", table["Stadt"].take(shuffled))
    pq.write_table(noise, own / "noise.parquet")
    shown = premia("train", own / "products" / "fahrrad.toml", "--data", own / "noise.parquet")
    assert "fahrrad ga2m: refused" in shown
    assert re.search(r"fahrrad version 1: refused: d2 is -?[\d.e-]+; asked: above 0.001", shown)
    assert Registry(own / "lake" / "_registry").version_of("fahrrad") is None


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('code = "fahrrad"', 'code = "fahrrad"\ncolour = "red"', "unknown key 'colour'"),
        ("maximum = 90", "maximum = 9", "minimum 16.0 must lie below maximum 9.0"),
        ("quote_valid_minutes = 60", 'quote_valid_minutes = "soon"', "quote_valid_minutes"),
        ('champion = "ga2m"', 'champion = "gbm"', "champion 'gbm' is not among the families"),
        ('currency = "EUR"', "", "currency"),
        ("[cover]", "[cover", "not TOML"),
    ],
)
def test_a_faulty_product_file_ends_with_the_name_of_its_key(own, premia, old, new, named):
    bad = own / "bad.toml"
    bad.write_text(PRODUCT.replace(old, new), encoding="utf-8")
    shown = premia("train", bad, "--data", own / "fahrrad.parquet", status=1)
    refusal = shown.split("\nrefused ")[1]
    assert refusal.startswith("DefinitionError: bad.toml: ")
    assert named in refusal
    assert not (own / "lake").exists()


def test_files_that_cannot_be_read_end_with_a_sentence(own, premia):
    product, table = own / "products" / "fahrrad.toml", own / "fahrrad.parquet"
    text = own / "text.parquet"
    text.write_text("Alter,Stadt\n", encoding="utf-8")
    latin = own / "latin.toml"
    latin.write_bytes(PRODUCT.encode("gb18030"))
    assert "text.parquet cannot be read" in premia("train", product, "--data", text, status=1)
    assert "refused UnicodeDecodeError" in premia("train", latin, "--data", table, status=1)
    assert "refused FileNotFoundError" in premia("train", own / "no.toml", "--data", table, status=1)
    assert "refused FileNotFoundError" in premia("train", product, "--data", own / "no.parquet", status=1)
    few = own / "few.parquet"
    pq.write_table(bicycles(40), few)
    assert "refused TrainingDataError" in premia("train", product, "--data", few, status=1)
    pq.write_table(bicycles(500).drop_columns(["Stadt"]), few)
    assert "is absent" in premia("train", product, "--data", few, status=1)


def test_a_csv_is_ingested_and_its_bad_rows_are_kept_apart(premia, tmp_path):
    (tmp_path / "orders.csv").write_text(
        "id,buyer,shop,kind,at,price\n"
        "1,7,3,toys,2025-03-01 10:00:00,12.34\n"
        "2,7,3,toys,someday,1\n"
        "3,7,3,toys,2025-03-01,-5\n"
        "1,8,3,toys,2025-03-02,2\n"
        "5,8,3,toys,2025-03-02,2\n",
        encoding="utf-8",
    )
    (tmp_path / "map.toml").write_text(
        '[table]\nname = "orders"\n[columns]\norder_id = "id"\ncustomer_id = "buyer"\nseller_id = "shop"\n'
        'category = "kind"\nordered_at = \'"at"\'\namount_minor = "round(price::DOUBLE * 100)"\n',
        encoding="utf-8",
    )
    lake = tmp_path / "lake"
    shown = premia("ingest", tmp_path / "orders.csv", tmp_path / "map.toml", "--lake", lake)
    counts = {k.strip(): int(v) for k, v in re.findall(r"│ (.+?) +│ +(\d+) │", shown)}
    fates = {"read": 5, "merged into an equal one": 0, "in": 5, "stored": 2, "quarantined": 3}
    assert fates.items() <= counts.items()
    reasons = {reason.split(": ")[0]: count for reason, count in counts.items() if reason not in fates}
    assert reasons == {"ordered_at": 1, "amount_minor": 1, "order_id": 1}
    (quarantine,) = (lake / "quarantine" / "orders").glob("*.parquet")
    assert pq.read_table(quarantine)["source_row"].to_pylist() == [2, 3, 4]
    assert sorted(read_table(lake, "orders")["order_id"].to_pylist()) == [1, 5]
    bad = premia("ingest", tmp_path / "none.csv", tmp_path / "map.toml", "--lake", lake, status=1)
    assert "refused SourceError: There is no file" in bad
    (tmp_path / "map.toml").write_text('[table]\nname = "ordres"\n[columns]\n', encoding="utf-8")
    bad = premia("ingest", tmp_path / "orders.csv", tmp_path / "map.toml", "--lake", lake, status=1)
    assert "refused ColumnMapError" in bad
    assert "'orders'" in bad


@pytest.mark.slow
def test_simulate_and_sync_fill_a_lake(premia, tmp_path):
    shown = premia("simulate", "--customers", 2000, "--seed", 3, "--lake", tmp_path)
    assert "2,000 customers" in shown
    for name in ("customers", "orders", "policies", "claims", "quotes"):
        assert read_manifest(tmp_path / name).rows > 0
    first = {name: read_manifest(tmp_path / name).checksum for name in ("orders", "quotes")}
    premia("sync", "--as-of", "2026-01-01", "--lake", tmp_path)
    settings = Settings(lake=tmp_path)
    assert settings.history.is_file()
    assert settings.rates.is_file()
    premia("simulate", "--customers", 2000, "--seed", 3, "--threads", 1, "--lake", tmp_path)
    assert {name: read_manifest(tmp_path / name).checksum for name in first} == first
    bad = premia("simulate", "--customers", 0, "--lake", tmp_path / "other", status=1)
    assert "refused SimulationError" in bad


@pytest.mark.slow
@pytest.mark.xdist_group("insurer")
def test_quote_recommend_portfolio_and_reprice(insurer, premia, tmp_path):
    lake, day = insurer.settings.lake, "2026-01-01"
    body = {
        "product": "return_freight",
        "channel": "platform",
        "customer_id": 17,
        "seller_id": 50,
        "risk": {"order_amount": 59.0, "category": "toys"},
    }
    (tmp_path / "ask.json").write_text(json.dumps(body), encoding="utf-8")
    shown = premia("quote", tmp_path / "ask.json", "--clock", day, "--lake", lake)
    identity = re.search(r"return_freight · quoted · ([0-9a-f-]{36}) · until 2026-01-01 00:30", shown)[1]
    store = open_sync_records(insurer.settings)
    answer = store.get(identity).body["answer"]
    store.close()
    assert f"{answer['price']['amount']} CNY" in shown
    assert all(step["amount"] in shown for step in answer["ladder"])
    assert "filing PREMIA-RETURN-FREIGHT-2026-001" in shown
    piped = premia("quote", "-", "--clock", day, "--lake", lake, input=json.dumps(body))
    assert f"{answer['price']['amount']} CNY" in piped
    recommended = premia("recommend", 17, "--k", 2, "--clock", day, "--lake", lake)
    assert "Recommendations for customer 17" in recommended
    assert "not_in_scene" in recommended
    book, out = tmp_path / "book.parquet", tmp_path / "out"
    told = premia("portfolio", "motor", "--out", book, "--as-of", day, "--lake", lake)
    rows = int(re.search(r"([\d,]+) policies in force", told)[1].replace(",", ""))
    assert rows == pq.read_metadata(book).num_rows > 1000
    repriced = premia("reprice", book, "--out", out, "--as-of", day, "--lake", lake)
    assert f"{rows:,} policies repriced" in repriced
    assert "accident is not in service" in repriced
    assert read_manifest(out).rows == rows


@pytest.mark.slow
@pytest.mark.xdist_group("insurer")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recommend", "9999999"], "refused UnknownCustomerError: customer 9999999 is not known"),
        (["quote", "{ask}"], "refused UnknownProductError: product 'moto' is not in service"),
        (["quote", "{broken}"], "refused RequestError: "),
        (["quote", "{none}"], "refused FileNotFoundError"),
        (["portfolio", "moto", "--out", "{none}"], "refused UnknownProductError"),
        (["reprice", "{ask}", "--out", "{none}"], "refused PortfolioError: ask.json cannot be read"),
    ],
)
def test_commands_end_with_a_sentence_and_status_one(insurer, premia, tmp_path, words, said):
    (tmp_path / "ask.json").write_text('{"product": "moto", "channel": "direct"}', encoding="utf-8")
    (tmp_path / "broken.json").write_text('{"product": 3, "price": 1}', encoding="utf-8")
    places = {name: tmp_path / f"{name}.json" for name in ("ask", "broken", "none")}
    shown = premia(*(w.format(**places) for w in words), "--lake", insurer.settings.lake, status=1)
    assert said in shown
    assert "Traceback" not in shown
    if "broken" in words[1]:
        assert "product: " in shown
        assert "channel: Field required" in shown
        assert "price: Extra inputs are not permitted" in shown


def test_a_service_without_a_serving_store_says_what_to_run(premia, tmp_path):
    shown = premia("recommend", 17, "--lake", tmp_path, status=1)
    assert "refused StoreError: there is no serving store" in shown
    assert "premia sync" in shown


def test_the_openapi_document_is_printed(premia):
    document = json.loads(premia("openapi"))
    assert document["info"]["title"] == "Premia"
    assert "/v1/quotes" in document["paths"]


def test_a_narrow_terminal_shows_codes_of_plans_whole(tmp_path):
    shown = CliRunner().invoke(
        app, ["plan", "list", "return_freight_eu", "--lake", str(tmp_path)], env={"COLUMNS": "80"}
    )
    assert shown.exit_code == 0
    assert "return_freight_eu-2026-01 v1 │ draft │ 2012-04-01" in shown.output
