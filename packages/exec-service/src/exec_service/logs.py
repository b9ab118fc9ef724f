"""The log: ``YYYY-mm-dd HH:MM:SS | [EXECUTION] | Message``, UTC, one record on one line, without secrets.

Everything goes to the console and ``execution_service.log``; lines about an order also to ``signal_processing.log``.
The parent of several workers writes ``execution_service.workers.log``: no two processes write to one file.
A record becomes a line where it is logged; writing happens in other threads, so that no sink delays an order.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from exec_core import ConfigurationError

from exec_service.log_lanes import ConsoleSink, FileSink, Lane, append_always, descriptor_of, encoded
from exec_service.redaction import Redactor

SERVICE_FILE = "execution_service"
SIGNALS_FILE = "signal_processing"
WORKERS_FILE = "execution_service.workers"
OWN_PACKAGES = ("exec_service", "exec_core")

MAX_BYTES = 50_000_000
BACKUPS = 10
CAPACITY_BYTES = 8_000_000
FLUSH_SECONDS = 5.0

# Control characters, line separators, and marks that turn the reading direction: none may forge or hide a line.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_IN_NAMES = frozenset("_#-")


class OrderLog:
    """Logs lines about an order. Each names its signal, in its text or at its end."""

    def __init__(self, name: str = "exec_service.orders") -> None:
        self._logger = logging.getLogger(name)

    def info(self, text: str, signal_id: str) -> None:
        """A step of the order's life."""
        self._log(logging.INFO, text, signal_id)

    def warning(self, text: str, signal_id: str) -> None:
        """Something about the order that a person should know."""
        self._log(logging.WARNING, text, signal_id)

    def error(self, text: str, signal_id: str) -> None:
        """Something about the order that a person must look at."""
        self._log(logging.ERROR, text, signal_id)

    def _log(self, level: int, text: str, signal_id: str) -> None:
        logger = self._logger
        if logger.isEnabledFor(level):
            # Not `logger.log`, which would look for its caller in the stack: nobody is told where a line was logged.
            extra = {"signal_id": signal_id}
            logger.handle(logger.makeRecord(logger.name, level, __file__, 0, text, (), None, extra=extra))


order_log = OrderLog()


class LineFormatter:
    """Makes one line of a record."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._tracebacks = logging.Formatter()
        self._head = (0, "")

    def line(self, record: logging.LogRecord) -> str:
        """The record as one line, redacted, without the line's end."""
        text = _message(record)
        signal_id = signal_of(record)
        if signal_id is not None:
            if not _names(text, signal_id):
                text = f"{text} ({signal_id})"
        elif record.levelno >= logging.WARNING:
            text = f"{record.levelname}: {text}"
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}\n{self._tracebacks.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        return self.plain_line(text, record.created)

    def plain_line(self, text: str, created: float) -> str:
        """A text as one line."""
        # Redacted before it is escaped: a secret may hold a character that the escaping would change.
        escaped = self._redactor.redact(text)
        if not escaped.isprintable():
            escaped = _UNPRINTABLE.sub(_escape, escaped)
        return f"{self._head_of(int(created))} | [EXECUTION] | {escaped}"

    def _head_of(self, second: int) -> str:
        """The time at the head of a line; kept, since many lines are of one second."""
        known = self._head  # in one piece: other threads log as well
        if known[0] != second:
            known = self._head = (second, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second)))
        return known[1]


def signal_of(record: logging.LogRecord) -> str | None:
    """The signal that an order line is about; None for any other record."""
    signal_id = getattr(record, "signal_id", None)
    return signal_id if isinstance(signal_id, str) else None


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  # arguments run foreign code; a log line must not end its caller
        return f"{record.msg} (its arguments cannot be shown: {type(error).__name__})"


def _names(text: str, signal_id: str) -> bool:
    """Whether the text names the signal, as a word: `sig_1` is not named by a text about `sig_12`."""
    start = text.find(signal_id)
    while start >= 0:
        end = start + len(signal_id)
        if not (_goes_on(text[start - 1 : start]) or _goes_on(text[end : end + 1])):
            return True
        start = text.find(signal_id, start + 1)
    return False


def _goes_on(character: str) -> bool:
    """Whether a name that stands beside this character (empty: beside none) is a part of a longer one."""
    return character.isalnum() or character in _IN_NAMES


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


class Logs(logging.Handler):
    """The log while it is open. Close it, or leave it as a context: everything that can be written is."""

    def __init__(self, redactor: Redactor, capacity_bytes: int, flush_seconds: float) -> None:
        super().__init__()
        self.redactor = redactor
        self._lines = LineFormatter(redactor)
        self._capacity_bytes = capacity_bytes
        self._flush_seconds = flush_seconds
        self._general: list[Lane] = []
        self._orders: list[Lane] = []
        self._levels: list[tuple[logging.Logger, int]] = []
        self._closing = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def emit(self, record: logging.LogRecord) -> None:
        """Make the line, hand it to the lanes; never raises, never waits for a sink."""
        try:
            line = self._lines.line(record)
        except Exception as error:  # noqa: BLE001  # an exception's own text runs foreign code, too
            text = f"ERROR: A log record of {record.name} cannot be shown: {type(error).__name__}"
            line = self._lines.plain_line(text, record.created)
        data = encoded(line)
        for lane in self._general:
            lane.put_encoded(data)
        if signal_of(record) is not None:
            for lane in self._orders:
                lane.put_encoded(data)

    def set_level(self, name: str, level: int | str) -> None:
        """Set a logger's level until the log is closed."""
        logger = logging.getLogger(name)
        self._levels.append((logger, logger.level))
        logger.setLevel(level)

    def open_lane(self, sink: FileSink | ConsoleSink, *, orders_only: bool = False) -> None:
        """Begin to write to `sink`."""
        lane = Lane(sink, capacity_bytes=self._capacity_bytes, say=self._say, tell_others=self._tell_others)
        (self._orders if orders_only else self._general).append(lane)

    def _say(self, text: str) -> str:
        return self._lines.plain_line(f"WARNING: {text}", time.time())

    def _tell_others(self, failing: Lane, text: str) -> None:
        for lane in self._general:
            if lane is not failing:
                lane.put(self._say(text))

    def close(self) -> None:
        """Write out what is queued, waiting a few seconds at most for a sink that is stuck. Closing twice is fine."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        logging.getLogger().removeHandler(self)
        logging.captureWarnings(False)
        for logger, level in reversed(self._levels):
            logger.setLevel(level)
        deadline = time.monotonic() + self._flush_seconds
        # What a file has to say about itself must still reach the others: the orders' first, the console last.
        files = [lane for lane in self._general if not isinstance(lane.sink, ConsoleSink)]
        consoles = [lane for lane in self._general if isinstance(lane.sink, ConsoleSink)]
        for lanes in (self._orders, files, consoles):
            for lane in lanes:
                lane.begin_closing()
            for lane in lanes:
                lane.finish_closing(deadline)
        super().close()


def configure(
    log_dir: Path,
    level: str = "INFO",
    *,
    console: TextIO | None = None,
    worker_number: int = 1,
    parent: bool = False,
    redactor: Redactor | None = None,
    packages: Iterable[str] = (),
    max_bytes: int = MAX_BYTES,
    backups: int = BACKUPS,
    capacity_bytes: int = CAPACITY_BYTES,
    flush_seconds: float = FLUSH_SECONDS,
) -> Logs:
    """Begin to log; use the result as a context, or close it.

    `level` holds for the service and for `packages` (those of the plugins); all others log from WARNING on. `console`
    is standard output unless given. `redactor` knows the secrets, and may learn more later. A `parent` of workers
    has no orders, and one file, whose number tells it from other parents' (`worker_number`).

    :raises ConfigurationError: the directory or a file in it cannot be made.
    """
    files = []
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        for stem in (WORKERS_FILE,) if parent else (SERVICE_FILE, SIGNALS_FILE):
            files.append(FileSink(log_dir / file_name(stem, worker_number), max_bytes, backups))
    except OSError as error:
        for file in files:
            file.close()
        what = error.filename or log_dir
        raise ConfigurationError(f"LOG_DIR: {what} cannot be made or written: {error.strerror or error}") from error
    service_file, *orders_files = files
    logs = Logs(redactor or Redactor(), capacity_bytes, flush_seconds)
    stream = console or sys.stdout
    # `sys.stdout` is None in a process that was started without one.
    if stream is not None and not _is_redirected_into(stream, service_file):
        logs.open_lane(ConsoleSink(stream))
    logs.open_lane(service_file)
    for orders_file in orders_files:
        logs.open_lane(orders_file, orders_only=True)
    logs.set_level("", max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for package in (*OWN_PACKAGES, *packages):
        logs.set_level(package, level)
    logging.getLogger().addHandler(logs)
    logging.captureWarnings(True)
    return logs


def file_name(stem: str, worker_number: int) -> str:
    """The name of a log file; those of the second and later worker carry its number."""
    return f"{stem}.log" if worker_number == 1 else f"{stem}.{worker_number}.log"


def _is_redirected_into(stream: TextIO, file: FileSink) -> bool:
    """Whether the console is the log file itself (``> logs/execution_service.log``): each line would stand twice.

    What still goes to such a console is made to append, where the shell's ``>`` would overwrite our lines.
    """
    descriptor = descriptor_of(stream)
    if descriptor is None or not file.is_written_to_by(descriptor):
        return False
    append_always(descriptor)
    return True
