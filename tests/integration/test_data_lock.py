import datetime as dt
import os
import signal
import subprocess
import sys

import pytest

from data.contracts import contract
from data.errors import TableLockedError
from data.store import TableWrite, read_table, write_table

NOW = dt.datetime(2026, 1, 1)
HOLD = """
import datetime as dt, sys, time
from pathlib import Path
from data.store import TableWrite
with TableWrite(Path(sys.argv[1]), "orders", created=dt.datetime(2026, 1, 1), source="a") as write:
    write.stage().write_text("half a file")
    print("held", flush=True)
    time.sleep(60)
"""


def empty(name):
    return contract(name).schema.empty_table()


def test_a_second_writer_is_told_who_holds_the_table(tmp_path):
    with TableWrite(tmp_path, "orders", created=NOW, source="a"):
        with pytest.raises(TableLockedError, match=rf"'orders' is being written by process {os.getpid()} si"):
            write_table(tmp_path, "orders", empty("orders"), created=NOW)
        write_table(tmp_path, "customers", empty("customers"), created=NOW)
    write_table(tmp_path, "orders", empty("orders"), created=NOW)


def test_the_lock_of_a_killed_process_does_not_hold_and_its_files_go(tmp_path):
    child = subprocess.Popen(  # noqa: S603 (our own interpreter)
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout as lines:
        assert lines.readline() == "held\n"
        with pytest.raises(TableLockedError, match=f"process {child.pid} since 20"):
            write_table(tmp_path, "orders", empty("orders"), created=NOW)
        child.send_signal(signal.SIGKILL)
        child.wait()
    # Not reaped by pid alone: the holder of the lock may sweep what any earlier writer of the table left.
    assert len(list((tmp_path / ".staging").iterdir())) == 1
    write_table(tmp_path, "orders", empty("orders"), created=NOW)
    assert list((tmp_path / ".staging").iterdir()) == []
    assert read_table(tmp_path, "orders").num_rows == 0


def test_an_unnamed_holder_is_another_process(tmp_path):
    with TableWrite(tmp_path, "orders", created=NOW, source="a"):
        (tmp_path / ".locks" / "orders.lock").write_text("")
        with pytest.raises(TableLockedError, match="by another process since"):
            write_table(tmp_path, "orders", empty("orders"), created=NOW)
