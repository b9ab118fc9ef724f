"""Time that passes only while everybody waits, and threads that are none: a run takes the same course each time.

The event loop jumps to its next timer as soon as nothing is left to do, so that waits cost nothing. Whatever the
service and the mock venue would do in a thread is done at once; what they leave to chance follows from `random`'s seed.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import selectors
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

from exec_core.clock import utc_now

T = TypeVar("T")

START = datetime(2030, 1, 7, 15, 0, tzinfo=UTC)
OURS = ("exec_core", "exec_service", "exec_broker_mock")


class VirtualTime:
    """The clock; it can stand in for the module `time`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        """The present, aware, in UTC."""
        return START + timedelta(seconds=self.seconds)

    def time(self) -> float:
        """As `time.time`."""
        return START.timestamp() + self.seconds

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """As `time.sleep`: who waits for a lock waits in vain, but not for ever."""
        self.seconds += seconds


class InlineExecutor:
    """An executor that does what it is given at once, where it stands."""

    def __init__(self, *_: object, **__: object) -> None:
        """No threads: how many were wished for does not matter."""

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """The future of the call, done already."""
        future: Future[T] = Future()
        try:
            future.set_result(call(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, **_: object) -> None:
        """Nothing is under way."""


class _Selector(selectors.DefaultSelector):
    """Looks at files without waiting for them: the time that was to be waited for has passed instead."""

    def __init__(self, clock: VirtualTime) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("everything waits, and nothing will ever happen")
            self._clock.seconds += max(0.0, timeout)
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualTime) -> None:
        super().__init__(_Selector(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.seconds

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return super().run_in_executor(executor or InlineExecutor(), func, *args)


@contextmanager
def virtual_time(clock: VirtualTime) -> Iterator[None]:
    """All of our packages that are imported read this clock, start no threads, and draw their ids from `random`."""
    stand_ins: dict[int, Any] = {
        id(time): clock,
        id(utc_now): clock.now,
        id(ThreadPoolExecutor): InlineExecutor,
        id(uuid): SimpleNamespace(uuid4=lambda: uuid.UUID(int=random.getrandbits(128))),
        id(secrets): SimpleNamespace(token_bytes=random.randbytes),
    }
    replaced: list[tuple[Any, str, Any]] = []
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] in OURS:
            for name, value in list(vars(module).items()):
                if id(value) in stand_ins:
                    replaced.append((module, name, value))
                    setattr(module, name, stand_ins[id(value)])
    try:
        yield
    finally:
        for module, name, value in replaced:
            setattr(module, name, value)


def run(clock: VirtualTime, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, in virtual time."""
    with virtual_time(clock), asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
        return runner.run(work)
