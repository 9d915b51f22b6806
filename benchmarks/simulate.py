"""Time and peak memory of the simulator at full size, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

CUSTOMERS = 1_000_000
ORDERS_PER_CUSTOMER = 20

_PROGRAM = """
import json, resource, sys, time
from pathlib import Path
from data.simulate import simulate

begin = time.perf_counter()
lake, customers, orders = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
summary = simulate(lake, customers, seed=1, threads=2, orders_per_customer=orders)
seconds = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
sizes = {"orders": summary.orders, "customers": summary.customers}
print(json.dumps({"seconds": seconds, "peak_gb": peak} | sizes))
"""


def run() -> dict[str, float]:
    """Simulate a million customers with twenty million orders on two threads.

    Returns
    -------
    dict of str to float
        seconds (writing included), peak_gb (resident memory), orders, customers.
    """
    with tempfile.TemporaryDirectory(prefix="premia-lake-") as lake:
        arguments = [lake, str(CUSTOMERS), str(ORDERS_PER_CUSTOMER)]
        done = subprocess.run(  # noqa: S603 (this interpreter and our own program)
            [sys.executable, "-c", _PROGRAM, *arguments], check=True, capture_output=True, text=True
        )
    figures: dict[str, float] = {name: float(value) for name, value in json.loads(done.stdout).items()}
    return figures


if __name__ == "__main__":
    for figure, value in run().items():
        print(f"{figure:10} {value:,.2f}")
