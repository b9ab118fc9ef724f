"""What every event at the venue stands on: it is in the book, whole, before anybody is told of it.

It knows no connections: it tells each client's messages to `hear`, whether anybody listens or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from exec_broker_ibkr.messages import PositionTold, Told
from exec_broker_ibkr.simulator import life
from exec_broker_ibkr.simulator.book import Book, effective
from exec_broker_ibkr.simulator.faults import Faults
from exec_broker_ibkr.simulator.holdings import Holdings
from exec_broker_ibkr.simulator.market import Market
from exec_broker_ibkr.simulator.rows import OrderRow, micros
from exec_broker_ibkr.simulator.terms import Terms


class Floor:
    """The book, what follows from it, and who is told. `later` makes something happen after so many seconds."""

    def __init__(self, book: Book, terms: Terms, market: Market, faults: Faults) -> None:
        self.book = book
        self.terms = terms
        self.market = market
        self.faults = faults
        self.holdings = Holdings(terms, market.price)
        self.hear: Callable[[int, Sequence[Told]], None] = lambda _client, _told: None
        self.moved: Callable[[PositionTold], None] = lambda _position: None
        self.later: Callable[[float, Callable[[], None]], None] = lambda _seconds, _act: None
        self._news: list[tuple[int, list[Told]]] = []
        self._moves: dict[tuple[str, int], None] = {}
        self._depth = 0
        for execution in effective(book.executions()):
            if execution.quantity:
                self.holdings.traded(execution)

    @contextmanager
    def _event(self) -> Iterator[None]:
        """One event: all of it is in the book before anything of it is told."""
        self._depth += 1
        try:
            with self.book.transaction():
                yield
        except BaseException:
            if self._depth == 1:
                self._news, self._moves = [], {}
            raise
        finally:
            self._depth -= 1
        if self._depth:
            return
        news, self._news = self._news, []
        moves, self._moves = self._moves, {}
        for client_id, told in _grouped(news):
            self.hear(client_id, told)
        for account, con_id in moves:
            position = self.holdings.position(account, con_id)
            if position is not None:
                self.moved(position)

    def _happened(self, order: OrderRow, told: Sequence[Told]) -> None:
        """An order has become this; its owner is to be told so."""
        self.book.change_order(order)
        self._tell(order.client_id, *told)

    def _tell(self, client_id: int, *told: Told) -> None:
        """To be told once the event is over."""
        self._news.append((client_id, list(told)))

    def _order(self, number: int) -> OrderRow:
        """An order as it stands."""
        order = self.book.order(number)
        if order is None:
            raise LookupError(f"there is no order number {number} in the book")
        return order

    def _has_moved(self, account: str, con_id: int) -> None:
        """A position has changed: to be told once the event is over."""
        self._moves[account, con_id] = None

    def _when(self) -> life.When:
        """Now."""
        return life.When(micros(self.book.now), self.book.day)


def _grouped(news: Sequence[tuple[int, list[Told]]]) -> Iterator[tuple[int, list[Told]]]:
    """What goes to one client together, in the order in which it happened."""
    clients = dict.fromkeys(client_id for client_id, _ in news)
    for client_id in clients:
        yield client_id, [told for owner, part in news if owner == client_id for told in part]
