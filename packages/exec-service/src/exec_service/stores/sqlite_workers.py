"""The SQLite store's workers: a row each, and a lock file that proves whether the process still lives.

How old a heartbeat is tells the clock that only runs, since the machine was started: all processes of a machine read
the same, and nobody sets it. Only where a row is of another start of the machine the wall clock must do.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from exec_service.embedded import transaction
from exec_service.process_locks import ProcessLock, boot, is_held, lock_path
from exec_service.stores import Lease, LeaseLost, WorkerAlive, WorkerState

_TAKE: Final = """
    INSERT INTO workers (worker_id, epoch, heartbeat, lease_seconds, released, host, process_id, started_at, boot, beat)
    VALUES (:worker_id, :epoch, :now, :seconds, 0, :host, :process_id, :now, :boot, :beat)
    ON CONFLICT (worker_id) DO UPDATE SET
        epoch = excluded.epoch, heartbeat = excluded.heartbeat, lease_seconds = excluded.lease_seconds, released = 0,
        host = excluded.host, process_id = excluded.process_id, started_at = excluded.started_at,
        boot = excluded.boot, beat = excluded.beat
"""


class Workers:
    """Leases, by this machine's clock. Everything runs in the database's thread."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._host = socket.gethostname()
        #: of the workers that this store runs, with the epoch of the newest lease
        self._locks: dict[str, tuple[ProcessLock, int]] = {}

    def take(self, connection: sqlite3.Connection, worker_id: str, seconds: float) -> Lease:
        """A new epoch. :raises WorkerAlive: a live process holds the worker's lock."""
        lock, _ = self._locks.get(worker_id, (ProcessLock(self._lock_path(worker_id)), 0))
        if not lock.acquire():
            raise WorkerAlive(self._who_holds(connection, worker_id))
        try:
            with transaction(connection):
                row = connection.execute("SELECT epoch FROM workers WHERE worker_id = ?", (worker_id,)).fetchone()
                epoch = 1 if row is None else row[0] + 1
                values = {
                    "worker_id": worker_id,
                    "epoch": epoch,
                    "now": time.time(),
                    "seconds": seconds,
                    "host": self._host,
                    "process_id": os.getpid(),
                    "boot": boot(),
                    "beat": time.monotonic(),
                }
                connection.execute(_TAKE, values)
        except BaseException:
            if worker_id not in self._locks:
                lock.release()
            raise
        self._locks[worker_id] = (lock, epoch)
        return Lease(worker_id, epoch, seconds)

    def touch(self, connection: sqlite3.Connection, lease: Lease) -> None:
        """A heartbeat, inside a transaction. :raises LeaseLost: the lease does not stand any more."""
        changed = connection.execute(
            "UPDATE workers SET heartbeat = ?, boot = ?, beat = ? WHERE worker_id = ? AND epoch = ? AND released = 0",
            (time.time(), boot(), time.monotonic(), lease.worker_id, lease.epoch),
        ).rowcount
        if not changed:
            raise LeaseLost(f"worker {lease.worker_id} has lost its lease (epoch {lease.epoch}): it was taken over")

    def release(self, connection: sqlite3.Connection, lease: Lease) -> None:
        """Good-bye; of a lease that was taken over, only the lock is freed."""
        with transaction(connection):
            connection.execute(
                "UPDATE workers SET released = 1 WHERE worker_id = ? AND epoch = ?", (lease.worker_id, lease.epoch)
            )
        lock, epoch = self._locks.get(lease.worker_id, (None, 0))
        if lock is not None and epoch == lease.epoch:
            del self._locks[lease.worker_id]
            lock.release()

    def fence(self, connection: sqlite3.Connection, worker_id: str, seen: WorkerState | None) -> bool:
        """Raise the worker's epoch, if it is still as it was seen."""
        with transaction(connection):
            if seen is not None:
                state = next((state for state in self.states(connection) if state.worker_id == worker_id), None)
                if state is None or state.epoch != seen.epoch or not state.is_gone:
                    return False
            connection.execute("UPDATE workers SET epoch = epoch + 1 WHERE worker_id = ?", (worker_id,))
        return True

    def states(self, connection: sqlite3.Connection) -> list[WorkerState]:
        """All workers, by their ids."""
        rows = connection.execute(
            "SELECT worker_id, epoch, heartbeat, lease_seconds, released, host, process_id, started_at, boot, beat "
            "FROM workers ORDER BY worker_id"
        ).fetchall()
        return [
            WorkerState(
                worker_id=worker_id,
                epoch=epoch,
                heartbeat_age_seconds=_age(heartbeat, booted, beat),
                lease_seconds=lease_seconds,
                released=bool(released),
                proven_dead=not released and host == self._host and not self._is_alive(worker_id),
                host=host,
                process_id=process_id,
                started_at=datetime.fromtimestamp(started_at, UTC),
            )
            for (
                worker_id,
                epoch,
                heartbeat,
                lease_seconds,
                released,
                host,
                process_id,
                started_at,
                booted,
                beat,
            ) in rows
        ]

    def free_locks(self) -> None:
        """Let go of every lock: this store is being left."""
        while self._locks:
            _, (lock, _) = self._locks.popitem()
            lock.release()

    def _is_alive(self, worker_id: str) -> bool:
        return worker_id in self._locks or is_held(self._lock_path(worker_id))

    def _lock_path(self, worker_id: str) -> Path:
        return lock_path(self._data_dir, worker_id)

    def _who_holds(self, connection: sqlite3.Connection, worker_id: str) -> str:
        row = connection.execute(
            "SELECT process_id, host FROM workers WHERE worker_id = ? AND NOT released", (worker_id,)
        ).fetchone()
        who = "another process" if row is None else f"process {row[0]} on {row[1]}"
        return f"worker {worker_id} is running already: {who} is alive; stop it, or choose another WORKER_ID"


def _age(heartbeat: float, booted: str | None, beat: float | None) -> float:
    since_beat = time.monotonic() - beat if beat is not None and booted == boot() else -1.0
    return since_beat if since_beat >= 0 else max(0.0, time.time() - heartbeat)
