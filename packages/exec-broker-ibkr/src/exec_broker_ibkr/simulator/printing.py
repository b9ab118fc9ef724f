"""A whole book of the simulated TWS as plain data and as a text table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from exec_broker_ibkr.messages import TwsContract
from exec_broker_ibkr.simulator.book import Book
from exec_broker_ibkr.simulator.rows import FIRST_PERM_ID, ExecutionRow, OrderRow, moment

_ORDER_TABLE: Final = (
    "perm_id",
    "client_id",
    "order_id",
    "account",
    "order_ref",
    "action",
    "quantity",
    "symbol",
    "order_type",
    "status",
    "filled",
    "reason",
)
_EXECUTION_TABLE: Final = ("execution_id", "perm_id", "side", "quantity", "symbol", "price", "commission", "time")


def contents(book: Book) -> dict[str, list[dict[str, Any]]]:
    """Every order and every version of every execution, as JSON can say it."""
    executions = book.executions()
    newest: dict[int, int] = {}
    for one in executions:
        newest[one.execution] = max(one.correction, newest.get(one.execution, 0))
    return {
        "orders": [order_data(order) for order in book.orders()],
        "executions": [
            execution_data(book, one) | {"superseded": one.correction < newest[one.execution]} for one in executions
        ],
    }


def text(data: dict[str, list[dict[str, Any]]]) -> str:
    """The same for people."""
    parts = [_table(_ORDER_TABLE, data["orders"]) if data["orders"] else "No orders."]
    if data["executions"]:
        parts.append(_table(_EXECUTION_TABLE, data["executions"]))
    return "\n\n".join(parts)


def order_data(order: OrderRow) -> dict[str, Any]:
    """One order. Figures are numbers where a float holds them exactly, else text."""
    return {
        "perm_id": order.perm_id,
        "client_id": order.client_id,
        "order_id": order.order_id,
        "account": order.account,
        "order_ref": order.order_ref,
        **_contract_data(order.contract),
        "action": order.action,
        "quantity": _figure(order.total_quantity),
        "cash_quantity": _figure(order.cash_quantity),
        "order_type": order.order_type,
        "limit_price": _figure(order.limit_price),
        "stop_price": _figure(order.stop_price),
        "tif": order.tif,
        "parent_id": order.parent_id,
        "status": order.status,
        "why_held": order.why_held,
        "ended_as": order.ended_as,
        "reason": order.reason,
        "filled": _figure(order.filled),
        "average_price": _figure(order.average_price),
        "is_open": order.is_open,
        "accepted_at": _time(order.accepted_at),
        "changed_at": _time(order.changed_at),
    }


def execution_data(book: Book, row: ExecutionRow) -> dict[str, Any]:
    """One version of one execution."""
    return {
        "execution_id": book.execution_id(row),
        "correction": row.correction,
        "perm_id": FIRST_PERM_ID + row.order_number,
        "leg": row.leg,
        "account": row.account,
        **_contract_data(row.contract),
        "side": row.side,
        "quantity": _figure(row.quantity),
        "price": _figure(row.price),
        "commission": _figure(row.commission) if row.is_billed else None,
        "commission_currency": row.currency,
        "time": _time(row.time),
    }


def _contract_data(contract: TwsContract) -> dict[str, Any]:
    return {
        "con_id": contract.con_id,
        "symbol": contract.symbol,
        "local_symbol": contract.local_symbol,
        "sec_type": contract.sec_type,
        "exchange": contract.exchange,
        "currency": contract.currency,
    }


def _figure(value: Decimal | None) -> int | float | str | None:
    if value is None:
        return None
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else format(value, "f")


def _time(value: int) -> str:
    return moment(value).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _table(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    cells = [list(columns), *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cell(value: object) -> str:
    return "" if value is None else str(value)
