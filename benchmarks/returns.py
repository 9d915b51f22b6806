"""What history is worth: returns of a German fashion shop, the same model with and without the profiles."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from pathlib import Path

from data.column_map import load_column_map
from data.ingest import ingest
from data.store import connect
from features.load import default_spec
from models.training import train
from models.training_table import attach_profiles
from pricing.product import Profile, read_product

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
ORDERS = """
    SELECT order_id, customer_id, seller_id, ordered_at, amount_minor / 100.0 AS order_amount,
        (returned_at IS NOT NULL)::TINYINT AS returned
    FROM orders ORDER BY ordered_at, order_id
"""


def run() -> dict[str, float]:
    """Ingest the order lines, build profiles as of each order, train with and without them.

    Returns
    -------
    dict of str to float
        logloss and auc of the profile model (champion family, last quarter by time), and what it gains over
        the same model without history.
    """
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit("returns: PREMIA_SHARED_DATA must name the folder that holds bads_returns_known")
    product = read_product(REFERENCE / "products" / "return_freight_eu.toml")
    spec = default_spec()
    with tempfile.TemporaryDirectory(prefix="premia-returns-") as scratch:
        lake = Path(scratch)
        for name in ("bads_customers", "bads_orders"):
            column_map = load_column_map(REFERENCE / "maps" / f"{name}.toml")
            source = Path(folder) / "bads_returns_known.parquet"
            ingest(source, column_map, lake, created=dt.datetime(2014, 1, 1))  # noqa: DTZ001 - naive UTC
        with connect(lake) as con:
            table = attach_profiles(con, con.sql(ORDERS).to_arrow_table(), product, spec)
    alone = product.model_copy(update={"profile": Profile(as_of=product.profile.as_of)})
    champion = product.models.champion
    with_history = train(product, table, feature_spec=spec).comparison.loc[champion]
    without = train(alone, table).comparison.loc[champion]
    return {
        "logloss": float(with_history["logloss"]),
        "logloss_gain": float(without["logloss"] - with_history["logloss"]),
        "auc": float(with_history["auc"]),
        "auc_gain": float(with_history["auc"] - without["auc"]),
    }


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:14} {value:.4f}")
