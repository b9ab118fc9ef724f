"""Messages as TWS sends them, and orders as the service has them, for the tests of what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from exec_broker_ibkr.following.tracking import Tracker
from exec_broker_ibkr.messages import (
    CommissionTold,
    CompletedShown,
    ErrorTold,
    ExecutionTold,
    OrderShown,
    StatusTold,
    TwsContract,
    TwsLeg,
    TwsOrder,
)
from exec_core.events import Dispatched
from exec_core.identifiers import AccountId, SignalId
from exec_core.instruments import Instrument, InstrumentDetails
from exec_core.lifecycle import apply
from exec_core.orders import Order, OrderRequest, OrderType
from exec_core.reports import Report
from exec_core.sides import Side

NOW = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)
ACCOUNT = "DU1234567"
CLIENT = 1
SPY = TwsContract("STK", "SPY", 756733, exchange="SMART", currency="USD", primary_exchange="ARCA")
CALL = TwsContract("OPT", "SPY", 111, "20271217", Decimal(600), "C", Decimal(100), "SMART", currency="USD")
PUT = TwsContract("OPT", "SPY", 222, "20271217", Decimal(600), "P", Decimal(100), "SMART", currency="USD")
STRADDLE = TwsContract(
    "BAG",
    "SPY",
    exchange="SMART",
    currency="USD",
    legs=(TwsLeg(111, 1, "BUY", "SMART"), TwsLeg(222, 1, "BUY", "SMART")),
)
DETAILS = InstrumentDetails(None, Decimal("0.01"), Decimal(1), "USD")


def order(signal_id: str = "sig_1", **fields: Any) -> Order:
    asked: dict[str, Any] = {"order_type": OrderType.LIMIT, "quantity": Decimal(100), "limit_price": Decimal(500)}
    asked |= fields
    asked = {"instrument": Instrument("SPY"), "side": Side.BUY} | asked
    return Order.new(OrderRequest(SignalId(signal_id), AccountId("acc_1"), "Strategy", **asked))


ORDER = order()
REF = ORDER.client_order_id


def sent(one: Order = ORDER, contract: TwsContract = SPY, **fields: Any) -> TwsOrder:
    values: dict[str, Any] = {"quantity": one.quantity, "limit_price": one.request.limit_price} | fields
    return TwsOrder("BUY", "LMT", ACCOUNT, values.pop("tif", "DAY"), one.client_order_id, **values)


def tracker(*, order_id: int | None = 7, one: Order = ORDER, contract: TwsContract = SPY, **fields: Any) -> Tracker:
    """A tracker which has sent the order under that id; None: nothing."""
    made = Tracker(ACCOUNT, CLIENT)
    if order_id is not None:
        made.sending(order_id, one, sent(one, **fields), contract, DETAILS if contract is SPY else None)
    return made


def shown(status: str = "Submitted", perm_id: int = 900, **fields: Any) -> OrderShown:
    values: dict[str, Any] = {
        "order_id": 7,
        "client_id": CLIENT,
        "order_ref": REF,
        "account": ACCOUNT,
        "contract": SPY,
        "action": "BUY",
        "order_type": "LMT",
        "tif": "DAY",
        "total_quantity": Decimal(100),
        "limit_price": Decimal(500),
    } | fields
    return OrderShown(perm_id=perm_id, status=status, **values)


def status(word: str = "Submitted", filled: int | str = 0, perm_id: int = 900, **fields: Any) -> StatusTold:
    done = Decimal(filled)
    values: dict[str, Any] = {"order_id": 7, "client_id": CLIENT, "remaining": Decimal(100) - done} | fields
    return StatusTold(perm_id=perm_id, status=word, filled=done, **values)


def execution(
    execution_id: str = "0001.01.01", quantity: int | str = 100, price: str = "500", perm_id: int = 900, **fields: Any
) -> ExecutionTold:
    values: dict[str, Any] = {
        "order_id": 7,
        "client_id": CLIENT,
        "order_ref": REF,
        "account": ACCOUNT,
        "contract": SPY,
        "side": "BOT",
        "time": NOW,
    } | fields
    return ExecutionTold(
        perm_id=perm_id, execution_id=execution_id, quantity=Decimal(quantity), price=Decimal(price), **values
    )


def commission(execution_id: str = "0001.01.01", amount: str | None = "1.0", currency: str = "USD") -> CommissionTold:
    return CommissionTold(execution_id, None if amount is None else Decimal(amount), currency)


def error(code: int, text: str = "", order_id: int = 7) -> ErrorTold:
    return ErrorTold(order_id, code, text)


def completed(word: str, perm_id: int = 900, **fields: Any) -> CompletedShown:
    values: dict[str, Any] = {
        "order_ref": REF,
        "account": ACCOUNT,
        "contract": SPY,
        "action": "BUY",
        "order_type": "LMT",
        "tif": "DAY",
        "limit_price": Decimal(500),
    } | fields
    return CompletedShown(perm_id=perm_id, status=word, **values)


def followed(start: Order, reports: list[Report] | tuple[Report, ...]) -> Order:
    """The order after all of it, as the service judges it; reports of other orders are left out."""
    current = start
    if start.sent_at is None:
        current = apply(start, Dispatched(), NOW - timedelta(seconds=1)).order
    for number, report in enumerate(reports):
        if report.client_order_id == start.client_order_id or report.broker_order_id in current.broker_order_ids:
            current = apply(current, report, NOW + timedelta(seconds=number)).order
    return current


def heard(made: Tracker, *told: Any, settle: bool = True) -> list[Report]:
    """Every report that follows from these messages; with `settle`, also what is told when nothing more is to come."""
    reports = [report for one in told for report in made.hear(one)]
    return reports + list(made.settle()) if settle else reports
