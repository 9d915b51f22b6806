"""One writer per table at a time, held by the kernel: the lock of a process that died is free at once."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from data.errors import TableLockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["lock_file", "table_lock"]

_LOCKS = ".locks"


@contextmanager
def table_lock(root: Path, name: str) -> Iterator[None]:
    """Hold the right to write a table.

    Parameters
    ----------
    root : Path
        The lake.
    name : str
        The table, for example ``orders`` or ``truth/customers``.

    Raises
    ------
    TableLockedError
        If another writer holds it; the message names its process and since when.
    """
    path = lock_file(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file stays when the lock is released: removing it could let two writers hold two files of one name.
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TableLockedError(_refusal(path, name)) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid()}).encode(), 0)
        yield
    finally:
        os.close(handle)


def lock_file(root: Path, name: str) -> Path:
    """Give the file whose lock is that of a table."""
    return root / _LOCKS / f"{name.replace('/', '_')}.lock"


def _refusal(path: Path, name: str) -> str:
    try:
        holder = f"process {json.loads(path.read_text(encoding='utf-8'))['pid']}"
    except (ValueError, KeyError, TypeError):
        # The holder has the lock but has not yet written its name.
        holder = "another process"
    since = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
    return (
        f"Table {name!r} is being written by {holder} since {since:%Y-%m-%d %H:%M:%S} UTC (lock {path}). "
        "Wait until it ends or end it; the lock of a process that is gone does not hold"
    )
