"""A day later on the profiles of a million customers, against making them anew, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

CUSTOMERS = 1_000_000
ORDERS_PER_CUSTOMER = 20

_SIMULATE = """
import sys
from pathlib import Path
from data.simulate import simulate

simulate(Path(sys.argv[1]), int(sys.argv[2]), seed=1, threads=2, orders_per_customer=float(sys.argv[3]))
"""

# Two full runs around seven days, so that a machine that slows down slows both.
_REFRESH = """
import datetime as dt, json, resource, shutil, statistics, sys
from pathlib import Path
from features.load import default_spec
from features.refresh import refresh_profiles
from features.refresh_manifest import read_profile_manifest
from features.refresh_read import read_profiles

root, spec, day = Path(sys.argv[1]), default_spec(), dt.timedelta(days=1)
start = dt.datetime(2025, 11, 15)

def run(days):
    return refresh_profiles(root, spec, None, "customer", start + days * day, memory_limit="4GB")

first = run(0)
days, runs = [], []
for number in range(1, 8):
    days.append(run(number))
    runs.append(read_profile_manifest(root, "customer").runs)
moved = root / "moved"
(root / "profiles" / "customer").rename(moved)
last = run(7)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
anew = read_profiles(root, "customer")
shutil.rmtree(root / "profiles" / "customer")
moved.rename(root / "profiles" / "customer")
same = read_profiles(root, "customer").equals(anew)
assert [first.mode, last.mode] == ["full", "full"] and {item.mode for item in days} == {"incremental"}
full, later = (first.seconds + last.seconds) / 2, statistics.median(item.seconds for item in days)
print(json.dumps({
    "full_seconds": full, "day_seconds": later, "vs_full": later / full,
    "worst_day_vs_full": max(item.seconds for item in days) / full, "equal": float(same),
    "mean_day_vs_full": statistics.mean(item.seconds for item in days) / full, "merges": runs.count(0),
    "files_read_share": days[0].files_read / days[0].files_total,
    "changed_share": days[0].recomputed / days[0].rows, "rows": days[0].rows, "peak_gb": peak,
}))
"""


def run() -> dict[str, float]:
    """Refresh the customer profiles of twenty million orders in full and for seven days more.

    Returns
    -------
    dict of str to float
        full_seconds (mean of two), day_seconds (median of seven), vs_full, worst_day_vs_full (with the merge
        of patches), mean_day_vs_full, merges (days that had one), equal (1 when the last day equals a full
        run), files_read_share, changed_share, rows, peak_gb (resident memory with a limit of 4 GB).
    """
    with tempfile.TemporaryDirectory(prefix="premia-lake-") as lake:
        _python(_SIMULATE, lake, str(CUSTOMERS), str(ORDERS_PER_CUSTOMER))
        done = _python(_REFRESH, lake)
    figures: dict[str, float] = {name: float(value) for name, value in json.loads(done).items()}
    return figures


def _python(program: str, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 (this interpreter and our own program)
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


if __name__ == "__main__":
    for figure, value in run().items():
        print(f"{figure:18} {value:,.3f}")
