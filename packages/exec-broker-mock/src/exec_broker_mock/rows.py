"""What the book holds of an order and of an execution, and how that is written in SQLite.

Decimals are text, times are integer microseconds since 1970 (UTC): both exact, and times compare in SQL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.money import ZERO
from exec_core.orders import OrderType, TimeInForce
from exec_core.reports import ReportStatus
from exec_core.sides import Side

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

OPEN_STATUSES: Final = frozenset({ReportStatus.HELD, ReportStatus.WORKING})


def micros(time: datetime) -> int:
    """`time` as the book writes it."""
    return (time - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The time that the book wrote as `value`."""
    return _EPOCH + timedelta(microseconds=value)


def span(seconds: float) -> int:
    """A length of time as the book writes it."""
    return round(seconds * 1_000_000)


class OrderRow(NamedTuple):
    """One order at the venue. A second send under the same client order id is a second row.

    `arrival_price` is the price that held for it when it came; `slices`, `fill_delay` and `commission` are the terms
    it was accepted under, so that whoever opens the book later fills it alike. `spent` is quantity times price of its
    fills. `doom` is the reason of a rejection that is still to be reported. Quantity and prices are those of now, since
    people modify orders. It is a named tuple and not a dataclass because several are made for every order: replacing a
    field is ten times as fast.
    """

    number: int
    account_id: str
    client_order_id: str
    signal_id: str
    leg_index: int
    strategy_name: str
    symbol: str
    instrument: Instrument
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal | None
    cash_quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    reference_price: Decimal | None
    arrival_price: Decimal
    currency: str
    slices: int
    fill_delay: int
    commission: Decimal
    accepted_at: int
    updated_at: int
    status: ReportStatus
    filled_quantity: Decimal = ZERO
    spent: Decimal = ZERO
    fill_count: int = 0
    reason: str | None = None
    doom: str | None = None
    hidden_until: int | None = None
    product: str | None = None

    def on_terms(self, quantity: Decimal | None, limit_price: Decimal | None, stop_price: Decimal | None) -> OrderRow:
        """The order on these terms; what is None stays."""
        return self._replace(
            quantity=self.quantity if quantity is None else quantity,
            limit_price=self.limit_price if limit_price is None else limit_price,
            stop_price=self.stop_price if stop_price is None else stop_price,
        )

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in OPEN_STATUSES

    @property
    def remaining_quantity(self) -> Decimal | None:
        """What is still to be filled; None for a cash order."""
        return None if self.quantity is None else max(self.quantity - self.filled_quantity, ZERO)

    def is_hidden(self, at: int) -> bool:
        """Whether the venue does not show it yet at `at`."""
        return self.hidden_until is not None and at < self.hidden_until


class FillRow(NamedTuple):
    """One execution, or a correction of one: `execution` is the number of the first version of it.

    `commission_at` is when the commission becomes known, where that is later than the execution.
    """

    number: int
    execution: int
    correction: int
    order_number: int
    account_id: str
    quantity: Decimal
    price: Decimal
    commission: Decimal
    commission_at: int | None
    time: int


@lru_cache(maxsize=4096)
def _instrument_text(instrument: Instrument) -> str:
    values = {field.name: getattr(instrument, field.name) for field in fields(instrument)}
    return json.dumps({key: str(value) for key, value in values.items() if value is not None})


_READ_INSTRUMENT: Final[Mapping[str, Callable[[str], object]]] = {
    "asset_class": AssetClass,
    "right": Right,
    "strike": Decimal,
    "multiplier": Decimal,
}


@lru_cache(maxsize=4096)
def _instrument(text: str) -> Instrument:
    values: dict[str, Any] = json.loads(text)
    for name, read in _READ_INSTRUMENT.items():
        if name in values:
            values[name] = read(values[name])
    return Instrument(**values)


_Reader = Callable[[Any], object]
_READ_ORDER: Final[Mapping[str, _Reader]] = {
    "instrument": _instrument,
    "side": Side,
    "order_type": OrderType,
    "time_in_force": TimeInForce,
    "status": ReportStatus,
    **dict.fromkeys(
        ("quantity", "cash_quantity", "limit_price", "stop_price", "reference_price", "arrival_price"), Decimal
    ),
    **dict.fromkeys(("commission", "filled_quantity", "spent"), Decimal),
}
_READ_FILL: Final[Mapping[str, _Reader]] = dict.fromkeys(("quantity", "price", "commission"), Decimal)

ORDER_COLUMNS: Final = OrderRow._fields
FILL_COLUMNS: Final = FillRow._fields
_ORDER_READERS: Final = tuple(_READ_ORDER.get(name) for name in ORDER_COLUMNS)
_FILL_READERS: Final = tuple(_READ_FILL.get(name) for name in FILL_COLUMNS)


def to_sql(value: object) -> object:
    """A price or quantity, or its absence, as SQLite keeps it."""
    return str(value) if isinstance(value, Decimal) else value


_ORDER_DECIMALS: Final = tuple(number for number, read in enumerate(_ORDER_READERS) if read is Decimal)
_FILL_DECIMALS: Final = tuple(number for number, read in enumerate(_FILL_READERS) if read is Decimal)
_ORDER_INSTRUMENT: Final = ORDER_COLUMNS.index("instrument")


def order_to_sql(order: OrderRow) -> list[object]:
    """The order as a row of `ORDER_COLUMNS`."""
    values = _with_texts(order, _ORDER_DECIMALS)
    values[_ORDER_INSTRUMENT] = _instrument_text(order.instrument)
    return values


def fill_to_sql(fill: FillRow) -> list[object]:
    """The execution as a row of `FILL_COLUMNS`."""
    return _with_texts(fill, _FILL_DECIMALS)


def _with_texts(row: Sequence[object], decimals: Sequence[int]) -> list[object]:
    """The row with its decimals, which stand at these places, as SQLite keeps them."""
    values = list(row)
    for number in decimals:
        if values[number] is not None:
            values[number] = str(values[number])
    return values


def order_from_sql(values: Sequence[Any]) -> OrderRow:
    """The order in a row of `ORDER_COLUMNS`."""
    return OrderRow._make(_read(_ORDER_READERS, values))


def fill_from_sql(values: Sequence[Any]) -> FillRow:
    """The execution in a row of `FILL_COLUMNS`."""
    return FillRow._make(_read(_FILL_READERS, values))


def _read(readers: Sequence[_Reader | None], values: Sequence[Any]) -> list[Any]:
    return [
        value if read is None or value is None else read(value) for read, value in zip(readers, values, strict=True)
    ]
