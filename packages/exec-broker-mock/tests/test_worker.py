"""The thread that makes blocking calls."""

from __future__ import annotations

import asyncio
import threading

import pytest
from exec_broker_mock.worker import Worker


@pytest.fixture
def worker():
    worker = Worker("test-worker")
    yield worker
    worker.stop()


async def test_calls_run_one_after_the_other_in_order_and_fail_each_for_itself(worker):
    made: list[int] = []

    def call(number: int) -> int:
        made.append(number)
        if number % 3 == 0:
            raise ValueError(number)
        return number

    results = await asyncio.gather(
        *(worker.run(lambda number=number: call(number)) for number in range(100)), return_exceptions=True
    )
    assert made == list(range(100))
    assert [result for result in results if isinstance(result, int)] == [n for n in range(100) if n % 3]
    assert all(isinstance(result, ValueError) for result in results[::3])


async def test_a_call_whose_caller_gave_up_before_it_began_is_not_made(worker):
    gate, made = threading.Event(), []
    first = asyncio.create_task(worker.run(gate.wait))
    await asyncio.sleep(0)
    second = asyncio.create_task(worker.run(lambda: made.append("second")))
    third = asyncio.create_task(worker.run(lambda: made.append("third")))
    await asyncio.sleep(0)
    second.cancel()
    gate.set()
    await asyncio.gather(first, third)
    assert made == ["third"]
    assert second.cancelled()
