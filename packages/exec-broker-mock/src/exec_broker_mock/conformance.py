"""The mock venue as the conformance kit drives it, and the mock's suite. Needs the extra ``testing``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType, TracebackType
from typing import ClassVar, Final
from uuid import uuid4

from exec_core.broker import BrokerConfig
from exec_core.clock import utc_now
from exec_core.fills import Commission
from exec_core.identifiers import AccountId, SignalId
from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.orders import Order, OrderRequest, OrderType
from exec_core.sides import Side
from exec_core.testing import Ability, BrokerConformance, Tradable, Venue, VenueExecution, VenueOrder

from exec_broker_mock.books import forget_books, memory_book
from exec_broker_mock.desk import Desk
from exec_broker_mock.faults import FaultKind, Faults
from exec_broker_mock.matching import QUANTITY_INCREMENTS
from exec_broker_mock.reporting import effective
from exec_broker_mock.rows import FillRow, OrderRow, moment
from exec_broker_mock.settings import MockBrokerSettings
from exec_broker_mock.venue import Venue as Market
from exec_broker_mock.venue import target_of

#: Nothing trades by itself: every fill is a year away.
_YEAR: Final = 31_536_000
#: How late a commission is that was withheld: longer than any card, and so short that many of them are within the
#: time for which the venue tells a new session of ended orders.
_LATE: Final = 600.0
_OFTEN: Final = 1_000_000
_BY_HAND: Final = "by hand"
_FAILS: Final = (FaultKind.LOOKUP_FAILS, FaultKind.LIST_FAILS)
_INCOMPLETE: Final = (FaultKind.INCOMPLETE, FaultKind.LIST_INCOMPLETE)

_INSTRUMENTS: Final[Mapping[AssetClass, Instrument]] = MappingProxyType(
    {
        AssetClass.STOCK: Instrument("SPY"),
        AssetClass.ETF: Instrument("QQQ", AssetClass.ETF),
        AssetClass.OPTION: Instrument(
            "SPY", AssetClass.OPTION, expiry="20270115", strike=Decimal(500), right=Right.CALL
        ),
        AssetClass.FUTURE: Instrument("ES", AssetClass.FUTURE, expiry="202703", multiplier=Decimal(50)),
        AssetClass.FOREX: Instrument("EURUSD", AssetClass.FOREX),
        AssetClass.CRYPTO: Instrument("BTC", AssetClass.CRYPTO),
    }
)


@dataclass(slots=True)
class _Clock:
    """The time of day, and what the kit moved it ahead: views of the book cover what was sent until now."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


class MockVenue(Venue):
    """The mock's book in memory, under a clock moved by hand, worked on through its desk and its scripted faults."""

    cannot: ClassVar[Mapping[Ability, str]] = MappingProxyType(
        {
            Ability.UNKNOWN_WORD: "its words are those of the contract",
            Ability.NEW_DAY: "its book is kept for ever",
        }
    )

    def __init__(self) -> None:
        self._account_id = AccountId(f"kit_{uuid4().hex[:12]}")
        self._clock = _Clock()
        self._book = memory_book(self._account_id, self._clock)
        self._market = Market(self._book)
        self._desk = Desk(self._market)
        self._faults = Faults(self._book)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        forget_books(self._account_id)

    @property
    def config(self) -> BrokerConfig:
        return BrokerConfig("mock", self._account_id, settings={"fill_delay_seconds": _YEAR})

    def tradable(self, asset_class: AssetClass) -> Tradable:
        return Tradable(
            _INSTRUMENTS[asset_class], Decimal("235.15"), quantity_increment=QUANTITY_INCREMENTS[asset_class]
        )

    async def orders(self) -> tuple[VenueOrder, ...]:
        self._market.advance()
        with self._book.transaction(write=False):
            return tuple(self._venue_order(row) for row in self._book.all_orders())

    def _venue_order(self, row: OrderRow) -> VenueOrder:
        return VenueOrder(
            self._book.broker_order_id(row.number),
            row.client_order_id if row.strategy_name != _BY_HAND else None,
            row.symbol,
            row.side,
            row.order_type,
            row.status,
            row.quantity,
            row.cash_quantity,
            row.limit_price,
            row.stop_price,
            row.time_in_force,
            tuple(self._execution(row, fill) for fill in effective(self._book.fills_of_order(row.number))),
        )

    def _execution(self, row: OrderRow, fill: FillRow) -> VenueExecution:
        is_billed = fill.commission_at is None or fill.commission_at <= self._book.now()
        return VenueExecution(
            self._book.execution_id(fill.execution),
            fill.quantity,
            fill.price,
            moment(fill.time),
            Commission(fill.commission, row.currency) if is_billed else None,
            fill.correction,
        )

    async def fill(self, broker_order_id: str, quantity: Decimal, price: Decimal) -> VenueExecution:
        return await self._executed(self._desk.fill(broker_order_id, quantity, price))

    async def _executed(self, execution_id: str) -> VenueExecution:
        executions = [execution for order in await self.orders() for execution in order.executions]
        return next(execution for execution in executions if execution.execution_id == execution_id)

    async def cancel(self, broker_order_id: str) -> None:
        self._desk.cancel(broker_order_id)

    async def modify(
        self,
        broker_order_id: str,
        *,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> None:
        self._desk.modify(broker_order_id, quantity=quantity, limit_price=limit_price, stop_price=stop_price)

    async def reject(self, broker_order_id: str, reason: str) -> None:
        self._desk.reject(broker_order_id, reason)

    async def expire(self, broker_order_id: str) -> None:
        self._desk.expire(broker_order_id)

    async def correct(self, execution_id: str, quantity: Decimal, price: Decimal) -> VenueExecution:
        order = next(
            order
            for order in await self.orders()
            if any(execution.execution_id == execution_id for execution in order.executions)
        )
        self._desk.correct(order.broker_order_id, execution_id, quantity=quantity, price=price)
        return await self._executed(execution_id)

    async def withhold_commissions(self) -> None:
        self._faults.script(FaultKind.LATE_COMMISSION, count=_OFTEN, seconds=_LATE)

    async def bill(self) -> None:
        self._clock.ahead += timedelta(seconds=_LATE)
        self._market.advance()

    async def trade_by_hand(self, tradable: Tradable, side: Side, quantity: Decimal) -> VenueOrder:
        request = OrderRequest(
            SignalId(f"by hand {uuid4().hex}"),
            self._account_id,
            _BY_HAND,
            tradable.instrument,
            side,
            OrderType.LIMIT,
            quantity,
            limit_price=tradable.price,
        )
        settings = MockBrokerSettings(fill_delay_seconds=_YEAR)
        with self._book.transaction():
            # Not through a session: a person meets no line that is down, and no fault that waits for an order.
            order, now = Order.new(request), self._book.now()
            self._market.bring_up(now)
            row = self._market.accept(order, settings, target_of(order, self._account_id), None, now)
            return self._venue_order(row)

    async def refuse_next(self, reason: str) -> None:
        self._faults.script(FaultKind.REJECT, reason=reason)

    async def lose_next_answer(self, *, taken: bool) -> None:
        self._faults.script(FaultKind.LOSE_ANSWER if taken else FaultKind.LOSE_ORDER)

    async def hang_next(self) -> None:
        self._faults.script(FaultKind.HANG)

    async def lose_next_cancel(self) -> None:
        self._faults.script(FaultKind.CANCEL_LOST)

    async def hold_cancels(self) -> None:
        self._faults.script(FaultKind.CANCEL_IGNORED, count=_OFTEN)

    async def fail_questions(self) -> None:
        await self.answer_questions()
        for kind in _FAILS:
            self._faults.script(kind, count=_OFTEN)

    async def answer_in_part(self) -> None:
        await self.answer_questions()
        for kind in _INCOMPLETE:
            self._faults.script(kind, count=_OFTEN)

    async def answer_questions(self) -> None:
        self._faults.clear(*_FAILS, *_INCOMPLETE)

    async def repeat_reports(self) -> None:
        self._faults.script(FaultKind.DUPLICATE, count=_OFTEN)

    async def reorder_reports(self) -> None:
        self._faults.script(FaultKind.REORDER, count=_OFTEN)

    async def disconnect(self) -> None:
        self._faults.script(FaultKind.DISCONNECT, account_id=self._account_id, seconds=_YEAR)

    async def reconnect(self) -> None:
        self._faults.clear(FaultKind.DISCONNECT)

    async def forbid_login(self) -> None:
        self._faults.script(FaultKind.LOGIN, account_id=self._account_id, seconds=_YEAR)

    async def allow_login(self) -> None:
        self._faults.clear(FaultKind.LOGIN)


class TestMock(BrokerConformance):
    """The mock, at its own venue."""

    plugin = "mock"
    venue = MockVenue
