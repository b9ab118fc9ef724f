"""Notices that the event loop stands still, and names who holds it.

A thread asks the loop for a sign of life a few times per second. Where none comes in time it looks at the stack of
the loop's thread: the innermost frame of a plugin's package is the one to blame.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FrameType, TracebackType
from typing import Self

DEFAULT_THRESHOLD_SECONDS = 1.0
LOOKS_PER_THRESHOLD = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Culprit:
    """Who holds the loop, and where."""

    who: str
    place: str


class LoopWatchdog:
    """Watches the running loop while it is entered. `plugins` maps a package's import name to its plugin's name."""

    def __init__(
        self,
        plugins: Mapping[str, str],
        threshold_seconds: float = DEFAULT_THRESHOLD_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._plugins = dict(plugins)
        self._threshold = threshold_seconds
        self._clock = clock
        self._interval = threshold_seconds / LOOKS_PER_THRESHOLD
        self._stopping = threading.Event()
        self._alive = threading.Event()
        self._answered_at = 0.0
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        """Begin to watch the loop that runs this."""
        if self._thread is not None:
            raise RuntimeError("a watchdog is entered once")
        self._thread = threading.Thread(
            target=self._watch,
            args=(asyncio.get_running_loop(), threading.get_ident()),
            name="event loop watchdog",
            daemon=True,
        )
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop watching. The thread ends within one look; nothing waits for it."""
        self._stopping.set()

    def _beat(self) -> None:
        self._answered_at = self._clock()
        self._alive.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        while not self._stopping.is_set():
            self._alive.clear()
            asked_at = self._clock()
            try:
                loop.call_soon_threadsafe(self._beat)
            except RuntimeError:  # the loop is closed: there is nothing left to watch
                return
            self._follow(asked_at, loop_thread)
            self._stopping.wait(self._interval)

    def _follow(self, asked_at: float, loop_thread: int) -> None:
        """Wait for one sign of life; say once that it is late, and once that it came."""
        looked_at, culprit, said = asked_at, None, False
        while not self._alive.wait(self._interval):
            if self._stopping.is_set():
                return
            now = self._clock()
            if self._stood_still(now - looked_at):
                asked_at, culprit = now, None
            looked_at = now
            seen = self._culprit(loop_thread)
            if self._alive.is_set():  # it has gone on meanwhile: what was seen may be innocent
                break
            culprit = seen
            blocked = now - asked_at
            if not said and blocked > self._threshold:
                said = True
                logger.warning(
                    "The event loop has been blocked for %.1f s by %s (%s)", blocked, culprit.who, culprit.place
                )
        if self._stood_still(self._clock() - looked_at) or culprit is None:
            return
        blocked = self._answered_at - asked_at
        if said:
            logger.warning("The event loop runs again after %.1f s; it was blocked by %s", blocked, culprit.who)
        elif blocked > self._threshold:
            logger.warning("The event loop was blocked for %.1f s by %s (%s)", blocked, culprit.who, culprit.place)

    def _stood_still(self, since_last_look: float) -> bool:
        """Whether this thread did not get to run either; then nothing that it sees now is to blame."""
        if since_last_look <= self._interval + self._threshold:
            return False
        logger.warning(
            "The whole process stood still for %.1f s: suspended, starved, or held by an extension module",
            since_last_look,
        )
        return True

    def _culprit(self, loop_thread: int) -> Culprit:
        frame = sys._current_frames().get(loop_thread)
        return blame(frame, self._plugins)


def blame(innermost: FrameType | None, plugins: Mapping[str, str]) -> Culprit:
    """Who is to blame for a stack: the innermost plugin in it, else its innermost module that is not Python's own."""
    frames = []
    while innermost is not None:
        frames.append(innermost)
        innermost = innermost.f_back
    for frame in frames:
        plugin = _plugin_of(_module(frame), plugins)
        if plugin is not None:
            return Culprit(f"the plugin {plugin}", _place(frame))
    for frame in frames:
        if _module(frame).partition(".")[0] not in sys.stdlib_module_names:
            return Culprit(f"the module {_module(frame)}", _place(frame))
    if frames:
        return Culprit(f"the module {_module(frames[0])}", _place(frames[0]))
    return Culprit("a thread that has ended", "no stack")


def _plugin_of(module: str, plugins: Mapping[str, str]) -> str | None:
    """The plugin whose package holds the module; the innermost package where one lies in another."""
    while module:
        if module in plugins:
            return plugins[module]
        module = module.rpartition(".")[0]
    return None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__") or "unknown")


def _place(frame: FrameType) -> str:
    """``package/module.py:41 in function``: the file as seen from outside its package."""
    path = Path(frame.f_code.co_filename)
    package = _module(frame).partition(".")[0]
    parts = path.parts
    if package in parts[:-1]:
        start = len(parts) - 1 - parts[::-1].index(package)
        shown = "/".join(parts[start:])
    else:
        shown = path.name
    return f"{shown}:{frame.f_lineno} in {frame.f_code.co_name}"
