"""Time that passes only while everybody waits, and threads that are none: a run takes the same course each time.

The event loop jumps to its next timer as soon as nothing is left to do, so that waits cost nothing. Whatever the
service and the mock venue would do in a thread is done at once; what they leave to chance follows from `random`'s seed.

Several processes run in one loop: what runs on behalf of one can be frozen where it stands, and thawed, as SIGSTOP and
SIGCONT do. Time goes on for a frozen process, and it finds out only then.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import secrets
import selectors
import sys
import time
import uuid
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

from exec_core.clock import utc_now

T = TypeVar("T")
Context = contextvars.Context

START = datetime(2030, 1, 7, 15, 0, tzinfo=UTC)
OURS = ("exec_core", "exec_service", "exec_broker_mock")
#: Looking for news costs nothing but computing time here, and what is looked for seldom is found late, not never.
POLLS = {
    "exec_service.buses.sqlite": 0.05,
    "exec_service.stores.sqlite": 0.05,
    "exec_broker_mock.session": 0.1,
}


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


class Process:
    """All that runs on behalf of one process: its tasks, their timers and what calls them back."""

    def __init__(self) -> None:
        self.is_frozen = False
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._due: list[_Step] = []

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A task of this process, and so is everything that comes of it."""
        context = contextvars.copy_context()
        context.run(_process.set, self)
        return asyncio.get_running_loop().create_task(work, name=name, context=context)

    def freeze(self) -> None:
        """Nothing of it goes on, from the next time that it waits."""
        self.is_frozen = True

    def thaw(self) -> None:
        """It goes on from where it stood, in the order in which things became due meanwhile."""
        self.is_frozen = False
        due, self._due = self._due, []
        for step in due:
            step.again()

    def defer(self, step: _Step) -> None:
        """Keep what has become due."""
        self._due.append(step)


_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _Step:
    """One callback of a process; what it cancels of what is due as well is not called, as in the loop itself."""

    __slots__ = ("_arguments", "_callback", "_context", "_process", "handle")
    handle: asyncio.Handle

    def __init__(self, process: Process, callback: Callable[..., Any], arguments: Any, context: Context) -> None:
        self._process, self._callback, self._arguments, self._context = process, callback, arguments, context

    def __call__(self) -> None:
        if self._process.is_frozen:
            self._process.defer(self)
        elif not self.handle.cancelled():
            self._callback(*self._arguments)

    def again(self) -> None:
        """Call it soon."""
        asyncio.get_running_loop().call_soon(self._replay)

    def _replay(self) -> None:
        self._context.run(self)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualTime) -> None:
        super().__init__(_Selector(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.seconds

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return super().run_in_executor(executor or InlineExecutor(), func, *args)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        context = contextvars.copy_context() if context is None else context
        process = context.get(_process)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        step = _Step(process, callback, args, context)
        step.handle = super().call_soon(step, context=context)
        return step.handle

    #: There are no threads.
    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        context = contextvars.copy_context() if context is None else context
        process = context.get(_process)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        step = _Step(process, callback, args, context)
        step.handle = handle = super().call_at(when, step, context=context)
        return handle

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task = super().create_task(coro, name=name, context=context)
        process = (contextvars.copy_context() if context is None else context).get(_process)
        if process is not None:
            process.tasks.add(task)
        return task


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
    for module_name, seconds in POLLS.items():
        module = sys.modules[module_name]
        replaced.append((module, "POLL_SECONDS", module.POLL_SECONDS))
        module.POLL_SECONDS = seconds  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, name, value in replaced:
            setattr(module, name, value)


def run(clock: VirtualTime, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, in virtual time."""
    with virtual_time(clock), asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
        return runner.run(work)
