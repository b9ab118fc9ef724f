"""The simulated TWS as the conformance kit drives it, and the adapter's suite. Needs the extra ``testing``.

The adapter and its client library cannot tell it from a TWS: they meet it over a socket of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType, TracebackType
from typing import ClassVar, Final, Self

from exec_core.broker import BrokerConfig, Mode
from exec_core.fills import Commission
from exec_core.identifiers import AccountId
from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.orders import OrderType, TimeInForce
from exec_core.reports import ReportStatus
from exec_core.sides import Side
from exec_core.testing import Ability, BrokerConformance, Tradable, Venue, VenueExecution, VenueOrder

from exec_broker_ibkr.messages import TwsContract
from exec_broker_ibkr.simulator import life
from exec_broker_ibkr.simulator.desk import Desk
from exec_broker_ibkr.simulator.faults import Answers, NextOrder
from exec_broker_ibkr.simulator.listing import LISTING
from exec_broker_ibkr.simulator.rows import FILLED, INACTIVE, PRE_SUBMITTED, ExecutionRow, OrderRow, moment
from exec_broker_ibkr.simulator.server import HOST, Simulator
from exec_broker_ibkr.simulator.terms import Terms

_ACCOUNT: Final = "DU7654321"
_OUR_ID: Final = 20
_TYPES: Final[Mapping[str, OrderType]] = MappingProxyType(
    {"MKT": OrderType.MARKET, "LMT": OrderType.LIMIT, "STP": OrderType.STOP, "STP LMT": OrderType.STOP_LIMIT}
)
_TIFS: Final[Mapping[str, TimeInForce]] = MappingProxyType({one.value: one for one in TimeInForce})
_ENDS: Final[Mapping[str, ReportStatus]] = MappingProxyType(
    {
        life.CANCELED: ReportStatus.CANCELLED,
        life.EXPIRED: ReportStatus.EXPIRED,
        life.REJECTED: ReportStatus.REJECTED,
    }
)


@dataclass(frozen=True, slots=True)
class _Good:
    """Something of one kind, as the kit names it, and its contract here."""

    instrument: Instrument
    con_id: int
    price: str
    increment: str = "0.01"
    quantity: str = "10"
    step: str = "1"

    @property
    def tradable(self) -> Tradable:
        return Tradable(
            self.instrument, Decimal(self.price), Decimal(self.increment), Decimal(self.quantity), Decimal(self.step)
        )


_GOODS: Final[Mapping[AssetClass, _Good]] = MappingProxyType(
    {
        AssetClass.STOCK: _Good(Instrument("AAPL"), 265598, "235.15"),
        AssetClass.ETF: _Good(Instrument("SPY", AssetClass.ETF), 756733, "600.25"),
        AssetClass.OPTION: _Good(
            Instrument("SPY", AssetClass.OPTION, expiry="20271217", strike=Decimal(600), right=Right.CALL),
            700000001,
            "12.34",
        ),
        AssetClass.FUTURE: _Good(
            Instrument("ES", AssetClass.FUTURE, exchange="CME", expiry="202712"), 649180671, "6000.25", "0.25"
        ),
        AssetClass.FOREX: _Good(Instrument("EURUSD", AssetClass.FOREX), 12087792, "1.08515", "0.00005", "20000"),
        AssetClass.CRYPTO: _Good(
            Instrument("BTC", AssetClass.CRYPTO), 479624278, "60000.50", "0.25", "0.5", "0.00000001"
        ),
    }
)


class IbkrVenue(Venue):
    """A simulated TWS in this event loop, at which nothing trades by itself, worked on through its desk."""

    cannot: ClassVar[Mapping[Ability, str]] = MappingProxyType(
        {Ability.FORBID_LOGIN: "the login is the gateway's own: a session has no credentials that could be refused"}
    )

    def __init__(self) -> None:
        self._simulator = Simulator(terms=Terms((_ACCOUNT,), Decimal(1_000_000_000)), rests=True)
        self._desk = Desk(self._simulator)

    async def __aenter__(self) -> Self:
        await self._simulator.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._simulator.__aexit__(kind, error, trace)

    @property
    def config(self) -> BrokerConfig:
        return BrokerConfig(
            "ibkr",
            AccountId("kit"),
            mode=Mode.PAPER,
            settings={
                "host": HOST,
                "port": self._simulator.port,
                "client_id": 7,
                "account": _ACCOUNT,
                # What the cards wait for. Nothing is announced at the venue, whatever the time of day is here.
                "breaks": "none",
                "answer_seconds": 1.0,
                "sweep_seconds": 0.2,
            },
        )

    def tradable(self, asset_class: AssetClass) -> Tradable:
        return _GOODS[asset_class].tradable

    async def orders(self) -> tuple[VenueOrder, ...]:
        return tuple(self._venue_order(row) for row in self._simulator.book.orders_of_today())

    def _venue_order(self, row: OrderRow) -> VenueOrder:
        return VenueOrder(
            str(row.perm_id),
            row.order_ref if len(row.order_ref) == _OUR_ID else None,
            _symbol(row.contract),
            Side(row.action),
            _TYPES[row.order_type],
            _status(row),
            row.total_quantity,
            row.cash_quantity,
            row.limit_price,
            row.stop_price,
            _TIFS.get(row.tif),
            tuple(self._execution(one) for one in self._desk.executions(row.perm_id)),
        )

    def _execution(self, row: ExecutionRow) -> VenueExecution:
        return VenueExecution(
            self._simulator.book.stem(row),
            row.quantity,
            row.price,
            moment(row.time),
            Commission(row.commission, row.currency) if row.is_billed else None,
            row.correction,
        )

    # The market

    async def fill(self, broker_order_id: str, quantity: Decimal, price: Decimal) -> VenueExecution:
        return self._execution(self._desk.fill(int(broker_order_id), quantity, price))

    async def cancel(self, broker_order_id: str) -> None:
        self._desk.cancel(int(broker_order_id))

    async def reject(self, broker_order_id: str, reason: str) -> None:
        self._desk.reject(int(broker_order_id), reason)

    async def expire(self, broker_order_id: str) -> None:
        self._desk.expire(int(broker_order_id))

    async def correct(self, execution_id: str, quantity: Decimal, price: Decimal) -> VenueExecution:
        return self._execution(self._desk.correct(execution_id, quantity, price))

    async def withhold_commissions(self) -> None:
        self._desk.withhold_commissions()

    async def bill(self) -> None:
        self._desk.bill()

    async def trade_by_hand(self, tradable: Tradable, side: Side, quantity: Decimal) -> VenueOrder:
        good = next(one for one in _GOODS.values() if one.instrument == tradable.instrument)
        listed = LISTING.of_con_id(good.con_id)
        if listed is None:
            raise LookupError(f"{good.con_id} is not listed")
        row = self._desk.trade_by_hand(listed.contract, side.value, quantity, tradable.price)
        return self._venue_order(row)

    async def modify(
        self,
        broker_order_id: str,
        *,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> None:
        self._desk.modify(int(broker_order_id), quantity=quantity, limit_price=limit_price, stop_price=stop_price)

    async def say_unknown_word(self, broker_order_id: str) -> None:
        self._desk.say(int(broker_order_id), "Pondering")

    async def begin_new_day(self) -> None:
        self._desk.begin_day()

    # Trouble

    async def refuse_next(self, reason: str) -> None:
        self._desk.refuse_next(reason)

    async def lose_next_answer(self, *, taken: bool) -> None:
        self._desk.next_order(NextOrder.LOST_AFTER if taken else NextOrder.LOST)

    async def hang_next(self) -> None:
        self._desk.next_order(NextOrder.HANGS)

    async def lose_next_cancel(self) -> None:
        self._desk.lose_next_cancel()

    async def hold_cancels(self) -> None:
        self._desk.hold_cancels()

    async def fail_questions(self) -> None:
        self._desk.answer(Answers.FAIL)

    async def answer_in_part(self) -> None:
        self._desk.answer(Answers.PART)

    async def answer_questions(self) -> None:
        self._desk.answer(Answers.WHOLE)

    async def repeat_reports(self) -> None:
        self._desk.tell_twice()

    async def reorder_reports(self) -> None:
        self._desk.tell_in_reverse()

    async def disconnect(self) -> None:
        self._desk.refuse_connections()

    async def reconnect(self) -> None:
        await self._desk.accept_connections()


def _symbol(contract: TwsContract) -> str:
    return contract.symbol + contract.currency if contract.sec_type == "CASH" else contract.symbol


def _status(row: OrderRow) -> ReportStatus:
    if row.status == FILLED:
        return ReportStatus.FILLED
    if not row.is_open:
        return _ENDS[row.ended_as]
    return ReportStatus.HELD if row.status in (PRE_SUBMITTED, INACTIVE) else ReportStatus.WORKING


class TestIbkr(BrokerConformance):
    """The adapter, over the real client library, at a simulated TWS."""

    plugin = "ibkr"
    venue = IbkrVenue
