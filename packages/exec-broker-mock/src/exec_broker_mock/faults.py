"""Scripted faults: what shall go wrong, for whom, and how often. They are kept in the book, for all its processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from exec_core.broker import Availability, AvailabilityState
from exec_core.errors import AuthenticationFailed, ConnectionFailed

from exec_broker_mock.book import Book
from exec_broker_mock.rows import moment, span


class FaultKind(StrEnum):
    """What shall go wrong."""

    LOSE_ANSWER = "lose-answer"
    """The order is accepted; the sender sees a connection reset."""
    LOSE_ORDER = "lose-order"
    """The sender sees a connection reset; the order is not in the book."""
    REFUSE = "refuse"
    """The connection is refused: nothing was sent."""
    DELAY = "delay"
    """The order is accepted; the answer comes `seconds` later."""
    HANG = "hang"
    """The order is accepted; no answer ever comes."""
    HANG_BEFORE = "hang-before"
    """No answer ever comes, and the order is not in the book."""
    REJECT = "reject"
    """The order is rejected, with `reason`."""
    REJECT_LATE = "reject-late"
    """The order is accepted, then reported as rejected, with `reason`."""
    HIDDEN = "hidden"
    """The order is accepted, but shown nowhere for `seconds`."""
    LATE_COMMISSION = "late-commission"
    """An execution comes without its commission, which is told `seconds` later."""
    CANCEL_IGNORED = "cancel-ignored"
    """A cancel is taken, and nothing comes of it."""
    CANCEL_LOST = "cancel-lost"
    """A cancel is taken; the sender sees a connection reset."""
    INCOMPLETE = "incomplete"
    """A look-up of an order shows nothing, and says that it is not complete."""
    LOOKUP_FAILS = "lookup-fails"
    """A look-up of an order fails: the sender sees a connection reset."""
    LIST_INCOMPLETE = "list-incomplete"
    """A list of open orders or positions shows nothing, and says that it is not complete; an account tells nothing."""
    LIST_FAILS = "list-fails"
    """A list of open orders or positions, or the account, fails: the sender sees a connection reset."""
    DUPLICATE = "duplicate"
    """A report is delivered twice."""
    REORDER = "reorder"
    """A batch of reports is delivered in reverse order."""
    DISCONNECT = "disconnect"
    """From now on, for `seconds`: sessions are lost, and none can be entered."""
    LOGIN = "login"
    """From now on, for `seconds`: a person must log in."""


#: Faults of a whole line: in force from the moment of scripting, not armed for an order to come.
LINE_FAULTS: Final = frozenset({FaultKind.DISCONNECT, FaultKind.LOGIN})
#: Faults that decide what the sender of an order sees; the first that matches is used up.
ANSWER_FAULTS: Final = (
    FaultKind.REFUSE,
    FaultKind.LOSE_ORDER,
    FaultKind.HANG_BEFORE,
    FaultKind.REJECT,
    FaultKind.REJECT_LATE,
    FaultKind.LOSE_ANSWER,
    FaultKind.HANG,
    FaultKind.DELAY,
)
NEED_SECONDS: Final = LINE_FAULTS | {FaultKind.DELAY, FaultKind.HIDDEN, FaultKind.LATE_COMMISSION}
TAKE_REASON: Final = LINE_FAULTS | {FaultKind.REJECT, FaultKind.REJECT_LATE}
DEFAULT_REJECTION: Final = "Insufficient margin"


@dataclass(frozen=True, slots=True)
class Target:
    """What a fault is matched against."""

    account_id: str
    symbol: str
    client_order_id: str
    signal_id: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that has just been used up once."""

    kind: FaultKind
    seconds: float
    reason: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """How the line of an account stands. `until` is when a login happens by itself; a lost session stays lost."""

    availability: Availability
    until: int | None = None

    def at(self, now: int) -> Availability:
        """How it stands at `now`."""
        if self.until is None or now < self.until:
            return self.availability
        return Availability(AvailabilityState.READY, moment(self.until))


class Faults:
    """Scripts faults into a book."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def script(
        self,
        kind: FaultKind | str,
        *,
        account_id: str | None = None,
        symbol: str | None = None,
        client_order_id: str | None = None,
        signal_id: str | None = None,
        count: int = 1,
        seconds: float | None = None,
        reason: str | None = None,
    ) -> int:
        """Arm a fault for the next `count` cases that match everything given; its number.

        :raises ValueError: the kind is unknown, or does not take, or lacks, one of these.
        """
        kind = FaultKind(kind)
        if (seconds is not None) != (kind in NEED_SECONDS):
            raise ValueError(f"{kind} {'needs' if kind in NEED_SECONDS else 'does not take'} seconds")
        if seconds is not None and not 0 < seconds < 10**9:
            raise ValueError("seconds must be above zero")
        if reason is not None and kind not in TAKE_REASON:
            raise ValueError(f"{kind} does not take a reason")
        if count < 1:
            raise ValueError("count must be at least 1")
        if kind in LINE_FAULTS and (count, symbol, client_order_id, signal_id) != (1, None, None, None):
            raise ValueError(f"{kind} holds for whole accounts, at once: it takes an account, seconds and a reason")
        with self._book.transaction():
            now = self._book.now()
            until = now + span(seconds or 0) if kind in LINE_FAULTS else None
            values = (kind.value, account_id, symbol, client_order_id, signal_id)
            return self._book.add_fault(
                (*values, 0 if kind in LINE_FAULTS else count, seconds, reason, now, until),
            )

    def clear(self, *kinds: FaultKind) -> None:
        """Disarm these kinds (all, if none is named), and end what is in force; sessions that were lost stay lost."""
        with self._book.transaction():
            self._book.execute(
                "UPDATE faults SET remaining = 0, until = min(until, ?) WHERE kind IN (SELECT value FROM json_each(?))",
                (self._book.now(), json.dumps(kinds or tuple(FaultKind))),
            )


def consume(book: Book, target: Target, *kinds: FaultKind) -> Fault | None:
    """Use up, once, the oldest armed fault of these kinds that matches. Inside a write transaction."""
    if not book.has_faults():
        return None
    matches = (target.account_id, target.symbol, target.client_order_id, target.signal_id)
    row = book.execute(
        "SELECT number, kind, seconds, reason FROM faults WHERE coalesce(account_id, ?1) = ?1"
        " AND coalesce(symbol, ?2) = ?2 AND coalesce(client_order_id, ?3) = ?3 AND coalesce(signal_id, ?4) = ?4"
        " AND remaining > 0 AND kind IN (SELECT value FROM json_each(?5)) ORDER BY number LIMIT 1",
        (*matches, json.dumps(kinds)),
    ).fetchone()
    if row is None:
        return None
    book.execute("UPDATE faults SET remaining = remaining - 1 WHERE number = ?", (row[0],))
    return Fault(FaultKind(row[1]), row[2] or 0.0, row[3])


def are_armed(book: Book, *kinds: FaultKind) -> bool:
    """Whether faults of these kinds wait for somebody."""
    if not book.has_faults():
        return False
    statement = "SELECT 1 FROM faults WHERE remaining > 0 AND kind IN (SELECT value FROM json_each(?))"
    found = book.execute(statement, (json.dumps(kinds),))
    return found.fetchone() is not None


def line_marker(book: Book) -> int:
    """The newest fault: a session that begins now is lost by a disconnect after it."""
    if not book.has_faults():
        return 0
    return int(book.execute("SELECT coalesce(max(number), 0) FROM faults").fetchone()[0])


def line(book: Book, account_id: str, marker: int, connected_at: int, now: int) -> Line:
    """How the line stands for a session that began at `marker`."""
    if not book.has_faults():
        return Line(Availability(AvailabilityState.READY, moment(connected_at)))
    rows = book.execute(
        "SELECT kind, since, until, reason, number FROM faults WHERE until IS NOT NULL AND (until > ? OR number > ?)"
        " AND coalesce(account_id, ?) = ? ORDER BY number",
        (now, marker, account_id, account_id),
    ).fetchall()
    for kind, since, _, reason, _ in rows:
        if kind == FaultKind.DISCONNECT:
            text = reason or "The link to the mock venue is lost"
            return Line(Availability(AvailabilityState.DISCONNECTED, moment(since), text))
    logins = [row for row in rows if row[2] > now]
    if logins:
        since, reason = logins[0][1], logins[0][3] or "The mock venue wants a login"
        until = max(row[2] for row in logins)
        return Line(Availability(AvailabilityState.LOGIN_NEEDED, moment(since), reason), until)
    since = max((row[2] for row in rows), default=connected_at)
    return Line(Availability(AvailabilityState.READY, moment(since)))


def check_line(book: Book, account_id: str, marker: int, now: int) -> None:
    """Refuse a call while the line is down.

    :raises ConnectionFailed: it is, or was, disconnected.
    :raises AuthenticationFailed: a login is needed.
    """
    if not book.has_faults():
        return
    state = line(book, account_id, marker, now, now).availability
    if state.state is AvailabilityState.DISCONNECTED:
        raise ConnectionFailed(str(state.reason), broker="mock")
    if state.state is AvailabilityState.LOGIN_NEEDED:
        raise AuthenticationFailed(str(state.reason), broker="mock")


def check_line_is_up(book: Book, account_id: str, marker: int, now: int) -> None:
    """Refuse reports once the session is lost; while only a login is needed they go on.

    :raises ConnectionFailed: the line is, or was, disconnected.
    """
    if not book.has_faults():
        return
    state = line(book, account_id, marker, now, now).availability
    if state.state is AvailabilityState.DISCONNECTED:
        raise ConnectionFailed(str(state.reason), broker="mock")
