"""A session: what it replays, how it follows the book, and what it answers when it is not connected."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal

import pytest
from exec_broker_mock.book import Book
from exec_broker_mock.books import forget_books, memory_book
from exec_broker_mock.broker import MockBroker
from exec_broker_mock.desk import Desk
from exec_broker_mock.settings import MockBrokerSettings
from exec_broker_mock.venue import Link, Venue
from exec_core import AvailabilityState, BrokerFactory, ConnectionFailed, OrderReport, OrderType, ReportStatus
from exec_core.broker import Broker, BrokerConfig


async def test_what_happens_is_told_as_it_happens_and_names_the_order_by_both_ids(far, connect, new_order, listen):
    broker = await connect(fill_delay_seconds=1, partial_fills=2)
    hearing = asyncio.create_task(listen(broker, lambda heard: "FILLED" in heard.statuses))
    await asyncio.sleep(0)
    placed = await broker.place_order(new_order())
    far.pass_by(1)
    far.pass_by(1)
    heard = await hearing
    assert len(heard.fills) == 2
    for report in heard.reports:
        assert report.client_order_id == new_order().client_order_id
        assert report.broker_order_id == placed.broker_order_id
    assert heard.orders[-1].filled_quantity == Decimal(100)
    assert heard.orders[-1].venue_time == far.clock()
    assert heard.orders[-1].details.currency == "USD"


async def test_due_fills_are_told_without_anybody_asking(connect, new_order, listen):
    broker = await connect(fill_delay_seconds=0.05)
    hearing = asyncio.create_task(listen(broker, lambda heard: heard.fills))
    await broker.place_order(new_order())
    assert len((await hearing).fills) == 1


async def test_a_session_begins_with_open_orders_and_what_was_touched_in_the_last_day(far, connect, new_order, listen):
    first = await connect(fill_delay_seconds=10, partial_fills=2)
    await first.place_order(new_order("long ago"))
    resting = {"order_type": OrderType.LIMIT, "limit_price": Decimal(1)}
    await first.place_order(new_order("resting", **resting))
    far.pass_by(25 * 3600)
    await first.place_order(new_order("lately"))
    far.pass_by(60)
    second = await connect()
    heard = await listen(second, lambda heard: len(heard.orders) == 2)
    told = [(report.client_order_id, report.status.value) for report in heard.orders]
    assert told == [(new_order("resting").client_order_id, "WORKING"), (new_order("lately").client_order_id, "FILLED")]
    assert [fill.fill.quantity for fill in heard.fills] == [50, 50]


async def test_a_session_of_another_account_hears_nothing_of_it(tmp_path, connect, new_order, listen):
    path = tmp_path / "book.db"
    mine, other = await connect(state_file=path), await connect("other", state_file=path)
    await mine.place_order(new_order())
    await other.place_order(new_order("theirs"))
    heard = await listen(other, lambda heard: "FILLED" in heard.statuses)
    assert {report.client_order_id for report in heard.reports} == {new_order("theirs").client_order_id}
    assert not (await other.find_order(new_order())).has_trace


async def test_sessions_of_an_account_share_its_book_in_memory_until_it_is_forgotten(
    account, connect, new_order, listen
):
    async with BrokerFactory.create_broker({"broker": "mock", "account_id": account}) as first:
        placed = await first.place_order(new_order())
    second = await connect()
    assert (await second.find_order(new_order())).orders[0].broker_order_id == placed.broker_order_id
    before = memory_book(account)
    forget_books(account)
    assert memory_book(account) is not before


async def test_ids_of_a_book_in_memory_do_not_come_back_after_it_is_forgotten(account, new_order):
    names = set()
    for _ in range(2):
        async with BrokerFactory.create_broker({"broker": "mock", "account_id": account}) as broker:
            placed = await broker.place_order(new_order())
            execution = (await broker.find_order(new_order())).fills[0].fill.execution_id
            names |= {placed.broker_order_id, execution}
        forget_books(account)
    assert len(names) == 4


async def test_a_book_in_a_file_outlives_its_sessions_and_numbers_orders_plainly(tmp_path, account, new_order):
    path = tmp_path / "deep" / "er" / "book.db"
    config = {"broker": "mock", "account_id": account, "settings": {"state_file": str(path)}}
    for number in (1, 2):
        async with BrokerFactory.create_broker(config) as broker:
            assert (await broker.place_order(new_order(f"sig-{number}"))).broker_order_id == f"mock-{number}"
    book = Book.in_file(path)
    with book.transaction(write=False):
        assert len(book.all_orders()) == 2
    book.close()


async def test_a_write_by_somebody_else_is_noticed(tmp_path, connect, new_order, listen):
    path = tmp_path / "book.db"
    broker = await connect(state_file=path, fill_delay_seconds=3600)
    placed = await broker.place_order(new_order())
    hearing = asyncio.create_task(listen(broker, lambda heard: "CANCELLED" in heard.statuses))
    other = Book.in_file(path)
    Desk(Venue(other)).cancel(placed.broker_order_id, "by hand")
    other.close()
    assert (await hearing).orders[-1].reason == "by hand"


async def test_many_orders_at_once_each_fill_once(far, connect, new_order, listen):
    broker = await connect()
    hearing = asyncio.create_task(listen(broker, lambda heard: heard.statuses.count("FILLED") == 200))
    await asyncio.gather(*(broker.place_order(new_order(f"sig-{number}")) for number in range(200)))
    heard = await hearing
    assert len({fill.fill.execution_id for fill in heard.fills}) == 200


async def test_calls_reach_the_venue_in_the_order_in_which_they_were_made(far, connect, new_order):
    broker = await connect()
    placed = await asyncio.gather(*(broker.place_order(new_order(f"sig-{number}")) for number in range(50)))
    numbers = [int(one.broker_order_id.rsplit("-", 1)[1]) for one in placed]
    assert numbers == sorted(numbers)


async def test_without_a_connection_nothing_is_sent(account, new_order):
    broker = BrokerFactory.create_broker({"broker": "mock", "account_id": account})
    assert broker.availability().state is AvailabilityState.DISCONNECTED
    with pytest.raises(ConnectionFailed):
        await broker.place_order(new_order())
    async with broker:
        pass
    with pytest.raises(ConnectionFailed):
        await broker.place_order(new_order())
    with pytest.raises(ConnectionFailed, match="entered once"):
        await broker.__aenter__()


async def test_leaving_twice_is_fine_and_leaves_no_thread(account, tmp_path):
    broker = BrokerFactory.create_broker(
        {"broker": "mock", "account_id": account, "settings": {"state_file": tmp_path / "book.db"}}
    )
    async with broker:
        threads = [thread for thread in threading.enumerate() if account in thread.name]
        assert len(threads) == 1
    await broker.__aexit__(None, None, None)
    threads[0].join(timeout=10)
    assert not threads[0].is_alive()


async def test_a_lost_book_ends_the_session(account, connect, listen):
    broker = await connect()
    hearing = asyncio.create_task(listen(broker, lambda heard: heard.reports))
    memory_book(account).close()
    broker._broker._session._rouse()
    with pytest.raises(ConnectionFailed):
        await hearing


async def test_a_busy_book_means_not_sent(tmp_path, connect, new_order, monkeypatch):
    monkeypatch.setattr("exec_broker_mock.schema.BUSY_SECONDS", 0.1)
    path = tmp_path / "book.db"
    broker = await connect(state_file=path)
    other = Book.in_file(path)
    with other.transaction(), pytest.raises(ConnectionFailed, match="busy"):
        await broker.place_order(new_order())
    other.close()
    assert not (await broker.find_order(new_order())).has_trace
    await broker.place_order(new_order())


def test_the_broker_fulfils_the_contract_and_takes_a_clock(account, clock):
    broker = MockBroker(BrokerConfig("mock", account), MockBrokerSettings(), clock)
    assert isinstance(broker, Broker)


async def test_more_events_than_are_told_at_once_are_all_told(connect, far, new_order, monkeypatch):
    monkeypatch.setattr("exec_broker_mock.reporting.BATCH", 10)
    broker = await connect()
    stream = broker.reports()
    await broker.place_order(new_order("first"))
    filled = set()
    async with asyncio.timeout(60):
        async for report in stream:
            if isinstance(report, OrderReport) and report.status is ReportStatus.FILLED:
                filled.add(report.client_order_id)
                if len(filled) == 1:  # three events each, and nothing happens afterwards that would wake anybody
                    for number in range(60):
                        far.venue.place(
                            new_order(f"sig-{number}"), MockBrokerSettings(), Link(new_order().request.account_id, 0)
                        )
                if len(filled) == 61:
                    break
    await stream.aclose()
