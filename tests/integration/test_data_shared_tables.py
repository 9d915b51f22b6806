import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from data.checks import check_lake
from data.column_map import load_column_map
from data.errors import SourceError
from data.ingest import ingest
from data.public import clean_french_motor, read_shared
from data.splits import split_by_column
from data.store import connect

MAPS = Path(__file__).parents[2] / "data" / "reference" / "maps"


@pytest.mark.shared
def test_fashion_shop_comes_in_whole(shared_data, tmp_path):
    source = shared_data / "bads_returns_known.parquet"
    for name, rows in (("customers", 37_663), ("orders", 100_000)):
        report = ingest(
            source, load_column_map(MAPS / f"bads_{name}.toml"), tmp_path, created=dt.datetime(2026, 1, 1)
        )
        assert (report.rows_stored, report.rows_quarantined, report.rows_read) == (rows, 0, 100_000)
    assert check_lake(tmp_path) == {"customers": {}, "orders": {}}
    with connect(tmp_path) as connection:
        returned = connection.execute("SELECT count(returned_at) FROM orders").fetchall()[0][0]
        assert returned == 48_174
        assert connection.execute("SELECT sum(amount_minor) FROM orders").fetchall()[0][0] > 7e8


@pytest.mark.shared
def test_french_motor_is_cleaned_as_published(shared_data):
    frequency = read_shared(shared_data, "freMTPL2freq_raw").to_pandas()
    severity = read_shared(shared_data, "freMTPL2sev_26444").to_pandas()
    cleaned = clean_french_motor(frequency, severity)
    expected = read_shared(shared_data, "freMTPL2freq_clean_learntest").to_pandas().sort_values("IDpol")
    assert cleaned["IDpol"].tolist() == expected["IDpol"].tolist()
    assert (cleaned["ClaimNb"].to_numpy() == expected["ClaimNb"].to_numpy()).all()
    np.testing.assert_allclose(cleaned["Exposure"], expected["Exposure"])
    np.testing.assert_allclose(cleaned["ClaimTotal"], expected["ClaimTotal"])
    mask = split_by_column(expected["LearnTest"].to_numpy().astype(str), ["L"], ["T"])
    assert (int((~mask).sum()), int(mask.sum())) == (610_206, 67_801)


def test_absent_tables_are_named(tmp_path):
    with pytest.raises(SourceError, match="holds no nothing.parquet"):
        read_shared(tmp_path, "nothing")
