"""The log: one JSON object a line, written beside the requests, without personal data.

A record names requests, traces, keys, products and states; never a customer, a risk, a path with ids or the
text of an unforeseen error, as that may quote what a caller sent.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections import deque
from contextlib import contextmanager
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, Final, TextIO

from serving.http.exchange import current
from serving.http.limits import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving.http.exchange import Exchange

REQUESTS: Final = logging.getLogger("premia.requests")
FLUSH_SECONDS: Final = 0.2
KEPT_LINES: Final = 20_000  # while standard error does not take them; then they are counted and dropped
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Give what a record says, by name."""
    found: dict[str, Any] = {
        "time": f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(record.created))}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    exchange = current()
    if exchange is not None:
        found |= {"request_id": exchange.request_id, "trace_id": exchange.trace_id}
    found |= getattr(record, "fields", {})
    if record.exc_info and record.exc_info[0]:
        frames = traceback.extract_tb(record.exc_info[2])
        found["error"] = record.exc_info[0].__name__
        found["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return found


class JsonFormatter(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        return _ENCODE(fields_of(record))


class TextFormatter(logging.Formatter):
    """A record as a line to read."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        found = fields_of(record)
        head = (found.pop("time"), found.pop("level"), found.pop("logger"), found.pop("message"))
        return " ".join([*map(str, head), *(f"{name}={value}" for name, value in found.items())])


class BufferedHandler(logging.Handler):
    """Keep lines in memory and let a thread write them, several at once: no request waits for the log.

    Parameters
    ----------
    stream
        Where the lines go. When it takes none, the newest are dropped, and their number is logged.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if len(self._lines) < KEPT_LINES:
            self._lines.append(self.format(record))
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what is left."""
        self._closing.set()
        self._thread.join(timeout=5)
        super().close()

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(
                _ENCODE({"level": "warning", "message": "lines of the log were dropped", "lines": dropped})
            )
        if lines:
            try:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            except OSError:  # a full disk or a closed pipe must not end the log for good
                self._dropped += len(lines)


def log_request(exchange: Exchange) -> None:
    """Log how a request ended; of those who watch the service, only what went wrong."""
    level = logging.DEBUG if exchange.route in ALWAYS and exchange.status < 400 else logging.INFO
    if exchange.status >= 500:
        level = logging.ERROR if exchange.status == 500 else logging.WARNING
    if not REQUESTS.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "method": exchange.method,
        "route": exchange.route,
        "status": exchange.status,
        "ms": round(exchange.ms, 3),
    }
    if exchange.key_id is not None:
        fields["key_id"] = exchange.key_id
    if exchange.quotes:
        fields["product"], fields["channel"], fields["state"], fields["arm"] = exchange.quotes[0]
    if len(exchange.quotes) > 1:
        fields["quotes"] = len(exchange.quotes)
    # `log` would look for file and line of the caller, which are always these.
    record = REQUESTS.makeRecord(REQUESTS.name, level, __file__, 0, "request", (), None)
    record.fields = fields
    REQUESTS.handle(record)


@contextmanager
def logging_to(stream: TextIO | None = None, level: str = "info", style: str = "json") -> Iterator[None]:
    """Send every record of the process to a stream while the block runs.

    Parameters
    ----------
    stream
        Standard error when absent.
    level, style
        As the settings `log_level` and `log_format`.
    """
    handler = BufferedHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    for unused in ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        setattr(logging, unused, False)  # each is a look-up for every record, and no line shows them
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()
