"""How confirmations leave: in order per ordering key, and no key waits for another's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from exec_service import delivery, outbox
from exec_service.buses import BusUnavailable, Outgoing
from exec_service.outbox import Channel, Row

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def row(name: str, key: str) -> dict[str, Any]:
    return {
        "_id": name,
        "data": name,
        "attributes": {},
        "ordering_key": key,
        "signal_id": name,
        "created_at": NOW,
    }


class FakeBus:
    """Takes what it is told to take."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}
        self.tried: list[str] = []
        self.published: list[tuple[str, list[str]]] = []

    async def publish(self, _topic: str, messages: Sequence[Outgoing]) -> list[str]:
        (key,) = {message.ordering_key for message in messages}
        self.tried.append(key)
        if key in self.held:
            await self.held[key].wait()
        if key in self.refused:
            raise BusUnavailable(f"{key} is away")
        self.published.append((key, [message.data.decode() for message in messages]))
        return ["1"] * len(messages)

    def of(self, key: str) -> list[str]:
        return [name for other, names in self.published if other == key for name in names]


class Running:
    """A channel to a fake bus, and what it has marked."""

    def __init__(self) -> None:
        self.bus = FakeBus()
        self.channel: Channel = delivery.confirmations(self.bus, "topic")  # type: ignore[arg-type]  # it only publishes
        self.marked: list[str] = []

    async def __aenter__(self) -> Running:
        self._task = asyncio.create_task(self.channel.run(self._mark))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _mark(self, rows: Sequence[Row]) -> None:
        self.marked += [row["_id"] for row in rows]

    def add(self, *names: str) -> None:
        """Rows named by their key and a number."""
        for name in names:
            self.channel.add(row(name, name[0]))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # nothing tells when what others do has come about
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(delivery, "OURS_LONGEST_WAIT_SECONDS", 0.02)


async def test_what_waits_is_one_request_per_key_and_all_at_once() -> None:
    made = Running()
    made.bus.held = {"a": asyncio.Event()}
    made.add("a1", "b1", "a2", "b2")
    async with made:
        await until(lambda: made.bus.of("b") == ["b1", "b2"])
        assert made.bus.published == [("b", ["b1", "b2"])]
        made.bus.held["a"].set()
        await until(lambda: made.marked == ["a1", "b1", "a2", "b2"])
    assert made.bus.of("a") == ["a1", "a2"]
    assert sorted(made.bus.tried) == ["a", "b"]


async def test_a_key_that_fails_holds_up_no_other_and_repeats_nothing_of_theirs() -> None:
    made = Running()
    made.bus.refused = {"a"}
    made.add("b1", "a1", "b2")
    async with made:
        await until(lambda: made.bus.tried.count("a") >= 3)
        made.add("b3", "a2", "b4")
        await until(lambda: made.bus.of("b") == ["b1", "b2", "b3", "b4"])
        tries = made.bus.tried.count("a")
        await until(lambda: made.bus.tried.count("a") >= tries + 2)
        assert made.marked == ["b1"]  # what comes behind is marked in its turn
        made.bus.refused = set()
        await until(lambda: made.marked == ["b1", "a1", "b2", "b3", "a2", "b4"])
    assert made.bus.of("a") == ["a1", "a2"]
    assert made.bus.of("b") == ["b1", "b2", "b3", "b4"]


async def test_what_was_let_go_of_is_no_longer_known_as_published() -> None:
    """Its account may come back: then what its next owner has left undelivered is published by us."""
    made = Running()
    made.bus.refused = {"a"}
    made.add("a1", "b1")
    async with made:
        await until(lambda: made.bus.of("b") == ["b1"])
        await made.channel.let_go(lambda row: row["_id"] == "b1")
        tries = made.bus.tried.count("a")
        await until(lambda: made.bus.tried.count("a") >= tries + 2)
        made.add("b1")
        await until(lambda: made.bus.of("b") == ["b1", "b1"])
