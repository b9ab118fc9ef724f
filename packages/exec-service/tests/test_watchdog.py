"""The watchdog sees a loop that stands still, and names the plugin that holds it."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from exec_service.watchdog import Culprit, LoopWatchdog

DEADLINE = 60.0

BLOCKING_MODULE = '''
"""A plugin that makes a blocking call on the loop."""

import threading


def place_order(released: threading.Event) -> bool:
    return _wait(released)


def _wait(released: threading.Event) -> bool:
    return released.wait(30)
'''
LINE_OF_THE_WAIT = 12


class Heard(logging.Handler):
    """Keeps the watchdog's texts, and says when one of them begins as expected."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self.changed:
            self.texts.append(record.getMessage())
            self.changed.notify_all()

    def wait_for(self, part: str) -> str:
        with self.changed:
            assert self.changed.wait_for(lambda: any(part in text for text in self.texts), DEADLINE), self.texts
            return next(text for text in self.texts if part in text)


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    logger = logging.getLogger("exec_service.watchdog")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def blocking_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    package = tmp_path / "exec_broker_blocking"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "session.py").write_text(BLOCKING_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("exec_broker_blocking.session")
    for name in [name for name in sys.modules if name.startswith("exec_broker_blocking")]:
        del sys.modules[name]


def release_when(heard: Heard, part: str) -> threading.Event:
    """An event that another thread sets once the watchdog has said `part`."""
    released = threading.Event()

    def wait() -> None:
        try:
            heard.wait_for(part)
        finally:
            released.set()

    threading.Thread(target=wait, daemon=True).start()
    return released


async def heard_later(heard: Heard, part: str) -> str:
    return await asyncio.to_thread(heard.wait_for, part)


async def test_the_plugin_that_blocks_is_named_with_its_file_line_and_function(
    heard: Heard, blocking_plugin: ModuleType
) -> None:
    released = threading.Event()
    watchdog = LoopWatchdog({"exec_broker_blocking": "blocking"}, threshold_seconds=0.2)
    look, looks_after = watchdog._culprit, 0

    def counted(loop_thread: int) -> Culprit:
        """Let go only after some more looks: the stall must not be said at each of them."""
        nonlocal looks_after
        looks_after += bool(heard.texts)
        if looks_after == 3:
            released.set()
        return look(loop_thread)

    watchdog._culprit = counted  # type: ignore[method-assign]
    async with watchdog:
        blocking_plugin.place_order(released)
        text = await heard_later(heard, "runs again")
    said = [entry for entry in heard.texts if "has been blocked" in entry]
    assert len(said) == 1, "one stall is said once"
    assert said[0].endswith(f"by the plugin blocking (exec_broker_blocking/session.py:{LINE_OF_THE_WAIT} in _wait)")
    assert text.endswith("it was blocked by the plugin blocking")


async def test_code_of_nobody_is_named_by_its_module(heard: Heard, blocking_plugin: ModuleType) -> None:
    released = release_when(heard, "has been blocked")
    async with LoopWatchdog({"exec_broker_other": "other"}, threshold_seconds=0.2):
        blocking_plugin.place_order(released)
    assert "by the module exec_broker_blocking.session (exec_broker_blocking/session.py:" in heard.texts[0]


async def test_a_second_stall_is_said_again(heard: Heard, blocking_plugin: ModuleType) -> None:
    async with LoopWatchdog({"exec_broker_blocking": "blocking"}, threshold_seconds=0.2):
        for _ in range(2):
            heard.texts.clear()
            blocking_plugin.place_order(release_when(heard, "has been blocked"))
            await heard_later(heard, "runs again")


async def test_a_loop_that_waits_or_works_in_small_steps_is_not_blamed(heard: Heard) -> None:
    # Only beats count, not the time: forty of them were answered while the loop idled and worked.
    watchdog = LoopWatchdog({}, threshold_seconds=0.04)
    beats = 0
    enough = asyncio.Event()
    beat = watchdog._beat

    def counted() -> None:
        nonlocal beats
        beats += 1
        beat()
        if beats == 40:
            enough.set()

    watchdog._threshold = DEADLINE  # a busy machine may starve us for longer than the interval
    watchdog._beat = counted  # type: ignore[method-assign]
    async with watchdog:
        await asyncio.wait_for(enough.wait(), DEADLINE)
    assert heard.texts == []


async def test_a_process_that_was_stopped_blames_nobody(heard: Heard, blocking_plugin: ModuleType) -> None:
    """The clock leaps between two looks, as after a suspended machine wakes: the frame seen then is innocent."""
    leaps = iter([0.0, 0.0, 3600.0])
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += next(leaps, 0.0)
        return now

    released = release_when(heard, "stood still")
    async with LoopWatchdog({"exec_broker_blocking": "blocking"}, threshold_seconds=0.2, clock=clock):
        blocking_plugin.place_order(released)
    assert any("The whole process stood still for 3600.0 s" in text for text in heard.texts)
    assert not any("blocking" in text for text in heard.texts)


async def test_leaving_ends_the_thread() -> None:
    async with LoopWatchdog({}, threshold_seconds=0.05) as watchdog:
        thread = watchdog._thread
    assert thread is not None
    await asyncio.to_thread(thread.join, DEADLINE)
    assert not thread.is_alive()


async def test_a_watchdog_is_entered_once() -> None:
    async with LoopWatchdog({}) as watchdog:
        with pytest.raises(RuntimeError):
            await watchdog.__aenter__()
