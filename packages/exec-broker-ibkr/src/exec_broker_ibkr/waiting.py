"""Who waits for TWS's first word on an order, or on a cancel: woken by what is heard, or by the end of the line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from exec_broker_ibkr.codes import Kind, kind_of
from exec_broker_ibkr.following.tracking import Answer, Tracker
from exec_broker_ibkr.messages import ErrorTold, StatusTold, Told

#: The words that orderStatus uses of an order nobody has cancelled; another one is heard after a cancel was taken.
_UNTOUCHED: Final = frozenset({"ApiPending", "PendingSubmit", "PreSubmitted", "Submitted"})


class LineLost(Exception):
    """The line ended before TWS said anything."""


class Waiting:
    """The sends and cancels under way on one line, by order id."""

    def __init__(self) -> None:
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._cancels: dict[int, list[asyncio.Future[str | None]]] = {}

    @contextmanager
    def for_answer(self, order_id: int) -> Iterator[asyncio.Future[Answer]]:
        """A future for TWS's first word on an order. It raises `LineLost` where the line ends first."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[order_id] = future
        try:
            yield future
        finally:
            del self._answers[order_id]
            _dispose(future)

    @contextmanager
    def for_cancel(self, order_id: int) -> Iterator[asyncio.Future[str | None]]:
        """A future for TWS's answer to a cancel: None, it is taken; else why it is not. Raises `LineLost` likewise."""
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        waiting = self._cancels.setdefault(order_id, [])  # asked twice at once: one answer serves both
        waiting.append(future)
        try:
            yield future
        finally:
            waiting.remove(future)
            if not waiting:
                self._cancels.pop(order_id, None)
            _dispose(future)

    def hear(self, told: Told, client_id: int, tracker: Tracker) -> None:
        """Wake whoever waits for this; the tracker has heard it already."""
        for order_id, answer in self._answers.items():
            if not answer.done() and (known := tracker.answer(order_id)) is not None:
                answer.set_result(known)
        match told:
            case StatusTold(order_id=order_id, client_id=owner, status=status) if owner == client_id:
                # Also "Filled": the request has been judged, and there is nothing left to cancel.
                if status not in _UNTOUCHED:
                    self._cancelled(order_id, None)
            case ErrorTold(request_id=order_id, code=code, text=text):
                match kind_of(code):
                    case Kind.CANCEL_CONFIRMED:
                        self._cancelled(order_id, None)
                    case Kind.CANCEL_ANSWER | Kind.REJECT:
                        self._cancelled(order_id, f"{text} ({code})")

    def _cancelled(self, order_id: int, refusal: str | None) -> None:
        for future in self._cancels.get(order_id, ()):
            if not future.done():
                future.set_result(refusal)

    def end(self, reason: str) -> None:
        """The line is gone: nobody will hear anything."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(LineLost(reason))
        for cancels in self._cancels.values():
            for cancel in cancels:
                if not cancel.done():
                    cancel.set_exception(LineLost(reason))


def _dispose(future: asyncio.Future[Answer] | asyncio.Future[str | None]) -> None:
    """Nobody waits any more: an exception that nobody took is no fault."""
    if not future.done():
        future.cancel()
    elif not future.cancelled():
        future.exception()
