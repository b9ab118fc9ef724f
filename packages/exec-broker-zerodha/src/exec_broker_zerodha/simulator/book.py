"""The durable book of the simulated Kite: orders, their histories, trades, prices, the day. It decides nothing.

Whatever changes it happens inside a `transaction`; what was committed outlives the process. One process writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from exec_core.clock import Clock, utc_now

from exec_broker_zerodha.simulator.rows import (
    ENDED,
    ORDER_COLUMNS,
    TRADE_COLUMNS,
    OrderRow,
    TradeRow,
    from_sql,
    to_sql,
)
from exec_broker_zerodha.simulator.schema import open_book
from exec_broker_zerodha.simulator.times import micros

# The statements are put together from column names and words of this package only.
_INSERT_ORDER: Final = f"INSERT INTO orders VALUES (NULL{', ?' * (len(ORDER_COLUMNS) - 1)})"  # noqa: S608
_UPDATE_ORDER: Final = f"UPDATE orders SET {', '.join(f'{name} = ?' for name in ORDER_COLUMNS[1:])} WHERE number = ?"  # noqa: S608
_INSERT_TRADE: Final = f"INSERT INTO trades VALUES (NULL{', ?' * (len(TRADE_COLUMNS) - 1)})"  # noqa: S608
_OPEN: Final = f"status NOT IN ({', '.join(repr(str(status)) for status in sorted(ENDED))})"
#: Kite's order ids are made like Twitter's: milliseconds since this moment, shifted by 22 bits, and a number.
_ID_EPOCH_MS: Final = 1_288_834_974_657
_FIRST_TRADE: Final = 10_000_000


class Book:
    """One book."""

    def __init__(self, path: Path | None = None, clock: Clock = utc_now, *, is_read_only: bool = False) -> None:
        """:raises NotABook: the file is something else, or cannot be opened."""
        self._clock = clock
        self._connection = open_book(path, is_read_only=is_read_only)
        self._ahead = timedelta(seconds=self.state("seconds_ahead"))

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def transaction(self, *, is_writing: bool = True) -> Iterator[None]:
        """All that is written inside, or nothing of it; inside another one: a part of that. One moment to read."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE" if is_writing else "BEGIN")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # Time

    @property
    def now(self) -> int:
        """The present by the venue's clock, in microseconds since 1970."""
        return micros(self.time)

    @property
    def time(self) -> datetime:
        """The present by the venue's clock, which a new day puts forward."""
        return self._clock() + self._ahead

    @property
    def day(self) -> int:
        """The number of the trading day."""
        return self.state("day")

    def begin_day(self, seconds_ahead: int) -> None:
        """The next trading day; the clock goes ahead by so many seconds."""
        with self.transaction():
            self.set_state("day", self.day + 1)
            self.set_state("seconds_ahead", self.state("seconds_ahead") + seconds_ahead)
        self._ahead += timedelta(seconds=seconds_ahead)
        with self.transaction():
            self.set_state("day_began_at", self.now)

    def state(self, name: str) -> int:
        """One of the book's own figures."""
        found: tuple[int] = self._connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return found[0]

    def set_state(self, name: str, value: int) -> None:
        """Remember it."""
        self._connection.execute("UPDATE state SET value = ? WHERE name = ?", (value, name))

    # Orders

    def add_order(self, row: OrderRow) -> OrderRow:
        """Keep a new order; it gets its number and its id."""
        number = self._connection.execute(_INSERT_ORDER, to_sql(row)).lastrowid
        assert number is not None  # noqa: S101  # an insert into a table with row ids
        order_id = str((row.accepted_at // 1000 - _ID_EPOCH_MS) << 22 | number & 0x3FFFFF)
        row = replace(row, number=number, order_id=order_id)
        self.change_order(row)
        return row

    def change_order(self, row: OrderRow) -> None:
        """Keep the order as it is now."""
        self._connection.execute(_UPDATE_ORDER, [*to_sql(row), row.number])

    def order(self, number: int) -> OrderRow:
        """The order of this number."""
        return self._orders("number = ?", number)[0]

    def order_of(self, order_id: str) -> OrderRow | None:
        """The order with this id, of whatever day."""
        return next(iter(self._orders("order_id = ?", order_id)), None)

    def orders_tagged(self, tag: str) -> list[OrderRow]:
        """The orders with this tag, of whatever day."""
        return self._orders("tag = ?", tag)

    def orders_of_day(self) -> list[OrderRow]:
        """The orders of this trading day, in the order in which they came."""
        return self._orders("day = ?", self.day)

    def open_orders(self) -> list[OrderRow]:
        """What can still trade."""
        return self._orders(_OPEN)

    def due_orders(self, now: int) -> list[OrderRow]:
        """What the market, or a cancel, acts on until then."""
        return self._orders(f"{_OPEN} AND (fill_at <= ? OR cancel_at <= ?)", now, now)

    @property
    def next_due(self) -> int | None:
        """When something is due next."""
        query = f"SELECT min(fill_at), min(cancel_at) FROM orders WHERE {_OPEN}"  # noqa: S608
        return min((due for due in self._connection.execute(query).fetchone() if due is not None), default=None)

    def all_orders(self) -> list[OrderRow]:
        """Every order of every day."""
        return self._orders("1")

    def _orders(self, condition: str, *values: object) -> list[OrderRow]:
        found = self._connection.execute(f"SELECT * FROM orders WHERE {condition} ORDER BY number", values)  # noqa: S608
        return [from_sql(OrderRow, row) for row in found]

    # Histories

    def remember(self, number: int, shown: dict[str, Any]) -> None:
        """Keep how the order is shown now."""
        self._connection.execute("INSERT INTO history VALUES (?, ?)", (number, json.dumps(shown)))

    def history(self, number: int) -> list[dict[str, Any]]:
        """How the order was shown, first to last."""
        found = self._connection.execute("SELECT shown FROM history WHERE order_number = ? ORDER BY rowid", (number,))
        return [json.loads(shown) for (shown,) in found]

    # Trades

    def add_trade(self, order: OrderRow, quantity: int, price: Decimal, at: int) -> TradeRow:
        """Keep a new trade; it gets the exchange's next id of the day."""
        query = (
            "SELECT count(*) FROM trades JOIN orders ON orders.number = order_number "
            "WHERE trades.day = ? AND exchange = ?"
        )
        (before,) = self._connection.execute(query, (self.day, order.exchange)).fetchone()
        row = TradeRow(0, str(_FIRST_TRADE + before + 1), order.number, self.day, quantity, price, at)
        number = self._connection.execute(_INSERT_TRADE, to_sql(row)).lastrowid
        assert number is not None  # noqa: S101  # an insert into a table with row ids
        return replace(row, number=number)

    def trades_of(self, order_number: int) -> list[TradeRow]:
        """The trades of one order."""
        return self._trades("order_number = ?", order_number)

    def trades_of_day(self) -> list[TradeRow]:
        """The trades of this trading day."""
        return self._trades("day = ?", self.day)

    def all_trades(self) -> list[TradeRow]:
        """Every trade of every day."""
        return self._trades("1")

    def _trades(self, condition: str, *values: object) -> list[TradeRow]:
        found = self._connection.execute(f"SELECT * FROM trades WHERE {condition} ORDER BY number", values)  # noqa: S608
        return [from_sql(TradeRow, row) for row in found]

    # Prices

    def set_price(self, symbol: str, price: Decimal) -> None:
        """The market price of ``SYMBOL`` or ``EXCHANGE:SYMBOL`` from now on."""
        self._connection.execute("INSERT OR REPLACE INTO prices VALUES (?, ?)", (symbol, str(price)))

    def price(self, exchange: str, symbol: str) -> Decimal | None:
        """The market price that was set; that of the exchange goes first."""
        query = "SELECT price FROM prices WHERE symbol IN (?, ?) ORDER BY length(symbol) DESC LIMIT 1"
        found = self._connection.execute(query, (f"{exchange}:{symbol}", symbol)).fetchone()
        return None if found is None else Decimal(found[0])
