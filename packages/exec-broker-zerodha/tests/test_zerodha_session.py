"""Sessions with the simulated Kite: what becomes of orders in trouble, of tokens, of limits, and what is told."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exec_broker_zerodha.broker import PLUGIN
from exec_broker_zerodha.simulator.desk import Desk
from exec_broker_zerodha.simulator.faults import Trouble
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.server import Simulator
from exec_broker_zerodha.tokens import store
from exec_core.broker import AvailabilityState, BrokerConfig, Mode
from exec_core.errors import AuthenticationFailed, ConfigurationError, NotSent, OrderRejected, OutcomeUnknown
from exec_core.identifiers import AccountId, SignalId
from exec_core.instruments import AssetClass, Instrument
from exec_core.orders import Order, OrderRequest, OrderStatus, OrderType, TimeInForce
from exec_core.plugins import plugin_settings
from exec_core.reports import OrderReport, ReportStatus
from exec_core.sides import Side
from exec_core.testing.following import Follower
from exec_core.testing.session import Session

KEY, TOKEN, USER = "appkey77", "tokenof1morning", "AB1234"
ACCOUNT = AccountId("acc_test")


@dataclass
class Far:
    simulator: Simulator
    desk: Desk

    def placed(self) -> int:
        return self.desk.requests["order.place"]

    @property
    def orders(self) -> list[Any]:
        return list(self.simulator.book.all_orders())


@pytest.fixture
async def venue() -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def opened(**options: Any) -> Far:
            values = {"user_id": USER, "api_key": KEY, "access_token": TOKEN, "is_resting": True, "keeps_limits": False}
            simulator = await stack.enter_async_context(Simulator(Options(**(values | options))))
            return Far(simulator, Desk(simulator))

        yield opened


@pytest.fixture
async def far(venue: Any) -> Far:
    found: Far = await venue()
    return found


@pytest.fixture
def follower() -> Follower:
    return Follower()


def config(far: Far, path: Path, mode: Mode = Mode.LIVE, **settings: Any) -> BrokerConfig:
    values = {
        "api_key": KEY,
        "access_token": TOKEN,
        "user_id": USER,
        "api_root": far.simulator.api_root,
        "poll_seconds": 0.03,
        "requests_per_second": 1000,
        "data_dir": str(path),
    }
    known = {key: value for key, value in (values | settings).items() if value is not None}
    return BrokerConfig("zerodha", ACCOUNT, mode=mode, settings=known)


@pytest.fixture
async def connect(tmp_path: Path, follower: Follower) -> AsyncIterator[Callable[..., Any]]:
    opened: list[Session] = []

    async def enter(far: Far, mode: Mode = Mode.LIVE, **settings: Any) -> Session:
        known = config(far, tmp_path, mode, **settings)
        session = Session(PLUGIN.create(known, plugin_settings(PLUGIN, known)), PLUGIN, follower, 60)
        await session.enter()
        opened.append(session)
        return session

    yield enter
    for session in opened:
        await session.leave()


NUMBERS = iter(range(1, 10_000))


def order(**changes: Any) -> Order:
    values: dict[str, Any] = {
        "signal_id": SignalId(f"test-{next(NUMBERS)}"),
        "account_id": ACCOUNT,
        "strategy_name": "test",
        "instrument": Instrument("RELIANCE"),
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "quantity": Decimal(10),
        "product": "MIS",
    } | changes
    if values["order_type"].has_limit:
        values.setdefault("limit_price", Decimal("1400.00"))
    return Order.new(OrderRequest(**values))


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if await value if inspect.isawaitable(value) else value:
                return
            await asyncio.sleep(0.01)


# Orders in trouble


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble.HTML,
        Trouble.CUT,
        Trouble.EMPTY,
        Trouble.GARBLED,
        Trouble.NO_TYPE,
        Trouble.NULL,
        Trouble.UNTYPED,
        Trouble.TIMED_OUT,
        Trouble.RESET,
    ],
)
async def test_an_order_that_was_taken_is_never_refused_nor_sent_again(
    far: Far, connect: Any, follower: Follower, trouble: Trouble
) -> None:
    session = await connect(far)
    asked = order()
    far.desk.arm(trouble, "order.place", is_after=True)
    with pytest.raises(OutcomeUnknown):
        await session.place(asked)
    await until(lambda: follower.orders[asked.client_order_id].status is OrderStatus.SUBMITTED)
    with pytest.raises(OutcomeUnknown, match="earlier send"):
        await session.broker.place_order(asked)
    assert (far.placed(), len(far.orders)) == (1, 1)


async def test_an_order_that_shows_late_is_found(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far)
    asked = order()
    far.desk.arm(Trouble.TIMED_OUT, "order.place", is_after=True)
    far.desk.hide_new_orders()
    with pytest.raises(OutcomeUnknown):
        await session.place(asked)
    assert not (await session.find(asked)).has_trace
    far.desk.hide_new_orders(False)
    assert (await session.find(asked)).has_trace
    assert follower.orders[asked.client_order_id].status is OrderStatus.SUBMITTED
    assert len(far.orders) == 1


async def test_absence_is_not_proven_while_the_request_is_under_way(far: Far, connect: Any) -> None:
    session = await connect(far, request_seconds=20)
    asked = order()
    far.desk.arm(Trouble.HANG, "order.place")
    sending = asyncio.create_task(session.broker.place_order(asked))
    await until(lambda: far.placed() == 1)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    found = await session.broker.find_order(asked)
    assert not found.has_trace
    assert not found.view.complete
    assert (await session.broker.find_order(order())).view.complete


async def test_several_orders_under_one_tag_are_all_told(far: Far, connect: Any) -> None:
    session = await connect(far)
    asked = order()
    await session.place(asked)
    far.desk.trade_by_hand("BUY", 10, "NSE:RELIANCE", price=Decimal("1400.00"), tag=str(asked.client_order_id))
    assert len((await session.find(asked)).orders) == 2
    await session.cancel(asked)
    assert [one.status for one in far.orders] == ["CANCELLED", "CANCELLED"]


async def test_a_protected_market_order_is_recognised(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far)
    asked = order(order_type=OrderType.MARKET)
    far.desk.arm(Trouble.NULL, "order.place", is_after=True)
    with pytest.raises(OutcomeUnknown):
        await session.place(asked)
    await until(lambda: follower.orders[asked.client_order_id].status is OrderStatus.SUBMITTED)
    known = follower.orders[asked.client_order_id]
    assert far.orders[0].order_type == "LIMIT"
    assert known.modified is None
    far.desk.fill(far.orders[0].order_id, 4, Decimal("1400.00"))
    far.desk.cancel(far.orders[0].order_id)
    await until(lambda: follower.orders[asked.client_order_id].status is OrderStatus.CANCELLED)
    assert follower.orders[asked.client_order_id].filled_quantity == 4


async def test_the_remainder_of_an_ioc_is_cancelled(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far)
    asked = order(time_in_force=TimeInForce.IOC)
    await session.place(asked)
    far.desk.fill(far.orders[0].order_id, 3, Decimal("1400.00"))
    far.desk.cancel(far.orders[0].order_id)
    await until(lambda: follower.orders[asked.client_order_id].status.is_final)
    known = follower.orders[asked.client_order_id]
    assert (known.status, known.filled_quantity) == (OrderStatus.CANCELLED, 3)


async def test_trades_that_come_after_their_order_are_waited_for(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far)
    asked = order()
    await session.place(asked)
    far.desk.hide_new_trades()
    far.desk.fill(far.orders[0].order_id, 10, Decimal("1399.95"))
    await until(lambda: any(one.status is ReportStatus.FILLED for one in session.orders))
    assert follower.orders[asked.client_order_id].status is not OrderStatus.FILLED
    assert follower.orders[asked.client_order_id].reported_filled_quantity == 10
    far.desk.hide_new_trades(False)
    await until(lambda: follower.orders[asked.client_order_id].status is OrderStatus.FILLED)
    assert follower.orders[asked.client_order_id].average_price == Decimal("1399.95")


async def test_an_order_of_yesterday_is_not_judged_by_todays_book(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far)
    asked = order()
    await session.place(asked)
    sent = follower.orders[asked.client_order_id]
    await session.leave()
    far.desk.new_day()
    session = await connect(far)
    found = await session.broker.find_order(sent)
    assert not found.has_trace
    assert sent.sent_at is not None
    assert not found.view.proves_absence_since(sent.sent_at)


async def test_an_order_of_an_earlier_session_is_cancelled_by_its_tag_and_variety(far: Far, connect: Any) -> None:
    session = await connect(far)
    asked = order(variety="amo")
    placed = await session.place(asked)
    assert placed.status is ReportStatus.HELD
    await session.leave()
    session = await connect(far)
    await session.broker.cancel_order(asked)  # as it was before anybody knew its id
    assert [(one.variety, one.status) for one in far.orders] == [("amo", "CANCELLED")]


async def test_without_a_list_of_instruments_nothing_is_sent(far: Far, connect: Any) -> None:
    session = await connect(far)
    far.desk.arm(Trouble.ERROR, "instruments", count=100, status=503, error_type="NetworkException")
    with pytest.raises(NotSent):
        await session.place(order())
    assert far.placed() == 0
    far.desk.disarm()
    await session.place(order())
    assert far.placed() == 1


async def test_what_an_execution_is_worth_is_told_before_the_list_has_come(
    far: Far, connect: Any, tmp_path: Path
) -> None:
    """An option's default multiplier is 100; and one position without a currency beside one with it would be two."""
    listed = next(one for one in far.simulator.counter.catalogue.all if (one.exchange, one.kind) == ("NFO", "CE"))
    session = await connect(far)
    option = Instrument(listed.symbol, AssetClass.OPTION, exchange="NFO")
    asked = order(instrument=option, quantity=Decimal(listed.step), limit_price=Decimal("10.00"), product="NRML")
    placed = await session.place(asked)
    await session.leave()
    far.desk.fill(placed.broker_order_id, listed.step, Decimal(10))
    far.desk.arm(Trouble.ERROR, "instruments", count=1000, status=503, error_type="NetworkException")
    session = await connect(far, data_dir=str(tmp_path / "empty"))
    await until(lambda: session.fills)
    details = session.fills[0].details
    assert (details.multiplier, details.currency) == (1, "INR")
    assert all(report.details.multiplier == 1 for report in session.orders)


# The token, the user, the address


async def test_a_token_that_ended_ends_the_session_and_a_new_one_goes_on(
    far: Far, connect: Any, tmp_path: Path, follower: Follower
) -> None:
    path = tmp_path / "token.json"
    store(path, TOKEN, USER, None)
    session = await connect(far, access_token=None, token_file=str(path))
    asked = order()
    await session.place(asked)
    far.desk.expire_token()
    with pytest.raises(AuthenticationFailed):
        await session.place(order())
    assert session.broker.availability().state is AvailabilityState.LOGIN_NEEDED
    await until(lambda: session.failure is not None)
    assert isinstance(session.failure, AuthenticationFailed)
    far.desk.reset_requests()
    for _ in range(3):
        with pytest.raises(AuthenticationFailed):
            await session.place(order())
    assert far.desk.requests.total() == 0, "what is refused already is not asked again"
    await session.leave()
    with pytest.raises(AuthenticationFailed, match="exec-broker-zerodha login"):
        await connect(far, access_token=None, token_file=str(path))
    store(path, far.desk.renew_token("tokenof2morning"), USER, None)
    session = await connect(far, access_token=None, token_file=str(path))
    far.desk.fill(far.orders[0].order_id, 10, Decimal("1400.00"))
    await until(lambda: follower.orders[asked.client_order_id].status is OrderStatus.FILLED)


async def test_a_new_token_is_taken_up_during_a_session(
    far: Far, connect: Any, tmp_path: Path, follower: Follower
) -> None:
    path = tmp_path / "token.json"
    store(path, TOKEN, USER, None)
    session = await connect(far, access_token=None, token_file=str(path), poll_seconds=60)
    far.desk.expire_token()
    store(path, far.desk.renew_token("tokenof2morning"), USER, None)
    asked = order()
    await session.place(asked)
    assert follower.orders[asked.client_order_id].status is OrderStatus.SUBMITTED


async def test_another_users_token_is_refused(far: Far, connect: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"AB1234, not to XY9999"):
        await connect(far, user_id="XY9999")
    assert far.placed() == 0


async def test_real_money_is_not_traded_as_paper(far: Far, tmp_path: Path) -> None:
    known = config(far, tmp_path, Mode.PAPER, api_root=None)
    broker = PLUGIN.create(known, plugin_settings(PLUGIN, known))
    with pytest.raises(ConfigurationError, match="no paper accounts"):
        await broker.__aenter__()
    await broker.__aexit__(None, None, None)


async def test_an_address_that_is_not_registered(far: Far, connect: Any) -> None:
    session = await connect(far)
    far.desk.allow_address(False)
    with pytest.raises(OrderRejected, match="static IP"):
        await session.place(order())
    assert (far.placed(), session.broker.availability().is_ready) == (1, True)
    assert (await session.broker.open_orders()).items == ()


# Limits


async def test_too_many_requests_are_no_lost_line(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far)
    asked = order()
    await session.place(asked)
    far.desk.arm(Trouble.LIMITED, "order.place")
    with pytest.raises(NotSent):
        await session.place(order())
    far.desk.arm(Trouble.LIMITED, "orders")
    far.desk.reset_requests()
    await until(lambda: far.desk.requests["orders"] > 0)
    assert session.failure is None
    assert session.broker.availability().is_ready
    assert len(far.orders) == 1


async def test_a_burst_is_kept_within_kites_limits(venue: Any, connect: Any) -> None:
    far = await venue(keeps_limits=True)
    session = await connect(far, requests_per_second=None, poll_seconds=None, api_key=KEY)
    orders = [order() for _ in range(14)]
    await asyncio.gather(*(session.place(one) for one in orders))
    await session.cancel(orders[0])
    assert far.desk.refused_requests == 0
    assert len(far.orders) == 14


# What it costs, what is held


async def test_charges_are_asked_once_per_order_and_delay_nothing(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far)
    asked = order()
    await session.place(asked)
    hang = far.desk.arm(Trouble.ERROR, "charges", count=2, status=503, error_type="NetworkException")
    far.desk.fill(far.orders[0].order_id, 4, Decimal("1400.00"))
    await until(lambda: follower.orders[asked.client_order_id].filled_quantity == 4)
    looks = far.desk.requests["orders"]
    await until(lambda: far.desk.requests["orders"] >= looks + 3)
    assert far.desk.requests["charges"] == 0, "its brokerage has a maximum: parts of it are not asked for apart"
    far.desk.fill(far.orders[0].order_id, 6, Decimal("1399.95"))
    await until(lambda: follower.orders[asked.client_order_id].status is OrderStatus.FILLED)
    await until(lambda: follower.orders[asked.client_order_id].commission is not None)
    assert hang.count <= 0
    known = follower.orders[asked.client_order_id]
    assert len(known.commissions) == 2
    assert known.commission is not None
    assert (known.commission.estimated, known.commission.currency) == (True, "INR")
    assert known.commission.amount > 0
    later = order()
    await session.place(later)
    far.desk.fill(far.orders[1].order_id, 10, Decimal("1400.00"))
    await until(lambda: follower.orders[later.client_order_id].commission is not None)
    assert far.desk.requests["charges"] == 4, "two in vain, and then once for each order"


async def test_positions_by_product_and_over_night(far: Far, connect: Any) -> None:
    session = await connect(far)
    for product, side in (("MIS", Side.SELL), ("CNC", Side.BUY)):
        await session.place(order(product=product, side=side))
        far.desk.fill(far.orders[-1].order_id, 10, Decimal("1400.00"))
    held = {one.product: one.quantity for one in (await session.broker.positions()).items}
    assert held == {"MIS": -10, "CNC": 10}
    far.desk.new_day()
    held = {one.product: one.quantity for one in (await session.broker.positions()).items}
    assert held["CNC"] == 10


async def test_a_derivative_is_told_by_what_is_under_it(far: Far, connect: Any) -> None:
    options = [one for one in far.simulator.counter.catalogue.all if (one.exchange, one.kind) == ("NFO", "CE")]
    listed = max(options, key=lambda one: str(one.expiry))
    expiry = f"{listed.expiry:%Y%m%d}"
    option = Instrument(listed.name, AssetClass.OPTION, expiry=expiry, strike=listed.strike, right="C")  # type: ignore[arg-type]
    session = await connect(far)
    asked = order(instrument=option, quantity=Decimal(listed.step), limit_price=Decimal("10.00"), product="NRML")
    await session.place(asked)
    await session.leave()
    session = await connect(far)
    (told,) = (await session.broker.open_orders()).items
    assert told.terms is not None
    assert told.terms.instrument is not None
    assert told.terms.instrument.key == f"OPTION|{listed.name}|NFO|INR|{expiry}|{listed.strike.normalize():f}|C"


# Order updates


async def test_an_update_wakes_the_poller(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far, poll_seconds=60, ws_root=far.simulator.ws_root)
    await until(lambda: far.simulator.updates.listeners == 1)
    asked = order()
    await session.place(asked)
    # Connecting and sending each cause one look; more come from updates only, or after a minute.
    for filled in (3, 6, 9, 10):
        far.desk.fill(far.orders[0].order_id, 3 if filled < 10 else 1, Decimal("1400.00"))
        await until(lambda filled=filled: follower.orders[asked.client_order_id].filled_quantity == filled, 50)


async def test_after_a_break_of_the_updates_the_book_is_read(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far, poll_seconds=60, ws_root=far.simulator.ws_root)
    await until(lambda: far.simulator.updates.listeners == 1)
    asked = order()
    await session.place(asked)
    await until(lambda: any(isinstance(one, OrderReport) for one in session.heard))
    await far.desk.cut_lines()
    await until(lambda: far.simulator.updates.listeners == 0)
    far.desk.fill(far.orders[0].order_id, 10, Decimal("1400.00"))
    await until(lambda: follower.orders[asked.client_order_id].status is OrderStatus.FILLED, 50)


async def test_without_updates_it_works_as_well(far: Far, connect: Any, follower: Follower) -> None:
    session = await connect(far, ws_root="ws://127.0.0.1:9")
    asked = order()
    await session.place(asked)
    far.desk.fill(far.orders[0].order_id, 10, Decimal("1400.00"))
    await until(lambda: follower.orders[asked.client_order_id].status is OrderStatus.FILLED)
