"""Orders and trades as Kite shows them: rows of JSON, with their quirks.

The shapes are those of github.com/zerodha/kiteconnect-mocks (`orders.json`, `trades.json`, `postback.json`) and of
kite.trade/docs/connect/v3/orders.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any, Final

from exec_broker_zerodha.simulator.rows import OrderRow, Status, TradeRow
from exec_broker_zerodha.simulator.times import ist_clock_text, ist_text

_MICRO: Final = Decimal("0.000001")
_APP_ID: Final = 1234
#: What an order update calls an order that is open, whatever it is called in the book.
_UPDATE: Final = "UPDATE"


def number(value: Decimal) -> int | float:
    """A figure as JSON writes it: without a decimal point where it is whole."""
    return int(value) if value == value.to_integral_value() else float(value)


def average_price(order: OrderRow) -> Decimal:
    """The average of what is filled, to six decimals; 0 where nothing is."""
    if not order.filled_quantity:
        return Decimal(0)
    return (order.spent / order.filled_quantity).quantize(_MICRO)


def order_row(order: OrderRow, user_id: str) -> dict[str, Any]:
    """A row of GET /orders.

    A protected MARKET order is shown as a LIMIT order at its protection price, with tags that say so; a rejected row
    has nothing pending, a cancelled one still what it lacked; whether that counts as cancelled differs between rows.
    """
    remaining = 0 if order.status == Status.REJECTED else order.remaining_quantity
    is_counted = order.status == Status.CANCELLED and order.number % 2 == 1
    row: dict[str, Any] = {
        "account_id": user_id,
        "placed_by": user_id,
        "order_id": order.order_id,
        "exchange_order_id": order.exchange_order_id,
        "parent_order_id": None,
        "status": order.word or order.status,
        "status_message": order.status_message,
        "status_message_raw": order.status_message_raw,
        "order_timestamp": ist_text(order.requested_at),
        "exchange_update_timestamp": ist_text(order.exchange_updated_at),
        "exchange_timestamp": ist_text(order.exchange_at),
        "variety": order.variety,
        "modified": order.modifications > 0,
        "exchange": order.exchange,
        "tradingsymbol": order.symbol,
        "instrument_token": order.token,
        "order_type": order.order_type,
        "transaction_type": order.side,
        "validity": order.validity,
        "validity_ttl": order.validity_ttl,
        "product": order.product,
        "quantity": order.quantity,
        "disclosed_quantity": order.disclosed_quantity,
        "price": number(order.price),
        "trigger_price": number(order.trigger_price),
        "average_price": number(average_price(order)),
        "filled_quantity": order.filled_quantity,
        "pending_quantity": remaining,
        "cancelled_quantity": remaining if is_counted else 0,
        "market_protection": 0,
        "meta": {},
        "tag": order.tag,
        "guid": None if order.is_by_hand else f"{order.number:05d}X{order.order_id[-8:]}",
    }
    tags = [] if order.tag is None else [order.tag]
    if order.asked_type == "MARKET" and order.protection is not None:
        tags += ["mktp", f"mktp:{order.protection:.2f}"]
    # Rows without any have no such key.
    return row | {"tags": tags} if tags else row


def trade_row(trade: TradeRow, order: OrderRow) -> dict[str, Any]:
    """A row of GET /trades: without a tag, and the time of the order without its date."""
    return {
        "trade_id": trade.trade_id,
        "order_id": order.order_id,
        "exchange": order.exchange,
        "tradingsymbol": order.symbol,
        "instrument_token": order.token,
        "product": order.product,
        "average_price": number(trade.price),
        "quantity": trade.quantity,
        "exchange_order_id": order.exchange_order_id,
        "transaction_type": order.side,
        "fill_timestamp": ist_text(trade.traded_at),
        "order_timestamp": ist_clock_text(order.accepted_at),
        "exchange_timestamp": ist_text(trade.traded_at),
    }


def order_update(order: OrderRow, user_id: str, api_secret: str) -> dict[str, Any]:
    """What the order websocket says of an order; of one that is modified or partly filled: ``UPDATE``."""
    row = order_row(order, user_id)
    signed = f"{order.order_id}{row['order_timestamp']}{api_secret}"
    known = {
        "user_id": user_id,
        "unfilled_quantity": row["pending_quantity"],
        "app_id": _APP_ID,
        "checksum": hashlib.sha256(signed.encode()).hexdigest(),
    }
    if order.is_open and order.word is None:
        row["status"] = _UPDATE
    return {"type": "order", "id": order.order_id, "data": known | row}


def unsorted(rows: list[dict[str, Any]], *, is_reversed: bool = False) -> list[dict[str, Any]]:
    """In an order that means nothing, as GET /orders comes (Kite forum 51372), but always the same one."""
    return sorted(rows, key=lambda row: (row["order_id"][::-1], row.get("trade_id", "")), reverse=is_reversed)
