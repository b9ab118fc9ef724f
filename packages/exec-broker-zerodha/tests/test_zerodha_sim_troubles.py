"""What goes wrong on demand: what the real client makes of it, and whether the order is in the book."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from exec_broker_zerodha.simulator.desk import Desk
from exec_broker_zerodha.simulator.faults import Trouble
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.server import Simulator


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(Options(is_resting=True, keeps_limits=False)) as entered:
        yield entered


@pytest.fixture
def desk(simulator: Simulator) -> Desk:
    return Desk(simulator)


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[Any]:
    from kiteconnect import KiteConnect

    options = simulator.options
    made = KiteConnect(options.api_key, options.access_token, root=simulator.api_root, timeout=60)
    made.reqsession.trust_env = False
    yield made
    made.reqsession.close()


def place(client: Any) -> str:
    order_id: str = client.place_order("regular", "NSE", "RELIANCE", "BUY", 10, "CNC", "LIMIT", price="1400.1", tag="T")
    return order_id


async def outcome(client: Any) -> str:
    """The name of the error that placing an order ends in, with its HTTP status; "id" without one."""
    try:
        await asyncio.to_thread(place, client)
    except Exception as error:
        code = getattr(error, "code", None)
        return type(error).__name__ if code is None else f"{type(error).__name__} {code}"
    return "id"


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until it holds."""
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (Trouble.ERROR, "GeneralException 400"),
        (Trouble.HTML, "DataException 502"),
        (Trouble.CUT, "ChunkedEncodingError"),
        (Trouble.EMPTY, "DataException 502"),
        (Trouble.GARBLED, "DataException 502"),
        (Trouble.NO_TYPE, "KeyError"),
        (Trouble.NULL, "TypeError"),
        (Trouble.UNTYPED, "TypeError"),
        (Trouble.TIMED_OUT, "OrderException 400"),
        (Trouble.LIMITED, "NetworkException 200"),
        (Trouble.RESET, "ConnectionError"),
    ],
)
async def test_trouble_spoils_one_answer_and_the_order_is_taken_only_if_it_comes_after(
    simulator: Simulator, desk: Desk, client: Any, trouble: Trouble, expected: str, is_after: bool
) -> None:
    desk.arm(trouble, is_after=is_after)
    assert await outcome(client) == expected
    assert len(simulator.book.all_orders()) == is_after
    assert await outcome(client) == "id"
    assert len(simulator.book.all_orders()) == 1 + is_after


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
async def test_an_answer_that_never_comes_holds_up_neither_the_others_nor_the_end(
    simulator: Simulator, desk: Desk, client: Any, is_after: bool
) -> None:
    desk.arm(Trouble.HANG, is_after=is_after)
    sending = asyncio.create_task(outcome(client))
    await until(lambda: simulator.limits.requests["order.place"])
    assert len(await asyncio.to_thread(client.orders)) == is_after
    assert not sending.done()
    await desk.cut_lines()
    assert await sending == "ConnectionError"


async def test_a_question_can_be_spoilt_and_orders_go_on(simulator: Simulator, desk: Desk, client: Any) -> None:
    await asyncio.to_thread(place, client)
    fault = desk.arm(Trouble.CUT, "questions", is_after=True, count=1000)
    for ask in (client.orders, client.trades, client.positions, client.holdings, client.margins, client.profile):
        with pytest.raises(Exception, match="IncompleteRead"):
            await asyncio.to_thread(ask)
    assert await outcome(client) == "id"
    desk.disarm(fault)
    assert len(await asyncio.to_thread(client.orders)) == 2


async def test_the_answer_to_a_cancel_is_lost_and_the_cancel_is_not(
    simulator: Simulator, desk: Desk, client: Any
) -> None:
    order_id = await asyncio.to_thread(place, client)
    desk.lose_next_cancel()
    with pytest.raises(OSError, match="Connection aborted"):
        await asyncio.to_thread(client.cancel_order, "regular", order_id)
    assert simulator.book.all_orders()[0].status == "CANCELLED"


async def test_a_refusal_has_the_words_it_was_given_and_is_not_in_the_book(
    simulator: Simulator, desk: Desk, client: Any
) -> None:
    from kiteconnect.exceptions import GeneralException

    desk.refuse_next("Insufficient funds. 500.00 more are needed.", error_type="MarginException")
    with pytest.raises(GeneralException, match=r"^Insufficient funds\. 500\.00 more are needed\.$") as refused:
        await asyncio.to_thread(place, client)
    assert refused.value.code == 400
    assert simulator.book.all_orders() == []
    desk.reject_next("Insufficient funds.")
    order_id = await asyncio.to_thread(place, client)
    (row,) = await asyncio.to_thread(client.orders)
    assert (row["order_id"], row["status"], row["status_message"]) == (order_id, "REJECTED", "Insufficient funds.")


async def test_while_it_is_away_connections_are_refused_and_the_market_goes_on(
    simulator: Simulator, desk: Desk, client: Any
) -> None:
    order_id = await asyncio.to_thread(place, client)
    root = simulator.api_root
    await desk.go_away()
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(client.orders)
    desk.fill(order_id)
    await desk.come_back()
    assert simulator.api_root == root
    assert [row["status"] for row in await asyncio.to_thread(client.orders)] == ["COMPLETE"]


def test_trouble_needs_an_endpoint_that_exists(desk: Desk) -> None:
    with pytest.raises(ValueError, match=r"there is no endpoint order\.plaice"):
        desk.arm(Trouble.HTML, "order.plaice")
    with pytest.raises(ValueError, match="upset"):
        desk.arm("upset")
