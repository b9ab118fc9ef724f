"""Sending on a line: an order is handed over whole, at its turn, or provably not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from exec_broker_ibkr.connection.line import Line
from exec_broker_ibkr.connection.link import Link
from exec_broker_ibkr.connection.pacing import MESSAGES, Pacer
from exec_broker_ibkr.messages import (
    CommissionTold,
    CompletedShown,
    ErrorTold,
    ExecutionTold,
    OrderShown,
    StatusTold,
    Told,
    TwsContract,
    TwsOrder,
)
from exec_broker_ibkr.simulator import outbound, requests, wire
from exec_core.errors import ConnectionFailed
from ibkr_clock import Clock, settle
from ibkr_scripted import ScriptedTws, scripted_tws

D = Decimal
AT = datetime(2026, 11, 23, 14, 30, 5, tzinfo=UTC)
STOCK = TwsContract("STK", "AAPL", 265598, exchange="SMART", currency="USD")
ORDER = TwsOrder("BUY", "LMT", "DU1", "DAY", "REF", quantity=D("1.5"), limit_price=D("187.31"))
SHOWN = OrderShown(7, 7, 1998, "REF", "DU1", STOCK, "BUY", "LMT", "DAY", "Submitted", D("1.5"), None, D("187.31"))
STATUS = StatusTold(7, 7, 1998, "Submitted", D(0), D("1.5"))
EXECUTION = ExecutionTold(7, 7, 1998, "REF", "DU1", STOCK, "0001.01.01", "BOT", D("1.5"), D(187), AT, D("1.5"), D(187))
COMPLETED = CompletedShown(1998, "REF", "DU1", STOCK, "BUY", "MKT", "DAY", "Cancelled", None, D(0))


class Connected:
    """A line that is open, what was heard on it, and the other end."""

    def __init__(self, tws: ScriptedTws, line: Line) -> None:
        self.tws = tws
        self.line = line
        self.told: list[Told] = []
        self.lost: list[str] = []

    def orders(self) -> list[int]:
        return [request.order_id for request in self.tws.got(requests.PlaceOrder)]  # type: ignore[union-attr]

    def fill_up(self) -> Clock:
        """Use up a second's messages; whoever comes next waits until the clock that is returned is moved."""
        clock = Clock()
        pacer = self.line._pacer = Pacer(clock)
        for _ in range(MESSAGES):
            pacer.take()
        return clock


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so in this loop, by letting the others run."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what changes it is no event of ours
            await asyncio.sleep(0)


@pytest.fixture
async def tws() -> AsyncIterator[ScriptedTws]:
    async with scripted_tws() as scripted:
        yield scripted


@pytest.fixture
async def connected(tws: ScriptedTws) -> AsyncIterator[Connected]:
    line = Line("127.0.0.1", tws.port, 7)
    there = Connected(tws, line)
    await line.open(there.told.append, there.lost.append)
    yield there
    await line.close()


async def test_an_order_arrives_as_it_was_given(connected: Connected) -> None:
    allowed: list[int] = []
    await connected.line.place(7, STOCK, ORDER, lambda: allowed.append(len(connected.orders())))
    assert allowed == [0]
    await connected.tws.until(lambda: connected.orders() == [7])
    assert connected.tws.received[-1] == requests.PlaceOrder(7, STOCK, ORDER)
    await connected.line.cancel(7)
    await connected.tws.until(lambda: connected.tws.received[-1] == requests.CancelOrder(7))


async def test_what_is_forbidden_is_not_sent(connected: Connected) -> None:
    def forbid() -> None:
        raise PermissionError("halted")

    with pytest.raises(PermissionError):
        await connected.line.place(7, STOCK, ORDER, forbid)
    await connected.line.cancel(9)
    await connected.tws.until(lambda: connected.tws.got(requests.CancelOrder))
    assert connected.orders() == []


async def test_what_cannot_be_spelled_is_not_sent(connected: Connected) -> None:
    asked: list[int] = []
    for order in (replace(ORDER, order_ref="A\0B"), replace(ORDER, order_ref="\ud800"), replace(ORDER, quantity=None)):
        with pytest.raises(ValueError):
            await connected.line.place(7, STOCK, order, lambda: asked.append(1))
    await connected.line.cancel(9)
    await connected.tws.until(lambda: connected.tws.got(requests.CancelOrder))
    assert (connected.orders(), asked) == ([], [])


async def test_order_ids_stay_above_all_that_were_seen(connected: Connected) -> None:
    line, client = connected.line, connected.tws.client
    assert line.next_order_id() == 1
    client.say(outbound.encode(replace(SHOWN, order_id=20)))
    client.say(outbound.encode(replace(SHOWN, order_id=500, client_id=8)))  # another client's ids are its own
    client.say(outbound.encode(replace(STATUS, order_id=30)))
    client.say(outbound.encode(replace(EXECUTION, order_id=25)))
    client.say(outbound.next_valid_id(3))  # rolled back
    connected.tws.on[requests.CurrentTime] = lambda there, _: there.say(outbound.current_time(AT))
    await line.current_time()
    assert [line.next_order_id(), line.next_order_id()] == [31, 32]


async def test_a_cancel_overtakes_the_orders_that_wait(connected: Connected) -> None:
    clock = connected.fill_up()
    waiting = [asyncio.create_task(connected.line.place(number, STOCK, ORDER)) for number in (1, 2)]
    await settle()
    cancel = asyncio.create_task(connected.line.cancel(99))
    await settle()
    assert not cancel.done()
    await clock.move(1.0)
    await asyncio.gather(*waiting, cancel)
    await connected.tws.until(lambda: len(connected.tws.received) == 4)
    assert connected.tws.received[1] == requests.CancelOrder(99)
    assert connected.orders() == [1, 2]


async def test_no_second_has_more_messages_than_tws_takes(connected: Connected) -> None:
    loop, sent = asyncio.get_running_loop(), []
    placing = (
        connected.line.place(number, STOCK, ORDER, lambda: sent.append(loop.time())) for number in range(MESSAGES + 1)
    )
    await asyncio.gather(*placing)
    assert sent[MESSAGES] - sent[0] > 0.99


async def test_an_order_that_waits_when_the_line_goes_down_was_not_sent(connected: Connected) -> None:
    connected.fill_up()
    allowed: list[int] = []
    waiting = [asyncio.create_task(connected.line.place(n, STOCK, ORDER, lambda: allowed.append(1))) for n in (1, 2)]
    cancel = asyncio.create_task(connected.line.cancel(99))
    await settle()
    connected.tws.client.cut()
    for task in (*waiting, cancel):
        with pytest.raises(ConnectionFailed):
            await task
    await connected.tws.until(lambda: connected.tws.open_sockets == 0)
    assert allowed == []
    assert len(connected.tws.received) == 1
    assert len(connected.lost) == 1


async def test_an_order_that_waits_when_the_line_is_closed_was_not_sent(connected: Connected) -> None:
    connected.fill_up()
    waiting = asyncio.create_task(connected.line.place(1, STOCK, ORDER))
    await settle()
    await connected.line.close()
    with pytest.raises(ConnectionFailed):
        await waiting
    await connected.tws.until(lambda: connected.tws.open_sockets == 0)
    assert len(connected.tws.received) == 1
    assert connected.lost == []


async def test_an_order_cancelled_while_it_waits_was_not_sent(connected: Connected) -> None:
    clock = connected.fill_up()
    waiting = asyncio.create_task(connected.line.place(1, STOCK, ORDER))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await clock.move(1.0)
    await connected.line.cancel(99)
    await connected.tws.until(lambda: connected.tws.got(requests.CancelOrder))
    assert connected.orders() == []


async def test_after_the_line_is_lost_nothing_can_be_sent(connected: Connected) -> None:
    connected.tws.client.cut()
    await until(lambda: not connected.line.is_open)
    for attempt in (connected.line.place(1, STOCK, ORDER), connected.line.cancel(1), connected.line.open_orders()):
        with pytest.raises(ConnectionFailed):
            await attempt
    with pytest.raises(ConnectionFailed):
        connected.line.next_order_id()
    assert len(connected.lost) == 1


async def test_a_connection_that_is_closing_already_takes_no_order(connected: Connected) -> None:
    """Its end has not been told yet, but asyncio would drop what is written now without a word."""
    link = connected.line._link
    assert link._transport is not None
    link._transport.abort()
    allowed: list[int] = []
    assert connected.line.is_open
    with pytest.raises(ConnectionFailed):
        await connected.line.place(1, STOCK, ORDER, lambda: allowed.append(1))
    assert allowed == []


async def test_a_peer_that_takes_no_bytes_gets_no_orders(tws: ScriptedTws) -> None:
    """What waits, waits where it can be told that the line is gone, and not in a buffer that may be emptied later."""

    def stop_reading(client: object, request: requests.Request) -> None:
        tws.welcome(tws.client, request)
        tws.client.writer.transport.pause_reading()  # type: ignore[attr-defined]

    tws.on[requests.StartApi] = stop_reading
    line = Line("127.0.0.1", tws.port, 7)
    lost: list[str] = []
    await line.open(lambda _: None, lost.append)
    line._pacer._messages = 1_000_000
    big = replace(ORDER, routing=(("pad", "x" * 20_000),))
    bag = replace(STOCK, sec_type="BAG")
    placed = 0
    for number in range(1, 5000):
        sending = asyncio.create_task(line.place(number, bag, big))
        await settle()
        if not sending.done():
            break
        placed = number
    assert 0 < placed < 4998
    transport = line._link._transport
    assert transport is not None
    assert transport.get_write_buffer_size() < 25_000  # the rest of one message at most
    also = asyncio.create_task(line.cancel(1))
    await settle()
    assert not also.done()
    tws.client.cut()
    for task in (sending, also):
        with pytest.raises(ConnectionFailed):
            await task
    await line.close()


async def test_all_that_tws_tells_of_orders_is_heard_in_order(connected: Connected) -> None:
    said: list[Told] = [
        SHOWN,
        STATUS,
        EXECUTION,
        replace(SHOWN, status="Filled"),
        CommissionTold("0001.01.01", D("1.05"), "USD"),
        COMPLETED,
        ErrorTold(7, 201, "Order rejected", "{}"),
        ErrorTold(-1, 1100, "Connectivity lost"),
        replace(SHOWN, client_id=0, order_id=-3),
    ]
    connected.tws.client.say(*(outbound.encode(told) for told in said))
    await until(lambda: len(connected.told) >= len(said))
    assert connected.told == said


@pytest.mark.parametrize(
    ("spelled", "zone", "complaints"),
    [
        ("20261123-14:30:05", None, 0),
        ("20261123-14:30:05", ZoneInfo("America/Chicago"), 0),
        ("20261123 09:30:05 America/New_York", None, 0),
        ("20261123 15:30:05 MET", None, 0),
        ("20261123  08:30:05", ZoneInfo("America/Chicago"), 0),
        ("20261123 14:30:05 Nowhere/Known", None, 1),
    ],
)
async def test_an_execution_is_heard_whatever_its_time_looks_like(
    spelled: str, zone: ZoneInfo | None, complaints: int, tws: ScriptedTws, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Told] = []
    line = Line("127.0.0.1", tws.port, 7, time_zone=zone)
    await line.open(told.append, lambda _: None)
    tws.client.say(outbound.execution(EXECUTION, time=spelled), outbound.execution(EXECUTION, time="gibberish"))
    await until(lambda: len(told) >= 2)
    first, second = told
    assert first == EXECUTION
    assert isinstance(second, ExecutionTold)
    assert second.time.tzinfo is UTC
    assert replace(second, time=AT) == EXECUTION
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == complaints + 1
    await line.close()


async def test_what_cannot_be_read_is_said_aloud_and_the_line_goes_on(
    connected: Connected, caplog: pytest.LogCaptureFixture
) -> None:
    broken = outbound.encode(EXECUTION)
    broken[19] = "many"  # the quantity
    short = outbound.encode(SHOWN)[:40]
    priceless = outbound.encode(EXECUTION)
    priceless[20] = "1.7976931348623157E308"
    connected.tws.client.say(broken, short, priceless, ["banana"], ["3", "x"], ["77777"], outbound.encode(STATUS))
    await until(lambda: connected.told)
    assert connected.told == [STATUS]
    loud = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(loud) == 5
    assert {record.name.split(".")[0] for record in loud} == {"exec_broker_ibkr"}
    assert "DU1" not in caplog.text
    assert connected.line.is_open


async def test_a_hearer_that_fails_hears_the_next_message(tws: ScriptedTws, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Told] = []

    def hear(one: Told) -> None:
        told.append(one)
        if one == SHOWN:
            raise RuntimeError("the hearer is broken")

    line = Line("127.0.0.1", tws.port, 7)
    await line.open(hear, lambda _: None)
    tws.client.say(outbound.encode(SHOWN), outbound.encode(STATUS))
    await until(lambda: len(told) >= 2)
    assert told == [SHOWN, STATUS]
    assert "the hearer is broken" in caplog.text
    await line.close()


async def test_garbage_on_an_open_line_ends_it(connected: Connected) -> None:
    connected.tws.client.say_bytes(b"\xff\xff\xff\xffrubbish")
    await until(lambda: connected.lost)
    assert "4294967295 bytes" in connected.lost[0]
    assert not connected.line.is_open
    await connected.tws.until(lambda: connected.tws.open_sockets == 0)


async def test_a_message_whose_handling_fails_does_not_cost_the_next(caplog: pytest.LogCaptureFixture) -> None:
    handled: list[list[str]] = []

    def handle(fields: list[str]) -> None:
        handled.append(fields)
        if len(handled) == 1:
            raise RuntimeError("the first one fails")

    link = Link(handle, lambda _: None, lambda _: None)
    async with scripted_tws() as tws:
        await asyncio.get_running_loop().create_connection(lambda: link, "127.0.0.1", tws.port)
        link.data_received(wire.frame(["1"]) + wire.frame(["2", "", "x"]) + wire.frame(["3"])[:-1])
        assert handled == [["1"], ["2", "", "x"]]
        link.data_received(b"\0")
        assert handled[2:] == [["3"]]
        await link.close()
    assert "the first one fails" in caplog.text
