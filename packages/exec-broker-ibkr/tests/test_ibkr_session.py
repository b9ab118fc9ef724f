"""A session's line: TWS's own outages, lines that are open and dead, announced breaks, what must be read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from exec_broker_ibkr.broker import IbkrBroker
from exec_broker_ibkr.settings import IbkrSettings
from exec_broker_ibkr.simulator.desk import Desk
from exec_broker_ibkr.simulator.faults import NextOrder
from exec_broker_ibkr.simulator.server import Simulator
from exec_core.broker import AvailabilityState, BrokerConfig, Mode
from exec_core.clock import utc_now
from exec_core.errors import (
    AnnouncedBreak,
    CancelRejected,
    ConfigurationError,
    ConnectionFailed,
    NotSent,
    OrderRejected,
    OutcomeUnknown,
)
from exec_core.identifiers import AccountId, SignalId
from exec_core.instruments import AssetClass, Instrument
from exec_core.orders import Order, OrderRequest, OrderType
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report, ReportStatus
from exec_core.sides import Side

DEADLINE = 60.0
#: Around the clock, in two halves.
ALWAYS = "daily 00:00-12:00 UTC; daily 12:00-00:00 UTC"


class Tws(Desk):
    """A simulated TWS, and who works it."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.simulator = simulator
        self.slow = ""
        self.waiting: list[tuple[Any, Any]] = []
        self._hear = simulator.heard
        simulator.heard = self._heard  # type: ignore[method-assign]

    def _heard(self, connection: Any, request: Any) -> None:
        if type(request).__name__ == self.slow:
            self.waiting.append((connection, request))
        else:
            self._hear(connection, request)

    def hurry(self) -> None:
        """Answer what was kept waiting."""
        self.slow = ""
        for connection, request in self.waiting:
            self._hear(connection, request)


@asynccontextmanager
async def tws() -> AsyncIterator[Tws]:
    """A simulated TWS at which nothing trades by itself."""
    async with Simulator(rests=True) as simulator:
        yield Tws(simulator)


def broker_at(
    desk: Tws, *, mode: Mode = Mode.PAPER, clock: Callable[[], datetime] = utc_now, **settings: Any
) -> IbkrBroker:
    values = {"port": desk.simulator.port, "breaks": "none", "answer_seconds": 5.0} | settings
    return IbkrBroker(BrokerConfig("ibkr", AccountId("acc_1"), mode=mode), IbkrSettings(**values), clock)


def order(name: str = "sig_1", quantity: int = 10, **changes: Any) -> Order:
    values: dict[str, Any] = {"order_type": OrderType.LIMIT, "limit_price": Decimal("235.15")} | changes
    return Order.new(
        OrderRequest(
            SignalId(name),
            AccountId("acc_1"),
            "Trend",
            values.pop("instrument", Instrument("AAPL")),
            values.pop("side", Side.BUY),
            quantity=Decimal(quantity),
            **values,
        )
    )


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for something that nobody announces."""
    try:
        async with asyncio.timeout(DEADLINE):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"never: {what}")


class Heard:
    """What a session tells, and how it ended."""

    def __init__(self, broker: IbkrBroker) -> None:
        self.reports: list[Report] = []
        self.failure: Exception | None = None
        self._task = asyncio.create_task(self._listen(broker))

    async def _listen(self, broker: IbkrBroker) -> None:
        try:
            async for report in broker.reports():
                self.reports.append(report)
        except ConnectionFailed as error:
            self.failure = error

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def filled(self) -> Decimal:
        return sum((one.fill.quantity for one in self.reports if isinstance(one, FillReport)), Decimal(0))

    @property
    def words(self) -> list[ReportStatus]:
        return [one.status for one in self.reports if isinstance(one, OrderReport)]


@asynccontextmanager
async def listening(broker: IbkrBroker) -> AsyncIterator[Heard]:
    async with broker:
        heard = Heard(broker)
        try:
            yield heard
        finally:
            await heard.stop()


def is_ready(broker: IbkrBroker) -> bool:
    return broker.availability().is_ready


class TestTheLineOfTws:
    """TWS keeps its line to us, and loses its own."""

    async def test_nothing_is_sent_while_tws_has_no_line_and_all_goes_on_after(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk)
            async with listening(broker) as heard:
                desk.cut_off()
                await until(lambda: not is_ready(broker), "the outage is noticed")
                assert "has been lost" in str(broker.availability().reason)
                with pytest.raises(ConnectionFailed):
                    await broker.place_order(order())
                lost_at = broker.availability().since
                desk.restore()
                await until(lambda: is_ready(broker), "the line is back")
                assert broker.availability().since > lost_at
                placed = await broker.place_order(order("sig_2"))
                assert [str(row.perm_id) for row in desk.simulator.book.orders()] == [placed.broker_order_id]
                assert heard.failure is None

    @pytest.mark.parametrize("data_lost", [True, False])
    async def test_what_happened_meanwhile_is_read_again_before_it_is_ready(self, data_lost: bool) -> None:
        async with tws() as desk:
            broker = broker_at(desk, sweep_seconds=3600)
            async with listening(broker) as heard:
                placed = await broker.place_order(order())
                desk.cut_off()
                await until(lambda: not is_ready(broker), "the outage is noticed")
                tell, desk.simulator.exchange.hear = desk.simulator.exchange.hear, _nobody
                desk.fill(int(placed.broker_order_id), Decimal(10), Decimal(235))
                desk.simulator.exchange.hear = tell
                desk.restore(data_lost=data_lost)
                await until(lambda: is_ready(broker), "the line is back")
                assert heard.filled == 10 or await _soon(lambda: heard.filled == 10)

    async def test_a_view_taken_while_tws_has_no_line_proves_nothing(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk)
            async with broker:
                assert (await broker.find_order(order())).view.complete
                desk.cut_off()
                await until(lambda: not is_ready(broker), "the outage is noticed")
                assert not (await broker.find_order(order())).view.complete
                assert not (await broker.open_orders()).view.complete
                assert not (await broker.positions()).view.complete

    async def test_a_view_during_which_the_line_was_away_and_came_back_proves_nothing(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk, answer_seconds=DEADLINE, sweep_seconds=3600)
            async with broker:
                desk.slow = "CompletedOrders"
                looking = asyncio.create_task(broker.open_orders())
                await until(lambda: desk.waiting, "the look is under way")
                desk.cut_off()
                desk.restore()
                desk.hurry()
                assert not (await looking).view.complete
                assert (await broker.open_orders()).view.complete

    async def test_an_order_that_vanished_with_the_line_is_unknown(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk, answer_seconds=0.3)
            async with broker:
                await broker.place_order(order("first"))  # its contract is known from now on
                # The outage begins after the order was handed over, and before TWS has said so.
                desk.simulator._cut_off = True
                with pytest.raises(OutcomeUnknown, match="has not answered within"):
                    await broker.place_order(order())

    async def test_a_session_that_begins_during_an_outage_is_ready_when_it_ends(self) -> None:
        async with tws() as desk:
            desk.cut_off()
            broker = broker_at(desk)
            async with broker:
                await until(lambda: not is_ready(broker), "the outage is told")
                desk.restore()
                await until(lambda: is_ready(broker), "the line is back")


class TestADeadLine:
    async def test_a_line_that_is_open_and_dead_ends_the_session(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk, heartbeat_seconds=0.2, answer_seconds=0.5)
            async with listening(broker) as heard:
                desk.half_open()
                await until(lambda: heard.failure, "the session is over")
                assert "stopped answering" in str(heard.failure)
                assert not is_ready(broker)

    async def test_an_order_on_a_dead_line_is_unknown(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk, heartbeat_seconds=3600, answer_seconds=0.3)
            async with broker:
                await broker.place_order(order("first"))
                desk.half_open()
                with pytest.raises(OutcomeUnknown):
                    await broker.place_order(order())

    async def test_what_tws_tells_in_the_background_does_not_keep_a_session_that_misses_an_execution(self) -> None:
        """The execution never came, its status did: it is asked for."""
        async with tws() as desk:
            broker = broker_at(desk, sweep_seconds=3600)
            async with listening(broker) as heard:
                placed = await broker.place_order(order())
                tell = desk.simulator.exchange.hear
                desk.simulator.exchange.hear = lambda client, told: tell(
                    client, [one for one in told if type(one).__name__ != "ExecutionTold"]
                )
                desk.fill(int(placed.broker_order_id), Decimal(10), Decimal(235))
                await until(lambda: heard.filled == 10, "the execution is asked for")

    async def test_an_end_that_tws_never_explains_is_told_all_the_same(self) -> None:
        async with tws() as desk:
            desk.hang_requests("CompletedOrders")
            broker = broker_at(desk, sweep_seconds=3600, answer_seconds=0.3)
            async with listening(broker) as heard:
                placed = await broker.place_order(order())
                tell = desk.simulator.exchange.hear
                desk.simulator.exchange.hear = lambda client, told: tell(
                    client, [one for one in told if type(one).__name__ != "ErrorTold"]
                )
                desk.cancel(int(placed.broker_order_id))
                await until(lambda: ReportStatus.CANCELLED in heard.words, "the end is told")

    async def test_the_client_id_of_a_dead_client_is_taken_up_when_tws_lets_it_go(self) -> None:
        async with tws() as desk:
            desk.keep_client_ids()
            broker = broker_at(desk)
            async with broker:
                assert is_ready(broker)
            with pytest.raises(ConnectionFailed, match="Client id"):
                await broker_at(desk).__aenter__()
            desk.simulator.free_client_ids()
            async with broker_at(desk) as again:
                assert is_ready(again)


class TestBreaks:
    async def test_what_cannot_be_reached_in_an_announced_break_is_a_break(self) -> None:
        async with tws() as desk:
            desk.refuse_connections()
            broker = broker_at(desk, breaks=ALWAYS)
            with pytest.raises(AnnouncedBreak):
                await broker.__aenter__()
            assert broker.availability().state is AvailabilityState.ANNOUNCED_BREAK

    async def test_a_line_that_is_lost_in_an_announced_break_is_a_break_and_one_that_is_up_is_none(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk, breaks=ALWAYS)
            async with listening(broker) as heard:
                await broker.place_order(order())
                desk.cut_lines()
                await until(lambda: heard.failure, "the session is over")
                assert isinstance(heard.failure, AnnouncedBreak)
                assert broker.availability().state is AvailabilityState.ANNOUNCED_BREAK
                with pytest.raises(AnnouncedBreak):
                    await broker.place_order(order("sig_2"))

    async def test_an_outage_behind_tws_in_an_announced_break_is_a_break(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk, breaks=ALWAYS)
            async with broker:
                desk.cut_off()
                await until(lambda: not is_ready(broker), "the outage is noticed")
                assert broker.availability().state is AvailabilityState.ANNOUNCED_BREAK


class TestEntering:
    async def test_order_ids_that_are_in_use_are_never_given_out_again(self) -> None:
        """TWS was restarted and counts from 1 again, while an order with id 1 works: it must not be modified."""
        async with tws() as desk:
            async with broker_at(desk) as broker:
                first = await broker.place_order(order("first"))
            desk.restart(first_order_id=1)
            async with broker_at(desk) as broker:
                second = await broker.place_order(order("second", quantity=20))
            assert first.broker_order_id != second.broker_order_id
            assert [row.total_quantity for row in desk.simulator.book.orders()] == [10, 20]

    async def test_a_session_without_the_list_of_ended_orders_works_and_proves_nothing_by_absence(self) -> None:
        async with tws() as desk:
            desk.hang_requests("CompletedOrders")
            broker = broker_at(desk, answer_seconds=0.3)
            async with broker:
                assert is_ready(broker)
                await broker.place_order(order("sig_2"))
                assert not (await broker.find_order(order())).view.complete

    async def test_what_a_future_is_worth_is_asked_before_its_executions_are_told_again(self) -> None:
        future = Instrument("CL", AssetClass.FUTURE, expiry="202712")
        async with tws() as desk:
            async with broker_at(desk) as broker:
                placed = await broker.place_order(order(instrument=future, quantity=2, limit_price=Decimal(70)))
            desk.fill(int(placed.broker_order_id), Decimal(2), Decimal("69.5"))
            async with listening(broker_at(desk)) as heard:
                await until(lambda: heard.filled == 2, "the execution is told")
                (fill,) = [one for one in heard.reports if isinstance(one, FillReport)]
                assert fill.details == placed.details

    @pytest.mark.parametrize("kind", ["OpenOrders", "Executions"])
    async def test_a_session_without_open_orders_or_executions_is_none(self, kind: str) -> None:
        async with tws() as desk:
            desk.hang_requests(kind)
            with pytest.raises(ConnectionFailed, match="does not tell"):
                await broker_at(desk, answer_seconds=0.3).__aenter__()
            assert desk.simulator.client_ids == () or await _soon(lambda: desk.simulator.client_ids == ())

    async def test_the_wrong_kind_of_money_is_a_mistake_in_the_configuration(self) -> None:
        async with tws() as desk:
            with pytest.raises(ConfigurationError, match="paper account, but its mode is live"):
                await broker_at(desk, mode=Mode.LIVE).__aenter__()


class TestOrders:
    async def test_a_read_only_tws_refuses_with_a_sentence_that_says_where_to_switch_that_off(self) -> None:
        async with tws() as desk:
            desk.read_only()
            with pytest.raises(ConnectionFailed, match="Read-Only API"):
                await broker_at(desk, answer_seconds=0.5).__aenter__()

    @pytest.mark.parametrize(
        ("instrument", "changes", "says"),
        [
            (Instrument("NOSUCH"), {}, "NOSUCH"),
            (Instrument("TWIN"), {}, "AMEX"),
            (Instrument("AAPL"), {"limit_price": Decimal("235.151")}, "0.01"),
            (Instrument("NOPERM"), {"limit_price": Decimal(5)}, "permission"),
            (Instrument("SPY", AssetClass.OPTION), {}, "expiry"),
            (Instrument("AAPL"), {"quantity": 10_000_000}, "(201)"),
            (Instrument("BTC", AssetClass.CRYPTO), {"side": Side.SELL, "limit_price": Decimal(60_000)}, "Short sale"),
        ],
    )
    async def test_what_ibkr_would_not_take_is_refused_with_one_clear_sentence(
        self, instrument: Instrument, changes: dict[str, Any], says: str
    ) -> None:
        async with tws() as desk, broker_at(desk) as broker:
            with pytest.raises(OrderRejected) as refused:
                await broker.place_order(order(instrument=instrument, **changes))
            assert says in str(refused.value)
            assert [row for row in desk.simulator.book.orders() if row.is_open] == []

    async def test_a_price_between_two_steps_is_rounded_where_that_is_configured(self) -> None:
        async with tws() as desk, broker_at(desk, round_prices=True) as broker:
            await broker.place_order(order(limit_price=Decimal("235.151")))
            (row,) = desk.simulator.book.orders()
            assert row.limit_price == Decimal("235.15")

    async def test_tws_is_asked_once_which_contract_an_instrument_is(self) -> None:
        async with tws() as desk, broker_at(desk) as broker:
            await broker.place_order(order("first"))
            desk.hang_requests("ContractDetails")
            desk.hang_requests("MarketRule")
            await broker.place_order(order("second"))
            assert len(desk.simulator.book.orders()) == 2

    async def test_where_tws_does_not_say_which_contract_it_is_nothing_was_sent(self) -> None:
        async with tws() as desk, broker_at(desk, answer_seconds=0.3) as broker:
            desk.hang_requests("ContractDetails")
            with pytest.raises(NotSent, match="which contract"):
                await broker.place_order(order())

    async def test_an_order_held_for_a_locate_is_held_and_not_refused(self) -> None:
        async with tws() as desk, broker_at(desk) as broker:
            desk.next_order(NextOrder.LOCATE)
            placed = await broker.place_order(order(side=Side.SELL))
            assert placed.status is ReportStatus.HELD

    async def test_an_execution_without_filled_completes_the_order_and_its_cost_comes_later(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk, sweep_seconds=3600)
            async with listening(broker) as heard:
                desk.never_say_filled()
                desk.withhold_commissions()
                placed = await broker.place_order(order())
                desk.fill(int(placed.broker_order_id), Decimal(10), Decimal(235))
                await until(lambda: heard.filled == 10, "the execution is heard")
                assert ReportStatus.FILLED not in heard.words
                desk.bill()
                await until(
                    lambda: any(isinstance(one, CommissionReport) for one in heard.reports), "the commission is heard"
                )

    async def test_a_time_in_a_zone_that_nobody_knows_loses_no_execution(self) -> None:
        async with tws() as desk:
            broker = broker_at(desk)
            async with listening(broker) as heard:
                desk.spell_times("unknown-zone")
                placed = await broker.place_order(order())
                desk.fill(int(placed.broker_order_id), Decimal(10), Decimal(235))
                await until(lambda: heard.filled == 10, "the execution is heard")


class TestCancels:
    async def test_an_order_of_another_client_cannot_be_cancelled_from_here(self) -> None:
        async with tws() as desk:
            async with broker_at(desk, client_id=5) as other:
                placed = await other.place_order(order())
            async with broker_at(desk, client_id=6) as broker:
                known = Order.new(order().request)
                with pytest.raises(CancelRejected, match="client id 5"):
                    await broker.cancel_order(known)
            assert desk.order(int(placed.broker_order_id)).is_open

    async def test_an_order_that_another_client_placed_meanwhile_is_looked_for(self) -> None:
        async with (
            tws() as desk,
            broker_at(desk, client_id=6, sweep_seconds=3600) as broker,
            broker_at(desk, client_id=5) as other,
        ):
            await other.place_order(order())
            with pytest.raises(CancelRejected, match="client id 5"):
                await broker.cancel_order(order())

    async def test_a_cancel_that_comes_too_late_is_rejected_in_the_words_of_tws(self) -> None:
        async with tws() as desk, broker_at(desk, sweep_seconds=3600) as broker:
            placed = await broker.place_order(order())
            desk.simulator.exchange.hear, tell = _nobody, desk.simulator.exchange.hear
            desk.fill(int(placed.broker_order_id), Decimal(10), Decimal(235))
            desk.simulator.exchange.hear = tell
            with pytest.raises(CancelRejected, match="10148"):
                await broker.cancel_order(order())

    async def test_two_cancels_at_once_have_one_answer_each(self) -> None:
        async with tws() as desk, broker_at(desk) as broker:
            placed = await broker.place_order(order())
            done = await asyncio.gather(
                broker.cancel_order(order()), broker.cancel_order(order()), return_exceptions=True
            )
            assert None in done
            assert all(one is None or isinstance(one, CancelRejected) for one in done)
            await until(lambda: not desk.order(int(placed.broker_order_id)).is_open, "it is cancelled")

    async def test_a_cancel_without_an_answer_is_asked_again(self) -> None:
        async with tws() as desk, broker_at(desk, answer_seconds=0.3) as broker:
            await broker.place_order(order())
            desk.half_open()
            with pytest.raises(ConnectionFailed):
                await broker.cancel_order(order())


class TestPositions:
    async def test_a_future_is_known_by_its_month_and_by_its_last_day(self) -> None:
        future = Instrument("CL", AssetClass.FUTURE, expiry="202712")
        async with tws() as desk, broker_at(desk) as broker:
            placed = await broker.place_order(order(instrument=future, quantity=2, limit_price=Decimal(70)))
            desk.fill(int(placed.broker_order_id), Decimal(2), Decimal("69.5"))
            (held,) = (await broker.positions()).items
            names = {name.expiry for name in (held.instrument, *held.also_known_as)}
            assert {"202712", "20271119"} <= names
            assert held.quantity == 2
            assert held.average_price is not None
            assert abs(held.average_price - Decimal("69.5")) < Decimal("0.1")

    async def test_the_account_tells_money_and_margins(self) -> None:
        async with tws() as desk, broker_at(desk) as broker:
            money = await broker.account()
            assert money.currency == "USD"
            figures = (money.equity, money.cash, money.buying_power, money.initial_margin, money.maintenance_margin)
            assert all(isinstance(figure, Decimal) for figure in figures)
            assert money.equity == 1_000_000


async def _soon(condition: Callable[[], Any]) -> bool:
    await until(condition, "soon")
    return True


def _nobody(_client: int, _told: Any) -> None:
    """Whoever tells something at that time tells it to nobody."""
