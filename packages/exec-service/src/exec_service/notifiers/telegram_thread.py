"""One thread for calls that block, which never holds up the end of the process.

The threads of `concurrent.futures` are waited for when the interpreter ends: one call that hangs would hang the stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class OneThread:
    """Runs one call after the other. The thread begins with the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. Cancelled before its turn it is never made; after that, nobody hears of it."""
        future = self._submit(call)
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        return await asyncio.wrap_future(future)

    async def close(self, last: Callable[[], None], seconds: float) -> bool:
        """Make a last call and end the thread. False: it hangs for longer than that, and is left to itself."""
        if self._thread is None:
            return True
        self._thread = None
        loop, made = asyncio.get_running_loop(), asyncio.Event()

        def tell(_future: Future[None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(made.set)

        future = self._submit(last)
        self._jobs.put(None)
        future.add_done_callback(tell)
        try:
            async with asyncio.timeout(seconds):
                await made.wait()
        except TimeoutError:
            return False
        future.result()
        return True

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._jobs.put((future, call))
        return future

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits
                    future.set_exception(error)
                else:
                    future.set_result(result)
            # Waiting for the next call must not keep this one alive.
            del future, call, job
