"""The state machine of the conformance kit has teeth: it finds what is wrong with brokers that nearly work.

Each is the mock with one fault, put into what passes between it and the core.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import pytest
from exec_broker_mock.broker import PLUGIN
from exec_broker_mock.conformance import MockVenue
from exec_core.broker import Availability, Broker, BrokerConfig, Found, Placed
from exec_core.errors import OrderRejected
from exec_core.orders import Order
from exec_core.reports import FillReport, OrderReport, Report, ReportStatus
from exec_core.testing.brokers.machine import BrokerMachine, machine_settings
from exec_core.testing.brokers.machine_model import Patience
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test


class Wrapper:
    """The mock as it is. `told` is what the core hears instead of a report."""

    def __init__(self, inner: Broker) -> None:
        self.inner = inner

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.inner.__aexit__(kind, error, trace)

    async def place_order(self, order: Order) -> Placed:
        return await self.inner.place_order(order)

    async def cancel_order(self, order: Order) -> None:
        await self.inner.cancel_order(order)

    async def find_order(self, order: Order) -> Found:
        found = await self.inner.find_order(order)
        fills = tuple(one for report in found.fills for one in self.told(report) if isinstance(one, FillReport))
        return replace(found, fills=fills)

    async def reports(self) -> AsyncIterator[Report]:
        async for report in self.inner.reports():
            for one in self.told(report):
                yield one

    def told(self, report: Report) -> Iterable[Report]:
        return (report,)

    def availability(self) -> Availability:
        return self.inner.availability()


class SendsAgain(Wrapper):
    """Without an answer it sends once more."""

    async def place_order(self, order: Order) -> Placed:
        try:
            return await self.inner.place_order(order)
        except ConnectionResetError:
            return await self.inner.place_order(order)


class TakesSilenceForNo(Wrapper):
    """Without an answer it says that the order was rejected."""

    async def place_order(self, order: Order) -> Placed:
        try:
            return await self.inner.place_order(order)
        except ConnectionResetError as error:
            raise OrderRejected("time-out") from error


class TakesAbsenceForAnEnd(Wrapper):
    """What it does not find it calls cancelled."""

    async def find_order(self, order: Order) -> Found:
        found = await super().find_order(order)
        if found.has_trace:
            return found
        return replace(found, orders=(OrderReport(ReportStatus.CANCELLED, order.client_order_id),))


class ForgetsCorrections(Wrapper):
    """An execution stays as it was told first."""

    def told(self, report: Report) -> Iterable[Report]:
        return () if isinstance(report, FillReport) and report.fill.correction else (report,)


class DropsAFill(Wrapper):
    """A part that leaves the order open is not told."""

    def __init__(self, inner: Broker) -> None:
        super().__init__(inner)
        self.waiting: list[Report] = []

    def told(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport):
            self.waiting.append(report)
            return ()
        if isinstance(report, OrderReport) and report.status is ReportStatus.FILLED:
            waiting, self.waiting = self.waiting, []
            return (*waiting, report)
        return (report,)


def play(wrapper: type[Wrapper], examples: int) -> None:
    """Histories with such a broker: always the same ones, without looking for the shortest."""

    def create(config: BrokerConfig, chosen: Any) -> Wrapper:
        return wrapper(PLUGIN.create(config, chosen))

    class Machine(BrokerMachine):
        plugin = replace(PLUGIN, create=create)
        venue_type = MockVenue
        patience = Patience(2.0)

    usual = machine_settings()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            usual, derandomize=True, database=None, max_examples=examples, phases=(Phase.generate,), print_blob=False
        ),
    )


@pytest.mark.parametrize(
    ("wrapper", "finding"),
    [
        (SendsAgain, "the venue holds 2 orders for one of ours"),
        (TakesSilenceForNo, "is REJECTED, (by the word of the broker, )?and the venue never"),
        (TakesAbsenceForAnEnd, "the venue never had .*; found|is CANCELLED, and can still trade"),
        (ForgetsCorrections, "did not become known"),
        (DropsAFill, "did not become known"),
    ],
)
def test_a_broken_broker_is_found(wrapper: type[Wrapper], finding: str) -> None:
    with pytest.raises(AssertionError, match=finding):
        play(wrapper, 200)


def test_the_same_wrapper_without_a_fault_is_not_found() -> None:
    play(Wrapper, 10)
