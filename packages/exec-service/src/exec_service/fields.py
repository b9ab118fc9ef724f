"""The flat fields of an order under the contract's names, with exact values: what every document is made of."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from exec_core.money import ZERO, exact
from exec_core.orders import Order, OrderStatus, ReasonCode

from exec_service.records import Invalid, OrderRecord

Subject = OrderRecord | Invalid

#: Until protective exits exist, this is what becomes of a stop_loss and a take_profit.
EXITS_NOT_PLACED: Final = "not placed"


def fields_of(subject: Subject, at: datetime) -> dict[str, Any]:
    """All fields; `at` is when an invalid message was refused."""
    return invalid_fields(subject, at) if isinstance(subject, Invalid) else order_fields(subject)


def order_fields(record: OrderRecord) -> dict[str, Any]:
    """The fields of an order; None is "not known" or "not so", never 0."""
    order, request, source = record.order, record.order.request, record.source
    instrument, state = request.instrument, state_fields(record)
    return {
        # What is selected by comes first: databases read documents from their beginning.
        "signal_id": request.signal_id,
        "leg_index": request.leg_index,
        "status": state["status"],
        "sequence": record.sequence,
        "order_id": state["order_id"],
        "attention": state["attention"],
        "revision": state["revision"],
        "total_legs": request.total_legs,
        "client_order_id": order.client_order_id,
        "source_order_id": source.source_order_id,
        "account_id": request.account_id,
        "strategy_name": request.strategy_name,
        "broker": None if record.broker is None else record.broker.upper(),
        "role": request.role.value,
        "symbol": instrument.symbol,
        "instrument_type": instrument.asset_class.value,
        "exchange": instrument.exchange,
        "currency": state["currency"],
        "expiry": instrument.expiry,
        "strike": instrument.strike,
        "right": None if instrument.right is None else instrument.right.value,
        "multiplier": state["multiplier"],
        "side": request.side.value,
        "quantity": state["quantity"],
        "cash_quantity": request.cash_quantity,
        "order_type": request.order_type.value,
        "limit_price": request.limit_price,
        "stop_price": request.stop_price,
        "reference_price": request.reference_price,
        "time_in_force": None if request.time_in_force is None else request.time_in_force.value,
        "product": request.product,
        "variety": request.variety,
        "stop_loss": request.stop_loss,
        "take_profit": request.take_profit,
        "exits": EXITS_NOT_PLACED if has_exits(order) else None,
        "received_at": source.received_at,
        **state,
    }


def state_fields(record: OrderRecord) -> dict[str, Any]:
    """Those of the fields that an event may change; the others come from the message, and stay."""
    order = record.order
    history, ids, commission = order.history, order.broker_order_ids, order.commission
    code, reason = order.reason_code, order.reason
    filled, quantity = order.filled_quantity, order_quantity(order)
    return {
        "status": order.status.value,
        "order_id": ids[0] if ids else None,
        "attention": order.attention,
        "revision": order.revision,
        "currency": currency_of(order),
        "multiplier": order.multiplier,
        "quantity": quantity,
        "reason_code": None if code is None else code.value,
        "reason": reason,
        "rejection_reason": reason if order.status is OrderStatus.REJECTED else None,
        "rejected_by": order.rejected_by,
        "modified": order.modified,
        "broker_order_ids": list(ids),
        "filled_quantity": filled,
        "remaining_quantity": None if quantity is None else max(quantity - filled, ZERO),
        "avg_fill_price": order.average_price,
        "commission": None if commission is None else commission.amount,
        "commission_currency": None if commission is None else commission.currency,
        "commission_estimated": None if commission is None else commission.estimated,
        "submitted_at": submitted_at(order),
        "filled_at": order.last_fill_time,
        "updated_at": history[-1].at if history else record.source.received_at,
    }


def invalid_fields(invalid: Invalid, at: datetime) -> dict[str, Any]:
    """The same fields of a message that is no order: what could be read of it, and why it was refused."""
    known = invalid.fields
    asked = ("stop_loss", "take_profit")
    return {
        "signal_id": invalid.key.signal_id,
        "leg_index": invalid.key.leg_index,
        "total_legs": known.get("total_legs"),
        "client_order_id": invalid.key.client_order_id(),
        "source_order_id": invalid.source.source_order_id,
        "account_id": known.get("account_id"),
        "strategy_name": known.get("strategy_name"),
        "broker": None,
        "role": known.get("role"),
        "symbol": known.get("symbol"),
        "instrument_type": known.get("instrument_type"),
        "exchange": None,
        "currency": None,
        "expiry": None,
        "strike": None,
        "right": None,
        "multiplier": None,
        "side": known.get("side"),
        "quantity": known.get("quantity"),
        "cash_quantity": known.get("cash_quantity"),
        "order_type": known.get("order_type"),
        "limit_price": known.get("limit_price"),
        "stop_price": known.get("stop_price"),
        "reference_price": known.get("reference_price"),
        "time_in_force": known.get("time_in_force"),
        "product": known.get("product"),
        "variety": known.get("variety"),
        "stop_loss": known.get("stop_loss"),
        "take_profit": known.get("take_profit"),
        "exits": EXITS_NOT_PLACED if any(known.get(name) is not None for name in asked) else None,
        "status": OrderStatus.REJECTED.value,
        "reason_code": ReasonCode.INVALID.value,
        "reason": invalid.reason,
        "rejection_reason": invalid.reason,
        "rejected_by": "service",
        "attention": None,
        "modified": None,
        "order_id": None,
        "broker_order_ids": [],
        "filled_quantity": ZERO,
        "remaining_quantity": known.get("quantity"),
        "avg_fill_price": None,
        "commission": None,
        "commission_currency": None,
        "commission_estimated": None,
        "submitted_at": None,
        "filled_at": None,
        "received_at": invalid.source.received_at,
        "updated_at": at,
        "revision": 1,
        "sequence": invalid.sequence,
    }


def order_quantity(order: Order) -> Decimal | None:
    """The order's quantity: what was asked for, or what somebody made of it at the broker.

    A cash order's is not known until it is final, and then what it bought.
    """
    if order.request.cash_quantity is None:
        return order.quantity
    return order.filled_quantity if order.status.is_final else None


def has_exits(order: Order) -> bool:
    """Whether protective exits were asked for."""
    return order.request.stop_loss is not None or order.request.take_profit is not None


def submitted_at(order: Order) -> datetime | None:
    """When it was sent; of an order that we do not know to have sent, when the broker first showed it."""
    return order.sent_at or order.acknowledged_at


def fill_seconds(order: Order) -> float | None:
    """How long it took from sending to the last execution. The venue's clock and ours may differ: never negative."""
    begin, end = submitted_at(order), order.last_fill_time
    return None if begin is None or end is None else max((end - begin).total_seconds(), 0.0)


def currency_of(order: Order) -> str | None:
    """The currency of its prices: the message's, else the venue's; None where neither said."""
    return order.request.instrument.currency or (order.details.currency if order.details else None)


def total_value(order: Order) -> Decimal | None:
    """What was traded is worth: filled quantity x average x multiplier."""
    average = order.average_price
    if average is None:
        return None
    with exact():
        return order.filled_quantity * average * order.multiplier
