"""What the tests of the mock venue share: a clock that is moved by hand, orders, and sessions through the plugin."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from exec_broker_mock.book import Book
from exec_broker_mock.books import forget_books, memory_book
from exec_broker_mock.desk import Desk
from exec_broker_mock.faults import Faults
from exec_broker_mock.venue import Venue
from exec_core import BrokerFactory, Instrument, Order, OrderRequest, OrderType, Side, SignalId
from exec_core.guard import GuardedBroker
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report


@dataclass
class ManualClock:
    """Time that stands still until it is moved."""

    now: datetime = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Far:
    """The venue's side of a test: the book of the test's account and everything that works on it."""

    book: Book
    clock: ManualClock
    venue: Venue = field(init=False)
    desk: Desk = field(init=False)
    faults: Faults = field(init=False)

    def __post_init__(self) -> None:
        self.venue, self.desk, self.faults = Venue(self.book), Desk(Venue(self.book)), Faults(self.book)

    def pass_by(self, seconds: float) -> None:
        """Let time pass, and everything happen that becomes due."""
        self.clock.pass_by(seconds)
        self.venue.advance()


@dataclass
class Heard:
    """What a session was told, sorted by kind."""

    reports: list[Report]

    @property
    def statuses(self) -> list[str]:
        return [report.status.value for report in self.reports if isinstance(report, OrderReport)]

    @property
    def orders(self) -> list[OrderReport]:
        return [report for report in self.reports if isinstance(report, OrderReport)]

    @property
    def fills(self) -> list[FillReport]:
        return [report for report in self.reports if isinstance(report, FillReport)]

    @property
    def commissions(self) -> list[CommissionReport]:
        return [report for report in self.reports if isinstance(report, CommissionReport)]


@pytest.fixture(autouse=True)
def _clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [*os.environ]:
        if name.startswith("MOCK_BROKER_") or name == "EXEC_CONFIG":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    forget_books()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def account() -> str:
    return f"acc_{uuid4().hex[:8]}"


@pytest.fixture
def far(account: str, clock: ManualClock) -> Far:
    """The book in memory of the test's account, under the manual clock."""
    return Far(memory_book(account, clock), clock)


@pytest.fixture
def new_order(account: str) -> Callable[..., Order]:
    """Make an order: BUY 100 SPY at market, seen at 235.15, unless told otherwise."""

    def make(signal_id: str = "sig-1", **changes: Any) -> Order:
        values: dict[str, Any] = {
            "signal_id": SignalId(signal_id),
            "account_id": account,
            "strategy_name": "test",
            "instrument": Instrument("SPY"),
            "side": Side.BUY,
            "order_type": OrderType.MARKET,
            "quantity": Decimal(100),
            "reference_price": Decimal("235.15"),
        }
        if "cash_quantity" in changes:
            values["quantity"] = None
        return Order.new(OrderRequest(**(values | changes)))

    return make


@pytest.fixture
async def connect(account: str) -> AsyncIterator[Callable[..., Any]]:
    """Enter a session of the real plugin, made by its name; it is left at the end of the test."""
    async with AsyncExitStack() as stack:

        async def enter(account_id: str = account, **settings: Any) -> GuardedBroker:
            config = {"broker": "mock", "account_id": account_id, "settings": settings}
            return await stack.enter_async_context(BrokerFactory.create_broker(config))

        yield enter


@pytest.fixture
def listen() -> Callable[..., Any]:
    """Listen to a session from the beginning until what was heard fulfils a condition."""

    async def until(broker: GuardedBroker, condition: Callable[[Heard], object], seconds: float = 60) -> Heard:
        heard = Heard([])
        stream = broker.reports()
        try:
            async with asyncio.timeout(seconds):
                async for report in stream:
                    heard.reports.append(report)
                    if condition(heard):
                        return heard
        except TimeoutError:
            pytest.fail(f"the condition did not come true; heard: {heard.reports}")
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        raise AssertionError("the stream ended")

    return until


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Wait until something is true."""

    async def wait(condition: Callable[[], Any], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while True:
                value = condition()
                if await value if inspect.isawaitable(value) else value:
                    return
                await asyncio.sleep(0.001)

    return wait


@pytest.fixture
def state(far: Far) -> Callable[[], list[tuple[str, Decimal]]]:
    """Status and filled quantity of every order in the book, in order."""

    def read() -> list[tuple[str, Decimal]]:
        far.venue.advance()
        with far.book.transaction(write=False):
            return [(order.status.value, order.filled_quantity) for order in far.book.all_orders()]

    return read


@pytest.fixture
def fills(far: Far) -> Callable[[], list[tuple[Decimal, Decimal]]]:
    """Quantity and price of every execution in the book, in order."""

    def read() -> list[tuple[Decimal, Decimal]]:
        far.venue.advance()
        with far.book.transaction(write=False):
            return [(fill.quantity, fill.price) for fill in far.book.all_fills()]

    return read
