"""The durable book: orders, executions, what is due, and what was told, in SQLite. It stores and decides nothing.

Every method is called inside a `transaction`. Several sessions and processes may share a file.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

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
    micros,
    moment,
    order_from_sql,
    to_sql,
)

_ORDER: Final = ", ".join(f"orders.{name}" for name in ORDER_COLUMNS)
_FILL: Final = ", ".join(f"fills.{name}" for name in FILL_COLUMNS)
# The statements below are put together from column names and conditions of this module only.
_INSERT_ORDER: Final = "INSERT INTO orders VALUES (" + ", ".join("?" * len(ORDER_COLUMNS)) + ")"  # noqa: S608
_INSERT_FILL: Final = "INSERT INTO fills VALUES (" + ", ".join("?" * len(FILL_COLUMNS)) + ")"  # noqa: S608
_CHANGING: Final = ("updated_at", "status", "filled_quantity", "spent", "fill_count", "reason", "doom")
_UPDATE_ORDER: Final = "UPDATE orders SET " + ", ".join(f"{name} = ?" for name in _CHANGING) + " WHERE number = ?"  # noqa: S608
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


class Book:
    """One connection to a book, shared by the threads of this process that were given it."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock, path: Path | None) -> None:
        self.clock = clock
        self.path = path
        self.listeners: set[Callable[[], None]] = set()
        self._connection = connection
        self._lock = threading.RLock()
        self._writes = 0
        self._quotes: dict[str, Quote | None] = {}
        self._has_faults: bool | None = None
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
            self._quotes, self._has_faults = {}, None  # read once per transaction
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
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

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._connection.execute(statement, values)

    # Orders

    def next_order_number(self) -> int:
        """The number that the next order gets."""
        return self.last_order_number() + 1

    def add_order(self, order: OrderRow) -> None:
        """Write a new order."""
        self.execute(_INSERT_ORDER, tuple(map(to_sql, order)))

    def change_order(self, order: OrderRow) -> None:
        """Write what has become of an order."""
        self.execute(_UPDATE_ORDER, (*(to_sql(getattr(order, name)) for name in _CHANGING), order.number))

    def change_terms(self, order: OrderRow) -> None:
        """Write the quantity and the prices that an order has now."""
        terms = (order.quantity, order.limit_price, order.stop_price)
        self.execute(_UPDATE_TERMS, (*map(to_sql, terms), order.number))

    def order(self, number: int) -> OrderRow | None:
        """The order of that number."""
        found = self._orders("number = ?", (number,))
        return found[0] if found else None

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
        return int(self.execute("SELECT coalesce(max(number), 0) FROM orders").fetchone()[0])

    def _orders(self, where: str, values: tuple[Any, ...]) -> list[OrderRow]:
        rows = self.execute(f"SELECT {_ORDER} FROM orders WHERE {where} ORDER BY number", values)  # noqa: S608
        return [order_from_sql(row) for row in rows]

    # Executions

    def next_fill_number(self) -> int:
        """The number that the next row of an execution gets."""
        return int(self.execute("SELECT coalesce(max(number), 0) + 1 FROM fills").fetchone()[0])

    def add_fill(self, fill: FillRow) -> None:
        """Write an execution, or the correction of one."""
        self.execute(_INSERT_FILL, tuple(map(to_sql, fill)))

    def fill(self, number: int) -> FillRow | None:
        """The execution in the row of that number."""
        found = self._fills("number = ?", (number,))
        return found[0] if found else None

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

    def is_scheduled(self, kind: str, order_number: int) -> bool:
        """Whether it is on the agenda."""
        found = self.execute("SELECT 1 FROM agenda WHERE order_number = ? AND kind = ?", (order_number, kind))
        return found.fetchone() is not None

    def unschedule(self, kind: str, order_number: int) -> None:
        """Take it off the agenda."""
        self.execute("DELETE FROM agenda WHERE order_number = ? AND kind = ?", (order_number, kind))

    def unschedule_end(self, order_number: int) -> None:
        """Take everything off the agenda that could still change the order itself."""
        self.execute(
            "DELETE FROM agenda WHERE order_number = ? AND kind IN ('FILL', 'REJECT', 'CANCEL')", (order_number,)
        )

    def take_due(self, now: int) -> Step | None:
        """The next thing that is due by now, taken off the agenda."""
        row = self.execute(
            "SELECT number, at, order_number, kind, fill_number FROM agenda WHERE at <= ?"
            " ORDER BY at, rank, number LIMIT 1",
            (now,),
        ).fetchone()
        if row is None:
            return None
        self.execute("DELETE FROM agenda WHERE number = ?", (row[0],))
        return Step(*row)

    def next_due(self) -> int | None:
        """When the next thing is due."""
        row = self.execute("SELECT min(at) FROM agenda").fetchone()
        return None if row[0] is None else int(row[0])

    # Prices

    def quote(self, symbol: str) -> Quote | None:
        """What was last set as the symbol's price."""
        if symbol not in self._quotes:
            row = self.execute("SELECT price, after_order FROM quotes WHERE symbol = ?", (symbol,)).fetchone()
            self._quotes[symbol] = None if row is None else Quote(Decimal(row[0]), int(row[1]))
        return self._quotes[symbol]

    def set_quote(self, symbol: str, price: Decimal, at: int) -> None:
        """Set the symbol's price: newer than every order so far."""
        self._quotes.pop(symbol, None)
        self.execute(
            "INSERT OR REPLACE INTO quotes VALUES (?, ?, ?, ?)", (symbol, str(price), at, self.last_order_number())
        )

    def has_faults(self) -> bool:
        """Whether any fault was ever scripted: mostly none was, and then nothing needs to be looked up."""
        if self._has_faults is None:
            self._has_faults = self.execute("SELECT 1 FROM faults LIMIT 1").fetchone() is not None
        return self._has_faults
