"""Brokers that enter, leave or keep a session wrongly, or whose record cannot be relied on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from exec_broker_mock.broker import CAPABILITIES
from exec_core.broker import Availability, AvailabilityState, Placed
from exec_core.errors import AuthenticationFailed, ConnectionFailed, ExecError, NotSent
from exec_core.orders import Order, TimeInForce
from pydantic import field_validator

from teeth.wrapping import GivenSettings, Remembering, Wrapper, broken

# The record


@broken(
    20,
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


@broken(40, fault="begins to connect when it is made, before it is entered")
class ConnectsWhenMade(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        try:
            self.begun = asyncio.get_running_loop().create_task(asyncio.sleep(0), name="connecting")
        except RuntimeError:
            self.begun = None


# Entering and leaving


@broken(100, 810, fault="says since when it is ready without a time zone")
class GivesNaiveTimes(Wrapper):
    def availability(self) -> Availability:
        state = super().availability()
        return Availability(state.state, state.since.replace(tzinfo=None), state.reason)


@broken(110, fault="waits, when it is left, for the end of a stream of reports to which nobody listens")
class HangsOnLeaving(Wrapper):
    is_heard = False

    async def reports(self):
        self.is_heard = True
        async for report in super().reports():
            yield report

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if not self.is_heard and kind is None:
            await asyncio.Event().wait()


@broken(
    110,
    490,
    620,
    750,
    fault="cancels its open orders when it is left",
    stands_for="client libraries that clean up, and kits that cancel all and liquidate",
)
class CancelsOnLeaving(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.sent: list[Order] = []

    async def place_order(self, order: Order) -> Placed:
        placed = await super().place_order(order)
        self.sent.append(order)
        return placed

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        for order in self.sent:
            try:
                await self.inner.cancel_order(order)
            except ExecError:
                continue
        await super().__aexit__(kind, error, trace)


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


@broken(130, fault="can be entered although the venue is out of reach: it connects with the first order")
class EntersWithoutAVenue(Wrapper):
    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except ConnectionFailed:
            return self


@broken(130, fault="calls a venue that is out of reach a refused login, so that a person is called for nothing")
class CallsABreakALogin(Wrapper):
    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except ConnectionFailed as error:
            raise AuthenticationFailed(str(error)) from error


@broken(140, fault="calls a refused login a venue that is out of reach: nobody is called, and it is tried for ever")
class CallsALoginABreak(Wrapper):
    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except AuthenticationFailed as error:
            raise ConnectionFailed(str(error)) from error


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
    stands_for="nautilus #4564: one intent, two live orders",
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


@broken(190, fault="raises, when it was left, what nobody recognises, so that an order's outcome counts as unknown")
class FallsOverWhenLeft(Wrapper):
    async def place_order(self, order: Order) -> Placed:
        if super().availability().reason == "Not connected":
            raise RuntimeError("Event loop is closed")
        return await super().place_order(order)


@broken(130, 190, fault="says that it is ready before it is entered, and after it was left")
class IsReadyWhenLeft(Wrapper):
    def availability(self) -> Availability:
        state = super().availability()
        if state.reason == "Not connected":
            return Availability(AvailabilityState.READY, state.since)
        return state
