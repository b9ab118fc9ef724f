"""What the tests of the simulated TWS share: a venue without sockets, and a client over the real library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from exec_broker_ibkr.connection.line import Line
from exec_broker_ibkr.messages import ErrorTold, StatusTold, Told, TwsContract, TwsOrder
from exec_broker_ibkr.simulator.book import Book
from exec_broker_ibkr.simulator.exchange import Exchange
from exec_broker_ibkr.simulator.faults import Faults
from exec_broker_ibkr.simulator.listing import LISTING
from exec_broker_ibkr.simulator.market import Market
from exec_broker_ibkr.simulator.requests import PlaceOrder
from exec_broker_ibkr.simulator.terms import Terms

DEADLINE = 60.0
NOON = datetime(2027, 12, 1, 17, tzinfo=UTC)
D = Decimal


def stock(symbol: str = "AAPL", **changes: Any) -> TwsContract:
    """A stock as a client names it."""
    return TwsContract("STK", symbol, **({"exchange": "SMART", "currency": "USD"} | changes))


def tws_order(action: str = "BUY", order_type: str = "LMT", quantity: str | None = "10", **changes: Any) -> TwsOrder:
    """An order as a client sends it: limits at 200, stops at 210."""
    values: dict[str, Any] = {"account": "DU1", "tif": "DAY", "order_ref": "REF"}
    if order_type in ("LMT", "STP LMT"):
        values["limit_price"] = D(200)
    if order_type in ("STP", "STP LMT"):
        values["stop_price"] = D(210)
    return TwsOrder(action, order_type, quantity=None if quantity is None else D(quantity), **(values | changes))


class Hall:
    """A venue in memory (or a file) with nobody between: what each client is told, in order."""

    def __init__(self, path: Path | None = None, *, rests: bool = True, accounts: Sequence[str] = ("DU1",)) -> None:
        self.told: list[Told] = []
        self.told_to: list[int] = []
        self.faults = Faults()
        self.book = Book(path, lambda: NOON)
        self.exchange = Exchange(self.book, Terms(tuple(accounts)), Market(LISTING, rests=rests), self.faults)
        self.exchange.hear = self._hear
        self._next = 0

    def _hear(self, client_id: int, told: Sequence[Told]) -> None:
        self.told += told
        self.told_to += [client_id] * len(told)

    def place(
        self, order: TwsOrder | None = None, contract: TwsContract | None = None, order_id: int = 0, client_id: int = 5
    ) -> list[Told]:
        """Send an order; what was told of it."""
        self._next = order_id or self._next + 1
        return self.does(
            lambda: self.exchange.place(client_id, PlaceOrder(self._next, contract or stock(), order or tws_order()))
        )

    def cancel(self, order_id: int, client_id: int = 5) -> list[Told]:
        """Ask for a cancel; what was told of it."""
        return self.does(lambda: self.exchange.cancel(client_id, order_id))

    def does(self, act: Callable[[], object]) -> list[Told]:
        """What was told by an act."""
        before = len(self.told)
        act()
        return self.told[before:]

    def number(self, order_id: int, client_id: int = 5) -> int:
        """An order's number in the book."""
        order = self.book.order_of_client(client_id, order_id)
        assert order is not None
        return order.number

    def order(self, order_id: int, client_id: int = 5) -> Any:
        """An order as it is in the book."""
        return self.book.order_of_client(client_id, order_id)

    def execute(self, order_id: int, quantity: str, price: str = "200") -> list[Told]:
        """Trade so much of an order; what was told of it."""
        return self.does(lambda: self.exchange.execute(self.number(order_id), D(quantity), D(price)))


def words(told: Sequence[Told]) -> list[str]:
    """Messages in short: the status words, the codes of errors, and the kinds of the others."""
    return [
        one.status
        if isinstance(one, StatusTold)
        else str(one.code)
        if isinstance(one, ErrorTold)
        else type(one).__name__.removesuffix("Told").removesuffix("Shown")
        for one in told
    ]


class Client:
    """A client over the real library's low level, which keeps all that it hears."""

    def __init__(self, port: int, client_id: int = 5, **settings: Any) -> None:
        values: dict[str, Any] = {"connect_seconds": DEADLINE, "answer_seconds": DEADLINE} | settings
        self.line = Line("127.0.0.1", port, client_id, **values)
        self.heard: list[Told] = []
        self.lost: str | None = None
        self._news = asyncio.Event()

    async def open(self) -> Client:
        await self.line.open(self._hear, self._lose)
        return self

    async def close(self) -> None:
        await self.line.close()

    def _hear(self, told: Told) -> None:
        self.heard.append(told)
        self._news.set()

    def _lose(self, reason: str) -> None:
        self.lost = reason
        self._news.set()

    async def place(self, order: TwsOrder, contract: TwsContract | None = None) -> int:
        """Send an order; its id."""
        order_id = self.line.next_order_id()
        await self.line.place(order_id, contract or stock(), order)
        return order_id

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is so; whatever is heard wakes this."""
        async with asyncio.timeout(DEADLINE):
            while not (value := condition()):
                self._news.clear()
                await self._news.wait()
        return value

    async def status(self, order_id: int, word: str) -> StatusTold:
        """Wait for that status of an order."""
        found: StatusTold = await self.until(
            lambda: next(
                (
                    one
                    for one in self.heard
                    if isinstance(one, StatusTold) and (one.order_id, one.status) == (order_id, word)
                ),
                None,
            )
        )
        return found

    async def error(self, code: int) -> ErrorTold:
        """Wait for an error with that code."""
        found: ErrorTold = await self.until(
            lambda: next((one for one in self.heard if isinstance(one, ErrorTold) and one.code == code), None)
        )
        return found
