"""Plugin code under a time limit: on an event loop in a thread of its own, where it holds up nobody if it blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: How much longer than its time a call may take to let go of what it holds.
GRACE_SECONDS: Final = 5.0


class PluginCrash(Exception):
    """The code ended in a way that must not reach the program: it asked to exit, or cancelled itself."""


class PluginThreads:
    """Runs what plugins do, each call for `seconds` at most.

    Code that does not even end when it is cancelled is left behind in its thread. No such thread is a daemon, nor are
    those that the plugin starts from there: so it can be told from outside that one is left, see ``cli/doctor.py``.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def run(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`.

        :raises TimeoutError: it took too long.
        :raises Exception: whatever it raises.
        """
        outcome: Future[T] = Future()
        outcome.set_running_or_notify_cancel()  # from now on it has an outcome, whether or not anybody waits for it

        def body() -> None:
            try:
                outcome.set_result(asyncio.run(_within(work, self.seconds)))
            except Exception as error:  # noqa: BLE001  # handed on
                outcome.set_exception(error)
            except BaseException as error:  # noqa: BLE001  # foreign code: what it raises must not end the program
                crash = PluginCrash(described(error))
                crash.__cause__ = error
                outcome.set_exception(crash)

        threading.Thread(target=body, name=f"doctor {name}").start()
        async with asyncio.timeout(self.seconds + GRACE_SECONDS):
            return await asyncio.wrap_future(outcome)


async def _within(work: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
    async with asyncio.timeout(seconds):
        return await work()


def described(error: BaseException) -> str:
    """The error in a few words."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
