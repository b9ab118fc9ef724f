"""A whole book as plain data and as a text table, in the words of the core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from exec_broker_zerodha.simulator.book import Book
from exec_broker_zerodha.simulator.rows import OrderRow, Status, TradeRow
from exec_broker_zerodha.simulator.showing import average_price, number
from exec_broker_zerodha.simulator.times import moment, whole_second

_WORDS: Final = {
    Status.COMPLETE: "FILLED",
    Status.CANCELLED: "CANCELLED",
    Status.REJECTED: "REJECTED",
    Status.TRIGGER_PENDING: "HELD",
    Status.AMO_RECEIVED: "HELD",
}
_ORDER_TABLE: Final = (
    "broker_order_id",
    "client_order_id",
    "side",
    "quantity",
    "symbol",
    "exchange",
    "order_type",
    "status",
    "filled_quantity",
    "reason",
)
_FILL_TABLE: Final = ("execution_id", "broker_order_id", "side", "quantity", "symbol", "price", "time")


def contents(book: Book) -> dict[str, list[dict[str, Any]]]:
    """Every order and every trade of every day, as JSON can say it."""
    with book.transaction(is_writing=False):
        orders = {order.number: order for order in book.all_orders()}
        trades = book.all_trades()
    return {
        "orders": [order_data(order) for order in orders.values()],
        "fills": [fill_data(trade, orders[trade.order_number]) for trade in trades],
    }


def order_data(order: OrderRow) -> dict[str, Any]:
    """One order. `status` is the core's word, `kite_status` Kite's; what it is not priced by is null."""
    is_limit, is_stop = order.asked_type in ("LIMIT", "SL"), order.is_stop
    return {
        "broker_order_id": order.order_id,
        "client_order_id": order.tag,
        "symbol": order.symbol,
        "exchange": order.exchange,
        "side": order.side,
        "product": order.product,
        "variety": order.variety,
        "order_type": order.asked_type,
        "validity": order.validity,
        "quantity": order.quantity,
        "price": number(order.price) if is_limit else None,
        "trigger_price": number(order.trigger_price) if is_stop else None,
        "status": "EXPIRED"
        if order.is_expired and order.status == Status.CANCELLED
        else _WORDS.get(Status(order.status), "WORKING"),
        "kite_status": order.word or str(order.status),
        "filled_quantity": order.filled_quantity,
        "average_price": number(average_price(order)) if order.filled_quantity else None,
        "reason": order.status_message,
        "by_hand": order.is_by_hand,
        "day": order.day,
        "accepted_at": _time(order.accepted_at),
    }


def fill_data(trade: TradeRow, order: OrderRow) -> dict[str, Any]:
    """One trade. Kite corrects none, and bills none."""
    return {
        "execution_id": trade.trade_id,
        "correction": 0,
        "superseded": False,
        "broker_order_id": order.order_id,
        "client_order_id": order.tag,
        "symbol": order.symbol,
        "exchange": order.exchange,
        "side": order.side,
        "quantity": trade.quantity,
        "price": number(trade.price),
        "commission": None,
        "time": _time(whole_second(trade.traded_at)),
    }


def text(data: dict[str, list[dict[str, Any]]]) -> str:
    """The same for people."""
    parts = [_table(_ORDER_TABLE, data["orders"]) if data["orders"] else "No orders."]
    if data["fills"]:
        parts.append(_table(_FILL_TABLE, data["fills"]))
    return "\n\n".join(parts)


def _time(value: int) -> str:
    return moment(value).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _table(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    cells = [list(columns), *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cell(value: object) -> str:
    return "" if value is None else f"{Decimal(str(value)):f}" if isinstance(value, float) else str(value)
