"""The workers in MongoDB: a row each, with an epoch, a heartbeat by the database's clock, and proof of life.

Where a worker's process can be seen from here, its end is known at once. Of one on another machine nothing is known but
its heartbeat: whoever comes under its id watches that for as long as its lease runs.

A worker that was killed inside a transaction keeps its locks until the server notices, for more than a minute. So its
row names the sessions it works in, and whoever takes over ends them first, and once more after the epoch was raised: it
may have begun anew in between.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pymongo.errors import DuplicateKeyError, PyMongoError

from exec_service.stores import Lease, LeaseLost, WorkerAlive, WorkerState
from exec_service.stores.mongo_codec import decode_exactly, pack
from exec_service.stores.mongo_connection import Connection
from exec_service.stores.mongo_errors import is_passing, text_of
from exec_service.stores.mongo_processes import Process, has_ended, is_here, this_process
from exec_service.stores.mongo_transactions import WORKERS, Transactions

logger = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1
#: A silent worker's heartbeat is looked at so often.
WATCH_SECONDS: Final = 0.5

Row = dict[str, Any]

#: Which stores of this process hold a lease, by database and worker; with the epoch of the newest.
_held_here: Final[dict[tuple[str, str], tuple[object, int]]] = {}


@dataclass(slots=True)
class _Hold:
    """Whether the row that a worker is held for was written."""

    stands: bool = False


class Workers:
    """Leases of one store."""

    def __init__(self, connection: Connection, transactions: Transactions) -> None:
        self._connection = connection
        self._transactions = transactions
        self._database_id = ""

    def open(self, database_id: str) -> None:
        """`database_id`: what the database is known by, wherever it is reached."""
        self._database_id = database_id

    def close(self) -> None:
        """This store is left: its workers count as dead."""
        for key in [key for key, (holder, _) in _held_here.items() if holder is self]:
            del _held_here[key]

    async def take(self, worker_id: str, seconds: float) -> Lease:
        """A new epoch. :raises WorkerAlive: a live process holds the lease, or holds on to it while we watch."""
        watched: Row | None = None
        while True:
            row = await self._row(worker_id)
            if row is None:
                if await self._insert(worker_id, seconds):
                    return await self._taken(worker_id, Lease(worker_id, 1, seconds))
                continue
            if watched is not None and _moved(watched, row):
                raise WorkerAlive(_who_is_alive(row))
            if self._may_be_taken(row):
                if await self._take_over(row, seconds):
                    wait = self._state(row).sender_done_after_seconds
                    return await self._taken(worker_id, Lease(worker_id, row["epoch"] + 1, seconds, wait))
                continue
            if self._is_proven_alive(row):
                raise WorkerAlive(_who_is_alive(row))
            if watched is None:
                logger.info("Worker %s ran on %s: watching whether it still does", worker_id, row["host"])
            watched = row
            await asyncio.sleep(min(WATCH_SECONDS, max(row["lease_seconds"] - row["age"], 0.0) + 0.01))

    async def renew(self, lease: Lease) -> None:
        """A heartbeat. :raises LeaseLost: the lease does not stand any more."""
        async with self._transactions.worker_session() as session:
            with self._connection.bounded("write the heartbeat"):
                done = await self._connection.collection(WORKERS).update_one(
                    {"_id": lease.worker_id, "epoch": lease.epoch, "released": False},
                    {"$currentDate": {"heartbeat": True}},
                    session=session,
                )
        if done.matched_count != 1:
            raise LeaseLost(f"worker {lease.worker_id} has lost its lease (epoch {lease.epoch}): it was taken over")

    async def release(self, lease: Lease) -> None:
        """Good-bye; of a lease that was taken over, only our hold on it ends."""
        with self._connection.bounded("give back the lease"):
            await self._connection.collection(WORKERS).update_one(
                {"_id": lease.worker_id, "epoch": lease.epoch}, {"$set": {"released": True}}
            )
        key = (self._database_id, lease.worker_id)
        if _held_here.get(key) == (self, lease.epoch):
            del _held_here[key]

    async def fence(self, worker_id: str, seen: WorkerState | None) -> bool:
        """Raise the worker's epoch, if it is still as it was seen; what it has under way is ended first."""
        row = await self._row(worker_id)
        if row is None:
            return seen is None
        where: dict[str, Any] = {"_id": worker_id}
        if seen is not None:
            if row["epoch"] != seen.epoch or not (row["released"] or self._is_gone(row)):
                return False
            where |= {name: row[name] for name in ("epoch", "heartbeat", "released")}
        await self._end_sessions([row])
        with self._connection.bounded(f"fence worker {worker_id}"):
            done = await self._connection.collection(WORKERS).update_one(where, {"$inc": {"epoch": 1}})
        await self._end_sessions([row])
        return done.matched_count == 1

    async def states(self) -> list[WorkerState]:
        """All workers, by their ids."""
        return [self._state(row) for row in await self._rows({})]

    def _state(self, row: Row) -> WorkerState:
        return WorkerState(
            worker_id=row["_id"],
            epoch=row["epoch"],
            heartbeat_age_seconds=row["age"],
            lease_seconds=row["lease_seconds"],
            released=row["released"],
            proven_dead=not row["released"] and self._is_proven_dead(row),
            host=row["host"],
            process_id=row["process_id"],
            started_at=row["started_at"],
        )

    # ------------------------------------------------------------------ rows

    async def _row(self, worker_id: str) -> Row | None:
        return next(iter(await self._rows({"_id": worker_id})), None)

    async def _rows(self, where: Mapping[str, Any]) -> list[Row]:
        age = {"$divide": [{"$max": [0, {"$subtract": ["$$NOW", "$heartbeat"]}]}, 1000]}
        pipeline: list[Mapping[str, Any]] = [{"$match": where}, {"$sort": {"_id": 1}}, {"$set": {"age": age}}]
        with self._connection.bounded("read the workers"):
            cursor = await self._connection.collection(WORKERS).aggregate(pipeline)
            return [decode_exactly(raw) async for raw in cursor]

    def _values(self, seconds: float) -> dict[str, Any]:
        process = this_process()
        return {
            "lease_seconds": float(seconds),
            "released": False,
            "host": socket.gethostname(),
            "machine": process.machine,
            "process_id": process.process_id,
            "process_started": process.started,
            "sessions": self._transactions.session_ids(),
            "schema_version": SCHEMA_VERSION,
        }

    async def _insert(self, worker_id: str, seconds: float) -> bool:
        with self._holding(worker_id, 1) as hold, self._connection.bounded(f"take the lease of {worker_id}"):
            try:
                await self._connection.collection(WORKERS).update_one(
                    {"_id": worker_id, "epoch": 0},
                    [{"$set": {**_literal(self._values(seconds)), "epoch": 1, **_NOW}}],
                    upsert=True,
                )
            except DuplicateKeyError:
                return False
            hold.stands = True
        return True

    async def _take_over(self, row: Row, seconds: float) -> bool:
        """Raise the epoch, if nothing has moved since the row was read."""
        await self._end_sessions([row])
        epoch = row["epoch"] + 1
        with self._holding(row["_id"], epoch) as hold, self._connection.bounded(f"take the lease of {row['_id']}"):
            done = await self._connection.collection(WORKERS).update_one(
                {"_id": row["_id"], "epoch": row["epoch"], "heartbeat": row["heartbeat"]},
                [{"$set": {**_literal(self._values(seconds)), "epoch": epoch, **_NOW}}],
            )
            hold.stands = done.matched_count == 1
        if hold.stands:
            await self._end_sessions([row])
        return hold.stands

    @contextmanager
    def _holding(self, worker_id: str, epoch: int) -> Iterator[_Hold]:
        """Hold the worker from before its row is written: a store beside us reads the row sooner than we go on, and
        would take a row of this process that nobody holds for that of a store which was left.

        :raises WorkerAlive: that store is about to write this very epoch itself.
        """
        key = (self._database_id, worker_id)
        before = _held_here.get(key)
        if before is not None and before[0] is not self and before[1] >= epoch:
            raise WorkerAlive(f"worker {worker_id} is running already, in this process; choose another WORKER_ID")
        _held_here[key] = (self, epoch)
        hold = _Hold()
        try:
            yield hold
        finally:
            if not hold.stands:
                _held_here.pop(key, None)
                if before is not None:
                    _held_here[key] = before

    async def _taken(self, worker_id: str, lease: Lease) -> Lease:
        gone = [row for row in await self._rows({"released": False}) if self._is_gone(row) and row["_id"] != worker_id]
        await self._end_sessions(gone)
        return lease

    async def _end_sessions(self, rows: Sequence[Row]) -> None:
        """End what these workers have under way, except for ourselves."""
        ours = set(self._transactions.session_ids())
        ids = [pack(session) for row in rows for session in row.get("sessions") or ()]
        ids = [session for session in ids if session not in ours]
        if not ids:
            return
        with self._connection.bounded("end the sessions of a worker that is gone"):
            try:
                await self._connection.client.admin.command({"killSessions": [{"id": item} for item in ids]})
            except PyMongoError as error:
                if is_passing(error):
                    raise
                logger.warning(
                    "Locks that a killed worker holds may last a minute or two, its sessions cannot be ended: %s",
                    text_of(error),
                )

    # ------------------------------------------------------------------ life and death

    def _holder(self, row: Row) -> object | None:
        return _held_here.get((self._database_id, row["_id"]), (None, 0))[0]

    def _may_be_taken(self, row: Row) -> bool:
        if row["released"] or self._is_proven_dead(row):
            return True
        if _is_this_process(row):
            return self._holder(row) is self
        return _ran_out(row) and not self._is_proven_alive(row)

    def _is_proven_alive(self, row: Row) -> bool:
        if _is_this_process(row):
            return self._holder(row) is not None
        return is_here(_process(row)) and not has_ended(_process(row))

    def _is_proven_dead(self, row: Row) -> bool:
        if _is_this_process(row):
            return self._holder(row) is None  # the store that ran it was left
        return has_ended(_process(row))

    def _is_gone(self, row: Row) -> bool:
        return self._is_proven_dead(row) or _ran_out(row)


_NOW: Final = {"heartbeat": "$$NOW", "started_at": "$$NOW"}


def _literal(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"$literal": value} for name, value in values.items()}


def _process(row: Row) -> Process:
    return Process(row.get("machine"), row["process_id"], row.get("process_started"))


def _is_this_process(row: Row) -> bool:
    ours = this_process()
    return _process(row) == ours and (ours.machine is not None or row["host"] == socket.gethostname())


def _ran_out(row: Row) -> bool:
    return bool(row["age"] > row["lease_seconds"])


def _moved(before: Row, now: Row) -> bool:
    names = ("epoch", "heartbeat", "process_id", "host", "started_at")
    return any(before[name] != now[name] for name in names) and not now["released"]


def _who_is_alive(row: Row) -> str:
    return (
        f"worker {row['_id']} is running already: process {row['process_id']} on {row['host']} is alive; "
        "stop it, or choose another WORKER_ID"
    )
