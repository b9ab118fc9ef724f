"""The simulator as the conformance kit drives it, and the plugin's suite. Needs the extra ``testing``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Final, Self

from exec_core import (
    AccountId,
    AssetClass,
    BrokerConfig,
    Commission,
    Instrument,
    OrderType,
    ReportStatus,
    Side,
    TimeInForce,
)
from exec_core.testing import Ability, BrokerConformance, Tradable, Venue, VenueExecution, VenueOrder

from exec_broker_acme.simulator import ACCOUNT, OPEN, TOKEN, Acme, now

# Tables of its own, on purpose: with the adapter's, a wrong word would be wrong on both sides, and nobody would see it.
ORDER_TYPES: Final = {"MKT": OrderType.MARKET, "LMT": OrderType.LIMIT, "STP": OrderType.STOP}
STATUSES: Final = {
    "WAIT": ReportStatus.HELD,
    "DONE": ReportStatus.FILLED,
    "REJ": ReportStatus.REJECTED,
    "CXL": ReportStatus.CANCELLED,
    "EXP": ReportStatus.EXPIRED,
}


class AcmeVenue(Venue):
    """Acme's simulator, on a port of its own."""

    cannot: ClassVar[Mapping[Ability, str]] = MappingProxyType(
        {
            Ability.REPEAT: "it tells nothing by itself: each look at its book shows everything once",
            Ability.REORDER: "it tells nothing by itself: a look at its book shows what is, not what happened",
        }
    )
    secrets: ClassVar[tuple[str, ...]] = (TOKEN,)

    def __init__(self) -> None:
        self.acme = Acme()

    async def __aenter__(self) -> Self:
        await self.acme.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.acme.close()

    @property
    def config(self) -> BrokerConfig:
        settings = {
            "url": f"http://127.0.0.1:{self.acme.port}",
            "token": TOKEN,
            "account": ACCOUNT,
            "fastest_look_seconds": 0.005,
            "slowest_look_seconds": 0.02,
        }
        return BrokerConfig("acme", AccountId("acme_1"), settings=settings)

    def tradable(self, asset_class: AssetClass) -> Tradable:
        return Tradable(Instrument("SPY" if asset_class is AssetClass.ETF else "AAPL", asset_class), Decimal("187.50"))

    async def orders(self) -> tuple[VenueOrder, ...]:
        return tuple(map(_order, self.acme.book.values()))

    # The market

    async def fill(self, broker_order_id: str, quantity: Decimal, price: Decimal) -> VenueExecution:
        return _execution(self.acme.trade(self.acme.book[broker_order_id], quantity, price))

    async def cancel(self, broker_order_id: str) -> None:
        self.acme.change(self.acme.book[broker_order_id], "CXL")

    async def reject(self, broker_order_id: str, reason: str) -> None:
        self.acme.change(self.acme.book[broker_order_id], "REJ", reason)

    async def expire(self, broker_order_id: str) -> None:
        self.acme.change(self.acme.book[broker_order_id], "EXP")

    async def modify(
        self,
        broker_order_id: str,
        *,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> None:
        given = {"qty": quantity, "limit": limit_price, "stop": stop_price}
        terms = {name: str(value) for name, value in given.items() if value is not None}
        self.acme.modify(self.acme.book[broker_order_id], **terms)

    async def say_unknown_word(self, broker_order_id: str) -> None:
        self.acme.change(self.acme.book[broker_order_id], "FROZEN")

    async def correct(self, execution_id: str, quantity: Decimal, price: Decimal) -> VenueExecution:
        for row in self.acme.book.values():
            for trade in row["trades"]:
                if trade["id"] == execution_id:
                    trade.update(qty=str(quantity), px=str(price), rev=trade["rev"] + 1)
                    before = self.acme.ended.get(row["id"], "PART")
                    self.acme.change(row, before if row["status"] == "DONE" else row["status"], row["reason"])
                    return _execution(trade)
        raise LookupError(execution_id)

    async def withhold_commissions(self) -> None:
        self.acme.withholds_fees = True

    async def bill(self) -> None:
        for row in self.acme.book.values():
            for trade in row["trades"]:
                trade["fee"] = trade["fee"] or 1.25

    async def trade_by_hand(self, tradable: Tradable, side: Side, quantity: Decimal) -> VenueOrder:
        body = {"ref": None, "symbol": tradable.instrument.symbol, "side": side[0], "type": "LMT", "tif": "DAY"}
        numbers = {"qty": str(quantity), "limit": str(tradable.price), "stop": None}
        return _order(self.acme.enter({**body, **numbers}))

    async def begin_new_day(self) -> None:
        self.acme.book = {number: row for number, row in self.acme.book.items() if row["status"] in OPEN}
        self.acme.since = now()

    # Trouble

    async def refuse_next(self, reason: str) -> None:
        self.acme.refusal = reason

    async def lose_next_answer(self, *, taken: bool) -> None:
        self.acme.breaks_after, self.acme.breaks_before = taken, not taken

    async def hang_next(self) -> None:
        self.acme.hangs = True

    async def lose_next_cancel(self) -> None:
        self.acme.breaks_cancel = True

    async def hold_cancels(self) -> None:
        self.acme.holds_cancels = True

    async def fail_questions(self) -> None:
        self.acme.fails_questions = True

    async def answer_in_part(self) -> None:
        self.acme.is_partial = True

    async def answer_questions(self) -> None:
        self.acme.fails_questions = self.acme.is_partial = False

    async def disconnect(self) -> None:
        await self.acme.shut_out()

    async def reconnect(self) -> None:
        await self.acme.let_in()

    async def forbid_login(self) -> None:
        self.acme.is_locked = True

    async def allow_login(self) -> None:
        self.acme.is_locked = False


def _order(row: Mapping[str, Any]) -> VenueOrder:
    limit, stop = (None if row[name] is None else Decimal(row[name]) for name in ("limit", "stop"))
    return VenueOrder(
        row["id"],
        row["ref"],
        row["symbol"],
        {"B": Side.BUY, "S": Side.SELL}[row["side"]],
        ORDER_TYPES[row["type"]],
        STATUSES.get(row["status"], ReportStatus.WORKING),
        Decimal(row["qty"]),
        None,
        limit,
        stop,
        TimeInForce(row["tif"]),
        tuple(map(_execution, row["trades"])),
    )


def _execution(trade: Mapping[str, Any]) -> VenueExecution:
    fee = None if trade["fee"] is None else Commission(Decimal(str(trade["fee"])), "USD")
    time = datetime.fromisoformat(trade["at"]).astimezone(UTC)
    return VenueExecution(trade["id"], Decimal(trade["qty"]), Decimal(trade["px"]), time, fee, trade["rev"])


class TestAcme(BrokerConformance):
    """The plugin, at the simulator."""

    plugin = "acme"
    venue = AcmeVenue
