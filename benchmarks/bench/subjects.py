"""What is measured: the service as users run it, and the reference; each a process on the same mongod and emulator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from exec_service.buses import pubsub_setup
from harness import (
    CONFIRMATIONS_SUBSCRIPTION,
    CONFIRMATIONS_TOPIC,
    ORDERS_SUBSCRIPTION,
    ORDERS_TOPIC,
    PATIENCE,
    Real,
    Service,
    World,
)
from keeper import wait_until
from pymongo import MongoClient

from bench import broker
from bench.reference import READY

BENCHMARKS = Path(__file__).parents[1]
#: When each order was there, and when the broker was called for it, in seconds; by signal.
Times = dict[str, tuple[float, float]]


class Subject(Protocol):
    """A process that takes orders and confirms them."""

    name: str
    real: Real

    @property
    def pid(self) -> int:
        """Its process."""
        ...

    async def start(self) -> None:
        """Return when it takes orders."""
        ...

    def stop(self) -> None:
        """In good order."""
        ...

    def kill(self) -> None:
        """At once, if it still runs."""
        ...

    def times(self) -> Times:
        """Known when it has stopped."""
        ...


async def set_up_bus(project: str) -> None:
    """Topics and subscriptions as the service's own `setup` makes them."""
    await pubsub_setup.set_up(
        project,
        orders_topic=ORDERS_TOPIC,
        orders_subscription=ORDERS_SUBSCRIPTION,
        confirmations_topic=CONFIRMATIONS_TOPIC,
        confirmations_subscription=CONFIRMATIONS_SUBSCRIPTION,
    )


@dataclass
class BenchWorld(World):
    """Accounts of one broker plugin; optionally with the packages of another tree, to compare with."""

    @property
    def options(self) -> tuple[str, ...]:
        return ()


def source_path(sources: Path | None) -> str:
    """What PYTHONPATH is to say, so that the packages of `sources` (a checkout) are run instead of the installed."""
    folders = [] if sources is None else sorted(sources.glob("packages/*/src"))
    return os.pathsep.join([*map(str, folders), str(BENCHMARKS)])


@dataclass
class ServiceSubject:
    """`exec-service run`. With `timed`, each call of the broker is noted; `durable_book`: the venue's book is a file.

    The venue's book is in memory otherwise: it is the service that is measured.
    """

    real: Real
    directory: Path
    accounts: int = 3
    workers: int = 1
    sources: Path | None = None
    timed: bool = True
    durable_book: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    name: str = "service"
    _service: Service | None = None

    def __post_init__(self) -> None:
        notes, plugin = self.directory / "notes", self.directory / "plugin"
        notes.mkdir(parents=True)
        broker.install(plugin)
        accounts = {
            f"acc_{number}": {"broker": "timed", "mode": "paper"} if self.timed else {"broker": "mock"}
            for number in range(self.accounts)
        }
        variables = {
            "ACCOUNTS": json.dumps(accounts),
            "CONSOLE_NOTIFIER_ENABLED": "false",
            broker.VARIABLE: str(notes),
            "PYTHONPATH": os.pathsep.join([source_path(self.sources), str(plugin)]),
            "WORKER_ID": "bench",
            **self.variables,
        }
        if not self.durable_book:
            variables["MOCK_BROKER_STATE_FILE"] = ""
        self.world = BenchWorld(self.directory, variables, self.real)

    @property
    def pid(self) -> int:
        return self.running.process.pid

    @property
    def running(self) -> Service:
        """Its process. :raises RuntimeError: it was not started."""
        if self._service is None:
            raise RuntimeError("the service does not run")
        return self._service

    async def start(self) -> None:
        arguments = ("--workers", str(self.workers)) if self.workers > 1 else ()
        self._service = Service(self.world, arguments=arguments)
        if self.workers > 1:
            await self._all_ready()
        else:
            await self._service.ready()

    async def _all_ready(self) -> None:
        """Every account has an owner, and none is about to be handed on."""
        with MongoClient[dict[str, Any]](self.real.mongodb_uri) as client:
            rows = client[self.real.database]["accounts"]

            def shared() -> bool:
                owners = [row.get("worker_id") for row in rows.find({})]
                fewest = self.accounts // self.workers
                counts = [owners.count(owner) for owner in set(owners) - {None}]
                return None not in owners and len(counts) == self.workers and min(counts) >= fewest

            await asyncio.to_thread(wait_until, shared, PATIENCE, "every account has its owner")

    def stop(self) -> None:
        if self.running.stop() != 0:
            raise RuntimeError(f"the service did not end well: {self.running.console[-2000:]}")

    def kill(self) -> None:
        if self._service is not None and self._service.process.poll() is None:
            self._service.kill()

    def times(self) -> Times:
        called = {}
        for file in (self.directory / "notes").glob("placed-*.txt"):
            called |= dict(_lines(file))
        with MongoClient[dict[str, Any]](self.real.mongodb_uri, tz_aware=True) as client:
            rows = client[self.real.database]["orders"].find({}, {"signal_id": 1, "received_at": 1})
            return {
                row["signal_id"]: (row["received_at"].timestamp(), float(called[row["_id"]][0]))
                for row in rows
                if row["_id"] in called
            }


def _lines(file: Path) -> Iterator[tuple[str, Sequence[str]]]:
    for line in file.read_text().splitlines():
        name, *values = line.split()
        yield name, values


@dataclass
class ReferenceSubject:
    """`bench.reference`."""

    real: Real
    directory: Path
    name: str = "reference"
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the reference does not run")
        return self._process

    @property
    def _console(self) -> Path:
        return self.directory / "console.txt"

    @property
    def _notes(self) -> Path:
        return self.directory / "notes.txt"

    async def start(self) -> None:
        self._start()
        await asyncio.to_thread(wait_until, self._is_ready, PATIENCE, "the reference is ready")

    def _start(self) -> None:
        real = self.real
        arguments = [real.mongodb_uri, real.database, real.emulator, real.project, str(self._notes)]
        with self._console.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.reference", *arguments],
                env={**os.environ, "PYTHONPATH": str(BENCHMARKS)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _is_ready(self) -> bool:
        if self._running.poll() is not None:
            raise RuntimeError(f"the reference ended: {self._console.read_text()[-3000:]}")
        return READY in self._console.read_text()

    def stop(self) -> None:
        self._running.send_signal(signal.SIGTERM)
        if self._running.wait(timeout=PATIENCE) != 0:
            raise RuntimeError(f"the reference did not end well: {self._console.read_text()[-3000:]}")

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=PATIENCE)

    def times(self) -> Times:
        return {name: (float(values[0]), float(values[1])) for name, values in _lines(self._notes)}


def place_of(real: Real, name: str) -> Real:
    """A database and a project of its own on the same servers."""
    return replace(real, database=f"bench_{name}", project=f"bench-{name}".replace("_", "-"))


def fresh(directory: Path, name: str) -> Path:
    """A directory that is not there yet."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=directory)) / "world"
