"""The durable book: orders, executions, what is due, and what was told, in SQLite. It stores and decides nothing.

Every method is called inside a `transaction`. Several sessions and processes may share a file.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

from exec_core.clock import Clock, utc_now
from exec_core.errors import ConnectionFailed
from exec_core.identifiers import BrokerOrderId, ExecutionId

from exec_broker_mock import schema
from exec_broker_mock.rows import (
    FILL_COLUMNS,
    ORDER_COLUMNS,
    FillRow,
    OrderRow,
    fill_from_sql,
    fill_to_sql,
    micros,
    moment,
    order_from_sql,
    order_to_sql,
    to_sql,
)

T = TypeVar("T")

_ORDER: Final = ", ".join(f"orders.{name}" for name in ORDER_COLUMNS)
_FILL: Final = ", ".join(f"fills.{name}" for name in FILL_COLUMNS)
# The statements below are put together from column names and conditions of this module only.
_INSERT_ORDER: Final = "INSERT INTO orders VALUES (" + ", ".join("?" * len(ORDER_COLUMNS)) + ")"  # noqa: S608
_INSERT_FILL: Final = "INSERT INTO fills VALUES (" + ", ".join("?" * len(FILL_COLUMNS)) + ")"  # noqa: S608
_UPDATE_ORDER: Final = (
    "UPDATE orders SET updated_at = ?, status = ?, filled_quantity = ?, spent = ?, fill_count = ?, reason = ?, doom = ?"
    " WHERE number = ?"
)
_UPDATE_TERMS: Final = "UPDATE orders SET quantity = ?, limit_price = ?, stop_price = ? WHERE number = ?"
_OPEN: Final = "orders.status IN ('HELD', 'WORKING')"

REVEAL: Final = "REVEAL"
FILL: Final = "FILL"
REJECT: Final = "REJECT"
CANCEL: Final = "CANCEL"
COMMISSION: Final = "COMMISSION"
#: Which comes first of what is due at the same instant.
RANKS: Final = {REVEAL: 0, FILL: 1, REJECT: 2, CANCEL: 3, COMMISSION: 4}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is due at a time."""

    number: int
    at: int
    order_number: int
    kind: str
    fill_number: int | None


@dataclass(frozen=True, slots=True)
class Quote:
    """A price set at the venue; it supersedes what the orders up to number `after_order` brought."""

    price: Decimal
    after_order: int


@dataclass(slots=True)
class _Known:
    """What was read or written, and so need not be asked again. None: not known; `is_idle`: nothing is on the agenda.

    Of a file for one transaction, since other processes write to it as well; of a book in memory until a transaction
    is rolled back.
    """

    orders: dict[int, OrderRow] = field(default_factory=dict)
    fills: dict[int, FillRow] = field(default_factory=dict)
    quotes: dict[str, Quote | None] = field(default_factory=dict)
    last_order: int | None = None
    last_fill: int | None = None
    is_idle: bool | None = None
    has_faults: bool | None = None


#: How many rows of a kind are kept so.
_KEPT: Final = 1000


def _keep(kept: dict[Any, T], key: object, value: T) -> T:
    """Keep `value`, and let the oldest go where there are too many."""
    kept[key] = value
    if len(kept) > _KEPT:
        del kept[next(iter(kept))]
    return value


class Book:
    """One connection to a book, shared by the threads of this process that were given it."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock, path: Path | None) -> None:
        self.clock = clock
        self.path = path
        self.listeners: set[Callable[[], None]] = set()
        self._connection = connection
        self._lock = threading.RLock()
        self._writes = 0
        self._known = _Known()
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        self.created_at: datetime = moment(meta["created_at"])
        self._token: str = meta["token"]
        # A book in memory starts anew with its process: its ids must not repeat those of the one before.
        self._order_prefix = "mock-" if path is not None else f"mock-{self._token}-"

    @classmethod
    def in_memory(cls, clock: Clock = utc_now) -> Book:
        """A new, empty book that ends with this object."""
        return cls(schema.open_memory(clock), clock, None)

    @classmethod
    def in_file(cls, path: Path, clock: Clock = utc_now) -> Book:
        """The book in the file. :raises ConfigurationError: the file is something else."""
        return cls(schema.open_file(path, clock), clock, path)

    def close(self) -> None:
        """Close the connection; what was committed stays in the file."""
        with self._lock:
            self._connection.close()

    def now(self) -> int:
        """The present by the venue's clock."""
        return micros(self.clock())

    def broker_order_id(self, number: int) -> BrokerOrderId:
        """The venue's id of an order."""
        return BrokerOrderId(f"{self._order_prefix}{number}")

    def order_number(self, broker_order_id: str) -> int | None:
        """The number behind an id of this venue; None where it is none."""
        text = broker_order_id.removeprefix(self._order_prefix)
        is_number = text != broker_order_id and text.isascii() and text.isdigit() and len(text) < 19
        return int(text) if is_number else None

    def execution_id(self, execution: int) -> ExecutionId:
        """The venue's id of an execution: unique among all books."""
        return ExecutionId(f"{self._token}-{execution}")

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[None]:
        """All or nothing; with `write`, nobody else writes meanwhile, and listeners are told afterwards.

        :raises ConnectionFailed: another process held the book for too long; nothing was done.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            except sqlite3.OperationalError as error:
                raise ConnectionFailed(f"the mock venue's book is busy: {error}", broker="mock") from error
            if self.path is not None:
                self._known = _Known()
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._known = _Known()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._writes += write
        if write:
            for listener in tuple(self.listeners):
                listener()

    def version(self) -> tuple[int, int]:
        """Changes whenever this or another connection has written to the book."""
        with self._lock:
            return self._writes, int(self.execute("PRAGMA data_version").fetchone()[0])

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._connection.execute(statement, values)

    # Orders

    def next_order_number(self) -> int:
        """The number that the next order gets."""
        return self.last_order_number() + 1

    def add_order(self, order: OrderRow) -> None:
        """Write a new order."""
        self.execute(_INSERT_ORDER, order_to_sql(order))
        self._known.last_order = order.number
        _keep(self._known.orders, order.number, order)

    def change_order(self, order: OrderRow) -> None:
        """Write what has become of an order; its terms are as they were, or were written by `change_terms`."""
        self.execute(
            _UPDATE_ORDER,
            (
                *(order.updated_at, order.status, str(order.filled_quantity), str(order.spent)),
                *(order.fill_count, order.reason, order.doom, order.number),
            ),
        )
        _keep(self._known.orders, order.number, order)

    def change_terms(self, order: OrderRow) -> None:
        """Write the quantity and the prices that an order has now."""
        terms = (order.quantity, order.limit_price, order.stop_price)
        self.execute(_UPDATE_TERMS, (*map(to_sql, terms), order.number))
        self._known.orders.pop(order.number, None)

    def order(self, number: int) -> OrderRow | None:
        """The order of that number."""
        known = self._known.orders.get(number)
        if known is not None:
            return known
        found = self._orders("number = ?", (number,))
        return _keep(self._known.orders, number, found[0]) if found else None

    def orders_of(self, account_id: str, client_order_id: str, broker_order_ids: tuple[str, ...]) -> list[OrderRow]:
        """All orders of the account under one of these ids."""
        found = self._orders("account_id = ? AND client_order_id = ?", (account_id, client_order_id))
        seen = {order.number for order in found}
        for name in broker_order_ids:
            number = self.order_number(name)
            if number is not None and number not in seen:
                found += self._orders("number = ? AND account_id = ?", (number, account_id))
                seen.add(number)
        return found

    def open_orders(self, *, account_id: str | None = None, symbol: str | None = None) -> list[OrderRow]:
        """The orders that can still trade."""
        wanted = {"account_id": account_id, "symbol": symbol}
        chosen = {name: value for name, value in wanted.items() if value is not None}
        return self._orders(" AND ".join([_OPEN, *(f"{name} = ?" for name in chosen)]), tuple(chosen.values()))

    def recent_orders(self, account_id: str, since: int) -> list[OrderRow]:
        """The account's orders that are open, or were touched since then."""
        return self._orders(f"account_id = ? AND ({_OPEN} OR updated_at >= ?)", (account_id, since))

    def orders_with_fills(self, account_id: str) -> list[OrderRow]:
        """The account's orders of which something was executed."""
        return self._orders("account_id = ? AND fill_count > 0", (account_id,))

    def all_orders(self) -> list[OrderRow]:
        """Every order of the book."""
        return self._orders("1", ())

    def last_order_number(self) -> int:
        """The number of the newest order; 0 without one."""
        if self._known.last_order is None:
            self._known.last_order = int(self.execute("SELECT coalesce(max(number), 0) FROM orders").fetchone()[0])
        return self._known.last_order

    def _orders(self, where: str, values: tuple[Any, ...]) -> list[OrderRow]:
        rows = self.execute(f"SELECT {_ORDER} FROM orders WHERE {where} ORDER BY number", values)  # noqa: S608
        return [order_from_sql(row) for row in rows]

    # Executions

    def next_fill_number(self) -> int:
        """The number that the next row of an execution gets."""
        if self._known.last_fill is None:
            self._known.last_fill = int(self.execute("SELECT coalesce(max(number), 0) FROM fills").fetchone()[0])
        return self._known.last_fill + 1

    def add_fill(self, fill: FillRow) -> None:
        """Write an execution, or the correction of one."""
        self.execute(_INSERT_FILL, fill_to_sql(fill))
        self._known.last_fill = fill.number
        _keep(self._known.fills, fill.number, fill)

    def fill(self, number: int) -> FillRow | None:
        """The execution in the row of that number."""
        known = self._known.fills.get(number)
        if known is not None:
            return known
        found = self._fills("number = ?", (number,))
        return _keep(self._known.fills, number, found[0]) if found else None

    def fills_of_order(self, order_number: int) -> list[FillRow]:
        """All executions of an order, with their corrections."""
        return self._fills("order_number = ?", (order_number,))

    def fills_of_account(self, account_id: str) -> list[FillRow]:
        """All executions of an account, with their corrections."""
        return self._fills("account_id = ?", (account_id,))

    def all_fills(self) -> list[FillRow]:
        """Every execution of the book, with corrections."""
        return self._fills("1", ())

    def _fills(self, where: str, values: tuple[Any, ...]) -> list[FillRow]:
        rows = self.execute(f"SELECT {_FILL} FROM fills WHERE {where} ORDER BY number", values)  # noqa: S608
        return [fill_from_sql(row) for row in rows]

    # What is due

    def schedule(self, kind: str, order_number: int, at: int, fill_number: int | None = None) -> None:
        """Put something on the agenda."""
        self.execute(
            "INSERT INTO agenda (at, rank, order_number, kind, fill_number) VALUES (?, ?, ?, ?, ?)",
            (at, RANKS[kind], order_number, kind, fill_number),
        )
        self._known.is_idle = False

    def is_scheduled(self, kind: str, order_number: int) -> bool:
        """Whether it is on the agenda."""
        if self._known.is_idle:
            return False
        found = self.execute("SELECT 1 FROM agenda WHERE order_number = ? AND kind = ?", (order_number, kind))
        return found.fetchone() is not None

    def unschedule(self, kind: str, order_number: int) -> None:
        """Take it off the agenda."""
        if self._known.is_idle:
            return
        self.execute("DELETE FROM agenda WHERE order_number = ? AND kind = ?", (order_number, kind))
        self._known.is_idle = None

    def unschedule_end(self, order_number: int) -> None:
        """Take everything off the agenda that could still change the order itself."""
        if self._known.is_idle:
            return
        self.execute(
            "DELETE FROM agenda WHERE order_number = ? AND kind IN ('FILL', 'REJECT', 'CANCEL')", (order_number,)
        )
        self._known.is_idle = None

    def take_due(self, now: int) -> Step | None:
        """The next thing that is due by now, taken off the agenda."""
        if self.next_due() is None:
            return None
        row = self.execute(
            "SELECT number, at, order_number, kind, fill_number FROM agenda WHERE at <= ?"
            " ORDER BY at, rank, number LIMIT 1",
            (now,),
        ).fetchone()
        if row is None:
            return None
        self.execute("DELETE FROM agenda WHERE number = ?", (row[0],))
        self._known.is_idle = None
        return Step(*row)

    def next_due(self) -> int | None:
        """When the next thing is due."""
        if self._known.is_idle:
            return None
        row = self.execute("SELECT min(at) FROM agenda").fetchone()
        self._known.is_idle = row[0] is None
        return None if row[0] is None else int(row[0])

    # Prices

    def quote(self, symbol: str) -> Quote | None:
        """What was last set as the symbol's price."""
        known = self._known.quotes
        if symbol in known:
            return known[symbol]
        row = self.execute("SELECT price, after_order FROM quotes WHERE symbol = ?", (symbol,)).fetchone()
        return _keep(known, symbol, None if row is None else Quote(Decimal(row[0]), int(row[1])))

    def set_quote(self, symbol: str, price: Decimal, at: int) -> None:
        """Set the symbol's price: newer than every order so far."""
        self._known.quotes.pop(symbol, None)
        self.execute(
            "INSERT OR REPLACE INTO quotes VALUES (?, ?, ?, ?)", (symbol, str(price), at, self.last_order_number())
        )

    def has_faults(self) -> bool:
        """Whether any fault was ever scripted: mostly none was, and then nothing needs to be looked up."""
        if self._known.has_faults is None:
            self._known.has_faults = self.execute("SELECT 1 FROM faults LIMIT 1").fetchone() is not None
        return self._known.has_faults

    def add_fault(self, values: tuple[Any, ...]) -> int:
        """Write a scripted fault, of the columns of `faults` after its number; the number that it got."""
        marks = ", ".join("?" * len(values))
        cursor = self.execute(f"INSERT INTO faults VALUES (NULL, {marks})", values)  # noqa: S608
        self._known.has_faults = True
        return int(cursor.lastrowid or 0)
