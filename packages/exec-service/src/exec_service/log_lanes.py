"""Where log lines go: one lane per sink, each a bounded queue and a thread, so that a stuck sink stops nothing else.

A lane that cannot write keeps its lines and tries again. When its queue is full the oldest lines go, and their number
is said when it flows again.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Protocol, TextIO

RETRY_SECONDS = 1.0
#: How long a lane rests between two writes. What comes after a pause is written at once, and what comes in a burst in
#: batches: waking a thread for every line costs more than making the line.
REST_SECONDS = 0.005
LARGEST_WRITE = 65_536
#: What a pipe takes at once: several workers that write to one console do not break each other's lines.
LARGEST_CONSOLE_WRITE = select.PIPE_BUF


class Sink(Protocol):
    """Something that takes bytes, in a thread of its own: it may block."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def write(self, data: bytes) -> int:
        """Write, and return how many bytes were taken. :raises OSError: it cannot now; it is asked again."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class FileSink:
    """A log file that rotates by size, and is opened anew when somebody moved it away."""

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        self.path = path
        self.name = f"log file {path}"
        self._limit = self._threshold = max_bytes
        self._rotation = RotatingFileHandler(path, backupCount=backups, delay=True)
        self._file: BinaryIO | None = self._open()

    def _open(self) -> BinaryIO:
        # Unbuffered: what a failed write did not take must not lie about in a buffer and come out twice.
        return self.path.open("ab", buffering=0)

    def write(self, data: bytes) -> int:
        """Append, rotating first where the file would grow too large."""
        try:
            file = self._current()
            size = os.fstat(file.fileno()).st_size
            if size and size + len(data) > self._threshold:
                file = self._rotated(size)
            return file.write(data)
        except OSError:
            self.close()
            raise

    def _current(self) -> BinaryIO:
        if self._file is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
                    return self._file
            self.close()
            # Somebody may have removed the directory with the file.
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open()
        return self._file

    def _rotated(self, size: int) -> BinaryIO:
        self.close()
        try:
            self._rotation.doRollover()
            self._threshold = self._limit
        except OSError:
            # A file that is too large beats a lost line. Not tried again at once: each try would push the backups on.
            self._threshold = size + self._limit
        self._file = self._open()
        return self._file

    def is_written_to_by(self, descriptor: int) -> bool:
        """Whether this descriptor leads to the same file: a console redirected into the log."""
        return self._file is not None and os.path.samestat(os.fstat(descriptor), os.fstat(self._file.fileno()))

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # nothing is buffered, so nothing is lost
                file.close()


class ConsoleSink:
    """A text stream, written to beneath its buffer where it has a file descriptor.

    A thread that is stuck inside the stream's own buffer would hold its lock, and end the interpreter with a fatal
    error on exit.
    """

    name = "console"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self.descriptor = descriptor_of(stream)

    def write(self, data: bytes) -> int:
        """Write; waits as long as nobody reads."""
        # The symbols of currencies do not exist in every encoding that a terminal may have.
        encoded = data.decode("utf-8").encode(self._encoding, "backslashreplace")
        if self.descriptor is None:
            self._stream.write(encoded.decode(self._encoding))
            self._stream.flush()
            return len(data)
        rest = memoryview(encoded)
        while rest:
            try:
                rest = rest[os.write(self.descriptor, rest[: _whole_lines(rest)]) :]
            except BlockingIOError:  # whoever gave us the stream made it non-blocking
                waiting = select.poll()
                waiting.register(self.descriptor, select.POLLOUT)
                waiting.poll()
        return len(data)

    def close(self) -> None:
        """The stream is not ours to close."""


def _whole_lines(data: memoryview) -> int:
    """How much to write at once: as many whole lines as a pipe takes in one piece, or a part of one that is longer."""
    if len(data) <= LARGEST_CONSOLE_WRITE:
        return len(data)
    return bytes(data[:LARGEST_CONSOLE_WRITE]).rfind(b"\n") + 1 or LARGEST_CONSOLE_WRITE


def descriptor_of(stream: TextIO) -> int | None:
    """The stream's file descriptor, or None where it has none."""
    try:
        return stream.fileno()
    except (OSError, AttributeError, ValueError):
        return None


def append_always(descriptor: int) -> None:
    """Make every write through this descriptor append, whoever else writes to the file."""
    if sys.platform != "win32":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)


def encoded(line: str) -> bytes:
    """The line as it is written, with its end."""
    return f"{line}\n".encode("utf-8", "backslashreplace")


class Lane:
    """One sink with its queue and its thread. `say` makes a complete line of a text of ours.

    `tell_others` is called, once per outage, with a sentence about this lane's failure or recovery.
    """

    def __init__(
        self, sink: Sink, *, capacity_bytes: int, say: Callable[[str], str], tell_others: Callable[[Lane, str], None]
    ) -> None:
        self.sink = sink
        self._capacity = capacity_bytes
        self._say = say
        self._tell_others = tell_others
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._closing = False
        self._waits_for_lines = False
        # Reentrant: whatever the garbage collector ends while we hold it may have something to log.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._run, name=f"log lane: {sink.name}", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Hand over one line; never waits for the sink."""
        self.put_encoded(encoded(line))

    def put_encoded(self, data: bytes) -> None:
        """The same of a line that is bytes already, its end included."""
        with self._lock:
            self._lines.append(data)
            self._size += len(data)
            while self._size > self._capacity and len(self._lines) > 1:
                self._size -= len(self._lines.popleft())
                self._dropped += 1
            if self._waits_for_lines:
                self._waits_for_lines = False
                self._changed.notify()

    def begin_closing(self) -> None:
        """Take what is queued to the sink, then end."""
        with self._lock:
            self._closing = True
            self._changed.notify()

    def finish_closing(self, deadline: float) -> bool:
        """Wait for that until `deadline` (monotonic); whether everything got out."""
        self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._write_until_closed()
        finally:
            self.sink.close()

    def _write_until_closed(self) -> None:
        failing = False
        while batch := self._next_batch():
            while batch:
                try:
                    batch = batch[self.sink.write(batch) :]
                except (OSError, ValueError) as error:  # ValueError: a stream that somebody closed
                    if not failing:
                        failing = True
                        reason = getattr(error, "strerror", None) or str(error)
                        self._tell_others(self, f"The {self.sink.name} cannot be written: {reason}; trying again")
                    if self._gives_up():
                        return
            if failing:
                failing = False
                self._tell_others(self, f"The {self.sink.name} can be written again")
            self._rest()

    def _next_batch(self) -> bytes:
        """What to write next; empty when the lane is closing and all is written."""
        with self._lock:
            while not self._lines and not self._closing:
                self._waits_for_lines = True
                self._changed.wait()
            parts = []
            if self._dropped:
                count, self._dropped = self._dropped, 0
                were = "line was" if count == 1 else "lines were"
                parts.append(encoded(self._say(f"{count} log {were} dropped here")))
            room = LARGEST_WRITE
            while self._lines and room > 0:
                line = self._lines.popleft()
                self._size -= len(line)
                room -= len(line)
                parts.append(line)
            return b"".join(parts)

    def _rest(self) -> None:
        """Let lines gather, unless there are many already or the lane is closing."""
        with self._lock:
            self._changed.wait_for(lambda: self._closing or self._size >= LARGEST_WRITE, REST_SECONDS)

    def _gives_up(self) -> bool:
        """Wait before the next try; True when the lane was closing already, so that this was the last one."""
        with self._lock:
            if self._closing:
                return True
            self._changed.wait_for(lambda: self._closing, RETRY_SECONDS)
            return False
