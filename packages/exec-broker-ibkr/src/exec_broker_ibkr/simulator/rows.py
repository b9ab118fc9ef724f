"""What the simulated TWS's book holds of an order and of an execution, and how that is written in SQLite.

Figures are text and times integer microseconds since 1970 (UTC): both exact, and times compare in SQL.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

from exec_core.money import ZERO, exact

from exec_broker_ibkr.messages import TwsContract, TwsLeg

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: The account-wide id of an order is this plus its number in the book.
FIRST_PERM_ID: Final = 1_804_000_000

#: TWS's words for an order that can still trade.
PRE_SUBMITTED: Final = "PreSubmitted"
SUBMITTED: Final = "Submitted"
PENDING_CANCEL: Final = "PendingCancel"
#: And for one that has ended.
FILLED: Final = "Filled"
CANCELLED: Final = "Cancelled"
INACTIVE: Final = "Inactive"


def micros(time: datetime) -> int:
    """`time` as the book writes it."""
    return (time - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The time that the book wrote as `value`."""
    return _EPOCH + timedelta(microseconds=value)


class OrderRow(NamedTuple):
    """One order at the venue, on the terms that it is worked on now.

    `number` is its place in the order of arrival, 0 until it is in the book. `client_id` and `order_id` are 0 for an
    order that a person entered in TWS. `word`, where it is not empty, is shown in place of the status. `ended_as` is
    what really became of it (``cancelled``, ``expired``, ``rejected``), which TWS's word alone does not tell.
    `filled` and `spent` are the quantity, and quantity times price, of its executions as they stand. `is_triggered`:
    the stop price was reached. `waits_for` is the perm id of the parent whose execution it waits for, 0 for none.
    `ended_on` is the trading day on which it first ended, 0 while it can trade: Inactive alone does not say.
    """

    number: int
    client_id: int
    order_id: int
    account: str
    order_ref: str
    contract: TwsContract
    action: str
    order_type: str
    tif: str
    total_quantity: Decimal | None
    cash_quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    parent_id: int
    waits_for: int
    oca_group: str
    oca_type: int
    outside_rth: bool
    status: str
    why_held: str
    word: str
    ended_as: str
    reason: str
    filled: Decimal
    spent: Decimal
    is_triggered: bool
    accepted_at: int
    changed_at: int
    ended_on: int

    @property
    def perm_id(self) -> int:
        """The account-wide id."""
        return FIRST_PERM_ID + self.number

    @property
    def is_open(self) -> bool:
        """Whether it can still trade, perhaps after it was held."""
        return not self.ended_on

    @property
    def is_cash(self) -> bool:
        """Whether it is for an amount of money."""
        return self.total_quantity is None

    @property
    def is_stop(self) -> bool:
        """Whether it waits for a stop price."""
        return self.order_type in ("STP", "STP LMT") and not self.is_triggered

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self.action == "BUY" else -1

    @property
    def told_filled(self) -> Decimal:
        """What TWS says is filled. A correction afterwards makes no complete order incomplete in its words."""
        if self.status == FILLED and self.total_quantity is not None:
            return max(self.filled, self.total_quantity)
        return self.filled

    @property
    def remaining(self) -> Decimal:
        """What is left to fill. For an order by cash TWS counts below zero (`ib_insync#407`)."""
        is_told = self.is_open or self.status == FILLED
        return (self.total_quantity or ZERO) - self.told_filled if is_told else ZERO

    @property
    def is_complete(self) -> bool:
        """Whether all of it is executed: its quantity, or its cash."""
        if self.total_quantity is not None:
            return self.filled >= self.total_quantity
        return self.cash_quantity is not None and self.spent >= self.cash_quantity

    @property
    def average_price(self) -> Decimal | None:
        """The average price of its executions, to eight decimals."""
        if not self.filled:
            return None
        with exact():
            return (self.spent / self.filled).quantize(Decimal("1e-8")).normalize()


class ExecutionRow(NamedTuple):
    """One execution, or a correction of one: `execution` is the number of the first version, from which its id is made.

    `leg` is None for the order's own execution, else the place of the leg in the combination. `commission` is told
    only once `is_billed`. `day` is the trading day it belongs to.
    """

    number: int
    execution: int
    correction: int
    order_number: int
    leg: int | None
    account: str
    contract: TwsContract
    side: str
    quantity: Decimal
    price: Decimal
    cumulative: Decimal
    average: Decimal
    commission: Decimal
    currency: str
    is_billed: bool
    time: int
    day: int

    @property
    def sign(self) -> int:
        """+1 for what was bought, -1 for what was sold."""
        return 1 if self.side == "BOT" else -1


ORDER_COLUMNS: Final = OrderRow._fields
EXECUTION_COLUMNS: Final = ExecutionRow._fields
_FIGURES: Final = frozenset(
    {
        "total_quantity",
        "cash_quantity",
        "limit_price",
        "stop_price",
        "filled",
        "spent",
        "quantity",
        "price",
        "cumulative",
        "average",
        "commission",
    }
)
_FLAGS: Final = frozenset({"outside_rth", "is_triggered", "is_billed"})


def _readers(columns: Sequence[str]) -> tuple[tuple[int, Any], ...]:
    kinds: dict[str, Any] = {"contract": contract_from_text}
    kinds |= dict.fromkeys(_FIGURES, Decimal) | dict.fromkeys(_FLAGS, bool)
    return tuple((index, kinds[name]) for index, name in enumerate(columns) if name in kinds)


def contract_to_text(contract: TwsContract) -> str:
    """A contract as the book writes it."""
    known = {
        name: str(value) if isinstance(value, Decimal) else value
        for name in TwsContract.__slots__
        if name != "legs" and (value := getattr(contract, name)) not in ("", 0, None)
    }
    if contract.legs:
        known["legs"] = [[leg.con_id, leg.ratio, leg.action, leg.exchange] for leg in contract.legs]
    return json.dumps(known)


@lru_cache(maxsize=1024)
def contract_from_text(text: str) -> TwsContract:
    """The contract that the book wrote so."""
    known = json.loads(text)
    for name in ("strike", "multiplier"):
        if name in known:
            known[name] = Decimal(known[name])
    legs = tuple(TwsLeg(*leg) for leg in known.pop("legs", ()))
    return TwsContract(**known, legs=legs)


_ORDER_READERS: Final = _readers(ORDER_COLUMNS)
_EXECUTION_READERS: Final = _readers(EXECUTION_COLUMNS)


def order_from_sql(values: Sequence[Any]) -> OrderRow:
    """A row of the table `orders`."""
    return OrderRow(*_read(values, _ORDER_READERS))


def execution_from_sql(values: Sequence[Any]) -> ExecutionRow:
    """A row of the table `executions`."""
    return ExecutionRow(*_read(values, _EXECUTION_READERS))


def _read(values: Sequence[Any], readers: Sequence[tuple[int, Any]]) -> list[Any]:
    read = list(values)
    for index, kind in readers:
        if read[index] is not None:
            read[index] = kind(read[index])
    return read


def to_sql(row: Sequence[object]) -> list[object]:
    """A row as SQLite takes it."""
    return [
        str(value)
        if isinstance(value, Decimal)
        else int(value)
        if isinstance(value, bool)
        else contract_to_text(value)
        if isinstance(value, TwsContract)
        else value
        for value in row
    ]
