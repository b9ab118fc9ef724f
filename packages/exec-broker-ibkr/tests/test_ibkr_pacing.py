"""Who may write when: never too much, cancels first, and nobody waits for a line that is gone."""

from __future__ import annotations

import asyncio

import pytest
from exec_broker_ibkr.connection.pacing import Pacer, Urgency
from exec_core.errors import ConnectionFailed
from ibkr_clock import Clock, settle


async def all_of(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait_for(asyncio.gather(*tasks), 60)


class Field:
    """A pacer of 3 messages a second, and who has had a turn."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pacer = Pacer(self.clock, messages=3, seconds=1.0)  # type: ignore[arg-type]
        self.served: list[str] = []

    def ask(self, name: str, urgency: Urgency = Urgency.ORDER) -> asyncio.Task[None]:
        async def wait() -> None:
            await self.pacer.turn(urgency)
            self.served.append(name)

        return asyncio.create_task(wait())


async def test_no_more_than_the_limit_in_any_second() -> None:
    field = Field()
    tasks = [field.ask(str(number)) for number in range(7)]
    await settle()
    assert field.served == ["0", "1", "2"]
    await field.clock.move(0.9375)
    assert len(field.served) == 3
    await field.clock.move(0.0625)
    assert field.served == ["0", "1", "2", "3", "4", "5"]
    await field.clock.move(1.0)
    await all_of(tasks)
    assert field.served == [str(number) for number in range(7)]


async def test_the_second_slides() -> None:
    field = Field()
    tasks = [field.ask("a")]
    await settle()
    await field.clock.move(0.875)
    tasks += [field.ask(name) for name in "bcd"]
    await settle()
    assert field.served == ["a", "b", "c"]
    await field.clock.move(0.125)  # the first is a second old, the others are not
    assert field.served == ["a", "b", "c", "d"]
    tasks.append(field.ask("e"))
    await field.clock.move(0.125)
    assert "e" not in field.served
    await field.clock.move(0.75)
    await all_of(tasks)


async def test_cancels_overtake_orders_and_orders_requests() -> None:
    field = Field()
    tasks = [field.ask(str(number)) for number in range(3)]
    await settle()
    tasks += [field.ask("request", Urgency.REQUEST), field.ask("first"), field.ask("second")]
    tasks += [field.ask("cancel", Urgency.CANCEL)]
    await settle()
    assert len(field.served) == 3
    await field.clock.move(1.0)
    assert field.served[3:] == ["cancel", "first", "second"]
    await field.clock.move(1.0)
    await all_of(tasks)
    assert field.served[-1] == "request"


async def test_what_goes_out_without_waiting_counts() -> None:
    field = Field()
    field.pacer.take()
    field.pacer.take()
    tasks = [field.ask("a"), field.ask("b")]
    await settle()
    assert field.served == ["a"]
    await field.clock.move(1.0)
    await all_of(tasks)


async def test_who_is_cancelled_while_waiting_takes_no_turn() -> None:
    field = Field()
    tasks = [field.ask(str(number)) for number in range(4)]
    await settle()
    last = [field.ask("a"), field.ask("b"), field.ask("c")]
    await settle()
    tasks[3].cancel()
    await field.clock.move(1.0)
    assert field.served == ["0", "1", "2", "a", "b", "c"]
    await asyncio.wait_for(asyncio.gather(*tasks, *last, return_exceptions=True), 60)
    assert tasks[3].cancelled()


async def test_the_end_of_the_line_reaches_everybody_who_waits() -> None:
    field = Field()
    tasks = [field.ask(str(number)) for number in range(5)]
    await settle()
    field.pacer.end("the line is gone")
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    assert field.served == ["0", "1", "2"]
    assert [str(result) for result in results[3:]] == ["the line is gone"] * 2
    assert all(isinstance(result, ConnectionFailed) for result in results[3:])
    assert all(handle.is_cancelled for _, _, handle in field.clock.alarms)
    with pytest.raises(ConnectionFailed):
        await field.pacer.turn(Urgency.CANCEL)


async def test_a_turn_that_was_given_is_void_when_the_line_ends_before_it_is_taken() -> None:
    field = Field()
    tasks = [field.ask(str(number)) for number in range(4)]
    await settle()
    field.clock.ring_after(1.0)  # the last one has its turn now, and has not run
    field.pacer.end("the line is gone")
    with pytest.raises(ConnectionFailed):
        await tasks[3]
    assert field.served == ["0", "1", "2"]
    await all_of(tasks[:3])


async def test_a_line_that_takes_no_bytes_gives_no_turns() -> None:
    field = Field()
    tasks = [field.ask(str(number)) for number in range(4)]
    await settle()
    field.clock.ring_after(1.0)  # the last one has its turn now, and has not run
    field.pacer.hold()
    tasks.append(field.ask("a"))
    await settle()
    assert field.served == ["0", "1", "2"]
    field.pacer.release()
    await all_of(tasks)
    assert field.served == ["0", "1", "2", "a", "3"] or field.served == ["0", "1", "2", "3", "a"]


async def test_a_line_that_takes_no_bytes_and_ends() -> None:
    field = Field()
    field.pacer.hold()
    task = field.ask("a")
    await settle()
    field.pacer.end("gone")
    with pytest.raises(ConnectionFailed, match="gone"):
        await task
