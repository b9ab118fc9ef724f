"""What a soak run measures, every ten seconds: memory, open files and threads of each process, and how long queues are.

Growth is the slope of a straight line through the second half of a run; of a worker that was started anew meanwhile,
through what it has lived since then, without its first minute.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
from chaos_bus import Servers
from chaos_workers import Fleet
from harness import Real
from producer import Producer
from pymongo import MongoClient
from pymongo.errors import PyMongoError

EVERY_SECONDS = 10.0
#: What a process needs to settle after its start: modules, pools, caches.
WARM_UP_SECONDS = 60.0
#: Fewer points than these make no line.
FEWEST_POINTS = 6
#: Growth that no run may show, whatever the reason: memory in MB, open files, threads per hour.
ABSURD = {"memory": 1500.0, "files": 2000.0, "threads": 1000.0}
FINAL = ["FILLED", "REJECTED", "CANCELLED", "EXPIRED"]


@dataclass(frozen=True)
class Point:
    """One figure at one moment, of one process or of none (0)."""

    at: float
    pid: int
    value: float


@dataclass(frozen=True)
class Row:
    """What became of one figure over the run."""

    name: str
    start: float
    median: float
    most: float
    end: float
    #: Per hour; None where there were too few points.
    slope: float | None
    #: Over how many minutes the slope was taken.
    minutes: float


@dataclass
class Meter:
    """Measures, while it is entered."""

    real: Real
    servers: Servers
    fleet: Fleet
    producer: Producer
    began: float = field(default_factory=time.monotonic)
    series: dict[str, list[Point]] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Meter:
        self._task = asyncio.create_task(self._run(), name="meter")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def _run(self) -> None:
        with MongoClient[dict[str, Any]](
            self.real.mongodb_uri, serverSelectionTimeoutMS=2000, timeoutMS=5000
        ) as client:
            while True:
                self._look_at_processes()
                await asyncio.to_thread(self._look_at_queues, client)
                await asyncio.sleep(EVERY_SECONDS)

    def _note(self, name: str, value: float, pid: int = 0) -> None:
        self.series.setdefault(name, []).append(Point(time.monotonic() - self.began, pid, value))

    def _look_at_processes(self) -> None:
        pids = {worker.name: worker.pid for worker in self.fleet.workers if worker.service is not None}
        for name, server in (("mongod", self.servers.mongod), ("emulator", self.servers.emulator)):
            if server.kept is not None:
                pids[name] = server.kept.server.pid
        for name, pid in pids.items():
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    self._note(f"{name} memory, MB", process.memory_info().rss / 2**20, pid)
                    self._note(f"{name} open files", process.num_fds(), pid)
                    self._note(f"{name} threads", process.num_threads(), pid)
            except psutil.Error:
                continue  # it has just ended

    def _look_at_queues(self, client: MongoClient[dict[str, Any]]) -> None:
        database = client[self.real.database]
        try:
            orders = database.orders.count_documents({})
            taken = orders + database.dead_letters.count_documents({})
            self._note("orders stored", orders)
            self._note("orders open", database.orders.count_documents({"status": {"$nin": FINAL}}))
            self._note(
                "orders in doubt", database.orders.count_documents({"status": {"$in": ["SUBMITTING", "UNKNOWN"]}})
            )
            waiting = list(database.outbox.find({"delivered_at": None}, {"channel": 1, "rows._id": 1}))
        except PyMongoError:
            return  # it is being hurt just now
        new = sum(1 for name in {_key(message) for message in self.producer.load[: self.producer.published]})
        self._note("messages on the bus", max(0, new - taken))
        for channel in ("confirmations", "signals", "notifier:telegram"):
            self._note(
                f"outbox {channel}", sum(len(one.get("rows", "1")) for one in waiting if one["channel"] == channel)
            )

    def table(self) -> list[Row]:
        """A row for each figure."""
        return [row_of(name, points, self.series_end / 2) for name, points in sorted(self.series.items())]

    @property
    def series_end(self) -> float:
        """When the last point was taken."""
        return max((points[-1].at for points in self.series.values()), default=0.0)


def _key(message: Any) -> object:
    return message if isinstance(message, bytes) else message["signal_id"]


def row_of(name: str, points: Sequence[Point], half: float) -> Row:
    """What became of the figure; `half`: when the second half of the run began."""
    values = [point.value for point in points]
    pid = points[-1].pid
    born = next(point.at for point in points if point.pid == pid)
    begin = max(half, born + WARM_UP_SECONDS if pid else 0.0)
    late = [point for point in points if point.at >= begin and point.pid == pid]
    slope = None
    if len(late) >= FEWEST_POINTS:
        line = statistics.linear_regression([point.at for point in late], [point.value for point in late])
        slope = line.slope * 3600
    minutes = (late[-1].at - late[0].at) / 60 if late else 0.0
    return Row(name, values[0], statistics.median(values), max(values), values[-1], slope, minutes)


def markdown(rows: Sequence[Row]) -> str:
    """The table for people."""
    lines = [
        "| | start | median | most | end | growth per hour | over minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        slope = "" if row.slope is None else f"{row.slope:+.1f}"
        figures = " | ".join(f"{value:.0f}" for value in (row.start, row.median, row.most, row.end))
        lines.append(f"| {row.name} | {figures} | {slope} | {row.minutes:.0f} |")
    return "\n".join(lines)


def absurd(rows: Sequence[Row]) -> list[str]:
    """Growth that cannot be anything but a leak."""
    return [
        f"{row.name}: grows by {row.slope:.0f} per hour"
        for row in rows
        for word, limit in ABSURD.items()
        if word in row.name and row.name.startswith("w") and row.slope is not None and row.slope > limit
    ]
