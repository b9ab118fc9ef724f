"""Threads of one's own for blocking calls; they know nothing of what they do.

They are daemons: what hangs in one of them can keep neither a session open nor the process alive. How many hang is
bounded by how many there are; a call that finds none free is withdrawn before it began, and that is known for certain.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Any


class Withdrawn(Exception):
    """The call was never begun, and never will be."""


class Overdue(Exception):
    """The call was begun, and has not returned in time: it goes on."""


class _State(Enum):
    WAITING = auto()
    BEGUN = auto()
    WITHDRAWN = auto()


class _Job:
    """One call. It begins or is withdrawn, never both, whichever thread decides first."""

    def __init__(self, call: Callable[[], Any], late: Callable[[], None] | None) -> None:
        self._call = call
        self._late = late
        self._lock = threading.Lock()
        self._state = _State.WAITING
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()

    def withdraw(self) -> bool:
        """Whether it is certain now that it never begins."""
        with self._lock:
            if self._state is _State.WAITING:
                self._state = _State.WITHDRAWN
            return self._state is _State.WITHDRAWN

    def work(self) -> None:
        with self._lock:
            if self._state is not _State.WAITING:
                return
            self._state = _State.BEGUN
        value: Any = None
        error: Exception | None = None
        try:
            value = self._call()
        except Exception as caught:  # noqa: BLE001  # it is raised in whoever waits for the call
            error = caught
        with suppress(RuntimeError):  # the loop is closed: there is nobody left to tell
            self._loop.call_soon_threadsafe(self._deliver, value, error)

    def _deliver(self, value: Any, error: Exception | None) -> None:
        if self.future.done():
            if self._late is not None:
                self._late()
        elif error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)

    def give_up(self) -> None:
        """Nobody will run it any more."""
        if self.withdraw() and not self.future.done():
            self.future.set_exception(Withdrawn())


class Crew:
    """So many threads, started when they are needed."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting: set[_Job] = set()
        self._threads = 0
        self._free = 0
        self._pending = 0
        self._lock = threading.Lock()
        self._stopped = False

    async def run(self, call: Callable[[], Any], seconds: float, late: Callable[[], None] | None = None) -> Any:
        """What the call returns or raises.

        `late` is called, in the loop, if nobody waits any more: when the call returns, or when it never begins.

        :raises Withdrawn: no thread was free in time, or the crew was stopped: it was not begun.
        :raises Overdue: it was begun, and has not returned in time.
        """
        if self._stopped:
            raise Withdrawn
        job = _Job(call, late)
        self._waiting.add(job)
        self._hand_over(job)
        try:
            async with asyncio.timeout(seconds):
                return await job.future
        except TimeoutError:
            if not job.future.done() or job.future.cancelled():
                raise (Withdrawn() if job.withdraw() else Overdue()) from None
            raise  # the call's own
        except asyncio.CancelledError:
            if job.withdraw() and late is not None:
                late()
            raise
        finally:
            self._waiting.discard(job)

    def stop(self) -> None:
        """Begin nothing more. What was begun goes on, and whoever waits for it gets its answer."""
        self._stopped = True
        for job in list(self._waiting):
            job.give_up()
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)

    def _hand_over(self, job: _Job) -> None:
        with self._lock:
            self._jobs.put(job)
            self._pending += 1
            if self._pending > self._free and self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._free += 1
            job = self._jobs.get()
            with self._lock:
                self._free -= 1
                self._pending -= job is not None
            if job is None:
                return
            job.work()
