"""The simulated Kite as the conformance kit drives it, and the suite of Zerodha. Needs the extra ``testing``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, TracebackType
from typing import ClassVar, Final, Self
from uuid import uuid4

from exec_core.broker import BrokerConfig, Mode
from exec_core.identifiers import AccountId
from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.orders import OrderType, TimeInForce
from exec_core.reports import ReportStatus
from exec_core.sides import Side
from exec_core.testing import Ability, BrokerConformance, Tradable, Venue, VenueExecution, VenueOrder

from exec_broker_zerodha.simulator.catalogue import Listed
from exec_broker_zerodha.simulator.desk import Desk
from exec_broker_zerodha.simulator.faults import PLACE, Fault, Trouble
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.rows import OrderRow, Status, TradeRow
from exec_broker_zerodha.simulator.server import Simulator
from exec_broker_zerodha.simulator.times import moment, whole_second

API_KEY: Final = "kitapikey7f3c91"
ACCESS_TOKEN: Final = "kitaccesstoken5d20b8e6"  # noqa: S105  # of no account that there is
USER_ID: Final = "KT0001"
_OFTEN: Final = 1_000_000

_TYPES: Final = MappingProxyType(
    {"MARKET": OrderType.MARKET, "LIMIT": OrderType.LIMIT, "SL": OrderType.STOP_LIMIT, "SL-M": OrderType.STOP}
)
_STATUSES: Final = MappingProxyType(
    {
        Status.COMPLETE: ReportStatus.FILLED,
        Status.CANCELLED: ReportStatus.CANCELLED,
        Status.REJECTED: ReportStatus.REJECTED,
        Status.TRIGGER_PENDING: ReportStatus.HELD,
        Status.AMO_RECEIVED: ReportStatus.HELD,
    }
)


class ZerodhaVenue(Venue):
    """The simulated Kite, in the same event loop, where nothing trades by itself.

    The rate limits are off, and the adapter is told so: the cards ask more in a second than a day's trading does.
    """

    cannot: ClassVar[Mapping[Ability, str]] = MappingProxyType(
        {
            Ability.CORRECT: "a row of Kite's trades never changes",
            Ability.BILL_LATE: "it bills nobody: what an order costs is computed on request, and is an estimate",
        }
    )
    secrets: ClassVar[tuple[str, ...]] = (API_KEY, ACCESS_TOKEN)

    _simulator: Simulator
    _desk: Desk
    _folder: TemporaryDirectory[str]

    def __init__(self) -> None:
        # The rest is made on entering: of a card that is skipped nothing is to be cleaned up.
        self._account_id = AccountId(f"kit_{uuid4().hex[:12]}")
        self._silence: Fault | None = None

    async def __aenter__(self) -> Self:
        options = Options(
            user_id=USER_ID,
            api_key=API_KEY,
            access_token=ACCESS_TOKEN,
            is_resting=True,
            keeps_limits=False,
            # The kit's stop-limit orders have their limit on the other side of the trigger, which Kite refuses.
            checks_triggers=False,
        )
        self._simulator = await Simulator(options).__aenter__()
        self._desk = Desk(self._simulator)
        self._folder = TemporaryDirectory(prefix="exec-zerodha-conformance-")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._simulator.__aexit__(kind, error, trace)
        self._folder.cleanup()

    # What the kit needs to know

    @property
    def config(self) -> BrokerConfig:
        settings = {
            "api_key": API_KEY,
            "access_token": ACCESS_TOKEN,
            "user_id": USER_ID,
            "api_root": self._simulator.api_root,
            "poll_seconds": 0.05,
            "request_seconds": 2,
            "requests_per_second": 1000,
            "data_dir": str(Path(self._folder.name)),
        }
        return BrokerConfig("zerodha", self._account_id, mode=Mode.LIVE, settings=settings)

    def tradable(self, asset_class: AssetClass) -> Tradable:
        match asset_class:
            case AssetClass.STOCK:
                # MIS: what is not held cannot be sold for delivery.
                return self._share("RELIANCE", asset_class, "MIS")
            case AssetClass.ETF:
                return self._share("NIFTYBEES", asset_class, None)
            case AssetClass.FUTURE:
                return self._contract("NFO", "NIFTY", lambda listed: listed.kind == "FUT", asset_class)
            case AssetClass.OPTION:
                return self._contract("NFO", "NIFTY", lambda listed: listed.kind == "CE", asset_class)
            case _:
                raise KeyError(f"Kite trades no {asset_class}")

    def _share(self, symbol: str, asset_class: AssetClass, product: str | None) -> Tradable:
        listed = self._simulator.counter.catalogue.find("NSE", symbol)
        if listed is None:
            raise KeyError(symbol)
        instrument = Instrument(symbol, asset_class, exchange="NSE", currency="INR")
        return Tradable(instrument, listed.last_price, listed.tick, product=product)

    def _contract(
        self, exchange: str, name: str, is_wanted: Callable[[Listed], bool], asset_class: AssetClass
    ) -> Tradable:
        """The first that lives for a while yet: none that expires while the card is played."""
        catalogue = self._simulator.counter.catalogue
        soon = catalogue.today + timedelta(days=7)
        listed, expiry = min(
            (
                (one, one.expiry)
                for one in catalogue.all
                if (one.exchange, one.name) == (exchange, name) and is_wanted(one) and one.expiry and one.expiry > soon
            ),
            key=lambda found: (found[1], found[0].strike),
        )
        is_option = asset_class is AssetClass.OPTION
        instrument = Instrument(
            name,
            asset_class,
            exchange=exchange,
            currency="INR",
            expiry=f"{expiry:%Y%m%d}",
            strike=listed.strike if is_option else None,
            right=Right.CALL if is_option else None,
        )
        step = Decimal(listed.step)
        return Tradable(instrument, listed.last_price, listed.tick, 2 * step, step)

    async def orders(self) -> tuple[VenueOrder, ...]:
        self._simulator.advance()
        return tuple(self._venue_order(order) for order in self._simulator.book.all_orders())

    def _venue_order(self, order: OrderRow) -> VenueOrder:
        order_type = _TYPES[order.asked_type]
        return VenueOrder(
            order.order_id,
            order.tag,
            self._named(order),
            Side(order.side),
            order_type,
            _status(order),
            Decimal(order.quantity),
            limit_price=order.price if order_type.has_limit else None,
            stop_price=order.trigger_price if order_type.has_stop else None,
            time_in_force=TimeInForce(order.validity),
            executions=tuple(_execution(order, trade) for trade in self._simulator.book.trades_of(order.number)),
        )

    def _named(self, order: OrderRow) -> str:
        """The symbol that the order used: of a derivative, that of what is under it."""
        listed = self._simulator.counter.catalogue.find(order.exchange, order.symbol)
        return listed.name if listed is not None and listed.is_derivative else order.symbol

    # The market

    async def fill(self, broker_order_id: str, quantity: Decimal, price: Decimal) -> VenueExecution:
        trade = self._desk.fill(broker_order_id, int(quantity), price)
        return _execution(self._desk.order(broker_order_id), trade)

    async def cancel(self, broker_order_id: str) -> None:
        self._desk.cancel(broker_order_id)

    async def reject(self, broker_order_id: str, reason: str) -> None:
        self._desk.reject(broker_order_id, reason)

    async def expire(self, broker_order_id: str) -> None:
        self._desk.expire(broker_order_id)

    async def trade_by_hand(self, tradable: Tradable, side: Side, quantity: Decimal) -> VenueOrder:
        instrument = f"{tradable.instrument.exchange}:{tradable.instrument.symbol}"
        order = self._desk.trade_by_hand(side.value, int(quantity), instrument, price=tradable.price)
        return self._venue_order(order)

    async def modify(
        self,
        broker_order_id: str,
        *,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> None:
        whole = None if quantity is None else int(quantity)
        self._desk.modify(broker_order_id, quantity=whole, price=limit_price, trigger_price=stop_price)

    async def say_unknown_word(self, broker_order_id: str) -> None:
        self._desk.say(broker_order_id, "EXCHANGE QUEUE PENDING")

    async def begin_new_day(self) -> None:
        self._desk.new_day()

    # Trouble

    async def refuse_next(self, reason: str) -> None:
        self._desk.refuse_next(reason)

    async def lose_next_answer(self, *, taken: bool) -> None:
        self._desk.arm(Trouble.RESET, PLACE, is_after=taken)

    async def hang_next(self) -> None:
        self._desk.arm(Trouble.HANG, PLACE, is_after=True)

    async def lose_next_cancel(self) -> None:
        self._desk.lose_next_cancel()

    async def hold_cancels(self) -> None:
        self._desk.hold_cancels()

    async def fail_questions(self) -> None:
        await self.answer_questions()
        self._silence = self._desk.arm(
            Trouble.ERROR,
            "questions",
            count=_OFTEN,
            status=503,
            error_type="NetworkException",
            text="Request failed (kitetrade-oms)",
        )

    async def answer_in_part(self) -> None:
        await self.answer_questions()
        self._silence = self._desk.arm(Trouble.CUT, "questions", is_after=True, count=_OFTEN)

    async def answer_questions(self) -> None:
        if self._silence is not None:
            self._desk.disarm(self._silence)
            self._silence = None

    async def repeat_reports(self) -> None:
        # Every look at the lists tells everything again; the updates, where they are listened to, come twice.
        self._desk.repeat()

    async def reorder_reports(self) -> None:
        self._desk.reorder()

    async def disconnect(self) -> None:
        await self._desk.go_away()

    async def reconnect(self) -> None:
        await self._desk.come_back()

    async def forbid_login(self) -> None:
        self._desk.expire_token()

    async def allow_login(self) -> None:
        self._desk.renew_token(ACCESS_TOKEN)


def _status(order: OrderRow) -> ReportStatus:
    if order.is_expired and order.status == Status.CANCELLED:
        return ReportStatus.EXPIRED
    return _STATUSES.get(Status(order.status), ReportStatus.WORKING)


def _execution(order: OrderRow, trade: TradeRow) -> VenueExecution:
    """A trade; nobody bills it. Exchanges number their trades anew each day, and each from the beginning."""
    name = f"{order.exchange}:{trade.trade_id}:{order.order_id}"
    return VenueExecution(name, Decimal(trade.quantity), trade.price, moment(whole_second(trade.traded_at)))


class TestZerodha(BrokerConformance):
    """Zerodha, at the simulated Kite."""

    plugin = "zerodha"
    venue = ZerodhaVenue
    sdk_modules = ("kiteconnect", "twisted", "autobahn")
