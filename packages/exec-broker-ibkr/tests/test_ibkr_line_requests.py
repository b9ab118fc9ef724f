"""Questions on a line: the whole answer, a refusal, or no answer; never a part taken for the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from exec_broker_ibkr.connection.line import Line, NoAnswer, RequestRefused
from exec_broker_ibkr.messages import (
    AccountValueTold,
    CommissionTold,
    CompletedShown,
    DetailsTold,
    ErrorTold,
    ExecutionTold,
    OrderShown,
    PositionTold,
    PriceStep,
    StatusTold,
    Told,
    TwsContract,
)
from exec_broker_ibkr.simulator import outbound, requests
from exec_core.errors import ConnectionFailed
from ibkr_scripted import Client, ScriptedTws, scripted_tws

D = Decimal
AT = datetime(2026, 11, 23, 14, 30, 5, tzinfo=UTC)
STOCK = TwsContract("STK", "AAPL", 265598, exchange="SMART", currency="USD")
SHOWN = OrderShown(7, 7, 1998, "REF", "DU1", STOCK, "BUY", "LMT", "DAY", "Submitted", D("1.5"), None, D("187.31"))
STATUS = StatusTold(7, 7, 1998, "Submitted", D(0), D("1.5"))
EXECUTION = ExecutionTold(7, 7, 1998, "REF", "DU1", STOCK, "0001.01.01", "BOT", D("1.5"), D(187), AT, D("1.5"), D(187))
COMPLETED = CompletedShown(1998, "REF", "DU1", STOCK, "BUY", "MKT", "DAY", "Cancelled", None, D(0))
DETAILS = DetailsTold(STOCK, D("0.01"), (("SMART", 26),))

#: Every question, as a call of a line.
QUESTIONS: dict[str, Callable[[Line], Awaitable[Any]]] = {
    "open_orders": lambda line: line.open_orders(),
    "all_open_orders": lambda line: line.all_open_orders(),
    "completed_orders": lambda line: line.completed_orders(),
    "executions": lambda line: line.executions(),
    "contract_details": lambda line: line.contract_details(STOCK),
    "market_rule": lambda line: line.market_rule(26),
    "positions": lambda line: line.positions(),
    "account_summary": lambda line: line.account_summary(("NetLiquidation",)),
    "current_time": lambda line: line.current_time(),
}


@pytest.fixture
async def tws() -> AsyncIterator[ScriptedTws]:
    async with scripted_tws() as scripted:
        yield scripted


class Connected:
    """Open lines to one scripted TWS, and what was heard on them."""

    def __init__(self, tws: ScriptedTws) -> None:
        self.tws = tws
        self.told: list[Told] = []
        self.lost: list[str] = []
        self.lines: list[Line] = []

    async def line(self, answer_seconds: float = 60.0) -> Line:
        line = Line("127.0.0.1", self.tws.port, 7, answer_seconds=answer_seconds)
        self.lines.append(line)
        await line.open(self.told.append, self.lost.append)
        return line


@pytest.fixture
async def connected(tws: ScriptedTws) -> AsyncIterator[Connected]:
    there = Connected(tws)
    yield there
    for line in there.lines:
        await line.close()


def says(*messages: list[str]) -> Callable[[Client, requests.Request], None]:
    return lambda client, _request: client.say(*messages)


async def test_open_orders(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    other = replace(SHOWN, order_id=9, client_id=3, perm_id=2001)
    tws.on[requests.OpenOrders] = says(outbound.encode(SHOWN), outbound.encode(STATUS), outbound.open_order_end())
    tws.on[requests.AllOpenOrders] = says(outbound.encode(SHOWN), outbound.encode(other), outbound.open_order_end())
    own, everybody = await asyncio.gather(line.open_orders(), line.all_open_orders())
    assert own == (SHOWN,)
    assert everybody == (SHOWN, other)
    # All of it is heard as well, in the order in which it came.
    assert connected.told == [SHOWN, STATUS, SHOWN, other]


async def test_an_empty_answer_is_one(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    tws.on[requests.OpenOrders] = says(outbound.open_order_end())
    tws.on[requests.CompletedOrders] = says(outbound.completed_orders_end())
    tws.on[requests.Positions] = says(outbound.position_end())
    assert (await line.open_orders(), await line.completed_orders(), await line.positions()) == ((), (), ())


async def test_completed_orders(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    tws.on[requests.CompletedOrders] = says(outbound.encode(COMPLETED), outbound.completed_orders_end())
    assert await line.completed_orders() == (COMPLETED,)
    assert tws.received[-1] == requests.CompletedOrders(api_only=False)
    assert connected.told == [COMPLETED]


async def test_executions(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    live = replace(EXECUTION, execution_id="0002.01.01")
    commission = CommissionTold("0001.01.01", D("1.05"), "USD")

    def answer(client: Client, request: requests.Request) -> None:
        assert isinstance(request, requests.Executions)
        client.say(outbound.execution(live))  # one that happens just now is no part of the answer
        client.say(outbound.execution(EXECUTION, request.request_id), outbound.encode(commission))
        client.say(outbound.exec_details_end(request.request_id + 1))  # and that is not its end
        client.say(outbound.exec_details_end(request.request_id))

    tws.on[requests.Executions] = answer
    assert await line.executions() == (EXECUTION,)
    assert connected.told == [live, EXECUTION, commission]
    (request,) = tws.got(requests.Executions)
    assert request == requests.Executions(request.request_id)  # type: ignore[union-attr]
    assert request.request_id >= 1_000_000_000  # type: ignore[union-attr]


async def test_contract_details_of_several_at_once_do_not_mix(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()

    def answer(client: Client, request: requests.Request) -> None:
        assert isinstance(request, requests.ContractDetails)
        found = replace(DETAILS, contract=replace(request.contract, con_id=len(request.contract.symbol)))
        client.say(outbound.contract_details(found, request.request_id))
        client.say(outbound.contract_details_end(request.request_id))

    tws.on[requests.ContractDetails] = answer
    symbols = ["A", "BB", "CCC", "DDDD"]
    answers = await asyncio.gather(*(line.contract_details(replace(STOCK, symbol=symbol)) for symbol in symbols))
    assert [[found.contract.symbol for found in answer] for answer in answers] == [[symbol] for symbol in symbols]


async def test_an_unknown_contract_is_refused(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    text = "No security definition has been found for the request"

    def answer(client: Client, request: requests.Request) -> None:
        assert isinstance(request, requests.ContractDetails)
        client.say(outbound.encode(ErrorTold(request.request_id, 2161, "only a remark")))
        client.say(outbound.encode(ErrorTold(request.request_id, 200, text)))

    tws.on[requests.ContractDetails] = answer
    for _ in range(2):
        with pytest.raises(RequestRefused, match=text) as refused:
            await line.contract_details(STOCK)
        assert (refused.value.code, refused.value.text) == (200, text)
    assert connected.told == []  # it is no order's error

    tws.on[requests.ContractDetails] = lambda client, request: client.say(
        outbound.contract_details_end(request.request_id)  # type: ignore[union-attr]
    )
    with pytest.raises(RequestRefused) as refused:
        await line.contract_details(STOCK)
    assert refused.value.code == 200


async def test_an_error_of_an_order_refuses_no_request(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    about_order = ErrorTold(26, 201, "Order rejected")

    def answer(client: Client, _: requests.Request) -> None:
        client.say(outbound.encode(about_order))
        client.say(outbound.market_rule(27, [PriceStep(D(0), D(9))]))  # somebody else's
        client.say(outbound.market_rule(26, [PriceStep(D(0), D("0.01")), PriceStep(D(3), D("0.05"))]))

    tws.on[requests.MarketRule] = answer
    assert await line.market_rule(26) == (PriceStep(D(0), D("0.01")), PriceStep(D(3), D("0.05")))
    assert connected.told == [about_order]


async def test_positions_and_figures_are_unsubscribed(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    held = PositionTold("DU1", STOCK, D("-2"), D("120.5"))
    figure = AccountValueTold("DU1", "NetLiquidation", "1000.50", "USD")
    tws.on[requests.Positions] = says(outbound.position(held), outbound.position_end(), outbound.position(held))

    def summary(client: Client, request: requests.Request) -> None:
        assert isinstance(request, requests.AccountSummary)
        client.say(outbound.account_summary(figure, request.request_id))
        client.say(outbound.account_summary_end(request.request_id))

    tws.on[requests.AccountSummary] = summary
    assert await line.positions() == (held,)
    assert await line.account_summary(("NetLiquidation", "BuyingPower")) == (figure,)
    await tws.until(lambda: tws.got(requests.CancelAccountSummary))
    (asked,) = tws.got(requests.AccountSummary)
    assert asked == requests.AccountSummary(asked.request_id, "All", ("NetLiquidation", "BuyingPower"))  # type: ignore[union-attr]
    assert tws.got(requests.CancelAccountSummary) == [requests.CancelAccountSummary(asked.request_id)]  # type: ignore[union-attr]
    assert tws.got(requests.CancelPositions) == [requests.CancelPositions()]


async def test_the_time(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    tws.on[requests.CurrentTime] = says(outbound.current_time(AT))
    assert await line.current_time() == AT


async def test_one_of_a_kind_at_a_time(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    asking = [asyncio.create_task(line.completed_orders()) for _ in range(3)]
    for number in range(1, 4):
        await tws.until(lambda number=number: len(tws.got(requests.CompletedOrders)) == number)
        tws.on[requests.CurrentTime] = says(outbound.current_time(AT))
        await line.current_time()  # another kind is not kept waiting, and no second one of this kind was sent
        assert len(tws.got(requests.CompletedOrders)) == number
        tws.client.say(outbound.encode(replace(COMPLETED, perm_id=number)), outbound.completed_orders_end())
        await asking[number - 1]
    answers = [task.result() for task in asking]
    assert [[order.perm_id for order in answer] for answer in answers] == [[1], [2], [3]]


@pytest.mark.parametrize("how", ["cut", "hang_up", "close"])
async def test_every_question_ends_with_the_line(how: str, connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    asking = [asyncio.ensure_future(ask(line)) for ask in QUESTIONS.values()]
    # One of the two kinds of open orders waits for the other, so it is not sent.
    await tws.until(lambda: len(tws.received) == 1 + len(QUESTIONS) - 1)
    if how == "close":
        await line.close()
    else:
        getattr(tws.client, how)()
    results = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 60)
    assert [type(result) for result in results] == [ConnectionFailed] * len(QUESTIONS)
    assert len(connected.lost) == (0 if how == "close" else 1)


async def test_a_line_that_says_nothing_gives_no_answer(connected: Connected) -> None:
    """Half open: the socket is there, and nobody at the other end."""
    line = await connected.line(answer_seconds=0.05)
    results = await asyncio.gather(*(ask(line) for ask in QUESTIONS.values()), return_exceptions=True)
    assert [type(result) for result in results] == [NoAnswer] * len(QUESTIONS)
    assert line.is_open
    assert connected.lost == []


async def test_the_end_of_an_answer_that_was_given_up_does_not_end_the_next(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line(answer_seconds=60)
    first = asyncio.create_task(line.open_orders())
    await tws.until(lambda: len(tws.got(requests.OpenOrders)) == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(line.open_orders())
    tws.on[requests.CurrentTime] = says(outbound.current_time(AT))
    await line.current_time()
    assert len(tws.got(requests.OpenOrders)) == 1  # it is not sent while the first answer may still come
    tws.client.say(outbound.encode(SHOWN), outbound.open_order_end())
    await tws.until(lambda: len(tws.got(requests.OpenOrders)) == 2)
    assert not second.done()
    later = replace(SHOWN, order_id=9, perm_id=2001)
    tws.client.say(outbound.encode(later), outbound.open_order_end())
    assert await second == (later,)


async def test_an_answer_that_was_lost_does_not_block_its_kind_for_ever(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line(answer_seconds=0.1)
    with pytest.raises(NoAnswer):
        await line.completed_orders()

    def answer(client: Client, _: requests.Request) -> None:
        line._answer_seconds = 60
        client.say(outbound.encode(COMPLETED), outbound.completed_orders_end())

    tws.on[requests.CompletedOrders] = answer
    line._answer_seconds = 60
    assert await line.completed_orders() == (COMPLETED,)


async def test_a_late_answer_with_a_number_is_no_answer_to_another(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    first = asyncio.create_task(line.executions())
    await tws.until(lambda: len(tws.got(requests.Executions)) == 1)
    first.cancel()
    second = asyncio.create_task(line.executions())
    await tws.until(lambda: len(tws.got(requests.Executions)) == 2)
    old, new = (request.request_id for request in tws.got(requests.Executions))  # type: ignore[union-attr]
    other = replace(EXECUTION, execution_id="0002.01.01")
    tws.client.say(outbound.execution(EXECUTION, old), outbound.exec_details_end(old))
    tws.client.say(outbound.encode(ErrorTold(old, 162, "too late")))
    tws.client.say(outbound.execution(other, new), outbound.exec_details_end(new))
    assert await second == (other,)
    assert connected.told == [EXECUTION, other]


async def test_an_answer_of_which_a_part_cannot_be_read_is_none(
    connected: Connected, caplog: pytest.LogCaptureFixture
) -> None:
    tws, line = connected.tws, await connected.line()
    tws.on[requests.OpenOrders] = says(outbound.encode(SHOWN), outbound.encode(SHOWN)[:50], outbound.open_order_end())
    with pytest.raises(NoAnswer, match="open orders cannot be read in full"):
        await line.open_orders()
    assert "openOrder" in caplog.text

    def answer(client: Client, request: requests.Request) -> None:
        assert isinstance(request, requests.Executions)
        broken = outbound.execution(EXECUTION, request.request_id)
        broken[19] = "many"
        client.say(broken, outbound.exec_details_end(request.request_id))

    tws.on[requests.Executions] = answer
    with pytest.raises(NoAnswer, match="executions cannot be read in full"):
        await line.executions()
    # The next answer is not spoiled by it.
    tws.on[requests.OpenOrders] = says(outbound.encode(SHOWN), outbound.open_order_end())
    assert await line.open_orders() == (SHOWN,)


async def test_a_hearer_that_fails_spoils_no_answer(tws: ScriptedTws, caplog: pytest.LogCaptureFixture) -> None:
    def hear(_: Told) -> None:
        raise RuntimeError("the hearer is broken")

    tws.on[requests.OpenOrders] = says(outbound.encode(SHOWN), outbound.open_order_end())
    line = Line("127.0.0.1", tws.port, 7, answer_seconds=60)
    await line.open(hear, lambda _: None)
    assert await line.open_orders() == (SHOWN,)
    assert "the hearer is broken" in caplog.text
    await line.close()


async def test_what_nobody_asked_for_is_no_trouble(connected: Connected) -> None:
    tws, line = connected.tws, await connected.line()
    tws.client.say(
        outbound.open_order_end(),
        outbound.completed_orders_end(),
        outbound.encode(COMPLETED),
        outbound.exec_details_end(5),
        outbound.contract_details(DETAILS, 5),
        outbound.contract_details_end(5),
        outbound.market_rule(26, []),
        outbound.position(PositionTold("DU1", STOCK, D(1), None)),
        outbound.position_end(),
        outbound.account_summary_end(5),
        outbound.account_value(AccountValueTold("DU1", "NetLiquidation", "1", "USD")),
        outbound.account_download_end("DU1"),
        outbound.current_time(AT),
    )
    tws.on[requests.CurrentTime] = says(outbound.current_time(AT))
    await line.current_time()  # all of that has come
    tws.on[requests.OpenOrders] = says(outbound.encode(SHOWN), outbound.open_order_end())
    assert await line.open_orders() == (SHOWN,)
    assert connected.told == [COMPLETED, SHOWN]
