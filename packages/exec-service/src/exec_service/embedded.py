"""What the embedded store and the embedded bus share: one SQLite file on a thread of its own.

A `Database` runs every call in its own single thread, so that a commit which waits for another process's lock never
holds up the event loop. A `Watch` tells cheaply, and therefore often, whether somebody else has committed.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import tenacity

T = TypeVar("T")

BUSY_TIMEOUT_SECONDS: Final = 5.0
#: A write-ahead log that a burst has blown up is cut back to this.
LOG_SIZE_LIMIT: Final = 64 * 2**20
#: How long a `Watch` trusts the log's stamp alone.
SURE_SECONDS: Final = 0.25

#: Answers of SQLite that may be different the next time: locked, disk full, input or output error and their like.
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
    }
)


class Database:
    """One SQLite file: WAL, synchronous=FULL, one connection, one thread.

    A cancelled `run` does not stop what its thread is doing: the transaction took place whole or not at all, and only
    the database knows which. `unavailable` and `broken` are the errors that it raises instead of SQLite's; `prepare` is
    called in the thread when the file has been opened, `closed` when it has been closed, or could not be opened.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[sqlite3.Connection], None],
        *,
        unavailable: type[Exception],
        broken: type[Exception],
        closed: Callable[[], None],
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        self.path = path
        self._log = f"{path}-wal"
        self._prepare = prepare
        self._closed = closed
        self._unavailable = unavailable
        self._broken = broken
        self._busy_timeout = busy_timeout_seconds
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file, made where it is missing, and prepare its tables."""
        if self._executor is not None:
            raise RuntimeError(f"{self.path} is open already")
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=self.path.stem)
        try:
            await self._in_thread(self._connect)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what runs, and close the file."""
        executor, self._executor = self._executor, None
        if executor is None:
            return

        def finish() -> None:
            try:
                if self._connection is not None:
                    self._connection.close()
            finally:
                self._connection = None
                self._closed()

        closing = asyncio.wrap_future(executor.submit(finish))
        executor.shutdown(wait=False)
        await asyncio.shield(closing)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work`'s result, from the database's thread."""
        return await self._in_thread(functools.partial(self._with_connection, work))

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Queue `work` behind what runs, without waiting for it."""
        if self._executor is None:
            raise self._unavailable(f"{self.path} is not open")
        return self._executor.submit(self._with_connection, work)

    async def data_version(self) -> int:
        """A number that changes when another connection, of any process, has committed; our own commits leave it."""
        return await self.run(data_version)

    def log_stamp(self) -> tuple[int, int]:
        """Time and size of the write-ahead log: changes with every commit, but for two within a tick of the clock."""
        try:
            found = os.stat(self._log)  # noqa: PTH116  # a path made once: this is asked a hundred times a second
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_size)

    def _with_connection(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            raise self._unavailable(f"{self.path} is not open")
        return work(self._connection)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._executor is None:
            raise self._unavailable(f"{self.path} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", None)
            passing = code is not None and code & 0xFF in _PASSING
            raise (self._unavailable if passing else self._broken)(f"{self.path}: {error}") from error
        except OSError as error:
            raise self._unavailable(f"{self.path}: {error}") from error

    def _connect(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, cached_statements=256
        )
        mode = self._write_ahead(connection)
        if mode != "wal":
            raise self._broken(f"{self.path}: this file system cannot hold a write-ahead log (journal mode {mode})")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_SIZE_LIMIT}")
        self._prepare(connection)

    def _write_ahead(self, connection: sqlite3.Connection) -> str:
        """Switch to WAL. SQLite does not wait for a lock here when two processes open a new file at once: we do."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_busy),
            wait=tenacity.wait_random(0.005, 0.02),
            stop=tenacity.stop_after_delay(self._busy_timeout),
            reraise=True,
        )
        return str(retrying(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]))


class Watch:
    """Whether another connection has committed since `version` was read."""

    def __init__(self, database: Database, version: int) -> None:
        self._database = database
        self._version = version
        self._stamp: tuple[int, int] | None = None
        self._sure_at = 0.0

    async def new_version(self) -> int | None:
        """The new version, or None. Only a new stamp of the log, or a while without one, makes it ask SQLite."""
        stamp, now = self._database.log_stamp(), time.monotonic()
        if stamp == self._stamp and now < self._sure_at:
            return None
        self._stamp, self._sure_at = stamp, now + SURE_SECONDS
        version = await self._database.data_version()
        return None if version == self._version else version


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def data_version(connection: sqlite3.Connection) -> int:
    """See `Database.data_version`; for use inside the database's thread."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool = True) -> Iterator[None]:
    """One write transaction: everything or, when anything is raised, nothing.

    With `durable` False it survives the death of the process, but perhaps not a power cut: for what may be repeated.
    """
    if not durable:
        connection.execute("PRAGMA synchronous = NORMAL")
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    finally:
        if not durable:
            connection.execute("PRAGMA synchronous = FULL")


def check_schema_version(connection: sqlite3.Connection, supported: int) -> str | None:
    """Note the schema's version in a new file; a sentence when an existing one is newer than `supported`."""
    connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value)")
    connection.execute("INSERT INTO meta VALUES ('schema_version', ?) ON CONFLICT DO NOTHING", (supported,))
    (version,) = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    if version <= supported:
        return None
    return (
        f"it was written by a newer release (schema version {version}, this one knows {supported}): "
        "upgrade exec-service, or give it another data directory"
    )
