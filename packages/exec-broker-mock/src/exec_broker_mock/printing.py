"""A whole book as plain data and as a text table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from exec_broker_mock.book import Book
from exec_broker_mock.rows import FillRow, OrderRow, moment

_ORDER_TABLE: Final = (
    "broker_order_id",
    "account_id",
    "signal_id",
    "side",
    "quantity",
    "symbol",
    "order_type",
    "status",
    "filled_quantity",
    "reason",
)
_FILL_TABLE: Final = ("execution_id", "broker_order_id", "side", "quantity", "symbol", "price", "commission", "time")


def contents(book: Book) -> dict[str, list[dict[str, Any]]]:
    """Every order and every execution, as JSON can say it. Inside a transaction."""
    orders = {order.number: order for order in book.all_orders()}
    fills = book.all_fills()
    newest: dict[int, int] = {}
    for fill in fills:
        newest[fill.execution] = max(fill.correction, newest.get(fill.execution, 0))
    now = book.now()
    return {
        "orders": [_order(book, order) for order in orders.values()],
        "fills": [
            _fill(book, orders[fill.order_number], fill, now) | {"superseded": fill.correction < newest[fill.execution]}
            for fill in fills
        ],
    }


def text(data: dict[str, list[dict[str, Any]]]) -> str:
    """The same for people."""
    parts = [_table(_ORDER_TABLE, data["orders"]) if data["orders"] else "No orders."]
    if data["fills"]:
        parts.append(_table(_FILL_TABLE, data["fills"]))
    return "\n\n".join(parts)


def _order(book: Book, order: OrderRow) -> dict[str, Any]:
    instrument = order.instrument
    return {
        "broker_order_id": book.broker_order_id(order.number),
        "client_order_id": order.client_order_id,
        "account_id": order.account_id,
        "signal_id": order.signal_id,
        "leg_index": order.leg_index,
        "strategy_name": order.strategy_name,
        "symbol": order.symbol,
        "instrument_type": instrument.asset_class.value,
        "expiry": instrument.expiry,
        "strike": _number(instrument.strike),
        "right": instrument.right.value if instrument.right else None,
        "exchange": instrument.exchange,
        "currency": order.currency,
        "side": order.side.value,
        "quantity": _number(order.quantity),
        "cash_quantity": _number(order.cash_quantity),
        "order_type": order.order_type.value,
        "limit_price": _number(order.limit_price),
        "stop_price": _number(order.stop_price),
        "reference_price": _number(order.reference_price),
        "time_in_force": order.time_in_force.value,
        "status": order.status.value,
        "filled_quantity": _number(order.filled_quantity),
        "reason": order.reason,
        "accepted_at": _time(order.accepted_at),
        "updated_at": _time(order.updated_at),
    }


def _fill(book: Book, order: OrderRow, fill: FillRow, now: int) -> dict[str, Any]:
    is_known = fill.commission_at is None or fill.commission_at <= now
    return {
        "execution_id": book.execution_id(fill.execution),
        "correction": fill.correction,
        "broker_order_id": book.broker_order_id(order.number),
        "client_order_id": order.client_order_id,
        "account_id": order.account_id,
        "signal_id": order.signal_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "quantity": _number(fill.quantity),
        "price": _number(fill.price),
        "commission": _number(fill.commission) if is_known else None,
        "commission_currency": order.currency,
        "time": _time(fill.time),
    }


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _time(value: int) -> str:
    return moment(value).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _table(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    cells = [list(columns), *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
