"""What TWS tells, out of the client library's objects into our records. Pure, and the same for both libraries.

The objects are `Any`: ib_insync and ib_async use the same names for the fields that are read here. What TWS leaves
unset becomes None, in whichever of its spellings; a price of 0.0 is TWS's word for "no price" on an order of a type
that has none (`ib_insync#509`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from exec_broker_ibkr.figures import figure, non_zero
from exec_broker_ibkr.messages import (
    CommissionTold,
    CompletedShown,
    DetailsTold,
    ExecutionTold,
    OrderShown,
    PositionTold,
    PriceStep,
    StatusTold,
    TwsContract,
    TwsLeg,
)

#: Types of orders whose limit price can really be 0, as that of a combination may be.
_LIMITED: Final = frozenset({"LMT", "STP LMT", "LIT", "LOC", "LOO", "REL", "TRAIL LIMIT", "LIMIT", "MIDPRICE"})
#: Types of orders whose stop or trigger price can.
_STOPPED: Final = frozenset({"STP", "STP LMT", "MIT", "LIT", "STP PRT", "TRAIL", "TRAIL LIMIT"})

_RIGHTS: Final = {"C": "C", "CALL": "C", "P": "P", "PUT": "P"}


def contract(read: Any) -> TwsContract:
    """A contract; a multiplier or strike of 0 is none, a right that is neither call nor put is none."""
    return TwsContract(
        sec_type=read.secType,
        symbol=read.symbol,
        con_id=int(read.conId or 0),
        expiry=read.lastTradeDateOrContractMonth,
        strike=non_zero(read.strike),
        right=_RIGHTS.get(read.right, ""),
        multiplier=non_zero(read.multiplier),
        exchange=read.exchange,
        primary_exchange=read.primaryExchange,
        currency=read.currency,
        local_symbol=read.localSymbol,
        trading_class=read.tradingClass,
        legs=tuple(TwsLeg(int(leg.conId), int(leg.ratio), leg.action, leg.exchange) for leg in (read.comboLegs or ())),
    )


def order_shown(order_id: int, of: Any, order: Any, state: Any) -> OrderShown:
    """``openOrder``: its contract, order and state."""
    return OrderShown(
        order_id=int(order_id),
        client_id=int(order.clientId),
        perm_id=int(order.permId),
        order_ref=order.orderRef,
        account=order.account,
        contract=contract(of),
        action=order.action,
        order_type=order.orderType,
        tif=order.tif,
        status=state.status,
        total_quantity=non_zero(order.totalQuantity),
        cash_quantity=non_zero(order.cashQty),
        limit_price=_price(order.lmtPrice, order.orderType in _LIMITED),
        stop_price=_price(order.auxPrice, order.orderType in _STOPPED),
        parent_id=int(order.parentId),
        warning=state.warningText,
    )


def completed_shown(of: Any, order: Any, state: Any) -> CompletedShown:
    """``completedOrder``. TWS says 0 for the ordered quantity here; what was filled is in ``filledQuantity``."""
    return CompletedShown(
        perm_id=int(order.permId),
        order_ref=order.orderRef,
        account=order.account,
        contract=contract(of),
        action=order.action,
        order_type=order.orderType,
        tif=order.tif,
        status=state.status,
        total_quantity=non_zero(order.totalQuantity),
        filled=figure(order.filledQuantity),
        cash_quantity=non_zero(order.cashQty),
        limit_price=_price(order.lmtPrice, order.orderType in _LIMITED),
        stop_price=_price(order.auxPrice, order.orderType in _STOPPED),
        completed_time=state.completedTime,
        completed_status=state.completedStatus,
    )


def status_told(
    order_id: int,
    status: str,
    filled: object,
    remaining: object,
    average: object,
    perm_id: int,
    client_id: int,
    why_held: str,
) -> StatusTold:
    """``orderStatus``; an average price means nothing before a fill."""
    done = figure(filled) or Decimal(0)
    return StatusTold(
        order_id=int(order_id),
        client_id=int(client_id),
        perm_id=int(perm_id),
        status=status,
        filled=done,
        remaining=figure(remaining) or Decimal(0),
        average_price=figure(average) if done else None,
        why_held=why_held,
    )


def execution_told(of: Any, execution: Any) -> ExecutionTold:
    """``execDetails``.

    :raises ValueError: it has no quantity or no price.
    """
    quantity, price = figure(execution.shares), figure(execution.price)
    if quantity is None or price is None:
        raise ValueError(f"execution {execution.execId} comes without its quantity or its price")
    return ExecutionTold(
        order_id=int(execution.orderId),
        client_id=int(execution.clientId),
        perm_id=int(execution.permId),
        order_ref=execution.orderRef,
        account=execution.acctNumber,
        contract=contract(of),
        execution_id=execution.execId,
        side=execution.side,
        quantity=quantity,
        price=price,
        time=execution.time.astimezone(UTC),
        cumulative_quantity=figure(execution.cumQty),
        average_price=figure(execution.avgPrice),
    )


def commission_told(report: Any) -> CommissionTold:
    """``commissionReport``. The libraries turn unset figures into 0 here, but not the commission itself."""
    return CommissionTold(report.execId, figure(report.commission), report.currency)


def position_told(account: str, of: Any, quantity: object, average: object) -> PositionTold:
    """``position``."""
    return PositionTold(account, contract(of), figure(quantity) or Decimal(0), figure(average))


def details_told(read: Any) -> DetailsTold:
    """``contractDetails``; the exchanges and the numbers of their rules come as two lists that belong together."""
    exchanges, rules = read.validExchanges.split(","), read.marketRuleIds.split(",")
    return DetailsTold(
        contract=contract(read.contract),
        min_tick=non_zero(read.minTick),
        market_rules=tuple(
            (exchange, int(rule)) for exchange, rule in zip(exchanges, rules, strict=False) if rule.strip().isdigit()
        ),
        size_increment=non_zero(read.sizeIncrement),
        min_size=non_zero(read.minSize),
        stock_type=read.stockType,
        long_name=read.longName,
        contract_month=read.contractMonth,
        price_magnifier=int(read.priceMagnifier) or 1,
        under_con_id=int(read.underConId),
    )


def price_steps(increments: Iterable[Any]) -> tuple[PriceStep, ...]:
    """``marketRule``; rows without an increment say nothing and are left out."""
    steps = ((figure(row.lowEdge), non_zero(row.increment)) for row in increments)
    return tuple(PriceStep(low or Decimal(0), step) for low, step in steps if step is not None)


def moment(epoch: int) -> datetime:
    """``currentTime``: seconds since 1970."""
    return datetime.fromtimestamp(epoch, UTC)


def _price(value: object, zero_is_one: bool) -> Decimal | None:
    return figure(value) if zero_is_one else non_zero(value)
