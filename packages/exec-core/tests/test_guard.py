"""What the guard makes of everything that an adapter may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import pytest
from exec_core.broker import (
    AccountSummary,
    Availability,
    AvailabilityState,
    Broker,
    BrokerConfig,
    BrokerPlugin,
    Found,
    Placed,
    Snapshot,
    View,
)
from exec_core.capabilities import Capabilities
from exec_core.errors import (
    AuthenticationFailed,
    CancelRejected,
    ConfigurationError,
    ConnectionFailed,
    NotSent,
    OrderRejected,
    OrderUnsupported,
    OutcomeUnknown,
)
from exec_core.guard import GuardedBroker
from exec_core.identifiers import AccountId, BrokerOrderId, SignalId
from exec_core.instruments import AssetClass, Instrument
from exec_core.orders import Order, OrderRequest, OrderType, TimeInForce
from exec_core.reports import OrderReport, Report, ReportStatus
from exec_core.settings import BrokerSettings
from exec_core.sides import Side

NOW = datetime(2024, 11, 24, 10, 30, tzinfo=UTC)
VIEW = View(NOW, True, NOW)
PLACED = Placed(BrokerOrderId("ord_1"))
WORKING = OrderReport(ReportStatus.WORKING, broker_order_id=BrokerOrderId("ord_1"))
ORDER = Order.new(
    OrderRequest(
        SignalId("sig_1"),
        AccountId("acc_1"),
        "Strategy",
        Instrument("SPY"),
        Side.BUY,
        OrderType.MARKET,
        quantity=Decimal(100),
    )
)
Answer = Callable[[], Awaitable[Any]]


def answers(value: object) -> Answer:
    async def answer() -> object:
        return value

    return answer


def fails(error: BaseException) -> Answer:
    async def answer() -> object:
        raise error

    return answer


async def hangs() -> object:
    return await asyncio.get_running_loop().create_future()


class Adapter:
    """An adapter that answers every call the same way, and counts them."""

    def __init__(self, answer: Answer, reports: list[Report | Exception] | None = None) -> None:
        self._answer = answer
        self._reports = reports or []
        self.calls = 0

    async def _call(self) -> Any:
        self.calls += 1
        return await self._answer()

    async def __aenter__(self) -> Self:
        await self._call()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._call()

    async def place_order(self, order: Order) -> Placed:
        return await self._call()

    async def cancel_order(self, order: Order) -> None:
        return await self._call()

    async def find_order(self, order: Order) -> Found:
        return await self._call()

    async def reports(self) -> AsyncIterator[Report]:
        for report in self._reports:
            if isinstance(report, Exception):
                raise report
            yield report

    async def open_orders(self) -> Snapshot[OrderReport]:
        return await self._call()

    async def positions(self) -> Snapshot[Any]:
        return await self._call()

    async def account(self) -> AccountSummary:
        return await self._call()

    def availability(self) -> Availability:
        return Availability(AvailabilityState.READY, NOW)


def plugin(timeout: float = 5.0) -> BrokerPlugin:
    def create(config: BrokerConfig, settings: Any) -> Broker:
        raise AssertionError("not used here")

    capabilities = Capabilities(
        order_types=frozenset({OrderType.MARKET}),
        times_in_force=frozenset({TimeInForce.DAY}),
        asset_classes=frozenset({AssetClass.STOCK}),
    )
    return BrokerPlugin("acme", BrokerSettings, create, capabilities, 5.0, call_timeout_seconds=timeout)


def guarded(
    answer: Answer, *, timeout: float = 5.0, reports: list[Report | Exception] | None = None
) -> tuple[GuardedBroker, Adapter]:
    adapter = Adapter(answer, reports)
    return GuardedBroker(adapter, plugin(timeout)), adapter


QUESTIONS: dict[str, Callable[[GuardedBroker], Awaitable[Any]]] = {
    "cancel": lambda broker: broker.cancel_order(ORDER),
    "look-up": lambda broker: broker.find_order(ORDER),
    "list of open orders": lambda broker: broker.open_orders(),
    "list of positions": lambda broker: broker.positions(),
    "account": lambda broker: broker.account(),
}


# --- placing ---


async def test_a_placed_order_is_placed() -> None:
    broker, adapter = guarded(answers(PLACED))
    assert await broker.place_order(ORDER) is PLACED
    assert adapter.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        OrderRejected("Insufficient margin"),
        NotSent("queue full"),
        ConnectionFailed("refused"),
        AuthenticationFailed("log in"),
        OutcomeUnknown("cut off"),
    ],
)
async def test_what_the_adapter_knows_of_the_order_passes_through(error: Exception) -> None:
    broker, adapter = guarded(fails(error))
    with pytest.raises(type(error)) as caught:
        await broker.place_order(ORDER)
    assert caught.value is error
    assert adapter.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        KeyError("order_id"),
        RuntimeError(),
        OSError("reset by peer"),
        ConnectionRefusedError("refused"),
        asyncio.InvalidStateError("gone"),
        ConfigurationError("odd here"),
        CancelRejected("odder here"),
    ],
)
async def test_what_the_adapter_does_not_explain_may_be_live(error: Exception) -> None:
    broker, adapter = guarded(fails(error))
    with pytest.raises(OutcomeUnknown) as caught:
        await broker.place_order(ORDER)
    assert type(error).__name__ in str(caught.value)
    assert caught.value.__cause__ is error
    assert (caught.value.broker, caught.value.client_order_id) == ("acme", ORDER.client_order_id)
    assert adapter.calls == 1, "never sent again"


async def test_no_answer_in_time_may_be_live() -> None:
    broker, adapter = guarded(hangs, timeout=0.01)
    with pytest.raises(OutcomeUnknown, match=r"no answer from acme within 0\.01 s"):
        await broker.place_order(ORDER)
    assert adapter.calls == 1


@pytest.mark.parametrize("answer", [None, "ord_1", {"order_id": "1"}])
async def test_an_answer_of_the_wrong_kind_may_be_live(answer: object) -> None:
    broker, _ = guarded(answers(answer))
    with pytest.raises(OutcomeUnknown, match="not Placed"):
        await broker.place_order(ORDER)


async def test_what_is_not_declared_never_reaches_the_adapter() -> None:
    broker, adapter = guarded(answers(PLACED))
    stop = replace(ORDER, request=replace(ORDER.request, order_type=OrderType.STOP, stop_price=Decimal(1)))
    with pytest.raises(OrderUnsupported, match="order_type STOP is not supported") as caught:
        await broker.place_order(stop)
    assert caught.value.client_order_id == ORDER.client_order_id
    assert adapter.calls == 0


async def test_being_cancelled_is_not_turned_into_an_answer() -> None:
    called = asyncio.Event()

    async def answer() -> object:
        called.set()
        return await hangs()

    broker, _ = guarded(answer)
    task = asyncio.create_task(broker.place_order(ORDER))
    await called.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- asking ---


async def test_a_cancel_that_was_taken_says_nothing_more() -> None:
    broker, adapter = guarded(answers(None))
    await broker.cancel_order(ORDER)
    assert adapter.calls == 1


@pytest.mark.parametrize("question", sorted(set(QUESTIONS) - {"cancel"}))
async def test_an_answer_passes_through(question: str) -> None:
    answer = Found(VIEW)
    broker, _ = guarded(answers(answer))
    given = await QUESTIONS[question](broker)
    assert given is answer


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("error", [ValueError("bad"), OSError("reset"), OutcomeUnknown("what?"), OrderRejected("no")])
async def test_an_error_while_asking_is_no_answer(question: str, error: Exception) -> None:
    broker, _ = guarded(fails(error))
    with pytest.raises(ConnectionFailed, match=f"the {question} failed: {type(error).__name__}") as caught:
        await QUESTIONS[question](broker)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("question", QUESTIONS)
async def test_no_answer_in_time_is_no_answer(question: str) -> None:
    broker, _ = guarded(hangs, timeout=0.01)
    with pytest.raises(ConnectionFailed, match=f"no answer from acme to the {question}"):
        await QUESTIONS[question](broker)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("error", [AuthenticationFailed("log in"), ConnectionFailed("away"), CancelRejected("filled")])
async def test_what_the_adapter_explains_passes_through(question: str, error: Exception) -> None:
    broker, _ = guarded(fails(error))
    with pytest.raises(type(error)) as caught:
        await QUESTIONS[question](broker)
    assert caught.value is error


# --- the session ---


async def test_entering_gives_the_guard_not_the_adapter() -> None:
    broker, adapter = guarded(answers(None))
    async with broker as entered:
        assert entered is broker
    assert adapter.calls == 2
    assert isinstance(broker, Broker)
    assert repr(broker) == "<GuardedBroker acme>"
    assert broker.availability().is_ready


@pytest.mark.parametrize("error", [ConfigurationError("wrong account"), AuthenticationFailed("log in")])
async def test_why_a_connection_is_useless_passes_through(error: Exception) -> None:
    broker, _ = guarded(fails(error))
    with pytest.raises(type(error)) as caught:
        await broker.__aenter__()
    assert caught.value is error


async def test_a_connection_that_fails_or_hangs_has_failed() -> None:
    broken, _ = guarded(fails(OSError("no route")))
    with pytest.raises(ConnectionFailed, match="acme did not connect: OSError: no route"):
        await broken.__aenter__()
    stuck, _ = guarded(hangs, timeout=0.01)
    with pytest.raises(ConnectionFailed, match=r"acme did not connect within 0\.01 s"):
        await stuck.__aenter__()


async def test_leaving_is_bounded_too() -> None:
    broker, _ = guarded(hangs, timeout=0.01)
    with pytest.raises(TimeoutError):
        await broker.__aexit__(None, None, None)


# --- the stream ---


async def heard(broker: GuardedBroker) -> tuple[list[Report], Exception]:
    found: list[Report] = []
    try:
        async for report in broker.reports():
            found.append(report)
    except Exception as error:
        return found, error
    raise AssertionError("the stream ended without saying so")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ([], "acme ended its reports"),
        ([ValueError("odd frame")], "acme ended its reports: ValueError: odd frame"),
        ([ConnectionFailed("link lost")], "link lost"),
    ],
)
async def test_a_stream_that_ends_is_a_lost_connection_and_loses_no_report(end: list[Any], words: str) -> None:
    broker, _ = guarded(answers(None), reports=[WORKING, WORKING, *end])
    found, error = await heard(broker)
    assert found == [WORKING, WORKING]
    assert isinstance(error, ConnectionFailed)
    assert str(error) == words


async def test_a_login_that_is_needed_is_said_by_the_stream() -> None:
    broker, _ = guarded(answers(None), reports=[AuthenticationFailed("log in")])
    assert isinstance((await heard(broker))[1], AuthenticationFailed)
