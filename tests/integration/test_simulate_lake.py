# ruff: noqa: S608 (the SQL of a test is built from its own words)
import datetime as dt
import hashlib
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data.checks import check_lake
from data.contracts import CONTRACTS
from data.errors import SimulationError
from data.simulate import Parameters, simulate
from data.simulate.run import TRUTH_TABLES
from data.store import connect

SIZE = {"customers": 3_000, "orders_per_customer": 8.0}


def digest(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    root = tmp_path_factory.mktemp("lake")
    return root, simulate(root, seed=5, threads=1, **SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 3])
def test_same_seed_same_bytes_whatever_the_threads(lake, tmp_path, threads):
    root, summary = lake
    assert simulate(tmp_path, seed=5, threads=threads, **SIZE) == summary
    assert digest(tmp_path) == digest(root)


@pytest.mark.slow
def test_other_seed_other_rows_and_a_rerun_replaces(lake, tmp_path):
    root, _ = lake
    simulate(tmp_path, seed=6, threads=2, **SIZE)
    other, mine = digest(tmp_path), digest(root)
    assert not {v for k, v in other.items() if "part-" in k} & {v for k, v in mine.items() if "part-" in k}
    simulate(tmp_path, seed=5, threads=2, **SIZE)
    assert digest(tmp_path) == mine


@pytest.mark.slow
def test_every_row_passes_its_contract(lake):
    root, _ = lake
    assert check_lake(root) == {name: {} for name in CONTRACTS}


@pytest.mark.slow
def test_summary_counts_what_was_written(lake):
    root, summary = lake
    with connect(root) as connection:
        count = lambda sql: connection.execute(sql).fetchall()[0][0]  # noqa: E731
        assert count("SELECT count(*) FROM customers") == summary.customers == 3_000
        assert count("SELECT count(*) FROM orders") == summary.orders == 24_000
        assert count("SELECT count(returned_at) FROM orders") == summary.returns
        for code, product in summary.products.items():
            where = f"WHERE product = '{code}'"
            assert count(f"SELECT count(*) FROM quotes {where}") == product.quotes
            assert count(f"SELECT count(*) FROM policies {where}") == product.policies
            assert count(f"SELECT count(*) FROM claims {where}") == product.claims
        assert count("SELECT count(*) FROM orders WHERE ordered_at >= DATE '2026-01-01'") == 0


@pytest.mark.slow
def test_nothing_is_known_before_it_happens(lake):
    root, _ = lake
    end = "TIMESTAMP '2026-01-01'"
    with connect(root) as connection:
        count = lambda sql: connection.execute(sql).fetchall()[0][0]  # noqa: E731
        assert count(f"SELECT count(*) FROM claims WHERE reported_at >= {end}") == 0
        assert count(f"SELECT count(*) FROM orders WHERE returned_at >= {end} OR delivered_at >= {end}") == 0
        assert count(f"SELECT count(*) FROM quotes WHERE quoted_at >= {end}") == 0
        late = (
            "SELECT count(*) FROM orders JOIN customers USING (customer_id) WHERE ordered_at < registered_at"
        )
        assert count(late) == 0
        assert count("SELECT count(*) FROM quotes WHERE accepted <> (policy_id IS NOT NULL)") == 0
        truth = f"read_parquet('{root}/truth/claims/*/*.parquet')"
        assert count(f"SELECT count(*) FROM {truth} WHERE reported_at >= {end}") > 0
        hidden = f"SELECT count(*) FROM claims WHERE claim_id NOT IN (SELECT claim_id FROM {truth})"
        assert count(hidden) == 0


@pytest.mark.slow
def test_truth_stays_out_of_the_contract_tables(lake):
    root, _ = lake
    secret = {"risk", "proneness", "elasticity", "affluence", "frailty", "true_rate", "expected_loss_minor"}
    with connect(root) as connection:
        for name in CONTRACTS:
            columns = {row[0] for row in connection.execute(f"DESCRIBE {name}").fetchall()}
            assert not columns & secret
    assert {path.name for path in (root / "truth").iterdir()} == set(TRUTH_TABLES)


@pytest.mark.slow
def test_factors_stand_under_their_product_and_shop_bonds_need_a_shop(lake):
    root, _ = lake
    factors = {
        "return_freight": "order_amount, category",
        "motor": "driver_age, vehicle_age, vehicle_power, bonus_malus, fuel, region, annual_km",
        "accident": "age, occupation_class",
        "medical": "age, city_tier, smoker",
        "phone_screen": "phone_price, phone_age_months, phone_class",
        "flight_delay": "month, departure_hour, airline, distance_km",
        "shop_bond": "shop_category, shop_age_months, monthly_orders",
    }
    with connect(root) as connection:
        for code, names in factors.items():
            for table in ("quotes", "policies"):
                nulls = " OR ".join(f"{name} IS NULL" for name in names.split(", "))
                found = connection.execute(
                    f"SELECT count(*), count(*) FILTER ({nulls}) FROM {table} WHERE product = '{code}'"
                ).fetchall()[0]
                assert found[0] > 0
                assert found[1] == 0
        outsiders = connection.execute(
            "SELECT count(*) FROM quotes JOIN customers USING (customer_id) "
            "WHERE product = 'shop_bond' AND owned_seller_id IS NULL"
        ).fetchall()[0][0]
        assert outsiders == 0


def test_sizes_and_parameters_out_of_range_are_refused(tmp_path):
    with pytest.raises(SimulationError, match="customers must be at least 100, got 5"):
        simulate(tmp_path, 5, 1)
    with pytest.raises(SimulationError, match="threads must be at least 1"):
        simulate(tmp_path, 500, 1, threads=0)
    with pytest.raises(SimulationError, match="need 8 values"):
        Parameters(return_hazards=(0.1,))
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from data.simulate import simulate

def at_half(name, share):
    if share > 0.5:
        os.kill(os.getpid(), signal.SIGKILL)

simulate(Path(sys.argv[1]), 3_000, seed=5, threads=2, orders_per_customer=8.0, progress=at_half)
"""


@pytest.mark.slow
def test_killed_run_shows_nothing_and_can_be_run_again(lake, tmp_path):
    root, summary = lake
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", KILLED, str(tmp_path)], check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [".locks", ".staging"]
    with connect(tmp_path) as connection:
        assert connection.execute("SHOW TABLES").fetchall() == []
    assert simulate(tmp_path, seed=5, threads=2, **SIZE) == summary
    assert digest(tmp_path) == digest(root)


@pytest.mark.slow
def test_policies_keep_ids_of_their_own_however_often_they_are_renewed(tmp_path):
    """Four years, two blocks of customers: later renewals must not meet first quotes of the next block."""
    book = replace(Parameters(), start=dt.datetime(2022, 1, 1))
    simulate(tmp_path, 70_000, 5, orders_per_customer=0.5, parameters=book)
    with connect(tmp_path) as connection:
        rows, ids = connection.execute("SELECT count(*), count(DISTINCT policy_id) FROM policies").fetchall()[
            0
        ]
    assert rows == ids > 70_000
