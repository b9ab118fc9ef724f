"""One look at Kite's books for everybody who wants one: orders, and trades where these tell less than the orders.

Whoever asks while a look is under way gets the next one, together with all others who ask meanwhile: an answer that was
begun before the question could be older than what the question is about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from exec_core.broker import View
from exec_core.clock import Clock
from exec_core.errors import AuthenticationFailed, ConnectionFailed

from exec_broker_zerodha import replies
from exec_broker_zerodha.book import Book
from exec_broker_zerodha.client import Client, Reply
from exec_broker_zerodha.replies import Verdict
from exec_broker_zerodha.times import covered_since


class Busy(ConnectionFailed):
    """Kite is there, and wants fewer requests: nothing was learnt, and the line is well."""


@dataclass(frozen=True, slots=True)
class Look:
    """How much a look proves. `is_whole`: every row of every answer could be read."""

    as_of: datetime
    venue_time: datetime
    is_whole: bool

    def view(self, *, covers: bool) -> View:
        """The same in the contract's words; `covers`: also ended orders were looked for."""
        return View(self.as_of, self.is_whole, covered_since(self.as_of, self.venue_time) if covers else None)


def answer(reply: Reply, what: str) -> Reply:
    """The reply, if it is an answer.

    :raises AuthenticationFailed: a login is needed. :raises ConnectionFailed: there is no answer.
    """
    if reply.failure is None:
        return reply
    judged = replies.of_asking(reply.failure)
    if judged.verdict is Verdict.LOGIN_NEEDED:
        raise AuthenticationFailed(f"Kite wants a login: {judged.text}", broker="zerodha")
    kind = Busy if judged.is_busy else ConnectionFailed
    raise kind(f"Kite does not tell {what}: {judged.text}", broker="zerodha")


@dataclass(slots=True, eq=False)
class Looker:
    """Looks into the books, one look after the other. `looked` is called after each that brought something."""

    client: Client
    book: Book
    clock: Clock
    looked: Callable[[], None]
    _next: asyncio.Task[Look] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> Look:
        """A look that begins after this call.

        :raises AuthenticationFailed: a login is needed. :raises ConnectionFailed: Kite does not answer.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._in_turn(), name="look into Kite's books")
            # Whoever waits for it may have gone by then.
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    async def _in_turn(self) -> Look:
        async with self._turn:
            self._next = None
            return await self._look()

    async def _look(self) -> Look:
        as_of = self.clock()
        listed = answer(await self.client.orders(), "its orders")
        if not isinstance(listed.value, list):
            raise ConnectionFailed("Kite's order book is no list", broker="zerodha")
        is_whole = self.book.take_orders(listed.value)
        if self.book.lacks_trades:
            trades = answer(await self.client.trades(), "its trades")
            if not isinstance(trades.value, list):
                raise ConnectionFailed("Kite's trade book is no list", broker="zerodha")
            is_whole = self.book.take_trades(trades.value, self.clock()) and is_whole
        self.looked()
        return Look(as_of, listed.venue_time or as_of, is_whole)
