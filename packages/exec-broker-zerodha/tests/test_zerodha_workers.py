"""Threads of one's own: a call is begun or withdrawn, never both, and what hangs keeps nobody."""

from __future__ import annotations

import asyncio
import threading

import pytest
from exec_broker_zerodha.workers import Crew, Overdue, Withdrawn


async def test_a_call_returns_or_raises() -> None:
    crew = Crew("test", 2)
    assert await crew.run(lambda: 7, 60) == 7
    with pytest.raises(ZeroDivisionError):
        await crew.run(lambda: 1 / 0, 60)
    with pytest.raises(TimeoutError, match="its own"):
        await crew.run(_times_out, 60)
    crew.stop()


def _times_out() -> None:
    raise TimeoutError("its own")


async def test_what_finds_no_thread_is_withdrawn_for_certain() -> None:
    crew, gate, calls, late = Crew("test", 1), threading.Event(), [], []
    hanging = asyncio.create_task(crew.run(gate.wait, 60))
    await asyncio.sleep(0)
    with pytest.raises(Withdrawn):
        await crew.run(lambda: calls.append(1), 0.01)
    given_up = asyncio.create_task(crew.run(lambda: calls.append(2), 60, lambda: late.append(2)))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert late == [2], "nothing is under way, and that is told"
    gate.set()
    assert await hanging is True
    assert await crew.run(lambda: "after them", 60) == "after them"
    assert calls == []
    crew.stop()


async def test_what_was_begun_goes_on_and_its_end_is_told() -> None:
    crew, gate, late = Crew("test", 1), threading.Event(), asyncio.Event()
    with pytest.raises(Overdue):
        await crew.run(gate.wait, 0.05, late.set)
    assert not late.is_set()
    gate.set()
    async with asyncio.timeout(60):
        await late.wait()
    crew.stop()


async def test_stopping_withdraws_what_waits_and_leaves_what_was_begun() -> None:
    crew, gate, began = Crew("test", 1), threading.Event(), threading.Event()

    def hang() -> bool:
        began.set()
        return gate.wait(60)

    begun = asyncio.create_task(crew.run(hang, 60))
    waiting = asyncio.create_task(crew.run(lambda: None, 60))
    await asyncio.get_running_loop().run_in_executor(None, began.wait, 60)
    crew.stop()
    with pytest.raises(Withdrawn):
        await waiting
    with pytest.raises(Withdrawn):
        await crew.run(lambda: None, 60)
    gate.set()
    assert await begun is True


async def test_there_are_no_more_threads_than_allowed_and_as_many_as_needed() -> None:
    crew, gate = Crew("test-bound", 3), threading.Barrier(4)
    calls = [asyncio.create_task(crew.run(lambda: gate.wait(60), 60)) for _ in range(3)]
    # All three meet at the barrier, with this test: so three threads run at once.
    await asyncio.get_running_loop().run_in_executor(None, lambda: gate.wait(60))
    await asyncio.gather(*calls)
    for _ in range(20):
        await crew.run(lambda: None, 60)
    assert sum(thread.name.startswith("test-bound") for thread in threading.enumerate()) == 3
    crew.stop()
    async with asyncio.timeout(60):
        while any(thread.name.startswith("test-bound") for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_what_hangs_keeps_no_process() -> None:
    async def run() -> bool:
        crew, gate = Crew("test-daemon", 1), threading.Event()
        with pytest.raises(Overdue):
            await crew.run(gate.wait, 0.05)
        daemons = [thread.daemon for thread in threading.enumerate() if thread.name.startswith("test-daemon")]
        gate.set()
        crew.stop()
        return daemons == [True]

    assert asyncio.run(run())
