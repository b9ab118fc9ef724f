"""The durable book of the simulated TWS: orders, executions, ids, the day. It stores and decides nothing.

Whatever changes it happens inside a `transaction`; what was committed outlives the process. One process uses a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from exec_core.clock import Clock, utc_now

from exec_broker_ibkr.simulator.rows import (
    EXECUTION_COLUMNS,
    FIRST_PERM_ID,
    ORDER_COLUMNS,
    ExecutionRow,
    OrderRow,
    execution_from_sql,
    micros,
    order_from_sql,
    to_sql,
)
from exec_broker_ibkr.simulator.schema import open_book

# The statements below are put together from column names and words of this package only.
_ORDERS: Final = "SELECT * FROM orders"
_EXECUTIONS: Final = "SELECT * FROM executions"
_INSERT_ORDER: Final = f"INSERT INTO orders VALUES (NULL{', ?' * (len(ORDER_COLUMNS) - 1)})"  # noqa: S608
_UPDATE_ORDER: Final = f"UPDATE orders SET {', '.join(f'{name} = ?' for name in ORDER_COLUMNS[1:])} WHERE number = ?"  # noqa: S608
_INSERT_EXECUTION: Final = f"INSERT INTO executions VALUES (NULL{', ?' * (len(EXECUTION_COLUMNS) - 1)})"  # noqa: S608
#: The first order id that TWS hands out to a client it has never seen.
_FIRST_ORDER_ID: Final = 1


class Book:
    """One book."""

    def __init__(self, path: Path | None = None, clock: Clock = utc_now) -> None:
        """:raises ConfigurationError: the file is something else, or cannot be opened."""
        self.path = path
        self._clock = clock
        self._connection = open_book(path, micros(clock()))
        self._token: str = self._meta("token")
        self._day: int = self._meta("day")
        self._ahead = timedelta(seconds=self._meta("ahead"))

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing of it; inside another one: a part of that."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # Time

    @property
    def now(self) -> datetime:
        """The present by the venue's clock, which `begin_day` puts forward."""
        return self._clock() + self._ahead

    @property
    def day(self) -> int:
        """The number of the trading day."""
        return self._day

    def begin_day(self) -> None:
        """The next trading day: 24 hours later."""
        with self.transaction():
            self._day += 1
            self._ahead += timedelta(days=1)
            self._set_meta("day", self._day)
            self._set_meta("ahead", int(self._ahead.total_seconds()))

    def _meta(self, name: str) -> Any:
        return self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]

    def _set_meta(self, name: str, value: object) -> None:
        self._connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    # Order ids

    def next_order_id(self, client_id: int) -> int:
        """The lowest id that this client may use now."""
        query = "SELECT next_order_id FROM clients WHERE client_id = ?"
        found = self._connection.execute(query, (client_id,)).fetchone()
        return _FIRST_ORDER_ID if found is None else int(found[0])

    def set_next_order_id(self, client_id: int, order_id: int) -> None:
        """Go on from here; below what was used before, it is what TWS does when its sequence is reset."""
        with self.transaction():
            self._connection.execute("INSERT OR REPLACE INTO clients VALUES (?, ?)", (client_id, order_id))

    # Orders

    def add_order(self, order: OrderRow) -> OrderRow:
        """Write a new order; it comes back with its number."""
        with self.transaction():
            cursor = self._connection.execute(_INSERT_ORDER, to_sql(order[1:]))
        return order._replace(number=int(cursor.lastrowid or 0))

    def change_order(self, order: OrderRow) -> None:
        """Write what has become of an order."""
        with self.transaction():
            self._connection.execute(_UPDATE_ORDER, [*to_sql(order[1:]), order.number])

    def order(self, number: int) -> OrderRow | None:
        """The order with that number."""
        return next(iter(self._orders("WHERE number = ?", number)), None)

    def order_of_perm_id(self, perm_id: int) -> OrderRow | None:
        """The order with that account-wide id."""
        return self.order(perm_id - FIRST_PERM_ID)

    def order_of_client(self, client_id: int, order_id: int) -> OrderRow | None:
        """The newest order of that client under that id: ids come back after a reset."""
        found = self._orders("WHERE client_id = ? AND order_id = ? ORDER BY number DESC LIMIT 1", client_id, order_id)
        return found[0] if found else None

    def orders(self) -> list[OrderRow]:
        """Every order that ever was."""
        return self._orders("ORDER BY number")

    def orders_of_today(self) -> list[OrderRow]:
        """The open ones, and those that have ended today."""
        return self._orders("WHERE ended_on = 0 OR ended_on = ? ORDER BY number", self._day)

    def open_orders(self, client_id: int | None = None) -> list[OrderRow]:
        """Those that can still trade; of one client, or of all."""
        if client_id is None:
            return self._orders("WHERE ended_on = 0 ORDER BY number")
        return self._orders("WHERE ended_on = 0 AND client_id = ? ORDER BY number", client_id)

    def ended_today(self) -> list[OrderRow]:
        """Those that have ended on this trading day."""
        return self._orders("WHERE ended_on = ? ORDER BY number", self._day)

    def children(self, parent: OrderRow) -> list[OrderRow]:
        """The orders that wait, or waited, for that one's execution."""
        return self._orders("WHERE waits_for = ? ORDER BY number", parent.perm_id)

    def open_in_group(self, account: str, oca_group: str) -> list[OrderRow]:
        """The open orders of a group of which one cancels the other."""
        return [one for one in self.open_orders() if (one.account, one.oca_group) == (account, oca_group)]

    def _orders(self, condition: str, *values: object) -> list[OrderRow]:
        return [order_from_sql(row) for row in self._connection.execute(f"{_ORDERS} {condition}", values)]

    # Executions

    def add_execution(self, execution: ExecutionRow) -> ExecutionRow:
        """Write an execution, or a correction; it comes back with its number, a first version also with its id's."""
        with self.transaction():
            cursor = self._connection.execute(_INSERT_EXECUTION, to_sql(execution[1:]))
            number = int(cursor.lastrowid or 0)
            if execution.correction:
                return execution._replace(number=number)
            self._connection.execute("UPDATE executions SET execution = ? WHERE number = ?", (number, number))
            return execution._replace(number=number, execution=number)

    def bill(self, execution: ExecutionRow) -> ExecutionRow:
        """Its commission is told from now on."""
        with self.transaction():
            self._connection.execute("UPDATE executions SET is_billed = 1 WHERE number = ?", (execution.number,))
        return execution._replace(is_billed=True)

    def executions(self) -> list[ExecutionRow]:
        """Every version of every execution, as they came."""
        return self._executions("ORDER BY number")

    def executions_of_today(self) -> list[ExecutionRow]:
        """Every version of those of this trading day."""
        return self._executions("WHERE day = ? ORDER BY number", self._day)

    def executions_of(self, order: OrderRow) -> list[ExecutionRow]:
        """Every version of an order's executions, those of a combination's legs too."""
        return self._executions("WHERE order_number = ? ORDER BY number", order.number)

    def unbilled(self) -> list[ExecutionRow]:
        """Those whose commission was not told yet, in their newest version."""
        return [one for one in effective(self.executions()) if not one.is_billed]

    def versions(self, execution: int) -> list[ExecutionRow]:
        """Every version of one execution."""
        return self._executions("WHERE execution = ? ORDER BY correction", execution)

    def _executions(self, condition: str, *values: object) -> list[ExecutionRow]:
        return [execution_from_sql(row) for row in self._connection.execute(f"{_EXECUTIONS} {condition}", values)]

    def stem(self, execution: ExecutionRow) -> str:
        """The id of an execution without the number of its correction: what all its versions share."""
        return f"{self._token}.{execution.execution:08x}.01"

    def execution_id(self, execution: ExecutionRow) -> str:
        """TWS's whole id of this version."""
        return f"{self.stem(execution)}.{execution.correction + 1:02d}"

    def number_of_stem(self, stem: str) -> int | None:
        """The number of the execution with that id; None where it is no id of this book."""
        token, _, rest = stem.partition(".")
        number, _, _ = rest.partition(".")
        try:
            return int(number, 16) if token == self._token else None
        except ValueError:
            return None


def effective(executions: list[ExecutionRow]) -> list[ExecutionRow]:
    """The newest version of each execution, in the order in which they first came."""
    newest: dict[int, ExecutionRow] = {}
    for one in executions:
        known = newest.get(one.execution)
        if known is None or one.correction > known.correction:
            newest[one.execution] = one
    return list(newest.values())
