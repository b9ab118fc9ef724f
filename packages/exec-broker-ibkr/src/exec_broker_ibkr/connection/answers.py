"""The requests under way, one of a kind at a time, and what came for them so far."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final

from exec_core.errors import ConnectionFailed

#: Requests are numbered from here on: far from any order id, so that an error about one never hits the other.
FIRST_REQUEST_ID: Final = 1_000_000_000


class RequestRefused(Exception):
    """TWS answered a request with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text


class NoAnswer(Exception):
    """A request was not answered in time, or not in a way that can be read. The line may be half open."""


class Kind(Enum):
    """The requests, in words that fit a sentence."""

    OPEN_ORDERS = "open orders"
    COMPLETED_ORDERS = "completed orders"
    EXECUTIONS = "executions"
    CONTRACT_DETAILS = "contract details"
    MARKET_RULE = "market rule"
    POSITIONS = "positions"
    ACCOUNT_SUMMARY = "account summary"
    CURRENT_TIME = "time"


#: Requests that carry an id, which comes back with all of the answer and with an error.
NUMBERED: Final = frozenset({Kind.EXECUTIONS, Kind.CONTRACT_DETAILS, Kind.ACCOUNT_SUMMARY})
#: Requests whose answer cannot be told from that of another of their kind.
BARE: Final = frozenset({Kind.OPEN_ORDERS, Kind.COMPLETED_ORDERS, Kind.POSITIONS, Kind.CURRENT_TIME})


class Pending:
    """One request under way; `key` is what its answer carries: the request's id, or the rule's."""

    def __init__(self, kind: Kind, key: int) -> None:
        self.kind = kind
        self.key = key
        self.items: list[Any] = []
        self.spoiled: str | None = None
        self.is_sent = False
        self.answer: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """It ends with this error."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def finish(self) -> None:
        """All of the answer is there."""
        if self.answer.done():
            return
        if self.spoiled is None:
            self.answer.set_result(tuple(self.items))
        else:
            self.answer.set_exception(
                NoAnswer(f"TWS's answer about the {self.kind.value} cannot be read in full ({self.spoiled})")
            )


class Answers:
    """What is asked, and where what TWS says belongs."""

    def __init__(self) -> None:
        self._pending: dict[Kind, Pending] = {}
        self._next_id = FIRST_REQUEST_ID
        # Answers that were given up and may still come, and until when; their end is not that of the next one.
        self._owed: dict[Kind, tuple[asyncio.Future[None], float]] = {}

    @contextmanager
    def asking(self, kind: Kind, patience: float, key: int | None = None) -> Iterator[Pending]:
        """A request of that kind is under way; there must be no other.

        `patience` is for how many seconds its answer may still come after it was given up.
        """
        if key is None:
            key = self._next_id
            self._next_id += 1
        pending = self._pending[kind] = Pending(kind, key)
        try:
            yield pending
        finally:
            del self._pending[kind]
            if pending.answer.done() and not pending.answer.cancelled():
                pending.answer.exception()  # looked at, even if the caller was cancelled in that very moment
            else:
                pending.answer.cancel()
                if pending.is_sent and kind in BARE:
                    loop = asyncio.get_running_loop()
                    self._owed[kind] = (loop.create_future(), loop.time() + patience)

    async def settle(self, kind: Kind) -> None:
        """Wait for the end of an earlier answer that was given up, until it is presumed lost.

        Otherwise that end might be taken for the end of the next answer, which would then seem complete and be not.
        """
        if kind not in self._owed:
            return
        owed, until = self._owed[kind]
        try:
            async with asyncio.timeout_at(until):
                await asyncio.shield(owed)
        except TimeoutError:
            self._owed.pop(kind, None)

    def item(self, kind: Kind, item: object, key: int | None = None) -> None:
        """A part of an answer, if somebody asked."""
        pending = self._awaiting(kind, key)
        if pending is not None:
            pending.items.append(item)

    def end(self, kind: Kind, key: int | None = None) -> None:
        """That was all."""
        if kind in self._owed:
            owed, _ = self._owed.pop(kind)
            if not owed.done():
                owed.set_result(None)
            return
        pending = self._awaiting(kind, key)
        if pending is not None:
            pending.finish()

    def is_request(self, some_id: int) -> bool:
        """Whether that is the id of a request, and not of an order; of one given up, perhaps."""
        return FIRST_REQUEST_ID <= some_id < self._next_id

    def refuse(self, request_id: int, code: int, text: str) -> None:
        """TWS will not answer that request."""
        for kind in NUMBERED & self._pending.keys():
            pending = self._pending[kind]
            if pending.key == request_id:
                pending.fail(RequestRefused(code, text))

    def spoil(self, kind: Kind, why: str) -> None:
        """Something that may belong to such an answer could not be read."""
        pending = self._awaiting(kind, None)
        if pending is not None:
            pending.spoiled = why

    def fail_all(self, reason: str) -> None:
        """The line is gone."""
        for pending in self._pending.values():
            pending.fail(ConnectionFailed(reason, broker="ibkr"))
        for owed, _ in self._owed.values():
            if not owed.done():
                owed.set_result(None)
        self._owed.clear()

    def _awaiting(self, kind: Kind, key: int | None) -> Pending | None:
        pending = self._pending.get(kind)
        if pending is None or not pending.is_sent:
            return None
        return pending if key is None or key == pending.key else None
