"""The thread for blocking calls: one at a time, in order, and never in the way of the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from exec_service.notifiers.telegram_thread import OneThread

HANGS = """
import asyncio, threading
from exec_service.notifiers.telegram_thread import OneThread
async def main():
    thread = OneThread("hangs")
    begun = threading.Event()
    call = asyncio.create_task(thread.run(lambda: (begun.set(), threading.Event().wait())))
    await asyncio.to_thread(begun.wait)
    print(await thread.close(lambda: None, 0.05))
asyncio.run(main())
print("over")
"""


async def test_calls_return_and_raise_to_who_waits_in_one_thread() -> None:
    thread = OneThread("calls")
    first, second = await asyncio.gather(thread.run(threading.get_ident), thread.run(threading.get_ident))
    assert first == second != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    closed: list[int] = []
    assert await thread.close(lambda: closed.append(threading.get_ident()), 10)
    assert closed == [first]


async def test_one_that_was_never_used_has_nothing_to_close() -> None:
    assert await OneThread("idle").close(lambda: pytest.fail("nothing was opened"), 10)


async def test_a_call_that_was_given_up_before_its_turn_is_never_made() -> None:
    thread, release, made = OneThread("queue"), threading.Event(), []
    holding = asyncio.create_task(thread.run(lambda: release.wait(30)))
    given_up = asyncio.create_task(thread.run(lambda: made.append("given up")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    release.set()
    await holding
    await thread.run(lambda: made.append("next"))
    assert made == ["next"]
    assert await thread.close(lambda: None, 10)


def test_a_call_that_hangs_for_ever_does_not_keep_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["False", "over"]), done.stderr
