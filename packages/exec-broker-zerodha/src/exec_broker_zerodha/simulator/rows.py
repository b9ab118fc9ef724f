"""What the book keeps: orders and trades as records, and how they become SQL values. Kite's words for states."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar

Row = TypeVar("Row", "OrderRow", "TradeRow")


class Status(StrEnum):
    """Kite's words for what becomes of an order (kite.trade/docs/connect/v3/orders)."""

    RECEIVED = "PUT ORDER REQ RECEIVED"
    VALIDATING = "VALIDATION PENDING"
    OPENING = "OPEN PENDING"
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER PENDING"
    AMO_RECEIVED = "AMO REQ RECEIVED"
    MODIFY_VALIDATING = "MODIFY VALIDATION PENDING"
    MODIFYING = "MODIFY PENDING"
    CANCELLING = "CANCEL PENDING"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


ENDED: Final = frozenset({Status.COMPLETE, Status.CANCELLED, Status.REJECTED})


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order. Times are microseconds since 1970; the prices are those that Kite shows, 0 where there is none.

    `asked_type` is the type that was sent: a protected MARKET order is shown as a LIMIT order. `protection` is the
    percentage that a protected MARKET order got. `is_expired`: the end of the session has ended it, which Kite's rows
    do not say. `word` is shown in place of the status. `spent` is the sum of
    quantity times price. `fill_at`, `cancel_at`: when the market, or a cancel, acts on it next.
    """

    number: int
    order_id: str
    day: int
    exchange: str
    symbol: str
    token: int
    variety: str
    side: str
    product: str
    asked_type: str
    order_type: str
    validity: str
    validity_ttl: int
    quantity: int
    disclosed_quantity: int
    price: Decimal
    trigger_price: Decimal
    protection: Decimal | None
    tag: str | None
    is_by_hand: bool
    status: str
    accepted_at: int
    requested_at: int
    word: str | None = None
    status_message: str | None = None
    status_message_raw: str | None = None
    filled_quantity: int = 0
    spent: Decimal = Decimal(0)
    exchange_order_id: str | None = None
    exchange_at: int | None = None
    exchange_updated_at: int | None = None
    modifications: int = 0
    is_expired: bool = False
    parts_left: int = 1
    fill_at: int | None = None
    cancel_at: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status not in ENDED

    @property
    def remaining_quantity(self) -> int:
        """What is not filled of it."""
        return max(self.quantity - self.filled_quantity, 0)

    @property
    def sign(self) -> int:
        """1 for BUY, -1 for SELL."""
        return 1 if self.side == "BUY" else -1

    @property
    def is_stop(self) -> bool:
        """Whether it was sent with a trigger."""
        return self.asked_type in ("SL", "SL-M")


@dataclass(frozen=True, slots=True)
class TradeRow:
    """One execution. `trade_id` is the exchange's: each exchange begins anew every day."""

    number: int
    trade_id: str
    order_number: int
    day: int
    quantity: int
    price: Decimal
    traded_at: int


ORDER_COLUMNS: Final = tuple(field.name for field in fields(OrderRow))
TRADE_COLUMNS: Final = tuple(field.name for field in fields(TradeRow))
_DECIMALS: Final = frozenset({"price", "trigger_price", "protection", "spent"})
_BOOLEANS: Final = frozenset({"is_by_hand", "is_expired"})


def sql_type(column: str, kind: object) -> str:
    """How a column is declared."""
    if column == "number":
        return "INTEGER PRIMARY KEY AUTOINCREMENT"
    is_text = column in _DECIMALS or "str" in str(kind)
    return f"{'TEXT' if is_text else 'INTEGER'}{'' if 'None' in str(kind) else ' NOT NULL'}"


def to_sql(row: OrderRow | TradeRow) -> list[Any]:
    """The values of a row but its number, which the book gives."""
    values = [getattr(row, field.name) for field in fields(row)[1:]]
    return [str(value) if isinstance(value, Decimal) else value for value in values]


def from_sql(kind: type[Row], values: tuple[Any, ...]) -> Row:
    """The row of these values."""
    return kind(*(_read(field.name, value) for field, value in zip(fields(kind), values, strict=True)))


def _read(column: str, value: Any) -> Any:
    if value is None:
        return None
    if column in _DECIMALS:
        return Decimal(value)
    return bool(value) if column in _BOOLEANS else value
