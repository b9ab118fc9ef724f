"""Brokers that enter, leave or keep a session wrongly, or whose record cannot be relied on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from exec_broker_mock.broker import CAPABILITIES
from exec_core.broker import Availability, AvailabilityState, Placed
from exec_core.errors import AuthenticationFailed, ConnectionFailed, NotSent
from exec_core.orders import Order, TimeInForce
from pydantic import field_validator

from teeth.wrapping import GivenSettings, Remembering, Wrapper, broken

# The record


@broken(
    20,
    210,
    fault="declares a default time in force that is not among those it declares",
    capabilities=replace(CAPABILITIES, times_in_force=frozenset({TimeInForce.GTC, TimeInForce.IOC})),
)
class DeclaresNoDefault(Wrapper):
    pass


class TalkativeSettings(GivenSettings):
    """The mock's settings, with a validator that shows what it refuses."""

    @field_validator("seed", mode="before")
    @classmethod
    def _check_seed(cls, seed: object) -> object:
        if not isinstance(seed, int):
            raise ValueError(f"the seed must be a number, got {seed}")
        return seed


@broken(30, fault="shows a wrong setting's value in the error about it", settings=TalkativeSettings)
class ShowsAWrongValue(Wrapper):
    pass


# Entering and leaving


@broken(100, 810, fault="says since when it is ready without a time zone")
class GivesNaiveTimes(Wrapper):
    def availability(self) -> Availability:
        state = super().availability()
        return Availability(state.state, state.since.replace(tzinfo=None), state.reason)


@broken(110, fault="waits, when it is left, for somebody to hear what became of its orders")
class HangsOnLeaving(Wrapper):
    is_heard = False
    has_sent = False

    async def place_order(self, order: Order) -> Placed:
        placed = await super().place_order(order)
        self.has_sent = True
        return placed

    async def reports(self):
        self.is_heard = True
        async for report in super().reports():
            yield report

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self.has_sent and not self.is_heard:
            await asyncio.Event().wait()


@broken(120, fault="raises when it is left twice")
class LeavesOnce(Wrapper):
    is_left = False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self.is_left:
            raise RuntimeError("not connected")
        self.is_left = True
        await super().__aexit__(kind, error, trace)


@broken(130, fault="calls a venue that is out of reach a refused login, so that a person is called for nothing")
class CallsABreakALogin(Wrapper):
    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except ConnectionFailed as error:
            raise AuthenticationFailed(str(error)) from error


@broken(140, fault="can be entered although the login was refused, and says that it is ready")
class EntersWithoutALogin(Wrapper):
    is_refused = False

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except AuthenticationFailed:
            self.is_refused = True
            return self

    def availability(self) -> Availability:
        if self.is_refused:
            return Availability(AvailabilityState.READY, datetime.now(UTC))
        return super().availability()


@broken(
    150,
    170,
    fault="keeps an order that it called not sent, and sends it when the line is back",
)
class SendsLater(Remembering):
    #: By account: such a queue outlives the session.
    kept: dict[str, list[Order]] = {}  # noqa: RUF012

    async def place_order(self, order: Order) -> Placed:
        kept = self.kept.setdefault(self.config.account_id, [])
        try:
            placed = await super().place_order(order)
        except NotSent:
            kept.append(order)
            raise
        while kept:
            await self.inner.place_order(kept.pop())
        return placed


@broken(180, fault="waits, when it is left, for the answer to an order")
class WaitsForAnswersOnLeaving(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.under_way = 0
        self.is_idle = asyncio.Event()
        self.is_idle.set()

    async def place_order(self, order: Order) -> Placed:
        self.under_way += 1
        self.is_idle.clear()
        try:
            return await super().place_order(order)
        finally:
            self.under_way -= 1
            if not self.under_way:
                self.is_idle.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.is_idle.wait()
        await super().__aexit__(kind, error, trace)
