"""Looks at TWS's lists: shared by all who asked before one began, and honest about what is missing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from exec_broker_ibkr.connection.line import Line, NoAnswer, RequestRefused
from exec_broker_ibkr.looking import Looker
from exec_core.errors import ConnectionFailed

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)


class Lists:
    """A line whose lists are answered when the test says so."""

    def __init__(self, **failures: Exception) -> None:
        self.failures = failures
        self.asked = 0
        self.is_asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    def __getattr__(self, name: str) -> Any:
        async def answer() -> Any:
            if name == "executions":
                self.asked += 1
                self.is_asked.set()
            await self.go.wait()
            if name in self.failures:
                raise self.failures[name]
            return NOW if name == "current_time" else ()

        return answer


def looker(lists: Lists) -> Looker:
    return Looker(cast(Line, lists), lambda: NOW)


async def test_who_asks_while_a_look_is_under_way_shares_the_next_one() -> None:
    lists = Lists()
    lists.go.clear()
    ours = looker(lists)
    first = asyncio.create_task(ours.look())
    await lists.is_asked.wait()
    later = [asyncio.create_task(ours.look()) for _ in range(16)]
    await asyncio.sleep(0)
    lists.go.set()
    await asyncio.gather(first, *later)
    assert lists.asked == 2
    assert await first is not await later[0]
    assert {id(await one) for one in later} == {id(await later[0])}


async def test_a_look_that_failed_is_shared_by_nobody() -> None:
    lists = Lists(executions=ConnectionFailed("the line is lost"))
    lists.go.clear()
    ours = looker(lists)
    waiting = [asyncio.create_task(ours.look()) for _ in range(3)]
    await asyncio.sleep(0)
    lists.go.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [ConnectionFailed] * 3


@pytest.mark.parametrize("name", ["completed_orders", "open_orders", "all_open_orders", "executions", "current_time"])
async def test_a_look_that_lacks_anything_is_not_whole(name: str) -> None:
    look = await looker(Lists(**{name: NoAnswer("nothing came")})).look()
    assert not look.is_whole
    assert len(look.missing) == 1
    assert look.time == NOW


async def test_what_is_refused_is_missing_too() -> None:
    look = await looker(Lists(completed_orders=RequestRefused(321, "The API interface is read-only"))).look()
    assert look.missing == ("completed orders",)
    assert not look.without("what IB has").is_whole


async def test_where_no_list_is_answered_nothing_was_asked() -> None:
    failures = {
        name: NoAnswer("nothing came") for name in ("completed_orders", "open_orders", "all_open_orders", "executions")
    }
    with pytest.raises(ConnectionFailed, match="answers no question"):
        await looker(Lists(**failures)).look()
