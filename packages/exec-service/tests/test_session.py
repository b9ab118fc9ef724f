"""Since when the line of an account is up: what absence at the broker is measured from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, cast

from exec_broker_mock.broker import PLUGIN
from exec_core.broker import Availability, AvailabilityState, Broker
from exec_core.errors import AnnouncedBreak
from exec_core.guard import GuardedBroker
from exec_core.reports import Report
from exec_service.session import AccountSession

START = datetime(2026, 1, 5, 15, tzinfo=UTC)


class MendingBroker:
    """A broker that loses its line and mends it by itself; its reports go on meanwhile."""

    def __init__(self) -> None:
        self.now = Availability(AvailabilityState.READY, START - timedelta(seconds=1))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        return

    async def reports(self) -> AsyncIterator[Report]:
        await asyncio.Event().wait()
        yield cast(Any, None)

    def availability(self) -> Availability:
        return self.now


async def test_the_line_is_up_since_the_adapter_mended_it() -> None:
    broker = MendingBroker()
    session = AccountSession("acc", lambda: GuardedBroker(cast(Broker, broker), PLUGIN), _ignore, lambda: START)
    running = asyncio.create_task(session.run())
    try:
        assert session.linked_since is None
        await session.attempted.wait()
        assert session.linked_since == START
        broker.now = Availability(AvailabilityState.DISCONNECTED, START + timedelta(seconds=5), "the line broke")
        assert session.linked_since is None
        broker.now = Availability(AvailabilityState.READY, START + timedelta(seconds=9))
        assert session.linked_since == START + timedelta(seconds=9)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _ignore(_report: Report) -> None:
    return


class ClosedBroker(MendingBroker):
    """A venue that is closed as it announced."""

    async def __aenter__(self) -> Self:
        raise AnnouncedBreak("back at 00:45")


async def test_a_venue_that_is_closed_as_announced_is_no_venue_that_cannot_be_reached() -> None:
    session = AccountSession("acc", lambda: GuardedBroker(cast(Broker, ClosedBroker()), PLUGIN), _ignore, lambda: START)
    running = asyncio.create_task(session.run())
    try:
        await session.attempted.wait()
        assert session.availability() == Availability(AvailabilityState.ANNOUNCED_BREAK, START, "back at 00:45")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
