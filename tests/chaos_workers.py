"""The worker processes of a run: started under ids of several kinds, killed, stopped, paused beyond their lease."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos_door import Door, Loss
from exec_service.stores import Document
from harness import PATIENCE, READY, Service, World, until

#: What a resumed worker's log has to say about what it refused; lines with these are shown.
TELLING = ("WARNING: ", "ERROR: ", "starts over", "is owned by another worker")
MOST_LINES = 12
#: Who works holds a lock for milliseconds.
LOCK_SECONDS = 1.0
FREEZES = 100
#: For how long at most a worker stays stopped after others have taken over.
LONGER_SECONDS = 12.0


@dataclass
class Worker:
    """A place for one worker's process: now this one, now that one, now none."""

    name: str
    service: Service | None = None

    @property
    def up(self) -> Service:
        """Its process. :raises RuntimeError: there is none."""
        if self.service is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.service

    @property
    def pid(self) -> int:
        """Of its process."""
        return self.up.process.pid


@dataclass
class Fleet:
    """All workers of a run. One has the ids of a service that is alone: now its own, now none."""

    world: World
    dice: random.Random
    door: Door
    count: int
    lease_seconds: float
    say: Callable[[str], None]
    workers: list[Worker] = field(default_factory=list)
    #: How many orders may have been lost between SUBMITTING and the wire, for each slot of an account that was killed.
    accounts_killed: int = 0
    kills: int = 0
    #: When something began from which the workers had to recover.
    recovers_since: float = 0.0
    _ids: int = 0

    def __post_init__(self) -> None:
        self.workers = [Worker(f"w{number}") for number in range(1, self.count + 1)]

    # ------------------------------------------------------------------ starting

    def start(self, worker: Worker) -> Service:
        """Start it: under its own id, under one of its own that it never had, or without one."""
        kind = self.dice.choices(("own", "another", "none"), (4, 3, 3))[0]
        self._ids += 1
        ids = {"own": worker.name, "another": f"{worker.name}-{self._ids}"}
        variables = {"WORKER_ID": ids[kind]} if kind in ids else {}
        worker.service = self.world.start(**variables, **self.door.variables, **self.clock_variables(worker))
        self.recovers_since = time.monotonic()
        return worker.service

    async def running(self, seconds: float = PATIENCE) -> list[Worker]:
        """All workers, ready; those that are down are started."""
        for worker in self.down:
            self.start(worker)
        await asyncio.gather(*(worker.up.ready(seconds) for worker in self.workers))
        return self.workers

    @property
    def down(self) -> list[Worker]:
        """Those that may be started."""
        return [worker for worker in self.workers if worker.service is None]

    def live(self) -> list[int]:
        """The processes that run."""
        return [worker.pid for worker in self.workers if worker.service is not None]

    def clock_variables(self, worker: Worker) -> dict[str, str]:
        """What makes the worker's clock depend on `set_clock`."""
        return {"CHAOS_CLOCK_FILE": str(self.world.directory / f"clock-{worker.name}")}

    def set_clock(self, worker: Worker, seconds: float) -> None:
        """Let its wall clock be wrong by so much from now on."""
        (self.world.directory / f"clock-{worker.name}").write_text(f"{seconds:g}")

    # ------------------------------------------------------------------ hurting

    def kill(self, worker: Worker, how: str | None = "killed") -> None:
        """kill -9; `how`: what its take-over counts as, if it is to be counted."""
        service, pid = worker.up, worker.pid
        if service.process.poll() is not None:
            raise AssertionError(f"worker {worker.name} ended by itself:\n{service.console[-3000:]}")
        accounts = self.door.accounts_of(pid)
        at = time.monotonic()
        service.kill()
        self._gone(worker, pid)
        self.kills += 1
        self.accounts_killed += max(1, len(accounts))
        if how is not None:
            self.door.losses.append(Loss(how, pid, at, accounts))

    async def stop(self, worker: Worker) -> None:
        """SIGTERM; it must end with 0."""
        service, pid = worker.up, worker.pid
        accounts = self.door.accounts_of(pid)
        at = time.monotonic()
        code = await asyncio.to_thread(service.stop)
        self._gone(worker, pid)
        if code != 0:
            raise AssertionError(f"worker {worker.name} was stopped and ended with {code}:\n{service.console[-3000:]}")
        self.door.losses.append(Loss("stopped", pid, at, accounts))

    def _gone(self, worker: Worker, pid: int) -> None:
        self.door.ended(pid, time.monotonic())
        worker.service = None

    async def taken_over(self, seconds: float) -> None:
        """Wait until every account that was lost last has a session of another process."""
        loss = self.door.losses[-1]

        async def all_served() -> bool:
            self.door.look()
            return all(self.door.successor(account_id, loss.pid, loss.at) is not None for account_id in loss.accounts)

        await until(all_served, seconds=seconds, what=lambda: f"another worker serves all of {loss.accounts}")

    async def pause(self, worker: Worker, beyond: Callable[[], object], seconds: float) -> None:
        """SIGSTOP, until others have taken all its accounts over, and a moment longer; SIGCONT, until it knows.

        `beyond` is called as soon as it is stopped.
        """
        service, pid = worker.up, worker.pid
        accounts = self.door.accounts_of(pid)
        said, begin = len(service.console), time.monotonic()
        await self._freeze(service)
        try:
            self.door.losses.append(Loss("paused", pid, begin, accounts))
            self.accounts_killed += max(1, len(accounts))
            rows = await self.in_doubt()
            self.door.being_sent[pid] |= {row["_id"] for row in rows if row["status"] == "SUBMITTING"}
            beyond()
            await self.taken_over(seconds)
            await asyncio.sleep(self.dice.uniform(0.5, min(LONGER_SECONDS, 2.5 * self.lease_seconds)))
        finally:
            service.process.send_signal(signal.SIGCONT)
        resumed = time.monotonic()
        # It finds out at its next heartbeat; until then its sessions stand.
        self.door.silences.append((pid, begin, resumed + self.lease_seconds))
        self.recovers_since = resumed

        async def knows() -> bool:
            return "starts over" in service.console[said:] or not accounts

        await until(knows, seconds=seconds, what=lambda: f"{worker.name} starts over:\n{service.console[said:]}")
        self.say(
            f"{worker.name} stopped for {resumed - begin:.1f} s with {len(accounts)} accounts, "
            f"all taken over meanwhile; it knew {time.monotonic() - resumed:.1f} s after it went on, and said:"
        )
        for line in telling(service.console[said:]):
            self.say(f"    {line}")

    async def _freeze(self, service: Service) -> None:
        """SIGSTOP, but not while it holds the lock of a SQLite file: the venue would not stop with a worker."""
        files = [self.world.book_file]
        if self.world.real is None:
            files += sorted(self.world.data.glob("*.sqlite3"))
        for _ in range(FREEZES):
            service.process.send_signal(signal.SIGSTOP)
            held = [file for file in files if file.exists() and await asyncio.to_thread(is_locked, file)]
            if not held:
                return
            service.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(self.dice.uniform(0.001, 0.02))
        raise AssertionError(f"whenever it was stopped, it held {held}")

    async def in_doubt(self) -> list[Document]:
        """The orders that the broker may have or may not have."""
        if self.world.real is None and not self.world.data.exists():
            return []
        return await self.world.load("orders", {"status": ["SUBMITTING", "UNKNOWN"]})

    async def stop_all(self) -> None:
        """Each stops in good order, one after the other, and hands over to those that are left."""
        for worker in reversed(self.workers):
            await self.stop(worker)
            if self.live():
                await self.taken_over(PATIENCE)

    def end(self) -> None:
        """Whatever still runs is killed."""
        for worker in self.workers:
            if worker.service is not None:
                with worker.service:
                    pass


def is_locked(file: Path) -> bool:
    """Whether somebody who does not go on holds the lock for writing into this SQLite file."""
    with contextlib.closing(sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


def telling(console: str) -> Sequence[str]:
    """The lines that say what was refused, given up or begun anew."""
    lines = [line for line in console.splitlines() if any(word in line for word in TELLING) or READY in line]
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"and {more} more"]
