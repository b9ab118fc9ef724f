"""Where calls are made that take time: in a thread of one's own, or at once. It knows nothing of what they do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")

BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class _Job:
    """A call, and whoever waits for it."""

    call: Callable[[], Any]
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a call returned or raised."""

    value: Any = None
    error: BaseException | None = None


class Worker:
    """Runs calls one after the other, in the order in which they were made.

    Calls that pile up while it is busy go over to the thread together: changing threads costs more than most of them.
    A call whose caller has given up before it began is not made. `delivered` is called, on the loop, whenever calls
    have been made and their results are delivered.
    """

    def __init__(self, name: str, delivered: Callable[[], None] = lambda: None) -> None:
        self._delivered = delivered
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._waiting: list[_Job] = []
        self._is_busy = False
        self._thread: int | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result, or its exception."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(call, future))
        if not self._is_busy:
            self._hand_over()
        return await future

    async def aside(self, call: Callable[[], T]) -> T:
        """The same: all of them are made in the thread."""
        return await self.run(call)

    @property
    def is_inside(self) -> bool:
        """Whether this is the thread in which the calls are made."""
        return threading.get_ident() == self._thread

    def stop(self) -> None:
        """Take no more calls; those handed over finish."""
        self._executor.shutdown(wait=False)

    def _hand_over(self) -> None:
        jobs, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        self._is_busy = bool(jobs)
        if jobs:
            work = asyncio.get_running_loop().run_in_executor(self._executor, self._work, jobs)
            work.add_done_callback(lambda done: self._deliver(jobs, done))

    def _work(self, jobs: Sequence[_Job]) -> list[_Outcome]:
        self._thread = threading.get_ident()
        return [_outcome(job) for job in jobs]

    def _deliver(self, jobs: Sequence[_Job], done: asyncio.Future[list[_Outcome]]) -> None:
        for job, outcome in zip(jobs, done.result(), strict=True):
            if job.future.done():
                continue
            if outcome.error is not None:
                job.future.set_exception(outcome.error)
            else:
                job.future.set_result(outcome.value)
        self._delivered()
        self._hand_over()


class Inline:
    """The same for calls that block nobody: made where they are, since changing threads would cost more than they do.

    What takes longer all the same is `aside`.
    """

    def __init__(self, delivered: Callable[[], None]) -> None:
        self._delivered = delivered
        self._depth = 0

    @property
    def is_inside(self) -> bool:
        """Whether this is a call of ours."""
        return self._depth > 0

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result, or its exception; as with any venue, others have their turn before it is there."""
        self._depth += 1
        try:
            return call()
        finally:
            self._depth -= 1
            self._delivered()
            await asyncio.sleep(0)

    async def aside(self, call: Callable[[], T]) -> T:
        """The same, in a thread."""
        return await asyncio.to_thread(call)

    def stop(self) -> None:
        """There is nothing to stop."""


def _outcome(job: _Job) -> _Outcome:
    if job.future.cancelled():
        return _Outcome()
    try:
        return _Outcome(job.call())
    except BaseException as error:  # noqa: BLE001  # it is raised in whoever waits for the call
        return _Outcome(error=error)
